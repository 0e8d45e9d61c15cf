//! The pictures of a system: plans, memory, information flow.

use crate::draw::flow;
use crate::draw::memory::{self, Block};
use crate::draw::{Picture, gantt};
use crate::flows::flows;
use bulkhead_compile::model::System;
use bulkhead_verify::Report;

/// Pictures that need the configuration alone.
#[must_use]
pub fn of_configuration(system: &System) -> Vec<Picture> {
    let mut out = gantt::pictures(system);
    let (parties, flows) = flows(system);
    out.push(flow::picture(&parties, &flows));
    out
}

/// Memory as the verified image has it.
#[must_use]
pub fn of_image(system: &System, report: &Report) -> Picture {
    memory::picture(&blocks(system, report))
}

/// Physical memory of the board, block by block, from the verifier's walk.
#[must_use]
pub fn blocks(system: &System, report: &Report) -> Vec<Block> {
    let mut used: Vec<Block> = Vec::new();
    let image = &report.zones;
    for zone in image {
        used.push(Block {
            start: zone.range.start,
            end: zone.range.end,
            what: zone.what.to_owned(),
            owner: None,
            free: false,
        });
    }
    for (owner, partition) in report.partitions.iter().enumerate() {
        for stretch in partition.run.iter().filter(|m| !m.access.device) {
            let (start, end) = (stretch.output, stretch.output + stretch.bytes);
            if image.iter().any(|z| z.range.start < end && start < z.range.end) {
                continue;
            }
            match used.last_mut() {
                Some(last) if last.owner == Some(owner) && last.end == start => last.end = end,
                _ => used.push(Block {
                    start,
                    end,
                    what: partition.name.clone(),
                    owner: Some(owner),
                    free: false,
                }),
            }
        }
    }
    used.sort_by_key(|b| (b.start, b.end));
    let mut out: Vec<Block> = Vec::new();
    for (ram, _) in &system.board.ram {
        let mut at = ram.base;
        let end = ram.base.saturating_add(ram.size);
        let free = |start, end| Block { start, end, what: "free".to_owned(), owner: None, free: true };
        for block in used.iter().filter(|b| b.start >= ram.base && b.end <= end) {
            if block.start > at {
                out.push(free(at, block.start));
            }
            at = at.max(block.end);
            out.push(block.clone());
        }
        if at < end {
            out.push(free(at, end));
        }
    }
    out
}
