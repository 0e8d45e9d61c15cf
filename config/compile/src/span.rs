//! Places in source text, values that know theirs, and address ranges.

use std::ops::Deref;

/// A stretch of source text and the device-tree node that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Index into `crate::diag::Sources`.
    pub file: u32,
    /// First line, from 1.
    pub line: u32,
    /// First column, from 1, in bytes.
    pub column: u32,
    /// Last line, from 1.
    pub end_line: u32,
    /// Column after the last byte.
    pub end_column: u32,
    /// Index of the node in `crate::dts::Tree`; acceptances are looked for from here towards the root.
    pub node: u32,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, written at `span`.
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Addresses from `base` on, `size` bytes. The end may lie beyond 64 bits (rule MEM-007 refuses that); the
/// methods here treat such a range as ending at the last address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl AddressRange {
    /// The range `base..base + size`.
    pub fn new(base: u64, size: u64) -> Self {
        AddressRange { base, size }
    }

    /// First address after the range, or `None` if that needs more than 64 bits.
    pub fn end(&self) -> Option<u64> {
        self.base.checked_add(self.size)
    }

    /// First address after the range, saturating.
    pub fn end_saturating(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// Whether base plus size needs more than 64 bits.
    pub fn wraps(&self) -> bool {
        self.end().is_none()
    }

    /// Whether both have an address in common; an empty range has none.
    pub fn overlaps(&self, other: &AddressRange) -> bool {
        self.intersection(other).is_some()
    }

    /// The addresses that both have.
    pub fn intersection(&self, other: &AddressRange) -> Option<AddressRange> {
        let base = self.base.max(other.base);
        let end = self.end_saturating().min(other.end_saturating());
        (base < end).then(|| AddressRange { base, size: end - base })
    }

    /// Whether `other` lies wholly inside.
    pub fn contains(&self, other: &AddressRange) -> bool {
        self.base <= other.base && other.end_saturating() <= self.end_saturating() && !other.wraps()
    }

    /// The smallest range of whole pages of `granule` bytes (a power of two) that covers this one.
    pub fn aligned_out(&self, granule: u64) -> AddressRange {
        let base = self.base & !(granule - 1);
        let end = self.end_saturating().checked_next_multiple_of(granule).unwrap_or(u64::MAX);
        AddressRange { base, size: end - base }
    }

    /// Whether base and size are multiples of `granule`.
    pub fn is_aligned(&self, granule: u64) -> bool {
        self.base.is_multiple_of(granule) && self.size.is_multiple_of(granule)
    }
}

impl std::fmt::Display for AddressRange {
    /// `0x40000000..0x50000000 (256 MiB)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end() {
            Some(end) => write!(f, "{:#x}..{:#x} ({})", self.base, end, Bytes(self.size)),
            None => write!(f, "{:#x} + {:#x}", self.base, self.size),
        }
    }
}

/// A number of bytes, shown in the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intersection_holds_exactly_the_common_addresses(a in 0u64..64, n in 0u64..32, b in 0u64..64, m in 0u64..32) {
            let (x, y) = (AddressRange::new(a, n), AddressRange::new(b, m));
            let common: Vec<u64> = (0..96).filter(|p| (a..a + n).contains(p) && (b..b + m).contains(p)).collect();
            match x.intersection(&y) {
                Some(i) => prop_assert_eq!((i.base..i.base + i.size).collect::<Vec<_>>(), common),
                None => prop_assert!(common.is_empty()),
            }
            prop_assert_eq!(x.overlaps(&y), y.overlaps(&x));
        }

        #[test]
        fn aligned_out_covers_and_is_aligned(base in 0u64..1 << 40, size in 1u64..1 << 30) {
            let r = AddressRange::new(base, size);
            let out = r.aligned_out(4096);
            prop_assert!(out.contains(&r) && out.is_aligned(4096) && out.size < size + 2 * 4096);
        }
    }

    #[test]
    fn a_wrapping_range_never_contains_and_still_overlaps() {
        let wraps = AddressRange::new(u64::MAX - 0xfff, 0x2000);
        assert!(wraps.wraps());
        assert!(wraps.overlaps(&AddressRange::new(u64::MAX - 0x10, 0x8)));
        assert!(!AddressRange::new(0, u64::MAX).contains(&wraps));
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(Bytes(256 << 20).to_string(), "256 MiB");
        assert_eq!(Bytes(513).to_string(), "513 bytes");
        assert_eq!(AddressRange::new(0x4000_0000, 0x1000).to_string(), "0x40000000..0x40001000 (4 KiB)");
    }
}
