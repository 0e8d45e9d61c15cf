//! TMP: temporal requirements, computed for every plan.
//!
//! What a vCPU is given is a function of time: [`Supply`] sums its windows, each shortened by the guard that the switch
//! at its end is charged with (ruling: the EL2 timer is armed one longest visit plus one switch ahead). Every release
//! of the hyperperiod is then compared with what lies between it and its period or deadline.

use super::cpu::is_shared;
use super::plan::time;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{CpuIndex, Partition, Plan, PlanCpu, PlanIndex, System, Timing};
use crate::span::Span;

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

/// Releases of one hyperperiod that are looked at; more say that period and frame do not fit each other.
const RELEASES_MAX: u64 = 100_000;

/// What a vCPU is given in one plan: net intervals within the frame, repeated with it.
struct Supply {
    frame_ns: u64,
    net: Vec<(u64, u64)>,
}

impl Supply {
    /// The windows of partition `index` in `schedule`, in order of time.
    fn of(schedule: &PlanCpu, plan: &Plan, index: usize, guard_ns: u64) -> Supply {
        let own = schedule.windows.iter().filter(|w| w.partition.value == index);
        let net =
            own.map(|w| (w.start_ns.value, w.start_ns.value + w.duration_ns.value.saturating_sub(guard_ns)));
        let mut net: Vec<(u64, u64)> = net.filter(|(start, end)| start < end).collect();
        net.sort_unstable();
        Supply { frame_ns: plan.major_frame_ns.value, net }
    }

    /// Time given from the start of the first frame to `at`.
    fn until(&self, at: u64) -> u64 {
        let (frames, rest) = (at / self.frame_ns, at % self.frame_ns);
        let given = |limit: u64| self.net.iter().map(|(s, e)| limit.min(*e).saturating_sub(*s)).sum::<u64>();
        frames * given(self.frame_ns) + given(rest)
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        self.until(to) - self.until(from)
    }
}

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

fn schedule_of(plan: &Plan, cpu: CpuIndex) -> Option<&PlanCpu> {
    plan.cpus.iter().find(|c| c.cpu.value == cpu)
}

/// Every requirement that a plan has to meet. Plans with windows out of bounds are PLN's matter and left out.
fn cases(system: &System) -> Vec<Case<'_>> {
    let mut out = Vec::new();
    for (index, partition) in system.partitions.iter().enumerate() {
        let Some(timing) = &partition.timing else {
            continue;
        };
        for (vcpu, cpu) in partition.vcpus.iter().enumerate() {
            let each = &timing.duration_ns.value;
            let Some(duration_ns) = each.get(vcpu).or(each.first().filter(|_| each.len() == 1)) else {
                continue;
            };
            let plans = system.plans.iter().enumerate().filter(|(at, _)| !exempt(timing, *at));
            for (_, plan) in plans.filter(|(_, p)| is_sound(p)) {
                let Some(schedule) = schedule_of(plan, *cpu) else {
                    continue;
                };
                let supply = Supply::of(schedule, plan, index, system.board.facts.window_guard_ns);
                out.push(Case {
                    partition,
                    timing,
                    plan,
                    schedule: schedule.span,
                    duration_ns: *duration_ns,
                    vcpu,
                    supply,
                });
            }
        }
    }
    out
}

fn exempt(timing: &Timing, plan: PlanIndex) -> bool {
    timing.not_required_in.iter().any(|p| p.value == plan)
}

fn is_sound(plan: &Plan) -> bool {
    let frame = plan.major_frame_ns.value;
    let windows = plan.cpus.iter().flat_map(|c| &c.windows);
    frame != 0 && windows.into_iter().all(|w| w.start_ns.value.saturating_add(w.duration_ns.value) <= frame)
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Case<'_> {
    /// Releases after which everything repeats: hyperperiod / period.
    fn releases(&self) -> u64 {
        let (frame, period) = (self.supply.frame_ns, self.timing.period_ns.value.max(1));
        frame / gcd(frame, period)
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
        if case.releases() > RELEASES_MAX {
            let message =
                format!("period and major frame of {} repeat together too rarely", case.partition.name.value);
            let finding = Finding::new(&TMP_001, message, period.span, time(period.value))
                .also(case.plan.major_frame_ns.span, time(case.supply.frame_ns))
                .found(format!("{} releases before they repeat", case.releases()))
                .expected(format!("at most {RELEASES_MAX}"))
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
        let Some(timing) = &partition.timing else {
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
    for case in cases(system).iter().filter(|c| c.releases() <= RELEASES_MAX) {
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

/// Longest time without the CPU: between windows of one plan, or from the last of one to the first of another that
/// is entered at the frame's end.
struct Blackout {
    ns: u64,
    from: Span,
    to: Span,
}

/// The longest blackout of partition `index` on `cpu` over the plans that give it windows there.
fn longest_blackout(system: &System, index: usize, cpu: CpuIndex) -> Option<Blackout> {
    let guard = system.board.facts.window_guard_ns;
    let mut longest: Option<Blackout> = None;
    let mut consider = |ns: u64, from: Span, to: Span| {
        if longest.as_ref().is_none_or(|l| ns > l.ns) {
            longest = Some(Blackout { ns, from, to });
        }
    };
    let mut edges = Vec::new();
    for plan in system.plans.iter().filter(|p| is_sound(p)) {
        let Some(schedule) = schedule_of(plan, cpu) else {
            continue;
        };
        let mut windows: Vec<_> = schedule.windows.iter().filter(|w| w.partition.value == index).collect();
        windows.sort_by_key(|w| w.start_ns.value);
        let end = |w: &crate::model::Window| w.start_ns.value + w.duration_ns.value.saturating_sub(guard);
        for pair in windows.windows(2) {
            consider(pair[1].start_ns.value.saturating_sub(end(pair[0])), pair[0].span, pair[1].span);
        }
        if let (Some(first), Some(last)) = (windows.first(), windows.last()) {
            edges.push((
                first.start_ns.value,
                first.span,
                plan.major_frame_ns.value.saturating_sub(end(last)),
                last.span,
            ));
        }
    }
    for (_, _, tail, from) in &edges {
        for (head, to, _, _) in &edges {
            consider(tail + head, *from, *to);
        }
    }
    longest
}

fn blackouts(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let Some(most) = partition.timing.as_ref().and_then(|t| t.max_blackout_ns.as_ref()) else {
            continue;
        };
        for cpu in partition.vcpus.iter() {
            let longest = longest_blackout(system, index, *cpu).filter(|b| b.ns > most.value);
            if let Some(blackout) = longest {
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
        let blackouts = partition.vcpus.iter().filter_map(|cpu| longest_blackout(system, index, *cpu));
        let Some(longest) = blackouts.max_by_key(|b| b.ns) else {
            continue;
        };
        for (what, limit) in limits {
            if let Some(limit) = limit.as_ref().filter(|l| l.value <= longest.ns) {
                let message = format!("the {what} of {} always bites", partition.name.value);
                let finding = between(&TMP_006, message, limit.span, limit.value, &longest);
                out.push(finding.expected(format!("more than {}", time(longest.ns))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn supply_counts_every_nanosecond_of_the_windows(
            frame in 1u64..40, cuts in prop::collection::vec(0u64..40, 0..6), from in 0u64..200, length in 0u64..100,
        ) {
            let mut cuts: Vec<u64> = cuts.into_iter().map(|c| c % (frame + 1)).collect();
            cuts.sort_unstable();
            let net: Vec<(u64, u64)> = cuts.chunks_exact(2).map(|c| (c[0], c[1])).collect();
            let supply = Supply { frame_ns: frame, net: net.clone() };
            let runs = |t: &u64| net.iter().any(|(s, e)| (*s..*e).contains(&(t % frame)));
            prop_assert_eq!(supply.between(from, from + length), (from..from + length).filter(runs).count() as u64);
        }

        #[test]
        fn gcd_divides_both(a in 1u64..10_000, b in 1u64..10_000) {
            let d = gcd(a, b);
            prop_assert!(a % d == 0 && b % d == 0 && (d + 1..=a.min(b)).all(|x| a % x != 0 || b % x != 0));
        }
    }
}
