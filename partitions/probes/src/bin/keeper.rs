//! Rules over the partition `subject` in a row: suspends and resumes it, halts it, restarts it. Where a port
//! `pulse` tells of a start and of progress in it, it waits for both in every start, and holds that there is
//! no progress while the subject is suspended.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::state;
use bulkhead_sdk::hypercall::{Error, PartitionStatus, partition_control, partition_status};
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, println, time};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// Restarts that one line speaks of.
const ROUNDS_PER_LINE: u32 = 10;
/// How long the subject may take for anything, in nanoseconds.
const PATIENCE_NS: u64 = 20_000_000_000;
/// How long it is left alone or suspended, in nanoseconds.
const PAUSE_NS: u64 = 3_000_000;
/// Time from one look at it to the next, in nanoseconds.
const NAP_NS: u64 = 50_000;

fn wait(ns: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while !done() {
        if time::now_ticks() > end {
            return false;
        }
        // Asleep, so that an emulator that counts time in instructions serves the other CPUs in time.
        timer::nap(NAP_NS);
    }
    true
}

fn pause() {
    wait(PAUSE_NS, || false);
}

struct Keeper {
    subject: u64,
    pulse: Option<SamplingDestination>,
    round: u32,
    failed: u32,
}

impl Keeper {
    fn expect(&mut self, good: bool, what: &str) {
        if !good {
            self.failed += 1;
            println!("FAIL round {}: {what}; {:?}", self.round, self.status());
        }
    }

    fn status(&self) -> Result<PartitionStatus, Error> {
        partition_status(self.subject)
    }

    fn state(&self) -> Option<u32> {
        self.status().ok().map(|status| status.state)
    }

    fn order(&mut self, operation: u64, what: &str) {
        let done = partition_control(self.subject, operation).is_ok();
        self.expect(done, what);
    }

    /// The start that the port speaks of, and the progress in it.
    fn progress(&mut self) -> Option<(u64, u64)> {
        let mut message = [0; 16];
        self.pulse.as_mut()?.read(&mut message).ok()?;
        let (start, progress) = message.split_at(8);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        Some((word(start), word(progress)))
    }

    /// Waits until the subject works in start `start`.
    fn works(&mut self, start: u32) {
        let runs = wait(PATIENCE_NS, || {
            self.status().is_ok_and(|status| status.state == state::RUNNING && status.starts == start)
        });
        self.expect(runs, "it does not start");
        if self.pulse.is_some() {
            let said = wait(PATIENCE_NS, || {
                self.progress().is_some_and(|(of, progress)| of == u64::from(start) && progress != 0)
            });
            self.expect(said, "it makes no progress");
        }
    }

    /// Suspends it for a while.
    fn suspend(&mut self) {
        self.order(control::SUSPEND, "SUSPEND is refused");
        // A message may have been on its way.
        pause();
        self.expect(self.state() == Some(state::SUSPENDED), "it is not suspended");
        let before = self.progress();
        pause();
        let after = self.progress();
        self.expect(before == after, "it works while it is suspended");
        self.order(control::RESUME, "RESUME is refused");
    }

    fn halt(&mut self) {
        self.order(control::HALT, "HALT is refused");
        self.expect(self.state() == Some(state::HALTED), "it is not halted");
        pause();
        let silent = self.pulse.is_none() || self.progress().is_none();
        self.expect(silent, "its port is believed while it is halted");
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("keeper needs the hypervisor");
    let pulse = SamplingDestination::open(Some(info), "pulse").ok();
    let Some((subject, _)) = info.authority("subject") else {
        println!("FAIL no authority over subject");
        report::sleep()
    };
    report::normal();
    let mut keeper = Keeper { subject, pulse, round: 0, failed: 0 };
    let mut start = 1;
    loop {
        keeper.round += 1;
        keeper.works(start);
        if keeper.round.is_multiple_of(3) {
            keeper.suspend();
        }
        if keeper.round.is_multiple_of(4) {
            keeper.halt();
        }
        pause();
        keeper.order(control::RESTART, "RESTART is refused");
        start += 1;
        if keeper.round.is_multiple_of(ROUNDS_PER_LINE) {
            println!("keeper rounds={} failed={}", keeper.round, keeper.failed);
        }
    }
}
