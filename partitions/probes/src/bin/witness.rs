//! Writes a counter to the sampling port that `trespass` would like to write, and checks that what
//! it wrote is still there.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::port::sampling;
use bulkhead_sdk::ports::SamplingSource;
use bulkhead_sdk::{Partition, println, time};
use probes::region::Region;
use probes::report;

bulkhead_sdk::entry!(main);

const PERIOD_NS: u64 = 1_000_000_000;

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("witness needs the hypervisor");
    let mut port = SamplingSource::open(Some(info), "canary").expect("port canary");
    let region = Region::writable(&info, "canary").expect("the port is ours to write");
    report::normal();
    for round in 1u64.. {
        port.write(&round.to_le_bytes()).expect("eight bytes fit");
        let end = time::now_ticks() + time::ticks_from_ns(PERIOD_NS);
        while time::now_ticks() < end {
            core::hint::spin_loop();
        }
        let latest = region.load_u64(sampling::LATEST as u64);
        let verdict = if latest == round { "ok" } else { "SPOILT" };
        println!("witness round {round} canary {verdict}");
    }
    report::sleep()
}
