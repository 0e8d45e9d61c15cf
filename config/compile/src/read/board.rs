//! The board: CPUs, RAM, reservations and interrupt controller from the tree.

use super::devices::{GIC_V2, GIC_V3, registers};
use super::{Context, Entity};
use crate::board::{Board, BoardFacts, Cpu, Gic, GicVersion, Reservation};
use crate::diag::Finding;
use crate::dts::{Property, ROOT, Tree};
use crate::model::Device;
use crate::rules::language::LNG_007;
use crate::span::{AddressRange, Span};

/// Reads the board and makes its CPUs known to references.
pub fn read(context: &mut Context<'_>, mut facts: BoardFacts, devices: &[Device]) -> Option<Board> {
    let tree = context.tree;
    facts.counter_hz = counter_hz(tree).unwrap_or(facts.counter_hz);
    let root = &tree.nodes[ROOT];
    let cpus = read_cpus(context);
    if cpus.is_empty() {
        report(context, "the board's tree has no CPU", "/cpus with a node `cpu@N` for each CPU");
    }
    if let Some(other) = facts.cpu_boot_alternative
        && cpus.iter().all(|cpu| cpu.enable_method.as_deref() == Some(other.enable_method()))
    {
        facts.cpu_boot = other;
    }
    let ram = ram(tree);
    if ram.is_empty() {
        report(context, "the board's tree has no memory", "a node with device_type = \"memory\"");
    }
    let Some(gic) = gic(devices) else {
        let known = [GIC_V3.as_slice(), GIC_V2.as_slice()].concat().join(", ");
        report(context, "the board's tree has no interrupt controller that the hypervisor knows", &known);
        return None;
    };
    let model =
        root.property("model").and_then(Property::texts).and_then(|t| t.first().map(|t| (*t).to_owned()));
    Some(Board {
        reserved: reserved(tree, &facts),
        facts,
        model: model.unwrap_or_default(),
        compatible: root.compatible().into_iter().map(str::to_owned).collect(),
        span: root.property("compatible").map_or(root.span, |p| p.span),
        cpus,
        ram,
        gic,
    })
}

/// `clock-frequency` of the timer (binding arm,arch_timer): the counter runs at another frequency than
/// the board's usual one.
fn counter_hz(tree: &Tree) -> Option<u32> {
    let timer = tree.nodes.iter().find(|node| node.compatible().contains(&"arm,armv8-timer"))?;
    timer.property("clock-frequency")?.cells()?.first().copied().filter(|&hz| hz != 0)
}

fn report(context: &mut Context<'_>, message: &str, expected: &str) {
    let span = context.tree.nodes[ROOT].span;
    context.report(Finding::new(&LNG_007, message, span, "the board's tree").expected(expected));
}

fn read_cpus(context: &mut Context<'_>) -> Vec<Cpu> {
    let tree = context.tree;
    let mut nodes: Vec<(u64, usize)> = Vec::new();
    for index in tree.child(ROOT, "cpus").map(|c| tree.nodes[c].children.clone()).unwrap_or_default() {
        let cells = tree.nodes[index].property("reg").and_then(Property::cells).unwrap_or_default();
        let is_cpu =
            tree.nodes[index].property("device_type").and_then(Property::texts).is_some_and(|t| t == ["cpu"]);
        match cells.as_slice() {
            [low] if is_cpu => nodes.push((u64::from(*low), index)),
            [high, low] if is_cpu => nodes.push((super::cursor::join(*high, *low), index)),
            _ => {}
        }
    }
    nodes.sort_unstable();
    context.register(&nodes.iter().map(|(_, node)| *node).collect::<Vec<_>>(), Entity::Cpu);
    let first_text = |index: usize, name: &str| {
        tree.nodes[index]
            .property(name)
            .and_then(Property::texts)
            .and_then(|t| t.first().map(|t| (*t).to_owned()))
    };
    nodes
        .iter()
        .map(|&(mpidr, index)| Cpu {
            span: tree.nodes[index].span,
            name: tree.nodes[index].name.clone(),
            mpidr,
            compatible: first_text(index, "compatible").unwrap_or_default(),
            enable_method: first_text(index, "enable-method"),
            release_addr: match tree.nodes[index]
                .property("cpu-release-addr")
                .and_then(Property::cells)
                .as_deref()
            {
                Some([high, low]) => Some(super::cursor::join(*high, *low)),
                _ => None,
            },
        })
        .collect()
}

fn ram(tree: &Tree) -> Vec<(AddressRange, Span)> {
    let is_memory = |index: &usize| {
        tree.nodes[*index].property("device_type").and_then(Property::texts).is_some_and(|t| t == ["memory"])
    };
    let nodes = tree.nodes[ROOT].children.iter().copied().filter(is_memory);
    nodes.flat_map(|n| registers(tree, n).into_iter().map(move |r| (r, tree.nodes[n].span))).collect()
}

fn reserved(tree: &Tree, facts: &BoardFacts) -> Vec<Reservation> {
    let mut out = Vec::new();
    for region in &facts.firmware {
        let range = AddressRange::new(region.base, region.size);
        out.push(Reservation { what: region.what.clone(), range, span: None });
    }
    for range in &tree.reserved {
        out.push(Reservation { what: "/memreserve/".to_owned(), range: *range, span: None });
    }
    for node in
        tree.child(ROOT, "reserved-memory").map(|n| tree.nodes[n].children.clone()).unwrap_or_default()
    {
        for range in registers(tree, node) {
            out.push(Reservation { what: tree.path(node), range, span: Some(tree.nodes[node].span) });
        }
    }
    out
}

/// Bindings arm,gic-v3 (GICD, GICR) and arm,gic (GICD, GICC, GICH, GICV).
fn gic(devices: &[Device]) -> Option<Gic> {
    devices.iter().enumerate().find_map(|(index, device)| {
        let listed = |names: &[&str]| device.compatible.iter().any(|c| names.contains(&c.as_str()));
        let reg = |at: usize| device.regs.get(at).copied();
        let version = if listed(&GIC_V3) {
            GicVersion::V3
        } else if listed(&GIC_V2) {
            GicVersion::V2
        } else {
            return None;
        };
        let v2 = |at| reg(at).filter(|_| version == GicVersion::V2);
        Some(Gic {
            span: device.span,
            device: index,
            version,
            gicd: reg(0)?,
            gicr: reg(1).filter(|_| version == GicVersion::V3),
            gicc: v2(1),
            gich: v2(2),
            gicv: v2(3),
        })
    })
}
