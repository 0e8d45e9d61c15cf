//! The trace ring of one CPU, as its EL2 writes it ([`bulkhead_abi::trace`] has the layout).
//!
//! A record costs some fifteen instructions, a counted visit four. Nothing is ever lost but the
//! oldest records.

use bulkhead_abi::trace::{CAUSES, HEADER_BYTES, MAGIC, MAGIC_AT, RECORD_BYTES, WRITTEN, cause, kind};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

/// Words of the header.
const HEADER_WORDS: usize = HEADER_BYTES / 8;
/// Words of a record.
const RECORD_WORDS: usize = RECORD_BYTES / 8;
/// First of the header's words that count visits, two causes to a word.
const CAUSES_WORD: usize = CAUSES / 8;

/// The header of a CPU that has no ring: its counts go nowhere.
static NO_HEADER: [AtomicU64; HEADER_WORDS] = [const { AtomicU64::new(0) }; HEADER_WORDS];

/// Writing end of a ring; owned by its CPU.
pub struct Trace<'a> {
    header: &'a [AtomicU64; HEADER_WORDS],
    slots: &'a [AtomicU64],
    /// Word at which the next record goes.
    next: Cell<usize>,
    written: Cell<u64>,
}

impl<'a> Trace<'a> {
    /// An empty ring in `words`, which are zero.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        let (header, slots) = words.split_first_chunk().unwrap_or((&NO_HEADER, &[]));
        header[MAGIC_AT / 8].store(MAGIC, Ordering::Relaxed);
        Self { header, slots, next: Cell::new(0), written: Cell::new(0) }
    }

    /// Appends a record: `ticks` is CNTVCT, the rest as [`kind`] says.
    #[inline]
    pub fn put(&self, ticks: u64, kind: u8, argument: u8, value: u64) {
        let next = self.next.get();
        let at = if next + RECORD_WORDS > self.slots.len() { 0 } else { next };
        let Some([first, second]) = self.slots.get(at..at + RECORD_WORDS) else {
            return;
        };
        first.store(ticks << 16 | u64::from(argument) << 8 | u64::from(kind), Ordering::Relaxed);
        second.store(value, Ordering::Relaxed);
        self.next.set(at + RECORD_WORDS);
        let written = self.written.get() + 1;
        self.written.set(written);
        // After the record: a reader who sees the number sees the record.
        self.header[WRITTEN / 8].store(written, Ordering::Release);
    }

    /// Reserves the next record for [`Stamp::put`], which is to take few instructions.
    #[must_use]
    #[inline]
    pub fn reserve(&self, kind: u8, argument: u8, value: u64) -> Stamp<'a> {
        let next = self.next.get();
        self.put(0, kind, argument, value);
        let at = if next + RECORD_WORDS > self.slots.len() { 0 } else { next };
        let head = u64::from(argument) << 8 | u64::from(kind);
        match self.slots.get(at..at + RECORD_WORDS) {
            Some([first, second]) => Stamp { first, second, head, value },
            _ => Stamp { first: &NO_HEADER[0], second: &NO_HEADER[0], head, value },
        }
    }

    /// Counts a visit by [`cause`].
    #[inline(always)]
    pub fn count(&self, cause: usize) {
        let word = &self.header[CAUSES_WORD + cause / 2 % (cause::COUNT / 2)];
        word.store(word.load(Ordering::Relaxed).wrapping_add(1 << (cause % 2 * 32)), Ordering::Relaxed);
    }

    /// The vCPU that ran leaves: its visits become records and start from zero.
    #[inline]
    pub fn flush(&self, ticks: u64) {
        for pair in 0..cause::COUNT / 2 {
            let word = &self.header[CAUSES_WORD + pair];
            let counts = word.load(Ordering::Relaxed);
            if counts != 0 {
                word.store(0, Ordering::Relaxed);
                self.put(ticks, kind::VISITS, pair as u8, counts);
            }
        }
    }
}

/// A record whose time is still to come.
pub struct Stamp<'a> {
    first: &'a AtomicU64,
    second: &'a AtomicU64,
    head: u64,
    value: u64,
}

impl Stamp<'_> {
    /// It happened at `ticks`, so long after `planned`; the lower half of the value says it.
    #[inline(always)]
    pub fn put(self, ticks: u64, planned: u64) {
        self.first.store(ticks << 16 | self.head, Ordering::Relaxed);
        self.second.store(self.value | (ticks.wrapping_sub(planned) & 0xFFFF_FFFF), Ordering::Relaxed);
    }
}
