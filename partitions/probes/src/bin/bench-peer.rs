//! The peer of `bench`: answers each doorbell with one of its own, then publishes when it came, sends
//! a message and takes those that were sent to it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::Partition;
use bulkhead_sdk::abi::hypercall;
use bulkhead_sdk::interrupt::{self, priority};
use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, SamplingSource};
use probes::meter::{self, Wait};

bulkhead_sdk::entry!(main);

fn no_handler(_intid: u32) {}

fn main(partition: Partition) -> ! {
    meter::install();
    let info = partition.info.expect("bench-peer needs the hypervisor");
    let bell = info.port("ping").and_then(|port| port.doorbell_intid).expect("a doorbell at ping");
    interrupt::enable(bell, priority::LOWEST, no_handler).expect("a doorbell without a handler");
    let pong = info.port("pong").map(|port| u64::from(port.index)).expect("port pong");
    let mut stamp = SamplingSource::open(Some(info), "stamp").expect("port stamp");
    let mut command = QueuingDestination::open(Some(info), "command").expect("port command");
    let mut reply = QueuingSource::open(Some(info), "reply").expect("port reply");
    let mut buffer = [0; 128];
    loop {
        let taken = meter::await_interrupt(Wait::Asleep);
        if taken.intid() != bell {
            continue;
        }
        meter::call(hypercall::DOORBELL, pong);
        let (ticks, _) = buffer.split_at_mut(8);
        ticks.copy_from_slice(&taken.ticks.to_le_bytes());
        let written = stamp.write(&buffer);
        assert!(written.is_ok(), "port stamp: {written:?}");
        while command.receive(&mut buffer).is_ok() {}
        // A full port is what the benchmark leaves when it does not measure receiving.
        let _ = reply.send(&buffer[..32]);
    }
}
