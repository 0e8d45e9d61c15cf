//! `bulkhead build`: check, then the packed image.

use crate::{CLEAN, REFUSED, UNUSABLE};
use bulkhead_compile::{BuildRequest, Failure, diag};
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Arguments of `build`.
#[derive(Args)]
pub struct Arguments {
    /// The configuration.
    file: PathBuf,
    /// The EL2 executable, with symbols; its ABI version, board and features must be those of the configuration.
    #[arg(long = "hv", alias = "hypervisor", value_name = "ELF")]
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

/// Builds the image, or says why there is none.
pub fn run(arguments: Arguments) -> u8 {
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
