//! Waits for `talker`, asleep on its doorbell, and has filled the queue to it, while that is restarted: each
//! restart is seen as a new epoch whose messages are all new, and empties the full queue.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::executor::ThreadExecutor;
use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, Received, SamplingSource, SendError};
use bulkhead_sdk::{Partition, println};
use probes::report;
use static_cell::StaticCell;

bulkhead_sdk::entry!(main);

static THREAD: StaticCell<ThreadExecutor> = StaticCell::new();
/// Messages of each start of the talker.
const MESSAGES: u64 = 3;
/// Depth of the queue to it (tests/configs/blocked.dts).
const DEPTH: u64 = 4;
/// Starts of the talker that one line speaks of.
const STARTS_PER_LINE: u64 = 10;

struct Blocked {
    speech: QueuingDestination,
    answers: QueuingSource,
    state: SamplingSource,
    wrong: u64,
}

impl Blocked {
    fn expect(&mut self, good: bool, what: &str, start: u64) {
        if !good {
            self.wrong += 1;
            println!("FAIL start {start} of the talker: {what}");
        }
    }

    /// Takes the messages of the talker's start `start`, asleep before the first.
    async fn hear(&mut self, start: u64) {
        for number in 1..=MESSAGES {
            let mut buffer = [0; 16];
            let received = self.speech.received(&mut buffer).await;
            let (of, nth) = buffer.split_at(8);
            let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
            self.expect((word(of), word(nth)) == (start, number), "another message", start);
            let told = received.is_ok_and(|Received { epoch, new_epoch, .. }| {
                u64::from(epoch) == start && (start == 1 || new_epoch == (number == 1))
            });
            self.expect(told, "its epoch is not told", start);
        }
    }

    /// Fills the queue to the talker, which the restart has emptied.
    fn answer(&mut self, start: u64) {
        let mut sent = 0;
        let end = loop {
            match self.answers.send(&start.to_le_bytes()) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        self.expect(end == SendError::Full, "the queue ends otherwise", start);
        self.expect(sent == DEPTH, "the full queue was not emptied", start);
    }
}

#[embassy_executor::task]
async fn run(mut blocked: Blocked) {
    for start in 1u64.. {
        blocked.hear(start).await;
        blocked.answer(start);
        // The keeper restarts the talker when it has read this.
        let said = blocked.state.write(&start.to_le_bytes()).is_ok();
        blocked.expect(said, "the port to the keeper refuses", start);
        if start.is_multiple_of(STARTS_PER_LINE) {
            println!("blocked starts={start} wrong={}", blocked.wrong);
        }
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info;
    let blocked = Blocked {
        speech: QueuingDestination::open(info, "speech").expect("port speech"),
        answers: QueuingSource::open(info, "answers").expect("port answers"),
        state: SamplingSource::open(info, "heard").expect("port heard"),
        wrong: 0,
    };
    report::normal();
    THREAD.init(ThreadExecutor::new()).run(|spawner| {
        spawner.spawn(run(blocked).expect("one task"));
    })
}
