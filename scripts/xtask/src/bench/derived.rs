//! Rows that no single event of the measuring partition gives: windows, the longest visit, the boot,
//! and sizes.

use regex_lite::Regex;

use super::measure::Run;
use super::meter::Histogram;
use super::profile;
use super::table::Row;
use crate::budget::Usage;
use crate::elf::Elf;
use crate::failure::{Failure, Result};
use crate::files;
use crate::image::Image;

/// The CPU that two partitions share (`tests/configs/bench-windows.dts`).
pub const SHARED: usize = 2;
/// The stage of the boot that compares the firmware's device tree with the blueprint.
const STAGE_TREE: u8 = 3;
/// The stage that computes the digest.
const STAGE_DIGEST: u8 = 5;
/// Bytes of the digest itself, which it does not cover.
const DIGEST_BYTES: u64 = 32;
const KIB: u64 = 1024;

/// A row without floor and peer.
pub fn row(id: &str, title: &str, target: Option<u64>, ours: Option<Histogram>) -> Row {
    Row { id: id.into(), title: title.into(), floor: None, peer: None, target, ours }
}

/// Rows of a run in which windows change: the switch, without the wait for the planned tick, and how
/// late a window's first instruction is.
///
/// # Errors
/// When the last line of the run does not tell the lateness.
pub fn windows(gic: u8, run: &Run) -> Result<[Row; 2]> {
    let pattern = Regex::new(r"latest=(\d+) early=0 drift=0 skipped=0").expect("a valid pattern");
    let latest = pattern
        .captures(&run.last)
        .and_then(|found| found[1].parse().ok())
        .ok_or_else(|| Failure::failed(format!("windows were not kept: {}", run.last)))?;
    let prtos = |figure| Some(("PRTOS", figure));
    Ok([
        Row {
            peer: prtos(1407),
            ..row(
                "switch-el2",
                "partition switch, FP included, EL2",
                Some(if gic == 3 { 360 } else { 390 }),
                Histogram::of(run.metered.switches(SHARED)),
            )
        },
        Row {
            peer: prtos(1000),
            floor: Some(0),
            ..row(
                "slot-jitter",
                "latest first instruction of a window",
                Some(64),
                Some(Histogram::one(latest)),
            )
        },
    ])
}

/// The row of many windows: the greatest lateness that a line tells of.
///
/// # Errors
/// When a line tells of a window that was not kept, or there is none.
pub fn many_windows(run: &Run) -> Result<Row> {
    let pattern = Regex::new(r"window-start windows=\d+ latest=(\d+) early=0 drift=0 skipped=0")
        .expect("a valid pattern");
    let said: Vec<&String> = run.lines.iter().filter(|line| line.contains("window-start windows=")).collect();
    let latest = |line: &&String| pattern.captures(line).and_then(|found| found[1].parse::<u64>().ok());
    let all: Option<Vec<u64>> = said.iter().map(latest).collect();
    let worst = all.and_then(|all| all.into_iter().max());
    let worst = worst.ok_or_else(|| Failure::failed(format!("windows were not kept: {}", run.last)))?;
    let title = "latest first instruction in 100,000 windows";
    Ok(Row { floor: Some(0), ..row("slot-jitter-long", title, Some(64), Some(Histogram::one(worst))) })
}

/// The longest visit, of all runs, by which a guest keeps its vCPU on the CPU, what it was, and its
/// profile.
pub fn longest<'a>(runs: impl IntoIterator<Item = (&'a str, &'a Run)>) -> Option<(Row, String, String)> {
    let longest = |(name, run): (&'a str, &'a Run)| run.metered.longest().map(|visit| (name, run, visit));
    let (name, run, visit) = runs.into_iter().filter_map(longest).max_by_key(|(_, _, v)| v.length)?;
    let what = format!(
        "longest visit: {} instructions in {name}, phase {}, CPU {}, {:?} of class {:#x} at {:#x}",
        visit.length,
        visit.phase,
        visit.cpu,
        visit.kind(),
        visit.class,
        visit.pc
    );
    let ours = Some(Histogram::one(visit.length));
    let row = Row {
        peer: Some(("Bao", 3904)),
        ..row("longest-visit", "longest visit that a guest causes, EL2", Some(1000), ours)
    };
    Some((row, what, profile::longest(run)))
}

/// Rows of the boot, CPU 0 alone: its own work, the cross-check, the digest for each byte, and each
/// stage by the name that it printed.
///
/// # Errors
/// When the EL2 binary cannot be read.
pub fn boot(run: &Run, image: &Image) -> Result<Vec<Row>> {
    let stages = run.metered.boot();
    let of = |stage| stages.get(&stage).copied().unwrap_or(0);
    let own: u64 =
        stages.iter().filter(|(s, _)| ![STAGE_TREE, STAGE_DIGEST].contains(s)).map(|(_, n)| n).sum();
    let elf = files::read(&image.el2)?;
    let elf = Elf::parse(&elf)?;
    let symbol = |name| elf.address(name).map(Option::unwrap_or_default);
    let start = symbol("__text_start")?;
    let constants = symbol("__rodata_end")?.saturating_sub(start);
    let sealed = (start + image.report.sealed_bytes).saturating_sub(symbol("__el2_end")? + DIGEST_BYTES);
    let per_byte = of(STAGE_DIGEST).div_ceil((constants + sealed).max(1));
    let mut rows = vec![
        Row {
            floor: Some(8),
            peer: Some(("Bao", 356_049)),
            ..row("boot", "reset to first guest instruction, EL2", Some(200_000), Some(Histogram::one(own)))
        },
        row(
            "boot-tree",
            "boot: device tree against the blueprint",
            None,
            Some(Histogram::one(of(STAGE_TREE))),
        ),
        row("boot-digest", "boot: digest, for each byte", Some(34), Some(Histogram::one(per_byte))),
    ];
    let names = run.stages();
    for (stage, instructions) in stages {
        let name = names.get(&stage).map_or("", String::as_str);
        let title = format!("boot stage {stage}: {name}");
        rows.push(row(&format!("boot-stage-{stage}"), &title, None, Some(Histogram::one(instructions))));
    }
    Ok(rows)
}

/// Rows of sizes.
pub fn sizes(image: &Image, usage: &Usage) -> [Row; 3] {
    let ram = image.report.image_bytes - image.report.payload_bytes;
    [
        Row {
            peer: Some(("Bao", 432 * KIB)),
            ..row(
                "ram",
                "RAM beyond the guests' own and payloads, bytes",
                Some(512 * KIB),
                Some(Histogram::one(ram)),
            )
        },
        Row {
            peer: Some(("Bao", 65_000)),
            ..row(
                "text",
                "EL2 text and rodata, bytes",
                Some(48 * KIB),
                Some(Histogram::one(usage.text_bytes)),
            )
        },
        Row {
            peer: Some(("Bao", 10_083)),
            ..row("lines", "EL2 source, lines", Some(6000), Some(Histogram::one(usage.total_lines() as u64)))
        },
    ]
}
