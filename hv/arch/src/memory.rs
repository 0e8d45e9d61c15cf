//! The work area: memory that the blueprint gives EL2 beside its own data, handed out as slices of
//! atomics, so that no other crate needs a pointer; its end, as what EL2 keeps of each member of the system.

use bulkhead_blueprint::layout::{Header, Range};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use zerocopy::FromZeros;

/// The work area, zeroed but for the health log.
#[derive(Clone, Copy)]
pub struct WorkArea {
    area: Range,
}

impl WorkArea {
    /// Zeroes the work area that the sealed blueprint names, but for the health log, which outlives a
    /// reset where memory does. By the boot CPU, with the MMU on; `None` for a second claim.
    #[must_use]
    pub fn claim(header: &'static Header) -> Option<(Self, State)> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        if CLAIMED.load(Ordering::Relaxed) {
            return None;
        }
        CLAIMED.store(true, Ordering::Relaxed);
        let (area, kept, state) = (header.work, header.health_ring, header.state);
        let (end, kept_end) = (area.base + area.bytes, kept.base + kept.bytes);
        for (from, to) in [(area.base, kept.base), (kept_end, end)] {
            // SAFETY: the compiler places the work area behind the payloads, maps it read-write for
            // EL2, and gives it to nobody else (the verifier checks both); no reference to it exists
            // yet. The log lies inside it (`Blueprint::parse`), so both ranges do.
            unsafe { core::ptr::write_bytes(from as *mut u8, 0, (to - from) as usize) }
        }
        // No slice of atomics reaches into the state: the area ends where that begins.
        let area = Range { base: area.base, bytes: state.base - area.base };
        Some((Self { area }, State { next: state.base, end: state.base + state.bytes }))
    }

    /// `range` as elements of `T`, empty if it leaves the area or is misaligned.
    fn slice<T>(&self, range: Range) -> &'static [T] {
        let inside = range.base >= self.area.base
            && range.base.checked_add(range.bytes).is_some_and(|end| end <= self.area.base + self.area.bytes);
        if !inside || !(range.base as usize).is_multiple_of(align_of::<T>()) {
            return &[];
        }
        // SAFETY: inside the area (checked), which is valid for the life of the system. `T` is an
        // atomic integer (the callers below), so that all bytes are valid values and shared access
        // from any CPU, and reads by a guest, are no data races.
        unsafe { core::slice::from_raw_parts(range.base as *const T, range.bytes as usize / size_of::<T>()) }
    }

    /// A range as bytes.
    #[must_use]
    pub fn bytes(&self, range: Range) -> &'static [AtomicU8] {
        self.slice(range)
    }

    /// A range as 32-bit words.
    #[must_use]
    pub fn words(&self, range: Range) -> &'static [AtomicU32] {
        self.slice(range)
    }

    /// A range as 64-bit words.
    #[must_use]
    pub fn double_words(&self, range: Range) -> &'static [AtomicU64] {
        self.slice(range)
    }
}

/// A value that begins as zeros, for statics.
#[must_use]
pub const fn zeroed<T: FromZeros>() -> T {
    // SAFETY: zeros are a `T`, as it says itself.
    unsafe { core::mem::zeroed() }
}

/// What of the state is not given away yet; zeros.
pub struct State {
    next: u64,
    end: u64,
}

impl State {
    /// Bytes that a `T` takes at most: those of one type begin at a multiple of 16.
    #[must_use]
    pub const fn bytes_of<T>() -> usize {
        const { assert!(align_of::<T>() <= 16) }
        size_of::<T>().next_multiple_of(16)
    }

    /// Room for `count` values from the next multiple of 16 on. What does not fit takes all that is left.
    fn take<T>(&mut self, count: usize) -> Option<*mut T> {
        let base = self.next.next_multiple_of(16);
        let end = base.saturating_add((count * size_of::<T>()) as u64);
        self.next = end.min(self.end);
        (end <= self.end).then_some(base as *mut T)
    }

    /// `count` values for the life of the system, which begin as zeros; none without room for all, and then
    /// for nothing that follows either.
    #[must_use]
    pub fn zeroed<T: FromZeros>(&mut self, count: usize) -> &'static mut [T] {
        let Some(values) = self.take(count) else { return &mut [] };
        // SAFETY: `take` gives out memory once, at a multiple of the alignment (`bytes_of`), which the compiler
        // gives to EL2 alone; `WorkArea::claim` has made all of it zeros, which are a `T`.
        unsafe { core::slice::from_raw_parts_mut(values, count) }
    }

    /// The same with values of their own.
    #[must_use]
    pub fn place<T>(&mut self, values: impl ExactSizeIterator<Item = T>) -> &'static mut [T] {
        let count = values.len();
        let Some(first) = self.take::<T>(count) else { return &mut [] };
        let mut placed = 0;
        for value in values.take(count) {
            // SAFETY: as above, and inside: `placed` is below `count`.
            unsafe { first.add(placed).write(value) }
            placed += 1;
        }
        // SAFETY: as above; so many values are written.
        unsafe { core::slice::from_raw_parts_mut(first, placed) }
    }
}
