//! Says which plan it runs in, whenever that changes.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, println};
use probes::report;

bulkhead_sdk::entry!(main);

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("plan-watch needs the hypervisor");
    report::normal();
    let mut shown = None;
    loop {
        let plan = info.plan();
        if plan != shown {
            shown = plan;
            println!("plan {plan:?}");
        }
        core::hint::spin_loop();
    }
}
