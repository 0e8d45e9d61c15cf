//! Sampling port: the last value, with its age.
//!
//! The writer marks a slot as being written (sequence 0), fills it, gives it its number and only
//! then announces the number in `LATEST`. A reader takes the announced number, copies the slot, and
//! keeps the copy only if the slot still bears that number. Numbers never repeat within an epoch.

use crate::error::{OpenError, ReceiveError, SendError};
use crate::memory::{Geometry, Host, Memory};
use bulkhead_abi::port::sampling as layout;
use bulkhead_abi::port::{sampling_bytes, sampling_stride};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Attempts of one [`SamplingReader::read`] before it reports an overrun.
pub const RETRIES: u32 = 4;

fn check<M: Memory>(memory: &M, geometry: Geometry) -> Result<(), OpenError> {
    if geometry.message_bytes == 0 || geometry.slots == 0 {
        return Err(OpenError::EmptyGeometry);
    }
    let expected = sampling_bytes(geometry.message_bytes, geometry.slots);
    if memory.bytes() < expected {
        return Err(OpenError::RegionTooSmall { found: memory.bytes(), expected });
    }
    Ok(())
}

/// Writing end: wait-free.
pub struct SamplingWriter<M> {
    memory: M,
    geometry: Geometry,
    stride: usize,
    written: u64,
    slot: u32,
}

impl<M: Memory> SamplingWriter<M> {
    /// Opens the port for a partition in its `epoch`-th start. To be called once for each start:
    /// message numbers begin anew.
    pub fn open(memory: M, geometry: Geometry, epoch: u32) -> Result<Self, OpenError> {
        check(&memory, geometry)?;
        memory.store_u32(layout::EPOCH, 0, Relaxed);
        memory.fence(Release);
        memory.store_u64(layout::LATEST, 0, Relaxed);
        memory.store_u32(layout::EPOCH, epoch, Release);
        Ok(Self { stride: sampling_stride(geometry.message_bytes), memory, geometry, written: 0, slot: 0 })
    }

    /// Publishes `message` with its time of writing, CNTPCT in ticks.
    pub fn write(&mut self, message: &[u8], now_ticks: u64) -> Result<(), SendError> {
        if !self.geometry.admits(message.len()) {
            return Err(SendError::Length {
                found: message.len(),
                limit: self.geometry.message_bytes as usize,
            });
        }
        let sequence = self.written + 1;
        // Equals `sequence % slots` without a division.
        self.slot = if self.slot + 1 >= self.geometry.slots { 0 } else { self.slot + 1 };
        let slot = layout::SLOTS + self.slot as usize * self.stride;
        let memory = &self.memory;
        memory.store_u64(slot + layout::SLOT_SEQUENCE, 0, Relaxed);
        // Orders the mark before the new contents: a reader that sees any of them sees the mark.
        memory.fence(Release);
        memory.store_u64(slot + layout::SLOT_TIMESTAMP_TICKS, now_ticks, Relaxed);
        memory.store_u32(slot + layout::SLOT_LENGTH, message.len() as u32, Relaxed);
        memory.copy_in(slot + layout::SLOT_DATA, message);
        memory.store_u64(slot + layout::SLOT_SEQUENCE, sequence, Release);
        memory.store_u64(layout::LATEST, sequence, Release);
        self.written = sequence;
        Ok(())
    }

    /// Messages written since the port was opened.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// How old a sample is, against the port's refresh period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Not older than the refresh period.
    Valid,
    /// Older than the refresh period (ARINC INVALID).
    Stale,
    /// Its timestamp lies in the future: the writer's clock or the writer is wrong.
    FromFuture,
}

/// A message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of the message, at the start of the caller's buffer.
    pub length: usize,
    /// Number of the message since the writer's start, from 1.
    pub sequence: u64,
    /// System time when it was written.
    pub timestamp_ticks: u64,
    /// Its age when it was read; 0 if it is from the future.
    pub age_ticks: u64,
    /// Age against refresh period.
    pub validity: Validity,
    /// The writer's start count.
    pub epoch: u32,
    /// The writer was restarted since the last successful read.
    pub new_epoch: bool,
    /// This message was not read before.
    pub fresh: bool,
}

/// Reading end: bounded retries.
pub struct SamplingReader<M, H> {
    memory: M,
    host: H,
    geometry: Geometry,
    refresh_ticks: u64,
    stride: usize,
    epoch: u32,
    sequence: u64,
    overruns: u64,
    violations: u64,
}

struct Header {
    sequence: u64,
    timestamp_ticks: u64,
    length: usize,
}

impl<M: Memory, H: Host> SamplingReader<M, H> {
    /// Opens the port. `refresh_ticks`: age up to which a sample is valid, in ticks of system time.
    pub fn open(memory: M, host: H, geometry: Geometry, refresh_ticks: u64) -> Result<Self, OpenError> {
        check(&memory, geometry)?;
        Ok(Self {
            stride: sampling_stride(geometry.message_bytes),
            memory,
            host,
            geometry,
            refresh_ticks,
            epoch: 0,
            sequence: 0,
            overruns: 0,
            violations: 0,
        })
    }

    /// Reads the newest message into `buffer`.
    ///
    /// A stale message is a message: look at [`Sample::validity`]. On any error `buffer` may hold
    /// rubbish from the peer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Sample, ReceiveError> {
        for _ in 0..RETRIES {
            let epoch = self.epoch_of_peer()?;
            match self.attempt(buffer)? {
                // The epoch is looked at again: a restart zeroes the region under the copy.
                Some(header) if self.host.peer_epoch() == epoch => {
                    return Ok(self.accept(header, epoch));
                }
                _ => {}
            }
        }
        self.overruns += 1;
        Err(ReceiveError::Overrun)
    }

    /// Reads that gave up because the writer overwrote the message each time.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Reads that found an impossible length.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    fn epoch_of_peer(&self) -> Result<u32, ReceiveError> {
        let published = self.host.peer_epoch();
        if published == 0 {
            Err(ReceiveError::PeerDown)
        } else if self.memory.load_u32(layout::EPOCH, Acquire) != published {
            Err(ReceiveError::PeerStarting)
        } else {
            Ok(published)
        }
    }

    /// One attempt; `None` if the writer was at the slot meanwhile.
    fn attempt(&mut self, buffer: &mut [u8]) -> Result<Option<Header>, ReceiveError> {
        let memory = &self.memory;
        let latest = memory.load_u64(layout::LATEST, Acquire);
        if latest == 0 {
            return Err(ReceiveError::Empty);
        }
        let index = (latest % u64::from(self.geometry.slots)) as usize;
        let slot = layout::SLOTS + index * self.stride;
        // Relaxed: having acquired `LATEST`, this side sees that message or a later one.
        if memory.load_u64(slot + layout::SLOT_SEQUENCE, Relaxed) != latest {
            return Ok(None);
        }
        let timestamp_ticks = memory.load_u64(slot + layout::SLOT_TIMESTAMP_TICKS, Relaxed);
        let length = memory.load_u32(slot + layout::SLOT_LENGTH, Relaxed) as usize;
        let fits = self.geometry.admits(length);
        if let Some(target) = buffer.get_mut(..length)
            && fits
        {
            memory.copy_out(slot + layout::SLOT_DATA, target);
        }
        // Orders the copy before the second look at the number.
        memory.fence(Acquire);
        if memory.load_u64(slot + layout::SLOT_SEQUENCE, Relaxed) != latest {
            return Ok(None);
        }
        if !fits {
            self.violations += 1;
            return Err(ReceiveError::Violation);
        }
        if length > buffer.len() {
            return Err(ReceiveError::BufferTooSmall { needed: length });
        }
        Ok(Some(Header { sequence: latest, timestamp_ticks, length }))
    }

    fn accept(&mut self, header: Header, epoch: u32) -> Sample {
        let now = self.host.now_ticks();
        let (age_ticks, validity) = match now.checked_sub(header.timestamp_ticks) {
            None => (0, Validity::FromFuture),
            Some(age) if age <= self.refresh_ticks => (age, Validity::Valid),
            Some(age) => (age, Validity::Stale),
        };
        let new_epoch = self.epoch != epoch && self.epoch != 0;
        let fresh = self.epoch != epoch || self.sequence != header.sequence;
        self.epoch = epoch;
        self.sequence = header.sequence;
        Sample {
            length: header.length,
            sequence: header.sequence,
            timestamp_ticks: header.timestamp_ticks,
            age_ticks,
            validity,
            epoch,
            new_epoch,
            fresh,
        }
    }
}
