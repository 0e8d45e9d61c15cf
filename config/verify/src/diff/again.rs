//! Whose evidence must be looked at again, and why.

use super::{Change, Description, Kind, Names, Shared};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A partition or a chapter with the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Again {
    /// Name of the partition, or anchor of the chapter.
    pub name: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// Chapters that what one kind of element says goes into, by anchor, beside [`ALWAYS`].
pub const CHAPTERS: &[(Kind, &[&str])] = &[
    (Kind::Identity, &[]),
    (
        Kind::Hypervisor,
        &["allocation", "memory", "schedule", "flow", "health", "dma", "channels", "freedom", "requirements"],
    ),
    (Kind::Partition, &["allocation", "schedule", "flow", "channels", "freedom", "requirements"]),
    (Kind::Memory, &["allocation", "memory", "freedom", "requirements"]),
    (Kind::Device, &["allocation", "memory", "flow", "dma", "channels", "freedom", "requirements"]),
    (Kind::Interrupt, &["allocation", "channels", "requirements"]),
    (Kind::Port, &["memory", "schedule", "flow", "channels", "freedom", "requirements"]),
    (Kind::Plan, &["schedule", "flow", "channels", "freedom", "requirements"]),
    (Kind::Health, &["health", "flow", "freedom"]),
    (Kind::Authority, &["flow", "health", "freedom"]),
    (Kind::Acceptance, &["justifications", "channels", "freedom", "requirements"]),
];

/// Chapters that every change but that of an identity goes into: results, and what is open.
pub const ALWAYS: &[&str] = &["rules", "verifier", "assumptions", "open"];

/// Chapters that an identity alone goes into: the verifier's results are about one image.
const OF_IDENTITY: &[&str] = &["verifier"];

/// Partitions that a change concerns, then those that share something with such a one or that it
/// influences.
#[must_use]
pub fn partitions(changes: &[Change], old: &Description, new: &Description) -> Vec<Again> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in changes {
        for name in &change.concerns {
            reasons.entry(name).or_default().push(change.headline());
        }
    }
    let changed: Names = reasons.keys().map(|name| (*name).to_owned()).collect();
    for group in old.shared.iter().chain(&new.shared) {
        sharing(group, &changed, &mut reasons);
    }
    for influence in old.influences.iter().chain(&new.influences).filter(|i| changed.contains(&i.cause)) {
        let reason = format!("influenced by {}: {}", influence.cause, influence.what);
        for name in &influence.on {
            let own = reasons.entry(name).or_default();
            if !own.contains(&reason) {
                own.push(reason.clone());
            }
        }
    }
    reasons.into_iter().map(|(name, reasons)| Again { name: name.to_owned(), reasons }).collect()
}

fn sharing<'a>(group: &'a Shared, changed: &Names, reasons: &mut BTreeMap<&'a str, Vec<String>>) {
    for name in &group.partitions {
        let others = group.partitions.intersection(changed).filter(|other| *other != name);
        let others: Vec<&str> = others.map(String::as_str).collect();
        if others.is_empty() {
            continue;
        }
        let reason = format!("shares {} with {}", group.what, others.join(", "));
        let own = reasons.entry(name).or_default();
        if !own.contains(&reason) {
            own.push(reason);
        }
    }
}

/// Chapters that some change goes into.
#[must_use]
pub fn chapters(changes: &[Change]) -> Vec<Again> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in changes {
        let always = if change.kind == Kind::Identity { OF_IDENTITY } else { ALWAYS };
        let own = CHAPTERS.iter().filter(|(kind, _)| *kind == change.kind).flat_map(|(_, list)| *list);
        for chapter in own.chain(always) {
            reasons.entry(chapter).or_default().push(change.headline());
        }
    }
    reasons.into_iter().map(|(name, reasons)| Again { name: name.to_owned(), reasons }).collect()
}
