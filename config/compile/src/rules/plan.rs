//! PLN: plans and their windows.

use super::cpu::is_shared;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Action, Plan, PlanCpu, System, Window};
use crate::timing::guard::{guard_of, longest_guard, nominal};

rule!(PLN_001, "PLN-001", Error, Check::System(overlap),
    "Windows of one CPU overlap.",
    why: "A CPU runs one partition at a time.",
    example: "a-0 { start-us = <0>; duration-us = <1000>; }; b-0 { start-us = <900>; duration-us = <500>; };",
    fix: "move or shorten one of them");

rule!(PLN_002, "PLN-002", Error, Check::System(bounds),
    "A window passes the end of the major frame, or is shorter than a switch.",
    why: "Windows repeat with the frame; a switch and the longest EL2 visit are charged to the window that ends.",
    example: "major-frame-us = <5000>; a-0 { start-us = <4500>; duration-us = <1000>; };",
    fix: "make the frame longer or the window fit");

rule!(PLN_003, "PLN-003", Error, Check::System(no_vcpu),
    "A window or background names a partition without a vCPU on that CPU.",
    why: "There is nothing to run: a vCPU is bound to one CPU in all plans.",
    example: "cpu-2 { cpu = <&cpu2>; a-0 { partition = <&a>; }; }; /* a { cpus = <&cpus 0x8 0x1>; } */",
    fix: "add the CPU to the partition's mask, or name another partition");

rule!(PLN_004, "PLN-004", Error, Check::System(missing_cpu),
    "A shared CPU is missing from one of the plans, or stands in one twice.",
    why: "All CPUs switch plan together: in that plan nothing says who runs there.",
    example: "normal { cpu-2 { }; cpu-3 { }; }; maintenance { cpu-2 { }; };",
    fix: "give every plan one node for each shared CPU, if need be without windows");

rule!(PLN_005, "PLN-005", Finding, Check::System(no_window),
    "A partition has no window in a plan and `not-required-in` does not say so.",
    why: "It stands still for as long as the plan runs; that must be meant.",
    example: "maintenance { cpu-2 { cpu = <&cpu2>; /* no window of nav */ }; };",
    fix: "add a window, or timing { not-required-in = <&plan>; }");

rule!(PLN_006, "PLN-006", Error, Check::System(initial),
    "No initial plan; or a plan that nothing can enter (a warning).",
    why: "The hypervisor must know what to start with.",
    example: "plans { normal { ... }; }; /* no initial */",
    fix: "add initial = <&plan>; and name every other plan in an authority or a health action");

rule!(PLN_007, "PLN-007", Error, Check::System(ticks),
    "A major frame is no whole number of ticks of the system counter.",
    why: "All boundaries are counted in ticks from one start: a fraction would drift by its sum, frame after frame.",
    example: "major-frame-ns = <1000001>; /* 62.5 MHz: 16 ns each */",
    fix: "make the frame a multiple of the tick");

rule!(PLN_013, "PLN-013", Error, Check::System(short_frame),
    "A major frame is shorter than four switches.",
    why: "A change of plan is asked for two guards ahead and the plans before and after it must each last as long again: \
          in a shorter frame CPUs could disagree about the tick at which the plan changes.",
    example: "major-frame-us = <80>; /* window guard 21.76 us */",
    fix: "make the frame longer");

/// Least length of a major frame, in window guards (`PlanSwitch::request` in hv/core).
const FRAME_GUARDS: u64 = 4;

/// Every schedule with its plan.
fn schedules(system: &System) -> impl Iterator<Item = (&Plan, &PlanCpu)> {
    system.plans.iter().flat_map(|p| p.cpus.iter().map(move |c| (p, c)))
}

/// A time as people write it: in the largest unit that leaves something before the point.
pub fn time(ns: u64) -> String {
    let (unit, name) = match ns {
        0 => return "0".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        _ => (1_000_000, "ms"),
    };
    let digits = usize::try_from(u64::ilog10(unit)).unwrap_or(0);
    let fraction = format!("{:0digits$}", ns % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{} {name}", ns / unit),
        rest => format!("{}.{rest} {name}", ns / unit),
    }
}

fn extent(window: &Window) -> String {
    format!("{} to {}", time(window.start_ns.value), time(window.end_ns()))
}

fn overlap(system: &System, out: &mut Vec<Finding>) {
    for (plan, schedule) in schedules(system) {
        let mut order: Vec<&Window> = schedule.windows.iter().collect();
        order.sort_by_key(|w| (w.start_ns.value, w.span));
        for (at, first) in order.iter().enumerate() {
            for second in order[at + 1..].iter().take_while(|w| w.start_ns.value < first.end_ns()) {
                let cpu = &system.board.cpus[schedule.cpu.value].name;
                let message = format!(
                    "in plan {}, windows {} and {} of {cpu} overlap",
                    plan.name.value, first.name, second.name
                );
                let finding = Finding::new(&PLN_001, message, second.span, extent(second))
                    .also(first.span, extent(first))
                    .found(format!(
                        "{} in common",
                        time(first.end_ns().min(second.end_ns()) - second.start_ns.value)
                    ))
                    .expected("windows apart");
                out.push(finding);
            }
        }
    }
}

fn bounds(system: &System, out: &mut Vec<Finding>) {
    for (plan, schedule) in schedules(system) {
        let guard = guard_of(system, schedule.cpu.value);
        for window in &schedule.windows {
            let frame = &plan.major_frame_ns;
            // What is not stated, or zero, is the reader's matter.
            let stated = !system.doubts.about(plan.span, "major-frame");
            if stated && window.end_ns() > frame.value {
                let finding = Finding::new(
                    &PLN_002,
                    format!("window {} ends after the major frame", window.name),
                    window.span,
                    extent(window),
                )
                .also(frame.span, format!("major frame of {}: {}", plan.name.value, time(frame.value)))
                .found(format!("end at {}", time(window.end_ns())))
                .expected(format!("end by {}", time(frame.value)));
                out.push(finding);
            }
            if window.duration_ns.value <= guard && !system.doubts.about(window.span, "duration") {
                let finding = Finding::new(
                    &PLN_002,
                    format!("window {} is shorter than a switch", window.name),
                    window.duration_ns.span,
                    time(window.duration_ns.value),
                )
                .also(plan.span, "in this plan")
                .found(time(window.duration_ns.value))
                .expected(format!(
                    "more than {}: {}",
                    time(guard),
                    what_guards(system, schedule.cpu.value)
                ));
                out.push(finding);
            }
        }
    }
}

/// What the guard of a CPU is made of.
fn what_guards(system: &System, cpu: usize) -> &'static str {
    if nominal(system, cpu) == system.board.facts.window_guard_ns {
        "partition switch and longest visit to EL2"
    } else {
        "partition switch, longest visit to EL2, and the dearest cleaning of this CPU"
    }
}

fn no_vcpu(system: &System, out: &mut Vec<Finding>) {
    for (_, schedule) in schedules(system) {
        let windows = schedule.windows.iter().map(|w| &w.partition);
        for named in windows.chain(&schedule.background) {
            let partition = &system.partitions[named.value];
            // Nobody has CPUs that the board lacks: CPU-002's matter.
            let unknown = partition.vcpus.is_empty();
            if partition.vcpu_on(schedule.cpu.value).is_none() && !unknown {
                let cpu = &system.board.cpus[schedule.cpu.value].name;
                let finding = Finding::new(
                    &PLN_003,
                    format!("{} has no vCPU on {cpu}", partition.name.value),
                    named.span,
                    "runs here",
                )
                .also(partition.vcpus.span, format!("its CPUs do not include {cpu}"))
                .found(format!("mask {:#x}", partition.cpu_mask))
                .expected(format!("bit {} in the mask", schedule.cpu.value));
                out.push(finding);
            }
        }
    }
}

fn missing_cpu(system: &System, out: &mut Vec<Finding>) {
    for (cpu, description) in system.board.cpus.iter().enumerate().filter(|(c, _)| is_shared(system, *c)) {
        for plan in &system.plans {
            let own: Vec<&PlanCpu> = plan.cpus.iter().filter(|c| c.cpu.value == cpu).collect();
            let other = schedules(system).find(|(p, c)| c.cpu.value == cpu && p.span != plan.span);
            let finding = match (own.as_slice(), other) {
                ([], Some((other, schedule))) if !system.doubts.anywhere("cpu") => Finding::new(
                    &PLN_004,
                    format!("plan {} says nothing about {}", plan.name.value, description.name),
                    plan.span,
                    "this plan",
                )
                .also(schedule.span, format!("plan {} shares it", other.name.value))
                .found("no node for this CPU")
                .expected("one node for each shared CPU"),
                ([first, second, ..], _) => Finding::new(
                    &PLN_004,
                    format!("plan {} has two nodes for {}", plan.name.value, description.name),
                    second.span,
                    "second",
                )
                .also(first.span, "first")
                .found("two schedules of one CPU")
                .expected("one"),
                _ => continue,
            };
            out.push(finding);
        }
    }
}

fn no_window(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        if partition.vcpus.iter().any(|c| !is_shared(system, *c)) || partition.vcpus.is_empty() {
            continue;
        }
        for (at, plan) in system.plans.iter().enumerate().filter(|(_, p)| !p.doubtful) {
            let runs = plan.cpus.iter().any(|c| c.windows_of(index).next().is_some());
            let exempt = partition.timing.as_ref().is_some_and(|t| {
                let unread = system.doubts.about(t.span, "not-required-in");
                unread || t.not_required_in.iter().any(|p| p.value == at)
            });
            if !runs && !exempt {
                let name = &partition.name.value;
                let finding = Finding::new(
                    &PLN_005,
                    format!("{name} has no window in plan {}", plan.name.value),
                    plan.span,
                    "this plan",
                )
                .also(partition.span, "this partition")
                .found("no window on any CPU")
                .expected("a window, or `not-required-in`");
                out.push(finding);
            }
        }
    }
}

fn initial(system: &System, out: &mut Vec<Finding>) {
    let Some(node) = system.plans_span else {
        return;
    };
    if system.initial_plan.is_none() && system.doubts.about(node, "initial") {
        return;
    }
    if system.initial_plan.is_none() {
        let finding = Finding::new(&PLN_006, "there is no initial plan", node, "needs `initial`")
            .found("no `initial` that names a plan")
            .expected("initial = <&plan>;")
            .fix("add initial = <&plan>; to /plans");
        out.push(finding);
        return;
    }
    if ["plan", "plans", "action", "authority"].iter().any(|word| system.doubts.anywhere(word)) {
        return;
    }
    let tables = system.health_tables.iter().chain(&system.module_health);
    let actions = tables.flat_map(|t| t.steps()).filter(|(_, s)| *s.action == Action::SwitchPlan);
    let by_health = actions.filter_map(|(_, s)| s.plan.as_ref());
    let by_authority = system.partitions.iter().flat_map(|p| &p.authority).flat_map(|a| &a.plans);
    let entered: Vec<usize> =
        by_health.chain(by_authority).chain(&system.initial_plan).map(|p| p.value).collect();
    for (_, plan) in system.plans.iter().enumerate().filter(|(at, _)| !entered.contains(at)) {
        let finding = Finding::new(
            &PLN_006,
            format!("nothing can enter plan {}", plan.name.value),
            plan.span,
            "this plan",
        )
        .also(node, "not `initial`, in no authority, in no health action")
        .found("no way in")
        .expected("an authority (`plans`) or a health action (`switch-plan`) that names it");
        out.push(finding.warning());
    }
}

fn ticks(system: &System, out: &mut Vec<Finding>) {
    let hz = u128::from(system.board.facts.counter_hz);
    for plan in &system.plans {
        let frame = &plan.major_frame_ns;
        if u128::from(frame.value) * hz % 1_000_000_000 != 0 {
            let finding = Finding::new(
                &PLN_007,
                format!("the major frame of {} is no whole number of ticks", plan.name.value),
                frame.span,
                time(frame.value),
            )
            .also(system.board.span, format!("counter of the board: {hz} Hz"))
            .found(format!("{} ns at {hz} Hz", frame.value))
            .expected("frame * frequency divisible by 1,000,000,000");
            out.push(finding);
        }
    }
}

fn short_frame(system: &System, out: &mut Vec<Finding>) {
    let guard = longest_guard(system);
    let least = guard.saturating_mul(FRAME_GUARDS);
    for plan in &system.plans {
        let frame = &plan.major_frame_ns;
        // Nothing at all is LNG-003's matter.
        if (1..least).contains(&frame.value) {
            let message = format!("the major frame of {} is shorter than four switches", plan.name.value);
            let finding = Finding::new(&PLN_013, message, frame.span, time(frame.value))
                .also(system.board.span, format!("longest window guard: {}", time(guard)))
                .found(time(frame.value))
                .expected(format!("at least {}", time(least)));
            out.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_exact_and_short() {
        let shown = [0, 999, 1_000, 21_760, 5_000_000, 6_021_760, 60_000_000_000].map(time);
        assert_eq!(shown, ["0", "999 ns", "1 us", "21.76 us", "5 ms", "6.02176 ms", "60000 ms"]);
    }
}
