//! LIM: what this version of EL2 can hold and do.
//!
//! The language says more than this version does. Everything that the reader accepts and EL2 does not do yet stands
//! in [`LIM_002`]'s check and nowhere else.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::System;
use crate::span::Span;

rule!(LIM_001, "LIM-001", Error, Check::System(counts),
    "More of something than this EL2 binary and CPU can hold.",
    why: "EL2 has no allocator: every table has a size that was fixed when it was built.",
    example: "/* 256 partitions on a CPU with 8-bit VMIDs */",
    fix: "use fewer, or build EL2 with larger tables");

rule!(LIM_002, "LIM-002", Error, Check::System(unsupported),
    "The configuration asks for something that this version of EL2 does not do.",
    why: "A requirement that is read and not enforced is worse than one that is refused.",
    example: "clean = \"l1-cache\";",
    fix: "leave it out, or use a version that does it");

/// vCPUs of one partition (hv/abi `info`, `dynamic::VCPU_COUNT_MAX`).
const VCPUS: usize = 8;
/// Ports of one partition (hv/abi `info`, `dynamic::PORT_COUNT_MAX`).
const PORTS: usize = 128;
/// Memory ranges and regions of one partition.
const RANGES: usize = 32;
/// Windows of one CPU in one plan.
const WINDOWS: usize = 256;

fn counts(system: &System, out: &mut Vec<Finding>) {
    let mut limit = |what: String, found: usize, most: usize, span: Span, because: &str| {
        if found > most {
            let finding = Finding::new(
                &LIM_001,
                format!("too many: {what}"),
                span,
                "the first one too many or its owner",
            )
            .found(found.to_string())
            .expected(format!("at most {most}: {because}"));
            out.push(finding);
        }
    };
    let vmids = (1usize << system.board.facts.vmid_bits.min(16)) - 1;
    let partitions = &system.partitions;
    let span = partitions
        .get(vmids)
        .map_or(system.hypervisor.span, |p| p.span);
    limit(
        "partitions".to_owned(),
        partitions.len(),
        vmids,
        span,
        "one VMID each, 0 is nobody's",
    );
    for (index, partition) in partitions.iter().enumerate() {
        let name = &partition.name.value;
        let table = "EL2's tables";
        limit(
            format!("vCPUs of {name}"),
            partition.vcpus.len(),
            VCPUS,
            partition.vcpus.span,
            table,
        );
        let ranges = partition.memory.len() + partition.regions.len();
        limit(
            format!("memory ranges of {name}"),
            ranges,
            RANGES,
            partition.span,
            table,
        );
        let ends = system.ports.iter().flat_map(|p| p.from.iter().chain(&p.to));
        let ports = ends.filter(|e| e.partition == index).count();
        limit(
            format!("ports of {name}"),
            ports,
            PORTS,
            partition.span,
            "entries of its port table",
        );
    }
    for schedule in system.plans.iter().flat_map(|p| &p.cpus) {
        limit(
            "windows of one CPU".to_owned(),
            schedule.windows.len(),
            WINDOWS,
            schedule.span,
            "EL2's tables",
        );
    }
}

fn unsupported(system: &System, out: &mut Vec<Finding>) {
    let mut refuse = |what: &str, span: Span| {
        let finding = Finding::new(
            &LIM_002,
            format!("not supported by this version: {what}"),
            span,
            "asked for here",
        )
        .found(what);
        out.push(finding);
    };
    for window in system
        .plans
        .iter()
        .flat_map(|p| &p.cpus)
        .flat_map(|c| &c.windows)
    {
        for clean in &window.clean {
            refuse(
                "cleaning of microarchitectural state at a window's start",
                clean.span,
            );
        }
    }
    for partition in &system.partitions {
        if *partition.clock == crate::model::GuestClock::Execution {
            refuse(
                "a CNTVCT that stands still outside the partition's windows",
                partition.clock.span,
            );
        }
    }
}
