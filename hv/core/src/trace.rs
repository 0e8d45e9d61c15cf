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

/// The only record of a CPU that has no ring.
static NO_SLOT: Slot = [const { AtomicU64::new(0) }; RECORD_WORDS];

/// Where a record goes.
type Slot = [AtomicU64; RECORD_WORDS];

/// Writing end of a ring; owned by its CPU.
pub struct Trace<'a> {
    header: &'a [AtomicU64; HEADER_WORDS],
    slots: &'a [Slot],
    /// Where the next records go, up to the ring's end; empty without a ring.
    next: Cell<&'a [Slot]>,
}

impl<'a> Trace<'a> {
    /// An empty ring in `words`, which are zero.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        let (header, slots) = words.split_first_chunk().unwrap_or((&NO_HEADER, &[]));
        header[MAGIC_AT / 8].store(MAGIC, Ordering::Relaxed);
        let slots = slots.as_chunks().0;
        Self { header, slots, next: Cell::new(slots) }
    }

    /// Appends a record: `ticks` is CNTVCT, the rest as [`kind`] says.
    #[inline(never)]
    pub fn put(&self, ticks: u64, kind: u8, argument: u8, value: u64) {
        self.append(ticks << 16 | u64::from(argument) << 8 | u64::from(kind), value);
    }

    /// Appends a record whose time, and the lower half of whose value, [`Stamp::put`] says; it takes few
    /// instructions then.
    #[must_use]
    #[inline(always)]
    pub fn reserve(&self, kind: u8, argument: u8, value: u64) -> Stamp<'a> {
        let head = u64::from(argument) << 8 | u64::from(kind);
        Stamp { slot: self.append(head, value), head, value }
    }

    /// Appends a record whose words are put together already: compiled into the partition switch.
    #[inline(always)]
    pub fn append(&self, first: u64, second: u64) -> &'a Slot {
        let Some((slot, rest)) = self.next.get().split_first() else { return &NO_SLOT };
        slot[0].store(first, Ordering::Relaxed);
        slot[1].store(second, Ordering::Relaxed);
        self.next.set(if rest.is_empty() { self.slots } else { rest });
        // After the record: a reader who sees the number sees the record.
        let written = &self.header[WRITTEN / 8];
        written.store(written.load(Ordering::Relaxed) + 1, Ordering::Release);
        slot
    }

    /// Counts a visit by [`cause`].
    #[inline(always)]
    pub fn count(&self, cause: usize) {
        let word = &self.header[CAUSES_WORD + cause / 2 % (cause::COUNT / 2)];
        word.store(word.load(Ordering::Relaxed).wrapping_add(1 << (cause % 2 * 32)), Ordering::Relaxed);
    }

    /// No vCPU ran: its CPU's visits meanwhile are nobody's.
    pub fn forget(&self) {
        for word in &self.header[CAUSES_WORD..CAUSES_WORD + cause::COUNT / 2] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The vCPU that ran leaves: its visits become records and start from zero. Written out: it stands in the
    /// partition switch, and mostly one or two words are not 0.
    #[inline(always)]
    pub fn flush(&self, ticks: u64) {
        const { assert!(cause::COUNT == 8, "four words") }
        self.flush_pair(ticks, 0);
        self.flush_pair(ticks, 1);
        self.flush_pair(ticks, 2);
        self.flush_pair(ticks, 3);
    }

    #[inline(always)]
    fn flush_pair(&self, ticks: u64, pair: usize) {
        let word = &self.header[CAUSES_WORD + pair];
        let counts = word.load(Ordering::Relaxed);
        if counts != 0 {
            word.store(0, Ordering::Relaxed);
            self.put(ticks, kind::VISITS, pair as u8, counts);
        }
    }
}

/// A record whose time is still to come.
pub struct Stamp<'a> {
    slot: &'a Slot,
    head: u64,
    value: u64,
}

impl Stamp<'_> {
    /// It happened at `ticks`, so long after `planned`; the lower half of the value says it.
    #[inline(always)]
    pub fn put(self, ticks: u64, planned: u64) {
        self.slot[0].store(ticks << 16 | self.head, Ordering::Relaxed);
        self.slot[1].store(self.value | (ticks.wrapping_sub(planned) & 0xFFFF_FFFF), Ordering::Relaxed);
    }
}
