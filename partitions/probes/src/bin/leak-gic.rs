//! Shares its CPU with another of its kind. The one with an odd identifier makes its timers' interrupts
//! pending and wants them edge-triggered; the other finds nothing of that, and the first finds what it left.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, hypercall, println, registers};
use probes::{gic, report, timer};

bulkhead_sdk::entry!(main);

/// Interrupts whose hardware all partitions of the CPU share: the virtual and the physical timer's.
const TIMERS: [u32; 2] = [27, timer::INTID];
/// Windows that one line speaks of.
const WINDOWS_PER_LINE: u64 = 200;
/// ICFGR1: the fields of all PPIs, edge-triggered.
const ALL_EDGES: u32 = 0xaaaa_aaaa;

/// Address of ICFGR1, that of the calling vCPU's PPIs.
fn configuration() -> u64 {
    gic::frame(0, 16) + gic::offset::ICFGR + 4
}

fn pending() -> [bool; 2] {
    TIMERS.map(|intid| gic::bit(0, gic::offset::ISPENDR, intid))
}

/// Edge-triggered timers, as this partition sees them: they are levels, and stay it.
fn edges() -> u32 {
    gic::read_register(configuration()) & (0b11 << (2 * 11) | 0b11 << (2 * 14))
}

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    let info = report::information(&partition);
    let writer = !info.id().is_multiple_of(2);
    let mut wrong = 0u64;
    let mut expected = [false; 2];
    for window in 1u64.. {
        let found = (pending(), edges());
        if found != (expected, 0) {
            wrong += 1;
            println!("FAIL window {window}: found {found:x?}, expected {expected:x?} and no edges");
        }
        if writer {
            gic::write_register(configuration(), ALL_EDGES);
            for (bit, (intid, left)) in TIMERS.into_iter().zip(&mut expected).enumerate() {
                *left = window >> bit & 1 != 0;
                let offset = if *left { gic::offset::ISPENDR } else { gic::offset::ICPENDR };
                gic::set_bit(0, offset, intid);
            }
        }
        if window.is_multiple_of(WINDOWS_PER_LINE) {
            println!("leak-gic windows={window} wrong={wrong}");
        }
        if hypercall::idle().is_err() {
            println!("FAIL IDLE refused");
        }
    }
    report::sleep()
}
