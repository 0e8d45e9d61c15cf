//! What entering a plan at once costs those who run in it: the frame of the old plan is cut off anywhere.

use super::blackout;
use super::guard::guard_of;
use super::jobs::{Jobs, Runner, demand_of};
use super::ports::look_before;
use super::supply::{Supply, schedule_of};
use crate::model::{Action, PartitionIndex, PlanIndex, PortKind, System};
use crate::rules::plan::time;

/// A requirement that a change of plan breaks once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// Plan that is left.
    pub from: PlanIndex,
    /// Plan that is entered at once.
    pub to: PlanIndex,
    /// Whose requirement it is.
    pub partition: PartitionIndex,
    /// Which one: `deadline`, `period`, `max-blackout`, `max-age of PORT`.
    pub requirement: String,
    /// What is required.
    pub limit_ns: u64,
    /// What happens once.
    pub worst_ns: u64,
}

impl Transient {
    /// `deadline: 9.59976 ms instead of 5 ms`.
    pub fn text(&self) -> String {
        format!("{}: {} instead of {}", self.requirement, time(self.worst_ns), time(self.limit_ns))
    }
}

/// Plans that a health action may enter at once.
pub fn entered_at_once(system: &System) -> Vec<PlanIndex> {
    let tables = system.health_tables.iter().chain(&system.module_health);
    let steps = tables.flat_map(|t| t.steps()).filter(|(_, s)| *s.action == Action::SwitchPlan);
    let mut plans: Vec<PlanIndex> = steps.filter_map(|(_, s)| Some(s.plan.as_ref()?.value)).collect();
    plans.retain(|p| system.plans[*p].immediate.is_some() && system.plans[*p].sound);
    plans.sort_unstable();
    plans.dedup();
    plans
}

/// Every requirement that entering a plan at once breaks, in the order of plans and partitions.
pub fn all(system: &System) -> Vec<Transient> {
    let mut out = Vec::new();
    for to in entered_at_once(system) {
        for from in (0..system.plans.len()).filter(|from| *from != to && system.plans[*from].sound) {
            for partition in 0..system.partitions.len() {
                out.extend(late(system, partition, from, to));
                out.extend(dark(system, partition, from, to));
            }
            out.extend(old(system, from, to));
        }
    }
    out
}

/// The worst completion of a job that the change of plan cuts in two, if it exceeds the deadline.
fn late(system: &System, index: PartitionIndex, from: PlanIndex, to: PlanIndex) -> Option<Transient> {
    let (before, after) = (Jobs::of(system, index, from)?, Jobs::of(system, index, to)?);
    if !before.runner.aligned {
        return None;
    }
    let limit = before.timing.deadline_ns.as_ref().map(|d| ("deadline", d.value));
    let (requirement, limit_ns) = limit.unwrap_or(("period", before.timing.period_ns.value));
    let mut worst_ns = 0;
    for number in 0..before.releases() {
        let release = before.release(number);
        for (vcpu, (old, new)) in before.runner.shares.iter().zip(&after.runner.shares).enumerate() {
            let demand = demand_of(before.timing, vcpu)?;
            worst_ns = worst_ns.max(worst_response(&old.certain, &new.certain, release, demand));
        }
    }
    let requirement = requirement.to_owned();
    (worst_ns > limit_ns).then_some(Transient { from, to, partition: index, requirement, limit_ns, worst_ns })
}

/// Longest time from `release` until `demand` is given, over every instant at which `new` may take the place of `old`.
///
/// Between two instants at which something changes the completion moves with the instant of the switch, so the latest
/// of each stretch decides: the ends of waiting, and where what is left just exceeds what some windows of `new` give.
fn worst_response(old: &Supply, new: &Supply, release: u64, demand: u64) -> u64 {
    let Some(done) = old.finish(release, demand) else { return 0 };
    let mut switches = vec![release, done - 1];
    let mut given = 0;
    for (start, end) in new.net.iter().cycle().take(new.net.len() * 4) {
        given += end - start;
        if given >= demand {
            break;
        }
        switches.extend(old.finish(release, demand - given).map(|at| at.saturating_sub(1).max(release)));
    }
    let mut at = release;
    while let Some(start) = old.start(at).filter(|start| *start < done) {
        switches.push(start);
        match old.net.iter().find(|(s, e)| (*s..*e).contains(&(start % old.frame_ns))) {
            Some((_, end)) => at = start - start % old.frame_ns + end,
            None => break,
        }
    }
    let complete = |at: u64| {
        let left = demand.saturating_sub(old.between(release, at)).max(1);
        Some(at + new.finish(0, left)? - release)
    };
    switches.into_iter().filter_map(complete).max().unwrap_or(0)
}

/// The blackout of a vCPU whose window was just about to start when the plan changed.
fn dark(system: &System, index: PartitionIndex, from: PlanIndex, to: PlanIndex) -> Option<Transient> {
    let partition = &system.partitions[index];
    let limit = partition.timing.as_ref()?.max_blackout_ns.as_ref()?.value;
    let supply = |plan: PlanIndex, cpu: usize| {
        let plan = &system.plans[plan];
        Some(Supply::of(schedule_of(plan, cpu)?, plan, index, guard_of(system, cpu)))
    };
    let mut worst_ns = 0;
    for cpu in partition.vcpus.iter() {
        let Some((old, new)) = supply(from, *cpu).zip(supply(to, *cpu)) else { continue };
        let Some(head) = new.start(0) else { continue };
        let gap = old.net.iter().filter_map(|(_, end)| Some(old.start(*end)? - end)).max();
        worst_ns = worst_ns.max(gap? + head);
    }
    let known = partition.vcpus.iter().filter_map(|cpu| blackout::longest(system, index, *cpu)).map(|b| b.ns);
    let beyond = worst_ns > limit && known.max().is_none_or(|known| worst_ns > known);
    let requirement = "max-blackout".to_owned();
    beyond.then_some(Transient { from, to, partition: index, requirement, limit_ns: limit, worst_ns })
}

/// Ages that readers see when the writer's job is cut off just before it writes.
fn old(system: &System, from: PlanIndex, to: PlanIndex) -> Vec<Transient> {
    let mut out = Vec::new();
    let sampling = system.ports.iter().filter(|p| matches!(p.kind, PortKind::Sampling { .. }));
    for (port, reader) in sampling.flat_map(|p| p.to.iter().map(move |reader| (p, reader))) {
        let (Some(writer), Some(limit)) = (port.from.first(), &reader.max_age_ns) else { continue };
        let (Some(before), Some(after)) =
            (Jobs::of(system, writer.partition, from), Jobs::of(system, writer.partition, to))
        else {
            continue;
        };
        let Some(seen) = Runner::of(system, reader.partition, &system.plans[to]) else { continue };
        if !before.runner.aligned {
            continue;
        }
        let gaps = (0..before.releases()).filter_map(|k| before.done(k + 1)?.checked_sub(before.begin(k)?));
        let read = after.done(0).and_then(|replaced| look_before(&seen, replaced));
        if let Some((tail, read)) = gaps.max().zip(read).filter(|(tail, read)| tail + read > limit.value) {
            out.push(Transient {
                from,
                to,
                partition: reader.partition,
                requirement: format!("max-age of {}", reader.name.value),
                limit_ns: limit.value,
                worst_ns: tail + read,
            });
        }
    }
    out
}
