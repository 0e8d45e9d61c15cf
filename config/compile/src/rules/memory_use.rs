//! MEM: memory that contradicts itself or serves nobody.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{KeepOver, Rights, System};
use crate::span::AddressRange;
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

rule!(MEM_013, "MEM-013", Error, Check::System(written_at_reset),
    "Memory that is to outlive the board's reset lies where code before EL2 writes at every reset.",
    why: "What firmware or a loader has overwritten is no longer what the partition left there.",
    example: "regions { log { pa = <0x0 0x40000000>; keep-over = \"board-reset\"; }; }; /* QEMU's start-up code */",
    fix: "leave `pa` out, or pin the region elsewhere");

fn written_at_reset(system: &System, out: &mut Vec<Finding>) {
    for region in system.partitions.iter().flat_map(|p| &p.regions) {
        let outlives = region.keep_over.as_ref().is_some_and(|k| k.value == KeepOver::BoardReset);
        let Some(pa) = region.pa.as_ref().filter(|_| outlives) else { continue };
        let range = AddressRange::new(pa.value, region.size.value);
        let scratch = &system.board.facts.reset_scratch;
        if let Some(hit) = scratch.iter().find(|s| AddressRange::new(s.base, s.size).overlaps(&range)) {
            let message =
                format!("region {} does not outlive a reset: {} lies there", region.name.value, hit.what);
            let finding = Finding::new(&MEM_013, message, pa.span, "placed here")
                .also(region.span, "to be kept over the board's reset")
                .found(range.to_string())
                .expected(format!("outside {}", AddressRange::new(hit.base, hit.size)));
            out.push(finding);
        }
    }
}

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
