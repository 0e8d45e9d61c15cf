//! A bounded byte ring: one producer at a time, one consumer at a time, neither ever waits.
//!
//! The indices stand in a static [`Ring`], the bytes in memory that `hv/arch` carves out of the
//! work area; [`RingRef`] joins the two. Several producers (the vCPUs of a partition) take turns
//! under [`crate::serial::Serial`]'s lock.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Indices and counters of a ring. `head`, `lines` and `lost` are written by the producer, `tail`
/// and `lines_taken` by the consumer; all run freely modulo 2^32.
#[derive(Debug, Default)]
pub struct Ring {
    head: AtomicU32,
    lines: AtomicU32,
    lost: AtomicU32,
    tail: AtomicU32,
    lines_taken: AtomicU32,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            lines: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            lines_taken: AtomicU32::new(0),
        }
    }

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
        let start = (head & capacity.wrapping_sub(1)) as usize;
        let first = taken.len().min(capacity as usize - start.min(capacity as usize));
        let (before_wrap, after_wrap) = taken.split_at_checked(first).unwrap_or((taken, &[]));
        let lines = self.store(start, before_wrap) + self.store(0, after_wrap);
        if lines != 0 {
            let counted = self.ring.lines.load(Ordering::Relaxed);
            self.ring.lines.store(counted.wrapping_add(lines), Ordering::Relaxed);
        }
        self.ring.head.store(head.wrapping_add(taken.len() as u32), Ordering::Release);
        taken.len()
    }

    /// Stores a run that does not wrap; returns the line ends in it.
    #[inline]
    fn store(&self, start: usize, bytes: &[u8]) -> u32 {
        let mut lines = 0;
        for (slot, byte) in self.memory.get(start..).unwrap_or(&[]).iter().zip(bytes) {
            slot.store(*byte, Ordering::Relaxed);
            lines += u32::from(*byte == b'\n');
        }
        lines
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
        if byte == b'\n' {
            let taken = self.ring.lines_taken.load(Ordering::Relaxed);
            self.ring.lines_taken.store(taken.wrapping_add(1), Ordering::Relaxed);
        }
        let tail = self.ring.tail.load(Ordering::Relaxed);
        self.ring.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// Consumer: takes leading bytes that are printable text (no control bytes) into `out`.
    /// Returns how many.
    #[inline]
    pub fn pop_text(&self, out: &mut [u8]) -> usize {
        let tail = self.ring.tail.load(Ordering::Relaxed);
        let waiting = self.ring.head.load(Ordering::Acquire).wrapping_sub(tail);
        let mask = self.capacity().wrapping_sub(1);
        let mut count = 0;
        for slot in out.iter_mut().take(waiting as usize) {
            let index = tail.wrapping_add(count) & mask;
            let byte = self.memory.get(index as usize).map_or(0, |byte| byte.load(Ordering::Relaxed));
            if byte < b' ' || byte == 0x7F {
                break;
            }
            *slot = byte;
            count += 1;
        }
        self.ring.tail.store(tail.wrapping_add(count), Ordering::Release);
        count as usize
    }

    /// Consumer: discards everything.
    pub fn clear(&self) {
        let head = self.ring.head.load(Ordering::Acquire);
        let lines = self.ring.lines.load(Ordering::Relaxed);
        self.ring.lines_taken.store(lines, Ordering::Relaxed);
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

    /// Consumer: whether a whole line waits, its end included.
    #[inline]
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.ring.lines.load(Ordering::Acquire) != self.ring.lines_taken.load(Ordering::Relaxed)
    }

    /// Bytes lost since the board's reset, modulo 2^32.
    #[inline]
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.ring.lost.load(Ordering::Relaxed)
    }

    /// Free-running count of bytes ever taken in; with [`RingRef::taken_out`] it marks a position.
    #[inline]
    #[must_use]
    pub(crate) fn taken_in(&self) -> u32 {
        self.ring.head.load(Ordering::Acquire)
    }

    /// Free-running count of bytes ever taken out.
    #[inline]
    #[must_use]
    pub(crate) fn taken_out(&self) -> u32 {
        self.ring.tail.load(Ordering::Relaxed)
    }
}
