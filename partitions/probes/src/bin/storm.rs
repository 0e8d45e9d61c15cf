//! An interrupt that may come a hundred times in ten milliseconds: as often it may come for ever; beyond it
//! the hypervisor masks it, whatever the guest does, until the partition starts anew.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::{TARGET_SELF, control};
use bulkhead_sdk::{Partition, hypercall, interrupt, println, time};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use probes::{Report, gic, report};

bulkhead_sdk::entry!(main);

/// The real-time clock (SPI 2), made pending by software.
const CLOCK: u32 = 34;
/// The configuration's limit, and the time it is for.
const LIMIT: u64 = 100;
const PER_NS: u64 = 10_000_000;
/// An interrupt that has not come by then does not come.
const PATIENCE_NS: u64 = 2_000_000;

static TAKEN: AtomicU64 = AtomicU64::new(0);

fn on_clock(_intid: u32) {
    TAKEN.fetch_add(1, Relaxed);
}

fn pause(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

/// Raises `count` interrupts, each at the end of the one before; how many came.
fn raise(count: u64) -> u64 {
    TAKEN.store(0, Relaxed);
    for number in 1..=count {
        gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
        let end = time::now_ticks() + time::ticks_from_ns(PATIENCE_NS);
        while TAKEN.load(Relaxed) < number && time::now_ticks() < end {
            core::hint::spin_loop();
        }
        if TAKEN.load(Relaxed) < number {
            break;
        }
    }
    TAKEN.load(Relaxed)
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("storm needs the hypervisor");
    let mut report = Report::new("storm");
    report::normal();
    let taken = interrupt::enable(CLOCK, 0x60, on_clock);
    report.equal("the clock's interrupt is free", taken, Ok(()));
    for _ in 0..5 {
        report.equal("as often as the limit says", raise(LIMIT), LIMIT);
        pause(PER_NS);
    }
    let came = raise(10 * LIMIT);
    report.within("beyond the limit it is masked", came, LIMIT, 2 * LIMIT);
    report.equal("it is pending", gic::bit(0, gic::offset::ISPENDR, CLOCK), true);
    report.equal("it is enabled as the guest sees it", gic::bit(0, gic::offset::ISENABLER, CLOCK), true);
    gic::set_bit(0, gic::offset::ICENABLER, CLOCK);
    gic::set_bit(0, gic::offset::ISENABLER, CLOCK);
    pause(2 * PER_NS);
    report.equal("enabling it brings nothing", TAKEN.load(Relaxed), came);
    report.end();
    if info.start_count() == 1 {
        println!("storm starts anew");
        if let Err(error) = hypercall::partition_control(TARGET_SELF, control::RESTART) {
            println!("FAIL restart: {error}");
        }
    }
    report::sleep()
}
