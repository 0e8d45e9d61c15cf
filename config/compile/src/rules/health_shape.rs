//! HLT: tables that can be carried out and still are not what anybody wants.

use super::port::describe;
use super::{Check, rule};
use crate::diag::Finding;
use crate::health::{Action, Event, HealthEntry, HealthTable};
use crate::model::{Partition, System};

rule!(HLT_005, "HLT-005", Warning, Check::System(unreachable),
    "An escalation step can never be reached.",
    why: "A board reset clears the counters: what should follow it does not.",
    example: "watchdog { action = \"reset-board\"; then-1 { count = <3>; within-ms = <1000>; action = \"halt\"; }; };",
    fix: "put the stronger action last");

rule!(HLT_006, "HLT-006", Warning, Check::System(limit_of_nothing),
    "A table limits restarts and never restarts.",
    why: "The limit looks like a protection that is in force.",
    example: "stop-table { default-action = \"halt\"; restart-limit { count = <3>; within-ms = <1000>; action = \"halt\"; }; };",
    fix: "remove restart-limit, or let an event restart");

rule!(HLT_007, "HLT-007", Warning, Check::System(unused),
    "No partition uses a health table.",
    why: "A table that somebody wrote with care and nobody uses is mostly a forgotten `bulkhead,health`.",
    example: "health { old: old-table { default-action = \"halt\"; }; };",
    fix: "name it in a partition's `bulkhead,health`, or remove it");

rule!(HLT_008, "HLT-008", Warning, Check::System(survived),
    "A fault of EL2 itself is survived.",
    why: "After a defect of the hypervisor nothing that it separates is known to be apart (IEC 61508-3 7.4.2.2).",
    example: "module { default-action = \"log\"; };",
    fix: "add hypervisor-fault { action = \"reset-board\"; };");

rule!(HLT_009, "HLT-009", Finding, Check::System(ignored),
    "A fault of a critical partition is ignored.",
    why: "A critical partition that accesses what it does not have is broken; without a record nobody will know \
          (ISO 26262-6 7.4.12: error detection and handling).",
    example: "a { bulkhead,criticality = \"ASIL-D\"; }; table { memory-violation { action = \"ignore\"; }; };",
    fix: "log it at least, or say why the fault is expected");

rule!(HLT_010, "HLT-010", Warning, Check::System(never_raised),
    "A table treats an event that none of its users can raise.",
    why: "A watchdog without a period never bites: the action stands there and nothing leads to it.",
    example: "table { watchdog { action = \"halt\"; }; }; /* and nobody has bulkhead,watchdog */",
    fix: "state what raises the event (watchdog, init-timeout, timing, a limit in `grants`), or remove the node");

rule!(HLT_011, "HLT-011", Error, Check::System(limit_restarts),
    "The limit on restarts restarts.",
    why: "restart-limit is what ends a chain of restarts (HLT-003); an action that restarts continues it.",
    example: "restart-limit { count = <3>; within-ms = <1000>; action = \"cold-restart\"; };",
    fix: "halt, switch the plan, or reset the board");

rule!(HLT_012, "HLT-012", Error, Check::System(board_watchdog),
    "The board's watchdog is asked for where it cannot do what is asked.",
    why: "Without one nothing resets a board whose hypervisor hangs; with less time than four major frames it would \
          reset one that works: a CPU shows once in a frame that it goes on, and two of them at different times.",
    example: "hypervisor { watchdog-ms = <1000>; }; /* QEMU virt has none */",
    fix: "use a board with a watchdog ([watchdog] in board.toml), and a time of four major frames or more that it can count");

fn users(system: &System, table: usize) -> Vec<&Partition> {
    let uses = |p: &&Partition| p.health.as_ref().is_some_and(|h| h.value == table);
    system.partitions.iter().filter(uses).collect()
}

fn unreachable(system: &System, out: &mut Vec<Finding>) {
    for entry in system.health_tables.iter().chain(&system.module_health).flat_map(|t| &t.entries) {
        let chain = std::iter::once(&entry.step).chain(entry.escalation.iter().map(|e| &e.step));
        for (number, step) in chain.enumerate().filter(|(_, s)| *s.action == Action::ResetBoard) {
            let Some(next) = entry.escalation.get(number) else { continue };
            let message = format!("what follows a board reset on {} is never reached", entry.event.word());
            let finding = Finding::new(&HLT_005, message, next.span, "never reached")
                .also(step.action.span, "clears the counters")
                .found(format!("{} after reset-board", next.step.action.word()))
                .expected("reset-board as the last step");
            out.push(finding);
            break;
        }
    }
}

fn restarts(table: &HealthTable) -> bool {
    let default = table.default_action.as_ref().is_some_and(|a| a.restarts());
    default || table.entries.iter().any(entry_restarts)
}

fn entry_restarts(entry: &HealthEntry) -> bool {
    let steps =
        std::iter::once(&entry.step).chain(&entry.in_init).chain(entry.escalation.iter().map(|e| &e.step));
    steps.into_iter().any(|s| s.action.restarts())
}

fn limit_of_nothing(system: &System, out: &mut Vec<Finding>) {
    for table in system.health_tables.iter().filter(|t| !restarts(t)) {
        if let Some(limit) = &table.restart_limit {
            let message = format!("table {} limits restarts and never restarts", table.name);
            let finding = Finding::new(&HLT_006, message, limit.span, "limits nothing")
                .also(table.span, "no action of this table restarts")
                .found("restart-limit alone")
                .expected("an action that restarts, or no limit");
            out.push(finding);
        }
    }
}

fn unused(system: &System, out: &mut Vec<Finding>) {
    if system.doubts.anywhere("bulkhead,health") {
        return;
    }
    for (index, table) in system.health_tables.iter().enumerate() {
        if users(system, index).is_empty() {
            let finding =
                Finding::new(&HLT_007, format!("nobody uses table {}", table.name), table.span, "this table")
                    .found("no `bulkhead,health` that names it")
                    .expected("a partition that uses it");
            out.push(finding);
        }
    }
}

fn survived(system: &System, out: &mut Vec<Finding>) {
    let Some(module) = &system.module_health else { return };
    let entry = module.entries.iter().find(|e| *e.event == Event::HypervisorFault);
    let action = entry.map(|e| &e.step.action).or(module.default_action.as_ref());
    if let Some(action) = action.filter(|a| a.value != Action::ResetBoard) {
        let finding =
            Finding::new(&HLT_008, "the system goes on after a fault of EL2", action.span, "this action")
                .also(module.span, "the module's table")
                .found(format!("{} for hypervisor-fault", action.word()))
                .expected("reset-board");
        out.push(finding);
    }
}

fn ignored(system: &System, out: &mut Vec<Finding>) {
    for (index, table) in system.health_tables.iter().enumerate() {
        let critical = |p: &&Partition| p.criticality.as_ref().is_some_and(|c| c.level > 0);
        let Some(user) = users(system, index).into_iter().find(critical) else { continue };
        // A call or register that is denied does no harm; an access to what the partition does not have is a defect.
        let denied = [Event::DeniedHypercall, Event::UndefinedSysreg];
        let explicit =
            table.entries.iter().filter(|e| e.event.has_faulting_vcpu() && !denied.contains(&e.event));
        let explicit = explicit.filter(|e| *e.step.action == Action::Ignore);
        let explicit = explicit.map(|e| (e.event.word(), e.step.action.span));
        let default = table.default_action.iter().filter(|a| a.value == Action::Ignore);
        let default = default.map(|a| ("every event without a node", a.span));
        for (what, span) in explicit.chain(default) {
            let at = system.partitions.iter().position(|p| p.span == user.span).unwrap_or_default();
            let message = format!("table {} ignores {what}", table.name);
            let finding = Finding::new(&HLT_009, message, span, "no action and no record")
                .also(user.span, describe(system, at))
                .found("ignore")
                .expected("log, or an action");
            out.push(finding);
        }
    }
}

fn can_raise(partition: &Partition, event: Event) -> bool {
    match event {
        Event::Watchdog => partition.watchdog_ns.is_some(),
        Event::InitTimeout => partition.init_timeout_ns.is_some(),
        Event::DeadlineMiss => partition.timing.is_some(),
        Event::InterruptStorm => partition.grants.iter().any(|g| g.interrupt_limit.is_some()),
        _ => true,
    }
}

fn never_raised(system: &System, out: &mut Vec<Finding>) {
    for (index, table) in system.health_tables.iter().enumerate() {
        let users = users(system, index);
        for entry in &table.entries {
            if !users.is_empty() && !users.iter().any(|u| can_raise(u, *entry.event)) {
                let word = entry.event.word();
                let message = format!("nobody who uses table {} can raise {word}", table.name);
                let finding = Finding::new(&HLT_010, message, entry.event.span, "never raised")
                    .also(users[0].span, "uses the table")
                    .found(format!("no partition that states what {word} needs"))
                    .expected("a user that states it");
                out.push(finding);
            }
        }
    }
}

fn limit_restarts(system: &System, out: &mut Vec<Finding>) {
    for table in &system.health_tables {
        let Some(limit) = table.restart_limit.as_ref().filter(|l| l.step.action.restarts()) else { continue };
        let message = format!("the limit on restarts of table {} restarts", table.name);
        let finding = Finding::new(&HLT_011, message, limit.step.action.span, "this action")
            .also(table.span, "this table")
            .found(limit.step.action.word())
            .expected("halt, switch-plan or reset-board");
        out.push(finding);
    }
}

/// Frames that the watchdog's time must be at least.
const WATCHDOG_FRAMES: u64 = 4;

fn board_watchdog(system: &System, out: &mut Vec<Finding>) {
    let Some(ns) = &system.hypervisor.watchdog_ns else { return };
    let refuse = |message: &str| Finding::new(&HLT_012, message.to_owned(), ns.span, "asked for here");
    let Some(watchdog) = system.board.facts.watchdog else {
        let finding = refuse("the board has no watchdog that the hypervisor can drive");
        out.push(
            finding.found(format!("board {}", system.board.facts.name)).expected("[watchdog] in board.toml"),
        );
        return;
    };
    if watchdog.count(ns.value).is_none() {
        let most = u64::from(watchdog.most) * 1_000_000 / u64::from(watchdog.hz.max(1));
        let finding = refuse("the board's watchdog cannot count so long");
        out.push(finding.found(format!("{} ns", ns.value)).expected(format!("at most {most} us")));
    }
    let longest = system.plans.iter().max_by_key(|p| p.major_frame_ns.value);
    if let Some(plan) = longest.filter(|p| p.major_frame_ns.value.saturating_mul(WATCHDOG_FRAMES) > ns.value)
    {
        let finding = refuse("the board's watchdog would reset a board that works");
        out.push(
            finding
                .also(plan.major_frame_ns.span, "the longest major frame")
                .found(format!("{} ns", ns.value))
                .expected(format!(
                    "at least {} ns",
                    plan.major_frame_ns.value.saturating_mul(WATCHDOG_FRAMES)
                )),
        );
    }
}
