//! What concerns more than one partition: ports, authority, plans, the module itself.

use super::tree::Node;
use super::{Sides, part};
use crate::claims::Ledger;
use crate::image::text;
use bulkhead_abi::hypercall::control;
use bulkhead_abi::info::fixed;
use bulkhead_abi::port::kind;
use bulkhead_blueprint::layout::{NONE, PlanCpu, window_flags};
use bulkhead_blueprint::span;
use std::collections::BTreeMap;

/// A port's end as both sides can say it: its name, whether it writes, kind, message bytes, depth of a queue, whether
/// a doorbell interrupts it.
type End = (String, bool, u32, u32, Option<u32>, bool);

pub fn ports(sides: &Sides<'_>, ledger: &mut Ledger) {
    let mut wanted: BTreeMap<&str, Vec<End>> = BTreeMap::new();
    for port in sides.root.list("ports") {
        for (property, writes) in [("from", true), ("to", false)] {
            let names = port.texts(&format!("{property}-names"));
            for (number, phandle) in port.cells(property).iter().enumerate() {
                let Some(partition) = sides.index.node(*phandle) else { continue };
                let name = names.get(number).unwrap_or(&port.name).clone();
                wanted.entry(&partition.name).or_default().push(end(port, name, writes));
            }
        }
    }
    for partition in &sides.system.partitions {
        let found: Vec<End> = partition
            .ports
            .iter()
            .flatten()
            .map(|e| {
                let depth = (e.kind == kind::QUEUING).then_some(e.slots);
                let rings = !e.writes() && e.doorbell_intid != fixed::NO_DOORBELL;
                (e.name.clone(), e.writes(), e.kind, e.message_bytes, depth, rings)
            })
            .collect();
        let expected = wanted.remove(partition.name.as_str()).unwrap_or_default();
        ledger.examined(expected.len() as u64, "port ends");
        if found != expected {
            ledger.fail(
                format!("ports of {}", partition.name),
                format!("{found:?}"),
                format!("{expected:?}"),
            );
        }
    }
    connections(sides, ledger);
}

fn end(port: &Node, name: String, writes: bool) -> End {
    let queuing = port.is("bulkhead,queuing-port");
    let kind = if queuing { kind::QUEUING } else { kind::SAMPLING };
    let depth = if queuing { port.cell("depth") } else { None };
    (name, writes, kind, port.cell("message-bytes").unwrap_or(0), depth, !writes && port.flag("doorbell"))
}

/// The peer that each reader's page names is the writer of that very port.
fn connections(sides: &Sides<'_>, ledger: &mut Ledger) {
    for port in sides.root.list("ports") {
        let id = |node: &Node| node.cell("id").unwrap_or(0);
        let Some(writer) = port.cell("from").and_then(|p| sides.index.node(p)) else { continue };
        let names = port.texts("to-names");
        for (number, phandle) in port.cells("to").iter().enumerate() {
            let Some(reader) = sides.index.node(*phandle) else { continue };
            let name = names.get(number).unwrap_or(&port.name);
            let found =
                part(sides, &reader.name).and_then(|p| p.ports.as_ref()?.iter().find(|e| &e.name == name));
            let peer = found.map_or(0, |e| e.peer_id);
            ledger.same(&format!("writer of {} at {}", name, reader.name), peer, id(writer));
        }
    }
}

pub fn authority(sides: &Sides<'_>, ledger: &mut Ledger) {
    let words = [
        ("status", control::STATUS),
        ("suspend", control::SUSPEND),
        ("resume", control::RESUME),
        ("halt", control::HALT),
        ("restart", control::RESTART),
    ];
    for wanted in sides.partitions {
        let mut expected: BTreeMap<String, u32> = BTreeMap::new();
        for authority in wanted.node.list("authority") {
            let allowed = authority.texts("allow");
            let bits = words.iter().filter(|(word, _)| allowed.iter().any(|a| a == word));
            let bits = bits.fold(0, |all, (_, operation)| all | 1 << operation);
            for target in authority.cells("over").iter().filter_map(|p| sides.index.node(*p)) {
                *expected.entry(target.name.clone()).or_default() |= bits;
            }
        }
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let blueprint = &sides.system.view.blueprint;
        let records = span(blueprint.authorities, part.record.authority_first, part.record.authority_count);
        let found: BTreeMap<String, u32> =
            records.iter().map(|a| (sides.system.name(a.partition as usize).to_owned(), a.rights)).collect();
        ledger.examined(expected.len() as u64, "authorities");
        if found != expected {
            ledger.fail(format!("authority of {}", part.name), format!("{found:?}"), format!("{expected:?}"));
        }
        plans_of(sides, wanted.node, part, ledger);
    }
}

/// Plans that a partition may switch to.
fn plans_of(sides: &Sides<'_>, node: &Node, part: &crate::system::Part<'_>, ledger: &mut Ledger) {
    let all = sides.root.list("plans");
    let phandles: Vec<u32> = node.list("authority").iter().flat_map(|a| a.cells("plans")).collect();
    let named =
        (0u32..).zip(all).filter(|(_, plan)| plan.cell("phandle").is_some_and(|p| phandles.contains(&p)));
    let expected = named.fold(0, |bits, (number, _)| bits | 1u32.checked_shl(number).unwrap_or(0));
    ledger.same(&format!("plans that {} may switch to", part.name), part.record.plans, expected);
}

pub fn plans(sides: &Sides<'_>, ledger: &mut Ledger) {
    let blueprint = &sides.system.view.blueprint;
    let wanted = sides.root.list("plans");
    ledger.examined(wanted.len() as u64, "plans");
    ledger.same("number of plans", blueprint.plans.len(), wanted.len());
    let initial = sides.root.child("plans").and_then(|p| sides.index.named(p, "initial"));
    let initial = initial.and_then(|name| wanted.iter().position(|p| p.name == name));
    let expected = initial.map_or(NONE, |index| index as u32);
    ledger.same("initial plan", blueprint.header.initial_plan, expected);
    for (plan, record) in wanted.iter().zip(blueprint.plans) {
        ledger.same(&format!("identifier of plan {}", plan.name), record.id, plan.cell("id").unwrap_or(0));
        let frame = ticks(sides, plan.duration_ns("major-frame").unwrap_or(0));
        ledger.same(&format!("major frame of plan {}", plan.name), record.frame_ticks, frame);
        let cpus = span(blueprint.plan_cpus, record.cpu_first, blueprint.cpus.len() as u32);
        for (number, cpu) in cpus.iter().enumerate() {
            let node = plan.children.iter().find(|c| sides.index.cpu(c, "cpu") == Some(number));
            let windows = span(blueprint.windows, cpu.window_first, cpu.window_count);
            one_cpu(sides, &plan.name, number, node, windows, ledger);
            let background = node.and_then(|n| sides.index.named(n, "background")).unwrap_or("nobody");
            let vcpu = blueprint.vcpus.get(cpu.background as usize);
            let found = vcpu.map_or("nobody", |v| sides.system.name(v.partition as usize));
            ledger.same(&format!("background of CPU {number} in plan {}", plan.name), found, background);
        }
    }
}

/// A window as both sides can say it: start and end in ticks, partition, flags.
type Window = (u64, u64, String, u32);

fn one_cpu(
    sides: &Sides<'_>,
    plan: &str,
    number: usize,
    node: Option<&Node>,
    found: &[bulkhead_blueprint::layout::Window],
    ledger: &mut Ledger,
) {
    let mut expected: Vec<Window> = node
        .map_or(&[][..], |n| n.children.as_slice())
        .iter()
        .map(|w| {
            let (start, length) =
                (w.duration_ns("start").unwrap_or(0), w.duration_ns("duration").unwrap_or(0));
            let name = sides.index.named(w, "partition").unwrap_or("nobody").to_owned();
            (ticks(sides, start), ticks(sides, start.saturating_add(length)), name, flags(w))
        })
        .collect();
    expected.sort();
    let vcpus = sides.system.view.blueprint.vcpus;
    let found: Vec<Window> = found
        .iter()
        .map(|w| {
            let name = sides.system.name(vcpus[w.vcpu as usize].partition as usize).to_owned();
            (w.start_ticks, w.end_ticks, name, w.flags)
        })
        .collect();
    ledger.examined(expected.len() as u64, "windows");
    if found != expected {
        ledger.fail(
            format!("windows of CPU {number} in plan {plan}"),
            format!("{found:?}"),
            format!("{expected:?}"),
        );
    }
}

fn flags(window: &Node) -> u32 {
    let words = [("l1-cache", window_flags::CLEAN_L1), ("branch-predictor", window_flags::CLEAN_PREDICTOR)];
    let given = window.texts("clean");
    let set = words.iter().filter(|(word, _)| given.iter().any(|g| g == word));
    set.fold(0, |all, (_, bit)| all | bit)
}

/// Ticks from a frame's start, rounded down.
fn ticks(sides: &Sides<'_>, ns: u64) -> u64 {
    let hz = u128::from(sides.system.view.header().cntfrq_hz);
    u64::try_from(u128::from(ns) * hz / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Whether the board's watchdog is kicked, who must go on for that, and how often.
fn watchdog(sides: &Sides<'_>, node: &Node, ledger: &mut Ledger) {
    let (blueprint, header) = (&sides.system.view.blueprint, sides.system.view.header());
    let asked = node.duration_ns("watchdog");
    ledger.same("whether the board's watchdog is kicked", header.kick_writes != 0, asked.is_some());
    let frames = blueprint.plans.iter().map(|p| p.frame_ticks);
    let beat = match (asked, frames.min()) {
        (None, _) => 0,
        (Some(_), Some(frame)) => frame.saturating_sub(2 * u64::from(header.window_guard_ticks)),
        (Some(ns), None) => ticks(sides, ns / 4),
    };
    ledger.same("ticks between two signs of life for it", header.beat_ticks, beat);
    let cpus = blueprint.cpus.len();
    let has_time = |(n, c): (usize, &PlanCpu)| match c.window_count != 0 || c.background != NONE {
        true => 1 << (n % cpus),
        false => 0,
    };
    let shared: u32 = blueprint.plan_cpus.iter().enumerate().map(has_time).fold(0, |all, bit| all | bit);
    let expected = match (asked, shared) {
        (None, _) => 0,
        (Some(_), 0) => 1 << header.console_cpu,
        (Some(_), shared) => shared,
    };
    ledger.same("CPUs that must go on for it", header.watchdog_cpus, expected);
}

pub fn module(sides: &Sides<'_>, ledger: &mut Ledger) {
    let header = sides.system.view.header();
    let Some(node) = sides.root.child("hypervisor") else {
        return ledger.fail("node /hypervisor", "none", "one");
    };
    ledger.examined(5, "facts");
    let number = node.text("part-number").unwrap_or_default();
    ledger.same("part number", text(&header.part_number), number);
    let latency = node.duration_ns("window-latency").map_or(u64::MAX, |ns| ticks(sides, ns));
    ledger.same("window latency", header.window_latency_ticks, latency);
    watchdog(sides, node, ledger);
    let cpu = sides.index.cpu(node, "console-cpu").unwrap_or(usize::MAX);
    ledger.same("CPU of the console", header.console_cpu as usize, cpu);
    let console = node.cell("console").and_then(|p| sides.index.device(p));
    let uart = console.and_then(|d| d.registers.first()).map_or(0, |r| r.start);
    ledger.same("console UART", format!("{:#x}", header.uart_base), format!("{uart:#x}"));
    ledger.same(
        "interrupt of the console UART",
        header.uart_intid,
        console.and_then(|d| d.intids.first().copied()).unwrap_or(0),
    );
    let registers: Vec<u64> = sides.index.gic.iter().flat_map(|g| &g.registers).map(|r| r.start).collect();
    let gic = header.gic;
    let found = if gic.version == 3 { vec![gic.gicd, gic.gicr] } else { vec![gic.gicd, gic.gicc, gic.gich] };
    if !registers.starts_with(&found) {
        ledger.fail("interrupt controller", format!("{found:x?}"), format!("{registers:x?}"));
    }
}
