//! Which runs give which rows.

use std::path::Path;
use std::time::Duration;

use super::measure::Counting::{self, El2, Guests, Nothing};
use super::measure::{self, Run};
use super::table::{self, Row};
use super::{Group, Options, derived, linux, profile, rtos};
use crate::budget::Usage;
use crate::failure::Result;
use crate::image::Image;
use crate::paths::Paths;

/// A configuration whose visits are counted: name, source, the line that ends its run, and whether the
/// instructions of guests are counted, too.
struct Counted(&'static str, &'static str, &'static str, Counting);

/// The measuring partition.
const EVENTS: Counted = Counted("bench", "tests/configs/bench.dts", r"(?:^|\| )bench end$", El2);
/// The same with `spectre-bhb`.
const MITIGATED: Counted =
    Counted("bench-spectre-bhb", "tests/configs/bench-spectre-bhb.dts", r"(?:^|\| )bench end$", El2);
/// The same on a Raspberry Pi 4.
const RPI4: Counted = Counted("bench-rpi4", "tests/configs/bench-rpi4.dts", r"(?:^|\| )bench end$", El2);
/// The same with direct interrupts, without a peer.
const DIRECT: Counted =
    Counted("bench-direct", "tests/configs/bench-direct.dts", r"(?:^|\| )bench end$", El2);
/// What is not as it is without them.
const DIRECT_ROWS: [&str; 3] = ["direct-timer-guest", "direct-sgi-guest", "direct-sgi-send-el2"];
/// Two partitions on one CPU.
const WINDOWS: Counted =
    Counted("windows", "tests/configs/bench-windows.dts", r"\| window-start windows=2500 ", El2);
/// The RTOS of the demo, left alone and restarted.
const RTOS: Counted =
    Counted("rtos", "tests/configs/bench-rtos.dts", r"\| stopwatch idle-ns=10000000000 restarts=8", Guests);
/// Linux alone.
const LINUX: Counted = Counted("linux", "tests/configs/bench-linux.dts", r"\| bench end$", Guests);
/// The demo with a Linux that tells when it is idle.
const DEMO: Counted = Counted("demo", "tests/configs/bench-demo.dts", r"\| bench end$", El2);
/// Shorter windows, many more of them.
const MANY_WINDOWS: Counted = Counted(
    "many-windows",
    "tests/configs/bench-many-windows.dts",
    r"\| window-start windows=100000 ",
    Nothing,
);
/// Those that look for the longest visit: every register, every call, many interrupts, much output.
const HOSTILE: &[Counted] = &[
    Counted("churn", "tests/configs/churn.dts", r"\| probe churn: \d+ passed, 0 failed", El2),
    Counted(
        "gic-registers",
        "tests/configs/gic-registers.dts",
        r"\| probe gic-registers: \d+ passed, 0 failed",
        El2,
    ),
    Counted("interrupts", "tests/configs/interrupts.dts", r"\| probe interrupts: \d+ passed, 0 failed", El2),
    Counted("psci", "tests/configs/psci.dts", r"\| probe psci: \d+ passed, 0 failed", El2),
    Counted("sysregs", "tests/configs/sysregs.dts", r"\| probe sysregs: \d+ passed, 0 failed", El2),
];

/// Measuring with one version of the interrupt controller.
pub struct Measuring<'a> {
    paths: &'a Paths,
    plugin: &'a Path,
    gic: u8,
    /// How long a run may take.
    patience: Duration,
    /// The row whose profile is wanted.
    profile: Option<&'a str>,
    /// Whether there was one.
    pub profiled: bool,
    /// What is shown below the table.
    pub shown: String,
}

impl<'a> Measuring<'a> {
    /// Nothing is measured yet.
    pub fn new(paths: &'a Paths, plugin: &'a Path, gic: u8, options: &Options<'a>) -> Self {
        let patience = if options.is_long() { measure::LONG_PATIENCE } else { measure::PATIENCE };
        Self { paths, plugin, gic, patience, profile: options.profile, profiled: false, shown: String::new() }
    }

    /// The rows of the groups that are wanted.
    ///
    /// # Errors
    /// A run that does not come to its end.
    pub fn rows(&mut self, usage: &Usage, wanted: impl Fn(Group) -> bool) -> Result<Vec<Row>> {
        let is_run = |group| wanted(group) || wanted(Group::Longest);
        let mut rows = Vec::new();
        let mut runs = Vec::new();
        if is_run(Group::Events) {
            let (image, events) = self.hosted(&EVENTS)?;
            if wanted(Group::Events) {
                rows.extend(self.events(&image, &events, usage)?);
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
        if wanted(Group::SpectreBhb) {
            let run = self.hosted(&MITIGATED)?.1;
            rows.extend(table::variant(self.gic, &run, "spectre-bhb", false));
        }
        if wanted(Group::Rpi4) && self.gic == 2 {
            let run = self.hosted(&RPI4)?.1;
            rows.extend(table::variant(self.gic, &run, "rpi4", true));
        }
        if wanted(Group::Direct) && self.gic == 3 {
            let run = self.hosted(&DIRECT)?.1;
            let all = table::variant(self.gic, &run, "direct", false).into_iter();
            rows.extend(all.filter(|row| DIRECT_ROWS.contains(&row.id.as_str())));
        }
        if wanted(Group::Rtos) {
            let run = self.hosted(&RTOS)?.1;
            rows.extend(rtos::rows(&run));
            self.show_profile((self.profile == Some("restart-el2")).then(|| profile::restart(&run)));
        }
        if wanted(Group::Longest) {
            rows.extend(self.longest(runs)?);
        }
        rows.extend(self.long_rows(wanted)?);
        Ok(rows)
    }

    /// Rows of the groups that take minutes.
    fn long_rows(&mut self, wanted: impl Fn(Group) -> bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        if wanted(Group::Linux) || wanted(Group::Demo) {
            linux::payload(self.paths)?;
        }
        if wanted(Group::Linux) {
            let bare =
                measure::bare_linux(self.paths, self.plugin, linux::INITRAMFS, self.gic, r"^bench end$")?;
            rows.extend(linux::rows(&self.hosted(&LINUX)?.1, &bare)?);
        }
        if wanted(Group::Demo) {
            rows.extend(linux::demo(&self.hosted(&DEMO)?.1));
        }
        if wanted(Group::ManyWindows) {
            rows.push(derived::many_windows(&self.hosted(&MANY_WINDOWS)?.1)?);
        }
        Ok(rows)
    }

    fn events(&mut self, image: &Image, events: &Run, usage: &Usage) -> Result<Vec<Row>> {
        let bare = measure::bare(self.paths, "probes/bench.elf", self.gic, EVENTS.2)?;
        let mut rows = table::evaluate(self.gic, events, &bare);
        rows.extend(derived::boot(events, image)?);
        rows.extend(derived::sizes(image, usage));
        self.show_profile(self.profile.and_then(|row| profile::row(events, row)));
        Ok(rows)
    }

    fn longest(&mut self, mut runs: Vec<(&'static str, Run)>) -> Result<Option<Row>> {
        for counted in HOSTILE {
            runs.push((counted.0, self.hosted(counted)?.1));
        }
        let longest = derived::longest(runs.iter().map(|(name, run)| (*name, run)));
        Ok(longest.map(|(row, what, profile)| {
            self.shown.push_str(&format!("{what}\n"));
            self.show_profile((self.profile == Some("longest-visit")).then_some(profile));
            row
        }))
    }

    fn hosted(&self, counted: &Counted) -> Result<(Image, Run)> {
        let Counted(name, source, last, counting) = counted;
        let image = measure::compile(self.paths, source, self.gic)?;
        let name = format!("{name}-gicv{}", self.gic);
        let run = measure::hosted(self.paths, self.plugin, &image, &name, last, *counting, self.patience)
            .map_err(|failure| failure.within(&name))?;
        Ok((image, run))
    }

    fn show_profile(&mut self, profile: Option<String>) {
        self.profiled |= profile.is_some();
        self.shown.push_str(&profile.unwrap_or_default());
    }
}
