//! The targets of `tests/fuzz` for a bounded time, with coverage feedback: no panic, no input that takes longer than
//! [`INPUT_S`], no more memory than [`MEMORY_MIB`].
//!
//! libFuzzer needs the compiler to count edges. cargo-fuzz asks a nightly toolchain for that and for a sanitizer; the
//! counters alone can be had from a stable one, and the readers have no unsafe code for a sanitizer to watch.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::files;
use crate::paths::Paths;
use crate::process;
use crate::setup::toolchain::host_cargo;

/// Targets, each a binary of `tests/fuzz`.
const TARGETS: &[&str] = &["tree", "blueprint", "image"];

/// How long each runs, in seconds.
const TARGET_S: u32 = 20;

/// How long an input may take, in seconds.
const INPUT_S: u32 = 10;

/// Memory that a target may have, in MiB.
const MEMORY_MIB: u32 = 1024;

/// Longest input, in bytes: the seeds are shorter.
const INPUT_BYTES: u32 = 1 << 20;

/// What cargo-fuzz passes, without a sanitizer (SanitizerCoverage: clang.llvm.org/docs/SanitizerCoverage.html).
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Writes the seeds, builds the targets and runs each for its time.
///
/// # Errors
/// A target that does not build, or an input that it fails on: its file is named.
pub fn run(paths: &Paths) -> Result<()> {
    let work = paths.products().join("fuzz");
    files::create_dir(&work)?;
    seeds(paths, &work)?;
    let host = build(paths)?;
    TARGETS.iter().try_for_each(|target| {
        let program = paths.target.join("fuzz").join(&host).join("release").join(target);
        fuzz(&program, &work.join(target), target)
    })
}

/// Good inputs, of the test that damages them without feedback.
fn seeds(paths: &Paths, work: &Path) -> Result<()> {
    let mut command = Command::new(host_cargo());
    command.current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target).env("BULKHEAD_FUZZ_SEEDS", work);
    process::run_quiet(command.args(["test", "--quiet", "--package", "bulkhead-verify", "--test", "fuzz"]))
}

/// The host's target triple, for which the targets are built: flags for a named target leave build scripts alone.
fn build(paths: &Paths) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = process::capture(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::failed("`rustc -vV` names no host"))?.to_owned();
    let mut command = Command::new(host_cargo());
    command.current_dir(paths.root.join("tests/fuzz"));
    command.env("CARGO_TARGET_DIR", paths.target.join("fuzz")).env("RUSTFLAGS", FLAGS.join(" "));
    process::run_quiet(command.args(["build", "--release", "--locked", "--target", &host]))?;
    Ok(host)
}

fn fuzz(program: &Path, corpus: &Path, target: &str) -> Result<()> {
    let artifacts = format!("{}/", corpus.display());
    let mut command = Command::new(program);
    command.args([
        format!("-max_total_time={TARGET_S}"),
        format!("-timeout={INPUT_S}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-max_len={INPUT_BYTES}"),
        format!("-artifact_prefix={artifacts}"),
        "-print_final_stats=1".to_owned(),
    ]);
    process::run_quiet(command.arg(corpus)).map_err(|failure| {
        let again = format!("{failure}\nthe input stays in {artifacts}; again: {} FILE", program.display());
        Failure::failed(format!("fuzzing {target} found an input that fails\n{again}"))
    })
}
