//! `bulkhead diff`: what changed, and whose evidence must be looked at again.

use crate::{CLEAN, REFUSED, UNUSABLE};
use bulkhead_compile::CheckOptions;
use bulkhead_compile::diag::{self, Finding, Severity};
use bulkhead_evidence::diff as configuration;
use bulkhead_verify::Image;
use bulkhead_verify::diff::{Description, Difference, image};
use clap::{Args, ValueEnum};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments of `diff`.
#[derive(Args)]
pub struct Arguments {
    /// The old side: a configuration or a packed image.
    old: PathBuf,
    /// The new side, of the same sort.
    new: PathBuf,
    /// How to show the difference.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// A further directory where payloads of configurations are looked for; may be given several times.
    #[arg(long, value_name = "DIR")]
    payloads: Vec<PathBuf>,
}

/// How the difference is shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a person.
    Human,
    /// JSON for a program.
    Json,
}

/// Compares and prints.
pub fn run(arguments: &Arguments) -> u8 {
    match compare(arguments) {
        Ok(difference) => {
            match arguments.format {
                Format::Human => print!("{}", difference.to_text()),
                Format::Json => println!("{}", difference.to_json()),
            }
            if difference.is_empty() { CLEAN } else { REFUSED }
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            UNUSABLE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<Difference, String> {
    let Arguments { old, new, payloads, .. } = arguments;
    let (old_packed, new_packed) = (is_image(old)?, is_image(new)?);
    if old_packed != new_packed {
        let (image, file) = if old_packed { (old, new) } else { (new, old) };
        let (image, file) = (image.display(), file.display());
        return Err(format!(
            "{image} is a packed image and {file} a configuration: expected two of one sort\nfix: `bulkhead verify \
             {image} --against {file}` says whether they are equal; or build the configuration and name both images"
        ));
    }
    let describe = |path: &Path| if old_packed { of_image(path) } else { of_configuration(path, payloads) };
    let (a, b) = (describe(old)?, describe(new)?);
    Ok(Difference::between((&old.display().to_string(), &a), (&new.display().to_string(), &b)))
}

/// Whether a file starts as a packed image does: "ARM\x64" of the arm64 Image header at offset 56.
fn is_image(path: &Path) -> Result<bool, String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut start = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(60).read_to_end(&mut start)).map_err(failed)?;
    Ok(start.get(56..60) == Some(b"ARM\x64"))
}

fn of_image(path: &Path) -> Result<Description, String> {
    let image = Image::read(path).map_err(|e| e.to_string())?;
    image::describe(&image).map_err(|e| format!("{}: {e}", path.display()))
}

/// A configuration without errors; findings that nobody has accepted yet do not hinder a comparison.
fn of_configuration(path: &Path, payloads: &[PathBuf]) -> Result<Description, String> {
    let options = CheckOptions { payload_dirs: payloads.to_vec(), payloads: false };
    let checked = bulkhead_compile::check(path, &options).map_err(|e| e.to_string())?;
    let errors: Vec<Finding> =
        checked.findings.iter().filter(|f| f.severity == Severity::Error).cloned().collect();
    match &checked.model {
        Some(system) if errors.is_empty() => {
            Ok(configuration::describe(system, &checked.findings, &checked.sources))
        }
        _ => Err(format!(
            "{} has errors, and what it means is uncertain\nfix: mend what `bulkhead check` says\n{}",
            path.display(),
            diag::render(&errors, &checked.sources, false)
        )),
    }
}
