//! Counts the visits that EL2 pays to its CPU inside its windows and that it has not caused: it makes no call,
//! touches no device and arms no timer in them, and looks at EL2's own counts all the time.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::trace::cause;
use bulkhead_sdk::trace::TraceRings;
use bulkhead_sdk::{Partition, println, registers};
use probes::report;

bulkhead_sdk::entry!(main);

const WINDOWS_PER_LINE: u64 = 500;
/// CPUs of the board, and the one that this partition runs on.
const CPUS: u64 = 4;
const OWN: u64 = 2;
/// What others may cause.
const CAUSES: [usize; 4] = [cause::KICK, cause::TIMER, cause::CONSOLE, cause::STRAGGLER];

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let info = partition.info.expect("visited needs the hypervisor");
    let rings = TraceRings::open(&info, CPUS).expect("the right to read the trace");
    report::normal();
    let (mut windows, mut last) = (0, info.window_ticks()[0]);
    let mut sums = [0u64; CAUSES.len()];
    let mut seen = [0u32; CAUSES.len()];
    loop {
        // The window is looked at before and after: what is read between is of one window.
        let before = info.window_ticks()[0];
        let now = CAUSES.map(|cause| rings.visits(OWN, cause));
        if info.window_ticks()[0] != before {
            continue;
        }
        if before == last {
            seen = now;
            continue;
        }
        last = before;
        windows += 1;
        for (sum, count) in sums.iter_mut().zip(seen) {
            *sum += u64::from(count);
        }
        seen = now;
        if windows % WINDOWS_PER_LINE == 0 {
            let [kicks, timer, console, stragglers] = sums;
            println!(
                "visited windows={windows} kicks={kicks} timer={timer} console={console} stragglers={stragglers}"
            );
        }
    }
}
