//! Queuing port: order, fullness, epochs, hostile peers at either end.

mod common;

use bulkhead_abi::port::{consumer, producer, producer_bytes, queuing_stride};
use bulkhead_ports::memory::Geometry;
use bulkhead_ports::{Memory, QueuingReader, QueuingWriter, ReceiveError, SendError};
use common::{El2, Shared};
use embedded_io::{Error, ErrorKind, Read, ReadReady, Write, WriteReady};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

const GEOMETRY: Geometry = Geometry { message_bytes: 12, slots: 3 };

struct Bench {
    sent: Shared,
    taken: Shared,
    /// What the producer hears of the consumer, and the reverse.
    to_producer: El2,
    to_consumer: El2,
}

impl Bench {
    fn new() -> Self {
        Self {
            sent: Shared::new(producer_bytes(12, 3)),
            taken: Shared::new(consumer::BYTES),
            to_producer: El2::new(50, 1),
            to_consumer: El2::new(60, 1),
        }
    }

    fn writer(&self, epoch: u32) -> QueuingWriter<Shared, El2> {
        let (own, peer) = (self.sent.clone(), self.taken.clone());
        QueuingWriter::open(own, peer, self.to_producer.clone(), GEOMETRY, epoch).unwrap()
    }

    fn reader(&self, epoch: u32) -> QueuingReader<Shared, El2> {
        let (own, peer) = (self.taken.clone(), self.sent.clone());
        QueuingReader::open(own, peer, self.to_consumer.clone(), GEOMETRY, epoch).unwrap()
    }
}

fn take(reader: &mut QueuingReader<Shared, El2>) -> Result<Vec<u8>, ReceiveError> {
    let mut buffer = [0; 12];
    reader.receive(&mut buffer).map(|received| buffer[..received.length].to_vec())
}

#[test]
fn refuses_the_newest_when_full_and_counts() {
    let bench = Bench::new();
    let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
    for message in [b"a", b"b", b"c"] {
        writer.send(message, 50).unwrap();
    }
    assert_eq!(writer.send(b"d", 50), Err(SendError::Full));
    assert_eq!((writer.refused(), reader.refused()), (1, 1));
    assert_eq!(reader.depth_used(), Ok(3));
    assert_eq!(take(&mut reader).unwrap(), b"a");
    writer.send(b"e", 50).unwrap();
    for expected in [b"b", b"c", b"e"] {
        assert_eq!(take(&mut reader).unwrap(), expected);
    }
    assert_eq!(take(&mut reader), Err(ReceiveError::Empty));
}

#[test]
fn tells_age_and_distrusts_the_future() {
    let bench = Bench::new();
    let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
    writer.send(b"a", 45).unwrap();
    writer.send(b"b", 61).unwrap();
    let mut buffer = [0; 12];
    assert_eq!(reader.receive(&mut buffer).unwrap().age_ticks, Some(15));
    assert_eq!(reader.receive(&mut buffer).unwrap().age_ticks, None);
}

#[test]
fn follows_a_restarted_producer() {
    let bench = Bench::new();
    let mut reader = bench.reader(1);
    assert_eq!(take(&mut reader), Err(ReceiveError::PeerStarting));
    let mut writer = bench.writer(1);
    writer.send(b"a", 0).unwrap();
    writer.send(b"lost", 0).unwrap();
    assert_eq!(take(&mut reader).unwrap(), b"a");
    bench.to_consumer.set_peer_epoch(0);
    assert_eq!(take(&mut reader), Err(ReceiveError::PeerDown));
    bench.sent.fill(0);
    bench.to_consumer.set_peer_epoch(2);
    assert_eq!(take(&mut reader), Err(ReceiveError::PeerStarting));
    let mut writer = bench.writer(2);
    for message in [b"x", b"y", b"z"] {
        writer.send(message, 0).unwrap();
    }
    // The consumer's tail still belongs to epoch 1: it must not make room.
    assert_eq!(writer.send(b"w", 0), Err(SendError::Full));
    let mut buffer = [0; 12];
    let first = reader.receive(&mut buffer).unwrap();
    assert!(first.new_epoch && first.epoch == 2 && buffer[0] == b'x');
    assert!(!reader.receive(&mut buffer).unwrap().new_epoch);
    writer.send(b"w", 0).unwrap();
}

#[test]
fn a_restarted_consumer_begins_with_an_empty_queue() {
    let bench = Bench::new();
    let mut writer = bench.writer(1);
    let mut reader = bench.reader(1);
    writer.send(b"a", 0).unwrap();
    assert_eq!(take(&mut reader).unwrap(), b"a");
    for message in [b"b", b"c", b"d"] {
        writer.send(message, 0).unwrap();
    }
    bench.to_producer.set_peer_epoch(0);
    bench.taken.fill(0);
    // A zeroed tail, or one of an unannounced epoch, is not believed.
    assert_eq!(writer.send(b"e", 0), Err(SendError::Full));
    bench.to_producer.set_peer_epoch(2);
    assert_eq!(writer.send(b"e", 0), Err(SendError::Full));
    assert_eq!(writer.violations(), 0);
    let mut reader = bench.reader(2);
    assert_eq!(take(&mut reader), Err(ReceiveError::Empty));
    writer.send(b"f", 0).unwrap();
    assert_eq!(take(&mut reader).unwrap(), b"f");
}

#[test]
fn an_impossible_tail_is_not_believed() {
    let bench = Bench::new();
    let (mut writer, _reader) = (bench.writer(1), bench.reader(1));
    for message in [b"a", b"b", b"c"] {
        writer.send(message, 0).unwrap();
    }
    bench.taken.store_u32(consumer::PEER_EPOCH, 1, Relaxed);
    for lie in [4, u64::MAX, 1 << 63] {
        bench.taken.store_u64(consumer::TAIL, lie, Relaxed);
        assert_eq!(writer.send(b"d", 0), Err(SendError::Full));
    }
    assert_eq!(writer.violations(), 3);
}

#[test]
fn an_impossible_head_or_length_is_a_violation_and_heals() {
    let bench = Bench::new();
    let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
    writer.send(b"a", 0).unwrap();
    bench.sent.store_u64(producer::HEAD, 4, Relaxed);
    assert_eq!(take(&mut reader), Err(ReceiveError::Violation));
    assert_eq!(take(&mut reader), Err(ReceiveError::Empty));
    for lie in [0, 13, u32::MAX] {
        bench.sent.store_u64(producer::HEAD, 5, Relaxed);
        let slot = producer::SLOTS + queuing_stride(12);
        bench.sent.store_u32(slot + producer::SLOT_LENGTH, lie, Relaxed);
        let mut fresh = bench.reader(1);
        bench.sent.store_u64(producer::HEAD, 8, Relaxed);
        let slot = producer::SLOTS + 2 * queuing_stride(12);
        bench.sent.store_u32(slot + producer::SLOT_LENGTH, lie, Relaxed);
        assert_eq!(take(&mut fresh), Err(ReceiveError::Violation));
        assert_eq!(fresh.violations(), 1);
    }
}

#[test]
fn a_small_buffer_leaves_the_message() {
    let bench = Bench::new();
    let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
    writer.send(b"long enough", 0).unwrap();
    let small = ReceiveError::BufferTooSmall { needed: 11 };
    assert_eq!(reader.receive(&mut [0; 4]).err(), Some(small));
    assert_eq!(take(&mut reader).unwrap(), b"long enough");
}

#[test]
fn embedded_io_moves_one_message_for_each_call() {
    let bench = Bench::new();
    let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
    assert_eq!(reader.read_ready(), Ok(false));
    assert_eq!(writer.write(b"more than twelve bytes"), Ok(12));
    writer.write_all(b"end").unwrap();
    writer.write_all(b"!").unwrap();
    assert_eq!(writer.write_ready(), Ok(false));
    assert_eq!(writer.write(b"?").map_err(|error| error.kind()), Err(ErrorKind::OutOfMemory));
    let mut buffer = [0; 16];
    assert_eq!(reader.read(&mut buffer), Ok(12));
    assert_eq!(&buffer[..12], b"more than tw");
    assert_eq!(reader.read(&mut buffer), Ok(3));
    assert_eq!(reader.read_ready(), Ok(true));
}

proptest! {
    /// The queue behaves as a bounded deque under any sequence of sends and receives.
    #[test]
    fn is_a_bounded_deque(steps in proptest::collection::vec(
        proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=12)), 0..64))
    {
        let bench = Bench::new();
        let (mut writer, mut reader) = (bench.writer(1), bench.reader(1));
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Some(message) => {
                    let outcome = writer.send(&message, 0);
                    prop_assert_eq!(outcome.is_ok(), model.len() < 3);
                    if outcome.is_ok() {
                        model.push_back(message);
                    }
                }
                None => prop_assert_eq!(take(&mut reader).ok(), model.pop_front()),
            }
        }
    }

    /// Whatever the producer's region holds, receiving ends and returns possible messages only.
    #[test]
    fn a_garbage_producer_is_survived(
        words in proptest::collection::vec(any::<u64>(), producer_bytes(12, 3) / 8),
        head in 0u64..6,
    ) {
        let bench = Bench::new();
        let mut reader = bench.reader(1);
        for (word, value) in bench.sent.0.iter().zip(words) {
            word.store(value, Relaxed);
        }
        bench.sent.store_u64(producer::HEAD, head, Relaxed);
        bench.sent.store_u32(producer::EPOCH, 1, Relaxed);
        for _ in 0..8 {
            let mut buffer = [0; 16];
            match reader.receive(&mut buffer) {
                Ok(received) => prop_assert!((1..=12).contains(&received.length)),
                Err(error) => prop_assert!(
                    matches!(error, ReceiveError::Violation | ReceiveError::Empty)),
            }
        }
        prop_assert!(bench.taken.load_u64(consumer::TAIL, Relaxed) <= head.max(3));
    }

    /// Whatever the consumer's region holds, the producer keeps its own count and never has more
    /// than the depth outstanding by a tail that it believed.
    #[test]
    fn a_garbage_consumer_is_survived(
        tails in proptest::collection::vec((any::<u64>(), 0u32..3, 0u32..3), 1..32),
    ) {
        let bench = Bench::new();
        let mut writer = bench.writer(1);
        let mut accepted = 0;
        let mut believable = 0;
        for (tail, epoch, peer_epoch) in tails {
            let tail = if tail % 2 == 0 { tail } else { tail % 8 };
            bench.taken.store_u64(consumer::TAIL, tail, Relaxed);
            bench.taken.store_u32(consumer::EPOCH, epoch, Relaxed);
            bench.taken.store_u32(consumer::PEER_EPOCH, peer_epoch, Relaxed);
            let vouched = epoch == 1 && peer_epoch == 1 && tail <= accepted;
            if accepted - believable >= 3 && vouched && tail > believable {
                believable = tail;
            }
            let sent = writer.send(b"x", 0).is_ok();
            prop_assert_eq!(sent, accepted - believable < 3);
            accepted += u64::from(sent);
        }
        prop_assert_eq!(writer.sent(), accepted);
    }
}
