//! What changed between two configurations, or between two packed images, and whose evidence must be looked at again.
//!
//! Both sides become a [`Description`]: elements (partition, port, plan, ...) of named fields, each with the partitions
//! that it concerns. Elements are compared by identity, fields by name; order and place of the text do not count.
//!
//! Honest limits: a configuration and an image are never compared with each other here (`bulkhead verify --against`
//! does that); what partitions share reaches one step far: who shares something with a changed partition is named, who
//! shares something with that one is not.
//!
//! Reading order: [`image`] describes an image, `bulkhead-evidence` a configuration, [`Difference::between`] compares, [`again`] concludes.

pub mod again;
pub mod image;
mod text;

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Version of [`Difference`] as JSON.
pub const SCHEMA: &str = "bulkhead-diff-1";

/// The JSON schema of [`Difference::to_json`], as `config/evidence/schema/diff.schema.json` publishes it.
#[must_use]
pub fn schema() -> String {
    // A schema is plain JSON: nothing in it can fail.
    serde_json::to_string_pretty(&schemars::schema_for!(Difference)).unwrap_or_default() + "\n"
}

/// What an element is; the order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Part number and digests.
    Identity,
    /// Board, EL2, and what it keeps for itself.
    Hypervisor,
    /// A partition.
    Partition,
    /// Memory of a partition: range, region, shared segment.
    Memory,
    /// A device passed through.
    Device,
    /// A physical interrupt.
    Interrupt,
    /// A port.
    Port,
    /// A plan.
    Plan,
    /// A health table.
    Health,
    /// An authority.
    Authority,
    /// An accepted finding.
    Acceptance,
}

impl Kind {
    /// Its name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Identity => "identity",
            Kind::Hypervisor => "hypervisor",
            Kind::Partition => "partition",
            Kind::Memory => "memory",
            Kind::Device => "device",
            Kind::Interrupt => "interrupt",
            Kind::Port => "port",
            Kind::Plan => "plan",
            Kind::Health => "health table",
            Kind::Authority => "authority",
            Kind::Acceptance => "acceptance",
        }
    }
}

/// Names of partitions.
pub type Names = BTreeSet<String>;

/// One property of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its value, as text without loss.
    pub value: String,
    /// `file:line:column`; empty in an image.
    pub place: String,
    /// Partitions that a change concerns; `None`: those of the element.
    pub concerns: Option<Names>,
}

/// Something that is added, removed or changed as one.
#[derive(Debug, Clone)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// What it is called in reports.
    pub title: String,
    /// `file:line:column`; empty in an image.
    pub place: String,
    /// Partitions that it concerns.
    pub concerns: Names,
    /// Its properties.
    pub fields: BTreeMap<String, Field>,
}

impl Element {
    /// An element without properties.
    #[must_use]
    pub fn new(kind: Kind, title: impl Into<String>, place: String, concerns: Names) -> Element {
        Element { kind, title: title.into(), place, concerns, fields: BTreeMap::new() }
    }

    /// Adds a property at the element's own place.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) -> &mut Field {
        let field = Field { value: value.to_string(), place: self.place.clone(), concerns: None };
        self.fields.entry(name.into()).insert_entry(field).into_mut()
    }
}

/// Partitions that share something.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What they share.
    pub what: String,
    /// The partitions.
    pub partitions: Names,
}

/// What one partition does to others without sharing anything by name.
#[derive(Debug, Clone)]
pub struct Influence {
    /// What it does.
    pub what: String,
    /// The one that does it.
    pub cause: String,
    /// The others.
    pub on: Names,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// By kind and identity.
    pub elements: BTreeMap<(Kind, String), Element>,
    /// What partitions share.
    pub shared: Vec<Shared>,
    /// What goes one way.
    pub influences: Vec<Influence>,
}

impl Description {
    /// Adds an element; equal identities are told apart by their number.
    pub fn add(&mut self, key: impl Into<String>, element: Element) {
        let first = key.into();
        let mut key = (element.kind, first.clone());
        let mut number = 1;
        while self.elements.contains_key(&key) {
            number += 1;
            key.1 = format!("{first} ({number})");
        }
        self.elements.insert(key, element);
    }

    /// Notes that partitions share something; of one partition alone there is nothing to note.
    pub fn share(&mut self, what: impl Into<String>, partitions: Names) {
        if partitions.len() > 1 {
            self.shared.push(Shared { what: what.into(), partitions });
        }
    }
}

/// What happened to an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Only the new side has it.
    Added,
    /// Only the old side has it.
    Removed,
    /// Both have it, with other properties.
    Changed,
}

impl Verdict {
    /// Its name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Added => "added",
            Verdict::Removed => "removed",
            Verdict::Changed => "changed",
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Value {
    /// The value.
    pub value: String,
    /// `file:line:column`; empty in an image.
    pub place: String,
}

/// A property that differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FieldChange {
    /// The property.
    pub name: String,
    /// Its old value; `None`: there was none.
    pub old: Option<Value>,
    /// Its new value; `None`: there is none.
    pub new: Option<Value>,
}

/// An element that differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Change {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub title: String,
    /// What happened.
    pub verdict: Verdict,
    /// `file:line:column`: of the new one, of the old one if it was removed; empty in an image.
    pub place: String,
    /// Properties that differ; all of them if the element was added or removed.
    pub fields: Vec<FieldChange>,
    /// Partitions that the change concerns itself.
    pub concerns: Names,
}

impl Change {
    /// `port state changed`.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{} {} {}", self.kind.word(), self.title, self.verdict.word())
    }
}

/// The difference of two sides.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Difference {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the old side.
    pub old: String,
    /// Name of the new side.
    pub new: String,
    /// What changed, in the order of [`Kind`].
    pub changes: Vec<Change>,
    /// Partitions whose evidence must be looked at again.
    pub partitions: Vec<again::Again>,
    /// Chapters of the evidence pack that must be looked at again.
    pub chapters: Vec<again::Again>,
}

impl Difference {
    /// Compares two sides with their names.
    #[must_use]
    pub fn between(old: (&str, &Description), new: (&str, &Description)) -> Difference {
        let (a, b) = (&old.1.elements, &new.1.elements);
        let keys: BTreeSet<&(Kind, String)> = a.keys().chain(b.keys()).collect();
        let changes: Vec<Change> = keys.into_iter().filter_map(|k| change(a.get(k), b.get(k))).collect();
        let partitions = again::partitions(&changes, old.1, new.1);
        let chapters = again::chapters(&changes);
        let (old, new) = (old.0.to_owned(), new.0.to_owned());
        Difference { schema: SCHEMA, old, new, changes, partitions, chapters }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The difference as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings alone: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// The change of one element; `None` if it is the same.
fn change(old: Option<&Element>, new: Option<&Element>) -> Option<Change> {
    let shown = new.or(old)?;
    let verdict = match (old, new) {
        (None, _) => Verdict::Added,
        (_, None) => Verdict::Removed,
        _ => Verdict::Changed,
    };
    let none = BTreeMap::new();
    let (a, b) = (old.map_or(&none, |e| &e.fields), new.map_or(&none, |e| &e.fields));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut concerns = Names::new();
    if verdict != Verdict::Changed {
        concerns.extend(shown.concerns.iter().cloned());
    }
    let mut fields = Vec::new();
    for name in names {
        let (from, to) = (a.get(name), b.get(name));
        if from.map(|f| &f.value) == to.map(|f| &f.value) {
            continue;
        }
        for (field, element) in [(from, old), (to, new)] {
            // The side that lacks the property concerns nobody by it.
            let (Some(field), Some(element)) = (field, element) else { continue };
            concerns.extend(field.concerns.as_ref().unwrap_or(&element.concerns).iter().cloned());
        }
        let value = |f: &Field| Value { value: f.value.clone(), place: f.place.clone() };
        fields.push(FieldChange { name: name.clone(), old: from.map(value), new: to.map(value) });
    }
    if verdict == Verdict::Changed && fields.is_empty() {
        return None;
    }
    let (kind, title, place) = (shown.kind, shown.title.clone(), shown.place.clone());
    Some(Change { kind, title, verdict, place, fields, concerns })
}
