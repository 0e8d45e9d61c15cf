//! The monitor partition: looks at the sampling port "state" every two milliseconds, says once a
//! second that it is valid, complains when it goes stale, and tells when it is back.

use bulkhead_sdk::abi::info::mode;
use bulkhead_sdk::executor::ThreadExecutor;
use bulkhead_sdk::ports::{ReceiveError, Sample, SamplingDestination, Validity};
use bulkhead_sdk::{Partition, hypercall, println, time};
use embassy_time::{Duration, Ticker};
use monitor_logic::{Judge, Look, Reason};
use static_cell::StaticCell;

bulkhead_sdk::manifest! {
    "state": sampling destination 64,
}
bulkhead_sdk::entry!(main);

const PERIOD: Duration = Duration::from_millis(2);
const LOOKS_PER_S: u32 = 500;
static THREAD: StaticCell<ThreadExecutor> = StaticCell::new();

fn look(outcome: Result<Sample, ReceiveError>) -> Look {
    match outcome {
        Ok(sample) => {
            let age_us = time::ns_from_ticks(sample.age_ticks) / 1000;
            match sample.validity {
                Validity::Valid => Look::Valid { age_us, epoch: sample.epoch },
                Validity::Stale => Look::Stale(Reason::Old { age_us }),
                Validity::FromFuture => Look::Stale(Reason::FromFuture),
            }
        }
        Err(ReceiveError::PeerDown) => Look::Stale(Reason::WriterDown),
        Err(ReceiveError::PeerStarting | ReceiveError::Empty) => Look::Stale(Reason::NothingWritten),
        Err(_) => Look::Stale(Reason::Unreadable),
    }
}

#[embassy_executor::task]
async fn watch(mut port: SamplingDestination) {
    let mut judge = Judge::default();
    let mut message = [0; 64];
    let mut ticker = Ticker::every(PERIOD);
    loop {
        ticker.next().await;
        let lines = judge.look(look(port.read(&mut message)), LOOKS_PER_S);
        for line in lines.into_iter().flatten() {
            println!("{line}");
        }
    }
}

fn main(partition: Partition) -> ! {
    let port = SamplingDestination::open(partition.info, "state");
    match &port {
        Ok(port) => println!("monitor watches state, refresh {} us", port.refresh_ns() / 1000),
        Err(error) => println!("port state absent: {error}"),
    }
    if let Err(error) = hypercall::set_mode(mode::NORMAL)
        && partition.info.is_some()
    {
        println!("mode NORMAL refused: {error}");
    }
    THREAD.init(ThreadExecutor::new()).run(|spawner| {
        if let Ok(port) = port {
            spawner.spawn(watch(port).expect("one watching task"));
        }
    })
}
