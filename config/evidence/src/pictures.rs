//! The pictures of a system: plans, memory, information flow.

use crate::draw::flow::{self, Flow};
use crate::draw::memory::{self, Block};
use crate::draw::{Picture, gantt};
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

/// Parties (partitions, then EL2) and what flows between them.
#[must_use]
pub fn flows(system: &System) -> (Vec<String>, Vec<Flow>) {
    let mut parties: Vec<String> = system.partitions.iter().map(|p| p.name.value.clone()).collect();
    let hypervisor = parties.len();
    parties.push("EL2".to_owned());
    let mut out = Vec::new();
    let mut add = |from, to, what: String, indirect| out.push(Flow { from, to, what, indirect });
    for port in &system.ports {
        for from in &port.from {
            for to in &port.to {
                let bell = if port.doorbell.is_some() { " + doorbell" } else { "" };
                add(from.partition, to.partition, format!("port {}{bell}", port.name.value), false);
            }
        }
    }
    for segment in &system.segments {
        for (writer, reader) in
            segment.writer.iter().flat_map(|w| segment.readers.iter().map(move |r| (w, r)))
        {
            add(writer.value, reader.value, format!("segment {}", segment.name.value), false);
        }
    }
    for (holder, partition) in system.partitions.iter().enumerate() {
        for authority in &partition.authority {
            for over in &authority.over {
                add(holder, over.value, "authority".to_owned(), false);
            }
            if authority.over.is_empty() {
                add(holder, hypervisor, "authority: module".to_owned(), false);
            }
        }
        if partition.console.value != bulkhead_compile::model::ConsoleKind::None {
            add(holder, hypervisor, "console".to_owned(), false);
        }
    }
    for (teller, told) in told_of_health(system) {
        add(teller, told, "health events".to_owned(), false);
    }
    for first in 0..system.partitions.len() {
        for second in first + 1..system.partitions.len() {
            let shared = system.partitions[first]
                .vcpus
                .value
                .iter()
                .any(|c| system.partitions[second].vcpus.value.contains(c));
            let what = if shared { "shared CPU, cache, bus" } else { "shared cache, bus" };
            add(first, second, what.to_owned(), true);
            add(second, first, what.to_owned(), true);
        }
    }
    let drained = system.hypervisor.console_cpu.value;
    for (index, partition) in system.partitions.iter().enumerate() {
        if partition.vcpus.value.contains(&drained) {
            add(hypervisor, index, "drains the console".to_owned(), true);
        }
    }
    (parties, out)
}

/// Who is told of whose health events.
fn told_of_health(system: &System) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for (index, partition) in system.partitions.iter().enumerate() {
        let table = partition.health.as_ref().and_then(|t| system.health_tables.get(t.value));
        let steps = table.into_iter().flat_map(|t| t.steps());
        let told = steps.flat_map(|(_, step)| step.notify.iter().map(|p| p.value));
        out.extend(told.filter(|t| *t != index).map(|t| (index, t)));
    }
    out.sort_unstable();
    out.dedup();
    out
}
