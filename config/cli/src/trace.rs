//! `bulkhead trace`: what a running system wrote into its trace rings.

use crate::{CLEAN, REFUSED, UNUSABLE};
use bulkhead_trace::{Layout, decode, perfetto, report};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `trace`.
#[derive(Args)]
pub struct Arguments {
    /// The packed image that the system was started from.
    image: PathBuf,
    /// A copy of the rings of all CPUs, as a partition with the right `read-trace` reads them.
    dump: PathBuf,
    /// Where to write the trace for Perfetto (https://ui.perfetto.dev), as JSON.
    #[arg(short, long, value_name = "JSON", required_unless_present = "report")]
    output: Option<PathBuf>,
    /// Print how late windows began and what EL2 was entered for.
    #[arg(long)]
    report: bool,
}

/// Converts the trace.
pub fn run(arguments: &Arguments) -> u8 {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|e| (UNUSABLE, format!("cannot read {}: {e}", path.display())))
    };
    let convert = || {
        let image = read(&arguments.image)?;
        let dump = read(&arguments.dump)?;
        let refused = |path: &PathBuf, why: String| (REFUSED, format!("{}: {why}", path.display()));
        let layout = Layout::of(&image).map_err(|why| refused(&arguments.image, why))?;
        let cpus = decode(&layout, &dump).map_err(|why| refused(&arguments.dump, why))?;
        if let Some(output) = &arguments.output {
            std::fs::write(output, perfetto::json(&layout, &cpus))
                .map_err(|e| (UNUSABLE, format!("cannot write {}: {e}", output.display())))?;
        }
        if arguments.report {
            print!("{}", report::text(&layout, &cpus));
        }
        Ok(())
    };
    match convert() {
        Ok(()) => CLEAN,
        Err((code, why)) => {
            eprintln!("error: {why}");
            code
        }
    }
}
