//! The file: finds the blueprint in it and gives access by physical address.

use crate::ranges::{PAGE, Range};
use bulkhead_blueprint::layout::{Header, MAGIC, Reach, VERSION};
use bulkhead_blueprint::limits::{BLUEPRINT_BYTES_MAX, STACK_STRIDE};
use bulkhead_blueprint::{Blueprint, Defect};
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

/// Offset of [`MAGIC`] in the header, behind the digest.
const MAGIC_AT: usize = 32;
/// Offset of the version, behind it.
const VERSION_AT: usize = MAGIC_AT + MAGIC.len();
/// "ARM\x64" of the arm64 Image header (Linux booting.rst), at this offset.
const IMAGE_MAGIC_AT: usize = 56;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Why bytes cannot be verified at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The file cannot be read.
    File(String),
    /// No arm64 Image header: not an image.
    NotAnImage,
    /// No page of the file starts with a blueprint.
    NoBlueprint,
    /// Two pages of the file start with a blueprint: EL2 takes the one that it was linked in front of, which no reader
    /// of the file can tell from the other.
    TwoBlueprints {
        /// Offset of one in the file.
        first: u64,
        /// Offset of the other.
        second: u64,
    },
    /// The blueprint's own bounds check refuses it, as EL2 would.
    Blueprint(Defect),
    /// The blueprint places itself outside the image it describes.
    Misplaced {
        /// Where the file has it, from the image's base that it claims.
        found: u64,
        /// Where the sealed part that it claims lies.
        sealed: Range,
    },
    /// The file ends before what the blueprint says it holds.
    Truncated {
        /// Bytes that it must have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::File(reason) => f.write_str(reason),
            Unreadable::NotAnImage => write!(
                f,
                "no arm64 Image header: found something else, expected \"ARM\\x64\" at offset {IMAGE_MAGIC_AT}\nfix: \
                 name the file that `bulkhead build -o` wrote"
            ),
            Unreadable::NoBlueprint => write!(
                f,
                "no blueprint: no page starts with a digest and \"BULKHEAD\"\nfix: name the file that `bulkhead build \
                 -o` wrote; a damaged one has to be built again"
            ),
            Unreadable::TwoBlueprints { first, second } => write!(
                f,
                "two blueprints: found pages that start with \"BULKHEAD\" and this version at offsets {first:#x} and \
                 {second:#x}, expected one, for EL2 takes the one that it was linked in front of, and the file does \
                 not say which\nfix: do not use this file; build the image again, from payloads that are no images of \
                 Bulkhead"
            ),
            Unreadable::Blueprint(defect) => write!(
                f,
                "the blueprint is refused: defect {} ({defect:?}, docs/boot.md)\nfix: build the image with the same \
                 version as this verifier",
                *defect as u8
            ),
            Unreadable::Misplaced { found, sealed } => write!(
                f,
                "the blueprint is misplaced: found at {found:#x}, expected inside the sealed part {sealed} that it \
                 names\nfix: build the image again"
            ),
            Unreadable::Truncated { expected, found } => write!(
                f,
                "truncated: found {found} bytes, expected {expected}\nfix: copy or build the image again"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The bytes of a packed image, aligned.
#[derive(Clone)]
pub struct Image {
    words: Vec<u64>,
    length: usize,
}

impl Image {
    /// An image from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Image {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Image { words, length: bytes.len() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Unreadable::File`].
    pub fn read(path: &Path) -> Result<Image, Unreadable> {
        let fail =
            |e: &dyn std::fmt::Display| Unreadable::File(format!("cannot read {}: {e}", path.display()));
        let mut file = std::fs::File::open(path).map_err(|e| fail(&e))?;
        let length = file.metadata().map_err(|e| fail(&e))?.len();
        if length > FILE_BYTES_MAX {
            return Err(fail(&format_args!("{length} bytes, expected at most {FILE_BYTES_MAX}")));
        }
        let length = length as usize;
        let mut words = vec![0u64; length.div_ceil(8)];
        std::io::Read::read_exact(&mut file, &mut words.as_mut_bytes()[..length]).map_err(|e| fail(&e))?;
        Ok(Image { words, length })
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }

    /// All bytes, to be damaged by tests.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.length]
    }

    /// Finds and checks the blueprint.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(&self) -> Result<View<'_>, Unreadable> {
        let bytes = self.bytes();
        if bytes.get(IMAGE_MAGIC_AT..IMAGE_MAGIC_AT + 4) != Some(b"ARM\x64") {
            return Err(Unreadable::NotAnImage);
        }
        let starts = |at: &usize| bytes.get(at + MAGIC_AT..at + MAGIC_AT + MAGIC.len()) == Some(&MAGIC[..]);
        let mut pages = (0..bytes.len()).step_by(PAGE as usize).filter(starts);
        let offset = pages.next().ok_or(Unreadable::NoBlueprint)?;
        // EL2 halts on another version: such a page can only be part of a payload.
        let version = |at: usize| crate::system::word(bytes, at + VERSION_AT);
        if let Some(second) = pages.find(|at| version(*at) == Some(VERSION)) {
            return Err(Unreadable::TwoBlueprints { first: offset as u64, second: second as u64 });
        }
        let tail = &bytes[offset..];
        let tail = &tail[..tail.len().min(BLUEPRINT_BYTES_MAX)];
        let blueprint = Blueprint::parse(tail).map_err(Unreadable::Blueprint)?;
        let header = blueprint.header;
        let at = header.image_base.saturating_add(offset as u64);
        let sealed = Range { start: at, end: header.sealed_end };
        let own = Range::of(at, u64::from(header.total_bytes));
        let whole = (header.image_base | header.sealed_end | header.hashed_end).is_multiple_of(PAGE);
        if !whole || !sealed.contains(&own) || header.hashed_end < header.sealed_end {
            return Err(Unreadable::Misplaced { found: at, sealed });
        }
        let expected = header.hashed_end.max(header.work.base) - header.image_base;
        if (bytes.len() as u64) < expected {
            return Err(Unreadable::Truncated { expected, found: bytes.len() as u64 });
        }
        let reaches = blueprint.reaches(tail).map_err(Unreadable::Blueprint)?;
        Ok(View { bytes, blueprint, blueprint_at: at, reaches })
    }
}

/// An image whose blueprint was found.
#[derive(Clone, Copy)]
pub struct View<'a> {
    bytes: &'a [u8],
    /// The blueprint.
    pub blueprint: Blueprint<'a>,
    /// Its physical address.
    pub blueprint_at: u64,
    /// What partitions are meant to reach.
    pub reaches: &'a [Reach],
}

impl<'a> View<'a> {
    /// The blueprint's header.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        self.blueprint.header
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the file at a physical address; `None` if the file does not hold them all.
    #[must_use]
    pub fn at(&self, range: Range) -> Option<&'a [u8]> {
        let start = usize::try_from(range.start.checked_sub(self.header().image_base)?).ok()?;
        let length = usize::try_from(range.bytes()).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }

    /// A table of 512 descriptors at a physical address inside the sealed part.
    #[must_use]
    pub fn table(&self, address: u64) -> Option<&'a [u64; 512]> {
        let range = Range::of(address, PAGE);
        let inside = address.is_multiple_of(PAGE) && self.sealed().contains(&range);
        <[u64; 512]>::ref_from_bytes(self.at(range).filter(|_| inside)?).ok()
    }

    /// EL2's own sections: from the image's first byte to the blueprint.
    #[must_use]
    pub fn el2(&self) -> Range {
        Range { start: self.header().image_base, end: self.blueprint_at }
    }

    /// Blueprint, information pages, load lists, loader and tables.
    #[must_use]
    pub fn sealed(&self) -> Range {
        Range { start: self.blueprint_at, end: self.header().sealed_end }
    }

    /// Segments that nobody writes: under the digest, behind the sealed part.
    #[must_use]
    pub fn constants(&self) -> Range {
        Range { start: self.header().sealed_end, end: self.header().hashed_end }
    }

    /// What the digest covers beside EL2's instructions and constants, its own field included.
    #[must_use]
    pub fn hashed(&self) -> Range {
        Range { start: self.blueprint_at, end: self.header().hashed_end }
    }

    /// Pristine payloads, up to the file's end.
    #[must_use]
    pub fn payloads(&self) -> Range {
        Range { start: self.header().hashed_end, end: self.header().work.base }
    }

    /// EL2's work area.
    #[must_use]
    pub fn work(&self) -> Range {
        self.header().work.into()
    }

    /// EL2's stacks, each with a guard page below it.
    #[must_use]
    pub fn stacks(&self) -> Range {
        Range::of(self.work().end, STACK_STRIDE * self.blueprint.cpus.len() as u64)
    }

    /// Memory of ports.
    #[must_use]
    pub fn ports(&self) -> Range {
        Range { start: self.stacks().end, end: self.header().image_end }
    }

    /// All of the image in memory.
    #[must_use]
    pub fn whole(&self) -> Range {
        Range { start: self.header().image_base, end: self.header().image_end }
    }
}

/// NUL-padded text of a record; what is no UTF-8 is replaced.
#[must_use]
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}
