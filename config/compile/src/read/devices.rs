//! Devices of the board's tree: registers translated to CPU addresses, interrupts decoded, references listed.

use super::{Context, Entity, OWN_NODES};
use crate::board::BoardFacts;
use crate::diag::Finding;
use crate::dts::{Node, NodeIndex, Property, ROOT, Tree};
use crate::model::{ClockInput, Device, Interrupt, Oddity, ParentRef, Trigger};
use crate::rules::language::LNG_010;
use crate::span::AddressRange;

/// Reference properties of a specifier form: property, the provider's cell count.
const SPECIFIERS: [(&str, &str); 8] = [
    ("resets", "#reset-cells"),
    ("power-domains", "#power-domain-cells"),
    ("mboxes", "#mbox-cells"),
    ("iommus", "#iommu-cells"),
    ("dmas", "#dma-cells"),
    ("phys", "#phy-cells"),
    ("interconnects", "#interconnect-cells"),
    ("thermal-sensors", "#thermal-sensor-cells"),
];

/// Properties that are neither references nor copied into a guest's tree: they are decoded or made anew.
const DECODED: [&str; 10] = [
    "reg",
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "interrupt-map",
    "clocks",
    "status",
    "phandle",
    "ranges",
    "bulkhead,accept",
];

/// Compatible strings of interrupt controllers whose three-cell interrupts we decode.
pub const GIC_V2: [&str; 3] = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a7-gic"];
/// The same for version 3.
pub const GIC_V3: [&str; 1] = ["arm,gic-v3"];

/// Reads every device and makes it known to references.
pub fn read(context: &mut Context<'_>, facts: &BoardFacts) -> Vec<Device> {
    let tree = context.tree;
    check_numbers(context);
    let mut devices = Vec::new();
    let mut ours = vec![false; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().skip(1) {
        let top = node.parent == ROOT;
        let not_a_device = OWN_NODES.contains(&node.name.as_str())
            || ["cpus", "reserved-memory"].contains(&node.name.as_str());
        ours[index] = ours[node.parent] || (top && not_a_device);
        let memory = node.property("device_type").and_then(Property::texts).is_some_and(|t| t == ["memory"]);
        let has_resources =
            ["reg", "interrupts", "interrupts-extended"].iter().any(|p| node.property(p).is_some());
        if !ours[index] && !memory && has_resources {
            context.entities.insert(index, Entity::Device(devices.len()));
            devices.push(read_device(tree, index, facts));
        }
    }
    devices
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
    let (interrupts, mut parents, oddities) = interrupts(tree, index);
    parents.extend(other_parents(tree, node));
    Device {
        span: node.span,
        path: tree.path(index),
        name: node.name.clone(),
        label: node.labels.first().cloned(),
        regs: registers(tree, index),
        interrupts,
        oddities,
        enabled: status.is_none_or(|s| matches!(s.first(), Some(&"okay" | &"ok"))),
        bus_master: compatible.iter().any(|c| facts.bus_masters.contains(c)),
        behind_iommu: node.property("iommus").is_some(),
        dma_reach: dma_ranges(tree, node.parent).into_iter().map(|(_, range)| range).collect(),
        dma_ranges: dma_ranges(tree, node.parent),
        clocks: clocks(tree, node, facts),
        parents,
        plain_properties: node
            .properties
            .iter()
            .filter(|p| is_plain(&p.name))
            .map(|p| (p.name.clone(), p.bytes()))
            .collect(),
        compatible,
    }
}

fn is_plain(name: &str) -> bool {
    let reference = SPECIFIERS.iter().any(|(property, _)| *property == name) || is_bare_reference(name);
    !reference && !DECODED.contains(&name)
}

/// References without or with a variable specifier whose first cell is a phandle.
fn is_bare_reference(name: &str) -> bool {
    name.ends_with("-supply")
        || name.ends_with("-gpios")
        || name.ends_with("-gpio")
        || matches!(
            name,
            "gpios" | "msi-parent" | "msi-map" | "iommu-map" | "interrupt-map-mask" | "phy-handle"
        )
        || name.strip_prefix("pinctrl-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn count(tree: &Tree, node: NodeIndex, property: &str, default: u32) -> usize {
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
fn interrupts(tree: &Tree, index: NodeIndex) -> (Vec<Interrupt>, Vec<ParentRef>, Vec<Oddity>) {
    let node = &tree.nodes[index];
    let mut lines = Vec::new();
    let mut foreign = Vec::new();
    let mut oddities = Vec::new();
    let mut take = |controller: Option<NodeIndex>, cells: &[u32], property: &str| {
        let gic = controller.is_some_and(|c| {
            tree.nodes[c].compatible().iter().any(|name| GIC_V2.contains(name) || GIC_V3.contains(name))
        });
        if gic {
            lines.extend(cells.chunks_exact(3).filter_map(|c| gic_interrupt([c[0], c[1], c[2]])));
            oddities.extend(odd_specifiers(cells));
        } else {
            foreign.push(ParentRef {
                property: property.to_owned(),
                provider: controller.map(|c| tree.path(c)),
            });
        }
    };
    if let Some(cells) = node.property("interrupts-extended").and_then(Property::cells) {
        let mut rest = cells.as_slice();
        while let Some((phandle, after)) = rest.split_first() {
            let controller = tree.by_phandle(*phandle);
            let length =
                controller.map_or(after.len(), |c| count(tree, c, "#interrupt-cells", 1)).min(after.len());
            take(controller, &after[..length], "interrupts-extended");
            rest = &after[length..];
        }
    } else if let Some(cells) = node.property("interrupts").and_then(Property::cells) {
        let parent = tree
            .ancestors(index)
            .find_map(|n| tree.nodes[n].property("interrupt-parent").and_then(Property::cells));
        let controller = parent.and_then(|cells| tree.by_phandle(*cells.first()?));
        take(controller, &cells, "interrupts");
    }
    (lines, foreign, oddities)
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
fn gic_interrupt([kind, line, flags]: [u32; 3]) -> Option<Interrupt> {
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

/// Walks a list of phandles with specifiers and gives each provider, and the specifier's first cell.
fn providers(tree: &Tree, property: &Property, cell_count: &str) -> Vec<(Option<NodeIndex>, Option<u32>)> {
    let cells = property.cells().unwrap_or_default();
    let mut rest = cells.as_slice();
    let mut out = Vec::new();
    while let Some((phandle, after)) = rest.split_first() {
        let provider = tree.by_phandle(*phandle);
        let skip = provider.map_or(after.len(), |p| count(tree, p, cell_count, 0)).min(after.len());
        out.push((provider, after[..skip].first().copied()));
        rest = &after[skip..];
    }
    out
}

fn clocks(tree: &Tree, node: &Node, facts: &BoardFacts) -> Vec<ClockInput> {
    let Some(property) = node.property("clocks") else {
        return Vec::new();
    };
    let names = node.property("clock-names").and_then(Property::texts).unwrap_or_default();
    let providers = providers(tree, property, "#clock-cells");
    providers
        .into_iter()
        .enumerate()
        .map(|(at, (provider, output))| {
            let stated = provider.and_then(|p| {
                let mut clocks = facts.fixed_clocks.iter();
                clocks.find(|c| Some(c.output) == output && tree.nodes[p].is_compatible(&c.provider))
            });
            let path = provider.map_or_else(|| "nothing".to_owned(), |p| tree.path(p));
            if let Some(clock) = stated {
                return ClockInput {
                    name: names.get(at).map(|n| (*n).to_owned()),
                    provider: format!("{path}-{}", clock.output),
                    fixed: true,
                    fixed_hz: Some(clock.hz),
                    stated: Some(clock.set_by.clone()),
                };
            }
            let fixed = provider.filter(|p| tree.nodes[*p].is_compatible("fixed-clock"));
            let frequency =
                fixed.and_then(|p| tree.nodes[p].property("clock-frequency")?.cells()?.first().copied());
            ClockInput {
                name: names.get(at).map(|n| (*n).to_owned()),
                provider: path,
                fixed: fixed.is_some(),
                fixed_hz: frequency,
                stated: None,
            }
        })
        .collect()
}

fn other_parents(tree: &Tree, node: &Node) -> Vec<ParentRef> {
    let mut out = Vec::new();
    for property in &node.properties {
        let specifier = SPECIFIERS.iter().find(|(name, _)| *name == property.name);
        let found = match specifier {
            Some((_, cell_count)) => {
                providers(tree, property, cell_count).into_iter().map(|(provider, _)| provider).collect()
            }
            None if is_bare_reference(&property.name) && property.name != "interrupt-map-mask" => {
                vec![property.cells().and_then(|c| tree.by_phandle(*c.first()?))]
            }
            None => continue,
        };
        let reference = |p: Option<NodeIndex>| ParentRef {
            property: property.name.clone(),
            provider: p.map(|p| tree.path(p)),
        };
        out.extend(found.into_iter().map(reference));
    }
    out
}
