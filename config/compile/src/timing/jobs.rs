//! The work of each release: when it starts and when it is done.

use super::guard::guard_of;
use super::supply::{Supply, gcd, schedule_of};
use crate::model::{PartitionIndex, Plan, System, Timing};
use crate::rules::cpu::is_shared;

/// Releases of one hyperperiod that are looked at; more say that period and frame do not fit each other.
pub const RELEASES_MAX: u64 = 100_000;

/// Longest hyperperiod that is looked at, about 36 years: sums of a few of them fit into 64 bits.
pub const HYPERPERIOD_MAX_NS: u64 = 1 << 60;

/// One vCPU of a partition in one plan.
#[derive(Debug, Clone)]
pub struct Share {
    /// What it is given for certain: its windows, or a CPU of its own.
    pub certain: Supply,
    /// When it may run at all: with the gaps, where it is the background partition.
    pub possible: Supply,
}

/// A partition in one plan.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Its vCPUs, in order.
    pub shares: Vec<Share>,
    /// Whether some vCPU follows the plan; else its releases have no phase to it.
    pub aligned: bool,
    /// Length of the plan's frame.
    pub frame_ns: u64,
}

/// Releases after which a frame and the releases of `timing` repeat together: hyperperiod / period.
pub fn releases(frame_ns: u64, timing: &Timing) -> u64 {
    frame_ns / gcd(frame_ns, timing.period_ns.value.max(1))
}

/// Whether all releases of the hyperperiod can be looked at: they are at most [`RELEASES_MAX`], within
/// [`HYPERPERIOD_MAX_NS`].
pub fn is_in_reach(frame_ns: u64, timing: &Timing) -> bool {
    let number = releases(frame_ns, timing);
    let hyperperiod = number.checked_mul(timing.period_ns.value);
    let longest = hyperperiod.and_then(|ns| ns.checked_add(timing.offset_ns.value));
    number <= RELEASES_MAX && longest.is_some_and(|ns| ns <= HYPERPERIOD_MAX_NS)
}

/// Whether `timing` does not hold in plan number `plan`.
pub fn is_exempt(timing: &Timing, plan: usize) -> bool {
    timing.not_required_in.iter().any(|p| p.value == plan)
}

/// The duration that a release needs on vCPU number `vcpu`.
pub fn demand_of(timing: &Timing, vcpu: usize) -> Option<u64> {
    let each = &timing.duration_ns.value;
    each.get(vcpu).or(each.first().filter(|_| each.len() == 1)).copied().filter(|ns| *ns != 0)
}

impl Runner {
    /// Partition `index` in `plan`; `None` if the plan is not sound or gives it nothing at all.
    pub fn of(system: &System, index: PartitionIndex, plan: &Plan) -> Option<Runner> {
        let frame_ns = plan.major_frame_ns.value;
        if !plan.sound {
            return None;
        }
        let share = |cpu: usize| {
            if !is_shared(system, cpu) {
                let whole = Supply::whole(frame_ns);
                return Some(Share { certain: whole.clone(), possible: whole });
            }
            let schedule = schedule_of(plan, cpu)?;
            let certain = Supply::of(schedule, plan, index, guard_of(system, cpu));
            let background = schedule.background.as_ref().is_some_and(|b| b.value == index);
            let possible = if background { Supply::whole(frame_ns) } else { certain.clone() };
            Some(Share { certain, possible })
        };
        let cpus = &system.partitions[index].vcpus.value;
        let shares: Vec<Share> = cpus.iter().filter_map(|cpu| share(*cpu)).collect();
        let runs = shares.iter().any(|s| !s.possible.net.is_empty());
        let aligned = cpus.iter().any(|cpu| is_shared(system, *cpu));
        (runs && shares.len() == cpus.len()).then_some(Runner { shares, aligned, frame_ns })
    }

    /// First instant at or after `at` at which it may run.
    pub fn may_start(&self, at: u64) -> Option<u64> {
        self.shares.iter().filter_map(|s| s.possible.start(at)).min()
    }

    /// Latest instant at or before `at` up to which it may have run.
    pub fn may_last(&self, at: u64) -> Option<u64> {
        self.shares.iter().filter_map(|s| s.possible.last_before(at)).max()
    }
}

/// The jobs of a partition with a requirement in one plan.
#[derive(Debug, Clone)]
pub struct Jobs<'a> {
    /// Where it runs.
    pub runner: Runner,
    /// What it requires.
    pub timing: &'a Timing,
}

impl<'a> Jobs<'a> {
    /// The jobs of partition `index` in plan number `plan`; `None` if nothing is required there, too many releases pass
    /// before everything repeats, or a release is not given its duration within its period (TMP-001 says so).
    pub fn of(system: &'a System, index: PartitionIndex, plan: usize) -> Option<Jobs<'a>> {
        let timing = system.partitions[index].timing.as_ref().filter(|t| !is_exempt(t, plan))?;
        let jobs = Jobs { runner: Runner::of(system, index, &system.plans[plan])?, timing };
        let period = timing.period_ns.value;
        let fits = |number: u64| Some(jobs.done(number)? <= jobs.release(number) + period);
        let in_reach = is_in_reach(jobs.runner.frame_ns, timing);
        (in_reach && (0..jobs.releases()).all(|k| fits(k) == Some(true))).then_some(jobs)
    }

    /// Releases after which everything repeats: hyperperiod / period.
    pub fn releases(&self) -> u64 {
        releases(self.runner.frame_ns, self.timing)
    }

    /// When release `number` happens.
    pub fn release(&self, number: u64) -> u64 {
        self.timing.offset_ns.value.saturating_add(number.saturating_mul(self.timing.period_ns.value))
    }

    /// The earliest instant at which its work can run.
    pub fn begin(&self, number: u64) -> Option<u64> {
        self.runner.may_start(self.release(number))
    }

    /// The instant by which its work is done on every vCPU.
    pub fn done(&self, number: u64) -> Option<u64> {
        let release = self.release(number);
        let mut latest = release;
        for (vcpu, share) in self.runner.shares.iter().enumerate() {
            latest = latest.max(share.certain.finish(release, demand_of(self.timing, vcpu)?)?);
        }
        Some(latest)
    }

    /// For each job of one hyperperiod that is the last one done by some frame boundary: the latest such boundary, and the
    /// job's begin. A hyperperiod may have far more frames than jobs, so the frames are not gone through.
    pub fn boundaries(&self) -> Vec<(u64, u64)> {
        let frame = self.runner.frame_ns;
        let latest = |number: u64| {
            let boundary = self.done(number + 1)?.checked_sub(1)? / frame * frame;
            (boundary >= self.done(number)?).then_some((boundary, self.begin(number)?))
        };
        (0..self.releases()).filter_map(latest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Span, Spanned};
    use proptest::prelude::*;

    const NOWHERE: Span = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 1, node: 0 };

    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned::new(value, NOWHERE)
    }

    fn timing(period: u64, offset: u64, duration: u64) -> Timing {
        Timing {
            span: NOWHERE,
            period_ns: spanned(period),
            offset_ns: spanned(offset),
            duration_ns: spanned(vec![duration]),
            deadline_ns: None,
            max_blackout_ns: None,
            not_required_in: Vec::new(),
        }
    }

    fn runner(frame_ns: u64, start: u64, end: u64) -> Runner {
        let supply = Supply { frame_ns, net: vec![(start, end)] };
        Runner { shares: vec![Share { certain: supply.clone(), possible: supply }], aligned: true, frame_ns }
    }

    proptest! {
        #[test]
        fn the_oldest_at_a_boundary_is_that_of_all_boundaries(
            frame in 2u64..30, cut in (0u64..30, 0u64..30), period in 1u64..60, offset in 0u64..60, duration in 1u64..30,
        ) {
            let start = cut.0 % frame;
            let end = start + 1 + cut.1 % (frame - start);
            let timing = timing(period, offset % period, 1 + duration % (end - start));
            let jobs = Jobs { runner: runner(frame, start, end), timing: &timing };
            prop_assume!((0..jobs.releases()).all(|k| jobs.done(k).unwrap() <= jobs.release(k) + period));
            // A hyperperiod well behind the first release, by going through every frame.
            let hyper = jobs.releases() * period;
            let all: Vec<(u64, u64)> = (0..6 * jobs.releases())
                .map(|k| (jobs.begin(k).unwrap(), jobs.done(k).unwrap())).collect();
            let age = |boundary: u64| {
                boundary - all.iter().rev().find(|(_, done)| *done <= boundary).unwrap().0
            };
            let slow = (3 * hyper / frame + 1..=4 * hyper / frame).map(|n| age(n * frame)).max();
            prop_assert_eq!(jobs.boundaries().into_iter().map(|(end, begin)| end - begin).max(), slow);
        }
    }

    #[test]
    fn a_period_of_many_frames_takes_no_time_for_each() {
        let timing = timing(4_294_967_291_000, 0, 1_000);
        let jobs = Jobs { runner: runner(1_000, 0, 1_000), timing: &timing };
        assert_eq!(jobs.releases(), 1);
        assert_eq!(jobs.boundaries(), [(4_294_967_291_000, 0)]);
    }
}
