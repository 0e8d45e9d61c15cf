//! Misses its deadlines on a shared CPU: its first start never reaches mode NORMAL, the later ones kick the
//! watchdog for a while and stop. Each start says why it was started and whether a deadline came early.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::info::{mode, start_condition};
use bulkhead_sdk::{Partition, hypercall, println, time};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Kicks of one start, far more than a watchdog period of them in time.
const KICKS: u64 = 100;
/// Time from one kick to the next, in nanoseconds.
const KICK_NS: u64 = 1_000_000;

fn spin(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("sloppy needs the hypervisor");
    let start = info.start_count();
    let expected = if start == 1 { start_condition::POWER_ON } else { start_condition::HEALTH_MONITOR };
    let mut report = Report::new("sloppy");
    report.equal("start condition", info.start_condition(), expected);
    report.equal("mode", info.mode(), mode::COLD_START);
    println!("sloppy start {start}");
    if start > 1 {
        report::normal();
        for _ in 0..KICKS {
            spin(KICK_NS);
            if let Err(error) = hypercall::watchdog_kick() {
                println!("FAIL kick: {error:?}");
            }
        }
        println!("sloppy start {start} kicks no more");
    }
    report.end();
    loop {
        spin(KICK_NS);
    }
}
