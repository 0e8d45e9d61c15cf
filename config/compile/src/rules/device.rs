//! DEV and DMA: devices, and what they reach by themselves.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{DeviceIndex, PartitionIndex, System};
use crate::span::Span;
use std::collections::BTreeMap;

rule!(DEV_001, "DEV-001", Error, Check::System(granted_twice),
    "A device is granted to two partitions.",
    why: "Two drivers of one device undo each other, and each sees the other's data.",
    example: "a { access = <&rtc>; }; b { access = <&rtc>; };",
    fix: "grant it to one of them and let the other ask through a port");

rule!(DEV_002, "DEV-002", Error, Check::System(hypervisor_drives),
    "A device that the hypervisor drives is granted.",
    why: "Whoever holds the interrupt controller or the console holds every partition.",
    example: "hypervisor { console = <&uart0>; }; a { access = <&uart0>; };",
    fix: "use the emulated one (bulkhead,console = \"pl011\"), or another device");

rule!(DEV_003, "DEV-003", Error, Check::System(page_of_two),
    "Devices of two owners lie in one 4 KiB page.",
    why: "Stage 2 grants whole pages: each owner would reach the other's registers.",
    example: "a { access = <&virtio8>; }; b { access = <&virtio9>; }; /* stride 0x200 */",
    fix: "grant all devices of the page to one partition");

rule!(DEV_004, "DEV-004", Finding, Check::System(reaches_more),
    "A grant reaches functions that nobody granted.",
    why: "Other devices of the page, or a block that acts on others (pin mux, clock manager, mailbox), come with it.",
    example: "a { access = <&virtio8>; }; /* seven other transports share its page */",
    fix: "grant the other devices too, or say why they are harmless");

rule!(DEV_005, "DEV-005", Error, Check::System(cannot_pass),
    "A granted device is disabled, has no registers, or is not in the board's tree.",
    why: "There is nothing that stage 2 could map.",
    example: "&rtc { status = \"disabled\"; }; a { access = <&rtc>; };",
    fix: "grant a device that the board has and enables");

rule!(DMA_001, "DMA-001", Finding, Check::System(no_iommu),
    "A device that can master the bus is granted and no IOMMU stands before it.",
    why: "Its driver can make it write any memory of the board, past every stage-2 table.",
    example: "a { access = <&virtio8>; };",
    fix: "grant a device without DMA, or say why its driver can be trusted (this version programs no IOMMU)");

rule!(DMA_002, "DMA-002", Error, Check::System(not_direct),
    "A DMA master's partition is not mapped one to one.",
    why: "The device uses physical addresses: given the partition's own it overwrites somebody else's memory.",
    example: "a { memory = <0x0 0x40000000 0x0 0x8000000>; access = <&virtio8>; };",
    fix: "add `bulkhead,direct-map` and give `memory` the physical address");

rule!(DMA_003, "DMA-003", Error, Check::System(out_of_reach),
    "A DMA master does not reach its partition's memory.",
    why: "Some buses carry fewer address bits than the CPU (first 1 GiB of a Raspberry Pi 4): the device writes elsewhere.",
    example: "soc { dma-ranges = <0x0 0x0 0x40000000 0x8000000>; };",
    fix: "place the partition's memory inside the bus's `dma-ranges`");

/// Every grant: partition and device.
pub fn owners(system: &System) -> impl Iterator<Item = (PartitionIndex, DeviceIndex)> + '_ {
    let list = system.partitions.iter().enumerate();
    list.flat_map(|(index, p)| p.access.iter().map(move |a| (index, a.value)))
}

/// Where the configuration speaks about a grant: its node in `grants` if there is one, else the reference in `access`.
pub fn grant_span(system: &System, partition: PartitionIndex, device: DeviceIndex) -> Span {
    let partition = &system.partitions[partition];
    let node = partition.grants.iter().find(|g| g.device.value == device).map(|g| g.span);
    let access = partition.access.iter().find(|a| a.value == device).map(|a| a.span);
    node.or(access).unwrap_or(partition.span)
}

/// Why the hypervisor has a device, if it does, and the text that says so.
pub fn hypervisor_reason(system: &System, device: DeviceIndex) -> Option<(&'static str, Span)> {
    let this = &system.devices[device];
    if device == system.board.gic.device {
        return Some(("the interrupt controller", system.board.gic.span));
    }
    if let Some(console) = system.hypervisor.console.as_ref().filter(|c| c.value == device) {
        return Some(("the hypervisor's console", console.span));
    }
    let listed = this.compatible.iter().any(|c| system.board.facts.hypervisor_devices.contains(c));
    listed.then_some(("driven by the hypervisor on this board", this.span))
}

fn granted_twice(system: &System, out: &mut Vec<Finding>) {
    let mut first: BTreeMap<DeviceIndex, PartitionIndex> = BTreeMap::new();
    for (partition, device) in owners(system) {
        let Some(other) = first.get(&device).copied() else {
            first.insert(device, partition);
            continue;
        };
        let (a, b) = (&system.partitions[other].name.value, &system.partitions[partition].name.value);
        let name = system.devices[device].display_name();
        let message = format!("{name} is granted to {a} and {b}");
        let second =
            system.partitions[partition].access.iter().rev().find(|x| x.value == device).map(|x| x.span);
        if let Some(second) = second.filter(|_| other == partition) {
            let finding = Finding::new(&DEV_001, format!("{a} is granted {name} twice"), second, "second")
                .also(grant_span(system, other, device), "first")
                .found("two entries in `access`")
                .expected("one")
                .fix("remove one of them");
            out.push(finding);
            continue;
        }
        let span = grant_span(system, partition, device);
        let finding = Finding::new(&DEV_001, message, span, format!("{b} has it"))
            .also(grant_span(system, other, device), format!("{a} has it"))
            .found("two grants")
            .expected("one");
        out.push(finding);
    }
}

fn hypervisor_drives(system: &System, out: &mut Vec<Finding>) {
    for (partition, device) in owners(system) {
        if let Some((what, span)) = hypervisor_reason(system, device) {
            let name = system.devices[device].display_name();
            let message =
                format!("{name} is {what} and granted to {}", system.partitions[partition].name.value);
            let finding =
                Finding::new(&DEV_002, message, grant_span(system, partition, device), "granted here")
                    .also(span, what)
                    .found(name)
                    .expected("a device that the hypervisor does not drive");
            out.push(finding);
        }
    }
}

/// Who has a device: a partition, the hypervisor, or nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The hypervisor.
    Hypervisor,
    /// A partition.
    Partition(PartitionIndex),
}

/// Who has `device`; of several partitions the first.
pub fn holder(system: &System, device: DeviceIndex) -> Holder {
    let partition = owners(system).find(|(_, d)| *d == device).map(|(p, _)| Holder::Partition(p));
    let hypervisor = hypervisor_reason(system, device).map(|_| Holder::Hypervisor);
    partition.or(hypervisor).unwrap_or(Holder::Nobody)
}

/// Devices whose registers share a page with those of `device`.
fn neighbours(system: &System, device: DeviceIndex) -> Vec<DeviceIndex> {
    let pages: Vec<_> = system.devices[device].pages().collect();
    let near = |other: &crate::model::Device| other.pages().any(|p| pages.iter().any(|q| p.overlaps(q)));
    let all = system.devices.iter().enumerate();
    all.filter(|(index, other)| *index != device && near(other)).map(|(index, _)| index).collect()
}

fn page_of_two(system: &System, out: &mut Vec<Finding>) {
    for (partition, device) in owners(system) {
        for other in neighbours(system, device) {
            let holder = holder(system, other);
            let mine = holder == Holder::Partition(partition);
            // Two partitions: told once, at the later device.
            let told = matches!(holder, Holder::Partition(_)) && other > device;
            if mine || told || holder == Holder::Nobody {
                continue;
            }
            let (name, other_name) =
                (system.devices[device].display_name(), system.devices[other].display_name());
            let (span, who) = match holder {
                Holder::Partition(p) => {
                    (grant_span(system, p, other), system.partitions[p].name.value.clone())
                }
                Holder::Hypervisor | Holder::Nobody => {
                    (system.devices[other].span, "the hypervisor".to_owned())
                }
            };
            let mine = &system.partitions[partition].name.value;
            let finding = Finding::new(
                &DEV_003,
                format!("{name} and {other_name} share a page and have two owners"),
                grant_span(system, partition, device),
                format!("{name}: {mine}"),
            )
            .also(span, format!("{other_name}: {who}"))
            .found(system.devices[device].pages().map(|p| p.to_string()).collect::<Vec<_>>().join(", "))
            .expected("one owner for each 4 KiB page");
            out.push(finding);
        }
    }
}

fn reaches_more(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let span = grant_span(system, partition, index);
        let free: Vec<_> =
            neighbours(system, index).into_iter().filter(|d| holder(system, *d) == Holder::Nobody).collect();
        if let Some(first) = free.first() {
            let names: Vec<String> = free.iter().map(|d| system.devices[*d].display_name()).collect();
            let finding = Finding::new(
                &DEV_004,
                format!("with {} go other devices of its page", device.display_name()),
                span,
                "granted here",
            )
            .also(system.devices[*first].span, "in the same page, granted to nobody")
            .found(names.join(", "))
            .expected("a page with nothing else in it");
            out.push(finding);
        }
        let blocks = system.board.facts.shared_blocks.iter();
        for block in blocks.filter(|b| device.compatible.contains(&b.compatible)) {
            let finding = Finding::new(
                &DEV_004,
                format!("{} acts on others: {}", device.display_name(), block.reaches),
                span,
                "granted here",
            )
            .also(device.span, "the device")
            .found(block.compatible.clone())
            .expected("a device that acts on nothing else");
            out.push(finding);
        }
    }
}

fn cannot_pass(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let found = if !device.enabled {
            "status is not \"okay\""
        } else if device.regs.is_empty() {
            "no registers at an address of the CPU: no `reg`, size zero, or a bus above it without `ranges`"
        } else {
            continue;
        };
        let finding = Finding::new(
            &DEV_005,
            format!("{} cannot be passed through", device.display_name()),
            grant_span(system, partition, index),
            "granted here",
        )
        .also(device.span, found)
        .found(found)
        .expected("an enabled device with registers");
        out.push(finding);
    }
    for partition in &system.partitions {
        for grant in
            partition.grants.iter().filter(|g| !partition.access.iter().any(|a| a.value == g.device.value))
        {
            let name = system.devices[grant.device.value].display_name();
            let finding = Finding::new(
                &DEV_005,
                format!("grant {} is about a device that {} does not have", grant.name, partition.name.value),
                grant.device.span,
                name,
            )
            .also(partition.span, "its `access` does not list it")
            .found("no entry in `access`")
            .expected("a device of `access`")
            .fix("add it to `access`, or remove the grant");
            out.push(finding);
        }
    }
}

/// Grants of devices that master the bus with no IOMMU before them.
fn masters(system: &System) -> impl Iterator<Item = (PartitionIndex, DeviceIndex)> + '_ {
    owners(system).filter(|(_, d)| system.devices[*d].bus_master && !system.devices[*d].behind_iommu)
}

fn no_iommu(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in masters(system) {
        let others = system.partitions.iter().enumerate().filter(|(p, _)| *p != partition);
        let mut victims: Vec<String> = vec!["the hypervisor".to_owned()];
        victims.extend(others.map(|(_, p)| p.name.value.clone()));
        let device = &system.devices[index];
        let finding = Finding::new(
            &DMA_001,
            format!("{} can write all memory", device.display_name()),
            grant_span(system, partition, index),
            "granted here",
        )
        .also(device.span, "masters the bus, no `iommus`")
        .found(format!("memory it could overwrite: {}", victims.join(", ")))
        .expected("a device that cannot reach memory of others");
        out.push(finding);
    }
}

fn not_direct(system: &System, out: &mut Vec<Finding>) {
    for (index, device) in masters(system) {
        let partition = &system.partitions[index];
        let one_to_one =
            |m: &crate::model::MemoryRange| m.pa.as_ref().is_some_and(|pa| pa.value == m.ipa.base);
        if let Some(range) = partition.memory.iter().find(|m| !one_to_one(m)) {
            let name = system.devices[device].display_name();
            let finding = Finding::new(
                &DMA_002,
                format!("{name} would not use the addresses of {}", partition.name.value),
                grant_span(system, index, device),
                "masters the bus",
            )
            .also(range.span, "its partition's memory is not direct-mapped")
            .found(match &range.pa {
                Some(pa) => format!("seen at {:#x}, physically at {:#x}", range.ipa.base, pa.value),
                None => "a physical address that the compiler chooses".to_owned(),
            })
            .expected("IPA = PA for all of its memory");
            out.push(finding);
        }
    }
}

fn out_of_reach(system: &System, out: &mut Vec<Finding>) {
    for (index, device) in owners(system).filter(|(_, d)| system.devices[*d].bus_master) {
        let this = &system.devices[device];
        let ranges = system.partitions[index].memory.iter().filter_map(|m| Some((m.span, m.physical()?)));
        for (span, range) in ranges.filter(|_| !this.dma_reach.is_empty()) {
            if !this.dma_reach.iter().any(|reach| reach.contains(&range)) {
                let reach: Vec<String> = this.dma_reach.iter().map(ToString::to_string).collect();
                let finding = Finding::new(
                    &DMA_003,
                    format!(
                        "{} does not reach the memory of {}",
                        this.display_name(),
                        system.partitions[index].name.value
                    ),
                    grant_span(system, index, device),
                    "granted here",
                )
                .also(span, format!("memory: {range}"))
                .found(range.to_string())
                .expected(format!("inside {}", reach.join(", ")));
                out.push(finding);
            }
        }
    }
}
