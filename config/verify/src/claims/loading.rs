//! What a partition's loader reaches and does.

use super::{Claim, Ledger};
use crate::ranges::{PAGE, Range, first_overlap, holds, minus, show, union};
use crate::system::{Part, System};
use crate::walk::{Access, Mapped, translate};
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::{reach, rights};

pub static LOADER_VIEW: Claim = Claim {
    id: "VFY-020",
    title: "a loader reaches its code, its list, its own pristine payloads read-only, and below its window exactly \
            the memory that its partition is filled with, at the same physical addresses",
    method: "each stretch of each loader walk by its input address; memory compared with the run-time walk",
    check: loader_view,
};

/// Whether the loader fills a stretch of this kind and these rights.
fn is_filled(kind: u32, writable: bool) -> bool {
    matches!(kind, reach::MEMORY | reach::REGION)
        || (writable && matches!(kind, reach::SEGMENT | reach::PORT))
}

fn loader_view(system: &System<'_>, ledger: &mut Ledger) {
    let code = system.partitions.first().and_then(|p| translate(&p.load.mapped, loader::LOADER_IPA));
    for part in &system.partitions {
        ledger.examined(part.load.mapped.len() as u64, "stretches");
        for stretch in &part.load.mapped {
            if let Err(expected) = allowed(system, part, stretch) {
                let found = format!("{} -> {:#x} {}", stretch.inputs(), stretch.output, stretch.access);
                ledger.fail(format!("the loader of {} reaches what it must not", part.name), found, expected);
            }
        }
        if translate(&part.load.mapped, loader::LOADER_IPA) != code || code.is_none() {
            let message = format!("the loader of {} is not the one of the image", part.name);
            ledger.fail(message, "other code", "the same code for every partition");
        }
        filled(part, ledger);
    }
}

fn allowed(system: &System<'_>, part: &Part<'_>, stretch: &Mapped) -> Result<(), &'static str> {
    let view = system.view;
    let (inputs, out) = (stretch.inputs(), stretch.outputs());
    let access = |write, execute| stretch.access == Access { write, execute, device: false };
    let ok = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
    if stretch.input >= loader::PAYLOAD_IPA {
        return ok(access(false, false) && view.payloads().contains(&out), "pristine payloads, read-only");
    }
    if inputs == Range::of(loader::LIST_IPA, PAGE) {
        return ok(access(false, false) && view.sealed().contains(&out), "its load list, read-only");
    }
    if stretch.input == loader::LOADER_IPA && inputs.end <= loader::LIST_IPA {
        return ok(access(false, true) && view.sealed().contains(&out), "the loader, read and execute");
    }
    let same = inputs.end <= loader::WINDOW_IPA && translates_alike(part, stretch);
    ok(same && access(true, false), "memory of its partition, as at run time, not executable")
}

/// Whether the run-time tables translate each page of a stretch alike.
fn translates_alike(part: &Part<'_>, stretch: &Mapped) -> bool {
    let mut at = stretch.input;
    while at < stretch.inputs().end {
        let index = part.run.mapped.partition_point(|m| m.input <= at);
        let Some(run) = index.checked_sub(1).map(|i| &part.run.mapped[i]) else {
            return false;
        };
        let offset = at - run.input;
        if run.inputs().end <= at || run.output + offset != stretch.output + (at - stretch.input) {
            return false;
        }
        at = run.inputs().end;
    }
    true
}

/// The memory that must be filled, all of it and nothing else.
fn filled(part: &Part<'_>, ledger: &mut Ledger) {
    let meant = part.reaches.iter().filter(|r| is_filled(r.kind, r.rights & rights::WRITE != 0));
    let meant = union(meant.map(|r| Range::of(r.ipa, r.bytes)).collect());
    let found = union(part.load.mapped.iter().filter(|m| m.access.write).map(Mapped::inputs).collect());
    for hole in minus(&meant, &found) {
        ledger.fail(format!("the loader of {} cannot fill all of its memory", part.name), "unmapped", hole);
    }
    for extra in minus(&found, &meant) {
        ledger.fail(
            format!("the loader of {} writes what is not to be filled", part.name),
            extra,
            "nothing there",
        );
    }
}

pub static LOAD_LIST: Claim = Claim {
    id: "VFY-021",
    title: "a load list fills every byte of its partition's memory exactly once, but for the loader's stack, from \
            mapped payloads",
    method: "destinations swept for overlap and holes; sources translated by the loader's walk",
    check: load_list,
};

fn load_list(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        let Some(list) = &part.list else {
            ledger.fail(
                format!("{} has no load list that can be read", part.name),
                "none",
                "a page of entries",
            );
            continue;
        };
        ledger.examined(list.len() as u64, "entries");
        let end = part.record.loader_stack;
        let stack = Range { start: end.saturating_sub(loader::STACK_BYTES), end };
        let mut destinations: Vec<Range> = list.iter().map(|e| e.destination).collect();
        destinations.push(stack);
        if let Some((a, b)) = first_overlap(&destinations) {
            let found = format!("{} and {}", destinations[a], destinations[b]);
            ledger.fail(
                format!("the load list of {} writes a byte twice", part.name),
                found,
                "each byte once",
            );
        }
        let bad = |r: &Range, source: u64| !(r.start | r.end | source).is_multiple_of(16) || r.is_empty();
        for entry in list.iter().filter(|e| bad(&e.destination, e.source)) {
            ledger.fail(
                format!("an entry of {}", part.name),
                entry.destination,
                "multiples of 16, not empty",
            );
        }
        let outlives = part.declared(&[reach::REGION]);
        let starts = 1 << loader::start::COLD | 1 << loader::start::WARM | 1 << loader::start::KEPT;
        for entry in list.iter().filter(|e| e.kept != 0) {
            if entry.kept & !starts != 0 || !holds(&outlives, entry.destination) {
                let found = format!("{} kept over starts {:#b}", entry.destination, entry.kept);
                ledger.fail(
                    format!("memory of {} outlives a start", part.name),
                    found,
                    "a region, not the first start in memory that holds nothing",
                );
            }
        }
        let writable =
            union(part.load.mapped.iter().filter(|m| m.access.write).map(Mapped::inputs).collect());
        let written = union(destinations);
        for range in minus(&writable, &written) {
            ledger.fail(format!("memory of {} keeps what was in it", part.name), range, "zeroed or copied");
        }
        for range in minus(&written, &writable) {
            ledger.fail(
                format!("the load list of {} leaves its memory", part.name),
                range,
                "writable memory",
            );
        }
    }
}

pub static PRISTINE: Claim = Claim {
    id: "VFY-022",
    title: "each pristine payload is one partition's, and its loader sees its own payloads and no other's",
    method: "payload pages of each loader walk compared with the sources of its list, and pairwise with the others'",
    check: pristine,
};

fn pristine(system: &System<'_>, ledger: &mut Ledger) {
    let mut all: Vec<Range> = Vec::new();
    let mut whose: Vec<usize> = Vec::new();
    for part in &system.partitions {
        let payloads = part.load.mapped.iter().filter(|m| m.input >= loader::PAYLOAD_IPA);
        let mapped = union(payloads.clone().map(Mapped::inputs).collect());
        let sources = part.list.iter().flatten().filter(|e| e.source != 0);
        let sources = sources.map(|e| Range::of(e.source, e.destination.bytes()).to_pages());
        let used = union(sources.collect());
        ledger.examined(used.len() as u64, "payload ranges");
        if mapped != used {
            ledger.fail(
                format!("payloads in the loader's view of {}", part.name),
                show(&mapped),
                show(&used),
            );
        }
        for stretch in payloads {
            all.push(stretch.outputs());
            whose.push(part.index);
        }
    }
    if let Some((a, b)) = first_overlap(&all) {
        let (one, other) = (system.name(whose[a]), system.name(whose[b]));
        ledger.fail(
            format!("{one} and {other} have one pristine payload"),
            all[b],
            "a copy of each one's own",
        );
    }
}
