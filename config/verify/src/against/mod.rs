//! Equality of an image with a configuration: what the source asks for, read by an interpretation of its own
//! ([`wanted`]), compared with what the image does.
//!
//! Compared: partitions and their CPUs, memory and regions and segments, devices, interrupts, ports, authority over
//! partitions and over the module, plans with every window, health tables, timing constants, calls, the system's part
//! number, console, logs and interrupt controller, where they are given, the board's facts, and, where their files can
//! be had, the payloads byte by byte. That windows meet their
//! requirements (`timing`, `max-age-us`) is shown by the compiler's rules, not here.

mod board;
mod compare;
mod health;
mod payloads;
mod system_parts;
mod times;
pub mod tree;
pub mod wanted;

use crate::claims::{Ledger, Outcome};
use crate::ranges::{Range, union};
use crate::report::{Against, Report};
use crate::system::System;
use crate::{Image, Unreadable};
use board::Facts;
use std::path::PathBuf;
use tree::Node;
use wanted::{Index, Partition};

/// A comparison.
struct Comparison {
    id: &'static str,
    title: &'static str,
    check: fn(&Sides<'_>, &mut Ledger),
}

/// Image and configuration.
struct Sides<'a> {
    system: &'a System<'a>,
    root: &'a Node,
    index: &'a Index<'a>,
    partitions: &'a [Partition<'a>],
    payloads: Option<&'a [PathBuf]>,
    /// RAM of the board that nobody may use.
    reserved: Vec<Range>,
    /// Facts of the board; `None`: none were given, or none of these are about it.
    facts: Option<Facts>,
}

/// What an image is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Configuration<'a> {
    /// Its file, for the report.
    pub file: &'a str,
    /// What dtc makes of it.
    pub blob: &'a [u8],
    /// Directories where the payloads that it names are looked for, in order; `None`: their contents are not compared.
    pub payloads: Option<&'a [PathBuf]>,
    /// Texts of the `board.toml` of every board that is known; none: what only they say is not compared.
    pub boards: &'a [&'a str],
}

const METHOD: &str =
    "configuration compiled by dtc, read by the verifier's own interpretation, compared field by field";

const COMPARISONS: &[Comparison] = &[
    Comparison {
        id: "AGT-001",
        title: "the partitions are those of the configuration, on its CPUs",
        check: compare::partitions,
    },
    Comparison {
        id: "AGT-002",
        title: "memory, regions and segments are those of the configuration, on RAM that nobody else keeps, at its physical \
                addresses where it fixes them; what outlives a start is what it keeps",
        check: compare::memory,
    },
    Comparison { id: "AGT-003", title: "device windows are exactly those granted", check: compare::devices },
    Comparison {
        id: "AGT-004",
        title: "interrupts are exactly those of the granted devices",
        check: compare::interrupts,
    },
    Comparison {
        id: "AGT-005",
        title: "ports connect whom the configuration connects, in its direction, and the ends of each have its memory in \
                common",
        check: system_parts::ports,
    },
    Comparison {
        id: "AGT-006",
        title: "authority over partitions and over the module is the configuration's, notices included",
        check: system_parts::authority,
    },
    Comparison {
        id: "AGT-007",
        title: "plans and windows are the configuration's",
        check: system_parts::plans,
    },
    Comparison {
        id: "AGT-008",
        title: "part number, console, logs, watchdog and interrupt controller are the configuration's",
        check: system_parts::module,
    },
    Comparison {
        id: "AGT-009",
        title: "what happens on each health event is the configuration's",
        check: health::tables,
    },
    Comparison {
        id: "AGT-010",
        title: "time-outs, watchdogs, refresh periods and doorbell intervals are the configuration's",
        check: times::constants,
    },
    Comparison {
        id: "AGT-011",
        title: "calls, console and restarts of each partition are the configuration's",
        check: times::calls,
    },
    Comparison {
        id: PAYLOADS,
        title: "each partition starts with the files of the configuration, byte by byte, and nothing else; code that a \
                file's format tells is executable and not writable, and the rest of the memory the reverse",
        check: payloads::contents,
    },
    Comparison {
        id: FACTS,
        title: "what EL2 takes the board for and does to it is what the board's facts say; a partition with a bus master \
                restarts only where the configuration says so; each sees its emulated devices where it is told",
        check: board::facts,
    },
];

/// The comparison that needs files beside the configuration.
pub(crate) const PAYLOADS: &str = "AGT-012";

/// The comparison that needs the board's facts.
pub(crate) const FACTS: &str = "AGT-013";

/// Identities of the comparisons, in the order of the report.
pub const IDS: &[&str] = &[
    "AGT-001", "AGT-002", "AGT-003", "AGT-004", "AGT-005", "AGT-006", "AGT-007", "AGT-008", "AGT-009",
    "AGT-010", "AGT-011", PAYLOADS, FACTS,
];

/// Verifies an image and compares it with a configuration.
///
/// # Errors
/// [`Unreadable`] if the image cannot be walked or the blob is none.
pub fn verify(image: &Image, configuration: &Configuration<'_>) -> Result<Report, Unreadable> {
    let Configuration { file, blob, payloads, boards } = *configuration;
    let view = image.open()?;
    let system = System::gather(&view);
    let root = tree::parse(blob).map_err(|e| Unreadable::File(format!("{file}: {e}")))?;
    let index = Index::of(&root);
    let partitions = wanted::partitions(&root, &index);
    let facts = Facts::of(&root, boards).map_err(|e| Unreadable::File(format!("facts of a board: {e}")))?;
    let firmware = facts.iter().flat_map(Facts::firmware);
    let blocks = tree::reservations(blob).into_iter().map(|(base, bytes)| Range::of(base, bytes));
    let reserved = union(firmware.chain(blocks).chain(index.reserved.iter().copied()).collect());
    let sides = Sides {
        system: &system,
        root: &root,
        index: &index,
        partitions: &partitions,
        payloads,
        reserved,
        facts,
    };
    let can = |id: &str| (payloads.is_some() || id != PAYLOADS) && (!boards.is_empty() || id != FACTS);
    let made = COMPARISONS.iter().filter(|c| can(c.id));
    let claims = made.map(|c| judge(c, &sides)).collect();
    let mut report = Report::new(&system, crate::claims::judge(&system, crate::claims::Depth::Everything));
    report.against = Some(Against { file: file.to_owned(), claims });
    Ok(report)
}

fn judge(comparison: &Comparison, sides: &Sides<'_>) -> Outcome {
    let mut ledger = Ledger::new(comparison.id);
    (comparison.check)(sides, &mut ledger);
    ledger.close(comparison.title, METHOD)
}

/// Ticks of the counter that `ns` take, rounded up: a time-out is never shorter than asked for.
fn ticks_up(sides: &Sides<'_>, ns: u64) -> u64 {
    let ticks = u128::from(ns) * u128::from(sides.system.view.header().cntfrq_hz);
    u64::try_from(ticks.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// The partition of the image with a name.
fn part<'a>(sides: &Sides<'a>, name: &str) -> Option<&'a crate::system::Part<'a>> {
    sides.system.partitions.iter().find(|p| p.name == name)
}
