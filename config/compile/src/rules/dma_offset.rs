//! DMA behind a bus that shifts addresses (`dma-ranges` whose two sides differ), as the Raspberry Pi 4's.

use super::device::{grant_span, owners};
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::System;

rule!(DMA_006, "DMA-006", Error, Check::System(shifted),
    "A DMA master behind a bus that shifts addresses is granted to a partition with a generated device tree.",
    why: "The generated tree has no bus node: the driver hands the device the CPU's addresses, and the device writes elsewhere.",
    example: "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; }; a { access = <&dma>; };",
    fix: "give the partition a tree of its own with that dma-ranges (bulkhead,dtb), or grant a device on another bus");

fn shifted(system: &System, out: &mut Vec<Finding>) {
    for (index, device) in owners(system) {
        let (partition, this) = (&system.partitions[index], &system.devices[device]);
        let Some((bus, cpu)) = this.dma_shift.filter(|_| this.bus_master && partition.dtb.is_none()) else {
            continue;
        };
        let finding = Finding::new(
            &DMA_006,
            format!(
                "{} reaches memory at other addresses than {}",
                this.display_name(),
                partition.name.value
            ),
            grant_span(system, index, device),
            "granted here",
        )
        .also(this.span, "its bus shifts addresses")
        .found(format!("dma-ranges: {bus:#x} on the bus is {cpu:#x} of the CPU"))
        .expected("equal addresses, or a tree that says so");
        out.push(finding);
    }
}
