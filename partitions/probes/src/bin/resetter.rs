//! Makes the health monitor reset the board twice. Each time the board is up again it holds the health log
//! against the runs before: what made it go down is still there, numbered on, a region that is kept counts on, and
//! nothing else survived.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::health::action;
use bulkhead_sdk::abi::info::{event, mode, start_condition};
use bulkhead_sdk::health::HealthLog;
use bulkhead_sdk::info::Info;
use bulkhead_sdk::{Partition, hypercall, println, time};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use probes::physical::{self, Width};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// How long the console takes for what this program says, in nanoseconds.
const DRAIN_NS: u64 = 200_000_000;
/// Resets of the board.
const RESETS: u64 = 2;
/// Upper half of the code of each error; the lower half is its number.
const CODE: u64 = 0xb0a2_d000_0000_0000;
/// Region that outlives the board's reset, and one that outlives cold restarts alone.
const KEPT: u64 = 0x4800_0000;
const LOST: u64 = 0x4800_1000;
/// In .data, so that only a reload of the payload brings it back.
static LOADED: AtomicU64 = AtomicU64::new(0x600d);

/// Errors of earlier runs in the log: their number. Each is checked.
fn earlier(report: &mut Report, info: &Info, log: &HealthLog) -> u64 {
    let own = |index| info.partition_name(u32::from(index)).is_some_and(|name| name == info.name());
    let resets = || log.records().filter(|record| u32::from(record.action) == action::RESET_BOARD);
    let count = resets().count() as u64;
    for number in 0..count {
        let found = resets().filter(|r| {
            r.code == CODE + number
                && r.number == number
                && u32::from(r.event) == event::APPLICATION_ERROR
                && own(r.partition)
        });
        report.equal("a record of each earlier run, numbered on", found.count(), 1);
    }
    report.equal("and no other", log.records().count() as u64, count);
    count
}

fn spin(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("resetter needs the hypervisor");
    let mut report = Report::new("resetter");
    let Some(log) = HealthLog::open(&info) else {
        println!("FAIL no right to read the health log");
        report::sleep()
    };
    let resets = earlier(&mut report, &info, &log);
    report.equal("start count", info.start_count(), 1);
    let arrival = (info.start_condition(), info.mode());
    report.equal("a first start", arrival, (start_condition::POWER_ON, mode::COLD_START));
    report.equal_hex("the payload was loaded anew", LOADED.swap(0xbad, Relaxed), 0x600d);
    // Straight to memory, past the caches, as one has to write what shall outlive a reset.
    let load = |address| physical::read(address, Width::Double).unwrap_or(u64::MAX);
    report.equal_hex("the kept region counts resets", load(KEPT), resets);
    report.equal_hex("the other is scrubbed", load(LOST), 0);
    let stored = [KEPT, LOST].map(|address| physical::write(address, resets + 1, Width::Double).is_ok());
    if stored != [true; 2] {
        println!("FAIL the regions cannot be written");
    }
    println!("resetter sees {resets} resets");
    report.end();
    report::normal();
    if resets < RESETS {
        // What the console has not shown by then is lost.
        spin(DRAIN_NS);
        let outcome = hypercall::raise_event(CODE + resets, event::APPLICATION_ERROR);
        println!("FAIL the board was not reset: {outcome:?}");
    }
    report::sleep()
}
