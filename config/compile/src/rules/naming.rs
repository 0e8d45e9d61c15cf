//! NAM: names and identities.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::System;
use crate::span::{Span, Spanned};
use bulkhead_abi::info::fixed;
use std::collections::HashMap;

/// Longest name, bytes: 32-byte fields with a terminating zero (hv/abi `info`, `fixed::NAME_BYTES`).
const NAME_MAX: usize = 31;

rule!(NAM_001, "NAM-001", Error, Check::System(check),
    "Two things share a name or an id, or a name does not fit.",
    why: "Logs, health records and evidence refer to names and ids; C headers fold them to upper case with underscores.",
    example: "a { id = <1>; }; b { id = <1>; };",
    fix: "give each its own; names have at most 31 of a-z A-Z 0-9 - _");

rule!(NAM_002, "NAM-002", Error, Check::System(reserved),
    "A partition has a name that the system speaks with.",
    why: "Console lines and health records begin with a name: a partition called `bulkhead` could speak for the hypervisor.",
    example: "bulkhead: bulkhead { compatible = \"openamp,domain-v1\", \"bulkhead,partition\"; };",
    fix: "choose another name");

rule!(NAM_003, "NAM-003", Error, Check::System(part_number),
    "The part number is empty, too long, or not printable.",
    why: "Banner, information region, report and evidence show it beside the image's digest; cut off it names another part.",
    example: "part-number = \"\";",
    fix: "give 1 to 63 printable ASCII characters");

rule!(NAM_004, "NAM-004", Warning, Check::System(look_alikes),
    "Two partitions have names that look alike.",
    why: "Whoever reads a log at night reads the wrong one (l and 1, o and 0).",
    example: "node1: node1 { }; nodel: nodel { };",
    fix: "give one of them a name that cannot be misread");

fn check(system: &System, out: &mut Vec<Finding>) {
    let partitions = &system.partitions;
    names("partitions", partitions.iter().map(|p| &p.name), out);
    names("plans", system.plans.iter().map(|p| &p.name), out);
    names("segments", system.segments.iter().map(|s| &s.name), out);
    let stated = |node: Span| !system.doubts.about(node, "id");
    ids("partitions", partitions.iter().filter(|p| stated(p.span)).map(|p| &p.id), out);
    ids("plans", system.plans.iter().filter(|p| stated(p.span)).map(|p| &p.id), out);
    let tables: Vec<_> = system.health_tables.iter().map(|t| Spanned::new(t.name.clone(), t.span)).collect();
    names("health tables", tables.iter(), out);
    let mut ends: Vec<Vec<&Spanned<String>>> = vec![Vec::new(); partitions.len()];
    for end in system.ports.iter().flat_map(|p| p.from.iter().chain(&p.to)) {
        ends[end.partition].push(&end.name);
    }
    for (own, partition) in ends.into_iter().zip(partitions) {
        names(&format!("ports of {}", partition.name.value), own.into_iter(), out);
        names(
            &format!("regions of {}", partition.name.value),
            partition.regions.iter().map(|r| &r.name),
            out,
        );
        if partition.id.value == 0 && !system.doubts.about(partition.span, "id") {
            let finding = Finding::new(
                &NAM_001,
                "a partition's id is zero",
                partition.id.span,
                "zero is the hypervisor's",
            )
            .found("0")
            .expected("1 or more");
            out.push(finding);
        }
    }
}

fn names<'a>(what: &str, list: impl Iterator<Item = &'a Spanned<String>>, out: &mut Vec<Finding>) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    for name in list {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.len() > NAME_MAX || name.is_empty() || !name.chars().all(legal) {
            let finding =
                Finding::new(&NAM_001, format!("`{}` cannot be a name", name.value), name.span, "this name")
                    .found(match name.chars().find(|c| !legal(*c)) {
                        Some(odd) => format!("`{odd}`"),
                        None => format!("{} characters", name.len()),
                    })
                    .expected("1 to 31 of a-z A-Z 0-9 - _");
            out.push(finding);
        }
        let folded = name.to_ascii_uppercase().replace('-', "_");
        match seen.get(&folded) {
            Some(first) if *first != name.span => out.push(
                Finding::new(
                    &NAM_001,
                    format!("two {what} are called `{}`", name.value),
                    name.span,
                    "second",
                )
                .also(*first, "first")
                .found(format!("both are {folded} in a C header"))
                .expected("a name of its own for each"),
            ),
            Some(_) => {}
            None => drop(seen.insert(folded, name.span)),
        }
    }
}

fn ids<'a>(what: &str, list: impl Iterator<Item = &'a Spanned<u32>>, out: &mut Vec<Finding>) {
    let mut seen: HashMap<u32, Span> = HashMap::new();
    for id in list {
        if let Some(first) = seen.get(&id.value) {
            let finding =
                Finding::new(&NAM_001, format!("two {what} have id {}", id.value), id.span, "second")
                    .also(*first, "first")
                    .found(format!("id {} twice", id.value))
                    .expected("an id of its own for each");
            out.push(finding);
        } else {
            seen.insert(id.value, id.span);
        }
    }
}

/// Names that lines of the hypervisor's own begin with, or that stand for more than one partition.
const RESERVED: [&str; 4] = ["bulkhead", "hypervisor", "module", "all"];

fn reserved(system: &System, out: &mut Vec<Finding>) {
    for partition in
        system.partitions.iter().filter(|p| RESERVED.contains(&p.name.to_ascii_lowercase().as_str()))
    {
        let name = &partition.name.value;
        let finding = Finding::new(
            &NAM_002,
            format!("`{name}` is not a partition's name"),
            partition.name.span,
            "this name",
        )
        .found(name.clone())
        .expected(format!("none of {}", RESERVED.join(", ")));
        out.push(finding);
    }
}

fn part_number(system: &System, out: &mut Vec<Finding>) {
    let number = &system.hypervisor.part_number;
    let printable = number.bytes().all(|b| (b' '..=b'~').contains(&b));
    let absent = number.span == system.hypervisor.span;
    if !absent && (number.is_empty() || number.len() >= fixed::PART_NUMBER_BYTES || !printable) {
        let finding = Finding::new(&NAM_003, "the part number cannot be shown", number.span, "this text")
            .found(format!("{} bytes", number.len()))
            .expected(format!("1 to {} printable ASCII characters", fixed::PART_NUMBER_BYTES - 1));
        out.push(finding);
    }
}

fn look_alikes(system: &System, out: &mut Vec<Finding>) {
    let folded = |name: &str| name.to_ascii_lowercase().replace('0', "o").replace(['1', 'i'], "l");
    let mut seen: HashMap<String, &Spanned<String>> = HashMap::new();
    for partition in &system.partitions {
        let name = &partition.name;
        match seen.insert(folded(name), name) {
            // Equal names are NAM-001's matter.
            Some(first) if !first.eq_ignore_ascii_case(name) => {
                let message = format!("`{}` and `{}` look alike", first.value, name.value);
                let finding = Finding::new(&NAM_004, message, name.span, "second")
                    .also(first.span, "first")
                    .found(format!("{} and {}", first.value, name.value))
                    .expected("names that differ in more than l, 1, i, o and 0");
                out.push(finding);
            }
            _ => {}
        }
    }
}
