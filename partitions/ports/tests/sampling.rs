//! Sampling port: geometry, validity, epochs, a hostile writer.

mod common;

use bulkhead_abi::port::{sampling as layout, sampling_bytes, sampling_stride};
use bulkhead_ports::memory::Geometry;
use bulkhead_ports::sampling::Validity;
use bulkhead_ports::{Memory, OpenError, ReceiveError, SamplingReader, SamplingWriter, SendError};
use common::{El2, Shared};
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

const GEOMETRY: Geometry = Geometry { message_bytes: 20, slots: 3 };
const REFRESH: u64 = 100;

fn region() -> Shared {
    Shared::new(sampling_bytes(GEOMETRY.message_bytes, GEOMETRY.slots))
}

fn reader(memory: &Shared, el2: &El2) -> SamplingReader<Shared, El2> {
    SamplingReader::open(memory.clone(), el2.clone(), GEOMETRY, REFRESH).unwrap()
}

#[test]
fn refuses_a_region_that_is_too_small() {
    let expected = sampling_bytes(20, 3);
    let small = Shared::new(expected - 8);
    let found = expected - 8;
    assert_eq!(
        SamplingWriter::open(small, GEOMETRY, 1).err(),
        Some(OpenError::RegionTooSmall { found, expected })
    );
    let none = Geometry { slots: 0, ..GEOMETRY };
    assert_eq!(SamplingWriter::open(region(), none, 1).err(), Some(OpenError::EmptyGeometry));
}

#[test]
fn follows_the_documented_layout() {
    let memory = region();
    let mut writer = SamplingWriter::open(memory.clone(), GEOMETRY, 7).unwrap();
    writer.write(b"one", 10).unwrap();
    writer.write(b"second message", 20).unwrap();
    assert_eq!(memory.load_u64(layout::LATEST, Relaxed), 2);
    assert_eq!(memory.load_u32(layout::EPOCH, Relaxed), 7);
    let slot = layout::SLOTS + 2 * sampling_stride(20);
    assert_eq!(memory.load_u64(slot, Relaxed), 2);
    assert_eq!(memory.load_u64(slot + layout::SLOT_TIMESTAMP_TICKS, Relaxed), 20);
    assert_eq!(memory.load_u32(slot + layout::SLOT_LENGTH, Relaxed), 14);
    let mut text = [0; 14];
    memory.copy_out(slot + layout::SLOT_DATA, &mut text);
    assert_eq!(&text, b"second message");
}

#[test]
fn refuses_lengths_outside_the_configuration() {
    let mut writer = SamplingWriter::open(region(), GEOMETRY, 1).unwrap();
    for found in [0, 21] {
        let refused = Err(SendError::Length { found, limit: 20 });
        assert_eq!(writer.write(&vec![1; found], 0), refused);
    }
    assert_eq!(writer.written(), 0);
}

#[test]
fn judges_age_against_the_refresh_period() {
    let (memory, el2) = (region(), El2::new(1000, 1));
    let mut reader = reader(&memory, &el2);
    let mut buffer = [0; 20];
    assert_eq!(reader.read(&mut buffer).err(), Some(ReceiveError::PeerStarting));
    let mut writer = SamplingWriter::open(memory, GEOMETRY, 1).unwrap();
    assert_eq!(reader.read(&mut buffer).err(), Some(ReceiveError::Empty));
    writer.write(b"state", 1000).unwrap();
    for (now, validity, age) in [
        (1000, Validity::Valid, 0),
        (1100, Validity::Valid, 100),
        (1101, Validity::Stale, 101),
        (999, Validity::FromFuture, 0),
    ] {
        el2.set_now(now);
        let sample = reader.read(&mut buffer).unwrap();
        assert_eq!((sample.validity, sample.age_ticks), (validity, age));
        assert_eq!(&buffer[..sample.length], b"state");
        assert_eq!(sample.fresh, now == 1000);
    }
}

#[test]
fn shows_a_restart_of_the_writer() {
    let (memory, el2) = (region(), El2::new(0, 1));
    let mut reader = reader(&memory, &el2);
    let mut buffer = [0; 20];
    SamplingWriter::open(memory.clone(), GEOMETRY, 1).unwrap().write(b"a", 0).unwrap();
    assert!(!reader.read(&mut buffer).unwrap().new_epoch);
    el2.set_peer_epoch(0);
    assert_eq!(reader.read(&mut buffer).err(), Some(ReceiveError::PeerDown));
    memory.fill(0);
    el2.set_peer_epoch(2);
    assert_eq!(reader.read(&mut buffer).err(), Some(ReceiveError::PeerStarting));
    let mut writer = SamplingWriter::open(memory, GEOMETRY, 2).unwrap();
    writer.write(b"b", 0).unwrap();
    let sample = reader.read(&mut buffer).unwrap();
    assert!(sample.new_epoch && sample.fresh && sample.epoch == 2);
    assert!(!reader.read(&mut buffer).unwrap().new_epoch);
}

#[test]
fn a_writer_stuck_in_a_slot_is_an_overrun_and_not_a_hang() {
    let (memory, el2) = (region(), El2::new(0, 1));
    let mut reader = reader(&memory, &el2);
    SamplingWriter::open(memory.clone(), GEOMETRY, 1).unwrap().write(b"a", 0).unwrap();
    let slot = layout::SLOTS + sampling_stride(20);
    memory.store_u64(slot + layout::SLOT_SEQUENCE, 0, Relaxed);
    assert_eq!(reader.read(&mut [0; 20]).err(), Some(ReceiveError::Overrun));
    assert_eq!(reader.overruns(), 1);
}

#[test]
fn an_impossible_length_is_a_violation_and_copies_nothing() {
    let (memory, el2) = (region(), El2::new(0, 1));
    let mut reader = reader(&memory, &el2);
    let mut writer = SamplingWriter::open(memory.clone(), GEOMETRY, 1).unwrap();
    writer.write(b"a", 0).unwrap();
    let length = layout::SLOTS + sampling_stride(20) + layout::SLOT_LENGTH;
    for lie in [0, 21, u32::MAX] {
        memory.store_u32(length, lie, Relaxed);
        let mut buffer = [0xee; 64];
        assert_eq!(reader.read(&mut buffer).err(), Some(ReceiveError::Violation));
        assert_eq!(buffer, [0xee; 64]);
    }
    assert_eq!(reader.violations(), 3);
    writer.write(b"good again", 0).unwrap();
    assert!(reader.read(&mut [0; 20]).is_ok());
}

#[test]
fn a_small_buffer_loses_nothing() {
    let (memory, el2) = (region(), El2::new(0, 1));
    let mut reader = reader(&memory, &el2);
    let mut writer = SamplingWriter::open(memory, GEOMETRY, 1).unwrap();
    writer.write(b"four", 0).unwrap();
    let small = ReceiveError::BufferTooSmall { needed: 4 };
    assert_eq!(reader.read(&mut [0; 3]).err(), Some(small));
    assert_eq!(reader.read(&mut [0; 4]).map(|sample| sample.length), Ok(4));
}

proptest! {
    /// Whatever stands in the region, a read ends, and what it returns lies within the limits.
    #[test]
    fn garbage_is_survived(
        words in proptest::collection::vec(any::<u64>(), sampling_bytes(20, 3) / 8),
        epoch in 1u32..3,
        latest in 0u64..6,
    ) {
        let (memory, el2) = (region(), El2::new(5, epoch));
        for (word, value) in memory.0.iter().zip(words) {
            word.store(value, Relaxed);
        }
        memory.store_u32(layout::EPOCH, 1, Relaxed);
        memory.store_u64(layout::LATEST, latest, Relaxed);
        let slot = layout::SLOTS + latest as usize % 3 * sampling_stride(20);
        memory.store_u64(slot, latest, Relaxed);
        let mut buffer = [0; 32];
        match reader(&memory, &el2).read(&mut buffer) {
            Ok(sample) => prop_assert!(epoch == 1 && (1..=20).contains(&sample.length)),
            Err(error) => prop_assert!(matches!(error, ReceiveError::PeerStarting
                | ReceiveError::Empty | ReceiveError::Violation | ReceiveError::Overrun)),
        }
    }

    /// The newest message is read, whatever was written before.
    #[test]
    fn last_value_wins(messages in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 1..=20), 1..12))
    {
        let (memory, el2) = (region(), El2::new(0, 1));
        let mut reader = reader(&memory, &el2);
        let mut writer = SamplingWriter::open(memory, GEOMETRY, 1).unwrap();
        for (index, message) in messages.iter().enumerate() {
            writer.write(message, 0).unwrap();
            let mut buffer = [0; 20];
            let sample = reader.read(&mut buffer).unwrap();
            prop_assert_eq!(&buffer[..sample.length], &message[..]);
            prop_assert_eq!(sample.sequence, index as u64 + 1);
        }
    }
}
