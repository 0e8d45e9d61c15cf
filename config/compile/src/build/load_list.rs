//! The load list of a partition ([`bulkhead_abi::loader`]): what its loader copies and what it zeroes.

use super::guest::Guest;
use crate::model::PAGE_BYTES;
use crate::span::AddressRange;
use bulkhead_abi::loader;
use sha2::{Digest, Sha256};

/// Memory that the loader fills.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// As the partition sees it.
    pub range: AddressRange,
    /// Bit n: left alone by [`loader::start`] n.
    pub kept: u64,
}

/// Page of the list; `sources` are the IPAs of the pristine copies in the loader's view, `writable` all memory that
/// the partition may write: its own and its ports', each with the starts that leave it alone.
///
/// # Errors
/// The number of entries, if the page does not hold them.
pub fn build(guest: &Guest, sources: &[u64], writable: &[Filled]) -> Result<Vec<u8>, usize> {
    let stack = AddressRange::new(guest.stack_end - loader::STACK_BYTES, loader::STACK_BYTES);
    let mut kept: Vec<AddressRange> = guest.copies.iter().map(|c| c.range()).collect();
    kept.push(stack);
    kept.sort();
    let mut page = vec![0; PAGE_BYTES as usize];
    let mut count = 0;
    let kept_by = |range: AddressRange| {
        let region = writable.iter().find(|f| f.range.contains(&range));
        region.map_or(0, |f| f.kept)
    };
    let mut entry = |source: u64, range: AddressRange, digest: Option<[u8; 32]>| {
        let at = loader::ENTRIES + count * loader::ENTRY_STRIDE;
        count += 1;
        let Some(slot) = page.get_mut(at..at + loader::ENTRY_STRIDE) else {
            return;
        };
        let mut put = |field: usize, bytes: &[u8]| {
            slot[field..field + bytes.len()].copy_from_slice(bytes);
        };
        put(loader::ENTRY_SOURCE, &source.to_le_bytes());
        put(loader::ENTRY_DESTINATION, &range.base.to_le_bytes());
        put(loader::ENTRY_BYTES, &range.size.to_le_bytes());
        put(loader::ENTRY_FLAGS, &kept_by(range).to_le_bytes());
        put(loader::ENTRY_SHA256, &digest.unwrap_or_default());
    };
    let ranges: Vec<AddressRange> = writable.iter().map(|f| f.range).collect();
    for range in gaps(&ranges, &kept) {
        entry(0, range, None);
    }
    for (copy, source) in guest.copies.iter().zip(sources) {
        entry(*source, copy.range(), Some(Sha256::digest(&copy.bytes).into()));
    }
    if count > loader::ENTRIES_MAX {
        return Err(count);
    }
    let word = (count as u32).to_le_bytes();
    page[loader::ENTRY_COUNT..loader::ENTRY_COUNT + 4].copy_from_slice(&word);
    Ok(page)
}

/// What of `ranges` lies in none of `kept`, which is in ascending order.
fn gaps(ranges: &[AddressRange], kept: &[AddressRange]) -> Vec<AddressRange> {
    let mut out = Vec::new();
    for range in ranges {
        let mut at = range.base;
        for keep in kept.iter().filter_map(|k| k.intersection(range)) {
            if at < keep.base {
                out.push(AddressRange::new(at, keep.base - at));
            }
            at = keep.end_saturating();
        }
        if at < range.end_saturating() {
            out.push(AddressRange::new(at, range.end_saturating() - at));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_address_is_either_kept_or_in_one_gap(
            ranges in prop::collection::vec(1u64..20, 1..5), kept in prop::collection::vec((0u64..120, 1u64..9), 0..8),
        ) {
            let mut at = 0;
            let ranges: Vec<AddressRange> = ranges.iter().map(|size| {
                at += 3 + size;
                AddressRange::new(at - size, *size)
            }).collect();
            let mut end = 0;
            let mut sorted = kept.clone();
            sorted.sort_unstable();
            let kept: Vec<AddressRange> = sorted.into_iter().filter_map(|(base, size)| {
                let free = base >= end;
                end = end.max(if free { base + size } else { 0 });
                free.then(|| AddressRange::new(base, size))
            }).collect();
            let found = gaps(&ranges, &kept);
            for address in 0..200 {
                let cell = AddressRange::new(address, 1);
                let covered = found.iter().filter(|g| g.contains(&cell)).count();
                let wanted = ranges.iter().any(|r| r.contains(&cell)) && !kept.iter().any(|k| k.contains(&cell));
                prop_assert_eq!(covered, usize::from(wanted));
            }
        }
    }
}
