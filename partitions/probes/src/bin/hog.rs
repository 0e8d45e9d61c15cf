//! Spins without a word to an emulator that another CPU might run: under instruction counting that makes
//! everything on the other CPUs late, windows included, which no partition on real hardware can do.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::Partition;
use probes::report;

bulkhead_sdk::entry!(main);

fn main(_partition: Partition) -> ! {
    report::normal();
    let mut turns = 0u64;
    loop {
        turns = core::hint::black_box(turns.wrapping_add(1));
    }
}
