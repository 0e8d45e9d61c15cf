//! Rows that need a peer, `bench-peer`: ports and doorbells.

use super::{Row, rest};
use bulkhead_sdk::abi::hypercall;
use bulkhead_sdk::info::Info;
use bulkhead_sdk::interrupt::{self, priority};
use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, SamplingDestination, SamplingSource};
use bulkhead_sdk::registers::counter;
use probes::meter::{self, Wait};

/// Bytes of a sampled message.
const SAMPLED_BYTES: usize = 128;
/// Bytes of a queued message.
const QUEUED_BYTES: usize = 32;

/// The ends of the ports that this partition has.
pub struct Ends {
    ping: u32,
    stamp: SamplingDestination,
    state: SamplingSource,
    command: QueuingSource,
    reply: QueuingDestination,
}

fn no_handler(_intid: u32) {}

/// Index of the port `name` in the port table.
fn index(info: Info, name: &str) -> u32 {
    info.port(name).map(|port| port.index).expect("a port of the benchmark")
}

impl Ends {
    /// Opens all of them and enables the doorbell of `pong`; none without that.
    pub fn open(info: Info) -> Option<Self> {
        let bell = info.port("pong")?.doorbell_intid?;
        interrupt::enable(bell, priority::LOWEST, no_handler).expect("a doorbell without a handler");
        let given = Some(info);
        Some(Self {
            ping: index(info, "ping"),
            stamp: SamplingDestination::open(given, "stamp").expect("port stamp"),
            state: SamplingSource::open(given, "state").expect("port state"),
            command: QueuingSource::open(given, "command").expect("port command"),
            reply: QueuingDestination::open(given, "reply").expect("port reply"),
        })
    }

    /// Measures all rows.
    pub fn measure(&mut self) -> [Row; 6] {
        let ping = u64::from(self.ping);
        let one_way = Row::take::<74>("doorbell", || {
            let sent = meter::call(hypercall::DOORBELL, ping);
            meter::await_interrupt(Wait::Asleep);
            rest();
            self.stamped().saturating_sub(sent)
        });
        let round_trip = Row::take::<75>("doorbell-round-trip", || {
            let sent = meter::call(hypercall::DOORBELL, ping);
            let ticks = meter::await_interrupt(Wait::Asleep).ticks - sent;
            rest();
            ticks
        });
        [one_way, round_trip, self.sampling_write(), self.sampling_read(), self.send(), self.receive()]
    }

    /// When the peer took the last doorbell.
    fn stamped(&mut self) -> u64 {
        let mut stamp = [0; SAMPLED_BYTES];
        let read = self.stamp.read(&mut stamp);
        assert!(read.is_ok(), "port stamp: {read:?}");
        stamp.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn sampling_write(&mut self) -> Row {
        let message = [0x5a; SAMPLED_BYTES];
        Row::take::<79>("sampling-write-128", || {
            let before = counter();
            let written = self.state.write(&message);
            let ticks = counter() - before;
            assert!(written.is_ok(), "port state: {written:?}");
            ticks
        })
    }

    fn sampling_read(&mut self) -> Row {
        let mut message = [0; SAMPLED_BYTES];
        Row::take::<80>("sampling-read-128", || {
            let before = counter();
            let read = self.stamp.read(&mut message);
            let ticks = counter() - before;
            assert!(read.is_ok(), "port stamp: {read:?}");
            ticks
        })
    }

    /// The peer empties the port with each doorbell.
    fn send(&mut self) -> Row {
        let message = [0xa5; QUEUED_BYTES];
        let ping = u64::from(self.ping);
        Row::take::<81>("queuing-send-32", || {
            let before = counter();
            let sent = self.command.send(&message);
            let ticks = counter() - before;
            assert!(sent.is_ok(), "port command: {sent:?}");
            meter::call(hypercall::DOORBELL, ping);
            meter::await_interrupt(Wait::Asleep);
            rest();
            ticks
        })
    }

    /// The peer sends a message with each doorbell.
    fn receive(&mut self) -> Row {
        let mut message = [0; QUEUED_BYTES];
        let ping = u64::from(self.ping);
        while self.reply.receive(&mut message).is_ok() {}
        Row::take::<82>("queuing-receive-32", || {
            meter::call(hypercall::DOORBELL, ping);
            meter::await_interrupt(Wait::Asleep);
            rest();
            let before = counter();
            let received = self.reply.receive(&mut message);
            let ticks = counter() - before;
            assert!(received.is_ok(), "port reply: {received:?}");
            ticks
        })
    }
}
