//! Where things lie: the physical memory and each partition's own view of addresses.
//!
//! The same rules judge the addresses that a configuration fixes ([`Layout::fixed`]) and the complete layout after
//! the back end has chosen the rest.

use crate::model::{ConsoleKind, GicVersion, PAGE_BYTES, Partition, System};
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
            intermediate: intermediate
                .map(|(at, p)| fixed_intermediate(system, at, p))
                .collect(),
        }
    }
}

fn fixed_physical(system: &System) -> Vec<Placement> {
    let mut out = Vec::new();
    if let Some(memory) = &system.hypervisor.memory {
        let what = "the hypervisor's memory".to_owned();
        out.push(Placement {
            owner: Owner::Hypervisor,
            what,
            range: memory.value,
            span: memory.span,
        });
    }
    for (at, partition) in system.partitions.iter().enumerate() {
        let owner = Owner::Partition(at);
        for range in &partition.memory {
            if let (Some(physical), Some(pa)) = (range.physical(), &range.pa) {
                let what = format!("memory of {}", partition.name.value);
                out.push(Placement {
                    owner,
                    what,
                    range: physical,
                    span: pa.span,
                });
            }
        }
        for region in &partition.regions {
            if let Some(pa) = &region.pa {
                let what = format!("region {} of {}", region.name.value, partition.name.value);
                let range = AddressRange::new(pa.value, region.size.value);
                out.push(Placement {
                    owner,
                    what,
                    range,
                    span: pa.span,
                });
            }
        }
    }
    for segment in &system.segments {
        if let Some(pa) = &segment.pa {
            let what = format!("segment {}", segment.name.value);
            let range = AddressRange::new(pa.value, segment.size.value);
            out.push(Placement {
                owner: Owner::Shared,
                what,
                range,
                span: pa.span,
            });
        }
    }
    out
}

fn fixed_intermediate(system: &System, index: usize, partition: &Partition) -> Vec<Placement> {
    let owner = Owner::Partition(index);
    let mut out = Vec::new();
    let mut put = |what: String, base: u64, size: u64, span: Span| {
        out.push(Placement {
            owner,
            what,
            range: AddressRange::new(base, size),
            span,
        });
    };
    for range in &partition.memory {
        put(
            "its memory".to_owned(),
            range.ipa.base,
            range.ipa.size,
            range.span,
        );
    }
    let view = &partition.view;
    put(
        "the emulated distributor".to_owned(),
        view.gicd,
        GICD_BYTES,
        view.span,
    );
    match system.board.gic.version {
        GicVersion::V3 => {
            let size = GICR_BYTES * partition.vcpus.value.len().max(1) as u64;
            put(
                "the emulated redistributors".to_owned(),
                view.gicr,
                size,
                view.span,
            );
        }
        GicVersion::V2 => put(
            "the virtual CPU interface".to_owned(),
            view.gicc,
            GICC_BYTES,
            view.span,
        ),
    }
    if *partition.console == ConsoleKind::Pl011 {
        put(
            "the emulated PL011".to_owned(),
            view.uart,
            PAGE_BYTES,
            partition.console.span,
        );
    }
    // Devices of one partition may share a page: it is mapped once.
    let mut pages: BTreeMap<u64, (AddressRange, String, Span)> = BTreeMap::new();
    for access in &partition.access {
        let device = &system.devices[access.value];
        for page in device.pages() {
            pages
                .entry(page.base)
                .or_insert((page, device.display_name(), access.span));
        }
    }
    for (range, name, span) in pages.into_values() {
        put(format!("registers of {name}"), range.base, range.size, span);
    }
    for region in &partition.regions {
        if let Some(at) = &region.at {
            put(
                format!("region {}", region.name.value),
                at.value,
                region.size.value,
                at.span,
            );
        }
    }
    let takes =
        |s: &&crate::model::Segment| s.readers.iter().chain(&s.writer).any(|p| p.value == index);
    for segment in system.segments.iter().filter(takes) {
        if let Some(at) = &segment.at {
            put(
                format!("segment {}", segment.name.value),
                at.value,
                segment.size.value,
                at.span,
            );
        }
    }
    out
}

/// Every pair of placements that have an address in common, each once, in address order.
pub fn overlapping(placements: &[Placement]) -> Vec<(&Placement, &Placement)> {
    let mut order: Vec<&Placement> = placements.iter().collect();
    order.sort_by_key(|p| (p.range.base, p.span));
    let mut out = Vec::new();
    for (at, first) in order.iter().enumerate() {
        let later = order[at + 1..]
            .iter()
            .take_while(|p| p.range.base < first.range.end_saturating());
        out.extend(
            later
                .filter(|p| p.range.overlaps(&first.range))
                .map(|p| (*first, *p)),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Span = Span {
        file: 0,
        line: 1,
        column: 1,
        end_line: 1,
        end_column: 1,
        node: 0,
    };

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
