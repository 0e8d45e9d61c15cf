//! TMP: changes of plan, and what the figures rest on.

use super::plan::time;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::System;
use crate::timing::facts::plan_switches;
use crate::timing::guard::asked;
use crate::timing::transient::{Transient, all};

rule!(TMP_007, "TMP-007", Finding, Check::System(estimated),
    "A verdict rests on an overhead constant that was estimated, not measured on this board.",
    why: "DO-178C 6.3.4f and ISO 26262-6 table 15 ask for measured or analysed execution times: an estimate is neither.",
    example: "/* board.toml without `window-guard-measured`, and a partition with `timing` on a shared CPU */",
    fix: "measure the switch and the longest visit on the board and say how in board.toml (window-guard-measured)");

rule!(TMP_008, "TMP-008", Finding, Check::System(transients),
    "Entering a plan breaks a requirement once.",
    why: "At once, the old frame is cut off anywhere; at its end, a job may be under way whose release repeats beyond it. It \
          goes on in the new plan. By how much it is late, and for whom, has to be known before it happens.",
    example: "maintenance { immediate; }; /* and a health action enters it */",
    fix: "give the partitions named a window at the start of the plan, enter it at the frame's end, or accept the figure");

rule!(TMP_009, "TMP-009", Error, Check::System(switch_latency),
    "A plan switch may take longer than `plan-switch-latency` allows.",
    why: "Plans change at the end of a frame: a request just after its start waits for all of it.",
    example: "hypervisor { plan-switch-latency-us = <1000>; }; /* and a frame of 10 ms */",
    fix: "shorten the frame of the plan that is left, or allow the longer latency");

fn estimated(system: &System, out: &mut Vec<Finding>) {
    let Some(plans) = system.plans_span else { return };
    let facts = &system.board.facts;
    let judged = system
        .partitions
        .iter()
        .filter(|p| p.timing.is_some() && p.vcpus.iter().any(|cpu| super::cpu::is_shared(system, *cpu)));
    let judged: Vec<_> = judged.collect();
    let Some(first) = judged.first() else { return };
    let names: Vec<&str> = judged.iter().map(|p| p.name.value.as_str()).collect();
    let verdict = first.timing.as_ref().map_or(first.span, |t| t.span);
    let mut estimate = |what: &str, ns: u64| {
        let finding = Finding::new(
            &TMP_007,
            format!("the {what} is an estimate"),
            plans,
            "windows are shortened by it",
        )
        .also(verdict, "a verdict that rests on it")
        .found(format!("{} for {}, estimated; {}", time(ns), facts.name, names.join(", ")))
        .expected(format!("a {what} that was measured on this board"));
        out.push(finding);
    };
    if facts.window_guard_measured.is_none() {
        estimate("window guard", facts.window_guard_ns);
    }
    for cost in asked(system).iter().filter(|cost| cost.measured.is_none()) {
        estimate(&format!("cost of cleaning ({})", cost.what.word()), cost.ns);
    }
}

fn transients(system: &System, out: &mut Vec<Finding>) {
    let list = all(system);
    for (at, first) in list.iter().enumerate() {
        let key = |t: &Transient| (t.from, t.to, t.at_once, t.partition);
        let same = |t: &&Transient| key(t) == key(first);
        if list[..at].iter().any(|t| same(&t)) {
            continue;
        }
        let texts: Vec<String> = list.iter().filter(same).map(Transient::text).collect();
        let (from, to) = (&system.plans[first.from], &system.plans[first.to]);
        let partition = &system.partitions[first.partition];
        let message = format!(
            "entering {} from {} {} breaks a requirement of {} once",
            to.name.value,
            from.name.value,
            first.when(),
            partition.name.value
        );
        let timing = partition.timing.as_ref().map_or(partition.span, |t| t.span);
        let place = to.immediate.filter(|_| first.at_once).unwrap_or(to.span);
        let finding = Finding::new(&TMP_008, message, place, format!("entered {}", first.when()))
            .also(timing, format!("what {} requires", partition.name.value))
            .found(texts.join("; "))
            .expected("every requirement met while the plan changes");
        out.push(if first.at_once {
            finding
        } else {
            finding.fix(
                "choose frames that are whole periods with the job done by their end, or accept the figure",
            )
        });
    }
}

fn switch_latency(system: &System, out: &mut Vec<Finding>) {
    let Some(limit) = &system.hypervisor.plan_switch_latency_ns else { return };
    for switch in plan_switches(system).into_iter().filter(|s| s.worst_ns > limit.value) {
        let (from, to) = (&system.plans[switch.from], &system.plans[switch.to]);
        let message =
            format!("from {} to {} may take {}", from.name.value, to.name.value, time(switch.worst_ns));
        let finding = Finding::new(&TMP_009, message, limit.span, format!("required: {}", time(limit.value)))
            .also(
                from.major_frame_ns.span,
                format!("frame of the plan that is left: {}", time(from.major_frame_ns.value)),
            )
            .also(to.span, "the plan that is entered")
            .found(format!("{}: {}", time(switch.worst_ns), switch.how))
            .expected(format!("at most {}", time(limit.value)));
        out.push(finding);
    }
}
