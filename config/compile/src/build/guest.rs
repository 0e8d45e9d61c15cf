//! A partition's memory at its start: what lies where, what may be executed, where it is entered.
//!
//! Source: Linux `Documentation/arch/arm64/booting.rst` (Image header, placement); ELF program headers. Headers are
//! not trusted beyond what the file's length and the partition's memory allow.

use super::elf::Elf;
use crate::diag::Finding;
use crate::model::{PAGE_BYTES, Partition, Payload};
use crate::rules::image::{IMG_001, IMG_002};
use crate::rules::memory::MEM_008;
use crate::span::{AddressRange, Bytes, Span};
use bulkhead_abi::loader;

const BLOCK_BYTES: u64 = super::tables::BLOCK_BYTES;
/// Longest device tree that Linux takes.
const DTB_BYTES_MAX: u64 = 2 << 20;
/// Unit in which the loader copies.
const COPY_BYTES: u64 = 16;
/// An `image_size` that exceeds the file by more than this is not believed.
const BSS_BYTES_MAX: u64 = 64 << 20;
/// Offset from the start of RAM where an Image without `image_size` wants to be (booting.rst).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// The files of a partition.
#[derive(Debug, Clone)]
pub struct Files {
    /// `bulkhead,image`.
    pub image: Vec<u8>,
    /// `bulkhead,initrd`.
    pub initrd: Option<Vec<u8>>,
    /// `bulkhead,dtb`.
    pub dtb: Option<Vec<u8>>,
}

/// Bytes that the loader puts into the partition's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where; a multiple of 16.
    pub ipa: u64,
    /// What; a multiple of 16 long.
    pub bytes: Vec<u8>,
}

impl Copy {
    /// The addresses that it fills.
    pub fn range(&self) -> AddressRange {
        AddressRange::new(self.ipa, self.bytes.len() as u64)
    }
}

/// What may be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// These pages, which the partition cannot write; nothing else.
    Pages(Vec<AddressRange>),
    /// Everything: the payload's format does not tell code from data.
    Anything,
}

/// A partition's memory at its start.
#[derive(Debug, Clone)]
pub struct Guest {
    /// In ascending order, apart from each other.
    pub copies: Vec<Copy>,
    /// What may be executed.
    pub code: Code,
    /// First instruction.
    pub entry: u64,
    /// x0 at entry: the device tree.
    pub dtb: u64,
    /// End of the loader's stack.
    pub stack_end: u64,
    /// Kind of the payload, for the summary.
    pub kind: &'static str,
}

/// Something that occupies memory from the start.
struct Piece {
    what: &'static str,
    ipa: u64,
    bytes: Vec<u8>,
    /// With what follows it and starts as zero.
    memory_bytes: u64,
    span: Span,
}

impl Piece {
    fn range(&self) -> AddressRange {
        AddressRange::new(self.ipa, self.memory_bytes)
    }
}

/// A payload before initrd and device tree are placed.
struct Loaded {
    pieces: Vec<Piece>,
    code: Code,
    entry: u64,
    kind: &'static str,
}

/// Places everything. `tree` generates the device tree for an initrd's place; its length must not depend on that.
///
/// # Errors
/// IMG-001, IMG-002, MEM-008, and what `tree` refuses.
pub fn place(
    partition: &Partition,
    files: Files,
    tree: &dyn Fn(Option<AddressRange>) -> Result<Vec<u8>, Finding>,
) -> Result<Guest, Finding> {
    let Some(payload) = &partition.image else {
        let name = &partition.name.value;
        return Err(Finding::new(&IMG_001, format!("{name} has no image"), partition.span, "this partition")
            .found("no bulkhead,image")
            .expected("an ELF file, an arm64 Image or a raw binary"));
    };
    let mut loaded = if files.image.starts_with(b"\x7fELF") {
        elf(partition, payload, &files.image)?
    } else if files.image.get(56..60) == Some(b"ARM\x64") {
        image(partition, payload, files.image)?
    } else {
        raw(payload, files.image)?
    };
    let dtb = boot_files(partition, &mut loaded, files.initrd, files.dtb, tree)?;
    fits(partition, &loaded.pieces)?;
    let copies = merge(loaded.pieces);
    let stack_end = stack(partition, &copies)
        .ok_or_else(|| too_small(partition, "the loader's stack", loader::STACK_BYTES))?;
    Ok(Guest { copies, code: loaded.code, entry: loaded.entry, dtb, stack_end, kind: loaded.kind })
}

fn does_not_fit(payload: &Payload, message: String) -> Finding {
    Finding::new(&IMG_002, message, payload.span, "this file")
}

fn elf(partition: &Partition, payload: &Payload, bytes: &[u8]) -> Result<Loaded, Finding> {
    let name = &partition.name.value;
    let elf = Elf::parse(bytes).map_err(|problem| {
        let message = format!("image of {name} cannot be used: {problem}");
        Finding::new(&IMG_001, message, payload.span, "this file")
            .found(problem)
            .expected("a little-endian AArch64 executable")
    })?;
    let code_segments = elf.segments.iter().filter(|s| s.executable);
    let mut pages: Vec<AddressRange> = code_segments
        .clone()
        .map(|s| AddressRange::new(s.address, s.memory_bytes).aligned_out(PAGE_BYTES))
        .collect();
    for data in elf.segments.iter().filter(|s| s.writable) {
        let range = AddressRange::new(data.address, data.memory_bytes).aligned_out(PAGE_BYTES);
        if let Some(page) = pages.iter().find_map(|p| p.intersection(&range)) {
            let message = format!("image of {name} has code and writable data in one page");
            return Err(Finding::new(&MEM_008, message, payload.span, "this file")
                .found(format!("both in {page}"))
                .expected("code and data in pages of their own"));
        }
    }
    if !code_segments.clone().any(|s| (s.address..s.end()).contains(&elf.entry)) {
        return Err(does_not_fit(payload, format!("image of {name} is entered outside its code"))
            .found(format!("entry {:#x}", elf.entry))
            .expected("an address in a segment with PF_X"));
    }
    pages.sort();
    pages.dedup();
    let pieces = elf.segments.into_iter().map(|segment| Piece {
        what: "a segment of its image",
        ipa: segment.address,
        memory_bytes: segment.memory_bytes,
        bytes: segment.bytes,
        span: payload.span,
    });
    Ok(Loaded { pieces: pieces.collect(), code: Code::Pages(join(pages)), entry: elf.entry, kind: "ELF" })
}

/// Ranges in ascending order with those that touch made one.
fn join(ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    let mut out: Vec<AddressRange> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.base <= last.end_saturating() => {
                let end = last.end_saturating().max(range.end_saturating());
                last.size = end - last.base;
            }
            _ => out.push(range),
        }
    }
    out
}

fn image(partition: &Partition, payload: &Payload, bytes: Vec<u8>) -> Result<Loaded, Finding> {
    let name = &partition.name.value;
    let field = |at: usize| {
        let field = bytes.get(at..at + 8).and_then(|f| f.try_into().ok());
        field.map_or(0, u64::from_le_bytes)
    };
    let length = bytes.len() as u64;
    let (text_offset, image_size) = match (field(8), field(16)) {
        (_, 0) => (OLD_TEXT_OFFSET, length),
        (offset, size) => (offset, size),
    };
    if text_offset >= BLOCK_BYTES || !text_offset.is_multiple_of(PAGE_BYTES) {
        let message = format!("the Image header of {name} has an impossible text_offset");
        return Err(does_not_fit(payload, message)
            .found(format!("text_offset {text_offset:#x}"))
            .expected("a multiple of 4 KiB below 2 MiB"));
    }
    let memory_bytes = if (length..=length.saturating_add(BSS_BYTES_MAX)).contains(&image_size) {
        image_size
    } else {
        length
    };
    let ram = partition.memory.first().map_or(0, |m| m.ipa.base);
    let ipa = ram.next_multiple_of(BLOCK_BYTES) + text_offset;
    let piece = Piece { what: "its image", ipa, bytes, memory_bytes, span: payload.span };
    Ok(Loaded { pieces: vec![piece], code: Code::Anything, entry: ipa, kind: "arm64 Image" })
}

fn raw(payload: &Payload, bytes: Vec<u8>) -> Result<Loaded, Finding> {
    let (Some(load), Some(entry)) = (&payload.load, &payload.entry) else {
        return Err(Finding::new(
            &IMG_001,
            "a raw binary without load and entry address",
            payload.span,
            "this file",
        )
        .found("neither ELF nor arm64 Image")
        .expected("bulkhead,load and bulkhead,entry"));
    };
    let range = AddressRange::new(load.value, bytes.len() as u64);
    if !range.contains(&AddressRange::new(entry.value, 4)) || !entry.value.is_multiple_of(4) {
        return Err(Finding::new(
            &IMG_002,
            "a raw binary is entered outside itself",
            entry.span,
            "its entry",
        )
        .also(load.span, format!("loaded to {range}"))
        .found(format!("entry {:#x}", entry.value))
        .expected("the address of an instruction of the file")
        .fix("set bulkhead,entry to the address of the first instruction"));
    }
    let piece = Piece {
        what: "its image",
        ipa: load.value,
        memory_bytes: bytes.len() as u64,
        bytes,
        span: payload.span,
    };
    Ok(Loaded { pieces: vec![piece], code: Code::Anything, entry: entry.value, kind: "raw" })
}

fn too_small(partition: &Partition, what: &str, bytes: u64) -> Finding {
    let span = partition.memory.first().map_or(partition.span, |m| m.span);
    let name = &partition.name.value;
    Finding::new(&IMG_002, format!("{what} of {name} has no room in its memory"), span, "this memory")
        .found(format!("{} needed beside the rest", Bytes(bytes)))
        .expected("memory that holds image, initrd, device tree and the loader's stack")
}

/// Places the device tree at the end of the first memory range and the initrd below it; returns the tree's address.
fn boot_files(
    partition: &Partition,
    loaded: &mut Loaded,
    initrd: Option<Vec<u8>>,
    dtb: Option<Vec<u8>>,
    tree: &dyn Fn(Option<AddressRange>) -> Result<Vec<u8>, Finding>,
) -> Result<u64, Finding> {
    let dummy = initrd.as_ref().map(|i| AddressRange::new(0, i.len() as u64));
    let length = match &dtb {
        Some(own) => own.len(),
        None => tree(dummy)?.len(),
    } as u64;
    let Some(ram) = partition.memory.first().map(|m| m.ipa) else {
        return Err(too_small(partition, "everything", length));
    };
    // A page is left above for the loader's stack; small memories get no 2 MiB slots.
    let granule = if ram.size >= 16 * BLOCK_BYTES { BLOCK_BYTES } else { PAGE_BYTES };
    let below = |end: u64, bytes: u64| {
        let base = end.checked_sub(bytes)? & !(granule - 1);
        (base >= ram.base).then_some(base)
    };
    let top = ram.end_saturating().saturating_sub(PAGE_BYTES);
    let at = below(top, length).filter(|_| length <= DTB_BYTES_MAX);
    let at = at.ok_or_else(|| too_small(partition, "the device tree", length))?;
    let mut initrd_range = None;
    if let (Some(bytes), Some(file)) = (initrd, &partition.initrd) {
        let size = bytes.len() as u64;
        let ipa = below(at, size).ok_or_else(|| too_small(partition, "the initrd", size))?;
        initrd_range = Some(AddressRange::new(ipa, size));
        loaded.pieces.push(Piece { what: "its initrd", ipa, memory_bytes: size, bytes, span: file.span });
    }
    let span = partition.dtb.as_ref().map_or(partition.span, |d| d.span);
    let bytes = match dtb {
        Some(own) => own,
        None => tree(initrd_range)?,
    };
    loaded.pieces.push(Piece {
        what: "its device tree",
        ipa: at,
        memory_bytes: bytes.len() as u64,
        bytes,
        span,
    });
    Ok(at)
}

/// IMG-002: every piece inside the partition's memory, none over another.
fn fits(partition: &Partition, pieces: &[Piece]) -> Result<(), Finding> {
    let name = &partition.name.value;
    for (number, piece) in pieces.iter().enumerate() {
        let range = piece.range();
        if !partition.memory.iter().any(|m| m.ipa.contains(&range)) {
            let memory: Vec<String> = partition.memory.iter().map(|m| m.ipa.to_string()).collect();
            let finding = Finding::new(
                &IMG_002,
                format!("{} does not fit into the memory of {name}", piece.what),
                piece.span,
                format!("{}: {range}", piece.what),
            )
            .found(range.to_string())
            .expected(format!("inside {}", memory.join(", ")));
            let place = partition.memory.first().map(|m| m.span);
            return Err(place.into_iter().fold(finding, |f, s| f.also(s, "its memory")));
        }
        if let Some(other) = pieces[..number].iter().find(|o| o.range().overlaps(&range)) {
            return Err(Finding::new(
                &IMG_002,
                format!("{} and {} of {name} overlap", other.what, piece.what),
                piece.span,
                format!("{}: {range}", piece.what),
            )
            .also(other.span, format!("{}: {}", other.what, other.range()))
            .found(format!("{range} and {}", other.range()))
            .expected("more memory, or a smaller payload"));
        }
    }
    Ok(())
}

/// Copies whose bounds are multiples of 16; pieces that share such a unit become one copy.
fn merge(mut pieces: Vec<Piece>) -> Vec<Copy> {
    pieces.retain(|p| !p.bytes.is_empty());
    pieces.sort_by_key(|p| p.ipa);
    let mut out: Vec<Copy> = Vec::new();
    for piece in pieces {
        let file = AddressRange::new(piece.ipa, piece.bytes.len() as u64);
        let hull = file.aligned_out(COPY_BYTES);
        if out.last().is_none_or(|last| last.range().end_saturating() <= hull.base) {
            out.push(Copy { ipa: hull.base, bytes: Vec::new() });
        }
        if let Some(copy) = out.last_mut() {
            copy.bytes.resize((hull.end_saturating() - copy.ipa) as usize, 0);
            let start = (piece.ipa - copy.ipa) as usize;
            copy.bytes[start..start + piece.bytes.len()].copy_from_slice(&piece.bytes);
        }
    }
    out
}

/// End of the highest page of the partition's memory that nothing is copied to.
fn stack(partition: &Partition, copies: &[Copy]) -> Option<u64> {
    let ranges = partition.memory.iter().map(|m| m.ipa);
    ranges
        .filter_map(|ram| {
            let mut end = ram.end_saturating();
            while let Some(base) = end.checked_sub(loader::STACK_BYTES).filter(|b| *b >= ram.base) {
                let page = AddressRange::new(base, loader::STACK_BYTES);
                match copies.iter().find(|c| c.range().overlaps(&page)) {
                    Some(copy) => end = copy.ipa & !(PAGE_BYTES - 1),
                    None => return Some(end),
                }
            }
            None
        })
        .max()
}
