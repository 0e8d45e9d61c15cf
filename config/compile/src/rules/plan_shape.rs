//! PLN: plans that can be carried out and still are not what anybody wants.

use super::cpu::is_shared;
use super::plan::time;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Clean, Plan, PlanCpu, System, Window};
use crate::timing::guard::{cleaning, guard_of};
use crate::timing::supply::schedule_of;

rule!(PLN_008, "PLN-008", Warning, Check::System(not_aligned),
    "Windows of one partition on several CPUs are not aligned.",
    why: "A vCPU that waits for a lock of one that does not run spins for the rest of its window.",
    example: "cpu-2 { b-0 { start-us = <0>; }; }; cpu-3 { b-0 { start-us = <2000>; }; }; /* one partition */",
    fix: "start and end them together, or make sure that its vCPUs never wait for each other");

rule!(PLN_009, "PLN-009", Warning, Check::System(rounded),
    "A window's edge is no whole number of ticks of the system counter.",
    why: "It is moved to the tick before: start and length differ from what is written, and from \
          what is computed, by less than one.",
    example: "a-0 { start-ns = <100>; duration-us = <1000>; }; /* 62.5 MHz: 16 ns each */",
    fix: "write a multiple of the tick");

rule!(PLN_010, "PLN-010", Error, Check::System(empty),
    "A plan has no window and no background; or the initial plan has none on a CPU that another one gives time.",
    why: "In it nobody runs, and nothing that runs can leave it. A CPU is shared by plans if the initial plan shares it.",
    example: "maintenance { cpu-2 { cpu = <&cpu2>; }; };",
    fix: "add windows, or a background partition; or remove the plan");

rule!(PLN_011, "PLN-011", Warning, Check::System(no_slack),
    "The CPU that drains the console has no slack in a plan.",
    why: "Rings are drained in slack so that nobody's window pays for it; without any the console falls silent.",
    example: "hypervisor { console-cpu = <&cpu2>; }; /* and windows that fill CPU 2 */",
    fix: "leave a gap on that CPU, or let another CPU drain the console");

rule!(PLN_012, "PLN-012", Warning, Check::System(adjacent),
    "Two windows of one partition follow each other without a gap.",
    why: "The guard of a switch is charged at the end of the first, and nobody else runs in between.",
    example: "a-0 { start-us = <0>; duration-us = <1000>; }; a-1 { start-us = <1000>; duration-us = <1000>; };",
    fix: "make one window of the two");

rule!(PLN_014, "PLN-014", Error, Check::System(cannot_clean),
    "A window asks for cleaning that the board does not offer.",
    why: "No instruction of EL2 clears the branch predictor of a Cortex-A72: firmware at EL3 does, by \
          SMCCC_ARCH_WORKAROUND_1, or nobody. And a cleaning whose cost nobody knows cannot be planned.",
    example: "a-0 { clean = \"branch-predictor\"; }; /* QEMU virt: no firmware at EL3 */",
    fix: "leave it out, or use a board whose firmware offers it (board.toml: [cleaning])");

/// Windows that ask for what the board cannot clean.
fn cannot_clean(system: &System, out: &mut Vec<Finding>) {
    let windows = system.plans.iter().flat_map(|p| &p.cpus).flat_map(|c| &c.windows);
    for clean in windows.flat_map(|w| &w.clean).filter(|clean| cleaning(system, clean.value).is_none()) {
        let (board, missing) = (
            &system.board.facts.name,
            match clean.value {
                Clean::BranchPredictor => "its firmware has no SMCCC_ARCH_WORKAROUND_1",
                Clean::L1Cache => "nobody has said what it costs there",
            },
        );
        let word = clean.value.word();
        let message = format!("{word} cannot be cleaned on {board}: {missing}");
        let finding = Finding::new(&PLN_014, message, clean.span, "asked for here")
            .also(system.board.span, "on this board")
            .found(format!("no {word}-ns in [cleaning] of {board}"))
            .expected("what the board offers, with its cost");
        out.push(finding);
    }
}

fn own(plan: &Plan, cpu: usize, index: usize) -> Vec<&Window> {
    schedule_of(plan, cpu).into_iter().flat_map(|s| s.windows_of(index)).collect()
}

fn not_aligned(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let shared: Vec<usize> = partition.vcpus.iter().copied().filter(|c| is_shared(system, *c)).collect();
        for plan in &system.plans {
            let edges = |w: &&Window| (w.start_ns.value, w.end_ns());
            let Some((first, rest)) = shared.split_first() else { continue };
            let here = own(plan, *first, index);
            for cpu in rest {
                let there = own(plan, *cpu, index);
                if here.iter().map(edges).eq(there.iter().map(edges)) {
                    continue;
                }
                let odd = there.iter().find(|w| !here.iter().any(|h| edges(h) == edges(w)));
                let odd = odd.or_else(|| here.iter().find(|w| !there.iter().any(|t| edges(t) == edges(w))));
                let names = [*first, *cpu].map(|c| system.board.cpus[c].name.as_str());
                let message = format!(
                    "windows of {} on {} and {} are not aligned in plan {}",
                    partition.name.value, names[0], names[1], plan.name.value
                );
                let finding =
                    Finding::new(&PLN_008, message, odd.map_or(plan.span, |w| w.span), "alone at its time")
                        .also(partition.vcpus.span, "one partition on both")
                        .found(format!(
                            "{} windows on {}, {} on {}",
                            here.len(),
                            names[0],
                            there.len(),
                            names[1]
                        ))
                        .expected("the same start and end on each CPU");
                out.push(finding);
            }
        }
    }
}

fn rounded(system: &System, out: &mut Vec<Finding>) {
    let hz = u128::from(system.board.facts.counter_hz);
    let whole = |ns: u64| (u128::from(ns) * hz).is_multiple_of(1_000_000_000);
    for window in system.plans.iter().flat_map(|p| &p.cpus).flat_map(|c| &c.windows) {
        let odd = [&window.start_ns, &window.duration_ns].into_iter().find(|edge| !whole(edge.value));
        if let Some(edge) = odd {
            let message = format!("window {} begins or ends between two ticks", window.name);
            let finding = Finding::new(&PLN_009, message, edge.span, time(edge.value))
                .also(system.board.span, format!("counter of the board: {hz} Hz"))
                .found(format!("{} ns at {hz} Hz", edge.value))
                .expected("a whole number of ticks");
            out.push(finding);
        }
    }
}

fn has_time(schedule: &PlanCpu) -> bool {
    !schedule.windows.is_empty() || schedule.background.is_some()
}

fn empty(system: &System, out: &mut Vec<Finding>) {
    let first = system.initial_plan.as_ref().and_then(|initial| system.plans.get(initial.value));
    for plan in system.plans.iter().filter(|plan| !plan.doubtful) {
        // A plan without any CPU is PLN-004's matter.
        let some = plan.cpus.iter().any(has_time);
        if !some && !plan.cpus.is_empty() {
            let message = format!("in plan {} nobody runs", plan.name.value);
            let finding = Finding::new(&PLN_010, message, plan.span, "this plan")
                .found(format!("{} CPUs without a window", plan.cpus.len()))
                .expected("a window, or a background partition");
            out.push(finding);
        } else if some && first.is_some_and(|first| first.span == plan.span) {
            empty_at_first(system, plan, out);
        }
    }
}

/// CPUs that `initial`, the initial plan, gives to nobody and another plan to somebody.
fn empty_at_first(system: &System, initial: &Plan, out: &mut Vec<Finding>) {
    for schedule in initial.cpus.iter().filter(|c| !has_time(c)) {
        let others = system.plans.iter().filter(|plan| !plan.doubtful).flat_map(|plan| &plan.cpus);
        let Some(other) = others.into_iter().find(|c| c.cpu.value == schedule.cpu.value && has_time(c))
        else {
            continue;
        };
        let cpu = &system.board.cpus[schedule.cpu.value].name;
        let message = format!("nobody runs on {cpu} in {}, the initial plan", initial.name.value);
        out.push(
            Finding::new(&PLN_010, message, schedule.span, "no window, no background")
                .also(other.span, "this plan gives it time")
                .found("a CPU that the initial plan does not share")
                .expected("a window, or a background partition"),
        );
    }
}

fn no_slack(system: &System, out: &mut Vec<Finding>) {
    let cpu = &system.hypervisor.console_cpu;
    for plan in system.plans.iter().filter(|p| p.sound) {
        let Some(schedule) = schedule_of(plan, cpu.value) else { continue };
        let used: u64 = schedule.windows.iter().map(|w| w.duration_ns.value).sum();
        if used >= plan.major_frame_ns.value {
            let name = &system.board.cpus[cpu.value].name;
            let message = format!("{name} drains the console and has no slack in plan {}", plan.name.value);
            let finding = Finding::new(&PLN_011, message, cpu.span, "drains the console")
                .also(schedule.span, format!("windows of {}", time(used)))
                .found(format!("{} of {} in windows", time(used), time(plan.major_frame_ns.value)))
                .expected("a gap in every frame");
            out.push(finding);
        }
    }
}

fn adjacent(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        for plan in &system.plans {
            for cpu in partition.vcpus.iter() {
                for pair in own(plan, *cpu, index).windows(2) {
                    if pair[0].end_ns() != pair[1].start_ns.value {
                        continue;
                    }
                    let message = format!("windows {} and {} follow each other", pair[0].name, pair[1].name);
                    let guard = guard_of(system, *cpu);
                    let finding = Finding::new(&PLN_012, message, pair[1].span, "second")
                        .also(pair[0].span, "first")
                        .found(format!(
                            "{} lost to a switch from {} to itself",
                            time(guard),
                            partition.name.value
                        ))
                        .expected("one window");
                    out.push(finding);
                }
            }
        }
    }
}
