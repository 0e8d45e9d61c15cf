//! Timing constants that EL2 enforces, and what a partition may call.

use super::{Sides, part, ticks_up};
use crate::claims::Ledger;
use crate::ports::field;
use crate::system::{Part, long, static_info};
use bulkhead_abi::hypercall as call;
use bulkhead_abi::info::fixed;
use bulkhead_blueprint::layout::{partition_flags, plan_flags};
use bulkhead_blueprint::span;

use super::tree::Node;
use super::wanted::Partition;

/// Least time between two rings of a doorbell where the configuration gives none, nanoseconds.
const DOORBELL_INTERVAL_NS: u64 = 100_000;
/// Calls that every partition has.
const ALWAYS: [u64; 5] =
    [call::FEATURES, call::INFO_REGION, call::SET_MODE, call::RAISE_EVENT, call::PARTITION_CONTROL];

pub fn constants(sides: &Sides<'_>, ledger: &mut Ledger) {
    let header = sides.system.view.header();
    let mut hz = sides.facts.as_ref().map(|facts| facts.counter_hz);
    sides.root.visit(&mut Vec::new(), &mut |_, node| {
        let own = node.cell("clock-frequency").filter(|hz| *hz != 0 && node.is("arm,armv8-timer"));
        hz = own.or(hz);
    });
    if let Some(hz) = hz {
        ledger.same("counter frequency", header.cntfrq_hz, hz);
    }
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let (record, name) = (part.record, &part.name);
        ledger.examined(4, "constants");
        let given = |what: &str| wanted.node.duration_ns(&format!("bulkhead,{what}")).unwrap_or(0);
        let (init, watchdog) = (given("init-timeout"), given("watchdog"));
        ledger.same(
            &format!("init time-out of {name}, ticks"),
            record.init_timeout_ticks,
            ticks_up(sides, init),
        );
        ledger.same(&format!("watchdog of {name}, ticks"), record.watchdog_ticks, ticks_up(sides, watchdog));
        let info = static_info(sides.system.view, record, &part.run.mapped).unwrap_or_default();
        let told = long(info, field(fixed::WATCHDOG_NS)).unwrap_or(u64::MAX);
        ledger.same(&format!("watchdog that {name} is told, ns"), told, watchdog);
        let present = plans_of(sides, &wanted.node.name);
        let expected = if shares(sides, &wanted.node.name) { present } else { u32::MAX };
        ledger.same(&format!("plans in which {name} has time"), record.plans_present, expected);
        ports(sides, wanted.node, part, ledger);
    }
    for (plan, record) in sides.root.list("plans").iter().zip(sides.system.view.blueprint.plans) {
        let expected = if plan.flag("immediate") { plan_flags::IMMEDIATE } else { 0 };
        ledger.same(&format!("whether plan {} is entered at once", plan.name), record.flags, expected);
        ledger.examined(1, "constants");
    }
}

/// Doorbell intervals and refresh periods of a partition's ends, in the order of the configuration's ports.
fn ports(sides: &Sides<'_>, own: &Node, part: &Part<'_>, ledger: &mut Ledger) {
    let mut expected = Vec::new();
    for port in sides.root.list("ports") {
        for (property, writes) in [("from", true), ("to", false)] {
            let ends = port.cells(property);
            let ends = ends.iter().filter_map(|p| sides.index.node(*p)).filter(|n| n.name == own.name);
            let interval = port.duration_ns("doorbell-interval").unwrap_or(DOORBELL_INTERVAL_NS);
            let ticks = if writes && port.flag("doorbell") { ticks_up(sides, interval) } else { 0 };
            let refresh = port.duration_ns("refresh").filter(|_| !port.is("bulkhead,queuing-port"));
            expected.extend(ends.map(|_| (ticks, refresh.unwrap_or(0))));
        }
    }
    let records = span(sides.system.view.blueprint.port_ends, part.record.port_first, part.record.port_count);
    let entries = part.ports.iter().flatten();
    let found: Vec<(u64, u64)> =
        records.iter().zip(entries).map(|(r, e)| (u64::from(r.min_interval_ticks), e.refresh_ns)).collect();
    ledger.examined(2 * expected.len() as u64, "constants");
    if found != expected {
        let message =
            format!("doorbell interval (ticks) and refresh period (ns) of the ports of {}", part.name);
        ledger.fail(message, format!("{found:?}"), format!("{expected:?}"));
    }
}

/// Bits of the plans in which a partition has windows or background time.
fn plans_of(sides: &Sides<'_>, name: &str) -> u32 {
    let named = |node: &Node, property: &str| sides.index.named(node, property) == Some(name);
    let has_time = |plan: &Node| {
        plan.children.iter().any(|cpu| {
            named(cpu, "background") || cpu.children.iter().any(|window| named(window, "partition"))
        })
    };
    let plans = (0u32..).zip(sides.root.list("plans")).filter(|(_, plan)| has_time(plan));
    plans.fold(0, |bits, (number, _)| bits | 1u32.checked_shl(number).unwrap_or(0))
}

fn shares(sides: &Sides<'_>, name: &str) -> bool {
    plans_of(sides, name) != 0
}

pub fn calls(sides: &Sides<'_>, ledger: &mut Ledger) {
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        ledger.examined(2, "bitmaps");
        let expected = granted(sides, wanted);
        let found = part.record.grants;
        if found != expected {
            let message = format!("calls granted to {}", part.name);
            ledger.fail(message, format!("{found:#x}"), format!("{expected:#x}"));
        }
        // Whether a partition with a bus master may be restarted depends on the board's facts (`board::facts`).
        let found = part.record.flags & !partition_flags::RESTARTABLE;
        let expected = flags(wanted.node);
        if found != expected {
            let message = format!("console, interrupts, warm restart and time of {}", part.name);
            ledger.fail(message, format!("flags {found:#x}"), format!("flags {expected:#x}"));
        }
    }
}

fn granted(sides: &Sides<'_>, wanted: &Partition<'_>) -> u64 {
    let node = wanted.node;
    let authority = node.list("authority");
    let resets = |a: &Node| a.cells("over").is_empty() && a.texts("allow").iter().any(|w| w == "reset-board");
    let rings = |port: &Node| port.flag("doorbell") && sides.index.named(port, "from") == Some(&node.name);
    let has_console = node.text("bulkhead,console").is_some_and(|word| word != "none");
    let mut calls = ALWAYS.to_vec();
    let mut add = |given: bool, list: &[u64]| calls.extend(list.iter().filter(|_| given));
    add(has_console, &[call::CONSOLE_WRITE, call::CONSOLE_READ]);
    add(node.duration_ns("bulkhead,watchdog").is_some(), &[call::WATCHDOG_KICK]);
    add(authority.iter().any(resets), &[call::SYSTEM_RESET]);
    add(shares(sides, &node.name), &[call::IDLE]);
    add(!sides.root.list("plans").is_empty(), &[call::PLAN_STATUS]);
    add(authority.iter().any(|a| !a.cells("plans").is_empty()), &[call::PLAN_SET]);
    add(sides.root.list("ports").iter().any(rings), &[call::DOORBELL]);
    calls.into_iter().fold(0, |bits, number| bits | 1 << (number - call::BASE))
}

fn flags(node: &Node) -> u32 {
    let console = match node.text("bulkhead,console").as_deref() {
        Some("pl011") => partition_flags::PL011 | partition_flags::CONSOLE_HYPERCALL,
        Some("hypercall") => partition_flags::CONSOLE_HYPERCALL,
        _ => 0,
    };
    let when = |given: bool, flag: u32| if given { flag } else { 0 };
    console
        | when(node.list("regions").iter().any(|r| r.flag("keep-over")), partition_flags::WARM)
        | when(node.flag("bulkhead,direct-interrupts"), partition_flags::DIRECT_INTERRUPTS)
        | when(node.flag("bulkhead,pv-time"), partition_flags::PV_TIME)
        | when(node.text("bulkhead,clock").as_deref() == Some("execution"), partition_flags::EXECUTION_CLOCK)
}
