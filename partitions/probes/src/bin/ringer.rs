//! Rings a peer's doorbell as fast as it can, with a numbered message each time, and a last one that
//! must not be lost.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::{QueuingSource, SamplingDestination, SendError};
use bulkhead_sdk::{Partition, hypercall, println, time};
use probes::report;

bulkhead_sdk::entry!(main);

const MESSAGES: u64 = 20_000;
/// Rings after each message.
const RINGS: u64 = 10;

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("ringer needs the hypervisor");
    let mut port = QueuingSource::open(Some(info), "storm").expect("port storm");
    let index = info.port("storm").map_or(0, |port| port.index);
    report::normal();
    // What is sent before the peer has opened its end is not for it.
    let mut ready = SamplingDestination::open(Some(info), "ready").expect("port ready");
    while ready.read(&mut [0]).is_err() {
        core::hint::spin_loop();
    }
    let (mut rung, mut deferred, mut full) = (0u64, 0u64, 0u64);
    for number in 1..=MESSAGES {
        let last = u64::from(number == MESSAGES);
        let message = [number.to_le_bytes(), last.to_le_bytes()].concat_fixed();
        while port.send(&message) == Err(SendError::Full) {
            full += 1;
            core::hint::spin_loop();
        }
        for _ in 0..RINGS {
            match hypercall::doorbell(index) {
                Ok(()) => rung += 1,
                Err(hypercall::Error::NotAvailable) => deferred += 1,
                Err(error) => panic!("doorbell: {error}"),
            }
        }
    }
    // The ring that the last message needs must not fall into the minimum interval.
    let end = time::now_ticks() + time::ticks_from_ns(5_000_000_000);
    while hypercall::doorbell(index).is_err() && time::now_ticks() < end {
        core::hint::spin_loop();
    }
    println!("probe ringer: {MESSAGES} messages, {rung} rings, {deferred} deferred, {full} full");
    report::sleep()
}

/// Two words as one message.
trait ConcatFixed {
    /// The bytes of both.
    fn concat_fixed(self) -> [u8; 16];
}

impl ConcatFixed for [[u8; 8]; 2] {
    fn concat_fixed(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self[0]);
        bytes[8..].copy_from_slice(&self[1]);
        bytes
    }
}
