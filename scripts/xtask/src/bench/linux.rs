//! Rows of the Linux partition: its boot, how often it needs EL2 when it has nothing to do, and the
//! latency that cyclictest finds; beside the same kernel and initramfs bare at EL1.

use std::process::Command;

use regex_lite::Regex;

use super::derived::row;
use super::measure::Run;
use super::meter::Histogram;
use super::rtos::visits;
use super::table::Row;
use crate::cpio::Archive;
use crate::failure::{Failure, Result};
use crate::files;
use crate::paths::Paths;
use crate::process;
use crate::setup::rt_tests;

/// From the kernel's first instruction to the shell's first command.
const BOOT: u8 = 63;
/// Left alone, and for how many seconds.
const IDLE: (u8, u64) = (97, 10);
/// The CPU of the console in `tests/configs/bench-linux.dts`, which runs no partition.
const CONSOLE: usize = 0;
/// The initramfs, below the payloads.
pub const INITRAMFS: &str = "bench/initramfs.cpio.gz";

/// Builds the initramfs: that of the Linux partition, and an archive that adds cyclictest and puts
/// another profile in the place of the shell's. A kernel unpacks one after the other.
///
/// # Errors
/// cyclictest cannot be downloaded, or a file is missing.
pub fn payload(paths: &Paths) -> Result<()> {
    let packages = rt_tests::ensure(&paths.cache)?;
    let mut archive = Archive::default();
    for (name, source) in rt_tests::FILES {
        archive.file(name, 0o755, files::read(&packages.join(source))?);
    }
    archive.file("bin/mark", 0o755, files::read(&paths.payloads().join("probes/mark"))?);
    archive.file("etc/profile", 0o644, files::read(&paths.root.join("partitions/probes/linux/profile"))?);
    let plain = paths.payloads().join("bench/added.cpio");
    files::write(&plain, &archive.finish())?;
    process::run(Command::new("gzip").args(["--no-name", "--force"]).arg(&plain))?;
    let mut both = files::read(&paths.payloads().join("linux/initramfs.cpio.gz"))?;
    both.extend(files::read(&plain.with_extension("cpio.gz"))?);
    files::write(&paths.payloads().join(INITRAMFS), &both)
}

/// Rows of Linux alone, hosted and bare.
///
/// # Errors
/// When one of them does not show what cyclictest found.
pub fn rows(hosted: &Run, bare: &Run) -> Result<Vec<Row>> {
    let is_linux = |cpu| cpu != CONSOLE;
    let own = |run: &Run| run.metered.guests.get(&BOOT).map_or(0, |(guest, _)| *guest);
    let one = |figure: u64| Some(Histogram::one(figure));
    let causes = hosted.metered.causes(BOOT, is_linux);
    let mut rows = vec![
        Row {
            floor: Some(own(bare)),
            ..row("linux-boot", "Linux to its shell, at EL1 and EL0", None, one(own(hosted)))
        },
        row("linux-boot-el2", "Linux to its shell, EL2", None, one(hosted.metered.total(BOOT, is_linux))),
        row("linux-boot-visits", "Linux to its shell: visits to EL2", None, one(causes.values().sum())),
    ];
    rows.extend(visits("linux-visits", "idle Linux", &hosted.metered.causes(IDLE.0, is_linux), IDLE.1));
    let ours = latencies(hosted)?;
    let floor = latencies(bare)?;
    for (n, (id, title)) in [
        ("cyclictest-min", "cyclictest in Linux, 1 kHz: least latency, ns"),
        ("cyclictest-mean", "cyclictest: mean latency, ns"),
        ("cyclictest-max", "cyclictest: greatest latency, ns"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(Row { floor: Some(floor[n]), ..row(id, title, None, one(ours[n])) });
    }
    Ok(rows)
}

/// Visits of the whole demo in a second, those of the CPU that drains the console included.
pub fn demo(run: &Run) -> Vec<Row> {
    visits("demo-visits", "the demo, shell idle, all CPUs", &run.metered.causes(IDLE.0, |_| true), IDLE.1)
}

/// Least, mean and greatest latency in nanoseconds, of cyclictest's last line.
fn latencies(run: &Run) -> Result<[u64; 3]> {
    let pattern = Regex::new(r"T: 0 .* C: *5000 Min: *(\d+) Act: *\d+ Avg: *(\d+) Max: *(\d+)")
        .expect("a valid pattern");
    let found = run.lines.iter().rev().find_map(|line| pattern.captures(line));
    let numbers = found
        .and_then(|found| Some([found[1].parse().ok()?, found[2].parse().ok()?, found[3].parse().ok()?]));
    numbers.ok_or_else(|| Failure::failed("cyclictest did not print its result"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::Metered;

    fn run(output: &str, latency: &str) -> Run {
        let lines = vec!["noise".to_string(), format!("linux| {latency}\r"), "bench end".to_string()];
        Run { metered: Metered::parse(output).unwrap(), lines, ..Run::default() }
    }

    #[test]
    fn hosted_stands_beside_bare() {
        let line = "T: 0 (   81) P:90 I:1000 C:   5000 Min:   2100 Act: 2500 Avg: 2600 Max:    9000";
        let hosted = run(
            "visit 63 1 1 8 16 0 100 0 0 0 4\nvisit 63 0 0 16 0 0 999 0 0 0 4\nvisit 97 2 1 9 0 0 90 0 0 0 15\nguest 63 1010 5\n",
            line,
        );
        let bare = run("guest 63 1000 0\n", &line.replace("9000", "8000"));
        let rows = rows(&hosted, &bare).unwrap();
        let row = |id: &str| {
            let row = rows.iter().find(|row| row.id == id).unwrap();
            (row.floor, row.spread().unwrap().median)
        };
        assert_eq!(row("linux-boot"), (Some(1000), 1010));
        assert_eq!((row("linux-boot-el2"), row("linux-boot-visits")), ((None, 400), (None, 4)));
        assert_eq!(row("linux-visits"), (None, 2));
        assert_eq!((row("cyclictest-mean"), row("cyclictest-max")), ((Some(2600), 2600), (Some(8000), 9000)));
    }

    #[test]
    fn a_run_without_result_fails() {
        assert!(
            latencies(&run("", "T: 0 (   81) P:90 I:1000 C:   4999 Min: 1 Act: 1 Avg: 1 Max: 1")).is_err()
        );
    }
}
