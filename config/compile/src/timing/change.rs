//! The jobs of a partition while plans change at the ends of frames.
//!
//! Releases begin anew with each plan. A plan is left after one frame at the soonest, so a job that needs longer than that
//! may go on in the next plan, or the one after it.

use super::jobs::{Jobs, Runner, demand_of};
use super::supply::Supply;
use crate::model::{PartitionIndex, PlanIndex, System};

/// Ends of frames within one job that are gone through one by one; with more of them a safe bound takes their place.
pub(super) const BOUNDARIES_MAX: u64 = 16;

/// The jobs of one partition in every plan.
#[derive(Debug, Clone)]
pub struct Changing<'a> {
    /// By plan; none where nothing is required or the requirement is not met.
    jobs: Vec<Option<Jobs<'a>>>,
}

/// Two plans that may take turns, frame by frame, without any job being done: no figure holds then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeTurns(pub PlanIndex, pub PlanIndex);

impl<'a> Changing<'a> {
    /// The jobs of partition `index`.
    pub fn of(system: &'a System, index: PartitionIndex) -> Changing<'a> {
        Changing { jobs: (0..system.plans.len()).map(|plan| Jobs::of(system, index, plan)).collect() }
    }

    /// The jobs in one plan.
    pub fn in_plan(&self, plan: PlanIndex) -> Option<&Jobs<'a>> {
        self.jobs.get(plan)?.as_ref()
    }

    /// Every plan with jobs.
    pub fn plans(&self) -> impl Iterator<Item = (PlanIndex, &Jobs<'a>)> {
        self.jobs.iter().enumerate().filter_map(|(plan, jobs)| Some((plan, jobs.as_ref()?)))
    }

    /// The frames of a plan that end before its first job is done.
    fn frames_before(jobs: &Jobs<'_>) -> u64 {
        jobs.done(0).map_or(0, |done| done.saturating_sub(1) / jobs.runner.frame_ns)
    }

    /// Whether the first job of each plan but one is done before the plan can be left.
    ///
    /// # Errors
    /// [`TakeTurns`].
    pub fn is_bounded(&self) -> Result<(), TakeTurns> {
        let mut left = self.plans().filter(|(_, jobs)| Self::frames_before(jobs) != 0).map(|(plan, _)| plan);
        match (left.next(), left.next()) {
            (Some(one), Some(other)) => Err(TakeTurns(one, other)),
            _ => Ok(()),
        }
    }

    /// The longest time from entering `to` until one of the jobs released since is done, if [`Self::is_bounded`]. Work that
    /// went on when the plan was entered is not relied upon. `seen` says, of a plan and an instant after entering it,
    /// the last instant before that counts.
    pub fn first_done(&self, to: PlanIndex, seen: impl Fn(PlanIndex, u64) -> Option<u64>) -> Option<u64> {
        let done = |plan: PlanIndex| seen(plan, self.in_plan(plan)?.done(0)?);
        let jobs = self.in_plan(to)?;
        let left_at = Self::frames_before(jobs) * jobs.runner.frame_ns;
        let others = self.plans().filter(|(plan, _)| left_at != 0 && *plan != to);
        let later = others.filter_map(|(plan, _)| Some(left_at + done(plan)?)).max();
        later.max(done(to))
    }

    fn supplies(&self, vcpu: usize) -> impl Iterator<Item = &Supply> + Clone {
        self.jobs.iter().flatten().filter_map(move |jobs| Some(&jobs.runner.shares.get(vcpu)?.certain))
    }

    /// A safe bound for `demand_ns`, from the start of a frame on, whatever plans follow each other: frames of the longest
    /// kind that give the least, then the rest in the plan that gives it last.
    pub(super) fn slowest(&self, vcpu: usize, demand_ns: u64) -> Option<u64> {
        let least = self.supplies(vcpu).map(Supply::per_frame).min()?;
        let longest = self.supplies(vcpu).map(|s| s.frame_ns).max()?;
        let frames = demand_ns.checked_sub(1)?.checked_div(least)?;
        let rest = demand_ns - frames * least;
        let last = self.supplies(vcpu).map(|s| s.finish(0, rest)).max()??;
        frames.checked_mul(longest)?.checked_add(last)
    }

    /// The longest time from entering `to` until vCPU number `vcpu` was given `demand_ns` (above zero), whatever plans
    /// are entered at the ends of frames until then.
    pub fn finish(&self, vcpu: usize, to: PlanIndex, demand_ns: u64) -> Option<u64> {
        let supply = &self.in_plan(to)?.runner.shares.get(vcpu)?.certain;
        let alone = supply.finish(0, demand_ns)?;
        if alone <= supply.frame_ns || self.plans().count() == 1 {
            return Some(alone);
        }
        let rest = demand_ns.checked_sub(supply.per_frame())?;
        Some(supply.frame_ns.checked_add(self.slowest(vcpu, rest)?)?.max(alone))
    }

    /// The longest response of a job of `from` that goes on when `to` is entered at the end of a frame; `None` if each
    /// is done by then.
    pub fn carried_over(&self, from: PlanIndex, to: PlanIndex) -> Option<u64> {
        let jobs = self.in_plan(from)?;
        let mut worst = None;
        for (vcpu, share) in jobs.runner.shares.iter().enumerate() {
            let demand = demand_of(jobs.timing, vcpu)?;
            for release in (0..jobs.releases()).map(|number| jobs.release(number)) {
                worst = worst.max(self.carried(vcpu, &share.certain, release, demand, to));
            }
        }
        worst
    }

    fn carried(&self, vcpu: usize, old: &Supply, release: u64, demand: u64, to: PlanIndex) -> Option<u64> {
        let frame = old.frame_ns;
        let (first, last) = (release / frame + 1, old.finish(release, demand)?.saturating_sub(1) / frame);
        let rest = |boundary: u64| demand - old.between(release, boundary);
        if last.saturating_sub(first) >= BOUNDARIES_MAX {
            let boundary = first * frame;
            return Some(boundary - release + self.slowest(vcpu, rest(boundary))?);
        }
        let boundaries = (first..=last).map(|number| number * frame);
        boundaries.filter_map(|at| Some(at - release + self.finish(vcpu, to, rest(at))?)).max()
    }
}

/// The last instant at or before `end` at which `reader` may look; none if it has not run by then.
pub fn look_before(reader: &Runner, end: u64) -> Option<u64> {
    if reader.aligned { reader.may_last(end) } else { Some(end) }
}
