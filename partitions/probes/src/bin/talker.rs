//! Sends a few messages at each start, then nothing more, and never takes any: whoever waits for it waits
//! until it is started again.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::{QueuingDestination, QueuingSource};
use bulkhead_sdk::{Partition, println};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// Messages of each start.
const MESSAGES: u64 = 3;
/// Time in which the listener has opened its end after the first start, in nanoseconds.
const LISTENER_NS: u64 = 20_000_000;

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("talker needs the hypervisor");
    let mut speech = QueuingSource::open(Some(info), "speech").expect("port speech");
    let _answers = QueuingDestination::open(Some(info), "answers").expect("port answers");
    let start = info.start_count();
    // A listener that starts later begins with an empty queue.
    timer::nap(LISTENER_NS);
    for number in 1..=MESSAGES {
        let mut message = [0; 16];
        message[..8].copy_from_slice(&u64::from(start).to_le_bytes());
        message[8..].copy_from_slice(&number.to_le_bytes());
        if let Err(error) = speech.send(&message) {
            println!("FAIL start {start}, message {number}: {error:?}");
        }
    }
    report::sleep()
}
