//! The command `bulkhead`: starts and checks a configuration, explains the rules, builds the image.
//!
//! One module for each sub-command; each gives the exit status.

#![forbid(unsafe_code)]

#[macro_use]
mod tell;

mod build;
mod certify;
mod check;
mod diff;
mod explain;
mod new;
mod sources;
mod trace;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Nothing stands against the configuration.
const CLEAN: u8 = 0;
/// Errors, or findings that nobody accepted.
const REFUSED: u8 = 1;
/// The input could not be read.
const UNUSABLE: u8 = 2;

/// Checks, explains and builds configurations of the Bulkhead separation hypervisor.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say everything that is wrong with a configuration.
    ///
    /// Exit status: 0 clean, 1 errors or unaccepted findings, 2 unusable input.
    Check(check::Arguments),
    /// Pack a configuration and its payloads into the image that a board starts.
    ///
    /// Exit status: 0 built, 1 errors or unaccepted findings, 2 unusable input. Without status 0 nothing is written.
    Build(build::Arguments),
    /// Turn the trace rings of a running system into Perfetto's format or into histograms.
    ///
    /// Exit status: 0 done, 1 the files do not fit each other, 2 unusable input.
    Trace(trace::Arguments),
    /// Write a commented configuration to start from.
    New(new::Arguments),
    /// Show from a packed image alone who can reach what, and that all of it is allowed.
    ///
    /// Exit status: 0 every claim holds, 1 some does not, 2 the image cannot be walked.
    Verify(verify::Arguments),
    /// Check, build, verify, and write the evidence pack: report, pictures, findings, digests.
    ///
    /// Exit status: 0 everything holds, 1 errors, unaccepted findings or failed claims, 2 unusable input.
    Certify(certify::Arguments),
    /// Check an evidence pack: digests, signature, and the image once more.
    ///
    /// Exit status: 0 good, 1 something is wrong, 2 the pack cannot be read.
    VerifyEvidence(certify::EvidenceArguments),
    /// Show plans, information flow and memory, in the terminal or as SVG files.
    ///
    /// Exit status: 0 shown, 1 the image is not the configuration's, 2 unusable input.
    Show(certify::ShowArguments),
    /// Compare two configurations or two images: what changed, and whose evidence must be looked at again.
    ///
    /// Exit status: 0 no difference, 1 differences, 2 unusable input.
    Diff(diff::Arguments),
    /// Say what a rule means, why it is there, what breaks it and how to mend it.
    Explain {
        /// Identity of the rule, as MEM-001.
        rule: String,
    },
    /// List all rules.
    Rules {
        /// How to show them.
        #[arg(long, value_enum, default_value_t = explain::Format::Human)]
        format: explain::Format,
    },
}

fn main() -> ExitCode {
    let code = match Command::parse().what {
        What::Check(arguments) => check::run(&arguments),
        What::Build(arguments) => build::run(arguments),
        What::Trace(arguments) => trace::run(&arguments),
        What::New(arguments) => new::run(&arguments),
        What::Verify(arguments) => verify::run(&arguments),
        What::Certify(arguments) => certify::run(arguments),
        What::VerifyEvidence(arguments) => certify::verify_evidence(&arguments),
        What::Show(arguments) => certify::show(&arguments),
        What::Diff(arguments) => diff::run(&arguments),
        What::Explain { rule } => explain::explain(&rule),
        What::Rules { format } => explain::list(format),
    };
    ExitCode::from(code)
}
