//! What concerns more than one partition: ports, authority, plans, the module itself.

use super::tree::Node;
use super::{Sides, part};
use crate::claims::Ledger;
use crate::image::text;
use crate::ports::PortEntry;
use crate::ranges::{PAGE, Range, show};
use crate::system::Part;
use crate::walk::translate;
use bulkhead_abi::health::RECORD_BYTES;
use bulkhead_abi::hypercall::control;
use bulkhead_abi::info::fixed;
use bulkhead_abi::port::kind;
use bulkhead_blueprint::layout::{NONE, PlanCpu, reach, window_flags};
use bulkhead_blueprint::span;
use std::collections::BTreeMap;

/// What the vocabulary gives where nothing is said (docs/language.md): bytes of a CPU's trace ring, records of the health
/// log, bytes of a partition's output ring.
const TRACE_BYTES: u32 = 0x4000;
const HEALTH_RECORDS: u32 = 256;
const CONSOLE_BYTES: u32 = 0x4000;

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

/// The ends of each port have its memory in common, and each page names the right peer. A table has its ends in the order
/// of the configuration's ports.
fn connections(sides: &Sides<'_>, ledger: &mut Ledger) {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for port in sides.root.list("ports") {
        let id = |phandle: Option<&u32>| phandle.and_then(|p| sides.index.node(*p)?.cell("id")).unwrap_or(0);
        let (from, to) = (port.cells("from"), port.cells("to"));
        let (writer, reader) = (id(from.first()), id(to.first()));
        let mut memory: Option<Places> = None;
        for (number, phandle) in from.iter().chain(&to).enumerate() {
            let Some(node) = sides.index.node(*phandle) else { continue };
            let index = next.entry(&node.name).or_default();
            let own = part(sides, &node.name).and_then(|p| Some((p, p.ports.as_ref()?.get(*index)?)));
            *index += 1;
            let Some((part, entry)) = own else { continue };
            let peer = if number < from.len() { reader } else { writer };
            ledger.same(&format!("peer of {} at {}", port.name, part.name), entry.peer_id, peer);
            let found = places(part, entry);
            let expected = *memory.get_or_insert(found);
            if found != expected {
                let message = format!("memory of {} at {}", port.name, part.name);
                ledger.fail(message, format!("{found:x?}"), format!("{expected:x?}, which its writer has"));
            }
        }
    }
}

/// Physical addresses of the writer's and the consumer's memory.
type Places = (Option<u64>, Option<u64>);

fn places(part: &Part<'_>, entry: &PortEntry) -> Places {
    let at = |ipa: u64| translate(&part.run.mapped, ipa).map(|t| t.0);
    (at(entry.writer_ipa), entry.consumer().and_then(|consumer| at(consumer.start)))
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
        over_module(sides, wanted.node, part, ledger);
    }
}

/// Whether a partition holds a right over the module.
fn holds(node: &Node, right: &str) -> bool {
    let module = node.list("authority").iter().filter(|a| a.cells("over").is_empty());
    module.flat_map(|a| a.texts("allow")).any(|word| word == right)
}

/// Who reads the trace and the health log, and who is told of health events and requests.
fn over_module(sides: &Sides<'_>, node: &Node, part: &Part<'_>, ledger: &mut Ledger) {
    let header = sides.system.view.header();
    let rings = [
        ("the trace", "read-trace", reach::TRACE, Range::from(header.trace_rings)),
        ("the health log", "read-health", reach::HEALTH, Range::from(header.health_ring).to_pages()),
    ];
    for (what, right, kind, ring) in rings {
        ledger.examined(1, "authorities");
        let (found, expected) =
            (part.declared_physical(&[kind]), if holds(node, right) { vec![ring] } else { vec![] });
        if found != expected {
            ledger.fail(format!("{what} as {} reads it", part.name), show(&found), show(&expected));
        }
    }
    let over =
        |a: &Node| a.cells("over").iter().any(|p| sides.index.node(*p).is_some_and(|n| n.name == node.name));
    let asks = |a: &Node| over(a) && a.texts("allow").iter().any(|word| word == "halt");
    let asked = sides.partitions.iter().any(|p| p.node.list("authority").iter().any(asks));
    // With direct interrupts it has no virtual ones: it polls.
    let expected = (holds(node, "read-health") || asked) && !node.flag("bulkhead,direct-interrupts");
    let message = format!("whether {} has an interrupt for health events and requests", part.name);
    ledger.same(&message, part.record.event_bit != NONE, expected);
}

/// Plans that a partition may switch to.
fn plans_of(sides: &Sides<'_>, node: &Node, part: &Part<'_>, ledger: &mut Ledger) {
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

/// Sizes of trace, health log and console rings.
fn logs(sides: &Sides<'_>, node: &Node, ledger: &mut Ledger) {
    let view = sides.system.view;
    let header = view.header();
    let ring = |bytes: u32| u64::from(bytes).next_power_of_two().max(PAGE);
    let trace =
        ring(node.cell("trace-bytes-per-cpu").unwrap_or(TRACE_BYTES)) * view.blueprint.cpus.len() as u64;
    ledger.same("bytes of the trace rings", header.trace_rings.bytes, trace);
    // Behind the records there is room for a mark, and the rest of a page.
    let records = u64::from(node.cell("health-log-records").unwrap_or(HEALTH_RECORDS)) * RECORD_BYTES as u64;
    let room = records..=records.next_multiple_of(PAGE) + PAGE;
    if !room.contains(&header.health_ring.bytes) {
        let expected = format!("{} to {}", room.start(), room.end());
        ledger.fail("bytes of the health log", header.health_ring.bytes, expected);
    }
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let output = ring(wanted.node.cell("bulkhead,console-bytes").unwrap_or(CONSOLE_BYTES));
        ledger.same(
            &format!("bytes of the output ring of {}", part.name),
            part.record.console_out.bytes,
            output,
        );
        ledger.examined(1, "facts");
    }
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
    logs(sides, node, ledger);
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
