//! Is restarted again and again: at each start it opens its port anew, writes its start count there
//! and checks that its memory holds nothing of the start before.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::SamplingSource;
use bulkhead_sdk::{Partition, println};
use core::sync::atomic::{AtomicU32, Ordering};
use probes::report;

bulkhead_sdk::entry!(main);

/// Initialised data: what the payload says at each start.
static DATA: AtomicU32 = AtomicU32::new(0x5a5a);
/// Zeroed data.
static ZERO: AtomicU32 = AtomicU32::new(0);

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("patient needs the hypervisor");
    let start = info.start_count();
    if DATA.swap(start, Ordering::Relaxed) != 0x5a5a || ZERO.swap(start, Ordering::Relaxed) != 0 {
        println!("FAIL start {start}: memory of the start before");
    }
    let mut port = SamplingSource::open(Some(info), "pulse").expect("port pulse");
    if let Err(error) = port.write(&u64::from(start).to_le_bytes()) {
        println!("FAIL start {start}: {error:?}");
    }
    report::sleep()
}
