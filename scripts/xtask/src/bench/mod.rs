//! `cargo xtask bench`: what events cost, in instructions, exactly.
//!
//! Modules in reading order: [`measure`] (a run), [`meter`] (what the plugin counted), [`table`] (rows
//! beside floor, peer and target), [`derived`] (rows of the boot, of windows, of sizes), [`profile`]
//! (instructions per function), [`baseline`] (what they are compared with), [`page`]
//! (`docs/performance.md`).

mod baseline;
mod derived;
mod measure;
mod meter;
mod page;
mod profile;
mod table;

use std::path::Path;
use std::process::Command;

use crate::budget::Usage;
use crate::failure::{Failure, Result};
use crate::files;
use crate::image;
use crate::paths::Paths;
use crate::process;
use crate::setup::toolchain::Toolchain;
use baseline::Baseline;
use measure::Run;
use table::Row;

/// A configuration whose visits are counted: name, source, and the line that ends its run.
struct Counted(&'static str, &'static str, &'static str);

/// The measuring partition.
const EVENTS: Counted = Counted("bench", "tests/configs/bench.dts", r"(?:^|\| )bench end$");
/// Two partitions on one CPU.
const WINDOWS: Counted =
    Counted("windows", "tests/configs/bench-windows.dts", r"\| window-start windows=2500 ");
/// Those that look for the longest visit: every register, every call, many interrupts, much output.
const HOSTILE: &[Counted] = &[
    Counted(
        "gic-registers",
        "tests/configs/gic-registers.dts",
        r"\| probe gic-registers: \d+ passed, 0 failed",
    ),
    Counted("interrupts", "tests/configs/interrupts.dts", r"\| probe interrupts: \d+ passed, 0 failed"),
    Counted("psci", "tests/configs/psci.dts", r"\| probe psci: \d+ passed, 0 failed"),
    Counted("sysregs", "tests/configs/sysregs.dts", r"\| probe sysregs: \d+ passed, 0 failed"),
];

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Single events of the measuring partition, the boot, sizes.
    Events,
    /// The partition switch and the start of a window.
    Switch,
    /// The longest visit; all other groups are run for it, and probes that look for it.
    Longest,
}

/// What to do beside measuring.
#[derive(Default)]
pub struct Options<'a> {
    /// Only this version of the interrupt controller.
    pub gic: Option<u8>,
    /// Only these rows.
    pub only: Option<Group>,
    /// Show the instructions per function of EL2 of this row.
    pub profile: Option<&'a str>,
    /// Make the figures the baseline instead of comparing them with it.
    pub bless: bool,
}

/// Measures, prints the tables, and compares with the baseline.
///
/// # Errors
/// A run that does not come to its end; exit code 1 for figures that differ from the baseline.
pub fn run(paths: &Paths, toolchain: &Toolchain, options: &Options<'_>) -> Result<()> {
    if options.bless && (options.gic.is_some() || options.only.is_some()) {
        return Err(Failure::unusable("--bless with --gic or --only would lose the figures of the rest"));
    }
    image::binaries(paths, toolchain, true, false)?;
    let results = measure_all(paths, options)?;
    let json = paths.products().join("bench/results.json");
    files::write(&json, table::json(&results).as_bytes())?;
    println!("all figures: {}", json.display());
    let found = Baseline::of(tools(toolchain)?, &results);
    if options.bless {
        found.write(&paths.root)?;
        return page::write(&paths.root, &results, &found);
    }
    compare(&found, &Baseline::read(&paths.root)?, options.only.is_some())
}

/// Compares what was measured with the baseline; if that was only a `part` of the rows, those that are
/// missing are no difference.
fn compare(found: &Baseline, expected: &Baseline, part: bool) -> Result<()> {
    if found.tools != expected.tools {
        println!(
            "not compared with the baseline, which is of other tools\n  here:     {}\n  baseline: {}",
            found.tools, expected.tools
        );
        return Ok(());
    }
    let differences = found.differences(expected, part);
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
        let mut machine = Measuring {
            paths,
            plugin: &plugin,
            gic,
            profile: options.profile,
            profiled: false,
            shown: String::new(),
        };
        let rows = machine.rows(&usage, options.only)?;
        print!("{}{}", table::text(gic, &rows), machine.shown);
        profiled |= machine.profiled;
        results.push((gic, rows));
    }
    match options.profile {
        Some(row) if !profiled => Err(Failure::unusable(format!(
            "--profile {row}: no such row was measured; there are switch-el2, longest-visit, and the rows of the \
             measuring partition: {}",
            table::measured().join(", ")
        ))),
        _ => Ok(results),
    }
}

/// Measuring with one version of the interrupt controller.
struct Measuring<'a> {
    paths: &'a Paths,
    plugin: &'a Path,
    gic: u8,
    /// The row whose profile is wanted.
    profile: Option<&'a str>,
    /// Whether there was one.
    profiled: bool,
    /// What is shown below the table.
    shown: String,
}

impl Measuring<'_> {
    /// The rows of one group or of all.
    fn rows(&mut self, usage: &Usage, only: Option<Group>) -> Result<Vec<Row>> {
        let wanted = |group| only.is_none_or(|only| only == group);
        let is_run = |group| wanted(group) || wanted(Group::Longest);
        let mut rows = Vec::new();
        let mut runs = Vec::new();
        if is_run(Group::Events) {
            let (image, events) = self.hosted(&EVENTS)?;
            let bare = measure::bare(self.paths, "probes/bench.elf", self.gic, EVENTS.2)?;
            if wanted(Group::Events) {
                rows.extend(table::evaluate(self.gic, &events, &bare));
                rows.extend(derived::boot(&events, &image)?);
                rows.extend(derived::sizes(&image, usage));
                let profile = self.profile.and_then(|row| profile::row(&events, row));
                self.show_profile(profile);
            }
            runs.push((EVENTS.0, events));
        }
        if is_run(Group::Switch) {
            let (_, windows) = self.hosted(&WINDOWS)?;
            if wanted(Group::Switch) {
                rows.extend(derived::windows(self.gic, &windows)?);
                self.show_profile((self.profile == Some("switch-el2")).then(|| profile::switch(&windows)));
            }
            runs.push((WINDOWS.0, windows));
        }
        if wanted(Group::Longest) {
            for counted in HOSTILE {
                runs.push((counted.0, self.hosted(counted)?.1));
            }
            if let Some((row, what, profile)) = derived::longest(runs.iter().map(|(name, run)| (*name, run)))
            {
                rows.push(row);
                self.shown.push_str(&format!("{what}\n"));
                self.show_profile((self.profile == Some("longest-visit")).then_some(profile));
            }
        }
        Ok(rows)
    }

    fn hosted(&self, counted: &Counted) -> Result<(image::Image, Run)> {
        let Counted(name, source, last) = counted;
        let image = measure::compile(self.paths, source, self.gic)?;
        let run = measure::hosted(self.paths, self.plugin, &image, &format!("{name}-gicv{}", self.gic), last)
            .map_err(|failure| failure.within(&format!("{name} on GICv{}", self.gic)))?;
        Ok((image, run))
    }

    fn show_profile(&mut self, profile: Option<String>) {
        self.profiled |= profile.is_some();
        self.shown.push_str(&profile.unwrap_or_default());
    }
}
