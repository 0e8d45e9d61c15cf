//! `cargo xtask test`: everything that CI runs.

mod case;
mod fuzz;
mod host;
pub mod results;
mod system;
mod vendor_tree;
mod walks;

use crate::bench;
use crate::bench_config;
use crate::failure::{Failure, Result};
use crate::image;
use crate::lint;
use crate::paths::Paths;
use crate::setup::toolchain::Toolchain;
use system::Tally;

/// Name of the comparison of costs with their baseline.
const BENCH: &str = "bench";

/// Name of the comparison of the checker's costs at two sizes of systems.
const GROWTH: &str = "checker-growth";

/// Name of the fuzzing of readers of foreign bytes.
const FUZZ: &str = "fuzz";

/// Name of the comparison of the verifier's walk with the hardware's.
const WALKS: &str = "walks";

/// Which tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Those that need no emulator.
    Host,
    /// Those on the emulator.
    System,
}

/// Runs the tests whose name contains the filter.
///
/// # Errors
/// Exit code 1 when any failed. The last line printed is `N passed, N failed`.
pub fn run(
    paths: &Paths,
    toolchain: &Toolchain,
    scope: Scope,
    filter: Option<&str>,
    gic: Option<u8>,
) -> Result<()> {
    let cases = case::read_all(&paths.root, filter)?;
    let mut total = Tally::default();
    let mut add = |tally: Tally| {
        total.passed += tally.passed;
        total.failed += tally.failed;
    };
    if scope != Scope::System {
        add(host::run(paths, toolchain, filter)?);
    }
    if scope != Scope::System && filter.is_none_or(|filter| filter == FUZZ) {
        add(judge(FUZZ, fuzz::run(paths)));
    }
    if scope != Scope::System && filter.is_none_or(|filter| filter == GROWTH) {
        add(judge(GROWTH, bench_config::growth()));
    }
    let wants_system = !cases.is_empty() || filter == Some(WALKS);
    let wants_binaries = filter.is_none() || (scope != Scope::Host && wants_system);
    let built = match wants_binaries {
        true => judge("bare-metal binaries", image::binaries(paths, toolchain, true, true)),
        false => Tally::default(),
    };
    add(built);
    if scope != Scope::System && filter.is_none() {
        let el2 = image::all_el2(paths);
        let built = if built.failed == 0 { &el2[..] } else { &[] };
        add(judge("lint", lint::check(&paths.root, built)));
    }
    if built.passed > 0 && scope != Scope::System && filter.is_none() {
        add(judge("size of EL2", image::usage(paths).and_then(|usage| usage.check())));
        add(judge("board/rpi4 against the vendor's tree", vendor_tree::compare(paths)));
    }
    if built.passed > 0 && scope != Scope::Host {
        add(system::run(paths, &cases, gic)?);
    }
    if built.failed == 0 && scope != Scope::Host && filter.is_none_or(|filter| filter == WALKS) {
        add(judge(WALKS, walks::run(paths)));
    }
    if built.failed == 0 && scope != Scope::Host && filter.is_none_or(|filter| filter == BENCH) {
        let options = bench::Options { gic, ..bench::Options::default() };
        add(judge(BENCH, bench::run(paths, toolchain, &options)));
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    match total {
        Tally { failed: 0, passed: 1.. } => Ok(()),
        Tally { failed: 0, passed: 0 } => Err(Failure::unusable("no test has such a name")),
        _ => Err(Failure::silent()),
    }
}

fn judge(name: &str, outcome: Result<()>) -> Tally {
    match outcome {
        Ok(()) => {
            println!("ok      {name}");
            Tally { passed: 1, failed: 0 }
        }
        Err(failure) => {
            println!("FAILED  {name}\n{failure}");
            Tally { passed: 0, failed: 1 }
        }
    }
}
