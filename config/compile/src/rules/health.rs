//! HLT and AUT: health monitoring, and who may do what to whom.

use super::port::{describe, is_lower};
use super::{Check, rule};
use crate::diag::Finding;
use crate::health::{Action, Event, HealthTable, Step};
use crate::model::{Partition, PartitionIndex, Right, System};
use crate::span::Span;

rule!(HLT_001, "HLT-001", Error, Check::System(no_action),
    "Some event of some partition has no action.",
    why: "An event that nobody thought of is the one that will happen; no table is complete without a default.",
    example: "rtos-table { watchdog { action = \"halt\"; }; }; /* no default-action */",
    fix: "add default-action, and give every partition a table (bulkhead,health)");

rule!(HLT_002, "HLT-002", Error, Check::System(cannot_be_done),
    "An action cannot be done here.",
    why: "It would be found out at the worst moment.",
    example: "watchdog { action = \"switch-plan\"; }; /* and no plans */",
    fix: "choose an action that this event, partition and system allow");

rule!(HLT_003, "HLT-003", Finding, Check::System(endless),
    "Restarts never end.",
    why: "A fault that comes back at once would restart the partition for ever and look like service.",
    example: "memory-violation { action = \"cold-restart\"; }; /* no restart-limit, no then-N */",
    fix: "add restart-limit { count; within-ms; action = \"halt\"; }");

rule!(HLT_004, "HLT-004", Finding, Check::System(reaches_higher),
    "A fault of one partition may stop others of higher criticality.",
    why: "Freedom from interference: a lower partition must not decide when a higher one stops.",
    example: "linux-table { default-action = \"reset-board\"; }; /* Linux is QM, the loop ASIL-D */",
    fix: "choose an action that stops with the partition, or say why the system must react as a whole");

rule!(AUT_001, "AUT-001", Finding, Check::System(controls_higher),
    "A partition of lower criticality controls one of higher, or the plan that one runs in.",
    why: "Control is interference by design: it needs a reason that an assessor can read.",
    example: "linux { authority { rtos { over = <&rtos>; allow = \"restart\"; }; }; };",
    fix: "allow \"status\" alone, or say why the holder can be trusted");

fn no_action(system: &System, out: &mut Vec<Finding>) {
    let silent = |p: &&Partition| p.health.is_none() && !system.doubts.about(p.span, "bulkhead,health");
    for partition in system.partitions.iter().filter(silent) {
        let finding = Finding::new(
            &HLT_001,
            format!("{} has no health table", partition.name.value),
            partition.span,
            "needs `bulkhead,health`",
        )
        .found("no action for any event")
        .expected("bulkhead,health = <&TABLE>;");
        out.push(finding);
    }
    let lacking = |table: &HealthTable, events: Vec<Event>| {
        let missing = events.into_iter().filter(|e| !table.entries.iter().any(|x| *x.event == *e));
        let names: Vec<&str> = missing.map(Event::word).collect();
        let none = table.default_action.is_none() && !system.doubts.about(table.span, "default-action");
        (none && !names.is_empty()).then(|| {
            Finding::new(
                &HLT_001,
                format!("table {} has no default-action", table.name),
                table.span,
                "this table",
            )
            .found(format!("no action for {}", names.join(", ")))
            .expected("default-action = \"ACTION\";")
        })
    };
    let blamed = || Event::ALL.iter().copied().filter(|e| e.blames_partition()).collect();
    out.extend(system.health_tables.iter().filter_map(|t| lacking(t, blamed())));
    match &system.module_health {
        Some(module) => out.extend(lacking(module, Event::ALL.to_vec())),
        None => out.push(
            Finding::new(
                &HLT_001,
                "events of the module have no action",
                system.hypervisor.span,
                "this system has no /health/module",
            )
            .found("no /health/module")
            .expected("health { module { default-action = \"ACTION\"; }; };"),
        ),
    }
}

/// Partitions that use a table.
fn users(system: &System, table: usize) -> impl Iterator<Item = PartitionIndex> + '_ {
    let list = system.partitions.iter().enumerate();
    list.filter(move |(_, p)| p.health.as_ref().is_some_and(|h| h.value == table)).map(|(i, _)| i)
}

/// Every action of a table: the event (none for default and limit), the action's place, and the step unless it is
/// the default.
fn actions(table: &HealthTable) -> Vec<(Option<Event>, Action, Span, Option<&Step>)> {
    let default = table.default_action.as_ref().map(|a| (None, a.value, a.span, None));
    let steps = table.steps().map(|(event, step)| (event, step.action.value, step.action.span, Some(step)));
    default.into_iter().chain(steps).collect()
}

fn cannot_be_done(system: &System, out: &mut Vec<Finding>) {
    for (index, table) in system.health_tables.iter().enumerate() {
        for (event, action, span, step) in actions(table) {
            without_persistence(system, index, action, span, out);
            without_object(event, action, span, out);
            common_conditions(system, action, span, step, out);
        }
    }
    if let Some(module) = &system.module_health {
        for (event, action, span, step) in actions(module) {
            if needs_partition(action) {
                out.push(
                    refused(action, "no partition is to blame", span)
                        .also(module.span, "the module's table")
                        .expected("ignore, log, notify, mask-interrupt, switch-plan or reset-board"),
                );
            } else {
                without_object(event, action, span, out);
            }
            common_conditions(system, action, span, step, out);
        }
    }
}

fn refused(action: Action, why: &str, span: Span) -> Finding {
    let message = format!("`{}` cannot be done: {why}", action.word());
    Finding::new(&HLT_002, message, span, "this action").found(action.word())
}

/// Whether the action is one on the partition that caused the event.
fn needs_partition(action: Action) -> bool {
    matches!(
        action,
        Action::InjectAbort
            | Action::InjectUndef
            | Action::Suspend
            | Action::Halt
            | Action::WarmRestart
            | Action::ColdRestart
    )
}

/// A warm restart reloads all segments: without a region that is kept it is a cold one. Where nobody who uses the
/// table has such a region that is refused; where some have, the others are named.
fn without_persistence(system: &System, table: usize, action: Action, span: Span, out: &mut Vec<Finding>) {
    let all: Vec<&Partition> = users(system, table).map(|user| &system.partitions[user]).collect();
    let kept = all.iter().any(|user| user.has_warm_restart());
    for user in all.iter().filter(|u| action == Action::WarmRestart && !u.has_warm_restart()) {
        let why = format!("{} has no region that is kept over a restart", user.name.value);
        let finding = refused(action, &why, span)
            .also(user.span, "no region with `keep-over`: a cold restart is what it gets")
            .expected("cold-restart, or a region with keep-over = \"warm-restart\"");
        out.push(if kept { finding.warning() } else { finding });
    }
}

/// Injection needs a vCPU stopped at an instruction, masking an interrupt.
fn without_object(event: Option<Event>, action: Action, span: Span, out: &mut Vec<Finding>) {
    let injects = matches!(action, Action::InjectAbort | Action::InjectUndef);
    if injects && !event.is_some_and(Event::has_faulting_vcpu) {
        let what = event.map_or("this event", Event::word);
        let why = format!("{what} stops no vCPU at an instruction");
        out.push(refused(action, &why, span).expected("an action on the partition as a whole"));
    }
    if action == Action::MaskInterrupt && event != Some(Event::InterruptStorm) {
        let finding = refused(action, "there is no interrupt to mask", span);
        out.push(finding.expected("mask-interrupt for interrupt-storm alone"));
    }
}

/// Conditions that hold for the partitions' tables and the module's alike.
fn common_conditions(
    system: &System,
    action: Action,
    span: Span,
    step: Option<&Step>,
    out: &mut Vec<Finding>,
) {
    let notified = step.map_or(&[][..], |s| &s.notify);
    if action == Action::SwitchPlan && step.is_none_or(|s| s.plan.is_none()) {
        let finding =
            Finding::new(&HLT_002, "`switch-plan` cannot be done: no plan is named", span, "this action")
                .found("no `plan` beside it")
                .expected("plan = <&PLAN>;");
        out.push(finding);
    }
    if action == Action::Notify && notified.is_empty() {
        let finding = Finding::new(&HLT_002, "`notify` cannot be done: nobody is named", span, "this action")
            .found("no `notify` beside it")
            .expected("notify = <&PARTITION>;");
        out.push(finding);
    }
    for target in notified {
        let partition = &system.partitions[target.value];
        if !partition.holds_over_module(Right::ReadHealth) {
            let finding = Finding::new(
                &HLT_002,
                format!("{} cannot be notified", partition.name.value),
                target.span,
                "told about the event",
            )
            .also(partition.span, "has no authority `read-health`")
            .found("no doorbell of the health log, which comes with that authority")
            .expected("authority { system { allow = \"read-health\"; }; };");
            out.push(finding);
        }
    }
}

fn endless(system: &System, out: &mut Vec<Finding>) {
    for (index, table) in system.health_tables.iter().enumerate() {
        let limited = table.restart_limit.as_ref().is_some_and(|l| l.step.action.ends_restarts());
        if limited || users(system, index).next().is_none() {
            continue;
        }
        let default =
            table.default_action.iter().filter(|a| a.restarts()).map(|a| (a.span, "every other event"));
        let entries = table.entries.iter().filter_map(|e| {
            let chain: Vec<Action> =
                std::iter::once(*e.step.action).chain(e.escalation.iter().map(|s| *s.step.action)).collect();
            let restarts =
                chain.iter().any(|a| a.restarts()) || e.in_init.as_ref().is_some_and(|s| s.action.restarts());
            let ends = chain.last().is_some_and(|a| a.ends_restarts());
            (restarts && !ends).then_some((e.event.span, e.event.word()))
        });
        let found: Vec<(Span, &str)> = default.chain(entries).collect();
        if let Some((span, _)) = found.first() {
            let names: Vec<&str> = found.iter().map(|(_, name)| *name).collect();
            let finding = Finding::new(
                &HLT_003,
                format!("restarts of table {} never end", table.name),
                table.span,
                "no restart-limit",
            )
            .also(*span, "restarts")
            .found(format!("no end for {}", names.join(", ")))
            .expected("a restart-limit, or a last step that halts, switches the plan or resets the board");
            out.push(finding);
        }
    }
}

fn reaches_higher(system: &System, out: &mut Vec<Finding>) {
    for (index, table) in system.health_tables.iter().enumerate() {
        let Some((_, action, span, _)) = actions(table).into_iter().find(|(_, a, ..)| a.reaches_others())
        else {
            continue;
        };
        for user in users(system, index) {
            let all = 0..system.partitions.len();
            let higher: Vec<usize> = all.filter(|p| *p != user && is_lower(system, user, *p)).collect();
            if higher.is_empty() {
                continue;
            }
            let names: Vec<String> = higher.iter().map(|p| describe(system, *p)).collect();
            let message = format!(
                "a fault of {} may stop others of higher criticality",
                system.partitions[user].name.value
            );
            let finding = Finding::new(&HLT_004, message, span, action.word())
                .also(system.partitions[user].span, describe(system, user))
                .found(format!("also stopped: {}", names.join(", ")))
                .expected("an action that stops with the partition");
            out.push(finding);
        }
    }
}

fn controls_higher(system: &System, out: &mut Vec<Finding>) {
    for (holder, partition) in system.partitions.iter().enumerate() {
        for authority in &partition.authority {
            let controls = authority.allow.iter().any(|r| {
                matches!(
                    r.value,
                    Right::Suspend | Right::Resume | Right::Restart | Right::Halt | Right::ResetBoard
                )
            });
            let over = authority.over.iter().filter(|_| controls).map(|o| o.value);
            // A switch stops those of the plan before as it starts those of the plan named.
            let scheduled = system.plans.iter().filter(|_| !authority.plans.is_empty());
            let in_plan = scheduled.flat_map(|p| &p.cpus).flat_map(|c| {
                c.windows.iter().map(|w| &w.partition).chain(&c.background).map(|named| named.value)
            });
            let resets = authority.over.is_empty() && controls;
            let everybody = (0..system.partitions.len()).filter(|_| resets);
            let mut higher: Vec<usize> = over.chain(in_plan).chain(everybody).collect();
            higher.sort_unstable();
            higher.dedup();
            higher.retain(|p| *p != holder && is_lower(system, holder, *p));
            if let Some(first) = higher.first() {
                let names: Vec<String> = higher.iter().map(|p| describe(system, *p)).collect();
                let message = format!("{} controls partitions of higher criticality", partition.name.value);
                let finding = Finding::new(&AUT_001, message, authority.span, describe(system, holder))
                    .also(system.partitions[*first].span, describe(system, *first))
                    .found(names.join(", "))
                    .expected("control over partitions of at most its own criticality");
                out.push(finding);
            }
        }
    }
}
