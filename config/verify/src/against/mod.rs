//! Equality of an image with a configuration: what the source asks for, read by an interpretation of its own
//! ([`wanted`]), compared with what the image does.
//!
//! Compared: partitions and their CPUs, memory and regions and segments, devices, interrupts, ports, authority over
//! partitions, plans with every window, the system's part number, console and interrupt controller. Not compared:
//! health tables, payloads' contents and timing requirements; the report says so.

mod compare;
mod system_parts;
pub mod tree;
pub mod wanted;

use crate::claims::{Ledger, Outcome};
use crate::report::{Against, Report};
use crate::system::System;
use crate::{Image, Unreadable};
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
        title: "memory, regions and segments are those of the configuration",
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
        title: "ports connect whom the configuration connects, in its direction",
        check: system_parts::ports,
    },
    Comparison {
        id: "AGT-006",
        title: "authority over partitions is the configuration's",
        check: system_parts::authority,
    },
    Comparison {
        id: "AGT-007",
        title: "plans and windows are the configuration's",
        check: system_parts::plans,
    },
    Comparison {
        id: "AGT-008",
        title: "part number, console and interrupt controller are the configuration's",
        check: system_parts::module,
    },
];

/// Identities of the comparisons, in the order of the report.
pub const IDS: &[&str] =
    &["AGT-001", "AGT-002", "AGT-003", "AGT-004", "AGT-005", "AGT-006", "AGT-007", "AGT-008"];

/// Verifies an image and compares it with a configuration: the blob that dtc makes of it.
///
/// # Errors
/// [`Unreadable`] if the image cannot be walked or the blob is none.
pub fn verify(image: &Image, file: &str, blob: &[u8]) -> Result<Report, Unreadable> {
    let view = image.open()?;
    let system = System::gather(&view);
    let root = tree::parse(blob).map_err(|e| Unreadable::File(format!("{file}: {e}")))?;
    let index = Index::of(&root);
    let partitions = wanted::partitions(&root, &index);
    let sides = Sides { system: &system, root: &root, index: &index, partitions: &partitions };
    let claims = COMPARISONS.iter().map(|c| judge(c, &sides)).collect();
    let mut report = Report::new(&system, crate::claims::judge(&system, crate::claims::Depth::Everything));
    report.against = Some(Against { file: file.to_owned(), claims });
    Ok(report)
}

fn judge(comparison: &Comparison, sides: &Sides<'_>) -> Outcome {
    let mut ledger = Ledger::new(comparison.id);
    (comparison.check)(sides, &mut ledger);
    ledger.close(comparison.title, METHOD)
}

/// The partition of the image with a name.
fn part<'a>(sides: &Sides<'a>, name: &str) -> Option<&'a crate::system::Part<'a>> {
    sides.system.partitions.iter().find(|p| p.name == name)
}
