//! The command `bulkhead`: checks a configuration, explains the rules, builds the image.

#![forbid(unsafe_code)]

mod explain;

use bulkhead_compile::diag::{self, Finding, Severity};
use bulkhead_compile::{BuildRequest, CheckOptions, Checked, Failure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
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
    Check(CheckArguments),
    /// Pack a configuration and its payloads into the image that a board starts.
    ///
    /// Exit status: 0 built, 1 errors or unaccepted findings, 2 unusable input. Without status 0 nothing is written.
    Build(BuildArguments),
    /// Say what a rule means, why it is there, what breaks it and how to mend it.
    Explain {
        /// Identity of the rule, as MEM-001.
        rule: String,
    },
    /// List all rules.
    Rules {
        /// How to show them.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

#[derive(Args)]
struct CheckArguments {
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

#[derive(Args)]
struct BuildArguments {
    /// The configuration.
    file: PathBuf,
    /// The EL2 executable, with symbols.
    #[arg(long, value_name = "ELF")]
    hypervisor: PathBuf,
    /// The executable of the EL1 loader.
    #[arg(long, value_name = "ELF")]
    loader: PathBuf,
    /// A further directory where payloads are looked for; may be given several times.
    #[arg(long, value_name = "DIR")]
    payloads: Vec<PathBuf>,
    /// The image to write.
    #[arg(short, long, value_name = "IMAGE")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a person.
    Human,
    /// JSON for a program.
    Json,
}

fn main() -> ExitCode {
    let code = match Command::parse().what {
        What::Check(arguments) => check(&arguments),
        What::Build(arguments) => build(arguments),
        What::Explain { rule } => explain::explain(&rule),
        What::Rules { format } => explain::list(format == Format::Json),
    };
    ExitCode::from(code)
}

fn check(arguments: &CheckArguments) -> u8 {
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
        Format::Json => println!("{}", bulkhead_compile::diag::to_json(&checked.findings, &checked.sources)),
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

fn build(arguments: BuildArguments) -> u8 {
    let request = BuildRequest {
        config: arguments.file,
        hv_elf: arguments.hypervisor,
        loader_elf: arguments.loader,
        payload_dirs: arguments.payloads,
        output: arguments.output,
    };
    match bulkhead_compile::build(&request) {
        Ok(report) => {
            print!("{}", report.summary());
            CLEAN
        }
        Err(Failure::Refused { findings, sources, parsed }) => {
            let colour = std::io::stderr().is_terminal();
            eprint!("{}", diag::render(&findings, &sources, colour));
            eprintln!("{}: no image written", request.config.display());
            if parsed { REFUSED } else { UNUSABLE }
        }
        Err(unusable) => {
            eprintln!("error: {unusable}");
            UNUSABLE
        }
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
