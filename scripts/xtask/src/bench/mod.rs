//! `cargo xtask bench`: what events cost, in instructions, exactly.
//!
//! Modules in reading order: [`groups`] (which runs give which rows), [`measure`] (a run), [`meter`] (what
//! the plugin counted), [`table`] (rows beside floor, peer and target), [`derived`] (rows of the boot, of
//! windows, of sizes), [`rtos`] and [`linux`] (rows of the RTOS and of Linux), [`profile`] (instructions per function), [`baseline`]
//! (what they are compared with), [`page`] (`docs/performance.md`).

mod baseline;
mod derived;
mod groups;
mod linux;
mod measure;
mod meter;
mod page;
mod profile;
mod rtos;
mod table;

use std::process::Command;

use crate::failure::{Failure, Result};
use crate::files;
use crate::image;
use crate::paths::Paths;
use crate::process;
use crate::setup::toolchain::Toolchain;
use baseline::Baseline;
use groups::Measuring;
use table::Row;

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Single events of the measuring partition, the boot, sizes.
    Events,
    /// The partition switch and the start of a window.
    Switch,
    /// The RTOS: visits to EL2 while it is left alone, its restart.
    Rtos,
    /// Events with the branch history overwritten at every entry to EL2 (`spectre-bhb`).
    SpectreBhb,
    /// Events on QEMU's Raspberry Pi 4 (with GICv2).
    Rpi4,
    /// Events of a partition with direct interrupts (with GICv3).
    Direct,
    /// The longest visit; all other groups are run for it, and probes that look for it.
    Longest,
    /// Linux beside bare Linux: boot, visits to EL2 while it is idle, cyclictest (long).
    Linux,
    /// Visits to EL2 of the idle demo (long).
    Demo,
    /// The start of 100,000 windows (long).
    ManyWindows,
}

impl Group {
    /// Whether it takes minutes: those are measured by `--long`, and have a baseline of their own.
    fn is_long(self) -> bool {
        matches!(self, Group::Linux | Group::Demo | Group::ManyWindows)
    }
}

/// What to do beside measuring.
#[derive(Default)]
pub struct Options<'a> {
    /// Only this version of the interrupt controller.
    pub gic: Option<u8>,
    /// Only these rows.
    pub only: Option<Group>,
    /// The groups that take minutes instead of the others.
    pub long: bool,
    /// Show the instructions per function of EL2 of this row.
    pub profile: Option<&'a str>,
    /// Show the histogram of this row.
    pub histogram: Option<&'a str>,
    /// Make the figures the baseline instead of comparing them with it.
    pub bless: bool,
}

impl Options<'_> {
    fn is_long(&self) -> bool {
        self.only.map_or(self.long, Group::is_long)
    }

    /// Whether the group is measured.
    pub fn wants(&self, group: Group) -> bool {
        self.only.map_or(group.is_long() == self.long, |only| only == group)
    }

    /// Whether what real boards need has to be there.
    pub fn needs_boards(&self) -> bool {
        self.wants(Group::Rpi4) && self.gic != Some(3)
    }
}

/// Measures, prints the tables, and compares with the baseline.
///
/// # Errors
/// A run that does not come to its end; exit code 1 for figures that differ from the baseline.
pub fn run(paths: &Paths, toolchain: &Toolchain, options: &Options<'_>) -> Result<()> {
    if options.bless && (options.gic.is_some() || options.only.is_some()) {
        return Err(Failure::unusable("--bless with --gic or --only would lose the figures of the rest"));
    }
    image::binaries(paths, toolchain, true, options.needs_boards())?;
    if options.wants(Group::SpectreBhb) {
        image::mitigated(paths, toolchain, false)?;
    }
    let results = measure_all(paths, options)?;
    if let Some(id) = options.histogram {
        show_histogram(&results, id)?;
    }
    let json = paths.products().join("bench/results.json");
    files::write(&json, table::json(&results).as_bytes())?;
    println!("all figures: {}", json.display());
    let baseline = Baseline::path(&paths.root, options.is_long());
    let found = Baseline::of(tools(toolchain)?, &results);
    if options.bless {
        found.write(&baseline)?;
        return page::write(&paths.root, &results, &found, options.long);
    }
    compare(&found, &Baseline::read(&baseline)?, options.only.is_some())
}

fn show_histogram(results: &[(u8, Vec<Row>)], id: &str) -> Result<()> {
    let shown: Vec<String> =
        results.iter().filter_map(|(gic, rows)| table::histogram(*gic, rows, id)).collect();
    if shown.is_empty() {
        let known: Vec<&str> = results.iter().flat_map(|(_, rows)| rows).map(|row| row.id.as_str()).collect();
        return Err(Failure::unusable(format!(
            "--histogram {id}: no such row; there are {}",
            known.join(", ")
        )));
    }
    print!("{}", shown.concat());
    Ok(())
}

/// Compares what was measured with the baseline; if that was only a `part` of the rows, those that are
/// missing are no difference.
fn compare(found: &Baseline, expected: &Baseline, part: bool) -> Result<()> {
    let differences = found.differences(expected, part);
    if found.tools != expected.tools {
        println!(
            "the baseline is of other tools: {} figures differ, which is no failure unless one is far above\n  here:     \
             {}\n  baseline: {}",
            differences.len(),
            found.tools,
            expected.tools
        );
        let excesses = found.excesses(expected);
        return match excesses.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(format!(
                "{} figures are far above the baseline, even for other tools\n  {}",
                excesses.len(),
                excesses.join("\n  ")
            ))),
        };
    }
    if differences.is_empty() {
        println!("all {} figures are those of the baseline", found.rows.len());
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} figures differ from tests/bench.json\n  {}\nfix: mend the path, or let the baseline say so: cargo xtask \
         bench --bless",
        differences.len(),
        differences.join("\n  ")
    )))
}

/// What the figures depend on beside the source.
fn tools(toolchain: &Toolchain) -> Result<String> {
    let mut qemu = Command::new("qemu-system-aarch64");
    let qemu = process::capture(qemu.arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default().to_string();
    Ok(format!("{}; {qemu}", toolchain.compiler()?))
}

fn measure_all(paths: &Paths, options: &Options<'_>) -> Result<Vec<(u8, Vec<Row>)>> {
    let plugin = measure::build_plugin(paths)?;
    let usage = image::usage(paths)?;
    let mut results = Vec::new();
    let mut profiled = false;
    for gic in [3, 2].into_iter().filter(|&gic| options.gic.is_none_or(|only| only == gic)) {
        let mut machine = Measuring::new(paths, &plugin, gic, options);
        let rows = machine.rows(&usage, |group| options.wants(group))?;
        print!("{}{}", table::text(gic, &rows), machine.shown);
        profiled |= machine.profiled;
        results.push((gic, rows));
    }
    match options.profile {
        Some(row) if !profiled => Err(Failure::unusable(format!(
            "--profile {row}: no such row was measured; there are switch-el2, longest-visit, restart-el2, and the rows of the \
             measuring partition: {}",
            table::measured().join(", ")
        ))),
        _ => Ok(results),
    }
}
