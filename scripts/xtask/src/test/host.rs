//! The tests that need no emulator: formatting, clippy, unit tests, the C side's own tests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::system::Tally;
use crate::failure::{Failure, Result};
use crate::image::{EL2, GICV2};
use crate::lint::arrows::BARE_METAL_PACKAGES;
use crate::paths::Paths;
use crate::process;
use crate::setup::toolchain::{Toolchain, host_cargo};

/// Runs everything and counts the tests; a failed check counts as one failed test.
pub fn run(paths: &Paths, toolchain: &Toolchain, filter: Option<&str>) -> Result<Tally> {
    let mut tally = Tally::default();
    if filter.is_none() {
        check(&mut tally, "rustfmt", process::run(cargo(paths, "fmt").args(["--all", "--check"])));
        check(&mut tally, "clippy", process::run(&mut clippy_host(paths)));
        check(&mut tally, "clippy, bare metal", clippy_board(paths, toolchain));
        check(&mut tally, "bindings", crate::bindings::validate(paths));
        let c_tests = paths.root.join("partitions/linux/module/tests");
        check(&mut tally, "port protocol in C", c_tests_in(&c_tests));
    }
    let mut tests = cargo(paths, "test");
    tests.args(["--workspace", "--no-fail-fast"]).args(exclusions());
    if let Some(filter) = filter {
        tests.args(["--", filter]);
    }
    let counted = count_tests(&mut tests)?;
    tally.passed += counted.passed;
    tally.failed += counted.failed;
    Ok(tally)
}

fn check(tally: &mut Tally, name: &str, outcome: Result<()>) {
    match outcome {
        Ok(()) => {
            tally.passed += 1;
            println!("ok      {name}");
        }
        Err(failure) => {
            tally.failed += 1;
            println!("FAILED  {name}\n{failure}");
        }
    }
}

fn cargo(paths: &Paths, subcommand: &str) -> Command {
    let mut command = Command::new(host_cargo());
    command.current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target).arg(subcommand);
    command
}

fn exclusions() -> impl Iterator<Item = &'static str> {
    BARE_METAL_PACKAGES.iter().flat_map(|package| ["--exclude", package])
}

fn clippy_host(paths: &Paths) -> Command {
    let mut command = cargo(paths, "clippy");
    command.args(["--quiet", "--workspace", "--all-targets"]).args(exclusions());
    command.args(["--", "-D", "warnings"]);
    command
}

/// clippy for the board's crates, and again for the variant of EL2 with the other controller.
fn clippy_board(paths: &Paths, toolchain: &Toolchain) -> Result<()> {
    let everything = BARE_METAL_PACKAGES.iter().flat_map(|package| ["--package", package]);
    let variant = ["--package", EL2, "--features", GICV2];
    for selection in [everything.collect::<Vec<_>>(), variant.to_vec()] {
        let mut command = toolchain.cargo("clippy");
        command.current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target);
        command.args(["--quiet", "--release"]).args(selection).args(["--", "-D", "warnings"]);
        process::run(&mut command)?;
    }
    Ok(())
}

fn c_tests_in(directory: &Path) -> Result<()> {
    process::run_quiet(Command::new("make").arg("-C").arg(directory).arg("check"))
}

/// Runs `cargo test`, shows what it says and adds up its summaries.
fn count_tests(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Failure::unusable(format!("cannot start `{}`: {e}", process::line(command))))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            println!("{line}");
            if let Some(counted) = summary(&line) {
                tally.passed += counted.passed;
                tally.failed += counted.failed;
            }
        }
    }
    let status = child
        .wait()
        .map_err(|e| Failure::unusable(format!("cannot wait for `{}`: {e}", process::line(command))))?;
    // A test binary that does not build or dies has no summary.
    if !status.success() && tally.failed == 0 {
        tally.failed += 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`.
fn summary(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| -> Option<usize> {
        rest.split(['.', ';']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some(Tally { passed: number(" passed")?, failed: number(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_cargo_test_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; finished in 0.1s";
        assert_eq!(summary(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(summary("running 3 tests"), None);
    }

    #[test]
    fn a_test_run_that_dies_counts_as_failed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 1"]);
        assert_eq!(count_tests(&mut command).unwrap(), Tally { passed: 2, failed: 1 });
    }
}
