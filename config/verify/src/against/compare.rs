//! Partitions, memory, devices, interrupts.

use super::tree::Node;
use super::wanted::pages;
use super::{Sides, part};
use crate::claims::Ledger;
use crate::ranges::{Range, minus, show, union};
use crate::system::Part;
use crate::walk::{Mapped, all_mapped, translate};
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::{Reach, cpu_boot, reach, rights};
use bulkhead_blueprint::span;
use std::collections::{BTreeMap, BTreeSet};

/// Timers that every partition has: PPIs 27 and 30.
const TIMERS: [u32; 2] = [27, 30];

pub fn partitions(sides: &Sides<'_>, ledger: &mut Ledger) {
    let found: Vec<(u32, String)> =
        sides.system.partitions.iter().map(|p| (p.record.id, p.name.clone())).collect();
    let wanted: Vec<(u32, String)> =
        sides.partitions.iter().map(|p| (p.node.cell("id").unwrap_or(0), p.node.name.clone())).collect();
    ledger.examined(wanted.len() as u64, "partitions");
    if found != wanted {
        ledger.fail("partitions", format!("{found:?}"), format!("{wanted:?}"));
    }
    let cpus: Vec<(u64, u64)> =
        sides.system.view.blueprint.cpus.iter().map(|c| (c.mpidr, c.release)).collect();
    if cpus != sides.index.releases {
        let expected = format!("{:x?}", sides.index.releases);
        ledger.fail("MPIDR and release address of the CPUs", format!("{cpus:x?}"), expected);
    }
    let waits = sides.index.releases.iter().any(|(_, word)| *word != 0);
    let method = if waits { cpu_boot::SPIN_TABLE } else { cpu_boot::PSCI_SMC };
    ledger.same("how CPUs are started", sides.system.view.header().cpu_boot, method);
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let vcpus = span(sides.system.view.blueprint.vcpus, part.record.vcpu_first, part.record.vcpu_count);
        let found: Vec<u32> = vcpus.iter().map(|v| v.cpu).collect();
        if found != wanted.cpus {
            ledger.fail(format!("CPUs of {}", part.name), format!("{found:?}"), format!("{:?}", wanted.cpus));
        }
    }
}

pub fn memory(sides: &Sides<'_>, ledger: &mut Ledger) {
    usable(sides, ledger);
    shared(sides, ledger);
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let own = wanted.memory();
        ledger.examined(own.len() as u64, "ranges");
        let expected = union(own.iter().map(|(range, _)| *range).collect());
        same_set(ledger, &format!("memory of {}", part.name), &part.declared(&[reach::MEMORY]), &expected);
        for (range, start) in own.into_iter().filter_map(|(range, fixed)| Some((range, fixed?))) {
            // All of it: a bus master of the partition goes by these addresses.
            let moved = start.wrapping_sub(range.start);
            if !all_mapped(&part.run.mapped, range, |m| m.output.wrapping_sub(m.input) == moved) {
                let message = format!("physical memory of {} at {:#x}", part.name, range.start);
                let found =
                    part.run.mapped.iter().filter(|m| m.inputs().overlaps(&range)).map(Mapped::outputs);
                ledger.fail(message, show(&union(found.collect())), Range::of(start, range.bytes()));
            }
        }
        regions(sides, part, wanted.node, ledger);
    }
}

/// All memory that the system uses, the image's included, is RAM of the board that nobody else keeps; the image lies where
/// the configuration pins it.
fn usable(sides: &Sides<'_>, ledger: &mut Ledger) {
    let view = sides.system.view;
    let demanded = view.blueprint.required.iter().map(|range| Range::from(*range));
    let used = union(demanded.chain([view.whole()]).collect());
    ledger.examined(used.len() as u64, "ranges");
    let free = minus(&union(sides.index.ram.clone()), &sides.reserved);
    let taken = minus(&used, &free);
    if !taken.is_empty() {
        ledger.fail("memory that the system uses and the board does not offer", show(&taken), show(&free));
    }
    let pinned = sides.root.child("hypervisor").map(|node| node.wides("memory")).unwrap_or_default();
    if let [base, bytes] = pinned[..]
        && !Range::of(base, bytes).contains(&view.whole())
    {
        ledger.fail("memory of the image", view.whole(), Range::of(base, bytes));
    }
}

/// Who shares one piece of memory: its bytes, its takers, and whether each writes.
type Sharing = (u64, BTreeSet<(String, bool)>);

/// Each segment is one piece of memory, at one address in all who have it: of two segments of one size a reader must not
/// have the other.
fn shared(sides: &Sides<'_>, ledger: &mut Ledger) {
    let mut pieces: BTreeMap<(u64, u64), Sharing> = BTreeMap::new();
    for part in &sides.system.partitions {
        for reach in part.reaches.iter().filter(|r| r.kind == reach::SEGMENT) {
            let piece = pieces.entry((reach.pa, reach.ipa)).or_insert((reach.bytes, BTreeSet::new()));
            piece.1.insert((part.name.clone(), reach.rights & rights::WRITE != 0));
        }
    }
    let names =
        |phandles: Vec<u32>| phandles.into_iter().filter_map(|p| Some(sides.index.node(p)?.name.clone()));
    let segment = |node: &Node| {
        let writer: Vec<String> = names(node.cells("writer")).collect();
        let readers =
            names(node.cells("readers")).filter(|name| !writer.contains(name)).map(|name| (name, false));
        let takers = readers.chain(writer.iter().map(|name| (name.clone(), true))).collect();
        (pages(node.wides("size").first().copied().unwrap_or(0)), takers)
    };
    let mut expected: Vec<Sharing> = sides.root.list("segments").iter().map(segment).collect();
    expected.retain(|(_, takers)| !takers.is_empty());
    let mut found: Vec<Sharing> = pieces.into_values().collect();
    found.sort_unstable();
    expected.sort_unstable();
    ledger.examined(expected.len() as u64, "ranges");
    if found != expected {
        ledger.fail(
            "who shares which segment at one address, and writes it",
            format!("{found:?}"),
            format!("{expected:?}"),
        );
    }
}

/// A region or segment as the configuration asks for it.
struct Piece {
    kind: u32,
    bytes: u64,
    writes: bool,
    ipa: Option<u64>,
    pa: Option<u64>,
    /// Starts that leave it alone, bit n for start n of [`loader::start`].
    kept: u64,
}

impl Piece {
    fn of(kind: u32, node: &Node, writes: bool) -> Piece {
        let first = |name: &str| node.wides(name).first().copied();
        let bytes = pages(first("size").unwrap_or(0));
        Piece { kind, bytes, writes, ipa: first("at"), pa: first("pa"), kept: kept(node) }
    }

    fn is(&self, part: &Part<'_>, reach: &Reach) -> bool {
        let wanted = if self.writes { rights::READ | rights::WRITE } else { rights::READ };
        let place = self.ipa.is_none_or(|at| at == reach.ipa) && self.pa.is_none_or(|pa| pa == reach.pa);
        let within = Range::of(reach.ipa, reach.bytes);
        let mut filled = part.list.iter().flatten().filter(|entry| within.contains(&entry.destination));
        let outlives = filled.all(|entry| entry.kept == self.kept);
        place && outlives && reach.kind == self.kind && reach.bytes == self.bytes && reach.rights == wanted
    }
}

/// Starts over which a region is kept (docs/configuration.md, `keep-over`).
fn kept(node: &Node) -> u64 {
    let starts: &[u64] = match node.text("keep-over").as_deref() {
        Some("warm-restart") => &[loader::start::WARM],
        Some("cold-restart") => &[loader::start::WARM, loader::start::COLD],
        Some("board-reset") => &[loader::start::WARM, loader::start::COLD, loader::start::KEPT],
        _ => &[],
    };
    starts.iter().fold(0, |bits, start| bits | 1 << start)
}

/// Regions and segments: each with its size and rights, at its address where the configuration gives one.
fn regions(sides: &Sides<'_>, part: &Part<'_>, node: &Node, ledger: &mut Ledger) {
    let regions = node.list("regions").iter();
    let mut wanted: Vec<Piece> =
        regions.map(|r| Piece::of(reach::REGION, r, r.text("rights").as_deref() == Some("rw"))).collect();
    let named =
        |list: Vec<u32>| list.iter().any(|p| sides.index.node(*p).is_some_and(|n| n.name == node.name));
    for segment in sides.root.list("segments") {
        let writes = named(segment.cells("writer"));
        if writes || named(segment.cells("readers")) {
            wanted.push(Piece::of(reach::SEGMENT, segment, writes));
        }
    }
    let kinds = [reach::REGION, reach::SEGMENT];
    let mut left: Vec<&Reach> = part.reaches.iter().copied().filter(|r| kinds.contains(&r.kind)).collect();
    ledger.examined(wanted.len() as u64, "regions");
    ledger.same(&format!("regions and segments of {}", part.name), left.len(), wanted.len());
    for piece in wanted {
        match left.iter().position(|r| piece.is(part, r)) {
            Some(index) => {
                left.swap_remove(index);
            }
            None => {
                let expected = format!(
                    "{} bytes, writable {}, left alone by starts {:#b}",
                    piece.bytes, piece.writes, piece.kept
                );
                ledger.fail(format!("a region or segment of {}", part.name), "none such", expected);
            }
        }
    }
}

fn same_set(ledger: &mut Ledger, what: &str, found: &[Range], expected: &[Range]) {
    if found != expected {
        ledger.fail(what, show(found), show(expected));
    }
}

pub fn devices(sides: &Sides<'_>, ledger: &mut Ledger) {
    let version = sides.system.view.header().gic.version;
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let (written, only_read) = wanted.pages();
        ledger.examined((written.len() + only_read.len()) as u64, "windows");
        let banked = part.declared(&[reach::CPU_INTERFACE]);
        let of = |write: bool| {
            let list = part.run.mapped.iter().filter(|m| m.access.device && m.access.write == write);
            minus(&union(list.map(Mapped::inputs).collect()), &banked)
        };
        same_set(ledger, &format!("registers that {} may write", part.name), &of(true), &written);
        same_set(ledger, &format!("registers that {} may read alone", part.name), &of(false), &only_read);
        if version == 2 {
            let gicv = sides.index.gic.as_ref().and_then(|g| g.registers.get(3)).map(|r| r.start);
            let mapped = banked.first().and_then(|r| translate(&part.run.mapped, r.start)).map(|t| t.0);
            if gicv != mapped {
                ledger.fail(
                    format!("CPU interface of {}", part.name),
                    format!("{mapped:x?}"),
                    format!("{gicv:x?}"),
                );
            }
        }
        let moved = part.run.mapped.iter().filter(|m| m.access.device && m.input != m.output);
        for stretch in moved.filter(|m| minus(&[m.inputs()], &banked).iter().any(|r| !r.is_empty())) {
            ledger.fail(
                format!("a device of {}", part.name),
                format!("{:#x}", stretch.output),
                format!("{:#x}", stretch.input),
            );
        }
    }
}

/// The limits of interrupts, in the order of their INTIDs.
fn limits(sides: &Sides<'_>, ledger: &mut Ledger) {
    let hz = u128::from(sides.system.view.header().cntfrq_hz);
    let mut expected = Vec::new();
    for grant in sides.partitions.iter().flat_map(|w| w.node.list("grants")) {
        let device = grant.cell("device").and_then(|p| sides.index.device(p));
        if let (Some(device), Some(count), Some(ns)) =
            (device, grant.cell("max-interrupts"), grant.duration_ns("per"))
        {
            let ticks = (u128::from(ns) * hz).div_ceil(1_000_000_000);
            expected.extend(device.intids.iter().map(|intid| (*intid, count, ticks)));
        }
    }
    let limits = sides.system.view.blueprint.interrupt_limits.iter();
    let mut found: Vec<(u32, u32, u128)> =
        limits.map(|l| (l.intid, l.count, u128::from(l.per_ticks))).collect();
    expected.sort_unstable();
    found.sort_unstable();
    ledger.examined(expected.len() as u64, "limits");
    ledger.same("limits of interrupts", format!("{found:?}"), format!("{expected:?}"));
}

pub fn interrupts(sides: &Sides<'_>, ledger: &mut Ledger) {
    limits(sides, ledger);
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let mut expected: Vec<u32> =
            wanted.devices.iter().flat_map(|(d, _)| d.intids.clone()).chain(TIMERS).collect();
        expected.sort_unstable();
        expected.dedup();
        ledger.examined(expected.len() as u64, "interrupts");
        let found = crate::report::interrupts(part);
        if found != expected {
            ledger.fail(
                format!("interrupts of {}", part.name),
                format!("{found:?}"),
                format!("{expected:?}"),
            );
        }
    }
}
