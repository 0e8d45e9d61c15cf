//! Spins without a word to an emulator that another CPU might run: under instruction counting that makes
//! everything on the other CPUs late, windows included, which no partition on real hardware can do.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, time};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// The others start in peace: the plan of before is to be seen, too.
const PEACE_NS: u64 = 200_000_000;

fn main(_partition: Partition) -> ! {
    report::normal();
    let end = time::now_ticks() + time::ticks_from_ns(PEACE_NS);
    while time::now_ticks() < end {
        timer::nap(PEACE_NS / 10);
    }
    let mut turns = 0u64;
    loop {
        turns = core::hint::black_box(turns.wrapping_add(1));
    }
}
