//! The difference as a person reads it.

use super::again::Again;
use super::{Change, Difference, FieldChange, Value};
use std::fmt::{Result, Write};

/// Reasons of a chapter that are shown; the changes themselves stand above.
const REASONS_SHOWN: usize = 4;

impl Difference {
    /// The difference as text; one line if there is none.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> Result {
        if self.is_empty() {
            return writeln!(out, "{} and {}: no difference", self.old, self.new);
        }
        writeln!(out, "{} -> {}\n", self.old, self.new)?;
        for change in &self.changes {
            write_change(out, change)?;
        }
        writeln!(out, "\npartitions whose evidence must be looked at again")?;
        if self.partitions.is_empty() {
            writeln!(out, "  none")?;
        }
        for partition in &self.partitions {
            writeln!(out, "  {}", partition.name)?;
            for reason in &partition.reasons {
                writeln!(out, "    {reason}")?;
            }
        }
        writeln!(out, "\nchapters of the evidence pack that must be looked at again")?;
        for chapter in &self.chapters {
            write_chapter(out, chapter)?;
        }
        let (changes, partitions) = (self.changes.len(), self.partitions.len());
        writeln!(out, "\n{changes} changed, evidence of {partitions} partitions to look at again")
    }
}

fn write_change(out: &mut String, change: &Change) -> Result {
    let at = if change.place.is_empty() { String::new() } else { format!("  [{}]", change.place) };
    writeln!(out, "{:<8} {} {}{at}", change.verdict.word(), change.kind.word(), change.title)?;
    for FieldChange { name, old, new } in &change.fields {
        match (old, new) {
            (Some(old), Some(new)) => {
                writeln!(out, "           {name}: {} -> {}{}", old.value, new.value, places(old, new))?;
            }
            (Some(value), None) => writeln!(out, "         - {name}: {}{}", value.value, place(value))?,
            (None, Some(value)) => writeln!(out, "         + {name}: {}{}", value.value, place(value))?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn place(value: &Value) -> String {
    if value.place.is_empty() { String::new() } else { format!("  [{}]", value.place) }
}

fn places(old: &Value, new: &Value) -> String {
    if old.place.is_empty() { place(new) } else { format!("  [{} -> {}]", old.place, new.place) }
}

fn write_chapter(out: &mut String, chapter: &Again) -> Result {
    let shown = chapter.reasons.iter().take(REASONS_SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join("; ");
    match chapter.reasons.len().saturating_sub(REASONS_SHOWN) {
        0 => writeln!(out, "  {:<15} {shown}", chapter.name),
        more => writeln!(out, "  {:<15} {shown}; and {more} more", chapter.name),
    }
}
