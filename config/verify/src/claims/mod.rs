//! What must hold, claim by claim. Each examines the gathered system and says what it found and how much it examined.

mod board;
pub(crate) mod container;
pub(crate) mod direct;
mod health;
mod hypervisor;
mod interrupts;
mod loading;
mod memory;
mod port;
mod records;
mod schedule;

use crate::system::System;
use serde::Serialize;

/// Something that must hold in every image.
pub struct Claim {
    /// Stable identity, as VFY-001.
    pub id: &'static str,
    /// What holds, in one sentence.
    pub title: &'static str,
    /// How it is shown.
    pub method: &'static str,
    check: fn(&System<'_>, &mut Ledger),
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The claim's identity.
    pub claim: &'static str,
    /// The violation in one line.
    pub message: String,
    /// What is in the image.
    pub found: String,
    /// What must be.
    pub expected: String,
}

/// A judged claim.
#[derive(Clone, Serialize)]
pub struct Outcome {
    /// The claim's identity.
    pub id: &'static str,
    /// What it claims.
    pub title: &'static str,
    /// How it was examined.
    pub method: &'static str,
    /// How many things were examined.
    pub examined: u64,
    /// What kind of things.
    pub unit: &'static str,
    /// What stands against it.
    pub findings: Vec<Finding>,
    /// Findings beyond those kept.
    pub more: u64,
}

/// Most findings of one claim that are kept; further ones are counted.
pub const FINDINGS_MAX: usize = 20;

/// What a claim writes while it examines.
#[derive(Default)]
pub struct Ledger {
    claim: &'static str,
    examined: u64,
    unit: &'static str,
    findings: Vec<Finding>,
    more: u64,
}

impl Ledger {
    /// Nothing examined yet.
    #[must_use]
    pub fn new(claim: &'static str) -> Ledger {
        Ledger { claim, ..Ledger::default() }
    }

    /// The outcome of what was examined.
    #[must_use]
    pub fn close(self, title: &'static str, method: &'static str) -> Outcome {
        let Ledger { claim: id, examined, unit, findings, more } = self;
        Outcome { id, title, method, examined, unit, findings, more }
    }

    /// Counts `number` more things of a kind as examined.
    pub fn examined(&mut self, number: u64, unit: &'static str) {
        self.examined += number;
        self.unit = unit;
    }

    /// Records a violation.
    pub fn fail(
        &mut self,
        message: impl Into<String>,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) {
        if self.findings.len() == FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.findings.push(Finding {
            claim: self.claim,
            message: message.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        });
    }

    /// Records a violation unless both are equal.
    pub fn same<T: PartialEq + std::fmt::Display>(&mut self, message: &str, found: T, expected: T) {
        if found != expected {
            self.fail(message, found, expected);
        }
    }
}

/// How much is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every claim.
    Everything,
    /// All but the image's digest: to show that the other claims stand without it.
    WithoutDigest,
}

/// Every claim, in the order of the report.
pub const CLAIMS: &[&Claim] = &[
    &container::DIGEST,
    &container::PAYLOADS,
    &container::HEADER,
    &container::SEALED,
    &records::RECORDS,
    &memory::TABLES,
    &memory::DECLARED,
    &memory::ZONES,
    &memory::OWNERS,
    &memory::EXECUTION,
    &memory::EMULATED,
    &memory::COVERAGE,
    &loading::LOADER_VIEW,
    &loading::LOAD_LIST,
    &loading::PRISTINE,
    &hypervisor::OWN_MAP,
    &hypervisor::WORK_AREA,
    &board::BOARD,
    &port::PORTS,
    &port::DOORBELLS,
    &port::AUTHORITY,
    &health::HEALTH,
    &interrupts::ROUTES,
    &interrupts::PRESENT,
    &direct::DIRECT,
    &schedule::BINDING,
    &schedule::WINDOWS,
    &schedule::CLOCKS,
];

/// Judges every claim.
#[must_use]
pub fn judge(system: &System<'_>, depth: Depth) -> Vec<Outcome> {
    let wanted = |claim: &&&Claim| depth == Depth::Everything || claim.id != container::DIGEST.id;
    CLAIMS.iter().filter(wanted).map(|claim| judge_one(claim, system)).collect()
}

fn judge_one(claim: &Claim, system: &System<'_>) -> Outcome {
    let mut ledger = Ledger::new(claim.id);
    (claim.check)(system, &mut ledger);
    ledger.close(claim.title, claim.method)
}
