//! What was shown, for people and for programs.

use crate::claims::container::hex;
use crate::claims::{Finding, Outcome};
use crate::image::text;
use crate::ports::PortEntry;
use crate::ranges::Range;
use crate::system::{Part, System};
use crate::walk::Mapped;
use crate::{COMMON_MODE, LIMITS};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Everything about one image.
#[derive(Clone, Serialize)]
pub struct Report {
    /// Name and version of the verifier.
    pub verifier: &'static str,
    /// What was verified.
    pub image: Identity,
    /// Claims with their outcomes.
    pub claims: Vec<Outcome>,
    /// Outcomes of the comparison with a configuration; `None` if there was none.
    pub against: Option<Against>,
    /// The image's own parts in physical memory.
    pub zones: Vec<Zone>,
    /// Who reaches what.
    pub partitions: Vec<Reached>,
    /// What EL2 maps for itself.
    pub el2: Vec<Mapped>,
    /// What compiler and verifier have in common.
    pub common_mode: &'static str,
    /// What a clean report does not show.
    pub limits: &'static [&'static str],
}

/// A part of the image in memory.
#[derive(Clone, Serialize)]
pub struct Zone {
    /// What it is.
    pub what: &'static str,
    /// Its physical addresses.
    pub range: Range,
}

/// What an image is.
#[derive(Clone, Serialize)]
pub struct Identity {
    /// The image ID: the digest that EL2 compares at boot and that the boot banner, the information pages and the
    /// Linux tool show. VFY-001 says whether it is that of the bytes.
    pub image_id: String,
    /// SHA-256 of the whole file, to compare files.
    pub file_sha256: String,
    /// The system's part number.
    pub part_number: String,
    /// The board.
    pub board: String,
    /// Bytes of the file.
    pub bytes: usize,
}

/// A comparison with a configuration.
#[derive(Clone, Serialize)]
pub struct Against {
    /// The configuration's file.
    pub file: String,
    /// Its outcomes.
    pub claims: Vec<Outcome>,
}

/// What one partition reaches.
#[derive(Clone, Serialize)]
pub struct Reached {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub id: u32,
    /// At run time.
    pub run: Vec<Mapped>,
    /// While it is loaded.
    pub load: Vec<Mapped>,
    /// Physical interrupts that are its own.
    pub interrupts: Vec<u32>,
    /// Its ports.
    pub ports: Vec<PortEntry>,
}

impl Report {
    /// A report from the gathered system and the judged claims.
    #[must_use]
    pub fn new(system: &System<'_>, claims: Vec<Outcome>) -> Report {
        let header = system.view.header();
        let image = Identity {
            image_id: hex(&header.sha256),
            file_sha256: hex(&Sha256::digest(system.view.file())),
            part_number: text(&header.part_number),
            board: text(&header.board),
            bytes: system.view.file().len(),
        };
        Report {
            verifier: concat!("bulkhead-verify ", env!("CARGO_PKG_VERSION")),
            image,
            claims,
            against: None,
            zones: zones(system),
            partitions: system.partitions.iter().map(reached).collect(),
            el2: system.el2.mapped.clone(),
            common_mode: COMMON_MODE,
            limits: LIMITS,
        }
    }

    /// All findings, those against a configuration included.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.outcomes().flat_map(|c| &c.findings)
    }

    /// All outcomes, those against a configuration included.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.claims.iter().chain(self.against.iter().flat_map(|a| &a.claims))
    }

    /// Whether every claim holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings().next().is_none()
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers alone: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The report as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let image = &self.image;
        writeln!(out, "part {} on {}, image ID {}", image.part_number, image.board, image.image_id)?;
        for outcome in self.outcomes() {
            let verdict = if outcome.findings.is_empty() { "holds" } else { "FAILS" };
            let (id, count, unit) = (outcome.id, outcome.examined, outcome.unit);
            writeln!(out, "{id}  {verdict}  {}  [{count} {unit}]", outcome.title)?;
            for finding in &outcome.findings {
                let Finding { message, found, expected, .. } = finding;
                writeln!(out, "  {message}\n    found:    {found}\n    expected: {expected}")?;
            }
            if outcome.more > 0 {
                writeln!(out, "  and {} more", outcome.more)?;
            }
        }
        writeln!(out, "\nwho reaches what at run time")?;
        for partition in &self.partitions {
            writeln!(out, "  {} {}", partition.id, partition.name)?;
            for m in &partition.run {
                writeln!(
                    out,
                    "    {:#012x} -> {:#012x} {:>10} KiB {}",
                    m.input,
                    m.output,
                    m.bytes >> 10,
                    m.access
                )?;
            }
            writeln!(out, "    interrupts {:?}", partition.interrupts)?;
        }
        writeln!(out, "\nCommon mode: {}", self.common_mode)?;
        for limit in self.limits {
            writeln!(out, "Not shown: {limit}")?;
        }
        if self.against.is_none() {
            writeln!(out, "Not compared with a configuration: name one with --against")?;
        } else if !self.outcomes().any(|c| c.id == crate::against::PAYLOADS) {
            writeln!(out, "Not compared: the contents of payloads, for lack of their files")?;
        }
        let failed = self.outcomes().filter(|c| !c.findings.is_empty()).count();
        writeln!(out, "{} claims, {failed} failed", self.outcomes().count())
    }
}

fn zones(system: &System<'_>) -> Vec<Zone> {
    let view = system.view;
    let all = [
        ("EL2: instructions, constants, data", view.el2()),
        ("sealed: blueprint, pages, lists, loader, tables", view.sealed()),
        ("segments that nobody writes", view.constants()),
        ("pristine payloads", view.payloads()),
        ("EL2's work area: dynamic pages, rings, state of partitions and vCPUs", view.work()),
        ("EL2's stacks", view.stacks()),
        ("memory of ports", view.ports()),
    ];
    all.into_iter().filter(|(_, r)| !r.is_empty()).map(|(what, range)| Zone { what, range }).collect()
}

/// Physical interrupts that are the partition's own.
#[must_use]
pub fn interrupts(part: &Part<'_>) -> Vec<u32> {
    let bits = part.record.irq_owned.iter().enumerate();
    let list = bits.flat_map(|(word, bits)| {
        let base = word as u32 * 32;
        (0..32).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| base + bit)
    });
    list.collect()
}

fn reached(part: &Part<'_>) -> Reached {
    Reached {
        name: part.name.clone(),
        id: part.record.id,
        run: part.run.mapped.clone(),
        load: part.load.mapped.clone(),
        interrupts: interrupts(part),
        ports: part.ports.clone().unwrap_or_default(),
    }
}
