//! TMP: temporal requirements, computed for every plan.
//!
//! What a vCPU is given is a function of time ([`crate::timing`]). Every release of the hyperperiod is compared with what
//! lies between it and its period or deadline. Ports are judged by `super::temporal_port`, changes of plan by
//! `super::transient`.

use super::cpu::is_shared;
use super::plan::time;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Partition, Plan, System, Timing};
use crate::span::Span;
use crate::timing::blackout::{Blackout, longest};
use crate::timing::guard::guard_of;
use crate::timing::jobs::{HYPERPERIOD_MAX_NS, RELEASES_MAX, demand_of, is_exempt, is_in_reach, releases};
use crate::timing::supply::{Supply, schedule_of};

rule!(TMP_001, "TMP-001", Error, Check::System(supply),
    "Period and duration are not met in some release under some plan.",
    why: "A temporal requirement that is written down and computed by nobody is a comment.",
    example: "timing { period-us = <5000>; duration-us = <900>; }; /* and only one window in 20 ms */",
    fix: "add or lengthen windows, or name the plan in `not-required-in`");

rule!(TMP_002, "TMP-002", Error, Check::System(deadlines),
    "A deadline is missed although the duration is granted within the period.",
    why: "Enough time too late is too little.",
    example: "timing { period-us = <10000>; duration-us = <900>; deadline-us = <1000>; }; /* the window starts at 5 ms */",
    fix: "move the window to the release, or move the release by `offset`");

rule!(TMP_003, "TMP-003", Error, Check::System(blackouts),
    "The longest time without the CPU exceeds `max-blackout`, plan switches at a frame's end included.",
    why: "A control loop bridges a known gap with its last output; a longer one is a jump.",
    example: "timing { max-blackout-us = <2000>; }; /* windows 4 ms apart */",
    fix: "add a window in the gap, or allow the longer blackout");

rule!(TMP_006, "TMP-006", Error, Check::System(timeouts),
    "A watchdog or init time-out is not longer than the partition's longest blackout.",
    why: "It would bite although the partition did nothing wrong.",
    example: "bulkhead,watchdog-us = <2000>; /* windows 4 ms apart */",
    fix: "make the time-out longer than the blackout");

rule!(TMP_010, "TMP-010", Warning, Check::System(long_deadlines),
    "A deadline is later than the next release.",
    why: "Two jobs are then under way at once; period and duration alone say whether they keep up.",
    example: "timing { period-us = <5000>; duration-us = <900>; deadline-us = <8000>; };",
    fix: "give a deadline of at most the period, or leave it out: the period is then the deadline");

rule!(TMP_011, "TMP-011", Error, Check::System(offsets),
    "The first release lies a whole period or more after the start of the frame.",
    why: "Releases repeat with the period: an offset beyond it leaves releases at the frame's start that nobody checks.",
    example: "timing { period-us = <5000>; offset-us = <6000>; };",
    fix: "take whole periods off the offset");

/// One vCPU with a requirement in one plan that it holds in.
struct Case<'a> {
    partition: &'a Partition,
    timing: &'a Timing,
    plan: &'a Plan,
    schedule: Span,
    duration_ns: u64,
    vcpu: usize,
    supply: Supply,
}

/// The requirement of a partition, unless the reader could not take a part of it as it is written.
pub fn stated<'a>(system: &System, partition: &'a Partition) -> Option<&'a Timing> {
    partition.timing.as_ref().filter(|timing| !system.doubts.inside(timing.span))
}

/// Whether a requirement of partition `index` fails under some plan: TMP-001 or TMP-002 says so.
pub fn fails(system: &System, index: usize) -> bool {
    let span = system.partitions[index].span;
    let own = cases(system).into_iter().filter(|case| case.partition.span == span);
    own.filter(|case| case.releases() <= RELEASES_MAX).any(|case| {
        let deadline = case.timing.deadline_ns.as_ref().unwrap_or(&case.timing.period_ns);
        case.first_short(deadline.value.min(case.timing.period_ns.value)).is_some()
    })
}

/// Every requirement that a plan has to meet. Plans with windows out of bounds are PLN's matter and left out.
fn cases(system: &System) -> Vec<Case<'_>> {
    let mut out = Vec::new();
    for (index, partition) in system.partitions.iter().enumerate() {
        let Some(timing) = stated(system, partition) else {
            continue;
        };
        for (vcpu, cpu) in partition.vcpus.iter().enumerate() {
            let Some(duration_ns) = demand_of(timing, vcpu) else {
                continue;
            };
            let plans = system.plans.iter().enumerate().filter(|(at, _)| !is_exempt(timing, *at));
            for (_, plan) in plans.filter(|(_, p)| p.sound) {
                let Some(schedule) = schedule_of(plan, *cpu) else {
                    continue;
                };
                let supply = Supply::of(schedule, plan, index, guard_of(system, *cpu));
                out.push(Case {
                    partition,
                    timing,
                    plan,
                    schedule: schedule.span,
                    duration_ns,
                    vcpu,
                    supply,
                });
            }
        }
    }
    out
}

impl Case<'_> {
    /// Releases after which everything repeats: hyperperiod / period.
    fn releases(&self) -> u64 {
        releases(self.supply.frame_ns, self.timing)
    }

    /// The first release that is given less than the duration within `span_ns`, and what it is given.
    fn first_short(&self, span_ns: u64) -> Option<(u64, u64)> {
        let frame = u128::from(self.supply.frame_ns);
        let (offset, period) = (self.timing.offset_ns.value, self.timing.period_ns.value);
        let given = |k: u64| {
            let release = u128::from(offset) + u128::from(k) * u128::from(period);
            // What is given repeats with the frame, so the place within it is enough and stays small.
            let place = (release % frame) as u64;
            let release = u64::try_from(release).unwrap_or(u64::MAX);
            (release, self.supply.between(place, place.saturating_add(span_ns)))
        };
        let releases = self.releases().min(RELEASES_MAX);
        (0..releases).map(given).find(|(_, ns)| *ns < self.duration_ns)
    }

    fn short(
        &self,
        rule: &'static super::Rule,
        what: &str,
        limit: (u64, Span),
        found: (u64, u64),
    ) -> Finding {
        let (name, plan) = (&self.partition.name.value, &self.plan.name.value);
        let message = format!("{name} misses its {what} under plan {plan}: release at {}", time(found.0));
        Finding::new(rule, message, limit.1, format!("{what}: {}", time(limit.0)))
            .also(self.schedule, format!("{} for vCPU {} by then", time(found.1), self.vcpu))
            .found(format!(
                "{} net of {}, from {} to {}",
                time(found.1),
                time(self.duration_ns),
                time(found.0),
                time(found.0.saturating_add(limit.0))
            ))
            .expected(format!(
                "{} net of switches, for each of {} releases",
                time(self.duration_ns),
                self.releases()
            ))
    }
}

fn supply(system: &System, out: &mut Vec<Finding>) {
    for case in cases(system) {
        let period = &case.timing.period_ns;
        if !is_in_reach(case.supply.frame_ns, case.timing) {
            let message =
                format!("period and major frame of {} repeat together too rarely", case.partition.name.value);
            let finding = Finding::new(&TMP_001, message, period.span, time(period.value))
                .also(case.plan.major_frame_ns.span, time(case.supply.frame_ns))
                .found(format!("{} releases before they repeat", case.releases()))
                .expected(format!("at most {RELEASES_MAX}, in at most {}", time(HYPERPERIOD_MAX_NS)))
                .fix("choose a period that divides the major frame, or the reverse");
            out.push(finding);
        } else if let Some(found) = case.first_short(period.value) {
            out.push(case.short(&TMP_001, "period", (period.value, period.span), found));
        }
    }
    owned(system, out);
}

/// On a CPU of its own a partition has all the time there is: only a duration beyond the period fails.
fn owned(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let Some(timing) = stated(system, partition) else {
            continue;
        };
        let alone = partition.vcpus.iter().any(|c| !is_shared(system, *c));
        let limit = timing.deadline_ns.as_ref().unwrap_or(&timing.period_ns);
        let limit = if limit.value < timing.period_ns.value { limit } else { &timing.period_ns };
        if let Some(most) = timing.duration_ns.value.iter().max().filter(|d| alone && **d > limit.value) {
            let message = format!("{} needs more time than there is", partition.name.value);
            let finding = Finding::new(&TMP_001, message, timing.duration_ns.span, time(*most))
                .also(limit.span, time(limit.value))
                .found(format!("{} in {}", time(*most), time(limit.value)))
                .expected("a duration of at most the period and the deadline");
            out.push(finding);
        }
    }
}

fn deadlines(system: &System, out: &mut Vec<Finding>) {
    for case in cases(system).iter().filter(|c| is_in_reach(c.supply.frame_ns, c.timing)) {
        let Some(deadline) = &case.timing.deadline_ns else {
            continue;
        };
        if case.first_short(case.timing.period_ns.value).is_some() {
            continue;
        }
        if let Some(found) = case.first_short(deadline.value) {
            out.push(case.short(&TMP_002, "deadline", (deadline.value, deadline.span), found));
        }
    }
}

fn blackouts(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let Some(most) = stated(system, partition).and_then(|t| t.max_blackout_ns.as_ref()) else {
            continue;
        };
        for cpu in partition.vcpus.iter() {
            let worst = longest(system, index, *cpu).filter(|b| b.ns > most.value);
            if let Some(blackout) = worst {
                let message =
                    format!("{} is without the CPU for {}", partition.name.value, time(blackout.ns));
                out.push(between(&TMP_003, message, most.span, most.value, &blackout));
            }
        }
    }
}

fn between(
    rule: &'static super::Rule,
    message: String,
    span: Span,
    limit: u64,
    blackout: &Blackout,
) -> Finding {
    let finding =
        Finding::new(rule, message, span, time(limit)).also(blackout.from, "from the end of this window");
    let finding = if blackout.to == blackout.from {
        finding
    } else {
        finding.also(blackout.to, "to the start of this one")
    };
    finding.found(time(blackout.ns)).expected(format!("at most {}", time(limit)))
}

fn timeouts(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let limits = [("watchdog", &partition.watchdog_ns), ("init time-out", &partition.init_timeout_ns)];
        if limits.iter().all(|(_, limit)| limit.is_none()) {
            continue;
        }
        let blackouts = partition.vcpus.iter().filter_map(|cpu| longest(system, index, *cpu));
        let Some(worst) = blackouts.max_by_key(|b| b.ns) else {
            continue;
        };
        for (what, limit) in limits {
            if let Some(limit) = limit.as_ref().filter(|l| l.value <= worst.ns) {
                let message = format!("the {what} of {} always bites", partition.name.value);
                let finding = between(&TMP_006, message, limit.span, limit.value, &worst);
                out.push(finding.expected(format!("more than {}", time(worst.ns))));
            }
        }
    }
}

fn long_deadlines(system: &System, out: &mut Vec<Finding>) {
    for timing in system.partitions.iter().filter_map(|p| stated(system, p)) {
        let period = &timing.period_ns;
        if let Some(deadline) = timing.deadline_ns.as_ref().filter(|d| d.value > period.value) {
            let finding = Finding::new(
                &TMP_010,
                "the deadline is later than the next release",
                deadline.span,
                "deadline",
            )
            .also(period.span, "period")
            .found(format!(
                "{} after a release, the next one {} after it",
                time(deadline.value),
                time(period.value)
            ))
            .expected(format!("at most {}", time(period.value)));
            out.push(finding);
        }
    }
}

fn offsets(system: &System, out: &mut Vec<Finding>) {
    for timing in system.partitions.iter().filter_map(|p| stated(system, p)) {
        let (offset, period) = (&timing.offset_ns, &timing.period_ns);
        if offset.value >= period.value {
            let rest = offset.value % period.value.max(1);
            let finding = Finding::new(&TMP_011, "the offset is not below the period", offset.span, "offset")
                .also(period.span, "period")
                .found(format!("{}, with a period of {}", time(offset.value), time(period.value)))
                .expected(format!("below {}", time(period.value)))
                .fix(format!("write {}: the releases of every later frame are the same", time(rest)));
            out.push(finding);
        }
    }
}
