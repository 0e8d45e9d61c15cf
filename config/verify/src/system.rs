//! Everything that a verified image says, gathered once: walks, port tables, load lists.

use crate::image::{View, text};
use crate::ports::PortEntry;
use crate::ranges::{PAGE, Range, union};
use crate::walk::{Mapped, Regime, Visited, Walk, all_mapped, walk};
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::{Partition, Reach};

/// One entry of a load list.
#[derive(Debug, Clone, Copy)]
pub struct LoadEntry {
    /// IPA of the pristine bytes, 0 to fill with zeros.
    pub source: u64,
    /// IPA that is filled.
    pub destination: Range,
    /// Starts that leave the destination alone: bit n = start n of [`bulkhead_abi::loader::start`].
    pub kept: u64,
    /// Digest of what is copied.
    pub sha256: [u8; 32],
}

/// A partition.
pub struct Part<'a> {
    /// Index in the blueprint.
    pub index: usize,
    /// Its record.
    pub record: &'a Partition,
    /// Its name.
    pub name: String,
    /// What its run-time tables map.
    pub run: Walk,
    /// What its loader's tables map.
    pub load: Walk,
    /// What it is meant to reach.
    pub reaches: Vec<&'a Reach>,
    /// Its information page's port table; `None` if the pages are not where they must be.
    pub ports: Option<Vec<PortEntry>>,
    /// Its load list; `None` if there is none that can be read.
    pub list: Option<Vec<LoadEntry>>,
}

/// An image with everything read that claims need.
pub struct System<'a> {
    /// The image.
    pub view: &'a View<'a>,
    /// What EL2's own tables map.
    pub el2: Walk,
    /// Partitions, by index.
    pub partitions: Vec<Part<'a>>,
    /// Every table that some walk visited.
    pub visited: Visited,
}

impl<'a> System<'a> {
    /// Walks every table and reads every page that is described by the blueprint.
    #[must_use]
    pub fn gather(view: &'a View<'a>) -> System<'a> {
        let mut visited = Visited::new();
        let el2 = walk(view, Regime::El2, view.header().el2_root, 0, &mut visited);
        let records = view.blueprint.partitions.iter().enumerate();
        let partitions = records.map(|(index, record)| part(view, index, record, &mut visited)).collect();
        System { view, el2, partitions, visited }
    }

    /// EL2's instructions and constants: what the digest covers beside the sealed part.
    #[must_use]
    pub fn code(&self) -> Range {
        let header = self.view.header();
        Range { start: header.image_base, end: header.rodata_end }
    }

    /// Name of a partition for messages.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.partitions.get(index).map_or("nobody", |p| p.name.as_str())
    }
}

fn part<'a>(view: &'a View<'a>, index: usize, record: &'a Partition, visited: &mut Visited) -> Part<'a> {
    let number = 1 + 2 * index;
    let run = walk(view, Regime::Guest, record.stage2_root, number, visited);
    let load = walk(view, Regime::Guest, record.loader_root, number + 1, visited);
    let reaches = view.reaches.iter().filter(|r| r.partition as usize == index).collect();
    let info = static_info(view, record, &run.mapped);
    let ports = info.and_then(crate::ports::read);
    let list = load_list(view, &load.mapped);
    Part { index, record, name: text(&record.name), run, load, reaches, ports, list }
}

/// The static information pages as the partition sees them.
pub fn static_info<'a>(view: &'a View<'a>, record: &Partition, run: &[Mapped]) -> Option<&'a [u8]> {
    let bytes = record.info_bytes.checked_sub(PAGE)?;
    let inputs = Range::of(record.info_ipa.checked_add(PAGE)?, bytes);
    physical(view, run, inputs)
}

/// Bytes of the file behind a range that is mapped in one piece.
pub fn physical<'a>(view: &'a View<'a>, mapped: &[Mapped], inputs: Range) -> Option<&'a [u8]> {
    let stretch = mapped.iter().find(|m| m.inputs().contains(&inputs))?;
    view.at(Range::of(stretch.output + (inputs.start - stretch.input), inputs.bytes()))
}

/// The little-endian word of 64 bits at an offset.
#[must_use]
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The little-endian word of 32 bits at an offset.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn load_list(view: &View<'_>, load: &[Mapped]) -> Option<Vec<LoadEntry>> {
    let page = physical(view, load, Range::of(loader::LIST_IPA, PAGE))?;
    let count = word(page, loader::ENTRY_COUNT)? as usize;
    if count > loader::ENTRIES_MAX {
        return None;
    }
    let entry = |number: usize| {
        let at = loader::ENTRIES + number * loader::ENTRY_STRIDE;
        let bytes = page.get(at..at + loader::ENTRY_STRIDE)?;
        let to = long(bytes, loader::ENTRY_DESTINATION)?;
        Some(LoadEntry {
            source: long(bytes, loader::ENTRY_SOURCE)?,
            destination: Range::of(to, long(bytes, loader::ENTRY_BYTES)?),
            kept: long(bytes, loader::ENTRY_FLAGS)?,
            sha256: bytes.get(loader::ENTRY_SHA256..loader::ENTRY_SHA256 + 32)?.try_into().ok()?,
        })
    };
    (0..count).map(entry).collect()
}

impl Part<'_> {
    /// Where the partition sees what is declared with one of these kinds.
    #[must_use]
    pub fn declared(&self, kinds: &[u32]) -> Vec<Range> {
        let list = self.reaches.iter().filter(|r| kinds.contains(&r.kind));
        union(list.map(|r| Range::of(r.ipa, r.bytes)).collect())
    }

    /// Physical addresses that are declared with one of these kinds.
    #[must_use]
    pub fn declared_physical(&self, kinds: &[u32]) -> Vec<Range> {
        let list = self.reaches.iter().filter(|r| kinds.contains(&r.kind));
        union(list.map(|r| Range::of(r.pa, r.bytes)).collect())
    }

    /// Whether the guest may execute all of `inputs` at run time.
    #[must_use]
    pub fn executes(&self, inputs: Range) -> bool {
        all_mapped(&self.run.mapped, inputs, |m| m.access.execute)
    }
}
