//! Measures when its windows begin, at its first instruction in each: the counter against the planned
//! start, the planned start against T0 and the major frame. Its neighbour on the CPU tries to be late.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, hypercall, info::Info, println, registers, time};
use probes::report;

bulkhead_sdk::entry!(main);

/// Windows that one line speaks of.
const WINDOWS_PER_LINE: u64 = 2_500;
/// Windows left out after a line: its output is drained meanwhile.
const SETTLE: u64 = 100;
/// One window in so many is spent to its end; the others are given back at once.
const SPENT_EVERY: u64 = 8;
/// A gap between two readings of the counter that only losing the CPU explains.
const GAP_NS: u64 = 5_000;

/// Waits for the next window without leaving the present one; the counter at its first instruction.
fn lose_the_cpu() -> u64 {
    let gap = time::ticks_from_ns(GAP_NS);
    let mut last = registers::counter();
    loop {
        let now = registers::counter();
        if now - last > gap {
            return now;
        }
        last = now;
    }
}

/// What was seen since the last line.
#[derive(Default)]
struct Seen {
    latest: u64,
    early: u64,
    drift: u64,
    skipped: u64,
}

fn measure(info: Info, window: u64, frame: u64, seen: &mut Seen) {
    let planned_next = info.window_ticks()[2];
    let now = if window.is_multiple_of(SPENT_EVERY) {
        lose_the_cpu()
    } else {
        if hypercall::idle().is_err() {
            println!("FAIL IDLE refused");
        }
        registers::counter()
    };
    let [start, ..] = info.window_ticks();
    seen.latest = seen.latest.max(now.saturating_sub(start));
    seen.early += u64::from(now < start);
    seen.drift += u64::from(!(start - info.t0_ticks()).is_multiple_of(frame));
    seen.skipped += u64::from(start != planned_next);
}

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    let info = report::information(&partition);
    hypercall::idle().ok();
    let [start, _, next] = info.window_ticks();
    let frame = next - start;
    println!("window-start frame={frame}");
    for line in 1u64.. {
        for window in 0..SETTLE {
            measure(info, window, frame, &mut Seen::default());
        }
        let mut seen = Seen::default();
        for window in 0..WINDOWS_PER_LINE {
            measure(info, window, frame, &mut seen);
        }
        println!(
            "window-start windows={} latest={} early={} drift={} skipped={}",
            line * WINDOWS_PER_LINE,
            seen.latest,
            seen.early,
            seen.drift,
            seen.skipped
        );
    }
    report::sleep()
}
