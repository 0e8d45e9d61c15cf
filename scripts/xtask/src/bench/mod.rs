//! `cargo xtask bench`: what events cost, in instructions, exactly.
//!
//! Modules in reading order: [`measure`] (a run), [`meter`] (what the plugin counted), [`table`] (rows
//! beside floor, peer and target), [`derived`] (rows of the boot, of windows, of sizes), [`baseline`]
//! (what they are compared with), [`page`] (`docs/performance.md`).

mod baseline;
mod derived;
mod measure;
mod meter;
mod page;
mod table;

use std::process::Command;

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

/// What to do beside measuring.
#[derive(Default)]
pub struct Options<'a> {
    /// Only this version of the interrupt controller.
    pub gic: Option<u8>,
    /// Show the instructions per function of EL2 while this row was measured.
    pub profile: Option<&'a str>,
    /// Make the figures the baseline instead of comparing them with it.
    pub bless: bool,
}

/// Measures, prints the tables, and compares with the baseline.
///
/// # Errors
/// A run that does not come to its end; exit code 1 for figures that differ from the baseline.
pub fn run(paths: &Paths, toolchain: &Toolchain, options: &Options<'_>) -> Result<()> {
    image::binaries(paths, toolchain, true, false)?;
    let results = measure_all(paths, options)?;
    let json = paths.products().join("bench/results.json");
    files::write(&json, table::json(&results).as_bytes())?;
    println!("all figures: {}", json.display());
    let found = Baseline::of(tools(toolchain)?, &results);
    if options.bless {
        if options.gic.is_some() {
            return Err(Failure::unusable("--bless with --gic would lose the other version's figures"));
        }
        found.write(&paths.root)?;
        return page::write(&paths.root, &results, &found);
    }
    compare(&found, &Baseline::read(&paths.root)?)
}

fn compare(found: &Baseline, expected: &Baseline) -> Result<()> {
    let differences = found.differences(expected);
    if found.tools != expected.tools {
        println!(
            "not compared with the baseline, which is of other tools\n  here:     {}\n  baseline: {}",
            found.tools, expected.tools
        );
        return Ok(());
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
    for gic in [3, 2].into_iter().filter(|&gic| options.gic.is_none_or(|only| only == gic)) {
        let run = |counted: &Counted| -> Result<(image::Image, Run)> {
            let Counted(name, source, last) = counted;
            let image = measure::compile(paths, source, gic)?;
            let run = measure::hosted(paths, &plugin, &image, &format!("{name}-gicv{gic}"), last)
                .map_err(|failure| failure.within(&format!("{name} on GICv{gic}")))?;
            Ok((image, run))
        };
        let (image, events) = run(&EVENTS)?;
        let bare = measure::bare(paths, "probes/bench.elf", gic, EVENTS.2)?;
        let mut rows = table::evaluate(gic, &events, &bare);
        let (_, windows) = run(&WINDOWS)?;
        rows.extend(derived::windows(gic, &windows)?);
        rows.extend(derived::boot(&events, &image)?);
        rows.extend(derived::sizes(&image, &usage));
        let profile = options.profile.map(|row| table::profile(&events, row)).transpose()?;
        let mut all = vec![(EVENTS.0.to_string(), events), (WINDOWS.0.to_string(), windows)];
        for counted in HOSTILE {
            all.push((counted.0.to_string(), run(counted)?.1));
        }
        let longest = derived::longest(&all);
        let what = longest.as_ref().map(|(_, what)| what.clone()).unwrap_or_default();
        rows.extend(longest.map(|(row, _)| row));
        print!("{}{what}\n{}", table::text(gic, &rows), profile.unwrap_or_default());
        results.push((gic, rows));
    }
    Ok(results)
}
