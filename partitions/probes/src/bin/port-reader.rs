//! The peer of `port-garbage`: reads and writes all the time with the runtime's library, counts what
//! it is told, and must be there at the end, reading valid messages again.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, ReceiveError, SamplingDestination, SendError};
use bulkhead_sdk::{Partition, println, time};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// The start of the peer in which it keeps to the protocols.
const GOOD_EPOCH: u32 = 2;
const PATIENCE_NS: u64 = 60_000_000_000;
/// Valid messages of each port that end the probe.
const ENOUGH: u64 = 100;

/// How often each outcome was seen.
#[derive(Default)]
struct Tally {
    good: u64,
    violations: u64,
    overruns: u64,
    others: u64,
    recovered: u64,
}

impl Tally {
    fn count(&mut self, outcome: Result<u32, ReceiveError>) {
        match outcome {
            Ok(GOOD_EPOCH) => self.recovered += 1,
            Ok(_) => self.good += 1,
            Err(ReceiveError::Violation) => self.violations += 1,
            Err(ReceiveError::Overrun) => self.overruns += 1,
            Err(_) => self.others += 1,
        }
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: accepted={} violations={} overruns={} nothing={} recovered={}",
            self.good, self.violations, self.overruns, self.others, self.recovered
        );
    }
}

fn main(partition: Partition) -> ! {
    let mut report = Report::new("port-reader");
    let mut state = SamplingDestination::open(partition.info, "state").expect("port state");
    let mut telemetry = QueuingDestination::open(partition.info, "telemetry").expect("telemetry");
    let mut setpoint = QueuingSource::open(partition.info, "setpoint").expect("port setpoint");
    report::normal();
    let (mut sampled, mut queued) = (Tally::default(), Tally::default());
    let (mut sent, mut full) = (0u64, 0u64);
    let mut buffer = [0; 256];
    let end = time::now_ticks() + time::ticks_from_ns(PATIENCE_NS);
    while sampled.recovered < ENOUGH || queued.recovered < ENOUGH {
        sampled.count(state.read(&mut buffer).map(|sample| sample.epoch));
        queued.count(telemetry.receive(&mut buffer).map(|message| message.epoch));
        match setpoint.send(b"42") {
            Ok(()) => sent += 1,
            Err(SendError::Full) => full += 1,
            Err(error) => panic!("{error}"),
        }
        if time::now_ticks() > end {
            break;
        }
    }
    sampled.print("state");
    queued.print("telemetry");
    println!("setpoint: sent={sent} full={full}");
    let enough = ENOUGH..=u64::MAX;
    report.within(
        "garbage was told from messages, state",
        sampled.violations + sampled.overruns,
        1,
        u64::MAX,
    );
    report.within("garbage was told from messages, telemetry", queued.violations, 1, u64::MAX);
    report.check(
        enough.contains(&sampled.recovered) && enough.contains(&queued.recovered),
        format_args!("both ports work again after the peer's restart"),
        format_args!("found {} and {} messages", sampled.recovered, queued.recovered),
    );
    report.finish()
}
