//! `bulkhead verify`: what a packed image lets whom reach, and whether all of it is allowed; of a file, or of what lies
//! on a card.

use crate::{CLEAN, REFUSED, UNUSABLE, sources};
use bulkhead_card::Card;
use bulkhead_compile::board::BUILTIN_BOARDS;
use bulkhead_verify::{Image, Report, against};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Arguments of `verify`.
#[derive(Args)]
pub struct Arguments {
    /// The packed image.
    #[arg(required_unless_present = "card")]
    image: Option<PathBuf>,
    /// A bootable card, or an image of one: take the packed image from it, and say which one it is.
    #[arg(long, value_name = "/dev/X|FILE", conflicts_with = "image")]
    card: Option<PathBuf>,
    /// Compare with this configuration, too; without it no equality with any configuration is claimed.
    #[arg(long, value_name = "FILE.dts")]
    against: Option<PathBuf>,
    /// A further directory where the configuration's payloads are looked for; may be given several times.
    #[arg(long, value_name = "DIR", requires = "against")]
    payloads: Vec<PathBuf>,
    /// Do not compare the contents of payloads.
    #[arg(long, requires = "against", conflicts_with = "payloads")]
    without_payloads: bool,
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

/// What an image is compared with.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// The configuration; `None`: nothing.
    pub file: Option<&'a Path>,
    /// Where its payloads are looked for beside it; `None`: their contents are not compared.
    pub payloads: Option<&'a [PathBuf]>,
}

/// Verifies the image and prints the report.
pub fn run(arguments: &Arguments) -> u8 {
    let directories = (!arguments.without_payloads).then_some(arguments.payloads.as_slice());
    let against = Against { file: arguments.against.as_deref(), payloads: directories };
    let human = arguments.format == Format::Human;
    let (place, outcome) = match (&arguments.card, &arguments.image) {
        (Some(card), _) => (card, on_card(card, against, human)),
        (None, Some(image)) => (image, report(image, against)),
        // The parser asks for one of them.
        (None, None) => return UNUSABLE,
    };
    match outcome {
        Ok(report) => {
            match arguments.format {
                Format::Human => print!("{}", report.to_text()),
                Format::Json => println!("{}", report.to_json()),
            }
            if report.holds() { CLEAN } else { REFUSED }
        }
        Err(reason) => {
            eprintln!("error: {}: {reason}", place.display());
            UNUSABLE
        }
    }
}

/// The verifier's report about an image file.
///
/// # Errors
/// Why the image or the configuration cannot be read.
pub fn report(image: &Path, against: Against<'_>) -> Result<Report, String> {
    judge(&Image::read(image).map_err(|e| e.to_string())?, against)
}

fn judge(image: &Image, against: Against<'_>) -> Result<Report, String> {
    let report = match against.file {
        None => bulkhead_verify::verify(image),
        Some(file) => {
            let boards = sources::boards().map_err(|e| format!("cannot write a temporary directory: {e}"))?;
            let blob = against::tree::compile(file, &[boards.path()])?;
            let directory = file.parent().unwrap_or(Path::new("")).to_path_buf();
            let payloads = against.payloads.map(|more| [&[directory], more].concat());
            let name = file.display().to_string();
            let configuration = against::Configuration {
                file: &name,
                blob: &blob,
                payloads: payloads.as_deref(),
                boards: BUILTIN_BOARDS,
            };
            against::verify(image, &configuration)
        }
    };
    report.map_err(|e| e.to_string())
}

/// The report about what a card boots, after the answer to "which one is this?".
fn on_card(path: &Path, against: Against<'_>, show: bool) -> Result<Report, String> {
    let file = File::open(path).map_err(|e| format!("cannot be read: {e}{}", hint(&e)))?;
    let unusable = |e: std::io::Error| {
        format!(
            "no card that `cargo xtask flash` wrote: {e}\nfix: name the whole device (as /dev/sdX) or the card's \
                 image, or write it again"
        )
    };
    let card = Card::open(BufReader::new(file)).map_err(unusable)?;
    let name = card.configured("kernel").map_err(unusable)?;
    let kernel = card.read(&name).map_err(unusable)?;
    let report = judge(&Image::from_bytes(&kernel), against).map_err(|e| format!("its {name}: {e}"))?;
    if show {
        let failed = report.outcomes().filter(|outcome| !outcome.findings.is_empty()).count();
        let verdict = match failed {
            0 => format!("all {} claims hold", report.outcomes().count()),
            _ => format!("{failed} of {} claims FAIL: do not use this card", report.outcomes().count()),
        };
        let image = &report.image;
        println!("card         {}: {name}, {} bytes", path.display(), image.bytes);
        println!("part number  {}", image.part_number);
        println!("image ID     {}", image.image_id);
        println!("board        {}", image.board);
        println!("verifier     {verdict}\n");
    }
    Ok(report)
}

/// What to do about a device that cannot be opened.
fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "\nfix: run the command as a user who may read it (group `disk`, or sudo)"
        }
        std::io::ErrorKind::NotFound => {
            "\nfix: `lsblk` lists the devices; a card's appears when it is put in"
        }
        _ => "",
    }
}
