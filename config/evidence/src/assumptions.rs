//! Assumptions of use: what has to be true outside the pack, by the numbers of `docs/safety-manual.md`, and what this
//! configuration says about each.

use crate::model::{Section, Table};
use crate::sections::Source;
use crate::standing;
use bulkhead_compile::model::{DeviceIndex, Partition, System};
use bulkhead_compile::rules::plan::time;

/// Number and text of each, word for word as in the safety manual.
pub const ASSUMPTIONS: &[(&str, &str)] = &[
    ("AoU-HW-1", "The CPU translates, routes interrupts and counts time as the Arm architecture says."),
    ("AoU-HW-2", "Firmware enters the image at EL2 on one CPU and leaves secure state alone afterwards."),
    (
        "AoU-HW-3",
        "Firmware's device tree is truthful; EL2 compares memory, CPUs and interrupt controller with it.",
    ),
    ("AoU-HW-4", "The image that boots is the image that was certified."),
    ("AoU-HW-5", "Memory errors are detected or tolerated by other means."),
    ("AoU-HW-6", "Every bus master that a partition has and no IOMMU bounds is argued for."),
    (
        "AoU-CFG-1",
        "The pack is made by `bulkhead certify` from the files whose digests it lists, and `bulkhead verify-evidence` finds \
         nothing wrong with it.",
    ),
    ("AoU-CFG-2", "Each accepted finding's reason is true and stays true."),
    (
        "AoU-CFG-3",
        "Durations, periods, deadlines and limits of ports are those that the application needs, and its execution times \
         keep within them.",
    ),
    ("AoU-CFG-4", "Overheads marked as estimated are measured on the board, or the estimate is argued for."),
    ("AoU-CFG-5", "Health actions are fit for the hazard: what stops, what restarts, who is told."),
    ("AoU-CFG-6", "The records that compiler and verifier share are right (common mode)."),
    ("AoU-CFG-7", "Plans change further apart than the longest period, deadline or limit that is stated."),
    (
        "AoU-CFG-8",
        "Who rings a doorbell keeps to its interval, and who waits for one does not give windows back that its latency \
         counts on.",
    ),
    (
        "AoU-PRT-1",
        "A partition treats messages of lower criticality as hostile: range checks, plausibility, age.",
    ),
    ("AoU-PRT-2", "Where a standard asks for end-to-end protection, the application adds a checksum."),
    ("AoU-PRT-3", "Pages that EL2 shares (information region, rings) are mapped Normal write-back."),
    ("AoU-PRT-4", "A partition that shares a CPU tolerates cold caches at the start of a window."),
    (
        "AoU-PRT-5",
        "A payload whose format does not tell code from data protects itself: its memory is writable and executable at \
         stage 2.",
    ),
    (
        "AoU-INT-1",
        "Slow-down by shared caches, interconnect and memory controller, and by the TLB and instruction cache maintenance of \
         others, is bounded by measurement.",
    ),
    (
        "AoU-INT-2",
        "Covert and side channels by shared hardware are acceptable, or cleaning is asked for at each window.",
    ),
];

/// Names in a row, or the words for none.
fn names<'a>(list: impl Iterator<Item = &'a str>, none: &str) -> String {
    let list: Vec<&str> = list.collect();
    if list.is_empty() { none.to_owned() } else { list.join(", ") }
}

fn accepted(source: &Source<'_>, rule: Option<&str>) -> usize {
    let wanted = source.findings.iter().filter(|f| rule.is_none_or(|id| f.rule.id == id));
    wanted.filter(|f| f.accepted.is_some()).count()
}

/// Bus masters, which no IOMMU bounds, with their partitions.
fn masters(system: &System) -> String {
    let named = |(p, d): (&Partition, DeviceIndex)| {
        format!("{} of {}", system.devices[d].display_name(), p.name.value)
    };
    let list: Vec<String> = standing::masters(system).into_iter().map(named).collect();
    names(list.iter().map(String::as_str), "no bus master is granted")
}

/// CPUs that several partitions share.
fn shared(system: &System) -> String {
    let list: Vec<String> = standing::shared_cpus(system).iter().map(|c| format!("CPU {c}")).collect();
    names(list.iter().map(String::as_str), "no CPU is shared")
}

/// Windows before which something is cleaned, of all.
fn cleaned(system: &System) -> String {
    let (clean, all) = standing::cleaned(system, |_| true);
    if all == 0 {
        "there are no windows".to_owned()
    } else {
        format!("{clean} of {all} windows begin cleaned")
    }
}

/// What this configuration says about an assumption.
fn here(source: &Source<'_>, id: &str) -> String {
    let (system, report) = (source.system, source.report);
    let image = &report.image;
    match id {
        "AoU-HW-1" | "AoU-HW-2" | "AoU-HW-3" | "AoU-HW-5" => format!("board {}", image.board),
        "AoU-HW-4" => format!("part {}, image ID {}", image.part_number, image.image_id),
        "AoU-HW-6" => masters(system),
        "AoU-CFG-1" => "chapter Hashes".to_owned(),
        "AoU-CFG-2" => format!("{} accepted findings, chapter Justifications", accepted(source, None)),
        "AoU-CFG-3" => {
            let timed = system.partitions.iter().filter(|p| p.timing.is_some());
            names(timed.map(|p| p.name.value.as_str()), "no partition states a timing requirement")
        }
        "AoU-CFG-4" => {
            format!(
                "guard of {}: {}",
                time(source.timing.cost.window_guard_ns),
                source.timing.cost.provenance
            )
        }
        "AoU-CFG-5" => "chapter Health monitoring".to_owned(),
        "AoU-CFG-7" => {
            let at_once = system.plans.iter().filter(|plan| plan.immediate.is_some());
            let list = names(at_once.map(|plan| plan.name.value.as_str()), "none");
            format!("{} plans; entered at once: {list}", system.plans.len())
        }
        "AoU-CFG-6" => report.common_mode.to_owned(),
        "AoU-PRT-1" => format!("{} accepted flows upwards (PRT-004)", accepted(source, Some("PRT-004"))),
        "AoU-CFG-8" | "AoU-PRT-2" => format!("{} ports", system.ports.len()),
        "AoU-PRT-4" => shared(system),
        "AoU-PRT-5" => {
            let loose =
                report.partitions.iter().filter(|p| p.run.iter().any(|m| m.access.write && m.access.execute));
            names(loose.map(|p| p.name.as_str()), "no memory is writable and executable")
        }
        "AoU-INT-2" => cleaned(system),
        _ => format!("{} partitions on {} CPUs", system.partitions.len(), system.board.cpus.len()),
    }
}

/// The chapter.
pub fn section(source: &Source<'_>) -> Section {
    let rows =
        ASSUMPTIONS.iter().map(|(id, text)| vec![(*id).to_owned(), (*text).to_owned(), here(source, id)]);
    let text = "What has to be true outside this pack so that it means what it says, by the numbers of the safety manual, \
                which says how to meet each.";
    let columns = ["id", "assumption", "here"];
    Section {
        id: "assumptions",
        title: "Assumptions of use",
        text: text.to_owned(),
        tables: vec![Table::new("Assumptions of use", &columns, rows.collect())],
        pictures: Vec::new(),
    }
}
