//! DMA behind a bus that shifts addresses (`dma-ranges` whose two sides differ), as the Raspberry Pi 4's.

use super::device::{grant_span, owners};
use super::{Check, rule};
use crate::diag::Finding;
use crate::dtb;
use crate::model::System;
use crate::read::devices::{dma_ranges, registers};

rule!(DMA_006, "DMA-006", Error, Check::Payloads(shifted),
    "A device tree given by the user lacks the dma-ranges of a granted DMA master's bus.",
    why: "The driver hands the device the CPU's addresses, and the device writes elsewhere. A generated tree says them.",
    example: "/* in the tree: mmc@fe340000 below the root, whose bus on the board has dma-ranges */",
    fix: "put the device below a bus node with the board's dma-ranges, or leave bulkhead,dtb out");

fn shifted(system: &System, out: &mut Vec<Finding>) {
    for (index, device) in owners(system) {
        let (partition, this) = (&system.partitions[index], &system.devices[device]);
        if !this.bus_master || !this.is_shifted() {
            continue;
        }
        let Some(file) = &partition.dtb else { continue };
        // A file that cannot be read is another rule's matter (IMG-001, CLO-004).
        let Some(Ok(tree)) = file.path.as_ref().and_then(|p| std::fs::read(p).ok()).map(|b| dtb::parse(&b))
        else {
            continue;
        };
        let own = |node: &usize| {
            registers(&tree, *node).iter().any(|range| this.regs.iter().any(|own| own.overlaps(range)))
        };
        for node in (1..tree.nodes.len()).filter(own) {
            let found = dma_ranges(&tree, tree.nodes[node].parent);
            if this.dma_ranges.iter().all(|range| found.contains(range)) {
                continue;
            }
            let shown = |list: &[(u64, crate::span::AddressRange)]| {
                let list: Vec<String> = list.iter().map(|(bus, cpu)| format!("{bus:#x} for {cpu}")).collect();
                if list.is_empty() { "none".to_owned() } else { list.join(", ") }
            };
            let finding = Finding::new(
                &DMA_006,
                format!(
                    "the device tree of {} hides the bus of {}",
                    partition.name.value,
                    this.display_name()
                ),
                file.span,
                "this file",
            )
            .also(grant_span(system, index, device), "granted here")
            .also(this.span, "its bus shifts addresses")
            .found(format!("dma-ranges above {}: {}", tree.path(node), shown(&found)))
            .expected(shown(&this.dma_ranges));
            out.push(finding);
        }
    }
}
