//! The peer of `ringer`: looks at its queue only when the doorbell rings. Rings may coalesce; if the
//! last one were lost, the last message would stay where it is.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::executor::ThreadExecutor;
use bulkhead_sdk::ports::QueuingDestination;
use bulkhead_sdk::{Partition, println};
use embassy_time::{Duration, Timer};
use probes::{Report, report};
use static_cell::StaticCell;

bulkhead_sdk::entry!(main);

static THREAD: StaticCell<ThreadExecutor> = StaticCell::new();
const PATIENCE: Duration = Duration::from_secs(100);

/// Takes messages to the last one; whether all came, in order.
async fn listen(port: &mut QueuingDestination, report: &mut Report) {
    let mut buffer = [0; 16];
    let (mut expected, mut taken, mut wrong) = (0u64, 0u64, 0u64);
    loop {
        let received = match port.received(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                println!("after {taken} messages: {error}");
                wrong += 1;
                continue;
            }
        };
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&buffer[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        // What was sent before this side opened the port is not for it.
        if taken == 0 {
            expected = word(0);
        }
        taken += 1;
        if received.length != 16 || word(0) != expected {
            println!("message {} of {} bytes, expected {expected}", word(0), received.length);
            wrong += 1;
        }
        expected = word(0) + 1;
        if word(8) == 1 {
            break;
        }
    }
    report.within("messages up to the last", taken, 1000, u64::MAX);
    report.equal("none lost, none twice, in order", wrong, 0);
}

#[embassy_executor::task]
async fn task(mut port: QueuingDestination, mut report: Report) {
    listen(&mut port, &mut report).await;
    report.end();
}

#[embassy_executor::task]
async fn watch() {
    Timer::after(PATIENCE).await;
    println!("listener waited {} s in all", PATIENCE.as_secs());
}

fn main(partition: Partition) -> ! {
    let report = Report::new("listener");
    let port = QueuingDestination::open(partition.info, "storm").expect("port storm");
    report::normal();
    THREAD.init(ThreadExecutor::new()).run(|spawner| {
        spawner.spawn(task(port, report).expect("one task"));
        spawner.spawn(watch().expect("one watch"));
    })
}
