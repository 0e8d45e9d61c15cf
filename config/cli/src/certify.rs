//! `bulkhead certify`, `show` and `verify-evidence`: evidence packs and their pictures.

use crate::verify::Against;
use crate::{CLEAN, REFUSED, UNUSABLE, sources};
use bulkhead_compile::{CheckOptions, Failure, diag};
use bulkhead_evidence::{Request, certify, pictures, sign};
use bulkhead_verify::against::tree;
use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Arguments of `certify`.
#[derive(Args)]
pub struct Arguments {
    /// The configuration.
    file: PathBuf,
    /// The EL2 executable, with symbols.
    #[arg(long = "hv", value_name = "ELF")]
    hypervisor: PathBuf,
    /// The executable of the EL1 loader.
    #[arg(long, value_name = "ELF")]
    loader: PathBuf,
    /// A further directory where payloads are looked for; may be given several times.
    #[arg(long, value_name = "DIR")]
    payloads: Vec<PathBuf>,
    /// Results of system tests, as `cargo xtask test` writes them; they count for the EL2 that they were made with.
    #[arg(long, value_name = "FILE")]
    tests: Option<PathBuf>,
    /// Sign the pack with this Ed25519 private key (PEM, PKCS#8).
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The directory to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Arguments of `show`.
#[derive(Args)]
pub struct ShowArguments {
    /// The configuration.
    file: PathBuf,
    /// The packed image: memory is shown as the verifier reads it from there.
    #[arg(long, value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Write SVG files into this directory instead of text to the terminal.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// Arguments of `verify-evidence`.
#[derive(Args)]
pub struct EvidenceArguments {
    /// The pack.
    directory: PathBuf,
    /// The public key that it must be signed with (PEM); without it the signature is not looked at.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
}

/// Makes a pack.
pub fn run(arguments: Arguments) -> u8 {
    let Arguments { file, hypervisor, loader, payloads, tests, sign: key, output } = arguments;
    let blob = match blob(&file) {
        Ok(blob) => blob,
        Err(reason) => return unusable(&reason),
    };
    let tools = tools();
    let request = Request { config: file, blob, hypervisor, loader, payloads, tests, tools, output };
    let evidence = match certify(&request) {
        Ok(evidence) => evidence,
        Err(Failure::Refused { findings, sources, parsed }) => {
            eprint!("{}", diag::render(&findings, &sources, std::io::stderr().is_terminal()));
            eprintln!("{}: no evidence written", request.config.display());
            return if parsed { REFUSED } else { UNUSABLE };
        }
        Err(reason) => return unusable(&reason.to_string()),
    };
    if let Some(Err(reason)) = key.map(|key| sign::sign(&request.output, &key)) {
        return unusable(&reason);
    }
    let failed = evidence.claims.iter().filter(|c| !c.holds).count();
    println!("part {}, image ID {}", evidence.image.part_number, evidence.image.image_id);
    println!("{} rules, {} claims, {failed} failed", evidence.rules.len(), evidence.claims.len());
    println!("report: {}", request.output.join("report.html").display());
    if evidence.holds { CLEAN } else { REFUSED }
}

fn unusable(reason: &str) -> u8 {
    eprintln!("error: {reason}");
    UNUSABLE
}

/// The configuration as dtc compiles it.
fn blob(file: &Path) -> Result<Vec<u8>, String> {
    let boards = sources::boards().map_err(|e| format!("cannot write a temporary directory: {e}"))?;
    tree::compile(file, &[boards.path()])
}

/// This program and dtc.
fn tools() -> Vec<(String, PathBuf)> {
    let own = std::env::current_exe().ok().map(|path| ("bulkhead".to_owned(), path));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let dtc =
        std::env::split_paths(&paths).map(|directory| directory.join("dtc")).find(|path| path.is_file());
    own.into_iter().chain(dtc.map(|path| ("dtc".to_owned(), path))).collect()
}

/// Shows the pictures of a configuration.
pub fn show(arguments: &ShowArguments) -> u8 {
    match draw(arguments) {
        Ok(code) => code,
        Err(reason) => unusable(&reason),
    }
}

fn draw(arguments: &ShowArguments) -> Result<u8, String> {
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let checked = bulkhead_compile::check(&arguments.file, &options).map_err(|e| e.to_string())?;
    let Some(system) = &checked.model else {
        eprint!("{}", checked.render(std::io::stderr().is_terminal()));
        return Ok(UNUSABLE);
    };
    let mut list = pictures::of_configuration(system);
    if let Some(image) = &arguments.image {
        let report = crate::verify::report(image, Against { file: Some(&arguments.file), payloads: None })?;
        if !report.holds() {
            eprintln!("error: {} is not the image of {}", image.display(), arguments.file.display());
            return Ok(REFUSED);
        }
        list.push(pictures::of_image(system, &report));
    }
    match &arguments.svg {
        None => list.iter().for_each(|picture| println!("{}", picture.text)),
        Some(directory) => {
            let failed = |e: std::io::Error| format!("cannot write into {}: {e}", directory.display());
            std::fs::create_dir_all(directory).map_err(failed)?;
            for picture in &list {
                std::fs::write(directory.join(format!("{}.svg", picture.name)), &picture.svg)
                    .map_err(failed)?;
            }
        }
    }
    Ok(CLEAN)
}

/// Checks a pack.
pub fn verify_evidence(arguments: &EvidenceArguments) -> u8 {
    match sign::verify(&arguments.directory, arguments.key.as_deref()) {
        Err(reason) => unusable(&reason),
        Ok(wrong) if wrong.is_empty() => {
            let directory = arguments.directory.display();
            match arguments.key {
                Some(_) => println!("{directory}: signature, digests and image are good"),
                None => println!("{directory}: digests and image are good; NO signature was checked (--key)"),
            }
            CLEAN
        }
        Ok(wrong) => {
            wrong.iter().for_each(|line| println!("{line}"));
            println!("{}: {} things are wrong", arguments.directory.display(), wrong.len());
            REFUSED
        }
    }
}
