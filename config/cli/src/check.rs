//! `bulkhead check`: everything that is wrong with a configuration, at once.

use crate::{CLEAN, REFUSED, UNUSABLE};
use bulkhead_compile::diag::{self, Finding, Severity};
use bulkhead_compile::{CheckOptions, Checked};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Arguments of `check`.
#[derive(Args)]
pub struct Arguments {
    /// The configuration.
    file: PathBuf,
    /// How to show findings.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// A further directory where payloads are looked for; may be given several times.
    #[arg(long, value_name = "DIR")]
    payloads: Vec<PathBuf>,
    /// Do not look at payloads: for a configuration whose payloads are not built yet.
    #[arg(long, conflicts_with = "payloads")]
    without_payloads: bool,
}

/// How findings are shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a person, on the error output.
    Human,
    /// JSON for a program, on the output.
    Json,
    /// SARIF 2.1.0 for a code-hosting service, on the output.
    Sarif,
}

/// Judges the configuration and shows what was found.
pub fn run(arguments: &Arguments) -> u8 {
    let options =
        CheckOptions { payload_dirs: arguments.payloads.clone(), payloads: !arguments.without_payloads };
    let checked = match bulkhead_compile::check(&arguments.file, &options) {
        Ok(checked) => checked,
        Err(reason) => {
            eprintln!("error: {reason}");
            return UNUSABLE;
        }
    };
    match arguments.format {
        Format::Json => println!("{}", diag::to_json(&checked.findings, &checked.sources)),
        Format::Sarif => println!("{}", diag::to_sarif(&checked.findings, &checked.sources)),
        Format::Human => {
            eprint!("{}", checked.render(std::io::stderr().is_terminal()));
            eprintln!("{}: {}", arguments.file.display(), tally(&checked));
        }
    }
    if !checked.parsed {
        UNUSABLE
    } else if checked.is_clean() {
        CLEAN
    } else {
        REFUSED
    }
}

/// `2 errors, 1 finding to accept, 3 accepted, 1 warning`.
fn tally(checked: &Checked) -> String {
    let count = |what: &dyn Fn(&Finding) -> bool| checked.findings.iter().filter(|f| what(f)).count();
    let errors = count(&|f| f.severity == Severity::Error);
    let open = count(&|f| f.severity == Severity::Finding && f.accepted.is_none());
    let accepted = count(&|f| f.accepted.is_some());
    let warnings = count(&|f| f.severity == Severity::Warning);
    let plural = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    format!(
        "{}, {} to accept, {accepted} accepted, {}",
        plural(errors, "error", "errors"),
        plural(open, "finding", "findings"),
        plural(warnings, "warning", "warnings")
    )
}
