//! `cargo xtask`: the one driver of the repository.
//!
//! Modules in reading order: [`setup`] (what a fresh machine lacks), [`lint`], the generated files
//! [`header`] and [`sbom`]; below them [`metadata`], [`source`], [`elf`], [`cpio`], [`files`],
//! [`process`], [`paths`] and [`failure`].
#![forbid(unsafe_code)]

mod cpio;
mod elf;
mod failure;
mod files;
mod header;
mod lint;
mod metadata;
mod paths;
mod process;
mod sbom;
mod setup;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Result;
use paths::Paths;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs and tests Bulkhead",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install and download what is missing (the other commands do so themselves)
    Setup {
        /// Look for newer Debian packages although complete ones are there
        #[arg(long)]
        update: bool,
        /// Also build the Linux module for the newer kernel series
        #[arg(long)]
        all_kernels: bool,
        /// Also install the debugger that `run --gdb` uses
        #[arg(long)]
        gdb: bool,
    },
    /// Check the rules of the house: dependencies, unsafe code, sizes, generated files
    Lint,
    /// Write the C header of the ABI
    Header,
    /// Write the software bill of materials
    Sbom,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.exit())
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    let paths = Paths::from_environment()?;
    match verb {
        Verb::Setup {
            update,
            all_kernels,
            gdb,
        } => {
            let options = setup::Options {
                debugger: gdb,
                update,
                all_kernels,
            };
            let toolchain = setup::ensure(&paths, options)?;
            println!("ready: {}", toolchain.describe());
            Ok(())
        }
        Verb::Lint => {
            let el2 = paths.bare_metal_binary("bulkhead-hv");
            lint::check(&paths.root, el2.exists().then_some(&el2))
        }
        Verb::Header => header::write(&paths.root),
        Verb::Sbom => sbom::write(&paths.root),
    }
}
