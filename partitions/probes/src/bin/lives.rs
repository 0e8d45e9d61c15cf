//! Lives through every kind of start that a partition can bring upon itself: too slow to NORMAL, a
//! watchdog not kicked, warm and cold restarts by its own wish. Each start says what it found of
//! memory, mode and start condition; the last one stays, for `governor` to rule over.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::{TARGET_SELF, control};
use bulkhead_sdk::abi::info::{event, mode, start_condition};
use bulkhead_sdk::info::Info;
use bulkhead_sdk::{Partition, hypercall, println, time};
use probes::physical::{self, Width};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Region that outlives warm restarts (tests/configs/life.dts).
const KEPT: u64 = 0x5000_0000;
/// Region that outlives cold restarts, too.
const EVER: u64 = 0x5000_1000;
/// Ordinary memory of the partition, beyond its image.
const ORDINARY: u64 = 0x4060_0000;
const MARK: u64 = 0x6b65_7074_6b65_7074;
/// Code that comes back in the health log.
const CODE: u64 = 0x1234_5678_9abc;

fn spin(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

/// Checks what this start was told and what memory holds; then marks both memories.
fn arrive(report: &mut Report, info: &Info, expected: (u32, u32), kept: bool) {
    report.equal("start condition and mode", (info.start_condition(), info.mode()), expected);
    let load = |address| physical::read(address, Width::Double).unwrap_or(u64::MAX);
    report.equal_hex("kept region", load(KEPT), if kept { MARK } else { 0 });
    let later = info.start_count() > 1;
    report.equal_hex("region kept over cold restarts", load(EVER), if later { MARK } else { 0 });
    report.equal_hex("ordinary memory is scrubbed", load(ORDINARY), 0);
    for address in [KEPT, EVER, ORDINARY] {
        let stored = physical::write(address, MARK, Width::Double);
        report.check(stored.is_ok(), format_args!("mark {address:#x}"), format_args!("{stored:?}"));
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("lives needs the hypervisor");
    let start = info.start_count();
    if start > 5 {
        report::normal();
        loop {
            println!("lives start {start} in service");
            let _ = hypercall::watchdog_kick();
            spin(100_000_000);
        }
    }
    let mut report = Report::new("lives");
    let by_monitor = start_condition::HEALTH_MONITOR;
    let own = start_condition::OWN_REQUEST;
    let (expected, kept) = match start {
        1 => ((start_condition::POWER_ON, mode::COLD_START), false),
        2 => ((by_monitor, mode::COLD_START), false),
        3 => ((by_monitor, mode::WARM_START), true),
        4 => ((own, mode::WARM_START), true),
        _ => ((own, mode::COLD_START), false),
    };
    arrive(&mut report, &info, expected, kept);
    match start {
        1 => {}
        2 => {
            report::normal();
            for _ in 0..20 {
                spin(100_000_000);
                let kicked = hypercall::watchdog_kick();
                report.check(kicked.is_ok(), format_args!("kick"), format_args!("{kicked:?}"));
            }
        }
        3 => {
            report::normal();
            let raised = hypercall::raise_event(CODE, event::DEADLINE_MISS);
            report.check(raised.is_ok(), format_args!("deadline miss"), format_args!("{raised:?}"));
            report.end();
            let error = hypercall::partition_control(TARGET_SELF, control::WARM_RESTART);
            println!("FAIL warm restart of itself: {error:?}");
        }
        4 => {
            report.end();
            let error = hypercall::partition_control(TARGET_SELF, control::RESTART);
            println!("FAIL restart of itself: {error:?}");
        }
        _ => {
            report.end();
            let error = hypercall::partition_control(TARGET_SELF, control::RESTART);
            println!("FAIL restart of itself: {error:?}");
        }
    }
    report.end();
    loop {
        spin(1_000_000_000);
    }
}
