//! Reads EL2's trace of its CPU: which windows it was cleaned for, and how long that took.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::trace::kind;
use bulkhead_sdk::trace::TraceRings;
use bulkhead_sdk::{Partition, hypercall, println, registers};
use probes::report;

bulkhead_sdk::entry!(main);

/// CPUs of the board, and the one that is shared.
const CPUS: u64 = 4;
const SHARED: u64 = 2;
/// The vCPU whose windows ask for cleaning: the first partition's.
const CLEANED_FOR: u64 = 0;
/// What they ask for ([`kind::CLEANED`]): the L1 caches; where the partition that looks is called `predictor`, the branch predictor.
const L1: u64 = 1;
const PREDICTOR: u64 = 2;
const WINDOWS_PER_LINE: u64 = 250;

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let info = partition.info.expect("cleaned needs the hypervisor");
    let rings = TraceRings::open(&info, CPUS).expect("the right to read the trace");
    report::normal();
    let asked = if info.name().as_str() == "predictor" { PREDICTOR } else { L1 };
    let (mut windows, mut missed, mut others, mut longest) = (0u64, 0u64, 0u64, 0u64);
    let mut number = rings.written(SHARED);
    // Of the window that starts next, once a whole turn was seen.
    let mut cleaning = None;
    let mut is_whole = false;
    loop {
        let Some([first, value]) = rings.record(SHARED, number) else {
            hypercall::idle().ok();
            continue;
        };
        number += 1;
        let (kind_of, argument) = (first as u8, first >> 8 & 0xFF);
        if kind_of == kind::CLEANED {
            cleaning = Some((argument, value));
        }
        if kind_of != kind::START {
            continue;
        }
        let own = value >> 32 == CLEANED_FOR && argument == 1;
        match (cleaning.take(), own, is_whole) {
            (Some((what, ticks)), true, _) if what == asked => longest = longest.max(ticks),
            (None, true, true) | (Some(_), true, _) => missed += 1,
            (Some(_), false, _) => others += 1,
            _ => {}
        }
        is_whole = true;
        windows += u64::from(own);
        if own && windows.is_multiple_of(WINDOWS_PER_LINE) {
            println!("cleaned windows={windows} missed={missed} others={others} longest={longest}");
        }
    }
}
