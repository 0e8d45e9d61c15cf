//! The back end: a judged configuration and its binaries become one packed image.
//!
//! Reading order: [`build()`] is the order of the steps; `ports` and `guest` decide what each partition sees and
//! starts with, `layout` where everything lies, `maps` and `tables` who can reach what, `emit` and `records` what EL2
//! is told, `pack` the bytes of the file.

#![allow(clippy::result_large_err, reason = "a refusal ends the build: boxing it would save nothing")]

pub(crate) mod elf;
mod emit;
pub(crate) mod guest;
mod guest_devices;
mod guest_dt;
mod hypervisor;
mod info_page;
mod layout;
mod load_list;
mod maps;
mod pack;
pub(crate) mod ports;
mod records;
mod space;
mod summary;
pub mod tables;

use crate::diag::{self, Finding, Sources};
use crate::model::{PartitionIndex, Payload, System};
use crate::rules::image::{IMG_001, IMG_002};
use crate::span::AddressRange;
use crate::{CheckOptions, check};
use guest::{Copy, Files, Guest};
use ports::{ExtraKind, View};
use std::path::{Path, PathBuf};

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The configuration.
    pub config: PathBuf,
    /// The EL2 executable with its symbols.
    pub hv_elf: PathBuf,
    /// The EL1 loader's executable.
    pub loader_elf: PathBuf,
    /// Directories where payloads are looked for after the configuration's own.
    pub payload_dirs: Vec<PathBuf>,
    /// The image to write.
    pub output: PathBuf,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuildReport {
    summary: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes that the image occupies in memory, beyond the file's end included.
    pub image_bytes: u64,
    /// Bytes of the sealed part, from the image's start.
    pub sealed_bytes: u64,
    /// Bytes of pristine payloads.
    pub payload_bytes: u64,
    /// The image ID as 64 hexadecimal digits: the digest that EL2 compares at boot, and all others show.
    pub image_id: String,
}

impl BuildReport {
    /// One screen: partitions, CPUs, memory, devices, ports, image size, findings.
    pub fn summary(&self) -> String {
        self.summary.clone()
    }
}

/// Why there is no image.
#[derive(Debug)]
pub enum Failure {
    /// Errors, or findings that nobody accepted.
    Refused {
        /// All findings, sorted.
        findings: Vec<Finding>,
        /// The text that they point into.
        sources: Sources,
        /// Whether dtc accepted the source: if not, nothing was judged.
        parsed: bool,
    },
    /// A file cannot be read or written, or dtc cannot be run.
    Unusable(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused { findings, sources, .. } => {
                f.write_str(&diag::render_blocking(findings, sources, false))
            }
            Failure::Unusable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

/// Checks the configuration and writes the image, all of it or nothing.
///
/// # Errors
/// [`Failure`]; the output is then as it was.
pub fn build(request: &BuildRequest) -> Result<BuildReport, Failure> {
    let options = CheckOptions { payload_dirs: request.payload_dirs.clone(), payloads: true };
    let checked = check(&request.config, &options).map_err(|e| Failure::Unusable(e.to_string()))?;
    let (clean, parsed) = (checked.is_clean(), checked.parsed);
    let (mut findings, sources) = (checked.findings, checked.sources);
    let Some(system) = checked.model.filter(|_| clean) else {
        return Err(Failure::Refused { findings, sources, parsed });
    };
    spare_inputs(request, &system, &sources)?;
    let binaries = pack::Binaries { hypervisor: read(&request.hv_elf)?, loader: read(&request.loader_elf)? };
    match pack::pack(&system, &binaries) {
        Ok(packed) => {
            write(&request.output, &packed.file)?;
            Ok(BuildReport {
                summary: summary::text(&system, &packed, &findings),
                file_bytes: packed.file.len() as u64,
                image_bytes: packed.addresses.image_end - packed.addresses.image_base,
                sealed_bytes: packed.addresses.hashed_end - packed.addresses.image_base,
                payload_bytes: packed.addresses.file_end - packed.addresses.hashed_end,
                image_id: packed.image_id(),
            })
        }
        Err(more) => {
            findings.extend(more);
            diag::sort(&mut findings);
            Err(Failure::Refused { findings, sources, parsed })
        }
    }
}

/// The image must not take the place of what it is made of.
fn spare_inputs(request: &BuildRequest, system: &System, sources: &Sources) -> Result<(), Failure> {
    let Ok(output) = request.output.canonicalize() else { return Ok(()) };
    let given = [&request.config, &request.hv_elf, &request.loader_elf].into_iter().cloned();
    let included = sources.files().iter().map(|file| PathBuf::from(&file.name));
    let payloads = crate::rules::payload::files(system).filter_map(|payload| payload.path.clone());
    let is_output = |path: PathBuf| path.canonicalize().is_ok_and(|path| path == output);
    if given.chain(included).chain(payloads).any(is_output) {
        let output = request.output.display();
        let reason = format!(
            "{output} is one of the inputs, and the image would replace it\nfix: write to another file"
        );
        return Err(Failure::Unusable(reason));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| {
        let path = path.display();
        Failure::Unusable(format!("cannot read {path}: {e}\nfix: build it first"))
    })
}

/// Writes beside the target and renames, so that there is never half an image.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::Unusable(format!("cannot write {}: {e}", path.display()));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    // Others than the one who builds may start it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(failed)?;
    }
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The bytes of a payload (IMG-001).
fn payload(payload: &Payload) -> Result<Vec<u8>, Finding> {
    let found = payload.path.as_ref().ok_or_else(|| "no such file".to_owned());
    let bytes = found.and_then(|path| std::fs::read(path).map_err(|e| e.to_string()));
    bytes.map_err(|problem| {
        let message = format!("{} cannot be used: {problem}", payload.written);
        Finding::new(&IMG_001, message, payload.span, "this file").found(problem).expected("a readable file")
    })
}

/// What partition `index` starts with, regions and segments that it loads included.
///
/// # Errors
/// IMG-001, IMG-002, MEM-008 and CLO-001.
pub(crate) fn guest(system: &System, index: PartitionIndex, view: &View) -> Result<Guest, Finding> {
    let partition = &system.partitions[index];
    let files = Files {
        image: match &partition.image {
            Some(image) => payload(image)?,
            None => Vec::new(),
        },
        initrd: partition.initrd.as_ref().map(payload).transpose()?,
        dtb: partition.dtb.as_ref().map(payload).transpose()?,
    };
    let tree = |initrd: Option<AddressRange>| guest_dt::build(system, index, view, initrd);
    let mut guest = guest::place(partition, files, &tree)?;
    for extra in view.extras.iter().filter(|e| e.loaded) {
        let file = match extra.kind {
            ExtraKind::Region(number) => partition.regions[number].file.as_deref(),
            ExtraKind::Segment(number) => system.segments[number].file.as_ref(),
            ExtraKind::Trace | ExtraKind::Health => None,
        };
        if let Some(file) = file {
            let bytes = content(file, extra.ipa.size)?;
            guest.copies.push(Copy { ipa: extra.ipa.base, bytes });
        }
    }
    guest.copies.sort_by_key(|c| c.ipa);
    Ok(guest)
}

/// A file that fills memory of `size` bytes from its start, padded for the loader.
fn content(file: &Payload, size: u64) -> Result<Vec<u8>, Finding> {
    let mut bytes = payload(file)?;
    if bytes.len() as u64 > size {
        let message = format!("{} does not fit", file.written);
        return Err(Finding::new(&IMG_002, message, file.span, "this file")
            .found(format!("{} bytes", bytes.len()))
            .expected(format!("at most {size} bytes")));
    }
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    Ok(bytes)
}
