//! Firmware's device tree against the blueprint: the board must offer at least what the blueprint
//! uses (ruling 22). One pass over the flattened tree (Devicetree Specification 0.4, chapter 5).
//!
//! Honest limits: memory, reservations (`/memreserve/`, and regions of `/reserved-memory` that lie
//! somewhere already), CPUs and the interrupt controller's version are looked at, nothing else.

use crate::text::trim;
use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout::Range;

const BEGIN_NODE: usize = 1;
const END_NODE: usize = 2;
const PROPERTY: usize = 3;
const NOP: usize = 4;
const END: usize = 9;

/// Memory ranges of the board that are noted; more are taken as absent.
const MEMORY_MAX: usize = 16;

/// Why the boot stops: what was compared, what was found, what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch(pub &'static str, pub u64, pub u64);

/// Some ranges.
struct Ranges {
    list: [Range; MEMORY_MAX],
    count: usize,
}

/// What firmware says of the board.
struct Board {
    memory: Ranges,
    reserved: Ranges,
    cpus: u64,
    gicv3: bool,
}

/// Compares firmware's device tree `tree`, which lies at `address`, with the blueprint.
///
/// # Errors
/// The first [`Mismatch`].
#[inline(never)]
pub fn check(blueprint: &Blueprint<'_>, address: u64, tree: &[u8]) -> Result<(), Mismatch> {
    let header = blueprint.header;
    let mut board = Board { memory: Ranges::NONE, reserved: Ranges::NONE, cpus: 0, gicv3: false };
    if !board.read(tree) {
        return Err(Mismatch("firmware's device tree is malformed", address, 0));
    }
    let image = range(header.image_base, header.image_end - header.image_base);
    if overlap(&image, &range(address, tree.len() as u64)) {
        let what = "firmware's device tree lies in the image";
        return Err(Mismatch(what, address, header.image_end));
    }
    for needed in blueprint.required {
        let end = needed.base + needed.bytes;
        let holds = |offered: &Range| {
            offered.base <= needed.base && end <= offered.base.saturating_add(offered.bytes)
        };
        if !board.memory.list.iter().any(holds) {
            let what = "memory the blueprint uses is not in firmware's device tree";
            return Err(Mismatch(what, 0, needed.base));
        }
    }
    check_reservations(blueprint.required, address, tree)?;
    if board.reserved.count > MEMORY_MAX {
        let what = "more regions of /reserved-memory than are looked at";
        return Err(Mismatch(what, board.reserved.count as u64, MEMORY_MAX as u64));
    }
    for reserved in &board.reserved.list {
        unused(blueprint.required, reserved)?;
    }
    let cpus = blueprint.cpus.len() as u64;
    if board.cpus < cpus {
        return Err(Mismatch("fewer CPUs than the blueprint uses", board.cpus, cpus));
    }
    let (found, expected) = (2 + u64::from(board.gicv3), u64::from(header.gic.version));
    if found != expected {
        return Err(Mismatch("interrupt controller version", found, expected));
    }
    Ok(())
}

/// What `/memreserve/` names may not be in use, but for the tree itself.
fn check_reservations(required: &[Range], address: u64, tree: &[u8]) -> Result<(), Mismatch> {
    let mut at = word(tree, 16);
    loop {
        let reserved = range(cells(tree, at, 2), cells(tree, at + 8, 2));
        if reserved.bytes == 0 {
            return Ok(());
        }
        if reserved.base != address {
            unused(required, &reserved)?;
        }
        at += 16;
    }
}

/// Nothing that the blueprint uses lies in a range that firmware reserves.
fn unused(required: &[Range], reserved: &Range) -> Result<(), Mismatch> {
    let used = required.iter().find(|needed| reserved.bytes != 0 && overlap(reserved, needed));
    used.map_or(Ok(()), |needed| {
        let what = "firmware reserves memory that the blueprint uses";
        Err(Mismatch(what, reserved.base, needed.base))
    })
}

impl Ranges {
    const NONE: Self = Self { list: [Range { base: 0, bytes: 0 }; MEMORY_MAX], count: 0 };

    /// Notes the entries of a `reg` from one byte to another.
    fn note(&mut self, tree: &[u8], from: usize, to: usize, address: usize, size: usize) {
        let mut at = from;
        while at < to && matches!((address, size), (1..=2, 1..=2)) {
            let size_at = at + 4 * address;
            if let Some(place) = self.list.get_mut(self.count) {
                *place = range(cells(tree, at, address), cells(tree, size_at, size));
            }
            self.count = self.count.saturating_add(1);
            at = size_at + 4 * size;
        }
    }
}

impl Board {
    /// Reads the tree. False if it is malformed; each step goes on by a word at least, so it ends.
    fn read(&mut self, tree: &[u8]) -> bool {
        let (structure, strings) = (word(tree, 8), word(tree, 12));
        let (mut at, mut depth, mut top) = (structure, 0u32, &[][..]);
        let (mut address_cells, mut size_cells) = (2, 1);
        loop {
            let token = word(tree, at);
            at += 4;
            match token {
                BEGIN_NODE => {
                    let name = string(tree, at);
                    at = at + name.len() / 4 * 4 + 4;
                    depth = depth.wrapping_add(1);
                    if depth == 2 {
                        top = name;
                    }
                    self.cpus += u64::from(depth == 3 && same(top, b"cpus") && begins(name, b"cpu@"));
                }
                PROPERTY => {
                    let bytes = word(tree, at).min(tree.len());
                    let name = string(tree, strings + word(tree, at + 4));
                    at += 8;
                    if depth == 1 && same(name, b"#address-cells") {
                        address_cells = word(tree, at);
                    } else if depth == 1 && same(name, b"#size-cells") {
                        size_cells = word(tree, at);
                    } else if depth == 2 && same(name, b"reg") && is_memory(top) {
                        self.memory.note(tree, at, at + bytes, address_cells, size_cells);
                    } else if depth == 3 && same(name, b"reg") && same(top, b"reserved-memory") {
                        // By the binding, with the root's cells.
                        self.reserved.note(tree, at, at + bytes, address_cells, size_cells);
                    } else if same(name, b"compatible") {
                        self.gicv3 |= lists(tree, at, at + bytes, b"arm,gic-v3");
                    }
                    at += bytes.next_multiple_of(4);
                }
                END_NODE => depth = depth.wrapping_sub(1),
                NOP => {}
                token => return token == END,
            }
        }
    }
}

/// A memory node, with or without unit address; a `memory-controller` is none.
fn is_memory(name: &[u8]) -> bool {
    begins(name, b"memory@") || same(name, b"memory")
}

/// Whether the list of strings from one byte to another holds `wanted`.
fn lists(tree: &[u8], from: usize, to: usize, wanted: &[u8]) -> bool {
    let mut at = from;
    while at < to {
        let name = string(tree, at);
        if same(name, wanted) {
            return true;
        }
        at += name.len() + 1;
    }
    false
}

/// Comparisons out of line: with alignment kept, one for each name would go byte by byte.
#[inline(never)]
fn begins(name: &[u8], start: &[u8]) -> bool {
    name.starts_with(start)
}

fn same(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && begins(name, other)
}

fn range(base: u64, bytes: u64) -> Range {
    Range { base, bytes }
}

fn overlap(a: &Range, b: &Range) -> bool {
    a.base < b.base.saturating_add(b.bytes) && b.base < a.base.saturating_add(a.bytes)
}

/// A number of one or two cells at byte `at`.
fn cells(tree: &[u8], at: usize, count: usize) -> u64 {
    let first = word(tree, at) as u64;
    if count == 1 { first } else { first << 32 | word(tree, at + 4) as u64 }
}

/// The cell at byte `at`; 0, which is no token, behind the tree's end.
#[inline(never)]
fn word(tree: &[u8], at: usize) -> usize {
    let cell = tree.get(at..).and_then(|rest| rest.first_chunk::<4>());
    cell.map_or(0, |cell| u32::from_be_bytes(*cell) as usize)
}

/// The string at byte `at`, without its NUL.
#[inline(never)]
fn string(tree: &[u8], at: usize) -> &[u8] {
    trim(tree.get(at..).unwrap_or(&[]))
}
