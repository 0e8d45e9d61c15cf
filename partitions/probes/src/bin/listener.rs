//! The peer of `ringer`: looks at its queue only when the doorbell rings. Rings may coalesce; if the
//! last one were lost, the last message would stay where it is.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::executor::ThreadExecutor;
use bulkhead_sdk::ports::{QueuingDestination, SamplingSource};
use bulkhead_sdk::{Partition, println};
use embassy_time::{Duration, Timer};
use probes::{Report, report};
use static_cell::StaticCell;

bulkhead_sdk::entry!(main);

static THREAD: StaticCell<ThreadExecutor> = StaticCell::new();
const PATIENCE: Duration = Duration::from_secs(100);
/// What `ringer` sends.
const MESSAGES: u64 = 20_000;

/// Takes messages to the last one; whether all came, in order.
async fn listen(port: &mut QueuingDestination, report: &mut Report) {
    let mut buffer = [0; 16];
    let (mut expected, mut taken, mut wrong) = (1u64, 0u64, 0u64);
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
    report.equal("messages up to the last", taken, MESSAGES);
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
    let mut ready = SamplingSource::open(partition.info, "ready").expect("port ready");
    ready.write(&[1]).expect("one byte");
    report::normal();
    THREAD.init(ThreadExecutor::new()).run(|spawner| {
        spawner.spawn(task(port, report).expect("one task"));
        spawner.spawn(watch().expect("one watch"));
    })
}
