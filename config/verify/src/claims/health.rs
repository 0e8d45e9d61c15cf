//! What the health monitor does: that each step of it can be done.

use super::{Claim, Ledger};
use crate::system::System;
use bulkhead_abi::health::action;
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::{HEALTH_ROWS, HealthRow, HealthStep, step};
use bulkhead_blueprint::span;
use zerocopy::IntoBytes;

pub static HEALTH: Claim = Claim {
    id: "VFY-043",
    title: "each step of the health monitor is an action that EL2 knows, names a plan and a partition that exist, masks an \
            interrupt for a storm alone and follows a counted one; the module's rows are the same everywhere",
    method: "every word of every health row and restart limit taken apart",
    check: health,
};

/// Rows of the module: EL2 takes them from whichever partition is at hand.
const OF_MODULE: [u32; 2] = [event::EL2_ERROR, event::WINDOW_OVERRUN];

fn health(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    let rows_of = |first: u32| span(blueprint.health_rows, first, HEALTH_ROWS);
    let firsts = system.partitions.first().map_or(&[][..], |p| rows_of(p.record.health_first));
    for part in &system.partitions {
        let rows = rows_of(part.record.health_first);
        for (number, row) in (0u32..).zip(rows) {
            ledger.examined(1, "rows");
            let what = format!("event {number} of {}", part.name);
            one_row(system, number, row, &what, ledger);
            let first = firsts.get(number as usize).map(IntoBytes::as_bytes);
            if OF_MODULE.contains(&number) && first != Some(row.as_bytes()) {
                let name = system.name(0);
                ledger.fail(
                    format!("the module's {what}"),
                    "another row",
                    format!("the row that {name} has"),
                );
            }
        }
        let what = format!("restart limit of {}", part.name);
        counted(system, None, &part.record.restart_limit, &what, ledger);
    }
}

fn one_row(system: &System<'_>, event: u32, row: &HealthRow, what: &str, ledger: &mut Ledger) {
    for word in [row.normal, row.init] {
        one_step(system, Some(event), word, what, ledger);
    }
    let mut ended = false;
    for step in &row.steps {
        counted(system, Some(event), step, what, ledger);
        if ended && step.count != 0 {
            ledger.fail(
                format!("a step of {what} that never comes"),
                "behind one without a count",
                "counted steps in a row",
            );
        }
        ended |= step.count == 0;
    }
}

/// A step that takes the place of another; without a count there is none.
fn counted(system: &System<'_>, event: Option<u32>, step: &HealthStep, what: &str, ledger: &mut Ledger) {
    if step.count != 0 {
        return one_step(system, event, step.action, what, ledger);
    }
    if step.action != 0 || step.within_ticks != 0 {
        let found = format!("{:#x} within {} ticks", step.action, step.within_ticks);
        ledger.fail(format!("a step of {what} that does not count"), found, "zeros");
    }
}

fn one_step(system: &System<'_>, event: Option<u32>, word: u32, what: &str, ledger: &mut Ledger) {
    let (known, told, plan) =
        (word & step::ACTION_MASK, word >> step::NOTIFY_SHIFT & 0xff, word >> step::PLAN_SHIFT);
    if known > action::MASK_INTERRUPT {
        ledger.fail(format!("action of {what}"), known, format!("at most {}", action::MASK_INTERRUPT));
    }
    if known == action::MASK_INTERRUPT && event.is_some_and(|event| event != event::INTERRUPT_STORM) {
        ledger.fail(
            format!("{what} masks an interrupt"),
            "another event",
            "a storm of interrupts, which names it",
        );
    }
    let partitions = system.partitions.len();
    if told as usize > partitions {
        ledger.fail(format!("{what} tells a partition"), told - 1, format!("an index below {partitions}"));
    }
    let plans = system.view.blueprint.plans.len();
    if plan as usize >= plans && (plan != 0 || known == action::SWITCH_PLAN) {
        ledger.fail(format!("{what} enters a plan"), plan, format!("an index below {plans}"));
    }
}
