//! Who reaches which memory at run time.

use super::{Claim, Ledger};
use crate::ranges::{PAGE, Range, holds, minus, show, touches, union};
use crate::system::{Part, System};
use crate::walk::{Access, Mapped, append, translate};
use bulkhead_blueprint::layout::{Reach, partition_flags, reach, rights};
use bulkhead_blueprint::span;

/// Bytes of the emulated distributor.
const GICD_BYTES: u64 = 0x1_0000;
/// Bytes of the GICv2 CPU interface.
const GICC_BYTES: u64 = 0x2000;
/// Bytes of one emulated redistributor.
const GICR_BYTES: u64 = 0x2_0000;

/// Kinds of RAM that is a partition's.
const MEMORY: &[u32] = &[reach::MEMORY, reach::REGION, reach::SEGMENT];
/// Kinds of rings of the work area.
const RINGS: &[u32] = &[reach::TRACE, reach::HEALTH];
/// Kinds that several partitions may have.
const SHARED: &[u32] = &[reach::PORT, reach::SEGMENT, reach::TRACE, reach::HEALTH];
/// Most stretches that can lie on one page of a good system: both views of each partition.
const OPEN_MAX: usize = 2 * bulkhead_blueprint::limits::PARTITIONS_MAX;

pub static TABLES: Claim = Claim {
    id: "VFY-010",
    title: "every descriptor of every table is one of the few allowed, and every table is reached once",
    method: "exhaustive walk of EL2's tables and of both tables of each partition; attribute bits compared exactly",
    check: tables,
};

fn tables(system: &System<'_>, ledger: &mut Ledger) {
    let mut tell = |who: &str, walk: &crate::walk::Walk| {
        ledger.examined(walk.descriptors, "descriptors");
        for fault in &walk.faults {
            let found = format!("{:#x} at input address {:#x}", fault.entry, fault.input);
            ledger.fail(format!("{who}: {}", fault.what), found, "a descriptor of the allowed set");
        }
    };
    tell("EL2's tables", &system.el2);
    for part in &system.partitions {
        tell(&format!("run-time tables of {}", part.name), &part.run);
        tell(&format!("loader's tables of {}", part.name), &part.load);
    }
}

pub static DECLARED: Claim = Claim {
    id: "VFY-011",
    title: "each partition's run-time tables map exactly what the blueprint declares, no page more or less",
    method: "stretches of the walk compared with the declared ones, address by address",
    check: declared,
};

fn declared(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        let meant = meant(part);
        ledger.examined(meant.len() as u64 + part.run.mapped.len() as u64, "stretches");
        for stretch in difference(&part.run.mapped, &meant) {
            let found = translate(&part.run.mapped, stretch.input).map(|f| f.1);
            let wanted = translate(&meant, stretch.input);
            let show = |a: Option<Access>| a.map_or("nothing".to_owned(), |a| a.to_string());
            let expected = wanted.map_or("nothing".to_owned(), |(at, access)| format!("{access} at {at:#x}"));
            let message = format!("{} at {:#x} differs from what is declared", part.name, stretch.input);
            ledger.fail(message, format!("{} at {:#x}", show(found), stretch.output), expected);
        }
        for reach in part.reaches.iter().filter(|r| unaligned(r)) {
            let found = format!("{:#x} -> {:#x}, {:#x} bytes", reach.ipa, reach.pa, reach.bytes);
            ledger.fail(
                format!("a declared stretch of {}", part.name),
                found,
                "whole pages and known rights",
            );
        }
    }
}

fn unaligned(reach: &Reach) -> bool {
    let known = rights::READ | rights::WRITE | rights::EXECUTE;
    let kinds = reach::MEMORY..=reach::HEALTH;
    let kind_has_port = (reach.kind == reach::PORT) == (reach.port != bulkhead_blueprint::layout::NONE);
    !(reach.ipa | reach.pa | reach.bytes).is_multiple_of(PAGE)
        || reach.bytes == 0
        || reach.rights & !known != 0
        || reach.rights & rights::READ == 0
        || !kinds.contains(&reach.kind)
        || !kind_has_port
}

/// Whether a kind is of device registers.
fn is_device(kind: u32) -> bool {
    matches!(kind, reach::DEVICE | reach::CPU_INTERFACE)
}

/// What is declared, as a walk would find it.
fn meant(part: &Part<'_>) -> Vec<Mapped> {
    let mut list: Vec<&&Reach> = part.reaches.iter().filter(|r| !unaligned(r)).collect();
    list.sort_by_key(|r| r.ipa);
    let mut out = Vec::new();
    for reach in list {
        let access = Access {
            write: reach.rights & rights::WRITE != 0,
            execute: reach.rights & rights::EXECUTE != 0,
            device: is_device(reach.kind),
        };
        append(&mut out, Mapped { input: reach.ipa, output: reach.pa, bytes: reach.bytes, access });
    }
    out
}

/// Stretches of either list that are not stretches of the other; both are as long as can be.
fn difference(found: &[Mapped], meant: &[Mapped]) -> Vec<Mapped> {
    let (mut a, mut b) = (found.iter().peekable(), meant.iter().peekable());
    let mut out = Vec::new();
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), other) if other.is_none_or(|y| x.input <= y.input) => out.extend(a.next()),
            (_, Some(_)) => out.extend(b.next()),
            (_, None) => return out,
        }
        if out.len() > super::FINDINGS_MAX {
            return out;
        }
    }
}

pub static ZONES: Claim = Claim {
    id: "VFY-012",
    title: "no partition reaches EL2, its stacks and their guards, the blueprint, a table, a load list, the loader, a pristine payload, another's \
            information page or the work area",
    method: "each stretch of each run-time walk by the physical zone it lies in; a page of an allowed zone must be the \
             partition's own in the declared form",
    check: zones,
};

fn zones(system: &System<'_>, ledger: &mut Ledger) {
    let required = union(system.view.blueprint.required.iter().map(|r| Range::from(*r)).collect());
    let mut el2s: Vec<Range> = system.el2.mapped.iter().map(Mapped::outputs).collect();
    el2s.extend(banked_control(system.view));
    let el2s = union(el2s);
    for part in &system.partitions {
        let judge = Zones::of(system, part, &required, &el2s);
        for stretch in pieces(part) {
            ledger.examined(1, "stretches");
            if let Err(expected) = judge.zone(&stretch) {
                let found = format!("{} at {}", stretch.access, stretch.outputs());
                ledger.fail(format!("{} reaches what it must not", part.name), found, expected);
            }
        }
    }
}

/// Stretches of the run-time walk, cut where a declared one starts or ends: neighbours may be of two zones.
fn pieces(part: &Part<'_>) -> Vec<Mapped> {
    let mut cuts: Vec<u64> =
        part.reaches.iter().flat_map(|r| [r.ipa, r.ipa.saturating_add(r.bytes)]).collect();
    cuts.sort_unstable();
    let mut out = Vec::new();
    for stretch in &part.run.mapped {
        let (mut at, end) = (stretch.input, stretch.inputs().end);
        let first = cuts.partition_point(|c| *c <= at);
        let inner = cuts[first..].iter().copied().take_while(|c| *c < end && c.is_multiple_of(PAGE));
        for cut in inner.chain([end]).filter(|cut| *cut > stretch.input) {
            if cut > at {
                out.push(Mapped {
                    input: at,
                    output: stretch.output + (at - stretch.input),
                    bytes: cut - at,
                    ..*stretch
                });
            }
            at = cut;
        }
    }
    out
}

/// What one partition may reach, zone by zone; sets of input addresses by declared kind.
struct Zones<'a> {
    system: &'a System<'a>,
    part: &'a Part<'a>,
    required: &'a [Range],
    /// What EL2 reaches itself: registers that it drives, words that release CPUs.
    el2s: &'a [Range],
    info_static: Vec<Range>,
    info_dynamic: Vec<Range>,
    rings: Vec<Range>,
    segments: Vec<Range>,
    ports: Vec<Range>,
    memory: Vec<Range>,
    devices: Vec<Range>,
}

impl<'a> Zones<'a> {
    fn of(system: &'a System<'a>, part: &'a Part<'a>, required: &'a [Range], el2s: &'a [Range]) -> Zones<'a> {
        Zones {
            system,
            part,
            required,
            el2s,
            info_static: part.declared(&[reach::INFO_STATIC]),
            info_dynamic: part.declared(&[reach::INFO_DYNAMIC]),
            rings: part.declared(RINGS),
            segments: part.declared(&[reach::SEGMENT]),
            ports: part.declared(&[reach::PORT]),
            memory: part.declared(MEMORY),
            devices: part.declared(&[reach::DEVICE, reach::CPU_INTERFACE]),
        }
    }

    /// `Err` is what was expected.
    fn zone(&self, stretch: &Mapped) -> Result<(), &'static str> {
        let view = self.system.view;
        let (input, out, access) = (stretch.inputs(), stretch.outputs(), stretch.access);
        let record = self.part.record;
        let plain = access == Access { write: false, execute: false, device: false };
        let ok = |fits: bool, expected| if fits { Ok(()) } else { Err(expected) };
        if view.el2().overlaps(&out) {
            return Err("nothing of EL2");
        }
        if view.stacks().overlaps(&out) {
            return Err("no stack of EL2, nor the guard page below it");
        }
        if view.sealed().overlaps(&out) {
            let own = Range::of(record.info_ipa.saturating_add(PAGE), record.info_bytes.saturating_sub(PAGE));
            let fits = plain && own.contains(&input) && holds(&self.info_static, input);
            return ok(fits, "of the sealed part its own information pages, read-only");
        }
        if view.constants().overlaps(&out) {
            let fits = plain && view.constants().contains(&out) && holds(&self.segments, input);
            return ok(fits, "a segment that nobody writes, read-only");
        }
        if view.payloads().overlaps(&out) {
            return Err("no pristine payload");
        }
        if view.work().overlaps(&out) {
            let page =
                Range::of(record.info_dynamic, PAGE).contains(&out) && stretch.input == record.info_ipa;
            let dynamic = page && holds(&self.info_dynamic, input);
            let ring = holds(&self.rings, input) && rings(self.system).iter().any(|r| r.contains(&out));
            return ok(
                plain && (dynamic || ring),
                "of the work area its own dynamic page or a ring, read-only",
            );
        }
        if view.ports().overlaps(&out) {
            let fits = view.ports().contains(&out) && !access.execute && !access.device;
            return ok(fits && holds(&self.ports, input), "memory of its own ports, not executable");
        }
        if holds(self.required, out) {
            let fits = !access.device && holds(&self.memory, input) && !touches(self.el2s, out);
            return ok(fits, "RAM that EL2 does not map, as memory, region or segment, not as device");
        }
        let apart = !touches(self.required, out) && !touches(self.el2s, out);
        let fits = apart && access.device && holds(&self.devices, input);
        ok(fits, "device registers that are granted")
    }
}

/// Rings of the work area that a partition may read.
fn rings(system: &System<'_>) -> [Range; 2] {
    let header = system.view.header();
    [header.trace_rings.into(), Range::from(header.health_ring).to_pages()]
}

/// Behind the virtual interface control of a GICv2 that EL2 drives, GIC-400 shows those of the other CPUs (ARM DDI 0471,
/// 3.2): list registers of whoever runs there.
fn banked_control(view: &crate::image::View<'_>) -> Option<Range> {
    let gic = view.header().gic;
    (gic.version == 2).then(|| Range::of(gic.gich.saturating_add(PAGE), PAGE))
}

pub static OWNERS: Claim = Claim {
    id: "VFY-013",
    title: "no physical page is writable by two partitions, and a page of one is shared with another only as a port, \
            a segment or the banked CPU interface, with one writer",
    method: "all stretches of all run-time and loader walks, sorted by physical address and swept",
    check: owners,
};

/// A stretch of somebody.
#[derive(Clone, Copy)]
struct Claimed {
    range: Range,
    partition: usize,
    loading: bool,
    write: bool,
    /// Kinds that may be shared.
    shared: bool,
    banked: bool,
}

fn owners(system: &System<'_>, ledger: &mut Ledger) {
    let mut all: Vec<Claimed> = Vec::new();
    for part in &system.partitions {
        let shared = Shares::of(part);
        for (list, loading) in [(&pieces(part), false), (&part.load.mapped, true)] {
            all.extend(list.iter().map(|m| {
                let range = m.outputs();
                let (shared, banked) = (shared.is_shared(range), shared.is_banked(range, m.access));
                Claimed { range, partition: part.index, loading, write: m.access.write, shared, banked }
            }));
        }
    }
    all.sort_by_key(|c| (c.range, c.partition));
    ledger.examined(all.len() as u64, "stretches");
    let mut open: Vec<Claimed> = Vec::new();
    for next in all {
        open.retain(|o| o.range.end > next.range.start);
        for other in &open {
            if let Some(why) = clash(system, other, &next) {
                let (a, b) = (system.name(other.partition), system.name(next.partition));
                let found = format!("{a} {} and {b} {}", other.range, next.range);
                ledger.fail(
                    format!("{a} and {b} meet in physical memory: {why}"),
                    found,
                    "each page one owner",
                );
            }
        }
        open.push(next);
        if open.len() > OPEN_MAX {
            let found = format!("{} stretches at {:#x}", open.len(), open[0].range.start);
            return ledger.fail("too many stretches lie on one page", found, format!("at most {OPEN_MAX}"));
        }
    }
}

/// Why two stretches with a common page must not be; `None` if they may.
fn clash(system: &System<'_>, a: &Claimed, b: &Claimed) -> Option<&'static str> {
    if a.partition == b.partition {
        let twice = a.loading == b.loading && !a.banked;
        return twice.then_some("one page stands at two addresses of one view");
    }
    if a.banked && b.banked {
        return None;
    }
    if a.write && b.write {
        return Some("both can write");
    }
    let sealed = |c: &Claimed| c.loading && !c.write && system.view.sealed().contains(&c.range);
    let loaders_code = sealed(a) && sealed(b);
    if loaders_code || (a.shared && b.shared) {
        return None;
    }
    Some("one is neither port nor segment of both")
}

/// What a partition may share.
struct Shares {
    shared: Vec<Range>,
    banked: Vec<Range>,
}

impl Shares {
    fn of(part: &Part<'_>) -> Shares {
        let banked = part.declared_physical(&[reach::CPU_INTERFACE]);
        Shares { shared: part.declared_physical(SHARED), banked }
    }

    fn is_shared(&self, range: Range) -> bool {
        holds(&self.shared, range)
    }

    fn is_banked(&self, range: Range, access: Access) -> bool {
        access.device && holds(&self.banked, range)
    }
}

pub static EXECUTION: Claim = Claim {
    id: "VFY-014",
    title: "only a partition's own memory is executable, and its entry lies there",
    method: "each executable stretch against the declared kinds; entry, x0 and loader's stack translated",
    check: execution,
};

fn execution(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        let own = part.declared(&[reach::MEMORY]);
        for stretch in part.run.mapped.iter().filter(|m| m.access.execute) {
            ledger.examined(1, "executable stretches");
            if !holds(&own, stretch.inputs()) {
                let message = format!("{} executes what is not its own memory", part.name);
                ledger.fail(message, stretch.inputs(), "own memory");
            }
        }
        let record = part.record;
        if !part.executes(Range::of(record.entry, 4)) {
            ledger.fail(
                format!("entry of {}", part.name),
                format!("{:#x}", record.entry),
                "executable memory",
            );
        }
        let tree = translate(&part.run.mapped, record.entry_x0);
        if record.entry_x0 != 0 && tree.is_none_or(|(_, access)| access.device) {
            let found = format!("{:#x}", record.entry_x0);
            ledger.fail(format!("x0 at the entry of {}", part.name), found, "memory, or 0");
        }
    }
}

pub static EMULATED: Claim = Claim {
    id: "VFY-015",
    title: "addresses at which EL2 emulates a device are unmapped, so that every access traps, and the memory list \
            that PSCI believes is what is mapped",
    method: "emulated ranges intersected with the run-time walks; memory list compared with the declared memory",
    check: emulated,
};

fn emulated(system: &System<'_>, ledger: &mut Ledger) {
    let version = system.view.header().gic.version;
    for part in &system.partitions {
        let record = part.record;
        let mut traps = vec![("distributor", Range::of(record.gicd_ipa, GICD_BYTES))];
        if version == 3 {
            let bytes = GICR_BYTES * u64::from(record.vcpu_count);
            traps.push(("redistributors", Range::of(record.gicr_ipa, bytes)));
        } else {
            ledger.same("redistributors on GICv2", record.gicr_ipa, 0);
        }
        if record.flags & partition_flags::PL011 != 0 {
            traps.push(("PL011", Range::of(record.pl011_ipa, PAGE)));
        } else {
            ledger.same("address of a PL011 that is not there", record.pl011_ipa, 0);
        }
        for (what, range) in &traps {
            ledger.examined(1, "ranges");
            if !range.start.is_multiple_of(PAGE) {
                ledger.fail(format!("emulated {what} of {}", part.name), range, "a page's start");
            }
            if let Some(mapped) = part.run.mapped.iter().find(|m| m.inputs().overlaps(range)) {
                let message = format!("{} reaches memory where EL2 emulates the {what}", part.name);
                ledger.fail(message, mapped.inputs(), format!("nothing mapped in {range}"));
            }
        }
        let ranges: Vec<Range> = traps.iter().map(|t| t.1).collect();
        if crate::ranges::first_overlap(&ranges).is_some() {
            ledger.fail(
                format!("emulated devices of {} overlap", part.name),
                "an overlap",
                "each its own addresses",
            );
        }
        memory_list(system, part, ledger);
        cpu_interface(system, part, ledger);
    }
}

fn memory_list(system: &System<'_>, part: &Part<'_>, ledger: &mut Ledger) {
    let memory = span(system.view.blueprint.memory, part.record.memory_first, part.record.memory_count);
    let list: Vec<Range> = memory.iter().map(|r| Range::from(*r)).collect();
    if let Some((a, b)) = crate::ranges::first_overlap(&list) {
        let found = format!("{} and {}", list[a], list[b]);
        ledger.fail(format!("memory list of {}", part.name), found, "each address once");
    }
    let listed = union(list);
    let known = part.declared(&[MEMORY, RINGS].concat());
    for bytes in memory.iter().map(|r| r.bytes).filter(|bytes| !bytes.is_multiple_of(PAGE)) {
        ledger.fail(format!("memory list of {}", part.name), format!("{bytes} bytes"), "whole pages");
    }
    ledger.examined(listed.len() as u64, "ranges");
    let apart = memory.iter().map(|r| u128::from(r.bytes)).sum::<u128>();
    let together = listed.iter().map(|r| u128::from(r.bytes())).sum::<u128>();
    ledger.same(&format!("bytes of the memory list of {}, one by one", part.name), apart, together);
    if listed != known {
        ledger.fail(format!("memory list of {}", part.name), show(&listed), show(&known));
    }
}

/// On GICv2 the one page pair that every partition may write: exactly the virtual CPU interface.
fn cpu_interface(system: &System<'_>, part: &Part<'_>, ledger: &mut Ledger) {
    let list: Vec<_> = part.reaches.iter().filter(|r| r.kind == reach::CPU_INTERFACE).collect();
    let wanted = if system.view.header().gic.version == 2 { 1 } else { 0 };
    ledger.same(&format!("CPU interfaces of {}", part.name), list.len(), wanted);
    let first = system.view.reaches.iter().find(|r| r.kind == reach::CPU_INTERFACE).map_or(0, |r| r.pa);
    for reach in list {
        ledger.same("bytes of the virtual CPU interface", reach.bytes, GICC_BYTES);
        ledger.same("address of the virtual CPU interface", reach.pa, first);
    }
}

pub static COVERAGE: Claim = Claim {
    id: "VFY-016",
    title: "the memory that the boot demands of the board is the image and the partitions' memory, nothing more or \
            less",
    method: "union of all physical ranges in use compared with the list that EL2 checks",
    check: coverage,
};

fn coverage(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let required: Vec<Range> = view.blueprint.required.iter().map(|r| Range::from(*r)).collect();
    ledger.examined(required.len() as u64, "ranges");
    let mut used: Vec<Range> = vec![view.whole()];
    for part in &system.partitions {
        used.extend(part.declared_physical(MEMORY));
    }
    let (required, used) = (union(required), union(used));
    for range in minus(&required, &used) {
        ledger.fail("memory that is demanded and nobody's", range, "an owner");
    }
    for range in minus(&used, &required) {
        ledger.fail("memory that is used and not demanded", range, "a range that EL2 checks at boot");
    }
}
