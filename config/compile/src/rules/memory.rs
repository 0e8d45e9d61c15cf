//! MEM: memory, physical and as each partition sees it.

use super::layout::{Layout, Owner, Placement, overlapping};
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{IPA_BITS, PAGE_BYTES, Partition, System};
use crate::span::{AddressRange, Bytes, Span, Spanned};

/// Size of a stage-2 block (level 2, 4 KiB granule), bytes.
const BLOCK_BYTES: u64 = 2 << 20;

rule!(MEM_001, "MEM-001", Error, Check::Layout(partitions_overlap),
    "Physical memory of two partitions overlaps.",
    why: "Spatial separation is this rule: a page writable by two partitions belongs to neither.",
    example: "a { bulkhead,memory-pa = <0x0 0x70000000>; }; b { bulkhead,memory-pa = <0x0 0x70000000>; };",
    fix: "move one of them, or leave `bulkhead,memory-pa` out and let the compiler choose");

rule!(MEM_002, "MEM-002", Error, Check::Layout(hypervisor_overlaps),
    "A partition's memory overlaps the hypervisor's.",
    why: "Text, tables, rings, blueprint and pristine payloads of EL2 must be out of every partition's reach.",
    example: "hypervisor { memory = <0x0 0x40200000 0x0 0x200000>; }; a { bulkhead,memory-pa = <0x0 0x40300000>; };",
    fix: "move one of them, or leave the address out and let the compiler choose");

rule!(MEM_003, "MEM-003", Error, Check::Layout(outside_ram),
    "Memory lies outside the board's RAM or on a reservation of it.",
    why: "Firmware keeps what it reserves, and an address without RAM is a silent hang.",
    example: "a { bulkhead,memory-pa = <0x0 0x48000000>; }; /* the firmware's device tree */",
    fix: "choose an address in free RAM, or leave it out and let the compiler choose");

rule!(MEM_004, "MEM-004", Error, Check::Layout(on_registers),
    "Memory spans RAM and device space, or lies over device registers.",
    why: "A store to memory would be a command to a device.",
    example: "a { bulkhead,memory-pa = <0x0 0x09000000>; };",
    fix: "choose an address in RAM");

rule!(MEM_005, "MEM-005", Error, Check::Layout(view_overlaps),
    "Two things have one address inside a partition.",
    why: "A stage-2 table has one entry for each address: one of the two would be lost without a word.",
    example: "a { memory = <0x0 0x08000000 0x0 0x1000000>; }; /* the emulated distributor is there */",
    fix: "move one of them inside the partition; node `view` moves the emulated platform");

rule!(MEM_006, "MEM-006", Error, Check::System(alignment),
    "A base or size is not a multiple of 4 KiB, or costs 2 MiB blocks.",
    why: "Stage 2 maps whole pages: the rest of a page would belong to a neighbour. Addresses that differ modulo 2 MiB \
          cannot be mapped by blocks and cost one table of 4 KiB for every 2 MiB (a warning).",
    example: "memory = <0x0 0x40000800 0x0 0x10000000>;",
    fix: "round the base down and the size up to a multiple of 0x1000");

rule!(MEM_007, "MEM-007", Error, Check::System(widths),
    "Base plus size wraps 64 bits or leaves the address width, or a size is zero.",
    why: "An address beyond the width faults or, worse, aliases a lower one.",
    example: "memory = <0xffffffff 0xfffff000 0x0 0x2000>;",
    fix: "choose an address and size inside the width shown");

rule!(MEM_008, "MEM-008", Error, Check::Payloads(super::image::writable_code),
    "Memory is writable and executable although the payload tells the two apart, or shared memory is executable.",
    why: "Code that can be written can be replaced; ports, segments, regions and registers are never executable.",
    example: "regions { scratch { size = <0x0 0x1000>; rights = \"rwx\"; }; };",
    fix: "link code and data into separate segments; give regions \"r\" or \"rw\"");

rule!(MEM_009, "MEM-009", Error, Check::System(exhausted),
    "The board's RAM does not hold everything.",
    why: "Memory is divided before boot; there is none to be had later.",
    example: "a { memory = <0x0 0x40000000 0x0 0x80000000>; }; /* 2 GiB on a board of 1 GiB */",
    fix: "make the largest owners smaller, or use a board with more RAM");

fn clash(
    rule: &'static super::Rule,
    message: String,
    second: &Placement,
    first: &Placement,
) -> Option<Finding> {
    let common = first.range.intersection(&second.range)?;
    Some(
        Finding::new(rule, message, second.span, format!("{}: {}", second.what, second.range))
            .also(first.span, format!("{}: {}", first.what, first.range))
            .found(format!("both have {common}"))
            .expected("addresses apart"),
    )
}

fn partitions_overlap(_: &System, layout: &Layout, out: &mut Vec<Finding>) {
    let pairs = overlapping(&layout.physical).into_iter();
    let pairs = pairs.filter(|(a, b)| a.owner != Owner::Hypervisor && b.owner != Owner::Hypervisor);
    out.extend(pairs.filter_map(|(a, b)| {
        clash(&MEM_001, format!("{} and {} overlap in physical memory", a.what, b.what), b, a)
    }));
}

fn hypervisor_overlaps(_: &System, layout: &Layout, out: &mut Vec<Finding>) {
    for (a, b) in overlapping(&layout.physical) {
        let (hypervisor, other) = if a.owner == Owner::Hypervisor { (a, b) } else { (b, a) };
        if hypervisor.owner == Owner::Hypervisor {
            out.extend(clash(
                &MEM_002,
                format!("{} overlaps {}", other.what, hypervisor.what),
                other,
                hypervisor,
            ));
        }
    }
}

fn inside_ram(system: &System, range: &AddressRange) -> bool {
    system.board.ram.iter().any(|(ram, _)| ram.contains(range))
}

fn registers_at<'a>(
    system: &'a System,
    range: &AddressRange,
) -> Option<(&'a crate::model::Device, AddressRange)> {
    system.devices.iter().find_map(|d| d.regs.iter().find(|r| r.overlaps(range)).map(|r| (d, *r)))
}

fn outside_ram(system: &System, layout: &Layout, out: &mut Vec<Finding>) {
    let ram = system.board.ram.iter().map(|(range, _)| range.to_string()).collect::<Vec<_>>().join(", ");
    for placement in layout.physical.iter().filter(|p| !p.range.wraps()) {
        let range = &placement.range;
        let label = format!("{}: {range}", placement.what);
        if !inside_ram(system, range) && registers_at(system, range).is_none() {
            let finding = Finding::new(
                &MEM_003,
                format!("{} is not in RAM", placement.what),
                placement.span,
                label.clone(),
            )
            .found(range.to_string())
            .expected(format!("inside {ram}"));
            let ram = system.board.ram.iter().map(|(_, span)| *span).next();
            out.push(ram.into_iter().fold(finding, |f, span| f.also(span, "the board's RAM")));
        }
        for reservation in system.board.reserved.iter().filter(|r| r.range.overlaps(range)) {
            let message = format!("{} lies on {}", placement.what, reservation.what);
            let finding = Finding::new(&MEM_003, message, placement.span, label.clone())
                .found(format!("{range} and {}: {}", reservation.what, reservation.range))
                .expected("RAM that nobody reserves");
            out.push(reservation.span.into_iter().fold(finding, |f, span| f.also(span, "reserved here")));
        }
    }
}

fn on_registers(system: &System, layout: &Layout, out: &mut Vec<Finding>) {
    for placement in &layout.physical {
        if let Some((device, registers)) = registers_at(system, &placement.range) {
            let message = format!("{} lies over the registers of {}", placement.what, device.display_name());
            let label = format!("{}: {}", placement.what, placement.range);
            let finding = Finding::new(&MEM_004, message, placement.span, label)
                .also(device.span, format!("registers: {registers}"))
                .found(placement.range.to_string())
                .expected("RAM alone");
            out.push(finding);
        }
    }
}

fn view_overlaps(system: &System, layout: &Layout, out: &mut Vec<Finding>) {
    for (partition, placements) in system.partitions.iter().zip(&layout.intermediate) {
        for (a, b) in overlapping(placements) {
            // What the user wrote comes first: the emulated platform is rarely the culprit.
            let (a, b) = if b.span == partition.view.span { (b, a) } else { (a, b) };
            let message = format!("in {}, {} and {} have one address", partition.name.value, a.what, b.what);
            out.extend(clash(&MEM_005, message, b, a));
        }
    }
}

/// One range that the configuration writes: what, where, and the width its end must stay within. The name is made
/// only for those that break a rule.
struct Written<'a> {
    kind: &'static str,
    name: &'a str,
    owner: Option<&'a str>,
    range: AddressRange,
    span: Span,
    width: u32,
}

impl Written<'_> {
    fn what(&self) -> String {
        match self.owner {
            Some(owner) => format!("{} {} of {owner}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name).trim_end().to_owned(),
        }
    }
}

fn each_written(system: &System, visit: &mut dyn FnMut(Written<'_>)) {
    let physical = system.board.facts.pa_bits;
    if let Some(m) = &system.hypervisor.memory {
        let kind = "the hypervisor's memory";
        visit(Written { kind, name: "", owner: None, range: m.value, span: m.span, width: physical });
    }
    for partition in &system.partitions {
        written_by_partition(partition, physical, visit);
    }
    for s in &system.segments {
        let name = (s.name.value.as_str(), None);
        sized(["segment", "physical segment"], name, &s.size, s.at.as_ref(), s.pa.as_ref(), physical, visit);
    }
}

fn written_by_partition(partition: &Partition, physical: u32, visit: &mut dyn FnMut(Written<'_>)) {
    let own = partition.name.value.as_str();
    let mut range =
        |kind, range, span, width| visit(Written { kind, name: own, owner: None, range, span, width });
    for m in &partition.memory {
        range("memory of", m.ipa, m.span, IPA_BITS);
        // A direct map repeats the address: it is judged once.
        let direct = partition.direct_map.is_some_and(|d| m.pa.as_ref().is_some_and(|pa| pa.span == d));
        if let (Some(place), Some(pa)) = (m.physical().filter(|_| !direct), &m.pa) {
            range("physical memory of", place, pa.span, physical);
        }
    }
    let view = &partition.view;
    for (kind, base) in [
        ("emulated distributor of", view.gicd),
        ("emulated CPU interface of", view.gicc),
        ("emulated redistributors of", view.gicr),
        ("emulated PL011 of", view.uart),
    ] {
        range(kind, AddressRange::new(base, PAGE_BYTES), view.span, IPA_BITS);
    }
    for r in &partition.regions {
        let name = (r.name.value.as_str(), Some(own));
        sized(["region", "physical region"], name, &r.size, r.at.as_ref(), r.pa.as_ref(), physical, visit);
    }
}

/// A region or segment: its size, and its addresses where they are given.
fn sized(
    kinds: [&'static str; 2],
    (name, owner): (&str, Option<&str>),
    size: &Spanned<u64>,
    at: Option<&Spanned<u64>>,
    pa: Option<&Spanned<u64>>,
    physical: u32,
    visit: &mut dyn FnMut(Written<'_>),
) {
    let range = AddressRange::new(at.map_or(0, |a| a.value), size.value);
    let span = at.map_or(size.span, |a| a.span);
    visit(Written { kind: kinds[0], name, owner, range, span, width: IPA_BITS });
    if let Some(pa) = pa {
        let range = AddressRange::new(pa.value, size.value);
        visit(Written { kind: kinds[1], name, owner, range, span: pa.span, width: physical });
    }
}

fn alignment(system: &System, out: &mut Vec<Finding>) {
    each_written(system, &mut |w| {
        if w.range.is_aligned(PAGE_BYTES) {
            return;
        }
        let message = format!("{} is not made of whole pages", w.what());
        let finding = Finding::new(&MEM_006, message, w.span, "this range")
            .found(format!("base {:#x}, size {:#x}", w.range.base, w.range.size))
            .expected("both multiples of 0x1000 (4 KiB)");
        let rounded = w.range.aligned_out(PAGE_BYTES);
        out.push(finding.fix(format!("base {:#x} with size {:#x} covers it", rounded.base, rounded.size)));
    });
    for partition in &system.partitions {
        for m in &partition.memory {
            let Some(pa) = m.pa.as_ref().filter(|pa| pa.value.is_multiple_of(PAGE_BYTES)) else {
                continue;
            };
            let shifted = !(pa.value ^ m.ipa.base).is_multiple_of(BLOCK_BYTES);
            if shifted && m.ipa.is_aligned(PAGE_BYTES) && m.ipa.size >= BLOCK_BYTES {
                let tables = m.ipa.size.div_ceil(BLOCK_BYTES);
                let message = format!("memory of {} cannot be mapped by 2 MiB blocks", partition.name.value);
                let finding =
                    Finding::new(&MEM_006, message, pa.span, format!("physical start {:#x}", pa.value))
                        .also(m.span, format!("seen at {:#x}", m.ipa.base))
                        .found(format!("{} tables of 4 KiB: {}", tables, Bytes(tables * PAGE_BYTES)))
                        .expected("addresses that are equal modulo 0x200000")
                        .fix(
                            "move the physical start to a multiple of 2 MiB from the partition's own address",
                        );
                out.push(finding.warning());
            }
        }
    }
}

fn widths(system: &System, out: &mut Vec<Finding>) {
    each_written(system, &mut |w| {
        let too_far = w.range.end().is_none_or(|end| end > 1 << w.width);
        if !too_far && w.range.size != 0 {
            return;
        }
        let message = if w.range.size == 0 {
            format!("{} has size zero", w.what())
        } else {
            format!("{} ends beyond {} bits", w.what(), w.width)
        };
        let finding = Finding::new(&MEM_007, message, w.span, "this range")
            .found(format!("base {:#x}, size {:#x}", w.range.base, w.range.size))
            .expected(format!("a size above zero and an end of at most {:#x}", 1u64 << w.width));
        out.push(finding);
    });
}

/// One owner's need for RAM.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Who.
    pub what: String,
    /// How much.
    pub bytes: u64,
    /// The text that asks for it.
    pub span: Span,
}

/// MEM-009 about demands of which the RAM holds `free` bytes: the sum by owner, largest first.
pub fn does_not_fit(demands: &[Demand], free: u64) -> Option<Finding> {
    let sum: u64 = demands.iter().fold(0, |sum, d| sum.saturating_add(d.bytes));
    let mut order: Vec<&Demand> = demands.iter().collect();
    order.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.span.cmp(&b.span)));
    let largest = order.first().filter(|_| sum > free)?;
    let list: Vec<String> = order.iter().map(|d| format!("{} {}", d.what, Bytes(d.bytes))).collect();
    let message = format!("RAM does not hold everything: {} wanted, {} there", Bytes(sum), Bytes(free));
    let finding =
        Finding::new(&MEM_009, message, largest.span, format!("the largest: {}", Bytes(largest.bytes)))
            .found(list.join(", "))
            .expected(format!("at most {} in all", Bytes(free)));
    Some(
        order
            .iter()
            .skip(1)
            .take(1)
            .fold(finding, |f, d| f.also(d.span, format!("next: {}", Bytes(d.bytes)))),
    )
}

fn exhausted(system: &System, out: &mut Vec<Finding>) {
    let mut demands = Vec::new();
    if let Some(memory) = &system.hypervisor.memory {
        demands.push(Demand { what: "hypervisor".to_owned(), bytes: memory.size, span: memory.span });
    }
    for partition in &system.partitions {
        let regions = partition.regions.iter().map(|r| r.size.value);
        let bytes = partition.memory.iter().map(|m| m.ipa.size).chain(regions).fold(0, u64::saturating_add);
        let span = partition.memory.first().map_or(partition.span, |m| m.span);
        demands.push(Demand { what: partition.name.value.clone(), bytes, span });
    }
    for s in &system.segments {
        demands.push(Demand { what: s.name.value.clone(), bytes: s.size.value, span: s.span });
    }
    out.extend(does_not_fit(&demands, free_ram(system)));
}

/// Bytes of RAM that nobody reserves.
pub fn free_ram(system: &System) -> u64 {
    let reserved_in = |ram: &AddressRange| {
        let parts = system.board.reserved.iter().filter_map(|r| r.range.intersection(ram));
        parts.map(|p| p.size).fold(0, u64::saturating_add)
    };
    system
        .board
        .ram
        .iter()
        .map(|(ram, _)| ram.size.saturating_sub(reserved_in(ram)))
        .fold(0, u64::saturating_add)
}
