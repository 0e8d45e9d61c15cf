//! Everything a fresh machine lacks: host tools, bare-metal compiler, Debian's arm64 kernel.
//!
//! Each step first looks whether its product is complete (a stamp, written last), so that a
//! second run does nothing and an interrupted one goes on where it stopped.

pub mod apt;
pub mod firmware;
pub mod host;
pub mod kernel;
pub mod linux;
pub mod lock;
pub mod mirror;
pub mod rt_tests;
mod space;
pub mod toolchain;
mod unpacked;

use crate::failure::Result;
use crate::paths::Paths;
use toolchain::Toolchain;

/// What a run of [`ensure`] is asked for beyond the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The debugger is wanted, too.
    pub debugger: bool,
    /// Look for newer Debian packages although complete ones are there.
    pub update: bool,
    /// Build the Linux module for every supported kernel, not only for the one that boots.
    pub all_kernels: bool,
    /// Fetch and prepare the kernel for real boards.
    pub boards: bool,
    /// What only tests need is wanted, too: clippy, rustfmt, a browser.
    pub lints: bool,
}

/// Makes everything ready that building and running needs.
///
/// # Errors
/// Exit code 2: what is missing, why it could not be had, and how to go on.
pub fn ensure(paths: &Paths, options: Options) -> Result<Toolchain> {
    space::look(paths, options)?;
    let _lock = lock::take(&paths.cache)?;
    let toolchain = toolchain::ensure(&paths.cache, options.update)?;
    if options.lints {
        toolchain::ensure_lints()?;
    }
    host::ensure(options.debugger, options.lints)?;
    let default = kernel::ensure(&paths.cache, kernel::DEFAULT, options.update)?;
    linux::ensure(paths, &default, "linux")?;
    if options.boards {
        let boards = kernel::ensure(&paths.cache, kernel::BOARDS, options.update)?;
        linux::ensure(paths, &boards, "linux-boards")?;
    }
    if options.all_kernels {
        let newer = kernel::ensure(&paths.cache, kernel::NEWER, options.update)?;
        linux::ensure_module(paths, &newer)?;
    }
    Ok(toolchain)
}
