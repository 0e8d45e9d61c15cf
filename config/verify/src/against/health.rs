//! What happens on each event: health tables and restart limits of the configuration, and the blueprint's rows.

use super::tree::Node;
use super::{Sides, part, ticks_up};
use crate::claims::Ledger;
use bulkhead_abi::health::action;
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::{HealthRow, HealthStep, step};
use bulkhead_blueprint::span;
use zerocopy::{FromZeros, IntoBytes};

/// Events by the configuration's word (docs/configuration.md) and the ABI's number.
const EVENTS: [(&str, u32); event::COUNT] = [
    ("memory-violation", event::MEMORY_VIOLATION),
    ("denied-hypercall", event::DENIED_HYPERCALL),
    ("undefined-sysreg", event::UNDEFINED_SYSREG),
    ("external-abort", event::EXTERNAL_ABORT),
    ("undecodable-access", event::UNDECODABLE_ACCESS),
    ("illegal-device-access", event::ILLEGAL_DEVICE_ACCESS),
    ("watchdog", event::WATCHDOG),
    ("init-timeout", event::INIT_TIMEOUT),
    ("deadline-miss", event::DEADLINE_MISS),
    ("port-violation", event::PORT_VIOLATION),
    ("console-overflow", event::CONSOLE_OVERFLOW),
    ("interrupt-storm", event::INTERRUPT_STORM),
    ("integrity", event::INTEGRITY),
    ("hypervisor-fault", event::EL2_ERROR),
    ("application-error", event::APPLICATION_ERROR),
    ("window-overrun", event::WINDOW_OVERRUN),
];

/// Events that no partition is blamed for: the module's table decides.
const OF_MODULE: [u32; 2] = [event::EL2_ERROR, event::WINDOW_OVERRUN];

/// Actions by the configuration's word and the ABI's number.
const ACTIONS: [(&str, u32); 12] = [
    ("ignore", action::IGNORE),
    ("log", action::LOG),
    ("notify", action::NOTIFY),
    ("inject-abort", action::INJECT_ABORT),
    ("inject-undef", action::INJECT_UNDEF),
    ("suspend", action::SUSPEND),
    ("halt", action::HALT),
    ("warm-restart", action::WARM_RESTART),
    ("cold-restart", action::COLD_RESTART),
    ("switch-plan", action::SWITCH_PLAN),
    ("reset-board", action::RESET_BOARD),
    ("mask-interrupt", action::MASK_INTERRUPT),
];

pub fn tables(sides: &Sides<'_>, ledger: &mut Ledger) {
    let module = sides.root.child("health").and_then(|h| h.child("module"));
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let own = wanted.node.cell("bulkhead,health").and_then(|p| sides.index.node(p));
        let rows =
            span(sides.system.view.blueprint.health_rows, part.record.health_first, EVENTS.len() as u32);
        for (word, number) in EVENTS {
            ledger.examined(1, "rows");
            let table = if OF_MODULE.contains(&number) { module } else { own };
            let expected = row(sides, table, word);
            let found = rows.get(number as usize).copied().unwrap_or_else(HealthRow::new_zeroed);
            if found.as_bytes() != expected.as_bytes() {
                ledger.fail(format!("{word} of {}", part.name), show(&found), show(&expected));
            }
        }
        let limit = own.and_then(|t| t.child("restart-limit"));
        let expected = limit.map_or_else(HealthStep::new_zeroed, |l| escalation(sides, l));
        if part.record.restart_limit.as_bytes() != expected.as_bytes() {
            let found = show_step(&part.record.restart_limit);
            ledger.fail(format!("restart limit of {}", part.name), found, show_step(&expected));
        }
    }
}

/// The row of an event: its node, or the table's default; a table without either stops the partition.
fn row(sides: &Sides<'_>, table: Option<&Node>, word: &str) -> HealthRow {
    let mut row = HealthRow::new_zeroed();
    let Some(entry) = table.and_then(|t| t.child(word)) else {
        let default = table.and_then(|t| t.text("default-action"));
        row.normal = default.map_or(action::HALT, |word| number(&word));
        row.init = row.normal;
        return row;
    };
    row.normal = taken(sides, entry);
    row.init = taken(sides, entry.child("in-init").unwrap_or(entry));
    for (place, slot) in (1..).zip(&mut row.steps) {
        if let Some(next) = entry.child(&format!("then-{place}")) {
            *slot = escalation(sides, next);
        }
    }
    row
}

fn number(word: &str) -> u32 {
    ACTIONS.iter().find(|(known, _)| *known == word).map_or(u32::MAX, |(_, number)| *number)
}

fn escalation(sides: &Sides<'_>, node: &Node) -> HealthStep {
    HealthStep {
        count: node.cell("count").unwrap_or(0),
        action: taken(sides, node),
        within_ticks: ticks_up(sides, node.duration_ns("within").unwrap_or(0)),
    }
}

/// One step in one word ([`step`]): the action, who is told, which plan is entered.
fn taken(sides: &Sides<'_>, node: &Node) -> u32 {
    let told = sides.index.named(node, "notify");
    let told = told.and_then(|name| sides.system.partitions.iter().position(|p| p.name == name));
    let plan = sides.index.named(node, "plan");
    let plan = plan.and_then(|name| sides.root.list("plans").iter().position(|p| p.name == name));
    let told = told.map_or(0, |index| index as u32 + 1);
    number(&node.text("action").unwrap_or_default())
        | told << step::NOTIFY_SHIFT
        | (plan.unwrap_or(0) as u32) << step::PLAN_SHIFT
}

fn show_word(word: u32) -> String {
    let known = ACTIONS.iter().find(|(_, number)| *number == word & step::ACTION_MASK);
    let name = known.map_or("unknown", |(name, _)| name);
    let told = word >> step::NOTIFY_SHIFT & 0xff;
    let told = if told == 0 { String::new() } else { format!(", tells partition {}", told - 1) };
    let plan = word >> step::PLAN_SHIFT;
    let plan = if plan == 0 { String::new() } else { format!(", plan {plan}") };
    format!("{name}{told}{plan}")
}

fn show_step(step: &HealthStep) -> String {
    if step.count == 0 && step.action == 0 && step.within_ticks == 0 {
        return "none".to_owned();
    }
    format!("after {} in {} ticks {}", step.count, step.within_ticks, show_word(step.action))
}

fn show(row: &HealthRow) -> String {
    let steps = row.steps.iter().map(show_step);
    let steps: Vec<String> = steps.filter(|s| s != "none").map(|s| format!(", {s}")).collect();
    format!("{} (initialising: {}){}", show_word(row.normal), show_word(row.init), steps.concat())
}
