//! Rules over another partition in a row, until a key is typed: suspends and resumes it, halts it, restarts
//! it. Where it has ports with it, it holds that they work in each start, and only then:
//! a sampling port `state` whose first word tells of progress, a queue `telemetry` from it, a queue
//! `setpoint` to it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::{mode, state};
use bulkhead_sdk::hypercall::{Error, PartitionStatus, partition_control, partition_status};
use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, SamplingDestination};
use bulkhead_sdk::{Partition, console, println, time};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// Its place in this partition's authority table, which has no other entry.
const SUBJECT: u64 = 0;
/// One start in so many is asked for a message, which the RTOS sends after a tenth of a second.
const ROUNDS_PER_TALK: u32 = 10;
/// How long the subject may take for anything, in nanoseconds: Linux boots.
const PATIENCE_NS: u64 = 120_000_000_000;
/// How long it is left alone or suspended, in nanoseconds.
const PAUSE_NS: u64 = 3_000_000;
/// Time from one look at it to the next, in nanoseconds.
const NAP_NS: u64 = 50_000;
/// Longest message of any port.
const MESSAGE_BYTES: usize = 256;

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
    state: Option<SamplingDestination>,
    telemetry: Option<QueuingDestination>,
    setpoint: Option<QueuingSource>,
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
        partition_status(SUBJECT)
    }

    fn is(&self, state: u32) -> bool {
        self.status().is_ok_and(|status| status.state == state)
    }

    fn order(&mut self, operation: u64, what: &str) {
        let done = partition_control(SUBJECT, operation).is_ok();
        self.expect(done, what);
    }

    /// The start that its state speaks of, and the progress in it.
    fn progress(&mut self) -> Option<(u32, u64)> {
        let mut message = [0; MESSAGE_BYTES];
        let sample = self.state.as_mut()?.read(&mut message).ok()?;
        let progress = message.first_chunk().copied().map(u64::from_le_bytes)?;
        Some((sample.epoch, progress))
    }

    /// Waits until the subject works in start `start`.
    fn works(&mut self, start: u32) {
        let runs = wait(PATIENCE_NS, || {
            self.status().is_ok_and(|s| (s.state, s.starts, s.mode) == (state::RUNNING, start, mode::NORMAL))
        });
        self.expect(runs, "it does not start");
        if self.state.is_some() {
            let said = wait(PATIENCE_NS, || {
                self.progress().is_some_and(|(of, progress)| of == start && progress != 0)
            });
            self.expect(said, "it makes no progress");
        }
    }

    /// Takes a message that was sent in start `start`, and sends one.
    fn talks(&mut self, start: u32) {
        if let Some(mut telemetry) = self.telemetry.take() {
            let mut message = [0; MESSAGE_BYTES];
            let mut epochs = (0, false);
            let came = wait(PATIENCE_NS, || {
                let received = telemetry.receive(&mut message);
                epochs = received.map_or(epochs, |message| (message.epoch, message.new_epoch));
                epochs.0 == start
            });
            self.telemetry = Some(telemetry);
            self.expect(came, "it sends nothing");
            self.expect(start == 1 || epochs.1, "its first message is not said to be of a new start");
        }
        if let Some(mut setpoint) = self.setpoint.take() {
            // A queue that nobody emptied would be full after so many rounds as it is deep.
            let sent = setpoint.send(b"50").is_ok();
            self.setpoint = Some(setpoint);
            self.expect(sent, "it takes nothing");
        }
    }

    /// Suspends it for a while.
    fn suspend(&mut self) {
        self.order(control::SUSPEND, "SUSPEND is refused");
        // A message may have been on its way.
        pause();
        self.expect(self.is(state::SUSPENDED), "it is not suspended");
        let before = self.progress();
        pause();
        let after = self.progress();
        self.expect(before == after, "it works while it is suspended");
        self.order(control::RESUME, "RESUME is refused");
    }

    fn halt(&mut self) {
        self.order(control::HALT, "HALT is refused");
        self.expect(self.is(state::HALTED), "it is not halted");
        pause();
        let silent = self.progress().is_none();
        self.expect(silent, "its port is believed while it is halted");
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info;
    let mut keeper = Keeper {
        state: SamplingDestination::open(info, "state").ok(),
        telemetry: QueuingDestination::open(info, "telemetry").ok(),
        setpoint: QueuingSource::open(info, "setpoint").ok(),
        round: 0,
        failed: 0,
    };
    report::normal();
    let mut start = 1;
    while console::read_bytes(&mut [0; 16]) == 0 {
        keeper.round += 1;
        keeper.works(start);
        if keeper.round.is_multiple_of(3) {
            keeper.suspend();
        }
        if keeper.round.is_multiple_of(ROUNDS_PER_TALK) {
            keeper.talks(start);
        }
        if keeper.round.is_multiple_of(4) {
            keeper.halt();
        }
        pause();
        keeper.order(control::RESTART, "RESTART is refused");
        start += 1;
        if keeper.round < ROUNDS_PER_TALK || keeper.round.is_multiple_of(ROUNDS_PER_TALK) {
            println!("keeper rounds={} failed={}", keeper.round, keeper.failed);
        }
    }
    keeper.works(start);
    keeper.talks(start);
    println!("keeper leaves start {start} alone, failed={}", keeper.failed);
    report::sleep()
}
