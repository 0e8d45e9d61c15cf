//! MEM: memory that contradicts itself or serves nobody.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Rights, System};
use std::collections::BTreeMap;

rule!(MEM_010, "MEM-010", Error, Check::System(direct_and_pinned),
    "`bulkhead,direct-map` and `bulkhead,memory-pa` disagree.",
    why: "One says that a partition's addresses are the physical ones, the other says they are not; a DMA master believes \
          the first.",
    example: "a { bulkhead,direct-map; memory = <0x0 0x50000000 0x0 0x800000>; bulkhead,memory-pa = <0x0 0x60000000>; };",
    fix: "leave out one of the two, or give both the same addresses");

rule!(MEM_011, "MEM-011", Error, Check::System(named_twice),
    "A segment names a partition twice, or its writer among its readers.",
    why: "The writer reads what it has read-write; naming it twice hides which right was meant.",
    example: "terrain { readers = <&a &b>; writer = <&a>; };",
    fix: "name each partition once, the writer in `writer` alone");

rule!(MEM_012, "MEM-012", Warning, Check::System(never_filled),
    "Memory that nobody can write has no content.",
    why: "It reads as zero for ever, which is seldom what was meant: a `file` or a writer is missing.",
    example: "regions { gains { size = <0x0 0x1000>; rights = \"r\"; }; };",
    fix: "add file = \"FILE\", or let somebody write it");

fn direct_and_pinned(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let Some(direct) = partition.direct_map else { continue };
        let differs = partition.memory.iter().find_map(|m| {
            let pa = m.pa.as_ref()?;
            (pa.value != m.ipa.base).then_some((m, pa))
        });
        if let Some((memory, pa)) = differs {
            let message = format!("{} is and is not mapped one to one", partition.name.value);
            let finding = Finding::new(&MEM_010, message, pa.span, format!("physical start {:#x}", pa.value))
                .also(direct, "physical and own addresses are the same")
                .also(memory.span, format!("seen at {:#x}", memory.ipa.base))
                .found(format!("{:#x} for {:#x}", pa.value, memory.ipa.base))
                .expected("one of the two, or equal addresses");
            out.push(finding);
        }
    }
}

fn named_twice(system: &System, out: &mut Vec<Finding>) {
    for segment in &system.segments {
        let mut seen = BTreeMap::new();
        for named in segment.writer.iter().chain(&segment.readers) {
            let Some(first) = seen.insert(named.value, named.span) else { continue };
            let partition = &system.partitions[named.value].name.value;
            let message = format!("segment {} names {partition} twice", segment.name.value);
            let finding = Finding::new(&MEM_011, message, named.span, "second")
                .also(first, "first")
                .found(format!("{partition} twice"))
                .expected("each partition once");
            out.push(finding);
        }
    }
}

fn never_filled(system: &System, out: &mut Vec<Finding>) {
    let mut report = |what: String, span, label: &str| {
        let message = format!("{what} is zero for ever");
        let finding = Finding::new(&MEM_012, message, span, label.to_owned())
            .found("no `file`, and nobody who may write it")
            .expected("content, or a writer");
        out.push(finding);
    };
    for partition in &system.partitions {
        let idle = partition.regions.iter().filter(|r| r.rights.value == Rights::Read && r.file.is_none());
        idle.for_each(|r| {
            report(
                format!("region {} of {}", r.name.value, partition.name.value),
                r.rights.span,
                "read-only",
            );
        });
    }
    for segment in system.segments.iter().filter(|s| s.writer.is_none() && s.file.is_none()) {
        report(format!("segment {}", segment.name.value), segment.span, "nobody writes it");
    }
}
