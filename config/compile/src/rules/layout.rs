//! Where things lie: the physical memory and each partition's own view of addresses.
//!
//! The same rules judge the addresses that a configuration fixes ([`Layout::fixed`]) and the complete layout after
//! the back end has chosen the rest.

use super::device::hypervisor_reason;
use crate::model::{ConsoleKind, GicVersion, PAGE_BYTES, Partition, Segment, System};
use crate::span::{AddressRange, Span};
use std::collections::BTreeMap;

/// Who has a stretch of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// EL2: text, data, tables, rings, blueprint, pristine payloads.
    Hypervisor,
    /// One partition alone.
    Partition(usize),
    /// Several partitions as declared: ports and segments.
    Shared,
}

/// One stretch of addresses with a purpose.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Who has it.
    pub owner: Owner,
    /// What it is, for messages.
    pub what: String,
    /// Where.
    pub range: AddressRange,
    /// The text that asks for it.
    pub span: Span,
}

/// Addresses in use.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Physical memory (RAM, never device registers).
    pub physical: Vec<Placement>,
    /// Intermediate addresses of each partition, by [`System::partitions`] index.
    pub intermediate: Vec<Vec<Placement>>,
}

/// Size of the emulated distributor's frame, bytes.
pub const GICD_BYTES: u64 = 0x1_0000;
/// Size of one redistributor's two frames, bytes.
pub const GICR_BYTES: u64 = 0x2_0000;
/// Size of the GICv2 CPU interface, bytes.
pub const GICC_BYTES: u64 = 0x2000;

impl Layout {
    /// What the configuration fixes.
    pub fn fixed(system: &System) -> Layout {
        let intermediate = system.partitions.iter().enumerate();
        Layout {
            physical: fixed_physical(system),
            intermediate: intermediate.map(|(at, p)| fixed_intermediate(system, at, p)).collect(),
        }
    }
}

fn fixed_physical(system: &System) -> Vec<Placement> {
    let mut out = Vec::new();
    if let Some(memory) = &system.hypervisor.memory {
        let what = "the hypervisor's memory".to_owned();
        out.push(Placement { owner: Owner::Hypervisor, what, range: memory.value, span: memory.span });
    }
    for (at, partition) in system.partitions.iter().enumerate() {
        let owner = Owner::Partition(at);
        for range in &partition.memory {
            if let (Some(physical), Some(pa)) = (range.physical(), &range.pa) {
                let what = format!("memory of {}", partition.name.value);
                out.push(Placement { owner, what, range: physical, span: pa.span });
            }
        }
        for region in &partition.regions {
            if let Some(pa) = &region.pa {
                let what = format!("region {} of {}", region.name.value, partition.name.value);
                let range = AddressRange::new(pa.value, region.size.value);
                out.push(Placement { owner, what, range, span: pa.span });
            }
        }
    }
    for segment in &system.segments {
        if let Some(pa) = &segment.pa {
            let what = format!("segment {}", segment.name.value);
            let range = AddressRange::new(pa.value, segment.size.value);
            out.push(Placement { owner: Owner::Shared, what, range, span: pa.span });
        }
    }
    out
}

fn fixed_intermediate(system: &System, index: usize, partition: &Partition) -> Vec<Placement> {
    let owner = Owner::Partition(index);
    let put = |what: String, base: u64, size: u64, span: Span| Placement {
        owner,
        what,
        range: AddressRange::new(base, size),
        span,
    };
    let memory = partition.memory.iter();
    let mut out: Vec<Placement> =
        memory.map(|m| put("its memory".to_owned(), m.ipa.base, m.ipa.size, m.span)).collect();
    out.extend(
        platform(system, partition)
            .into_iter()
            .map(|(what, base, size, span)| put(what.to_owned(), base, size, span)),
    );
    // Devices of one partition may share a page: it is mapped once.
    let mut pages: BTreeMap<u64, Placement> = BTreeMap::new();
    // One that the hypervisor drives is DEV-002's matter.
    let mapped = partition.access.iter().filter(|a| hypervisor_reason(system, a.value).is_none());
    for access in mapped {
        let device = &system.devices[access.value];
        for page in device.pages() {
            let what = format!("registers of {}", device.display_name());
            pages.entry(page.base).or_insert_with(|| put(what, page.base, page.size, access.span));
        }
    }
    out.extend(pages.into_values());
    let regions = partition.regions.iter().filter_map(|r| Some((r, r.at.as_ref()?)));
    out.extend(
        regions.map(|(r, at)| put(format!("region {}", r.name.value), at.value, r.size.value, at.span)),
    );
    let takes = |s: &&Segment| s.readers.iter().chain(&s.writer).any(|p| p.value == index);
    let segments = system.segments.iter().filter(takes).filter_map(|s| Some((s, s.at.as_ref()?)));
    out.extend(
        segments.map(|(s, at)| put(format!("segment {}", s.name.value), at.value, s.size.value, at.span)),
    );
    out
}

/// The emulated platform of a partition: what, address, bytes, place.
fn platform(system: &System, partition: &Partition) -> Vec<(&'static str, u64, u64, Span)> {
    let view = &partition.view;
    let mut out = vec![("the emulated distributor", view.gicd, GICD_BYTES, view.span)];
    out.push(match system.board.gic.version {
        GicVersion::V3 => {
            let size = GICR_BYTES * partition.vcpus.value.len().max(1) as u64;
            ("the emulated redistributors", view.gicr, size, view.span)
        }
        GicVersion::V2 => ("the virtual CPU interface", view.gicc, GICC_BYTES, view.span),
    });
    if *partition.console == ConsoleKind::Pl011 {
        out.push(("the emulated PL011", view.uart, PAGE_BYTES, partition.console.span));
    }
    out
}

/// Every pair of placements that have an address in common, each once, in address order.
pub fn overlapping(placements: &[Placement]) -> Vec<(&Placement, &Placement)> {
    let mut order: Vec<&Placement> = placements.iter().collect();
    order.sort_by_key(|p| (p.range.base, p.span));
    let mut out = Vec::new();
    for (at, first) in order.iter().enumerate() {
        let later = order[at + 1..].iter().take_while(|p| p.range.base < first.range.end_saturating());
        out.extend(later.filter(|p| p.range.overlaps(&first.range)).map(|p| (*first, *p)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Span = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 1, node: 0 };

    proptest! {
        #[test]
        fn the_sweep_finds_the_pairs_that_comparing_all_with_all_finds(list in prop::collection::vec((0u64..40, 0u64..8), 0..12)) {
            let placements: Vec<Placement> = list.iter().map(|(base, size)| Placement {
                owner: Owner::Shared, what: String::new(), range: AddressRange::new(*base, *size), span: SPAN,
            }).collect();
            let mut slow = 0;
            for (at, a) in placements.iter().enumerate() {
                slow += placements[at + 1..].iter().filter(|b| a.range.overlaps(&b.range)).count();
            }
            prop_assert_eq!(overlapping(&placements).len(), slow);
        }
    }
}
