//! The EL2 binary: its sections by the symbols of its linker script, and its flat bytes.

use super::elf::Elf;
use crate::diag::Finding;
use crate::model::{GicVersion, PAGE_BYTES, System};
use crate::rules::image::IMG_004;
use crate::span::AddressRange;
use bulkhead_abi::{ABI_VERSION, loader};
use bulkhead_blueprint::layout::VERSION;

/// Offset of `image_size` in the arm64 Image header (Linux booting.rst).
const IMAGE_SIZE_AT: usize = 16;
const IMAGE_MAGIC_AT: usize = 56;

/// What was found and what was expected.
type Mismatch = (String, String);

fn expect(what: &str, found: u64, expected: u64) -> Result<(), Mismatch> {
    if found == expected {
        return Ok(());
    }
    Err((format!("{what} {found:#x}"), format!("{what} {expected:#x}")))
}

fn symbol(elf: &Elf, name: &str) -> Result<u64, Mismatch> {
    elf.symbol(name).ok_or_else(|| {
        let expected = format!("the symbol {name} of hv/image/link.ld");
        (format!("no symbol {name}"), expected)
    })
}

/// The section between two symbols, the first on a page.
fn range(elf: &Elf, from: &str, to: &str) -> Result<AddressRange, Mismatch> {
    let (start, end) = (symbol(elf, from)?, symbol(elf, to)?);
    let length = end.checked_sub(start);
    let length = length.filter(|_| start.is_multiple_of(PAGE_BYTES));
    let length = length.ok_or_else(|| {
        let found = format!("{from} {start:#x}, {to} {end:#x}");
        (found, format!("{from} on a page, {to} not below it"))
    })?;
    Ok(AddressRange::new(start, length))
}

/// Versions, load address, interrupt controller and features are those of this compiler, board and
/// configuration; all that differs is said at once.
fn made_for(elf: &Elf, system: &System) -> Result<(), Mismatch> {
    let board = &system.board;
    let base = board.facts.image_base;
    let gic = match board.gic.version {
        GicVersion::V2 => 2,
        GicVersion::V3 => 3,
    };
    let bhb =
        |given: u64| if given == 0 { "built without `spectre-bhb`" } else { "built with `spectre-bhb`" };
    let wanted = [
        ("__blueprint_version", u64::from(VERSION)),
        ("__abi_version", u64::from(ABI_VERSION)),
        ("__text_start", base),
        ("__gic_version", gic),
        ("__spectre_bhb", u64::from(system.hypervisor.spectre_bhb.is_some())),
    ];
    let words = |name: &str, value: u64| match name {
        "__blueprint_version" => format!("blueprint version {value}"),
        "__abi_version" => format!("ABI version {}.{}", value >> 16, value & 0xFFFF),
        "__text_start" => format!("linked for {value:#x}"),
        "__gic_version" => format!("for GICv{value}"),
        _ => bhb(value).to_owned(),
    };
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (name, value) in wanted {
        let given = symbol(elf, name)?;
        if given != value {
            found.push(words(name, given));
            let of_board = matches!(name, "__text_start" | "__gic_version");
            let whose = if of_board { format!(" (board {})", board.facts.name) } else { String::new() };
            expected.push(words(name, value) + &whose);
        }
    }
    if found.is_empty() { Ok(()) } else { Err((found.join("; "), expected.join("; "))) }
}

/// The EL2 binary.
#[derive(Debug, Clone)]
pub struct Hypervisor {
    /// Code.
    pub text: AddressRange,
    /// Constants.
    pub rodata: AddressRange,
    /// Variables, zero-initialised ones included.
    pub data: AddressRange,
    /// Bytes that it keeps of the system, of each partition, of each vCPU (`hv/arch`, `entries!`).
    pub state: [u64; 3],
    /// All sections as they lie in memory, from the image's first byte on.
    pub flat: Vec<u8>,
}

impl Hypervisor {
    /// Reads the binary and holds it against board and blueprint (IMG-004).
    ///
    /// # Errors
    /// IMG-004.
    pub fn read(system: &System, bytes: &[u8]) -> Result<Hypervisor, Finding> {
        Self::parse(bytes, system).map_err(|(found, expected)| {
            let message = format!("the EL2 binary cannot be used: {found}");
            Finding::new(&IMG_004, message, system.hypervisor.span, "this system")
                .found(found)
                .expected(expected)
        })
    }

    /// The error is what was found and what was expected.
    fn parse(bytes: &[u8], system: &System) -> Result<Hypervisor, Mismatch> {
        let elf = Elf::parse(bytes).map_err(|e| (e, "the EL2 executable".to_owned()))?;
        made_for(&elf, system)?;
        let state = ["__state_bytes", "__partition_bytes", "__vcpu_bytes"].map(|name| symbol(&elf, name));
        let [whole, partition, vcpu] = state;
        let all = range(&elf, "__text_start", "__el2_end")?;
        expect("__el2_end modulo a page", all.size % PAGE_BYTES, 0)?;
        let flat = flatten(&elf, all)?;
        if flat.get(IMAGE_MAGIC_AT..IMAGE_MAGIC_AT + 4) != Some(b"ARM\x64") {
            let expected = "\"ARM\\x64\" at offset 56 (Linux booting.rst)".to_owned();
            return Err(("no arm64 Image header at its start".to_owned(), expected));
        }
        Ok(Hypervisor {
            text: range(&elf, "__text_start", "__text_end")?,
            rodata: range(&elf, "__rodata_start", "__rodata_end")?,
            data: range(&elf, "__data_start", "__el2_end")?,
            state: [whole?, partition?, vcpu?],
            flat,
        })
    }

    /// Bytes of the state that it keeps of this system.
    pub fn state_bytes(&self, system: &System) -> u64 {
        let [whole, partition, vcpu] = self.state;
        let vcpus: usize = system.partitions.iter().map(|p| p.vcpus.len()).sum();
        whole + partition * system.partitions.len() as u64 + vcpu * vcpus as u64
    }

    /// Writes the image's size, file and what lies beyond, into its header.
    pub fn set_image_size(&mut self, bytes: u64) {
        self.flat[IMAGE_SIZE_AT..IMAGE_SIZE_AT + 8].copy_from_slice(&bytes.to_le_bytes());
    }
}

/// The loader's flat bytes.
///
/// # Errors
/// IMG-004.
pub fn read_loader(system: &System, bytes: &[u8]) -> Result<Vec<u8>, Finding> {
    let refuse = |(found, expected): Mismatch| {
        let message = format!("the loader cannot be used: {found}");
        Finding::new(&IMG_004, message, system.hypervisor.span, "this system").found(found).expected(expected)
    };
    let elf = Elf::parse(bytes).map_err(|e| refuse((e, "the loader's executable".to_owned())))?;
    let entry = elf.entry;
    if entry != loader::LOADER_IPA {
        let expected = format!("entry {:#x}", loader::LOADER_IPA);
        return Err(refuse((format!("entry {entry:#x}"), expected)));
    }
    if elf.segments.iter().any(|s| s.writable) {
        let expected = "read-only and executable memory alone".to_owned();
        return Err(refuse(("a writable segment".to_owned(), expected)));
    }
    let end = elf.segments.iter().map(|s| s.end()).max().unwrap_or(0);
    let window = AddressRange::new(
        loader::LOADER_IPA,
        end.clamp(loader::LOADER_IPA, loader::LIST_IPA) - loader::LOADER_IPA,
    );
    flatten(&elf, window).map_err(refuse)
}

/// The segments of `elf` as they lie in `window`.
fn flatten(elf: &Elf, window: AddressRange) -> Result<Vec<u8>, Mismatch> {
    let mut flat = vec![0; window.size as usize];
    for segment in &elf.segments {
        let range = AddressRange::new(segment.address, segment.memory_bytes);
        if !window.contains(&range) {
            return Err((format!("a segment at {range}"), format!("inside {window}")));
        }
        let start = (segment.address - window.base) as usize;
        flat[start..start + segment.bytes.len()].copy_from_slice(&segment.bytes);
    }
    Ok(flat)
}
