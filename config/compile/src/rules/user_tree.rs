//! CLO: a device tree that the user gives a partition, held against what the partition has.

use super::device_use::inside;
use super::{Check, rule};
use crate::build::ports::{View, views};
use crate::diag::Finding;
use crate::dtb;
use crate::dts::{Property, ROOT, Tree};
use crate::model::{ConsoleKind, Partition, Payload, System};
use crate::read::devices::{gic_interrupts, registers};
use crate::rules::layout::Layout;
use crate::span::AddressRange;

rule!(CLO_003, "CLO-003", Error, Check::Payloads(claims),
    "A device tree given by the user claims memory, a CPU, an interrupt or a device that the partition does not have.",
    why: "The guest would use it and fault: the memory and devices of a partition are those of the configuration.",
    example: "/* memory@40000000 of 256 MiB in the tree, and memory = <0x0 0x40000000 0x0 0x800000>; */",
    fix: "take it out of the tree, or grant it");

rule!(CLO_004, "CLO-004", Error, Check::Payloads(unreadable),
    "A device tree given by the user is no device-tree blob.",
    why: "The guest finds no tree at the address in x0 and stops before its first message.",
    example: "bulkhead,dtb = \"board.dts\"; /* the source */",
    fix: "compile it: dtc -O dtb -o board.dtb board.dts");

rule!(CLO_006, "CLO-006", Warning, Check::Payloads(lacks),
    "A device tree given by the user lacks what every guest needs.",
    why: "Without memory, CPUs, interrupt controller, timer or PSCI a kernel does not come to its console.",
    example: "/* a tree without a node `psci` */",
    fix: "add the node; `bulkhead build` shows a generated tree to start from when bulkhead,dtb is left out");

/// INTIDs of the timers that every partition has: EL1 virtual and physical.
const TIMERS: [u32; 2] = [27, 30];

/// Every partition with a tree of the user's, and the tree or what is wrong with it.
fn trees(system: &System) -> impl Iterator<Item = (usize, &Partition, &Payload, Result<Tree, Box<Finding>>)> {
    system.partitions.iter().enumerate().filter_map(|(index, partition)| {
        let file = partition.dtb.as_ref()?;
        // A file that cannot be read is IMG-001's matter.
        let bytes = std::fs::read(file.path.as_ref()?).ok()?;
        Some((index, partition, file, dtb::parse(&bytes)))
    })
}

fn unreadable(system: &System, out: &mut Vec<Finding>) {
    for (_, partition, file, tree) in trees(system) {
        let Err(problem) = tree else { continue };
        let message = format!("the device tree of {} cannot be read", partition.name.value);
        let finding = Finding::new(&CLO_004, message, file.span, "this file")
            .found(problem.found.unwrap_or(problem.message))
            .expected(problem.expected.unwrap_or_default());
        out.push(finding);
    }
}

/// Intermediate addresses that the partition has, and its interrupts.
fn has(system: &System, index: usize, view: &View) -> (Vec<AddressRange>, Vec<u32>) {
    let fixed = Layout::fixed(system);
    let placed = fixed.intermediate[index].iter().chain(&view.placements);
    let partition = &system.partitions[index];
    let devices = partition.access.iter().flat_map(|a| &system.devices[a.value].interrupts);
    let mut lines: Vec<u32> = devices.map(|i| i.intid).chain(TIMERS).collect();
    lines.extend(view.doorbells().map(|(_, intid)| intid));
    lines.extend((*partition.console == ConsoleKind::Pl011).then_some(partition.view.uart_intid));
    (placed.map(|p| p.range).collect(), lines)
}

fn claims(system: &System, out: &mut Vec<Finding>) {
    let Ok(views) = views(system) else { return };
    for (index, partition, file, tree) in trees(system) {
        let Ok(tree) = tree else { continue };
        let (ranges, lines) = has(system, index, &views[index]);
        let mut claim = |what: String, found: String, expected: String| {
            let message = format!("the device tree of {} claims {what}", partition.name.value);
            let finding = Finding::new(&CLO_003, message, file.span, "this file")
                .also(partition.span, "the partition does not have it")
                .found(found)
                .expected(expected);
            out.push(finding);
        };
        let shown =
            |ranges: &[AddressRange]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for node in (1..tree.nodes.len()).filter(|n| !is_cpu(&tree, *n)) {
            let path = tree.path(node);
            for range in registers(&tree, node).iter().filter(|r| !inside(&ranges, r)) {
                claim(format!("{range} for {path}"), range.to_string(), format!("inside {}", shown(&ranges)));
            }
            for line in gic_interrupts(&tree, node)
                .into_iter()
                .filter(|l| !lines.contains(l) && !is_timer(&tree, node))
            {
                claim(format!("interrupt {line} for {path}"), format!("INTID {line}"), format!("{lines:?}"));
            }
        }
        let cpus = (0..tree.nodes.len()).filter(|n| is_cpu(&tree, *n)).count();
        if cpus > partition.vcpus.len() {
            claim(
                format!("{cpus} CPUs"),
                format!("{cpus} CPU nodes"),
                format!("at most {}", partition.vcpus.len()),
            );
        }
    }
}

fn has_type(tree: &Tree, node: usize, kind: &str) -> bool {
    tree.nodes[node].property("device_type").and_then(Property::texts).is_some_and(|t| t == [kind])
}

fn is_cpu(tree: &Tree, node: usize) -> bool {
    has_type(tree, node, "cpu")
}

fn is_timer(tree: &Tree, node: usize) -> bool {
    tree.nodes[node].is_compatible("arm,armv8-timer")
}

fn lacks(system: &System, out: &mut Vec<Finding>) {
    for (_, partition, file, tree) in trees(system) {
        let Ok(tree) = tree else { continue };
        let any = |test: &dyn Fn(usize) -> bool| (0..tree.nodes.len()).any(test);
        let named = |prefix: &str| any(&|n| tree.nodes[n].compatible().iter().any(|c| c.starts_with(prefix)));
        let needs = [
            ("memory", any(&|n| has_type(&tree, n, "memory"))),
            ("a CPU", any(&|n| is_cpu(&tree, n))),
            ("PSCI", named("arm,psci")),
            ("a timer", any(&|n| is_timer(&tree, n))),
            (
                "an interrupt controller",
                any(&|n| n != ROOT && tree.nodes[n].property("interrupt-controller").is_some()),
            ),
        ];
        let missing: Vec<&str> = needs.iter().filter(|(_, there)| !there).map(|(what, _)| *what).collect();
        if !missing.is_empty() {
            let message = format!("the device tree of {} lacks {}", partition.name.value, missing.join(", "));
            let finding = Finding::new(&CLO_006, message, file.span, "this file")
                .found(format!("no node for {}", missing.join(", ")))
                .expected("memory, CPUs, PSCI, timer and interrupt controller");
            out.push(finding);
        }
    }
}
