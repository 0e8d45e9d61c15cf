//! Gives back all its time, in windows and in background time, and counts how often it gets the CPU in one
//! major frame: once for each slot, not again and again.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, hypercall, println, registers, time};
use probes::report;

bulkhead_sdk::entry!(main);

/// The plan's major frame.
const FRAME_NS: u64 = 200_000;
/// Frames that are watched.
const FRAMES: u64 = 500;

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    let info = report::information(&partition);
    let frame = time::ticks_from_ns(FRAME_NS);
    let frame_now = || (registers::counter() - info.t0_ticks()) / frame;
    let first = frame_now() + 1;
    let (mut current, mut returns, mut most) = (first, 0u64, 0);
    while current < first + FRAMES {
        if hypercall::idle().is_err() {
            println!("FAIL IDLE refused");
        }
        let now = frame_now();
        returns = if now == current { returns + 1 } else { 1 };
        most = most.max(if now < first { 0 } else { returns });
        current = now.max(first);
    }
    println!("idle frames={FRAMES} most={most}");
    report::sleep()
}
