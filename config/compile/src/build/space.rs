//! First-fit allocation of addresses, physical or intermediate.

use crate::span::AddressRange;

/// Addresses that may be given out, and those that are.
#[derive(Debug, Clone)]
pub struct Space {
    windows: Vec<AddressRange>,
    taken: Vec<AddressRange>,
}

impl Space {
    /// All of `windows` is free.
    pub fn new(windows: Vec<AddressRange>) -> Space {
        Space { windows, taken: Vec::new() }
    }

    /// Takes `range` out, whether or not it lies in a window.
    pub fn reserve(&mut self, range: AddressRange) {
        self.taken.push(range);
    }

    /// The lowest free range of `bytes` at or above `from` whose base is `remainder` modulo `granule` (a power of
    /// two); it is then taken. `None` if there is none.
    pub fn allocate(&mut self, from: u64, bytes: u64, granule: u64, remainder: u64) -> Option<AddressRange> {
        let found =
            self.windows.iter().find_map(|window| self.fit(window, from, bytes, granule, remainder))?;
        self.taken.push(found);
        Some(found)
    }

    fn fit(
        &self,
        window: &AddressRange,
        from: u64,
        bytes: u64,
        granule: u64,
        remainder: u64,
    ) -> Option<AddressRange> {
        let mut at = window.base.max(from);
        loop {
            let gap = remainder.wrapping_sub(at) & (granule - 1);
            at = at.checked_add(gap)?;
            let candidate = AddressRange::new(at, bytes);
            if !window.contains(&candidate) {
                return None;
            }
            match self.taken.iter().find(|t| t.overlaps(&candidate)) {
                Some(blocker) => at = blocker.end_saturating(),
                None => return Some(candidate),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_given_out_is_inside_aligned_and_apart(
            requests in prop::collection::vec((1u64..64, 0u32..6, 0u64..32), 1..24),
            reserved in prop::collection::vec((0u64..1000, 1u64..50), 0..6),
        ) {
            let windows = vec![AddressRange::new(16, 300), AddressRange::new(512, 400)];
            let mut space = Space::new(windows.clone());
            let mut all: Vec<AddressRange> = reserved.iter().map(|r| AddressRange::new(r.0, r.1)).collect();
            all.iter().for_each(|r| space.reserve(*r));
            for (bytes, shift, remainder) in requests {
                let granule = 1 << shift;
                let remainder = remainder & (granule - 1);
                let Some(found) = space.allocate(0, bytes, granule, remainder) else { continue };
                prop_assert_eq!(found.size, bytes);
                prop_assert_eq!(found.base & (granule - 1), remainder);
                prop_assert!(windows.iter().any(|w| w.contains(&found)));
                prop_assert!(!all.iter().any(|other| other.overlaps(&found)));
                all.push(found);
            }
        }
    }

    #[test]
    fn a_gap_that_fits_exactly_is_used_and_a_full_space_says_so() {
        let mut space = Space::new(vec![AddressRange::new(0, 12)]);
        space.reserve(AddressRange::new(4, 4));
        assert_eq!(space.allocate(1, 4, 1, 0), Some(AddressRange::new(8, 4)));
        assert_eq!(space.allocate(0, 4, 4, 0), Some(AddressRange::new(0, 4)));
        assert_eq!(space.allocate(0, 1, 1, 0), None);
    }
}
