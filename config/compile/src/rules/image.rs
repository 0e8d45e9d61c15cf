//! IMG: the files that go into the image. Packing (sizes, placement) is judged by the back end.

use super::memory::MEM_008;
use super::{Check, rule};
use crate::build::elf::Elf;
use crate::diag::Finding;
use crate::model::{Payload, System};
use std::io::Read;

rule!(IMG_001, "IMG-001", Error, Check::Payloads(readable),
    "A payload is missing, unreadable or not for this machine.",
    why: "The image is complete or it is not built.",
    example: "bulkhead,image = \"linux/Imgae\";",
    fix: "give the path relative to the configuration; raw binaries need bulkhead,load and bulkhead,entry");

rule!(IMG_002, "IMG-002", Error, Check::Placement(fits),
    "A payload with its bss, initrd and device tree does not fit, overlaps itself, or is entered outside its code.",
    why: "What does not fit would be cut off or overwrite its neighbour before the first instruction runs.",
    example: "bulkhead,load = <0x0 0x407ff000>; /* 4 KiB below the end, for a file of 1 MiB */",
    fix: "give the partition more memory, or link and load the payload inside of it");

rule!(IMG_003, "IMG-003", Error, Check::Packing,
    "The packed image, where the boot method puts it, leaves RAM or lies on what firmware keeps.",
    why: "The board's loader copies the image to a fixed address and asks nobody.",
    example: "/* an initrd of 200 MiB: the image reaches the firmware's device tree at 128 MiB */",
    fix: "make payloads smaller, or give the hypervisor's memory more room");

rule!(IMG_004, "IMG-004", Error, Check::Packing,
    "The EL2 binary or the loader is not one that this compiler packs images for.",
    why: "EL2 reads the blueprint by fixed offsets: another version would read other fields.",
    example: "/* an EL2 binary of an older release */",
    fix: "build EL2, loader and compiler from the same sources (cargo xtask build)");

/// How much of a payload's start is looked at, bytes: an ELF header with program headers close by.
const HEAD_BYTES: u64 = 64 << 10;

/// Kind of a payload, by content.
pub(super) enum Content {
    /// ELF, with the start of the file.
    Elf(Vec<u8>),
    /// arm64 Image.
    Image,
    /// Anything else.
    Raw,
}

fn payloads(system: &System) -> Vec<(&Payload, bool, String)> {
    let mut out = Vec::new();
    for p in &system.partitions {
        let name = &p.name.value;
        out.extend(p.image.iter().map(|f| (f, true, format!("image of {name}"))));
        out.extend(p.initrd.iter().map(|f| (f, false, format!("initrd of {name}"))));
        out.extend(p.dtb.iter().map(|f| (f, false, format!("device tree of {name}"))));
        let regions = p.regions.iter().filter_map(|r| Some((r.file.as_deref()?, &r.name.value)));
        out.extend(regions.map(|(f, region)| (f, false, format!("content of region {region} of {name}"))));
    }
    let segments = system.segments.iter().filter_map(|s| Some((s.file.as_ref()?, &s.name.value)));
    out.extend(segments.map(|(f, segment)| (f, false, format!("content of segment {segment}"))));
    out
}

/// The start of a payload.
pub(super) fn head(payload: &Payload) -> Result<Vec<u8>, String> {
    let path = payload.path.as_ref().ok_or("no such file")?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(HEAD_BYTES).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.is_empty() { Err("an empty file".to_owned()) } else { Ok(bytes) }
}

/// All of a payload.
fn whole(payload: &Payload) -> Result<Vec<u8>, String> {
    std::fs::read(payload.path.as_ref().ok_or("no such file")?).map_err(|e| e.to_string())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// ELF-64 object file format: e_ident, e_machine; Linux arm64 boot protocol: magic at 56, flags at 24.
pub(super) fn classify(bytes: Vec<u8>) -> Result<Content, String> {
    const AARCH64: u16 = 183;
    if bytes.starts_with(b"\x7fELF") {
        return match (bytes.get(4), bytes.get(5), u16_at(&bytes, 18)) {
            (Some(2), Some(1), Some(AARCH64)) => Ok(Content::Elf(bytes)),
            (Some(1), ..) => Err("a 32-bit ELF file".to_owned()),
            (Some(2), Some(2), _) => Err("a big-endian ELF file".to_owned()),
            (_, _, machine) => {
                Err(format!("an ELF file for another machine (e_machine {})", machine.unwrap_or(0)))
            }
        };
    }
    if bytes.get(56..60) == Some(b"ARM\x64".as_slice()) {
        let big_endian = bytes.get(24).is_some_and(|flags| flags & 1 != 0);
        return if big_endian { Err("a big-endian arm64 Image".to_owned()) } else { Ok(Content::Image) };
    }
    Ok(Content::Raw)
}

fn readable(system: &System, out: &mut Vec<Finding>) {
    for (payload, executable, what) in payloads(system) {
        let content =
            head(payload).and_then(|bytes| if executable { classify(bytes) } else { Ok(Content::Image) });
        let problem = match content {
            Err(problem) => problem,
            Ok(Content::Raw) if payload.load.is_none() || payload.entry.is_none() => {
                let given = [("bulkhead,load", &payload.load), ("bulkhead,entry", &payload.entry)];
                let missing = given.iter().filter(|(_, given)| given.is_none()).map(|(name, _)| *name);
                let missing = missing.collect::<Vec<_>>().join(" and ");
                format!("neither ELF nor arm64 Image, without {missing}")
            }
            Ok(Content::Elf(_)) => match whole(payload).and_then(|bytes| Elf::parse(&bytes).map(drop)) {
                Err(problem) => format!("a damaged ELF file: {problem}"),
                Ok(()) => continue,
            },
            Ok(_) => continue,
        };
        let finding =
            Finding::new(&IMG_001, format!("{what} cannot be used: {problem}"), payload.span, "this file")
                .found(format!("{}: {problem}", payload.written))
                .expected(if executable {
                    "an ELF file or Image for little-endian AArch64, or a raw binary with load and entry"
                } else {
                    "a readable file"
                });
        out.push(finding);
    }
}

/// IMG-002: everything that a partition starts with has its place. Other rules that placing comes upon have their
/// own say when the image is packed.
fn fits(system: &System, out: &mut Vec<Finding>) {
    let Ok(views) = crate::build::ports::views(system) else {
        return;
    };
    for (index, view) in views.iter().enumerate() {
        let placed = crate::build::guest(system, index, view);
        out.extend(placed.err().filter(|f| f.rule.id == IMG_002.id));
    }
}

/// MEM-008: loadable ELF segments that are writable and executable.
pub fn writable_code(system: &System, out: &mut Vec<Finding>) {
    for (payload, _, what) in payloads(system).into_iter().filter(|(_, executable, _)| *executable) {
        let Ok(Ok(Content::Elf(bytes))) = head(payload).map(classify) else {
            continue;
        };
        for (number, address) in writable_executable_segments(&bytes) {
            let finding = Finding::new(
                &MEM_008,
                format!("{what} has a segment that is writable and executable"),
                payload.span,
                "this file",
            )
            .found(format!("program header {number} at {address:#x}: PF_W and PF_X"))
            .expected("code and data in separate segments");
            out.push(finding);
        }
    }
}

/// Numbers and virtual addresses of PT_LOAD headers with PF_W and PF_X.
fn writable_executable_segments(bytes: &[u8]) -> Vec<(usize, u64)> {
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let table = u64_at(32).and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
    let size = usize::from(u16_at(bytes, 54).unwrap_or(0));
    let count = usize::from(u16_at(bytes, 56).unwrap_or(0));
    let load = |number: usize| {
        let at = table.checked_add(number * size)?;
        let loadable = u32_at(at)? == 1 && u32_at(at.checked_add(4)?)? & 3 == 3;
        loadable.then_some((number, u64_at(at + 16)?))
    };
    (0..count).filter_map(load).collect()
}
