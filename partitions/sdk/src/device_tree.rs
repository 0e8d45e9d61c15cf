//! The little that the runtime wants from a flattened device tree (Devicetree Specification v0.4,
//! chapter 5): where the interrupt controller and the console are. Walked once, before the MMU is on.
//!
//! Limits: `ranges` is taken as empty (identity), trees deeper than eight levels are cut there.

use core::ptr;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const DEPTH_MAX: usize = 8;

/// Which interrupt controller there is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2 (IHI0048): distributor, CPU interface.
    V2 {
        /// Address of GICD.
        distributor: u64,
        /// Address of GICC.
        cpu_interface: u64,
    },
    /// GICv3 or later (IHI0069): distributor, first redistributor region.
    V3 {
        /// Address of GICD.
        distributor: u64,
        /// Address of the first redistributor region.
        redistributors: u64,
        /// Bytes of that region.
        redistributor_bytes: u64,
    },
}

/// What the partition runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Interrupt controller.
    pub gic: Gic,
    /// Address of a PL011, if there is one.
    pub pl011: Option<u64>,
    /// Address of a BCM2711's block of pins, if there is one.
    pub gpio: Option<u64>,
}

impl Platform {
    /// The canonical platform with GICv2, assumed where no device tree is found.
    pub const CANONICAL: Self = Self {
        gic: Gic::V2 { distributor: 0x0800_0000, cpu_interface: 0x0801_0000 },
        pl011: Some(0x0900_0000),
        gpio: None,
    };
}

/// A flattened device tree in memory.
pub struct Blob {
    base: *const u8,
    bytes: usize,
}

impl Blob {
    /// The blob at `address`, if its header says that one is there.
    ///
    /// # Safety
    /// `address` is 0 or readable for 40 bytes and, if a device tree starts there, for its size;
    /// nobody writes it while the result lives.
    pub unsafe fn at(address: u64) -> Option<Self> {
        if address == 0 || !address.is_multiple_of(8) {
            return None;
        }
        let header = Self { base: ptr::with_exposed_provenance(address as usize), bytes: 40 };
        if header.word(0)? != MAGIC {
            return None;
        }
        let bytes = header.word(4)? as usize;
        Some(Self { bytes, ..header })
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        if offset >= self.bytes {
            return None;
        }
        // SAFETY: within the blob (`at`). Volatile: byte-wise while memory is Device memory.
        Some(unsafe { ptr::read_volatile(self.base.add(offset)) })
    }

    fn word(&self, offset: usize) -> Option<u32> {
        let mut value = 0;
        for index in 0..4 {
            value = value << 8 | u32::from(self.byte(offset.checked_add(index)?)?);
        }
        Some(value)
    }

    /// A number of `cells` 32-bit words, the last two of them if there are more.
    fn cells(&self, offset: usize, cells: usize) -> Option<u64> {
        let mut value = 0;
        for index in 0..cells {
            value = value << 32 | u64::from(self.word(offset + 4 * index)?);
        }
        Some(value)
    }

    fn starts_with(&self, offset: usize, text: &[u8]) -> bool {
        text.iter().enumerate().all(|(index, &byte)| self.byte(offset + index) == Some(byte))
    }

    /// Whether the NUL-separated list of `bytes` at `offset` contains `text`.
    fn lists(&self, offset: usize, bytes: usize, text: &[u8]) -> bool {
        let mut start = offset;
        for at in offset..offset + bytes {
            if self.byte(at) == Some(0) {
                if at - start == text.len() && self.starts_with(start, text) {
                    return true;
                }
                start = at + 1;
            }
        }
        false
    }

    fn is(&self, offset: usize, text: &[u8]) -> bool {
        self.starts_with(offset, text) && self.byte(offset + text.len()) == Some(0)
    }
}

#[derive(Clone, Copy)]
struct Node {
    address_cells: usize,
    size_cells: usize,
    kind: Option<Kind>,
    reg: Option<(usize, usize)>,
}

#[derive(Clone, Copy)]
enum Kind {
    GicV2,
    GicV3,
    Pl011,
    Gpio,
}

impl Node {
    const NEW: Self = Self { address_cells: 2, size_cells: 1, kind: None, reg: None };
}

/// Walks the tree. What it does not name stays as on the canonical platform, but for the console:
/// a tree without a PL011 means that there is none.
pub fn platform(blob: &Blob) -> Platform {
    let mut found = Platform { pl011: None, ..Platform::CANONICAL };
    // A malformed tree ends the walk; what was found so far stands.
    let _ = walk(blob, &mut found);
    found
}

fn walk(blob: &Blob, found: &mut Platform) -> Option<()> {
    let strings = blob.word(12)? as usize;
    let mut at = blob.word(8)? as usize;
    let mut nodes = [Node::NEW; DEPTH_MAX];
    let mut depth = 0usize;
    loop {
        let token = blob.word(at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                while blob.byte(at)? != 0 {
                    at += 1;
                }
                at = (at + 4) & !3;
                depth += 1;
                *nodes.get_mut(depth)? = Node::NEW;
            }
            END_NODE => {
                let parent = nodes.get(depth.checked_sub(1)?)?;
                take(blob, nodes.get(depth)?, parent, found);
                depth -= 1;
            }
            PROPERTY => {
                let bytes = blob.word(at)? as usize;
                let name = strings + blob.word(at + 4)? as usize;
                property(blob, nodes.get_mut(depth)?, name, at + 8, bytes);
                at = (at + 8 + bytes + 3) & !3;
            }
            NOP => {}
            _ => return Some(()),
        }
    }
}

fn property(blob: &Blob, node: &mut Node, name: usize, value: usize, bytes: usize) {
    if blob.is(name, b"#address-cells") {
        node.address_cells = blob.word(value).unwrap_or(2).min(4) as usize;
    } else if blob.is(name, b"#size-cells") {
        node.size_cells = blob.word(value).unwrap_or(1).min(4) as usize;
    } else if blob.is(name, b"reg") {
        node.reg = Some((value, bytes));
    } else if blob.is(name, b"compatible") {
        let any = |list: &[&[u8]]| list.iter().any(|text| blob.lists(value, bytes, text));
        node.kind = if any(&[b"arm,gic-v3"]) {
            Some(Kind::GicV3)
        } else if any(&[b"arm,cortex-a15-gic", b"arm,gic-400"]) {
            Some(Kind::GicV2)
        } else if any(&[b"arm,pl011"]) {
            Some(Kind::Pl011)
        } else if any(&[b"brcm,bcm2711-gpio"]) {
            Some(Kind::Gpio)
        } else {
            None
        };
    }
}

fn take(blob: &Blob, node: &Node, parent: &Node, found: &mut Platform) -> Option<()> {
    let (reg, bytes) = node.reg?;
    let kind = node.kind?;
    let entry = 4 * (parent.address_cells + parent.size_cells);
    let region = |index: usize| {
        let at = reg + index * entry;
        if (index + 1) * entry > bytes {
            return None;
        }
        let address = blob.cells(at, parent.address_cells)?;
        let size = blob.cells(at + 4 * parent.address_cells, parent.size_cells)?;
        Some((address, size))
    };
    let (first, _) = region(0)?;
    match kind {
        Kind::Pl011 => {
            found.pl011.get_or_insert(first);
        }
        Kind::Gpio => found.gpio = Some(first),
        Kind::GicV2 => found.gic = Gic::V2 { distributor: first, cpu_interface: region(1)?.0 },
        Kind::GicV3 => {
            let (redistributors, redistributor_bytes) = region(1)?;
            found.gic = Gic::V3 { distributor: first, redistributors, redistributor_bytes }
        }
    }
    Some(())
}
