//! NAM: names and identities.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::System;
use crate::span::{Span, Spanned};
use std::collections::HashMap;

/// Longest name, bytes: 32-byte fields with a terminating zero (hv/abi `info`, `fixed::NAME_BYTES`).
const NAME_MAX: usize = 31;

rule!(NAM_001, "NAM-001", Error, Check::System(check),
    "Two things share a name or an id, or a name does not fit.",
    why: "Logs, health records and evidence refer to names and ids; C headers fold them to upper case with underscores.",
    example: "a { id = <1>; }; b { id = <1>; };",
    fix: "give each its own; names have at most 31 of a-z A-Z 0-9 - _");

fn check(system: &System, out: &mut Vec<Finding>) {
    let partitions = &system.partitions;
    names("partitions", partitions.iter().map(|p| &p.name), out);
    names("plans", system.plans.iter().map(|p| &p.name), out);
    names("segments", system.segments.iter().map(|s| &s.name), out);
    ids("partitions", partitions.iter().map(|p| &p.id), out);
    ids("plans", system.plans.iter().map(|p| &p.id), out);
    let tables: Vec<_> = system.health_tables.iter().map(|t| Spanned::new(t.name.clone(), t.span)).collect();
    names("health tables", tables.iter(), out);
    for (index, partition) in partitions.iter().enumerate() {
        let ends = system.ports.iter().flat_map(|p| p.from.iter().chain(&p.to));
        let own = ends.filter(|e| e.partition == index).map(|e| &e.name);
        names(&format!("ports of {}", partition.name.value), own, out);
        names(
            &format!("regions of {}", partition.name.value),
            partition.regions.iter().map(|r| &r.name),
            out,
        );
        if partition.id.value == 0 {
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
                    .found(format!("{} characters", name.len()))
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
