//! DEV and DMA: grants that contradict the board's tree or each other.

use super::device::{grant_span, owners};
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Device, DeviceIndex, PartitionIndex, Rights, System};
use crate::span::{AddressRange, Span};
use std::collections::BTreeMap;

rule!(DEV_006, "DEV-006", Error, Check::System(described_twice),
    "Two nodes of `grants` are about one device.",
    why: "Only one of them could hold: rights or limits of the other would be lost without a word.",
    example: "grants { a { device = <&rtc>; rights = \"r\"; }; b { device = <&rtc>; rights = \"rw\"; }; };",
    fix: "write everything about the device into one node");

rule!(DEV_007, "DEV-007", Error, Check::System(overlapping_registers),
    "Registers of a granted device are also those of another device.",
    why: "The board's tree describes one thing twice; whoever is granted one of them has both.",
    example: "x@9060000 { reg = <0x0 0x09060000 0x0 0x1000>; }; y@9060800 { reg = <0x0 0x09060800 0x0 0x1000>; };",
    fix: "mend the board's tree, or disable one of the two nodes");

rule!(DEV_008, "DEV-008", Error, Check::System(impossible_registers),
    "Registers of a granted device lie in RAM or beyond the physical address width.",
    why: "Stage 2 would map that RAM into the partition as a device: somebody else's memory, the hypervisor's included.",
    example: "fake@40200000 { reg = <0x0 0x40200000 0x0 0x1000>; }; a { access = <&fake>; };",
    fix: "mend the address in the board's tree");

rule!(DEV_009, "DEV-009", Warning, Check::System(cannot_acknowledge),
    "A device with an interrupt is granted read-only.",
    why: "Most drivers acknowledge an interrupt by a write: without it a level line stays raised.",
    example: "grants { rtc { device = <&rtc>; rights = \"r\"; }; };",
    fix: "grant it read-write, or make sure that its interrupt stays disabled");

rule!(DEV_010, "DEV-010", Error, Check::System(no_console),
    "The hypervisor's console is disabled or has no registers.",
    why: "EL2 would write to an address where nothing answers, before it can say so.",
    example: "&uart0 { status = \"disabled\"; };",
    fix: "enable it in the board's tree, or name another UART");

rule!(DMA_004, "DMA-004", Finding, Check::System(not_quiet),
    "A partition with a bus master can be restarted, and nothing says how the device is stopped.",
    why: "The device writes on into memory that is loaded anew: the restarted partition starts from what it overwrote.",
    example: "a { access = <&virtio8>; }; table { default-action = \"cold-restart\"; };",
    fix: "say how it is stopped (grants { x { quiesce = \"...\"; }; }), or let the partition halt instead");

rule!(DMA_005, "DMA-005", Error, Check::System(iommu_granted),
    "An IOMMU is granted to a partition.",
    why: "Whoever programs it decides where every device behind it writes.",
    example: "a { access = <&smmu>; };",
    fix: "grant the device behind it alone");

fn described_twice(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let mut seen: BTreeMap<DeviceIndex, Span> = BTreeMap::new();
        for grant in &partition.grants {
            let Some(first) = seen.insert(grant.device.value, grant.span) else { continue };
            let name = system.devices[grant.device.value].display_name();
            let finding =
                Finding::new(&DEV_006, format!("two grants are about {name}"), grant.span, "second")
                    .also(first, "first")
                    .found("two nodes for one device")
                    .expected("one");
            out.push(finding);
        }
    }
}

fn overlapping_registers(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let others = system.devices.iter().enumerate().filter(|(other, d)| *other != index && d.enabled);
        // Two granted devices meet twice: told at the later one.
        let told = |other: DeviceIndex| other > index && owners(system).any(|(_, d)| d == other);
        let common = |other: &Device| {
            device.regs.iter().find_map(|r| other.regs.iter().find_map(|q| r.intersection(q)))
        };
        let doubles = others.filter_map(|(other, d)| Some((other, d, common(d)?)));
        let doubles: Vec<_> = doubles.filter(|(other, ..)| !told(*other)).collect();
        let Some((_, first, range)) = doubles.first() else { continue };
        let (names, found) = match doubles.as_slice() {
            [_] => (first.display_name(), range.to_string()),
            [_, rest @ ..] => {
                let names: Vec<String> = doubles.iter().map(|(_, d, _)| d.display_name()).collect();
                (format!("{} and {} more", first.display_name(), rest.len()), names.join(", "))
            }
            [] => continue,
        };
        let message = format!("{} and {names} have common registers", device.display_name());
        let finding = Finding::new(&DEV_007, message, grant_span(system, partition, index), "granted here")
            .also(first.span, "the same registers")
            .found(found)
            .expected("registers of one device alone");
        out.push(finding);
    }
}

fn impossible_registers(system: &System, out: &mut Vec<Finding>) {
    let width = system.board.facts.pa_bits;
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        for range in &device.regs {
            let ram = system.board.ram.iter().find(|(ram, _)| ram.overlaps(range));
            let beyond = range.end().is_none_or(|end| end > 1 << width);
            let label = format!("registers: {range}");
            let finding = match ram {
                Some((ram, span)) => {
                    let message = format!("registers of {} lie in RAM", device.display_name());
                    Finding::new(&DEV_008, message, grant_span(system, partition, index), "granted here")
                        .also(device.span, label)
                        .also(*span, format!("RAM: {ram}"))
                        .expected("addresses outside RAM")
                }
                None if beyond => {
                    let message = format!("registers of {} lie beyond {width} bits", device.display_name());
                    Finding::new(&DEV_008, message, grant_span(system, partition, index), "granted here")
                        .also(device.span, label)
                        .expected(format!("an end of at most {:#x}", 1u64 << width))
                }
                None => continue,
            };
            out.push(finding.found(range.to_string()));
        }
    }
}

fn cannot_acknowledge(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        for grant in &partition.grants {
            let Some(rights) = grant.rights.as_ref().filter(|r| r.value == Rights::Read) else { continue };
            let device = &system.devices[grant.device.value];
            let granted = partition.access.iter().any(|a| a.value == grant.device.value);
            let Some(line) = device.interrupts.first().filter(|_| granted) else { continue };
            let message = format!("{} has an interrupt and is read-only", device.display_name());
            let finding = Finding::new(&DEV_009, message, rights.span, "cannot acknowledge it")
                .also(device.span, format!("INTID {}", line.intid))
                .found(format!(
                    "INTID {} of a device that {} cannot write",
                    line.intid, system.partitions[index].name.value
                ))
                .expected("read-write, or a device without an interrupt");
            out.push(finding);
        }
    }
}

fn no_console(system: &System, out: &mut Vec<Finding>) {
    let Some(console) = &system.hypervisor.console else { return };
    let device = &system.devices[console.value];
    let problem = match (device.enabled, device.regs.is_empty()) {
        (false, _) => "status is not \"okay\"",
        (true, true) => "no registers at an address of the CPU",
        (true, false) => return,
    };
    let message = format!("the console {} cannot be driven", device.display_name());
    let finding = Finding::new(&DEV_010, message, console.span, "the hypervisor's console")
        .also(device.span, problem)
        .found(problem)
        .expected("an enabled UART with registers");
    out.push(finding);
}

/// What may restart partition `index`, and where that is said; `None` if nothing may.
pub fn restarted_by(system: &System, index: PartitionIndex) -> Option<(Span, String)> {
    let partition = &system.partitions[index];
    let table = partition.health.as_ref().map(|h| &system.health_tables[h.value]);
    let default = table.and_then(|t| t.default_action.as_ref()).filter(|a| a.restarts()).map(|a| a.span);
    let step = table.and_then(|t| t.steps().find(|(_, s)| s.action.restarts())).map(|(_, s)| s.action.span);
    let by_health = default.or(step).map(|span| (span, "restarts it".to_owned()));
    let holds = |authority: &&crate::model::Authority| {
        let over = authority.over.iter().any(|o| o.value == index);
        over && authority.allow.iter().any(|r| r.value == crate::model::Right::Restart)
    };
    let mut others = system.partitions.iter();
    by_health.or_else(|| {
        others.find_map(|p| {
            Some((p.authority.iter().find(holds)?.span, format!("{} may restart it", p.name.value)))
        })
    })
}

fn not_quiet(system: &System, out: &mut Vec<Finding>) {
    for (index, device) in owners(system).filter(|(_, d)| system.devices[*d].bus_master) {
        if system.partitions[index].quiesce_of(device).is_some() {
            continue;
        }
        let Some((span, how)) = restarted_by(system, index) else { continue };
        let (name, owner) = (system.devices[device].display_name(), &system.partitions[index].name.value);
        let message = format!("{name} may write while {owner} is restarted");
        let finding = Finding::new(&DMA_004, message, grant_span(system, index, device), "masters the bus")
            .also(span, how)
            .found(format!("{owner} can be restarted, {name} is not stopped"))
            .expected("a device that is stopped before its partition is loaded anew");
        out.push(finding);
    }
}

fn iommu_granted(system: &System, out: &mut Vec<Finding>) {
    let translates = |d: &Device| system.nodes[d.node].plain("#iommu-cells").is_some();
    for (partition, index) in owners(system).filter(|(_, d)| translates(&system.devices[*d])) {
        let device = &system.devices[index];
        let message = format!("{} is an IOMMU", device.display_name());
        let finding = Finding::new(&DMA_005, message, grant_span(system, partition, index), "granted here")
            .also(device.span, "translates the accesses of others")
            .found("#iommu-cells")
            .expected("a device that translates for nobody");
        out.push(finding);
    }
}

/// Whether an address range lies wholly in one of `ranges`.
pub fn inside(ranges: &[AddressRange], range: &AddressRange) -> bool {
    ranges.iter().any(|r| r.contains(range))
}
