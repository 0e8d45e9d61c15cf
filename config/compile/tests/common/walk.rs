//! What a loader and the translation hardware would make of a packed image.

use super::{IMAGE_BASE, Image, PAGE, View};
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::Partition;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The little-endian word at an offset.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What a physical page of a partition's memory holds after its loader ran: obeys the load list under the loader's
/// tables, as `partitions/loader` does.
pub fn load(image: &Image, partition: &Partition) -> BTreeMap<u64, Vec<u8>> {
    let view = View::new(&image.leaves(partition.loader_root));
    let list = view.leaf(loader::LIST_IPA).expect("a load list");
    assert!(!list.guest_writes() && !list.executes());
    let list = image.at(list.output, PAGE);
    let count = u64::from(u32::from_le_bytes(list[..4].try_into().expect("a count")));
    let mut memory: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut written: BTreeMap<u64, u64> = BTreeMap::new();
    for index in 0..count as usize {
        let entry = &list[loader::ENTRIES + index * loader::ENTRY_STRIDE..][..loader::ENTRY_STRIDE];
        let (source, to) = (word(entry, loader::ENTRY_SOURCE), word(entry, loader::ENTRY_DESTINATION));
        let bytes = word(entry, loader::ENTRY_BYTES);
        assert!((source | to | bytes).is_multiple_of(16), "{source:#x} {to:#x} {bytes:#x}");
        if source != 0 {
            let at = view.physical(source).expect("a mapped source");
            let copy = image.at(at, bytes);
            assert_eq!(&entry[loader::ENTRY_SHA256..][..32], Sha256::digest(copy).as_slice());
            assert_eq!(view.physical(source + bytes - 1), Some(at + bytes - 1));
            assert!(!view.leaf(source).expect("a leaf").guest_writes());
        }
        let mut at = to;
        while at < to + bytes {
            let end = (to + bytes).min((at & !(PAGE - 1)) + PAGE);
            let leaf = view.leaf(at).expect("a mapped destination");
            assert!(leaf.guest_writes() && !leaf.executes(), "{at:#x}");
            let physical = view.physical(at).expect("mapped");
            *written.entry(physical & !(PAGE - 1)).or_default() += end - at;
            if source != 0 {
                let from = view.physical(source).expect("mapped") + (at - to);
                let page = memory.entry(physical & !(PAGE - 1)).or_insert_with(|| vec![0; PAGE as usize]);
                let start = (physical % PAGE) as usize;
                page[start..start + (end - at) as usize].copy_from_slice(image.at(from, end - at));
            }
            at = end;
        }
    }
    // Every byte of every page that the loader may write is written once, but for its stack.
    let stack = view.physical(partition.loader_stack - PAGE).expect("a stack");
    for leaf in view_pages(image, partition.loader_root) {
        let expected = if leaf == stack { 0 } else { PAGE };
        assert_eq!(written.remove(&leaf).unwrap_or(0), expected, "{leaf:#x}");
    }
    assert!(written.is_empty());
    memory
}

/// Physical pages that a guest may write under `root`.
fn view_pages(image: &Image, root: u64) -> Vec<u64> {
    let leaves = image.leaves(root);
    let writable = leaves.iter().filter(|l| l.guest_writes());
    writable.flat_map(|l| l.pages().collect::<Vec<_>>()).collect()
}

/// The bytes that a partition finds at an address after it was loaded.
pub fn read(memory: &BTreeMap<u64, Vec<u8>>, view: &View, ipa: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|i| {
            let at = view.physical(ipa + i).expect("mapped");
            let page = memory.get(&(at & !(PAGE - 1)));
            page.map_or(0, |p| p[(at % PAGE) as usize])
        })
        .collect()
}

/// Spatial separation, read from the tables: a page that one partition can write is nobody else's but a reader's;
/// no page of the hypervisor's image can be written but ports; EL2 maps no memory of a partition.
pub fn assert_apart(image: &Image) {
    let blueprint = image.blueprint();
    let header = blueprint.header;
    let work = header.work.base..header.work.base + header.work.bytes;
    let mut writers: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, partition) in blueprint.partitions.iter().enumerate() {
        for root in [partition.stage2_root, partition.loader_root] {
            for leaf in image.leaves(root) {
                for page in leaf.pages() {
                    if !leaf.guest_writes() {
                        continue;
                    }
                    let other = writers.insert(page, index);
                    assert!(other.is_none_or(|o| o == index), "{page:#x} has two writers");
                    assert!(!work.contains(&page), "{page:#x} is EL2's");
                    assert!(!(IMAGE_BASE..work.start).contains(&page), "{page:#x} is sealed or pristine");
                }
            }
        }
    }
    for (index, partition) in blueprint.partitions.iter().enumerate() {
        for leaf in image.leaves(partition.stage2_root) {
            for page in leaf.pages() {
                let in_ports = (work.end..header.image_end).contains(&page);
                let foreign = writers.get(&page).is_some_and(|w| *w != index);
                assert!(!foreign || in_ports, "{page:#x} is another's memory");
                assert!(!(in_ports && leaf.executes()), "{page:#x} is executable");
            }
        }
    }
    for leaf in image.leaves(header.el2_root) {
        assert_eq!(leaf.input, leaf.output);
        assert!(!(leaf.el2_writes() && leaf.executes()), "{leaf:?}");
        for page in leaf.pages() {
            assert!(!writers.contains_key(&page), "EL2 maps {page:#x} of a partition");
        }
    }
}
