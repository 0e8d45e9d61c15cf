//! What was shown, for people and for programs.

use crate::claims::container::hex;
use crate::claims::{Finding, Outcome};
use crate::image::text;
use crate::ports::PortEntry;
use crate::ranges::Range;
use crate::system::{Part, System};
use crate::walk::Mapped;
use crate::{COMMON_MODE, LIMITS};
use bulkhead_abi::hypercall as call;
use bulkhead_blueprint::layout::{Reach, reach};
use bulkhead_blueprint::span;
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
    /// What each stretch of `run` is declared to be, in that order.
    pub what: Vec<String>,
    /// While it is loaded.
    pub load: Vec<Mapped>,
    /// Physical interrupts that are its own.
    pub interrupts: Vec<u32>,
    /// Its ports.
    pub ports: Vec<PortEntry>,
    /// What it may do to others, to the plan and to the board.
    pub powers: Vec<String>,
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
            partitions: system.partitions.iter().map(|part| reached(system, part)).collect(),
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
            for (m, what) in partition.run.iter().zip(&partition.what) {
                writeln!(
                    out,
                    "    {:#012x} -> {:#012x} {:>10} KiB {}  {what}",
                    m.input,
                    m.output,
                    m.bytes >> 10,
                    m.access
                )?;
            }
            writeln!(out, "    interrupts {:?}", partition.interrupts)?;
            for power in &partition.powers {
                writeln!(out, "    may {power}")?;
            }
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
        if self.against.is_some() && !self.outcomes().any(|c| c.id == crate::against::FACTS) {
            writeln!(out, "Not compared: the board's facts, for none were given")?;
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

/// Most declared pieces that are named of a stretch.
const NAMED_MAX: usize = 8;

/// What each stretch of the run-time walk is declared to be; both sides go up by input address, and each is gone through
/// once.
fn declared(part: &Part<'_>) -> Vec<String> {
    let mut reaches = part.reaches.clone();
    reaches.sort_by_key(|r| r.ipa);
    let mut next = 0;
    let name = |stretch: &Mapped| {
        let before = |r: &Reach| Range::of(r.ipa, r.bytes).end <= stretch.input;
        next += reaches[next..].iter().take_while(|r| before(r)).count();
        let near = reaches[next..].iter().take(NAMED_MAX);
        let inside = near.filter(|r| Range::of(r.ipa, r.bytes).overlaps(&stretch.inputs()));
        let mut names: Vec<String> = inside.map(|r| kind(part, r)).collect();
        names.dedup();
        names.join(", ")
    };
    part.run.mapped.iter().map(name).collect()
}

fn kind(part: &Part<'_>, reach: &Reach) -> String {
    let fixed = match reach.kind {
        reach::MEMORY => "memory",
        reach::REGION => "region",
        reach::SEGMENT => "segment",
        reach::INFO_DYNAMIC => "information page that EL2 updates",
        reach::INFO_STATIC => "information pages",
        reach::DEVICE => "device",
        reach::CPU_INTERFACE => "CPU interface",
        reach::TRACE => "trace",
        reach::HEALTH => "health log",
        reach::PORT => {
            let port = part.ports.as_ref().and_then(|ports| ports.get(reach.port as usize));
            return format!("port {}", port.map_or("without a name", |port| port.name.as_str()));
        }
        _ => "unknown",
    };
    fixed.to_owned()
}

/// What a partition may do beyond its own memory, ports and interrupts.
fn powers(system: &System<'_>, part: &Part<'_>) -> Vec<String> {
    let (blueprint, record) = (&system.view.blueprint, part.record);
    let words = ["status", "suspend", "resume", "halt", "restart"];
    let granted = |rights: u32| {
        let held =
            (0..).zip(words).filter(|(bit, _): &(u32, _)| rights >> bit & 1 == 1).map(|(_, word)| word);
        held.collect::<Vec<_>>().join(", ")
    };
    let records = span(blueprint.authorities, record.authority_first, record.authority_count);
    let mut out: Vec<String> = records
        .iter()
        .map(|a| format!("{} {}", granted(a.rights), system.name(a.partition as usize)))
        .collect();
    let plans =
        (0u32..).zip(blueprint.plans).filter(|(bit, _)| record.plans.checked_shr(*bit).unwrap_or(0) & 1 == 1);
    let plans: Vec<u32> = plans.map(|(_, plan)| plan.id).collect();
    if record.grants >> (call::PLAN_SET - call::BASE) & 1 == 1 && !plans.is_empty() {
        out.push(format!("enter the plans {plans:?}"));
    }
    if record.grants >> (call::SYSTEM_RESET - call::BASE) & 1 == 1 {
        out.push("reset the board".to_owned());
    }
    out
}

fn reached(system: &System<'_>, part: &Part<'_>) -> Reached {
    Reached {
        name: part.name.clone(),
        id: part.record.id,
        run: part.run.mapped.clone(),
        what: declared(part),
        load: part.load.mapped.clone(),
        interrupts: interrupts(part),
        ports: part.ports.clone().unwrap_or_default(),
        powers: powers(system, part),
    }
}
