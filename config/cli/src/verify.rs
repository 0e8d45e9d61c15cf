//! `bulkhead verify`: what a packed image lets whom reach, and whether all of it is allowed.

use crate::{CLEAN, REFUSED, UNUSABLE, sources};
use bulkhead_verify::{Image, Report, against};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `verify`.
#[derive(Args)]
pub struct Arguments {
    /// The packed image.
    image: PathBuf,
    /// Compare with this configuration, too; without it no equality with any configuration is claimed.
    #[arg(long, value_name = "FILE.dts")]
    against: Option<PathBuf>,
    /// How to show the report.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// How the report is shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a person.
    Human,
    /// JSON for a program.
    Json,
}

/// Verifies the image and prints the report.
pub fn run(arguments: &Arguments) -> u8 {
    match report(&arguments.image, arguments.against.as_deref()) {
        Ok(report) => {
            match arguments.format {
                Format::Human => print!("{}", report.to_text()),
                Format::Json => println!("{}", report.to_json()),
            }
            if report.holds() { CLEAN } else { REFUSED }
        }
        Err(reason) => {
            eprintln!("error: {}: {reason}", arguments.image.display());
            UNUSABLE
        }
    }
}

/// The verifier's report about an image file.
///
/// # Errors
/// Why the image or the configuration cannot be read.
pub fn report(image: &Path, configuration: Option<&Path>) -> Result<Report, String> {
    let image = Image::read(image).map_err(|e| e.to_string())?;
    let report = match configuration {
        None => bulkhead_verify::verify(&image),
        Some(file) => {
            let boards = sources::boards().map_err(|e| format!("cannot write a temporary directory: {e}"))?;
            let blob = against::tree::compile(file, &[boards.path()])?;
            against::verify(&image, &file.display().to_string(), &blob)
        }
    };
    report.map_err(|e| e.to_string())
}
