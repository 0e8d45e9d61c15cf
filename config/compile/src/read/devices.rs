//! Devices of the board's tree: registers translated to CPU addresses, interrupts decoded, references listed.

use super::{Context, Entity, OWN_NODES};
use crate::board::BoardFacts;
use crate::diag::Finding;
use crate::dts::{Node, NodeIndex, Property, ROOT, Tree};
use crate::model::{Device, Interrupt, Oddity, Trigger};
use crate::node::BoardNode;
use crate::rules::language::LNG_010;
use crate::span::AddressRange;
use std::collections::HashMap;

/// Compatible strings of interrupt controllers whose three-cell interrupts we decode.
pub const GIC_V2: [&str; 3] = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a7-gic"];
/// The same for version 3.
pub const GIC_V3: [&str; 1] = ["arm,gic-v3"];

/// Nodes below the root that describe no hardware that could be granted or needed.
const NO_HARDWARE: [&str; 5] = ["cpus", "reserved-memory", "aliases", "chosen", "__symbols__"];

/// Reads every device and makes it known to references, and every node that one could need.
pub fn read(context: &mut Context<'_>, facts: &BoardFacts) -> (Vec<Device>, Vec<BoardNode>) {
    let tree = context.tree;
    check_numbers(context);
    let mut devices = Vec::new();
    let mut device_of = HashMap::new();
    let mut hardware = Vec::new();
    let mut others = vec![false; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().skip(1) {
        let name = node.name.as_str();
        let none = node.parent == ROOT && (OWN_NODES.contains(&name) || NO_HARDWARE.contains(&name));
        others[index] = others[node.parent] || none;
        let memory = node.property("device_type").and_then(Property::texts).is_some_and(|t| t == ["memory"]);
        if others[index] || memory {
            continue;
        }
        hardware.push(index);
        if ["reg", "interrupts", "interrupts-extended"].iter().any(|p| node.property(p).is_some()) {
            context.entities.insert(index, Entity::Device(devices.len()));
            device_of.insert(index, devices.len());
            devices.push(read_device(tree, index, facts));
        }
    }
    let nodes = super::nodes::read(tree, &hardware, &mut devices, &device_of);
    (devices, nodes)
}

/// LNG-010: cell counts that no bus has, and registers that wrap.
fn check_numbers(context: &mut Context<'_>) {
    /// PCI has three cells for an address; nothing has more than four.
    const CELLS_MAX: u32 = 4;
    let tree = context.tree;
    for (index, node) in tree.nodes.iter().enumerate() {
        for name in ["#address-cells", "#size-cells"] {
            let Some(property) = node.property(name) else { continue };
            let cells = property.cells().unwrap_or_default();
            if !matches!(cells.as_slice(), [n] if *n <= CELLS_MAX) {
                let shown: Vec<String> = cells.iter().map(u32::to_string).collect();
                let message = format!("`{name}` of {} is absurd", tree.path(index));
                let finding = Finding::new(&LNG_010, message, property.span, "this count")
                    .found(if shown.is_empty() { "no number".to_owned() } else { shown.join(" ") })
                    .expected(format!("one number of at most {CELLS_MAX}"));
                context.report(finding);
            }
        }
        let entry =
            count(tree, node.parent, "#address-cells", 2) + count(tree, node.parent, "#size-cells", 1);
        let reg = node.property("reg").and_then(|p| Some((p, p.cells()?.len())));
        if let Some((property, cells)) = reg.filter(|(_, cells)| !cells.is_multiple_of(entry.max(1))) {
            let message = format!("registers of {} are no whole number of entries", tree.path(index));
            let finding = Finding::new(&LNG_010, message, property.span, "these registers")
                .also(tree.nodes[node.parent].span, format!("{entry} cells for each entry"))
                .found(format!("{cells} cells"))
                .expected(format!("a multiple of {entry}: #address-cells and #size-cells of the parent"))
                .fix("write address and size in as many cells as the parent says");
            context.report(finding);
        }
        let wraps = registers(tree, index).into_iter().find(AddressRange::wraps);
        if let (Some(range), Some(property)) = (wraps, node.property("reg")) {
            let message = format!("registers of {} leave 64 bits", tree.path(index));
            let finding = Finding::new(&LNG_010, message, property.span, "these registers")
                .found(format!("base {:#x}, size {:#x}", range.base, range.size))
                .expected("a base plus size of at most 2^64");
            context.report(finding);
        }
    }
}

fn read_device(tree: &Tree, index: NodeIndex, facts: &BoardFacts) -> Device {
    let node = &tree.nodes[index];
    let compatible: Vec<String> = node.compatible().into_iter().map(str::to_owned).collect();
    let status = node.property("status").and_then(Property::texts);
    let (interrupts, oddities) = interrupts(tree, index);
    Device {
        span: node.span,
        path: tree.path(index),
        name: node.name.clone(),
        label: node.labels.first().cloned(),
        // `nodes::read` numbers the nodes.
        node: 0,
        regs: registers(tree, index),
        interrupts,
        oddities,
        enabled: status.is_none_or(|s| matches!(s.first(), Some(&"okay" | &"ok"))),
        bus_master: compatible.iter().any(|c| facts.bus_masters.contains(c)),
        behind_iommu: node.property("iommus").is_some(),
        dma_reach: dma_ranges(tree, node.parent).into_iter().map(|(_, range)| range).collect(),
        dma_ranges: dma_ranges(tree, node.parent),
        compatible,
    }
}

/// A count of cells that `property` of a node states.
pub(super) fn count(tree: &Tree, node: NodeIndex, property: &str, default: u32) -> usize {
    let cells = tree.nodes[node].property(property).and_then(Property::cells);
    cells.and_then(|c| c.first().copied()).unwrap_or(default) as usize
}

/// Up to two cells as one number; more are no CPU address.
fn number(cells: &[u32]) -> Option<u64> {
    match cells {
        [] => Some(0),
        [low] => Some(u64::from(*low)),
        [high, low] => Some(super::cursor::join(*high, *low)),
        _ => None,
    }
}

/// Devicetree specification v0.4, 2.3.6 `reg` and 2.3.8 `ranges`.
pub fn registers(tree: &Tree, index: NodeIndex) -> Vec<AddressRange> {
    let node = &tree.nodes[index];
    let address = count(tree, node.parent, "#address-cells", 2);
    let size = count(tree, node.parent, "#size-cells", 1);
    let Some(cells) = node.property("reg").and_then(Property::cells) else {
        return Vec::new();
    };
    if address + size == 0 {
        return Vec::new();
    }
    let entries = cells.chunks_exact(address + size);
    entries
        .filter_map(|entry| {
            let range = AddressRange::new(number(&entry[..address])?, number(&entry[address..])?);
            to_cpu(tree, node.parent, range)
        })
        .filter(|range| range.size != 0)
        .collect()
}

/// Translates an address of the bus `bus` through every `ranges` up to the root.
fn to_cpu(tree: &Tree, bus: NodeIndex, range: AddressRange) -> Option<AddressRange> {
    let mut range = range;
    for at in tree.ancestors(bus).take_while(|n| *n != ROOT) {
        let node = &tree.nodes[at];
        let ranges = node.property("ranges")?;
        if ranges.value.is_empty() {
            continue;
        }
        let child = count(tree, at, "#address-cells", 2);
        let parent = count(tree, node.parent, "#address-cells", 2);
        let size = count(tree, at, "#size-cells", 1);
        let window = |entry: &[u32]| {
            let from = AddressRange::new(number(&entry[..child])?, number(&entry[child + parent..])?);
            let to = number(&entry[child..child + parent])?;
            let inside = from.contains(&range).then(|| range.base - from.base)?;
            Some(AddressRange::new(to.checked_add(inside)?, range.size))
        };
        range = ranges.cells()?.chunks_exact((child + parent + size).max(1)).find_map(window)?;
    }
    Some(range)
}

/// What a bus lets its masters reach (`dma-ranges`, specification 2.3.9): its own address and the CPU's range; empty:
/// all, at the CPU's addresses.
pub fn dma_ranges(tree: &Tree, bus: NodeIndex) -> Vec<(u64, AddressRange)> {
    for at in tree.ancestors(bus).take_while(|n| *n != ROOT) {
        let node = &tree.nodes[at];
        let Some(cells) = node.property("dma-ranges").and_then(Property::cells) else {
            continue;
        };
        let child = count(tree, at, "#address-cells", 2);
        let parent = count(tree, node.parent, "#address-cells", 2);
        let size = count(tree, at, "#size-cells", 1);
        let entry = |e: &[u32]| {
            let range = AddressRange::new(number(&e[child..child + parent])?, number(&e[child + parent..])?);
            Some((number(&e[..child])?, range))
        };
        return cells.chunks_exact((child + parent + size).max(1)).filter_map(entry).collect();
    }
    Vec::new()
}

/// Interrupts of the GIC; those of other controllers are references that closure has to judge.
fn interrupts(tree: &Tree, index: NodeIndex) -> (Vec<Interrupt>, Vec<Oddity>) {
    let mut lines = Vec::new();
    let mut oddities = Vec::new();
    for (controller, cells) in super::nodes::specifiers(tree, index) {
        if controller.is_some_and(|controller| is_gic(&tree.nodes[controller])) {
            lines.extend(cells.chunks_exact(3).filter_map(|c| gic_interrupt([c[0], c[1], c[2]])));
            oddities.extend(odd_specifiers(&cells));
        }
    }
    (lines, oddities)
}

/// Whether a node is an interrupt controller whose specifiers we decode.
pub(super) fn is_gic(node: &Node) -> bool {
    node.compatible().iter().any(|name| GIC_V2.contains(name) || GIC_V3.contains(name))
}

/// INTIDs of a node whose interrupts go to a GIC.
pub fn gic_interrupts(tree: &Tree, index: NodeIndex) -> Vec<u32> {
    interrupts(tree, index).0.iter().map(|line| line.intid).collect()
}

/// Specifiers of the GIC that name no interrupt, or no trigger.
fn odd_specifiers(cells: &[u32]) -> Vec<Oddity> {
    let shown = |cells: &[u32]| cells.iter().map(|c| format!("{c:#x}")).collect::<Vec<_>>().join(" ");
    let mut out = Vec::new();
    let chunks = cells.chunks_exact(3);
    let rest = chunks.remainder();
    if !rest.is_empty() || cells.is_empty() {
        let found = format!("<{}>: {} cells, three for each interrupt", shown(cells), cells.len());
        out.push(Oddity { fatal: true, found });
    }
    for specifier in chunks {
        let known = gic_interrupt([specifier[0], specifier[1], specifier[2]]).is_some();
        let trigger = [1, 2, 4, 8].contains(&(specifier[2] & 0xf));
        if !known {
            let found = format!("<{}>: type 0 with a number below 988, or 1 below 16", shown(specifier));
            out.push(Oddity { fatal: true, found });
        } else if !trigger {
            out.push(Oddity {
                fatal: false,
                found: format!("<{}>: flags {:#x}", shown(specifier), specifier[2]),
            });
        }
    }
    out
}

/// Binding arm,gic-v3: type 0 is SPI (INTID 32 up), 1 is PPI (16 up); flags as in the binding.
pub(super) fn gic_interrupt([kind, line, flags]: [u32; 3]) -> Option<Interrupt> {
    let intid = match kind {
        0 if line < 988 => 32 + line,
        1 if line < 16 => 16 + line,
        _ => return None,
    };
    let trigger = match flags & 0xf {
        1 => Trigger::EdgeRising,
        2 => Trigger::EdgeFalling,
        8 => Trigger::LevelLow,
        _ => Trigger::LevelHigh,
    };
    Some(Interrupt { intid, trigger })
}
