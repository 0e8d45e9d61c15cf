//! Nodes of the board's tree with their references taken apart.
//!
//! Sources: Devicetree Specification v0.4; the bindings' list properties as Linux' `drivers/of/property.c` names them.

use super::devices::{count, gic_interrupt, is_gic};
use crate::dts::{Node, NodeIndex, Property, ROOT, Tree};
use crate::model::{Device, DeviceIndex};
use crate::node::{BoardNode, BoardNodeIndex, Entry, Reference, Target};
use std::collections::{BTreeSet, HashMap};

/// How many cells follow a phandle.
#[derive(Clone, Copy)]
enum Form {
    /// As many as this property of the node referred to says.
    Counted(&'static str),
    /// Always so many.
    Fixed(usize),
}

/// Properties of references by name.
const FORMS: [(&str, Form); 36] = [
    ("clocks", Form::Counted("#clock-cells")),
    ("assigned-clocks", Form::Counted("#clock-cells")),
    ("assigned-clock-parents", Form::Counted("#clock-cells")),
    ("resets", Form::Counted("#reset-cells")),
    ("power-domains", Form::Counted("#power-domain-cells")),
    ("mboxes", Form::Counted("#mbox-cells")),
    ("iommus", Form::Counted("#iommu-cells")),
    ("dmas", Form::Counted("#dma-cells")),
    ("phys", Form::Counted("#phy-cells")),
    ("interconnects", Form::Counted("#interconnect-cells")),
    ("thermal-sensors", Form::Counted("#thermal-sensor-cells")),
    ("cooling-device", Form::Counted("#cooling-cells")),
    ("pwms", Form::Counted("#pwm-cells")),
    ("io-channels", Form::Counted("#io-channel-cells")),
    ("sound-dai", Form::Counted("#sound-dai-cells")),
    ("hwlocks", Form::Counted("#hwlock-cells")),
    ("nvmem-cells", Form::Counted("#nvmem-cell-cells")),
    ("mux-controls", Form::Counted("#mux-control-cells")),
    ("trigger-sources", Form::Counted("#trigger-source-cells")),
    ("msi-parent", Form::Counted("#msi-cells")),
    ("gpios", Form::Counted("#gpio-cells")),
    ("gpio", Form::Counted("#gpio-cells")),
    ("gpio-ranges", Form::Fixed(3)),
    ("phy-handle", Form::Fixed(0)),
    ("phy", Form::Fixed(0)),
    ("memory-region", Form::Fixed(0)),
    ("next-level-cache", Form::Fixed(0)),
    ("interrupt-affinity", Form::Fixed(0)),
    ("remote-endpoint", Form::Fixed(0)),
    ("operating-points-v2", Form::Fixed(0)),
    ("mmc-pwrseq", Form::Fixed(0)),
    ("syscon", Form::Fixed(0)),
    ("ddc", Form::Fixed(0)),
    ("ddc-i2c-bus", Form::Fixed(0)),
    ("firmware", Form::Fixed(0)),
    ("extcon", Form::Fixed(0)),
];

/// Properties that a partition's tree says anew, or not at all.
const MADE_ANEW: [&str; 7] = [
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "status",
    "phandle",
    "linux,phandle",
    "bulkhead,accept",
];

/// Maps between buses, or their interrupts, whose cells are those of the board's buses.
const MAPS: [&str; 4] = ["interrupt-map", "interrupt-map-mask", "iommu-map", "msi-map"];

fn form(name: &str) -> Option<Form> {
    let listed = FORMS.iter().find(|(property, _)| *property == name).map(|(_, form)| *form);
    let gpio = (name.ends_with("-gpios") || name.ends_with("-gpio")) && !name.ends_with("nr-gpios");
    let pins = name.strip_prefix("pinctrl-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    listed
        .or_else(|| gpio.then_some(Form::Counted("#gpio-cells")))
        .or_else(|| (pins || name.ends_with("-supply")).then_some(Form::Fixed(0)))
}

/// A hog's lines are those of the node that it lies in: no phandle (binding gpio).
fn hog(node: &Node, name: &str) -> bool {
    name == "gpios" && node.property("gpio-hog").is_some()
}

/// Reads every node that describes hardware; `device_of` says which of them have registers or interrupts.
pub fn read(
    tree: &Tree,
    hardware: &[NodeIndex],
    devices: &mut [Device],
    device_of: &HashMap<NodeIndex, DeviceIndex>,
) -> Vec<BoardNode> {
    let index: HashMap<NodeIndex, BoardNodeIndex> =
        hardware.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut nodes: Vec<BoardNode> = hardware
        .iter()
        .enumerate()
        .map(|(here, &node)| {
            let device = device_of.get(&node).copied();
            if let Some(device) = device {
                devices[device].node = here;
            }
            let addressed =
                |d: &DeviceIndex| !devices[*d].regs.is_empty() || !devices[*d].interrupts.is_empty();
            one(tree, node, &index, device.filter(addressed))
        })
        .collect();
    let is_group = |reference: &&Reference| reference.property.starts_with("pinctrl-");
    let groups: BTreeSet<BoardNodeIndex> = nodes
        .iter()
        .flat_map(|n| n.references.iter().filter(is_group).flat_map(|r| &r.entries))
        .filter_map(|entry| match entry.target {
            Target::Node(group) => nodes[group].parent,
            _ => None,
        })
        .collect();
    for controller in groups {
        nodes[controller].pin_controller = true;
    }
    nodes
}

fn one(
    tree: &Tree,
    at: NodeIndex,
    index: &HashMap<NodeIndex, BoardNodeIndex>,
    device: Option<DeviceIndex>,
) -> BoardNode {
    let node = &tree.nodes[at];
    let mut references = Vec::new();
    let mut plain = Vec::new();
    let mut untranslatable = Vec::new();
    for property in &node.properties {
        let name = &*property.name;
        let translates = ["ranges", "dma-ranges"].contains(&name) && !property.value.is_empty();
        if MADE_ANEW.contains(&name) {
            continue;
        }
        if translates || MAPS.contains(&name) {
            untranslatable.push(name.to_owned());
        } else if let Some(entries) =
            form(name).filter(|_| !hog(node, name)).and_then(|form| entries(tree, property, form, index))
        {
            references.push(Reference { property: name.to_owned(), entries });
        } else {
            plain.push((name.to_owned(), property.bytes()));
        }
    }
    references.extend(foreign_interrupts(tree, at, index));
    let status = node.property("status").and_then(Property::texts);
    BoardNode {
        span: node.span,
        path: tree.path(at),
        name: node.name.clone(),
        parent: (node.parent != ROOT).then(|| index.get(&node.parent).copied()).flatten(),
        children: node.children.iter().filter_map(|child| index.get(child).copied()).collect(),
        compatible: node.compatible().into_iter().map(str::to_owned).collect(),
        enabled: status.is_none_or(|s| matches!(s.first(), Some(&"okay" | &"ok"))),
        device,
        pin_controller: false,
        untranslatable,
        plain,
        references,
    }
}

/// The entries of a list; `None` if it is something else of that name: text, or a number that is no phandle.
fn entries(
    tree: &Tree,
    property: &Property,
    form: Form,
    index: &HashMap<NodeIndex, BoardNodeIndex>,
) -> Option<Vec<Entry>> {
    let cells = property.cells().filter(|cells| !cells.is_empty())?;
    let mut rest = cells.as_slice();
    let mut out = Vec::new();
    while let Some((&phandle, after)) = rest.split_first() {
        let node = tree.by_phandle(phandle);
        let length = match (node, form) {
            (None, _) if phandle == 0 => 0,
            (None, _) => after.len(),
            (Some(node), Form::Counted(name)) => count(tree, node, name, 0),
            (Some(_), Form::Fixed(length)) => length,
        };
        let (cells, after) = after.split_at(length.min(after.len()));
        let target = match node.and_then(|node| index.get(&node)) {
            Some(node) => Target::Node(*node),
            None if phandle == 0 => Target::Hole,
            None => Target::Unknown,
        };
        out.push(Entry { target, cells: cells.to_vec() });
        rest = after;
    }
    Some(out)
}

/// A node's interrupts as `interrupts-extended`, if any is of another controller than the GIC.
fn foreign_interrupts(
    tree: &Tree,
    at: NodeIndex,
    index: &HashMap<NodeIndex, BoardNodeIndex>,
) -> Option<Reference> {
    let mut entries = Vec::new();
    let mut foreign = false;
    for (controller, cells) in specifiers(tree, at) {
        match controller {
            Some(gic) if is_gic(&tree.nodes[gic]) => {
                let lines = cells.chunks_exact(3).filter_map(|c| gic_interrupt([c[0], c[1], c[2]]));
                entries.extend(lines.map(|line| Entry { target: Target::Line(line), cells: Vec::new() }));
            }
            other => {
                foreign = true;
                let target = other.and_then(|o| index.get(&o)).map_or(Target::Unknown, |o| Target::Node(*o));
                let length = other.map_or(cells.len(), |o| count(tree, o, "#interrupt-cells", 1)).max(1);
                let each = cells.chunks(length).map(|c| Entry { target, cells: c.to_vec() });
                entries.extend(each);
            }
        }
    }
    foreign.then(|| Reference { property: "interrupts-extended".to_owned(), entries })
}

/// Controllers of a node's interrupts, each with its specifiers' cells.
pub fn specifiers(tree: &Tree, at: NodeIndex) -> Vec<(Option<NodeIndex>, Vec<u32>)> {
    let node = &tree.nodes[at];
    let mut out = Vec::new();
    if let Some(cells) = node.property("interrupts-extended").and_then(Property::cells) {
        let mut rest = cells.as_slice();
        while let Some((phandle, after)) = rest.split_first() {
            let controller = tree.by_phandle(*phandle);
            let length =
                controller.map_or(after.len(), |c| count(tree, c, "#interrupt-cells", 1)).min(after.len());
            out.push((controller, after[..length].to_vec()));
            rest = &after[length..];
        }
    } else if let Some(cells) = node.property("interrupts").and_then(Property::cells) {
        let parent = tree
            .ancestors(at)
            .find_map(|n| tree.nodes[n].property("interrupt-parent").and_then(Property::cells));
        out.push((parent.and_then(|cells| tree.by_phandle(*cells.first()?)), cells));
    }
    out
}
