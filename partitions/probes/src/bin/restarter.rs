//! Restarts the first partition that it has authority over, or halts it and restarts it then, each time
//! after the port `heard` has said that its start was heard.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::hypercall::partition_control;
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, println};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// Time from one look at the port to the next, in nanoseconds.
const NAP_NS: u64 = 100_000;
/// Naps between a halt and the restart after it.
const HALTED_NAPS: u64 = 20;

fn order(operation: u64, start: u64) {
    if let Err(error) = partition_control(0, operation) {
        println!("FAIL operation {operation} in start {start}: {error:?}");
    }
}

fn main(partition: Partition) -> ! {
    let mut heard = SamplingDestination::open(partition.info, "heard").expect("port heard");
    report::normal();
    for start in 1u64.. {
        let mut message = [0; 8];
        while heard.read(&mut message).is_err() || u64::from_le_bytes(message) != start {
            timer::nap(NAP_NS);
        }
        if start.is_multiple_of(2) {
            order(control::HALT, start);
            (0..HALTED_NAPS).for_each(|_| timer::nap(NAP_NS));
        }
        order(control::RESTART, start);
    }
    report::sleep()
}
