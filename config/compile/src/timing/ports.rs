//! Age of what a sampling port's readers read, and latency of a queuing port.
//!
//! A writer's job writes at some instant between its begin and its end, never sooner or later. The oldest message that
//! a reader can see was written at a job's begin and is replaced at the next job's end; the reader sees it at the
//! last instant before that at which it runs. A polling reader takes messages at some instant of each job; one with
//! a doorbell takes them when it next runs.
//!
//! Plans change at the end of any frame, to any other plan. The reader may run in a plan alone in which the message was not
//! written. Until a writer's first job after a plan that does not run it, `refresh` alone tells the reader that the message is
//! old: such a change of plan is no part of these bounds.

use super::change::{Changing, TakeTurns, look_before};
use super::jobs::{Jobs, Runner};
use super::supply::Supply;
use crate::model::{PartitionIndex, Plan, PlanIndex, Port, System};
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
    /// Two plans may take turns before the partition's first job in either is done.
    TakeTurns(PartitionIndex, TakeTurns),
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
    let changing = Changing::of(system, writer);
    let readers: Vec<Option<Runner>> =
        system.plans.iter().map(|plan| Runner::of(system, reader, plan)).collect();
    let mut worst = None;
    for (index, jobs) in changing.plans() {
        if let Some(seen) = &readers[index] {
            age_in_plan(jobs, seen, &system.plans[index].name.value, &mut worst);
        }
        for (other, _) in changing.plans().filter(|(other, _)| *other != index) {
            changing.is_bounded().map_err(|turns| Unknown::TakeTurns(writer, turns))?;
            let read = changing.first_done(other, |plan, end| look_before(readers[plan].as_ref()?, end));
            if let Some(read) = read {
                age_across(jobs, read, &change(system, index, other), &mut worst);
            }
        }
    }
    worst.ok_or(Unknown::NotTogether)
}

/// `left -> entered`.
fn change(system: &System, from: PlanIndex, to: PlanIndex) -> String {
    format!("{} -> {}", system.plans[from].name.value, system.plans[to].name.value)
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

/// The frame of `jobs` ends, and the oldest message is last read `read` after that.
fn age_across(jobs: &Jobs<'_>, read: u64, plan: &str, worst: &mut Option<Worst>) {
    // A job that begins behind the boundary is none of this frame: an unsound plan, refused by other rules.
    let age = |(end, written): (u64, u64)| end.checked_sub(written);
    if let Some(tail) = jobs.boundaries().into_iter().filter_map(age).max() {
        let how = format!(
            "written {} before the frame's end at the earliest, last read {} after it, before the next is there",
            time(tail),
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
    if rung {
        rung_latencies(system, writer, reader, &mut worst);
    } else {
        polled_latencies(system, writer, reader, &mut worst)?;
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

/// Sent while the reader waits for its next window, in each plan and over each change of plan at a frame's end. The
/// doorbell is an interrupt of its vCPU 0.
fn rung_latencies(
    system: &System,
    writer: PartitionIndex,
    reader: PartitionIndex,
    worst: &mut Option<Worst>,
) {
    let supply = |plan| Some(Runner::of(system, reader, plan)?.shares.first()?.certain.clone());
    let answers: Vec<Option<Supply>> = system.plans.iter().map(supply).collect();
    for (index, plan) in system.plans.iter().enumerate() {
        let (Some(sender), Some(now)) = (Runner::of(system, writer, plan), &answers[index]) else { continue };
        for (end, start) in now.gaps() {
            let Some(sent) = send_after(&sender, end) else { continue };
            let mut consider = |taken: u64, plan: String| {
                let how = format!("sent at {}, the reader runs next at {}", time(sent), time(taken));
                greater(worst, Worst { ns: taken.saturating_sub(sent), plan, how });
            };
            consider(start, plan.name.value.clone());
            let frame = now.frame_ns;
            for (other, next) in answers.iter().enumerate().filter(|(other, _)| *other != index) {
                // The end of the frame has to lie between the message and the reader's next window.
                let head =
                    next.as_ref().and_then(|next| next.start(0)).filter(|_| sent < frame && start >= frame);
                if let Some(head) = head {
                    consider(frame + head, change(system, index, other));
                }
            }
        }
    }
}

/// The first instant at or after `at` at which `sender` may send.
pub(super) fn send_after(sender: &Runner, at: u64) -> Option<u64> {
    if sender.aligned { sender.may_start(at) } else { Some(at) }
}

/// Sent just after the poll of one job and taken at the end of the next, in each plan; or by the first job of a plan that
/// is entered at a frame's end.
fn polled_latencies(
    system: &System,
    writer: PartitionIndex,
    reader: PartitionIndex,
    worst: &mut Option<Worst>,
) -> Result<(), Unknown> {
    let changing = Changing::of(system, reader);
    let senders: Vec<Option<Runner>> =
        system.plans.iter().map(|plan| Runner::of(system, writer, plan)).collect();
    let mut consider = |sent: u64, taken: u64, plan: String| {
        if sent < taken {
            let how = format!("sent at {}, just after a poll; taken by {}", time(sent), time(taken));
            greater(worst, Worst { ns: taken - sent, plan, how });
        }
    };
    for (index, jobs) in changing.plans() {
        let Some(sender) = &senders[index] else { continue };
        let name = || system.plans[index].name.value.clone();
        for number in 0..jobs.releases() {
            let polled = jobs.begin(number).and_then(|at| send_after(sender, at));
            if let (Some(sent), Some(taken)) = (polled, jobs.done(number + 1)) {
                consider(sent, taken, name());
            }
        }
        if changing.plans().count() > 1 {
            changing.is_bounded().map_err(|turns| Unknown::TakeTurns(reader, turns))?;
        }
        // What is sent as the plan begins waits for its first job.
        if let Some((sent, taken)) =
            send_after(sender, 0).zip(changing.first_done(index, |_, done| Some(done)))
        {
            consider(sent, taken, name());
        }
        for (other, _) in changing.plans().filter(|(other, _)| *other != index) {
            let Some(head) = changing.first_done(other, |_, done| Some(done)) else { continue };
            for (end, polled) in jobs.boundaries() {
                if let Some(sent) = send_after(sender, polled).filter(|sent| *sent < end) {
                    consider(sent, end + head, change(system, index, other));
                }
            }
        }
    }
    Ok(())
}

/// Releases of the writer that lie in `latency_ns` beside those that its period alone brings: each plan begins its releases
/// anew, sooner than a period after the last of a plan whose frame is no whole number of periods.
fn anew(system: &System, writer: PartitionIndex, latency_ns: u64) -> u64 {
    let Some(timing) = &system.partitions[writer].timing else { return 0 };
    let period = timing.period_ns.value.max(1);
    let runs = |plan: &&Plan| Runner::of(system, writer, plan).is_some_and(|r| r.aligned);
    let plans: Vec<u64> = system.plans.iter().filter(runs).map(|p| p.major_frame_ns.value).collect();
    let even = plans.iter().all(|frame| frame.is_multiple_of(period));
    match plans.iter().min() {
        Some(shortest) if plans.len() > 1 && !even => latency_ns.saturating_add(period).div_ceil(*shortest),
        _ => 0,
    }
}

/// Messages that may wait at once: what the writer sends in `latency_ns`, if it sends `per_job` in each of its jobs.
pub fn backlog(system: &System, writer: PartitionIndex, latency_ns: u64, per_job: u32) -> Option<u64> {
    let period = system.partitions[writer].timing.as_ref()?.period_ns.value.max(1);
    let jobs = latency_ns.div_ceil(period).saturating_add(1).saturating_add(anew(system, writer, latency_ns));
    Some(jobs.saturating_mul(u64::from(per_job)))
}

/// The longest latency whose [`backlog`] fits into `depth`; 0 if none does.
pub fn bridged(system: &System, writer: PartitionIndex, depth: u32, per_job: u32) -> Option<u64> {
    let fits = |ns: u64| Some(backlog(system, writer, ns, per_job)? <= u64::from(depth));
    fits(0)?;
    let (mut low, mut high) = (0, u64::MAX);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle)? { low = middle } else { high = middle - 1 }
    }
    Some(low)
}
