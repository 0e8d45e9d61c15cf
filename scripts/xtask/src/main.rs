//! `cargo xtask`: the one driver of the repository.
//!
//! Modules in reading order: [`setup`] (what a fresh machine lacks), `build`, `run`, `test`,
//! `lint`; below them [`files`], [`process`], [`cpio`] and [`failure`].
#![forbid(unsafe_code)]

mod cpio;
mod failure;
mod files;
mod paths;
mod process;
mod setup;

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
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
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
    }
}
