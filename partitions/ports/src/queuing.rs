//! Queuing port: a bounded first-in first-out queue from one producer to one consumer.
//!
//! Each end stores only into its own region. `HEAD` and `TAIL` count messages and never wrap in
//! practice (64 bits); slot numbers are derived here.

use crate::error::{OpenError, ReceiveError, SendError};
use crate::memory::{Geometry, Host, Memory};
use bulkhead_abi::port::{consumer, producer, producer_bytes, queuing_stride};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

fn check<M: Memory>(sent: &M, taken: &M, geometry: Geometry) -> Result<(), OpenError> {
    if geometry.message_bytes == 0 || geometry.slots == 0 {
        return Err(OpenError::EmptyGeometry);
    }
    let expected = producer_bytes(geometry.message_bytes, geometry.slots);
    for (found, expected) in [(sent.bytes(), expected), (taken.bytes(), consumer::BYTES)] {
        if found < expected {
            return Err(OpenError::RegionTooSmall { found, expected });
        }
    }
    Ok(())
}

/// Producing end.
pub struct QueuingWriter<M, H> {
    own: M,
    peer: M,
    host: H,
    geometry: Geometry,
    stride: usize,
    epoch: u32,
    head: u64,
    slot: u32,
    /// Newest tail that was believable.
    tail: u64,
    refused: u64,
    violations: u64,
}

impl<M: Memory, H: Host> QueuingWriter<M, H> {
    /// Opens the port for a partition in its `epoch`-th start, once for each start: the queue is
    /// empty afterwards. `own` is the producer region, `peer` the consumer's.
    pub fn open(own: M, peer: M, host: H, geometry: Geometry, epoch: u32) -> Result<Self, OpenError> {
        check(&own, &peer, geometry)?;
        own.store_u32(producer::EPOCH, 0, Relaxed);
        own.fence(Release);
        own.store_u64(producer::HEAD, 0, Relaxed);
        own.store_u64(producer::REFUSED, 0, Relaxed);
        own.store_u32(producer::EPOCH, epoch, Release);
        Ok(Self {
            stride: queuing_stride(geometry.message_bytes),
            own,
            peer,
            host,
            geometry,
            epoch,
            head: 0,
            slot: 0,
            tail: 0,
            refused: 0,
            violations: 0,
        })
    }

    /// Appends `message`, stamped with `now_ticks` (CNTPCT). Refused and counted if the queue is full.
    pub fn send(&mut self, message: &[u8], now_ticks: u64) -> Result<(), SendError> {
        if !self.geometry.admits(message.len()) {
            return Err(SendError::Length {
                found: message.len(),
                limit: self.geometry.message_bytes as usize,
            });
        }
        if self.is_full() {
            return Err(self.refuse());
        }
        let slot = producer::SLOTS + self.slot as usize * self.stride;
        let own = &self.own;
        own.store_u32(slot + producer::SLOT_LENGTH, message.len() as u32, Relaxed);
        own.store_u64(slot + producer::SLOT_TIMESTAMP_TICKS, now_ticks, Relaxed);
        own.copy_in(slot + producer::SLOT_DATA, message);
        self.head += 1;
        own.store_u64(producer::HEAD, self.head, Release);
        // Equals `head % depth` without a division.
        self.slot = if self.slot + 1 >= self.geometry.slots { 0 } else { self.slot + 1 };
        Ok(())
    }

    /// Whether the next [`send`](Self::send) would be refused, by what the consumer has said so far.
    pub fn is_full(&mut self) -> bool {
        let depth = u64::from(self.geometry.slots);
        if self.head - self.tail < depth {
            // Room by an older tail is room by any newer one.
            return false;
        }
        self.refresh_tail();
        self.head - self.tail >= depth
    }

    /// Messages sent since the port was opened.
    pub fn sent(&self) -> u64 {
        self.head
    }

    /// Messages refused since the port was opened.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Impossible tails seen since the port was opened.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Longest message in bytes.
    pub fn message_bytes(&self) -> usize {
        self.geometry.message_bytes as usize
    }

    /// System time, CNTPCT in ticks.
    pub(crate) fn now_ticks(&self) -> u64 {
        self.host.now_ticks()
    }

    #[cold]
    fn refuse(&mut self) -> SendError {
        self.refused += 1;
        self.own.store_u64(producer::REFUSED, self.refused, Relaxed);
        SendError::Full
    }

    /// Takes over the consumer's tail if its epochs vouch for it and it is possible.
    fn refresh_tail(&mut self) {
        let published = self.host.peer_epoch();
        if published == 0
            || self.peer.load_u32(consumer::EPOCH, Acquire) != published
            || self.peer.load_u32(consumer::PEER_EPOCH, Acquire) != self.epoch
        {
            return;
        }
        let tail = self.peer.load_u64(consumer::TAIL, Acquire);
        if self.host.peer_epoch() != published {
            // The consumer is being restarted: its region may be half scrubbed.
            return;
        }
        if tail < self.tail || tail > self.head {
            self.violations += 1;
        } else {
            self.tail = tail;
        }
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the message, at the start of the caller's buffer.
    pub length: usize,
    /// System time when it was sent, as the producer claims.
    pub timestamp_ticks: u64,
    /// Its age when it was received, `None` if its timestamp lies in the future.
    pub age_ticks: Option<u64>,
    /// The producer's start count.
    pub epoch: u32,
    /// The producer was restarted since the last received message; what it had sent before is lost.
    pub new_epoch: bool,
}

/// Consuming end.
pub struct QueuingReader<M, H> {
    own: M,
    peer: M,
    host: H,
    geometry: Geometry,
    stride: usize,
    /// Producer epoch that `tail` belongs to, 0 before the first.
    peer_epoch: u32,
    tail: u64,
    restarted: bool,
    violations: u64,
}

impl<M: Memory, H: Host> QueuingReader<M, H> {
    /// Opens the port for a partition in its `epoch`-th start, once for each start. What a running
    /// producer had sent before is skipped. `own` is the consumer region, `peer` the producer's.
    pub fn open(own: M, peer: M, host: H, geometry: Geometry, epoch: u32) -> Result<Self, OpenError> {
        check(&peer, &own, geometry)?;
        own.store_u32(consumer::EPOCH, 0, Relaxed);
        own.fence(Release);
        let published = host.peer_epoch();
        let running = published != 0 && peer.load_u32(producer::EPOCH, Acquire) == published;
        let (peer_epoch, tail) =
            if running { (published, peer.load_u64(producer::HEAD, Acquire)) } else { (0, 0) };
        own.store_u64(consumer::TAIL, tail, Relaxed);
        own.store_u32(consumer::PEER_EPOCH, peer_epoch, Release);
        own.store_u32(consumer::EPOCH, epoch, Release);
        Ok(Self {
            stride: queuing_stride(geometry.message_bytes),
            own,
            peer,
            host,
            geometry,
            peer_epoch,
            tail,
            restarted: false,
            violations: 0,
        })
    }

    /// Takes the oldest message into `buffer`. On any error `buffer` may hold rubbish from the peer.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
        let epoch = self.follow_peer()?;
        if self.waiting()? == 0 {
            return Err(ReceiveError::Empty);
        }
        let index = (self.tail % u64::from(self.geometry.slots)) as usize;
        let slot = producer::SLOTS + index * self.stride;
        let length = self.peer.load_u32(slot + producer::SLOT_LENGTH, Relaxed) as usize;
        if !self.geometry.admits(length) {
            return Err(self.violation(self.tail.wrapping_add(1)));
        }
        let Some(target) = buffer.get_mut(..length) else {
            return Err(ReceiveError::BufferTooSmall { needed: length });
        };
        let sent = self.peer.load_u64(slot + producer::SLOT_TIMESTAMP_TICKS, Relaxed);
        self.peer.copy_out(slot + producer::SLOT_DATA, target);
        // Orders the copy before the second look at the epochs: a restart scrubs the slots.
        self.peer.fence(Acquire);
        if self.peer.load_u32(producer::EPOCH, Relaxed) != epoch || self.host.peer_epoch() != epoch {
            return Err(ReceiveError::Overrun);
        }
        self.set_tail(self.tail.wrapping_add(1));
        let new_epoch = core::mem::take(&mut self.restarted);
        Ok(Received {
            length,
            timestamp_ticks: sent,
            age_ticks: self.host.now_ticks().checked_sub(sent),
            epoch,
            new_epoch,
        })
    }

    /// Messages that wait.
    pub fn depth_used(&mut self) -> Result<u64, ReceiveError> {
        self.follow_peer()?;
        self.waiting()
    }

    /// Messages that the producer had to refuse because the queue was full, as it says.
    pub fn refused(&self) -> u64 {
        self.peer.load_u64(producer::REFUSED, Relaxed)
    }

    /// Impossible heads and lengths seen since the port was opened.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Longest message in bytes.
    pub fn message_bytes(&self) -> usize {
        self.geometry.message_bytes as usize
    }

    /// The producer's epoch, after having taken over a new one.
    fn follow_peer(&mut self) -> Result<u32, ReceiveError> {
        let published = self.host.peer_epoch();
        if published == 0 {
            return Err(ReceiveError::PeerDown);
        }
        if self.peer.load_u32(producer::EPOCH, Acquire) != published {
            return Err(ReceiveError::PeerStarting);
        }
        if published != self.peer_epoch {
            self.restarted = self.peer_epoch != 0;
            self.peer_epoch = published;
            self.tail = 0;
            self.own.store_u64(consumer::TAIL, 0, Relaxed);
            self.own.store_u32(consumer::PEER_EPOCH, published, Release);
        }
        Ok(published)
    }

    /// Messages between tail and head; a difference beyond the depth is the peer's violation and
    /// empties the queue.
    fn waiting(&mut self) -> Result<u64, ReceiveError> {
        let head = self.peer.load_u64(producer::HEAD, Acquire);
        let waiting = head.wrapping_sub(self.tail);
        if waiting > u64::from(self.geometry.slots) {
            return Err(self.violation(head));
        }
        Ok(waiting)
    }

    #[cold]
    fn violation(&mut self, tail: u64) -> ReceiveError {
        self.violations += 1;
        self.set_tail(tail);
        ReceiveError::Violation
    }

    fn set_tail(&mut self, tail: u64) {
        self.tail = tail;
        self.own.store_u64(consumer::TAIL, tail, Release);
    }
}
