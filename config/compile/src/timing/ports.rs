//! Age of what a sampling port's readers read, and latency of a queuing port.
//!
//! A writer's job writes at some instant between its begin and its end, never sooner or later. The oldest message that
//! a reader can see was written at a job's begin and is replaced at the next job's end; the reader sees it at the
//! last instant before that at which it runs. A polling reader takes messages at some instant of each job; one with
//! a doorbell takes them when it next runs.
//!
//! Until a writer's first job after a plan that does not run it, `refresh` alone tells the reader that the message is
//! old: such a change of plan is no part of these bounds.

use super::jobs::{Jobs, Runner};
use crate::model::{PartitionIndex, Port, System};
use crate::rules::cpu::is_shared;
use crate::rules::plan::time;

/// A worst case and how it comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worst {
    /// How long.
    pub ns: u64,
    /// The plan, or `p -> q` where the worst case spans the end of a frame after which another plan is entered.
    pub plan: String,
    /// The arithmetic in one sentence.
    pub how: String,
}

/// Why there is no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// The partition states no `timing`, so that nobody knows when it writes or polls.
    NoTiming(PartitionIndex),
    /// No plan runs both with the writer's requirement met.
    NotTogether,
}

fn greater(worst: &mut Option<Worst>, candidate: Worst) {
    if worst.as_ref().is_none_or(|w| candidate.ns > w.ns) {
        *worst = Some(candidate);
    }
}

/// Whether every CPU of the partition is its own.
fn owns_its_cpus(system: &System, index: PartitionIndex) -> bool {
    !system.partitions[index].vcpus.iter().any(|cpu| is_shared(system, *cpu))
}

/// A partition with CPUs of its own: period and duration decide.
fn own_jobs(system: &System, index: PartitionIndex) -> Option<(u64, u64)> {
    let timing = system.partitions[index].timing.as_ref()?;
    Some((timing.period_ns.value, *timing.duration_ns.value.iter().max()?))
}

/// The oldest message that `reader` can see at a sampling port written by `writer`.
///
/// # Errors
/// [`Unknown`].
pub fn age(system: &System, writer: PartitionIndex, reader: PartitionIndex) -> Result<Worst, Unknown> {
    if system.partitions[writer].timing.is_none() {
        return Err(Unknown::NoTiming(writer));
    }
    if let (true, Some((period, duration))) = (owns_its_cpus(system, writer), own_jobs(system, writer)) {
        let how = format!(
            "written at a release at the earliest, replaced {} + {} later at the latest",
            time(period),
            time(duration)
        );
        return Ok(Worst { ns: period + duration, plan: "any".to_owned(), how });
    }
    let mut worst = None;
    for (index, plan) in system.plans.iter().enumerate() {
        let Some((jobs, seen)) = Jobs::of(system, writer, index).zip(Runner::of(system, reader, plan)) else {
            continue;
        };
        age_in_plan(&jobs, &seen, &plan.name.value, &mut worst);
        for (other, next) in system.plans.iter().enumerate().filter(|(other, _)| *other != index) {
            if let Some(after) = Jobs::of(system, writer, other).zip(Runner::of(system, reader, next)) {
                let name = format!("{} -> {}", plan.name.value, next.name.value);
                age_across(&jobs, &after.0, &after.1, &name, &mut worst);
            }
        }
    }
    worst.ok_or(Unknown::NotTogether)
}

/// The last instant at or before `end` at which `reader` may look.
pub(super) fn look_before(reader: &Runner, end: u64) -> Option<u64> {
    if reader.aligned { reader.may_last(end) } else { Some(end) }
}

fn age_in_plan(jobs: &Jobs<'_>, reader: &Runner, plan: &str, worst: &mut Option<Worst>) {
    for number in 0..jobs.releases() {
        let (Some(written), Some(replaced)) = (jobs.begin(number), jobs.done(number + 1)) else {
            continue;
        };
        let Some(read) = look_before(reader, replaced).filter(|read| *read > written) else {
            continue;
        };
        let how = format!(
            "written at {} at the earliest, replaced by {} at the latest, last read before at {}",
            time(written),
            time(replaced),
            time(read)
        );
        greater(worst, Worst { ns: read - written, plan: plan.to_owned(), how });
    }
}

/// The frame of `jobs` ends, and `next` begins with the new plan.
fn age_across(jobs: &Jobs<'_>, next: &Jobs<'_>, reader: &Runner, plan: &str, worst: &mut Option<Worst>) {
    let Some(replaced) = next.done(0) else { return };
    let Some(read) = look_before(reader, replaced) else { return };
    // A job that begins behind the boundary is none of this frame: an unsound plan, refused by other rules.
    let age = |(end, written): (u64, u64)| end.checked_sub(written);
    let oldest = jobs.boundaries().into_iter().filter_map(age).max();
    if let Some(tail) = oldest {
        let how = format!(
            "written {} before the frame's end at the earliest, replaced {} after it, last read before at {}",
            time(tail),
            time(replaced),
            time(read)
        );
        greater(worst, Worst { ns: tail + read, plan: plan.to_owned(), how });
    }
}

/// The longest time from sending at a queuing port until the reader takes the message.
///
/// # Errors
/// [`Unknown`].
pub fn latency(system: &System, port: &Port) -> Result<Worst, Unknown> {
    let (Some(writer), Some(reader)) = (port.from.first(), port.to.first()) else {
        return Err(Unknown::NotTogether);
    };
    let (writer, reader) = (writer.partition, reader.partition);
    let rung = port.doorbell.is_some();
    if !rung && system.partitions[reader].timing.is_none() {
        return Err(Unknown::NoTiming(reader));
    }
    if owns_its_cpus(system, reader) {
        return Ok(own_latency(system, reader, rung));
    }
    let mut worst = None;
    for (index, plan) in system.plans.iter().enumerate() {
        let Some(sender) = Runner::of(system, writer, plan) else { continue };
        for (other, next) in system.plans.iter().enumerate() {
            let name = if other == index {
                plan.name.value.clone()
            } else {
                format!("{} -> {}", plan.name.value, next.name.value)
            };
            if rung {
                let receivers = Runner::of(system, reader, plan).zip(Runner::of(system, reader, next));
                if let Some((now, after)) = receivers {
                    rung_latency(&sender, &now, (other != index).then_some(&after), &name, &mut worst);
                }
            } else if let Some((now, after)) =
                Jobs::of(system, reader, index).zip(Jobs::of(system, reader, other))
            {
                polled_latency(&sender, &now, (other != index).then_some(&after), &name, &mut worst);
            }
        }
    }
    worst.ok_or(Unknown::NotTogether)
}

fn own_latency(system: &System, reader: PartitionIndex, rung: bool) -> Worst {
    match own_jobs(system, reader).filter(|_| !rung) {
        Some((period, duration)) => {
            let how = format!("sent just after a poll, taken {} + {} later", time(period), time(duration));
            Worst { ns: period + duration, plan: "any".to_owned(), how }
        }
        None => {
            let how = "the reader has CPUs of its own: it takes the message when the doorbell rings";
            Worst { ns: 0, plan: "any".to_owned(), how: how.to_owned() }
        }
    }
}

/// Sent while the reader waits for its next window; `after` is the plan entered at the frame's end.
fn rung_latency(
    sender: &Runner,
    now: &Runner,
    after: Option<&Runner>,
    plan: &str,
    worst: &mut Option<Worst>,
) {
    for end in now.ends() {
        let sent = if sender.aligned { sender.may_start(end) } else { Some(end) };
        let Some(sent) = sent else { continue };
        let taken = match after {
            None => now.must_start(sent),
            Some(_) if sent >= now.frame_ns || now.must_start(sent).is_some_and(|t| t < now.frame_ns) => {
                continue;
            }
            Some(next) => next.must_start(0).map(|head| now.frame_ns + head),
        };
        let Some(taken) = taken else { continue };
        let how = format!("sent at {}, the reader runs next at {}", time(sent), time(taken));
        greater(worst, Worst { ns: taken - sent, plan: plan.to_owned(), how });
    }
}

/// Sent just after the poll of one job and taken at the end of the next.
fn polled_latency(
    sender: &Runner,
    now: &Jobs<'_>,
    after: Option<&Jobs<'_>>,
    plan: &str,
    worst: &mut Option<Worst>,
) {
    let send = |at: u64| if sender.aligned { sender.may_start(at) } else { Some(at) };
    let mut consider = |sent: u64, taken: u64| {
        if sent < taken {
            let how = format!("sent at {}, just after a poll; taken by {}", time(sent), time(taken));
            greater(worst, Worst { ns: taken - sent, plan: plan.to_owned(), how });
        }
    };
    match after {
        None => {
            for number in 0..now.releases() {
                let polled = now.begin(number).and_then(send);
                if let (Some(sent), Some(taken)) = (polled, now.done(number + 1)) {
                    consider(sent, taken);
                }
            }
        }
        Some(next) => {
            let Some(head) = next.done(0) else { return };
            for (end, polled) in now.boundaries() {
                if let Some(sent) = send(polled).filter(|sent| *sent < end) {
                    consider(sent, end + head);
                }
            }
        }
    }
}

/// Messages that may wait at once: what the writer sends in `latency_ns`, if it sends `per_job` in each of its jobs.
pub fn backlog(system: &System, writer: PartitionIndex, latency_ns: u64, per_job: u32) -> Option<u64> {
    let period = system.partitions[writer].timing.as_ref()?.period_ns.value.max(1);
    Some((latency_ns.div_ceil(period) + 1).saturating_mul(u64::from(per_job)))
}
