//! EL2's own map and its work area.

use super::{Claim, Ledger};
use crate::image::View;
use crate::ranges::{PAGE, Range, first_overlap, minus, show, union};
use crate::system::System;
use crate::walk::Mapped;
use bulkhead_blueprint::layout::cpu_boot;
use bulkhead_blueprint::limits::STACK_STRIDE;

pub static OWN_MAP: Claim = Claim {
    id: "VFY-030",
    title: "EL2 maps its own sections with W^X and a guard below each stack, the sealed part read-only, its work area, \
            the registers of GIC and console and those by which it leaves the board, the words by which it \
            releases CPUs, and nothing of any partition",
    method: "exhaustive walk of EL2's stage 1, every stretch compared with its zone",
    check: own_map,
};

/// Bytes of registers of the distributor (IHI0069, IHI0048), of a redistributor, of the GICv2 CPU interface.
const GICD_BYTES: u64 = 0x1_0000;
const GICV2_GICD_BYTES: u64 = 0x1000;
const GICR_BYTES: u64 = 0x2_0000;
const GICC_BYTES: u64 = 0x2000;

/// Registers that EL2 drives, by the blueprint.
#[must_use]
pub fn devices(view: &View<'_>) -> Vec<Range> {
    let header = view.header();
    let gic = header.gic;
    let mut out = Vec::new();
    if gic.version == 3 {
        out.push(Range::of(gic.gicd, GICD_BYTES));
        out.push(Range::of(gic.gicr, GICR_BYTES * view.blueprint.cpus.len() as u64));
    } else {
        out.push(Range::of(gic.gicd, GICV2_GICD_BYTES));
        out.extend([Range::of(gic.gicc, GICC_BYTES), Range::of(gic.gich, PAGE)]);
    }
    if header.uart_base != 0 {
        out.push(Range::of(header.uart_base, PAGE));
    }
    // What it writes with the MMU off needs no map: the stores behind those are power-off and reset.
    let running = view.blueprint.register_writes.iter().skip(header.boot_writes as usize);
    out.extend(running.map(|write| page_of(write.address)));
    union(out)
}

fn page_of(address: u64) -> Range {
    Range::of(address & !(PAGE - 1), PAGE)
}

/// Words by which EL2 releases the CPUs of a spin-table, as whole pages.
#[must_use]
pub fn releases(view: &View<'_>) -> Vec<Range> {
    let waits = view.header().cpu_boot == cpu_boot::SPIN_TABLE;
    let cpus = view.blueprint.cpus.iter().filter(|_| waits);
    union(cpus.map(|cpu| page_of(cpu.release)).collect())
}

fn own_map(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let list = &system.el2.mapped;
    ledger.examined(list.len() as u64, "stretches");
    for stretch in list {
        if let Err(expected) = place(view, stretch) {
            let found = format!("{} -> {:#x} {}", stretch.inputs(), stretch.output, stretch.access);
            ledger.fail("EL2 maps what it must not", found, expected);
        }
    }
    let of = |holds: &dyn Fn(&Mapped) -> bool| {
        union(list.iter().filter(|m| holds(m)).map(Mapped::outputs).collect())
    };
    let registers = of(&|m| m.access.device);
    if registers != devices(view) {
        ledger.fail("device registers that EL2 maps", show(&registers), show(&devices(view)));
    }
    let released = releases(view).into_iter().map(|zone| ("words that release CPUs", zone));
    for (what, zone) in
        [("hashed part", view.hashed()), ("work area", view.work())].into_iter().chain(released)
    {
        let holes = minus(&[zone], &of(&|m| !m.access.device));
        if let Some(hole) = holes.first() {
            ledger.fail(format!("EL2 does not map all of its {what}"), hole, "mapped");
        }
    }
    let text = of(&|m| m.access.execute);
    let expected = vec![Range { start: view.whole().start, end: view.header().text_end }];
    if text != expected {
        ledger.fail("EL2's executable memory", show(&text), show(&expected));
    }
    guards(system, ledger);
}

/// EL2's sections are mapped without a hole, its stacks but for one guard page below each, at the lower end of
/// its stride.
fn guards(system: &System<'_>, ledger: &mut Ledger) {
    let (el2, stacks) = (system.view.el2(), system.view.stacks());
    let mapped = union(system.el2.mapped.iter().map(Mapped::outputs).collect());
    let header = system.view.header();
    let ordered =
        el2.start < header.text_end && header.text_end <= header.rodata_end && header.rodata_end <= el2.end;
    if !ordered || !(header.text_end | header.rodata_end).is_multiple_of(PAGE) {
        let found = format!("{:#x}, {:#x}", header.text_end, header.rodata_end);
        return ledger.fail(
            "ends of EL2's instructions and constants",
            found,
            format!("pages in order inside {el2}"),
        );
    }
    let holes = minus(&[el2], &mapped);
    if !holes.is_empty() {
        ledger.fail("a hole in EL2's sections", show(&holes), "all of them mapped");
    }
    ledger.same("the first of EL2's stacks", header.stacks, stacks.start);
    let guards = minus(&[stacks], &mapped);
    ledger.examined(guards.len() as u64, "guard pages");
    let cpus = 0..system.view.blueprint.cpus.len() as u64;
    let expected: Vec<Range> = cpus.map(|cpu| Range::of(stacks.start + cpu * STACK_STRIDE, PAGE)).collect();
    if guards != expected {
        ledger.fail("guard pages below EL2's stacks", show(&guards), show(&expected));
    }
}

/// `Err` is what was expected.
fn place(view: &View<'_>, stretch: &Mapped) -> Result<(), &'static str> {
    let (out, access) = (stretch.outputs(), stretch.access);
    let ok = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
    if stretch.input != stretch.output {
        return Err("the same address on both sides");
    }
    if access.write && access.execute {
        return Err("writable or executable, not both");
    }
    if access.device {
        return ok(
            access.write && !view.whole().overlaps(&out),
            "writable device memory outside the image alone",
        );
    }
    let header = view.header();
    let constants = Range { start: header.image_base, end: header.rodata_end };
    let variables = Range { start: header.rodata_end, end: view.el2().end };
    let own = [(constants, false), (variables, true), (view.hashed(), false), (view.work(), true)];
    let stacks = (0..view.blueprint.cpus.len() as u64).map(|cpu| {
        let at = view.stacks().start + cpu * STACK_STRIDE + PAGE;
        (Range::of(at, STACK_STRIDE - PAGE), true)
    });
    let zones: Vec<(Range, bool)> = own.into_iter().chain(stacks).collect();
    if let Some((zone, write)) = zones.iter().find(|(zone, _)| zone.overlaps(&out)) {
        return ok(
            zone.contains(&out) && *write == access.write,
            "its own section with that section's rights",
        );
    }
    let released = releases(view).iter().any(|zone| zone.contains(&out));
    if released && access.write && !access.execute && !view.whole().overlaps(&out) {
        return Ok(());
    }
    Err("its own sections, the sealed part, the work area, or words that release CPUs")
}

pub static WORK_AREA: Claim = Claim {
    id: "VFY-031",
    title: "dynamic pages, console rings, the health ring, trace rings and EL2's state lie apart in the work area",
    method: "ranges of the blueprint compared pairwise",
    check: work_area,
};

fn work_area(system: &System<'_>, ledger: &mut Ledger) {
    let header = system.view.header();
    let mut ranges = vec![
        ("the health ring".to_owned(), Range::from(header.health_ring)),
        ("the trace rings".to_owned(), Range::from(header.trace_rings)),
        ("what EL2 keeps of partitions and vCPUs".to_owned(), Range::from(header.state)),
    ];
    for part in &system.partitions {
        let record = part.record;
        let name = &part.name;
        ranges.push((format!("the dynamic page of {name}"), Range::of(record.info_dynamic, PAGE)));
        ranges.push((format!("the output ring of {name}"), record.console_out.into()));
        ranges.push((format!("the input ring of {name}"), record.console_in.into()));
    }
    ledger.examined(ranges.len() as u64, "ranges");
    let list: Vec<Range> = ranges.iter().map(|(_, r)| r.to_pages()).collect();
    if let Some((a, b)) = first_overlap(&list) {
        let found = format!("{} {} and {} {}", ranges[a].0, list[a], ranges[b].0, list[b]);
        ledger.fail("two things share a page of the work area", found, "a page of each one's own");
    }
    for (what, range) in &ranges {
        if !range.start.is_multiple_of(PAGE) || !system.view.work().contains(range) {
            ledger.fail(what.clone(), range, "from a page's start, inside the work area");
        }
    }
    let outside =
        [system.view.sealed(), system.view.constants(), system.view.payloads(), system.view.ports()];
    if outside.iter().any(|r| r.start > r.end) || !header.work.bytes.is_multiple_of(PAGE) {
        ledger.fail(
            "zones of the image",
            system.view.work(),
            "sealed part, segments, payloads, work area, stacks, ports in this order",
        );
    }
}
