//! LIM: what this version of EL2 can hold and do.
//!
//! The language says more than this version does. Everything that the reader accepts and EL2 does not do yet stands
//! in [`LIM_002`]'s check and nowhere else.

use super::{Check, rule};
use crate::build::ports::told_of_events;
use crate::diag::Finding;
use crate::model::System;
use crate::span::Span;
use bulkhead_blueprint::limits;
use bulkhead_core::health_monitor::STAMPS_MAX;

rule!(LIM_001, "LIM-001", Error, Check::System(counts),
    "More of something than this EL2 binary and CPU can hold.",
    why: "EL2 has no allocator: every table has a size that was fixed when it was built.",
    example: "/* a seventeenth partition */",
    fix: "use fewer, or build EL2 with larger tables");

rule!(LIM_002, "LIM-002", Error, Check::System(unsupported),
    "The configuration asks for something that this version of EL2 does not do.",
    why: "A requirement that is read and not enforced is worse than one that is refused.",
    example: "notify = <&a &b>;",
    fix: "leave it out, or use a version that does it");

rule!(LIM_004, "LIM-004", Error, Check::System(buffers),
    "A buffer is larger than EL2's may be.",
    why: "Rings and logs are EL2's own memory, sealed off from every partition: a mistyped size takes it from all.",
    example: "bulkhead,console-bytes = <0x40000000>;",
    fix: "give a size within the bound shown");

rule!(LIM_005, "LIM-005", Error, Check::Reader,
    "A device-tree blob has more nodes or deeper nesting than is read.",
    why: "What reads foreign bytes has bounds on memory and time.",
    example: "/* a thousand nodes, each inside the one before */",
    fix: "describe the system in fewer nodes");

/// Ports of one partition (hv/abi `info`, `dynamic::PORT_COUNT_MAX`).
const PORTS: usize = 128;
/// Escalation steps of one event (hv/blueprint `HealthRow::steps`).
const STEPS: usize = 3;

fn counts(system: &System, out: &mut Vec<Finding>) {
    let partitions = &system.partitions;
    let vmids = (1usize << system.board.facts.vmid_bits.min(32)) - 1;
    let held = &system.board.facts.limits;
    let most = held.partitions.min(vmids);
    let span = partitions.get(most).map_or(system.hypervisor.span, |p| p.span);
    out.extend(limit("partitions", partitions.len(), most, span));
    let cpus = system.board.cpus.len();
    out.extend(limit("CPUs of the board", cpus, held.cpus, system.board.span));
    let vcpus = partitions.iter().map(|p| p.vcpus.len()).sum();
    out.extend(limit("vCPUs", vcpus, held.vcpus, system.hypervisor.span));
    let ends = system.ports.iter().map(|p| p.from.len() + p.to.len()).sum();
    out.extend(limit("ends of ports", ends, held.port_ends, system.hypervisor.span));
    let plans = system.plans_span.unwrap_or(system.hypervisor.span);
    out.extend(limit("plans", system.plans.len(), limits::PLANS_MAX, plans));
    let direct: Vec<Span> = partitions.iter().filter_map(|p| p.direct_interrupts).collect();
    let span = direct.last().copied().unwrap_or(system.hypervisor.span);
    out.extend(limit("partitions with direct interrupts", direct.len(), limits::DIRECT_PARTITIONS_MAX, span));
    partition_counts(system, out);
    for entry in system.health_tables.iter().flat_map(|t| &t.entries) {
        let what = format!("escalation steps of {}", entry.event.word());
        out.extend(limit(&what, entry.escalation.len(), STEPS, entry.event.span));
    }
    for table in &system.health_tables {
        let steps = table.entries.iter().flat_map(|e| &e.escalation).map(|s| &s.count);
        let counts = steps.chain(table.restart_limit.iter().map(|l| &l.count));
        let sum = counts.map(|c| c.value as usize).sum();
        let what = format!("acts to remember of table {}, the sum of its counts", table.name);
        out.extend(limit(&what, sum, STAMPS_MAX, table.span));
    }
    let limited = system.partitions.iter().flat_map(|p| &p.grants).filter(|g| g.interrupt_limit.is_some());
    let lines = limited.map(|g| system.devices[g.device.value].lines().count()).sum();
    out.extend(limit("limited interrupts", lines, limits::INTERRUPT_LIMITS_MAX, system.hypervisor.span));
    high_interrupts(system, out);
}

fn limit(what: &str, found: usize, most: usize, span: Span) -> Option<Finding> {
    let finding = Finding::new(&LIM_001, format!("too many: {what}"), span, "too many here")
        .found(found.to_string())
        .expected(format!("at most {most}, which is what EL2's tables hold"));
    (found > most).then_some(finding)
}

fn partition_counts(system: &System, out: &mut Vec<Finding>) {
    let mut ports = vec![0; system.partitions.len()];
    let mut rung = vec![0; system.partitions.len()];
    for port in &system.ports {
        port.from.iter().chain(&port.to).for_each(|end| ports[end.partition] += 1);
        let bells = port.to.iter().filter(|_| port.doorbell.is_some());
        bells.for_each(|end| rung[end.partition] += 1);
    }
    rung.iter_mut().zip(told_of_events(system)).for_each(|(count, told)| *count += usize::from(told));
    for (index, partition) in system.partitions.iter().enumerate() {
        let name = &partition.name.value;
        let (own, span) = (partition.vcpus.len(), partition.vcpus.span);
        let most = system.board.facts.limits.partition_vcpus;
        out.extend(limit(&format!("vCPUs of {name}"), own, most, span));
        out.extend(limit(&format!("ports of {name}"), ports[index], PORTS, partition.span));
        out.extend(limit(
            &format!("doorbells of {name}"),
            rung[index],
            limits::DOORBELLS_MAX,
            partition.span,
        ));
    }
}

/// Largest ring of a console, bytes.
const CONSOLE_BYTES_MAX: u32 = 16 << 20;
/// Largest trace ring of one CPU, bytes.
const TRACE_BYTES_MAX: u32 = 64 << 20;
/// Longest health log, records.
const HEALTH_RECORDS_MAX: u32 = 1 << 16;

fn buffers(system: &System, out: &mut Vec<Finding>) {
    let hypervisor = &system.hypervisor;
    let mut judge = |what: String, found: &crate::span::Spanned<u32>, most: u32, owner: Span| {
        if found.value > most {
            let finding = Finding::new(&LIM_004, format!("{what} is too large"), found.span, "this size")
                .also(owner, "whose buffer it is")
                .found(format!("{:#x}", found.value))
                .expected(format!("at most {most:#x}"));
            out.push(finding);
        }
    };
    let (trace, log) = (&hypervisor.trace_bytes_per_cpu, &hypervisor.health_log_records);
    judge("the trace ring of each CPU".to_owned(), trace, TRACE_BYTES_MAX, hypervisor.span);
    judge("the health log".to_owned(), log, HEALTH_RECORDS_MAX, hypervisor.span);
    for p in &system.partitions {
        judge(format!("the console ring of {}", p.name.value), &p.console_bytes, CONSOLE_BYTES_MAX, p.span);
    }
}

/// EL2's interrupt bitmaps end at a fixed INTID.
fn high_interrupts(system: &System, out: &mut Vec<Finding>) {
    let end = limits::IRQ_WORDS as u32 * 32;
    for (partition, device) in super::device::owners(system) {
        let lines = &system.devices[device].interrupts;
        if let Some(line) = lines.iter().find(|i| i.intid >= end) {
            let span = super::device::grant_span(system, partition, device);
            let finding = Finding::new(
                &LIM_001,
                format!("interrupt {} is beyond EL2's bitmaps", line.intid),
                span,
                "granted here",
            )
            .also(system.devices[device].span, format!("INTID {}", line.intid))
            .found(format!("INTID {}", line.intid))
            .expected(format!("at most {}", end - 1));
            out.push(finding);
        }
    }
}

fn unsupported(system: &System, out: &mut Vec<Finding>) {
    if let Some(console) = &system.hypervisor.console
        && !system.devices[console.value].compatible.iter().any(|c| c == "arm,pl011")
    {
        out.push(refuse("a console other than a PL011 (arm,pl011)", console.span));
    }
    let coloured = system.partitions.iter().filter_map(|p| p.cache_colours.as_ref());
    out.extend(coloured.map(|colours| refuse("cache colours", colours.span)));
    let unwritten = system.segments.iter().filter(|s| s.writer.is_none());
    for pa in unwritten.filter_map(|s| s.pa.as_ref()) {
        let what = "a physical address for a segment that nobody writes (it stays in the image)";
        out.push(refuse(what, pa.span));
    }
    let tables = system.health_tables.iter().chain(&system.module_health);
    for (_, step) in tables.flat_map(|t| t.steps()) {
        let second = step.notify.get(1);
        out.extend(second.map(|s| refuse("notifying more than one partition", s.span)));
    }
}

fn refuse(what: &str, span: Span) -> Finding {
    Finding::new(&LIM_002, format!("not supported by this version: {what}"), span, "asked for here")
        .found(what)
        .expected("what this version does")
}
