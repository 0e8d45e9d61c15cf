//! Health-monitor tables.

use super::Context;
use super::cursor::Cursor;
use crate::dts::NodeIndex;
use crate::health::{Action, Escalation, Event, HealthEntry, HealthTable, RestartLimit, Step};
use crate::span::Spanned;

/// Most escalation steps of one event.
const STEPS: usize = 8;

/// Reads `/health`: the partitions' tables and the module's.
pub fn read(context: &mut Context<'_>, tables: &[NodeIndex]) -> (Vec<HealthTable>, Option<HealthTable>) {
    let Some(node) = context.top("health") else {
        return (Vec::new(), None);
    };
    let mut cursor = Cursor::new(context, node);
    let module = cursor.child("module");
    cursor.named_children();
    cursor.finish();
    let module = module.map(|n| read_table(context, n));
    let tables = tables.iter().map(|n| read_table(context, *n)).collect();
    (tables, module)
}

fn read_table(context: &mut Context<'_>, node: NodeIndex) -> HealthTable {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let default_action = cursor.word("default-action", Action::WORDS, Action::from_word);
    let limit = cursor.child("restart-limit");
    let restart_limit = limit.and_then(|n| {
        let escalation = read_escalation(cursor.context, n)?;
        let Escalation { span, count, within_ns, step } = escalation;
        Some(RestartLimit { span, count, within_ns, step })
    });
    let mut entries = Vec::new();
    for (word, event) in Event::WORDS.iter().zip(Event::ALL) {
        if let Some(child) = cursor.child(word) {
            entries.extend(read_entry(cursor.context, child, *event));
        }
    }
    let table = HealthTable { span, name: cursor.name().value, default_action, entries, restart_limit };
    cursor.finish();
    table
}

fn read_entry(context: &mut Context<'_>, node: NodeIndex, event: Event) -> Option<HealthEntry> {
    let mut cursor = Cursor::new(context, node);
    let event = Spanned::new(event, cursor.span());
    let step = read_step(&mut cursor);
    let in_init = cursor.child("in-init").and_then(|n| {
        let mut inner = Cursor::new(cursor.context, n);
        let step = read_step(&mut inner);
        inner.finish();
        step
    });
    let mut escalation = Vec::new();
    for number in 1..=STEPS {
        match cursor.child(&format!("then-{number}")) {
            Some(child) => escalation.extend(read_escalation(cursor.context, child)),
            None => break,
        }
    }
    cursor.finish();
    Some(HealthEntry { event, step: step?, in_init, escalation })
}

fn read_escalation(context: &mut Context<'_>, node: NodeIndex) -> Option<Escalation> {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let count = cursor.need_positive("count");
    let within_ns = cursor.need_duration("within");
    let step = read_step(&mut cursor);
    cursor.finish();
    Some(Escalation { span, count, within_ns, step: step? })
}

fn read_step(cursor: &mut Cursor<'_, '_>) -> Option<Step> {
    let action = cursor.word("action", Action::WORDS, Action::from_word);
    cursor.need(action.is_some(), "action", "action = \"ACTION\";");
    let notify = cursor.partitions("notify");
    let plan = cursor.plan("plan");
    let switches = action.as_ref().is_some_and(|a| a.value == Action::SwitchPlan);
    if let Some(plan) = plan.as_ref().filter(|_| action.is_some() && !switches) {
        cursor.without_companion("plan", plan.span, "action = \"switch-plan\"");
    }
    Some(Step { action: action?, notify, plan })
}
