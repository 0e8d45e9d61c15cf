//! TMP: age and latency of ports, over every plan that runs both ends.

use super::plan::time;
use super::temporal::{fails, stated};
use super::{Check, Rule, rule};
use crate::diag::Finding;
use crate::model::{PartitionIndex, Port, PortEnd, PortKind, System, Timing};
use crate::span::{Span, Spanned};
use crate::timing::change::TakeTurns;
use crate::timing::ports::{Unknown, Worst, age, backlog, latency};

rule!(TMP_004, "TMP-004", Error, Check::System(ages),
    "The worst age of a sampling port at a reader exceeds `max-age`, or the writer's period exceeds `refresh`.",
    why: "Old data that looks new moves the surface the wrong way; and a refresh below the writer's period makes every \
          message invalid by construction (ARINC 653 sampling ports).",
    example: "state { from = <&a>; to = <&b>; max-age-us = <1000>; }; /* a writes every 5 ms */",
    fix: "move the reader's window behind the writer's, shorten the writer's period, or allow the greater age");

rule!(TMP_005, "TMP-005", Error, Check::System(latencies),
    "The worst latency of a queuing port exceeds `max-latency`, or more may wait than `depth` holds.",
    why: "A full queue refuses the newest message: what does not fit is lost at the moment it matters.",
    example: "commands { from = <&a>; to = <&b>; depth = <2>; messages-per-period = <4>; };",
    fix: "give the reader another window, a doorbell or a shorter period, or make the queue deeper");

rule!(TMP_012, "TMP-012", Error, Check::System(unknown),
    "A bound on age or latency is required that cannot be computed.",
    why: "When a partition writes or polls follows from its `timing`: without it, or without a plan that runs both ends, \
          there is no worst case and the requirement is a comment.",
    example: "state { from = <&a>; to = <&b>; max-age-us = <3000>; }; /* a has no timing */",
    fix: "add timing { period; duration; } to the partition named, or leave the requirement out");

/// Every reader of a sampling port with its writer and its required age.
fn readers(system: &System) -> impl Iterator<Item = (&Port, PartitionIndex, &PortEnd, &Spanned<u64>)> {
    let sampling = system.ports.iter().filter(|p| matches!(p.kind, PortKind::Sampling { .. }));
    let all = sampling.flat_map(|port| {
        let writer = port.from.first().map(|end| end.partition);
        port.to.iter().filter_map(move |end| Some((port, writer?, end, end.max_age_ns.as_ref()?)))
    });
    all.filter(|(_, writer, reader, _)| is_stated(system, [*writer, reader.partition]))
}

/// Whether what both partitions say about their time was taken as it is written.
fn is_stated(system: &System, ends: [PartitionIndex; 2]) -> bool {
    let doubtful = |timing: &Timing| system.doubts.inside(timing.span);
    !ends.iter().any(|p| system.partitions[*p].timing.as_ref().is_some_and(doubtful))
}

/// The culprit beside a port: the requirement of the partition that decides when the port is used.
fn rhythm(system: &System, partition: PartitionIndex) -> (Span, String) {
    let partition = &system.partitions[partition];
    match &partition.timing {
        Some(timing) => {
            (timing.span, format!("{}: every {}", partition.name.value, time(timing.period_ns.value)))
        }
        None => (partition.span, format!("{} states no timing", partition.name.value)),
    }
}

fn exceeded(
    rule: &'static Rule,
    message: String,
    limit: &Spanned<u64>,
    culprit: (Span, String),
    worst: &Worst,
) -> Finding {
    Finding::new(rule, message, limit.span, format!("required: {}", time(limit.value)))
        .also(culprit.0, culprit.1)
        .found(format!("{} under plan {}: {}", time(worst.ns), worst.plan, worst.how))
        .expected(format!("at most {}", time(limit.value)))
}

fn ages(system: &System, out: &mut Vec<Finding>) {
    for (port, writer, reader, limit) in readers(system) {
        let Ok(worst) = age(system, writer, reader.partition) else { continue };
        if worst.ns > limit.value {
            let name = &system.partitions[reader.partition].name.value;
            let message = format!(
                "{name} may see a message of port {} that is {} old",
                port.name.value,
                time(worst.ns)
            );
            out.push(
                exceeded(&TMP_004, message, limit, rhythm(system, writer), &worst)
                    .also(reader.span, "reader"),
            );
        }
    }
    for port in &system.ports {
        let (PortKind::Sampling { refresh_ns: Some(refresh) }, Some(writer)) =
            (&port.kind, port.from.first())
        else {
            continue;
        };
        let Some(timing) = stated(system, &system.partitions[writer.partition]) else { continue };
        if timing.period_ns.value > refresh.value && !system.doubts.about(port.span, "refresh") {
            let message = format!("messages of port {} expire before the next is written", port.name.value);
            let finding =
                Finding::new(&TMP_004, message, refresh.span, format!("valid for {}", time(refresh.value)))
                    .also(timing.period_ns.span, format!("written every {}", time(timing.period_ns.value)))
                    .found(format!(
                        "invalid for {} of each period",
                        time(timing.period_ns.value - refresh.value)
                    ))
                    .expected(format!("a refresh of at least {}", time(timing.period_ns.value)))
                    .fix("lengthen `refresh` or shorten the writer's period");
            out.push(finding);
        }
    }
}

fn latencies(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        let PortKind::Queuing { depth, max_latency_ns, per_period } = &port.kind else { continue };
        let (Some(writer), Some(reader), Ok(worst)) =
            (port.from.first(), port.to.first(), latency(system, port))
        else {
            continue;
        };
        if !is_stated(system, [writer.partition, reader.partition]) {
            continue;
        }
        if let Some(limit) = max_latency_ns.as_ref().filter(|limit| worst.ns > limit.value) {
            let message = format!("a message of port {} may take {}", port.name.value, time(worst.ns));
            out.push(exceeded(&TMP_005, message, limit, rhythm(system, reader.partition), &worst));
        }
        let waiting = backlog(system, writer.partition, worst.ns, per_period.value);
        if let Some(waiting) = waiting.filter(|waiting| *waiting > u64::from(depth.value)) {
            let (span, text) = rhythm(system, writer.partition);
            let message = format!("port {} may overflow: {waiting} messages may wait", port.name.value);
            let finding = Finding::new(&TMP_005, message, depth.span, format!("holds {}", depth.value))
                .also(span, text)
                .found(format!(
                    "{} in each of the periods that begin in {}: {}",
                    per_period.value,
                    time(worst.ns),
                    worst.how
                ))
                .expected(format!("a depth of at least {waiting}"));
            out.push(finding);
        }
    }
}

fn unknown(system: &System, out: &mut Vec<Finding>) {
    for (port, writer, reader, limit) in readers(system) {
        if let Err(reason) = age(system, writer, reader.partition)
            && !follows(system, &reason, [writer, reader.partition])
        {
            out.push(no_bound(system, &format!("the age of port {}", port.name.value), limit, port, &reason));
        }
    }
    for port in &system.ports {
        let PortKind::Queuing { max_latency_ns: Some(limit), .. } = &port.kind else { continue };
        let (Some(writer), Some(reader)) = (port.from.first(), port.to.first()) else { continue };
        if let Err(reason) = latency(system, port)
            && !follows(system, &reason, [writer.partition, reader.partition])
        {
            out.push(no_bound(
                system,
                &format!("the latency of port {}", port.name.value),
                limit,
                port,
                &reason,
            ));
        }
    }
}

/// Whether another finding already says why there is no bound.
fn follows(system: &System, reason: &Unknown, ends: [PartitionIndex; 2]) -> bool {
    match reason {
        Unknown::NoTiming(partition) => system.doubts.about(system.partitions[*partition].span, "timing"),
        Unknown::NotTogether => {
            let unread = |p: usize| system.partitions[p].vcpus.is_empty();
            system.plans.iter().any(|p| !p.sound) || ends.iter().any(|p| unread(*p) || fails(system, *p))
        }
        Unknown::TakeTurns(..) => false,
    }
}

fn no_bound(system: &System, what: &str, limit: &Spanned<u64>, port: &Port, reason: &Unknown) -> Finding {
    let (span, label, found, expected) = match reason {
        Unknown::NoTiming(partition) => {
            let partition = &system.partitions[*partition];
            let label = format!("{} has no `timing`", partition.name.value);
            (partition.span, label.clone(), label, "timing { period-us; duration-us; } there")
        }
        Unknown::NotTogether => {
            let found = "no plan runs both ends with the requirement met".to_owned();
            (port.span, "this port".to_owned(), found, "a plan with windows of both ends")
        }
        Unknown::TakeTurns(partition, TakeTurns(one, other)) => {
            let timing = &system.partitions[*partition].timing;
            let span = timing.as_ref().map_or(port.span, |t| t.span);
            let name = &system.partitions[*partition].name.value;
            let found = format!(
                "the first job of {name} in {} and in {} ends after the frame: the plans may take turns before one is done",
                system.plans[*one].name.value, system.plans[*other].name.value
            );
            (span, format!("releases of {name}"), found, "frames that hold the offset and one period")
        }
    };
    let finding = Finding::new(&TMP_012, format!("{what} cannot be bounded"), limit.span, "required here")
        .also(span, label)
        .found(found)
        .expected(expected);
    match reason {
        Unknown::TakeTurns(..) => {
            finding.fix("make one of the frames a multiple of its length that holds them")
        }
        Unknown::NoTiming(_) | Unknown::NotTogether => finding,
    }
}
