//! What entering a plan costs once those who run in it: at the end of a frame a job may be under way, and a plan that is
//! entered at once cuts the old one's frame off anywhere.
//!
//! The guard before the cut is lost as it is at the end of every window: what runs one guard before the cut at the latest
//! has been given.

use super::blackout;
use super::change::{BOUNDARIES_MAX, Changing, look_before};
use super::facts::{plan_switches, queues};
use super::guard::guard_of;
use super::jobs::{Jobs, Runner, demand_of};
use super::ports::{bridged, latency, send_after};
use super::supply::{Supply, schedule_of};
use crate::model::{Action, PartitionIndex, PlanIndex, Port, PortEnd, PortKind, System};
use crate::rules::cpu::is_shared;
use crate::rules::plan::time;

/// A requirement that a change of plan breaks once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// Plan that is left.
    pub from: PlanIndex,
    /// Plan that is entered.
    pub to: PlanIndex,
    /// Whether it is entered at once; else at the end of a frame.
    pub at_once: bool,
    /// Whose requirement it is.
    pub partition: PartitionIndex,
    /// Which one: `deadline`, `period`, `max-blackout`, `watchdog`, `init-timeout`, `max-age of PORT`, `max-latency of
    /// PORT`, `depth of PORT` (the latency that the queue's depth bridges).
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

    /// `at once` or `at the end of a frame`.
    pub fn when(&self) -> &'static str {
        if self.at_once { "at once" } else { "at the end of a frame" }
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

/// Every requirement that entering a plan breaks once, in the order of plans and partitions.
pub fn all(system: &System) -> Vec<Transient> {
    let mut out = Vec::new();
    let jobs: Vec<Changing<'_>> = match system.plans.len() {
        // Nothing can be entered: nobody's jobs are needed.
        0 | 1 => return out,
        _ => (0..system.partitions.len()).map(|partition| Changing::of(system, partition)).collect(),
    };
    for to in entered_at_once(system) {
        for from in (0..system.plans.len()).filter(|from| *from != to && system.plans[*from].sound) {
            let cut = Cut { system, jobs: &jobs, from, to };
            for partition in 0..system.partitions.len() {
                out.extend(cut.late(partition));
                out.extend(cut.dark(partition));
            }
            out.extend(cut.old());
            out.extend(cut.slow());
        }
    }
    for (from, to) in plan_switches(system).into_iter().map(|switch| (switch.from, switch.to)) {
        for (partition, own) in jobs.iter().enumerate() {
            out.extend(carried_over(own, partition, from, to));
        }
    }
    out
}

/// What a job has to keep.
fn due(jobs: &Jobs<'_>) -> (&'static str, u64) {
    let deadline = jobs.timing.deadline_ns.as_ref().map(|d| ("deadline", d.value));
    deadline.unwrap_or(("period", jobs.timing.period_ns.value))
}

/// A job that is under way when the frame ends and goes on in the new plan.
fn carried_over(
    own: &Changing<'_>,
    partition: PartitionIndex,
    from: PlanIndex,
    to: PlanIndex,
) -> Option<Transient> {
    let before = own.in_plan(from).filter(|jobs| jobs.runner.aligned)?;
    own.in_plan(to)?;
    let (requirement, limit_ns) = due(before);
    let worst_ns = own.carried_over(from, to).filter(|worst| *worst > limit_ns)?;
    let requirement = requirement.to_owned();
    Some(Transient { from, to, at_once: false, partition, requirement, limit_ns, worst_ns })
}

/// One plan entered at once out of another.
struct Cut<'a> {
    system: &'a System,
    /// Of every partition.
    jobs: &'a [Changing<'a>],
    from: PlanIndex,
    to: PlanIndex,
}

impl Cut<'_> {
    fn broken(
        &self,
        partition: PartitionIndex,
        requirement: String,
        limit_ns: u64,
        worst_ns: u64,
    ) -> Transient {
        let (from, to) = (self.from, self.to);
        Transient { from, to, at_once: true, partition, requirement, limit_ns, worst_ns }
    }

    /// What a cut takes off the end of whatever runs on `cpu`.
    fn guard(&self, cpu: usize) -> u64 {
        if is_shared(self.system, cpu) { guard_of(self.system, cpu) } else { 0 }
    }

    /// The largest guard of the partition's CPUs.
    fn longest_guard(&self, partition: PartitionIndex) -> u64 {
        let cpus = &self.system.partitions[partition].vcpus.value;
        cpus.iter().map(|cpu| self.guard(*cpu)).max().unwrap_or(0)
    }

    /// The worst completion of a job that the change of plan cuts in two, if it exceeds the deadline.
    fn late(&self, partition: PartitionIndex) -> Option<Transient> {
        let own = &self.jobs[partition];
        let before = own.in_plan(self.from).filter(|jobs| jobs.runner.aligned)?;
        own.in_plan(self.to)?;
        let (requirement, limit_ns) = due(before);
        let mut worst_ns = 0;
        for (vcpu, cpu) in self.system.partitions[partition].vcpus.iter().enumerate() {
            let (guard, demand) = (self.guard(*cpu), demand_of(before.timing, vcpu)?);
            let old = &before.runner.shares[vcpu].certain;
            for number in 0..before.releases() {
                let (release, frame) = (before.release(number), old.frame_ns);
                let frames = old.finish(release, demand)?.saturating_sub(release) / frame;
                let response = if frames > BOUNDARIES_MAX {
                    // A safe bound: the frame of the release and that of the cut give nothing.
                    own.slowest(vcpu, demand)?.saturating_add(2 * frame)
                } else {
                    let goes_on = |left| own.finish(vcpu, self.to, left);
                    worst_response(old, release, demand, guard, goes_on)
                };
                worst_ns = worst_ns.max(response);
            }
        }
        (worst_ns > limit_ns).then(|| self.broken(partition, requirement.to_owned(), limit_ns, worst_ns))
    }

    /// The blackout of a vCPU whose window was cut off before its guard had passed.
    fn dark(&self, index: PartitionIndex) -> Vec<Transient> {
        let partition = &self.system.partitions[index];
        let within = |ns: &u64| ns.saturating_sub(1);
        let blackout = partition.timing.as_ref().and_then(|t| t.max_blackout_ns.as_ref()).map(|b| b.value);
        // A time-out bites when the blackout is as long as itself.
        let (watchdog, init) = (&partition.watchdog_ns, &partition.init_timeout_ns);
        let limits = [
            ("max-blackout", blackout),
            ("watchdog", watchdog.as_ref().map(|w| within(&w.value))),
            ("init-timeout", init.as_ref().map(|t| within(&t.value))),
        ];
        if limits.iter().all(|(_, limit)| limit.is_none()) {
            return Vec::new();
        }
        let worst = partition.vcpus.iter().filter_map(|cpu| self.gap(index, *cpu)).max();
        let known = partition.vcpus.iter().filter_map(|cpu| blackout::longest(self.system, index, *cpu));
        let known = known.map(|b| b.ns).max().unwrap_or(0);
        let Some(worst) = worst.filter(|worst| *worst > known) else { return Vec::new() };
        let beyond =
            limits.into_iter().filter_map(|(what, limit)| Some((what, limit.filter(|l| worst > *l)?)));
        beyond.map(|(what, limit)| self.broken(index, what.to_owned(), limit, worst)).collect()
    }

    /// The longest blackout of `index` on `cpu` around the cut.
    fn gap(&self, index: PartitionIndex, cpu: usize) -> Option<u64> {
        let guard = self.guard(cpu);
        let supply = |plan: PlanIndex| {
            let plan = &self.system.plans[plan];
            Some(Supply::of(schedule_of(plan, cpu)?, plan, index, guard))
        };
        let (old, new) = (supply(self.from)?, supply(self.to)?);
        let gap = old.gaps().map(|(end, start)| start - end).max()?;
        Some(gap.saturating_add(guard).saturating_add(new.start(0)?))
    }

    /// Ages that readers see when the writer's job is cut off just before it writes.
    fn old(&self) -> Vec<Transient> {
        let sampling = self.system.ports.iter().filter(|p| matches!(p.kind, PortKind::Sampling { .. }));
        let readers = sampling.flat_map(|port| port.to.iter().map(move |reader| (port, reader)));
        readers.filter_map(|(port, reader)| self.older(port, reader)).collect()
    }

    fn older(&self, port: &Port, reader: &PortEnd) -> Option<Transient> {
        let (writer, limit) = (port.from.first()?.partition, reader.max_age_ns.as_ref()?.value);
        let own = &self.jobs[writer];
        let before = own.in_plan(self.from).filter(|jobs| jobs.runner.aligned)?;
        let seen = |plan: PlanIndex, end| {
            look_before(&Runner::of(self.system, reader.partition, &self.system.plans[plan])?, end)
        };
        let gap = |k| before.done(k + 1)?.checked_sub(before.begin(k)?);
        let tail = (0..before.releases()).filter_map(gap).max()? + self.longest_guard(writer);
        // A reader that does not run in the new plan looks just before the cut.
        let before_cut = Runner::of(self.system, reader.partition, &self.system.plans[self.from]).map(|_| 0);
        let worst = tail.saturating_add(own.first_done(self.to, seen).or(before_cut)?);
        let requirement = format!("max-age of {}", reader.name.value);
        (worst > limit).then(|| self.broken(reader.partition, requirement, limit, worst))
    }

    /// Latencies of messages whose reader is cut off just before it takes them.
    fn slow(&self) -> Vec<Transient> {
        let mut out = Vec::new();
        for (port, queue) in queues(self.system) {
            let (writer, reader) = (port.from[0].partition, port.to[0].partition);
            let rung = port.doorbell.is_some();
            let worst = if rung { self.slow_answer(writer, reader) } else { self.slow_poll(writer, reader) };
            let Some(worst) = worst else { continue };
            let name = &port.name.value;
            if let Some(limit) = queue.max_latency_ns.filter(|limit| worst > *limit) {
                out.push(self.broken(reader, format!("max-latency of {name}"), limit, worst));
            }
            let always = latency(self.system, port).map_or(0, |always| always.ns);
            // The cut begins the writer's releases anew: one more than its period brings.
            let depth = queue.depth.saturating_sub(queue.per_period);
            let bridged = bridged(self.system, writer, depth, queue.per_period);
            if let Some(bridged) = bridged.filter(|bridged| worst > always && worst > *bridged) {
                out.push(self.broken(reader, format!("depth of {name}"), bridged, worst));
            }
        }
        out
    }

    fn slow_poll(&self, writer: PartitionIndex, reader: PartitionIndex) -> Option<u64> {
        let own = &self.jobs[reader];
        let before = own.in_plan(self.from).filter(|jobs| jobs.runner.aligned)?;
        let sender = Runner::of(self.system, writer, &self.system.plans[self.from])?;
        let head = own.first_done(self.to, |_, done| Some(done))?;
        let guard = self.longest_guard(reader);
        let wait = |k| {
            let (sent, polled) = (send_after(&sender, before.begin(k)?)?, before.done(k + 1)?);
            (polled + guard).checked_sub(sent)
        };
        let longest = (0..before.releases()).filter_map(wait).max()?;
        Some(longest.saturating_add(head))
    }

    fn slow_answer(&self, writer: PartitionIndex, reader: PartitionIndex) -> Option<u64> {
        let runner = |who, plan: PlanIndex| Runner::of(self.system, who, &self.system.plans[plan]);
        let cpu =
            *self.system.partitions[reader].vcpus.first().filter(|cpu| is_shared(self.system, **cpu))?;
        let (sender, old, new) =
            (runner(writer, self.from)?, runner(reader, self.from)?, runner(reader, self.to)?);
        let (old, head) = (&old.shares.first()?.certain, new.shares.first()?.certain.start(0)?);
        let wait =
            |(end, start): (u64, u64)| (start + self.guard(cpu)).checked_sub(send_after(&sender, end)?);
        Some(old.gaps().filter_map(wait).max()?.saturating_add(head))
    }
}

/// Longest time from `release` until `demand` is given, over every instant at which the old plan may be cut off, if what is
/// left then is given `goes_on` after it.
///
/// While the vCPU runs, each unit by which the cut comes later leaves a unit less to do, which the new plan takes at least
/// a unit for: the worst cut takes a whole stretch away, coming when its first guard has just passed.
fn worst_response(
    old: &Supply,
    release: u64,
    demand: u64,
    guard: u64,
    goes_on: impl Fn(u64) -> Option<u64>,
) -> u64 {
    let mut worst = 0;
    let mut at = release;
    while let Some(start) = old.start(at) {
        let left = demand.saturating_sub(old.between(release, start));
        let Some(rest) = Some(left).filter(|left| *left != 0).and_then(&goes_on) else { break };
        worst = worst.max((start - release).saturating_add(guard).saturating_add(rest));
        at = old.end_of(start);
    }
    worst
}
