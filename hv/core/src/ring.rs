//! A bounded byte ring: one producer at a time, one consumer at a time, neither ever waits.
//!
//! The indices stand in a static [`Ring`], the bytes in memory that `hv/arch` carves out of the
//! work area; [`RingRef`] joins the two. Several producers (the vCPUs of a partition) take turns
//! under [`crate::serial::Serial`]'s lock.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use zerocopy::FromZeros;

/// Indices and counters of a ring. `head` and `lost` are written by the producer, `tail` by the
/// consumer; all run freely modulo 2^32. All zero is an empty ring.
#[derive(Debug, Default, FromZeros)]
pub struct Ring {
    head: AtomicU32,
    lost: AtomicU32,
    tail: AtomicU32,
}

impl Ring {
    /// Joins the indices with the ring's bytes.
    #[must_use]
    pub const fn over<'a>(&'a self, memory: &'a [AtomicU8]) -> RingRef<'a> {
        RingRef { ring: self, memory }
    }
}

/// A ring with its memory. The capacity is the largest power of two that the memory holds.
#[derive(Clone, Copy, Debug)]
pub struct RingRef<'a> {
    ring: &'a Ring,
    memory: &'a [AtomicU8],
}

impl RingRef<'_> {
    /// Bytes that fit; 0 for a ring without memory.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u32 {
        match self.memory.len().checked_ilog2() {
            Some(power) => 1 << power.min(31),
            None => 0,
        }
    }

    /// Producer: appends what fits of `bytes`, counts the rest as lost. Returns the bytes taken.
    #[inline(never)]
    pub fn push(&self, bytes: &[u8]) -> usize {
        let capacity = self.capacity();
        let head = self.ring.head.load(Ordering::Relaxed);
        let used = head.wrapping_sub(self.ring.tail.load(Ordering::Acquire));
        let room = capacity.saturating_sub(used) as usize;
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(&[]);
        if taken.len() < bytes.len() {
            let lost = self.ring.lost.load(Ordering::Relaxed);
            let more = (bytes.len() - taken.len()) as u32;
            self.ring.lost.store(lost.wrapping_add(more), Ordering::Relaxed);
        }
        for (n, byte) in taken.iter().enumerate() {
            let index = head.wrapping_add(n as u32) & capacity.wrapping_sub(1);
            if let Some(slot) = self.memory.get(index as usize) {
                slot.store(*byte, Ordering::Relaxed);
            }
        }
        self.ring.head.store(head.wrapping_add(taken.len() as u32), Ordering::Release);
        taken.len()
    }

    /// Consumer: the oldest byte, left in the ring.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        let tail = self.ring.tail.load(Ordering::Relaxed);
        if tail == self.ring.head.load(Ordering::Acquire) {
            return None;
        }
        let index = tail & self.capacity().wrapping_sub(1);
        self.memory.get(index as usize).map(|slot| slot.load(Ordering::Relaxed))
    }

    /// Consumer: takes the oldest byte.
    #[inline(never)]
    pub fn pop(&self) -> Option<u8> {
        let byte = self.peek()?;
        let tail = self.ring.tail.load(Ordering::Relaxed);
        self.ring.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// Consumer: takes bytes into `out`, to its end or to the first line feed or carriage return,
    /// that one included. Returns how many.
    #[inline]
    pub fn take_run(&self, out: &mut [u8]) -> usize {
        let tail = self.ring.tail.load(Ordering::Relaxed);
        let waiting = self.ring.head.load(Ordering::Acquire).wrapping_sub(tail);
        let mask = self.capacity().wrapping_sub(1);
        let mut count = 0;
        for slot in out.iter_mut().take(waiting as usize) {
            let index = tail.wrapping_add(count) & mask;
            *slot = self.memory.get(index as usize).map_or(0, |byte| byte.load(Ordering::Relaxed));
            count += 1;
            if matches!(slot, b'\n' | b'\r') {
                break;
            }
        }
        self.ring.tail.store(tail.wrapping_add(count), Ordering::Release);
        count as usize
    }

    /// Consumer: discards everything.
    pub fn clear(&self) {
        let head = self.ring.head.load(Ordering::Acquire);
        self.ring.tail.store(head, Ordering::Release);
    }

    /// Bytes waiting.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        let head = self.ring.head.load(Ordering::Acquire);
        head.wrapping_sub(self.ring.tail.load(Ordering::Acquire))
    }

    /// Whether no byte waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes lost since the board's reset, modulo 2^32.
    #[inline]
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.ring.lost.load(Ordering::Relaxed)
    }
}
