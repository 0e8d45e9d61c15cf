//! The work area: memory that the blueprint gives EL2 beside its own data, handed out as slices of
//! atomics, so that no other crate needs a pointer.

use bulkhead_blueprint::layout::{Header, Range};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// The work area, zeroed but for the health log.
#[derive(Clone, Copy)]
pub struct WorkArea {
    area: Range,
}

impl WorkArea {
    /// Zeroes the work area that the sealed blueprint names, but for the health log, which outlives a
    /// reset where memory does. Called once, by the boot CPU, with the MMU on.
    #[must_use]
    pub fn claim(header: &'static Header) -> Self {
        let (area, kept) = (header.work, header.health_ring);
        let (end, kept_end) = (area.base + area.bytes, kept.base + kept.bytes);
        for (from, to) in [(area.base, kept.base), (kept_end, end)] {
            // SAFETY: the compiler places the work area behind the payloads, maps it read-write for
            // EL2, and gives it to nobody else (the verifier checks both); no reference to it exists
            // yet. The log lies inside it (`Blueprint::parse`), so both ranges do.
            unsafe { core::ptr::write_bytes(from as *mut u8, 0, (to - from) as usize) }
        }
        Self { area }
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
