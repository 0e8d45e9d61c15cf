//! The protocols under every interleaving and reordering that loom's model of C11 weak memory has,
//! up to a bound on pre-emptions.

use bulkhead_abi::port::{consumer, producer_bytes, sampling_bytes};
use bulkhead_ports::memory::Geometry;
use bulkhead_ports::{
    Host, Memory, QueuingReader, QueuingWriter, ReceiveError, SamplingReader, SamplingWriter,
};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};

/// Where the layouts have 32-bit words that these tests reach: epochs, and lengths of the slots.
struct Words {
    long: Vec<AtomicU64>,
    short: Vec<AtomicU32>,
}

#[derive(Clone)]
struct Modelled(Arc<Words>);

impl Modelled {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Words {
            long: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            short: (0..bytes / 4).map(|_| AtomicU32::new(0)).collect(),
        }))
    }

    /// What the loader does before a restarted partition runs.
    fn scrub(&self) {
        self.0.long.iter().for_each(|word| word.store(0, Relaxed));
        self.0.short.iter().for_each(|word| word.store(0, Relaxed));
    }
}

impl Memory for Modelled {
    fn bytes(&self) -> usize {
        self.0.long.len() * 8
    }
    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.0.short[offset / 4].load(order)
    }
    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.0.long[offset / 8].load(order)
    }
    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        self.0.short[offset / 4].store(value, order);
    }
    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.0.long[offset / 8].store(value, order);
    }
    fn copy_out(&self, offset: usize, to: &mut [u8]) {
        for (index, chunk) in to.chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&self.load_u64(offset + 8 * index, Relaxed).to_le_bytes());
        }
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        for (index, chunk) in from.chunks(8).enumerate() {
            let word = u64::from_le_bytes(chunk.try_into().unwrap());
            self.store_u64(offset + 8 * index, word, Relaxed);
        }
    }
    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

#[derive(Clone)]
struct Published(Arc<AtomicU32>);

impl Published {
    fn new(epoch: u32) -> Self {
        Self(Arc::new(AtomicU32::new(epoch)))
    }
}

impl Host for Published {
    fn now_ticks(&self) -> u64 {
        0
    }
    fn peer_epoch(&self) -> u32 {
        self.0.load(Acquire)
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Two words, so that a torn message is seen.
fn message(value: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes[8..].copy_from_slice(&(!value).to_le_bytes());
    bytes
}

fn value(bytes: &[u8; 16]) -> u64 {
    let low = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let high = u64::from_le_bytes(bytes[8..].try_into().unwrap());
    assert_eq!(high, !low, "torn message");
    low
}

#[test]
fn a_sample_is_never_torn_and_never_goes_back() {
    check(3, || {
        let geometry = Geometry { message_bytes: 16, slots: 2 };
        let memory = Modelled::new(sampling_bytes(16, 2));
        let mut writer = SamplingWriter::open(memory.clone(), geometry, 1).unwrap();
        let writing = loom::thread::spawn(move || {
            for number in 1..=3 {
                writer.write(&message(number), number).unwrap();
            }
        });
        let mut reader = SamplingReader::open(memory, Published::new(1), geometry, 0).unwrap();
        let mut last = 0;
        for _ in 0..2 {
            let mut buffer = [0; 16];
            match reader.read(&mut buffer) {
                Ok(sample) => {
                    assert_eq!(sample.sequence, value(&buffer));
                    assert_eq!(sample.timestamp_ticks, sample.sequence);
                    assert!(sample.sequence >= last);
                    last = sample.sequence;
                }
                Err(error) => assert!(matches!(
                    error,
                    ReceiveError::Empty | ReceiveError::Overrun | ReceiveError::PeerStarting
                )),
            }
        }
        writing.join().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(reader.read(&mut buffer).unwrap().sequence, 3);
    });
}

#[test]
fn a_sample_belongs_to_the_epoch_it_is_reported_with() {
    check(2, || {
        let geometry = Geometry { message_bytes: 16, slots: 1 };
        let memory = Modelled::new(sampling_bytes(16, 1));
        let published = Published::new(1);
        let mut writer = SamplingWriter::open(memory.clone(), geometry, 1).unwrap();
        writer.write(&message(100), 0).unwrap();
        let restart = {
            let (memory, published) = (memory.clone(), published.clone());
            loom::thread::spawn(move || {
                published.0.store(0, Relaxed);
                // EL2 publishes before the loader runs: a barrier lies between.
                fence(Release);
                memory.scrub();
                published.0.store(2, Release);
                let mut writer = SamplingWriter::open(memory, geometry, 2).unwrap();
                writer.write(&message(200), 0).unwrap();
            })
        };
        let mut reader = SamplingReader::open(memory, published, geometry, 0).unwrap();
        for _ in 0..2 {
            let mut buffer = [0; 16];
            if let Ok(sample) = reader.read(&mut buffer) {
                assert_eq!(value(&buffer), u64::from(sample.epoch) * 100);
            }
        }
        restart.join().unwrap();
    });
}

#[test]
fn a_queue_delivers_in_order_what_was_accepted() {
    check(3, || {
        let geometry = Geometry { message_bytes: 16, slots: 1 };
        let (sent, taken) = (Modelled::new(producer_bytes(16, 1)), Modelled::new(consumer::BYTES));
        let one = || Published::new(1);
        let mut writer = QueuingWriter::open(sent.clone(), taken.clone(), one(), geometry, 1).unwrap();
        let mut reader = QueuingReader::open(taken, sent, one(), geometry, 1).unwrap();
        let producing = loom::thread::spawn(move || {
            let accepted: Vec<u64> =
                (1..=3).filter(|&number| writer.send(&message(number), number).is_ok()).collect();
            assert_eq!(writer.violations(), 0);
            accepted
        });
        let mut received = Vec::new();
        let mut take = |reader: &mut QueuingReader<_, _>| {
            let mut buffer = [0; 16];
            match reader.receive(&mut buffer) {
                Ok(message) => {
                    assert_eq!(message.timestamp_ticks, value(&buffer));
                    received.push(value(&buffer));
                }
                Err(error) => assert_eq!(error, ReceiveError::Empty),
            }
        };
        take(&mut reader);
        take(&mut reader);
        let accepted = producing.join().unwrap();
        take(&mut reader);
        assert_eq!(received, accepted);
        assert_eq!(reader.violations(), 0);
    });
}

#[test]
fn a_queue_message_belongs_to_the_epoch_it_is_reported_with() {
    check(2, || {
        let geometry = Geometry { message_bytes: 16, slots: 1 };
        let (sent, taken) = (Modelled::new(producer_bytes(16, 1)), Modelled::new(consumer::BYTES));
        let published = Published::new(1);
        let mut writer =
            QueuingWriter::open(sent.clone(), taken.clone(), Published::new(1), geometry, 1).unwrap();
        let mut reader =
            QueuingReader::open(taken.clone(), sent.clone(), published.clone(), geometry, 1).unwrap();
        writer.send(&message(100), 0).unwrap();
        let restart = loom::thread::spawn(move || {
            published.0.store(0, Relaxed);
            fence(Release);
            sent.scrub();
            published.0.store(2, Release);
            let mut writer = QueuingWriter::open(sent, taken, Published::new(1), geometry, 2).unwrap();
            writer.send(&message(200), 0).unwrap();
            assert_eq!(writer.violations(), 0);
        });
        let mut last = 0;
        for _ in 0..2 {
            let mut buffer = [0; 16];
            if let Ok(received) = reader.receive(&mut buffer) {
                assert_eq!(value(&buffer), u64::from(received.epoch) * 100);
                assert!(received.epoch > last);
                last = received.epoch;
            }
        }
        restart.join().unwrap();
    });
}
