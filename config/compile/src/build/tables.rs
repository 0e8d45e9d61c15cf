//! Translation tables of the 4 KiB granule with one level-1 root: stage 1 of EL2 and stage 2 of partitions.
//!
//! Source: Arm ARM D8.3 (VMSAv8-64 descriptors), D8.4 (permissions), D8.5 (memory types). The tables of the whole
//! system lie in one arena, page after page, so that the same input gives the same bytes.

use crate::model::{IPA_BITS, PAGE_BYTES};

/// Bytes that one level-2 block maps.
pub const BLOCK_BYTES: u64 = 2 << 20;
/// Entries of a table.
pub const ENTRIES: usize = 512;

/// A translation regime's descriptor format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Stage 1 of EL2 without VHE: MAIR index 0 is Device-nGnRnE, index 1 Normal write-back.
    El2,
    /// Stage 2 of EL1 and EL0.
    Guest,
}

/// What may be done at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Normal memory, read.
    Read,
    /// Normal memory, read and write.
    ReadWrite,
    /// Normal memory, read and execute.
    ReadExecute,
    /// Normal memory of a payload whose format does not tell code from data.
    ReadWriteExecute,
    /// Device registers, read.
    DeviceRead,
    /// Device registers, read and write.
    DeviceReadWrite,
}

impl Access {
    /// Whether stores are allowed.
    pub fn writes(self) -> bool {
        matches!(self, Access::ReadWrite | Access::ReadWriteExecute | Access::DeviceReadWrite)
    }

    /// Whether instructions may be fetched.
    pub fn executes(self) -> bool {
        matches!(self, Access::ReadExecute | Access::ReadWriteExecute)
    }

    /// Whether it is device memory.
    pub fn is_device(self) -> bool {
        matches!(self, Access::DeviceRead | Access::DeviceReadWrite)
    }
}

/// A stretch of addresses to map; page aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Input address: IPA, or EL2's virtual address.
    pub input: u64,
    /// Physical address.
    pub output: u64,
    /// Length.
    pub bytes: u64,
    /// What may be done there.
    pub access: Access,
}

const VALID: u64 = 1;
/// Bit 1: a table at levels 1 and 2, a page at level 3; clear: a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
const ACCESS_FLAG: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const OUTER_SHAREABLE: u64 = 0b10 << 8;
const EXECUTE_NEVER: u64 = 1 << 54;
const OUTPUT_MASK: u64 = 0x0000_ffff_ffff_f000;

/// Stage 1: AttrIndx 1 (Normal) in bits 4:2.
const EL2_NORMAL: u64 = 1 << 2;
/// Stage 1: AP[1] is RES1 in a regime with one privilege level.
const EL2_RES1: u64 = 1 << 6;
/// Stage 1: AP[2], read-only.
const EL2_READ_ONLY: u64 = 1 << 7;

/// Stage 2: MemAttr 0b1111, Normal write-back at both levels.
const GUEST_NORMAL: u64 = 0b1111 << 2;
/// Stage 2: MemAttr 0b0001, Device-nGnRE.
const GUEST_DEVICE: u64 = 0b0001 << 2;
/// Stage 2: S2AP.
const GUEST_READ: u64 = 0b01 << 6;
const GUEST_READ_WRITE: u64 = 0b11 << 6;

/// Lower and upper attributes of a leaf.
fn attributes(stage: Stage, access: Access) -> u64 {
    let never = if access.executes() { 0 } else { EXECUTE_NEVER };
    let shareability = if access.is_device() { OUTER_SHAREABLE } else { INNER_SHAREABLE };
    let rest = match stage {
        Stage::El2 => {
            let kind = if access.is_device() { 0 } else { EL2_NORMAL };
            let rights = if access.writes() { 0 } else { EL2_READ_ONLY };
            EL2_RES1 | kind | rights
        }
        Stage::Guest => {
            let kind = if access.is_device() { GUEST_DEVICE } else { GUEST_NORMAL };
            let rights = if access.writes() { GUEST_READ_WRITE } else { GUEST_READ };
            kind | rights
        }
    };
    VALID | ACCESS_FLAG | never | shareability | rest
}

/// The tables of a system, page after page from `base` on.
#[derive(Debug)]
pub struct Arena {
    base: u64,
    pages: Vec<[u64; ENTRIES]>,
}

/// Why a mapping cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict(
    /// The reason, with addresses.
    pub String,
);

impl Arena {
    /// No tables yet; the first will lie at the physical address `base`.
    pub fn new(base: u64) -> Arena {
        Arena { base, pages: Vec::new() }
    }

    /// Number of tables.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is no table yet.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The tables' bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pages.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    fn address(&self, page: usize) -> u64 {
        self.base + page as u64 * PAGE_BYTES
    }

    fn new_page(&mut self) -> usize {
        self.pages.push([0; ENTRIES]);
        self.pages.len() - 1
    }

    /// Builds the tables for `mappings` and returns the root's physical address.
    ///
    /// # Errors
    /// A mapping is misaligned, leaves the address width, or meets another.
    pub fn build(&mut self, stage: Stage, mappings: &[Mapping]) -> Result<u64, Conflict> {
        let root = self.new_page();
        for mapping in mappings {
            self.map(root, stage, mapping)?;
        }
        Ok(self.address(root))
    }

    fn map(&mut self, root: usize, stage: Stage, mapping: &Mapping) -> Result<(), Conflict> {
        let aligned = (mapping.input | mapping.output | mapping.bytes).is_multiple_of(PAGE_BYTES);
        let end = mapping.input.checked_add(mapping.bytes);
        let output_end = mapping.output.checked_add(mapping.bytes);
        let fits = end.is_some_and(|e| e <= 1 << IPA_BITS) && output_end.is_some_and(|e| e <= OUTPUT_MASK);
        if !aligned || !fits {
            return Err(Conflict(format!(
                "{:#x} -> {:#x}, {:#x} bytes: not whole pages of {IPA_BITS} bits",
                mapping.input, mapping.output, mapping.bytes
            )));
        }
        let attributes = attributes(stage, mapping.access);
        let mut done = 0;
        while done < mapping.bytes {
            let (input, output) = (mapping.input + done, mapping.output + done);
            let block = (input | output).is_multiple_of(BLOCK_BYTES) && mapping.bytes - done >= BLOCK_BYTES;
            let level2 = self.next(root, index(input, 1))?;
            let (table, slot, leaf, step) = if block {
                (level2, index(input, 2), output | attributes, BLOCK_BYTES)
            } else {
                let level3 = self.next(level2, index(input, 2))?;
                let leaf = output | attributes | TABLE_OR_PAGE;
                (level3, index(input, 3), leaf, PAGE_BYTES)
            };
            if self.pages[table][slot] != 0 {
                return Err(Conflict(format!("{input:#x} is mapped twice")));
            }
            self.pages[table][slot] = leaf;
            done += step;
        }
        Ok(())
    }

    /// The table that entry `slot` of `table` points to, made if there is none.
    fn next(&mut self, table: usize, slot: usize) -> Result<usize, Conflict> {
        let entry = self.pages[table][slot];
        if entry == 0 {
            let page = self.new_page();
            self.pages[table][slot] = self.address(page) | TABLE_OR_PAGE | VALID;
            return Ok(page);
        }
        if entry & TABLE_OR_PAGE == 0 {
            return Err(Conflict("a page lies inside a mapped block".to_owned()));
        }
        Ok(((entry & OUTPUT_MASK) - self.base) as usize / PAGE_BYTES as usize)
    }
}

/// Index of `address` in a table of `level`.
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (3 - level))) as usize & (ENTRIES - 1)
}

/// What a walk of packed tables finds at `input`: the physical address and the leaf's attributes, or nothing.
///
/// `table` reads the table at a physical address.
pub fn walk(table: &dyn Fn(u64) -> Option<[u64; ENTRIES]>, root: u64, input: u64) -> Option<(u64, u64)> {
    let mut at = root;
    for level in 1..=3 {
        let entry = table(at)?[index(input, level)];
        let offset = input & ((1 << (12 + 9 * (3 - level))) - 1);
        match (entry & VALID != 0, entry & TABLE_OR_PAGE != 0, level) {
            (true, true, 1 | 2) => at = entry & OUTPUT_MASK,
            (true, true, _) | (true, false, 1 | 2) => {
                return Some(((entry & OUTPUT_MASK) + offset, entry & !OUTPUT_MASK));
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(arena: &Arena, root: u64, input: u64) -> Option<(u64, u64)> {
        let read = |at: u64| arena.pages.get(((at - arena.base) / PAGE_BYTES) as usize).copied();
        walk(&read, root, input)
    }

    proptest! {
        #[test]
        fn a_walk_finds_exactly_what_was_mapped(
            at in 0u64..2048, shift in prop::sample::select(vec![0u64, 1, 511, 512, 4096]),
            pages in 1u64..1200, probe in 0u64..4096, write: bool,
        ) {
            let access = if write { Access::ReadWrite } else { Access::ReadExecute };
            let mapping = Mapping {
                input: 0x4000_0000 + at * PAGE_BYTES,
                output: 0x8000_0000 + (at + shift) * PAGE_BYTES,
                bytes: pages * PAGE_BYTES,
                access,
            };
            let mut arena = Arena::new(0x10_0000);
            let root = arena.build(Stage::Guest, &[mapping]).unwrap();
            let input = 0x4000_0000 + probe * PAGE_BYTES + 8;
            let found = lookup(&arena, root, input);
            if (at..at + pages).contains(&probe) {
                let (output, bits) = found.unwrap();
                prop_assert_eq!(output, input - mapping.input + mapping.output);
                prop_assert_eq!(bits & GUEST_READ_WRITE == GUEST_READ_WRITE, write);
                prop_assert_eq!(bits & EXECUTE_NEVER != 0, write);
            } else {
                prop_assert_eq!(found, None);
            }
        }
    }

    #[test]
    fn congruent_addresses_use_blocks_and_others_pages() {
        let map = |output| {
            let mut arena = Arena::new(0);
            let mapping = Mapping { input: 0x4000_0000, output, bytes: 16 << 20, access: Access::ReadWrite };
            arena.build(Stage::Guest, &[mapping]).unwrap();
            arena.len()
        };
        assert_eq!(map(0x5000_0000), 2);
        assert_eq!(map(0x5000_1000), 2 + 8);
    }

    #[test]
    fn what_meets_another_mapping_is_refused() {
        let block = Mapping { input: 0, output: 0, bytes: BLOCK_BYTES, access: Access::Read };
        let page = Mapping { bytes: PAGE_BYTES, ..block };
        for pair in [[block, page], [page, block], [page, page]] {
            assert!(Arena::new(0).build(Stage::Guest, &pair).is_err(), "{pair:?}");
        }
        let odd = Mapping { input: 8, ..page };
        let far = Mapping { input: 1 << IPA_BITS, ..page };
        assert!(Arena::new(0).build(Stage::Guest, &[odd]).is_err());
        assert!(Arena::new(0).build(Stage::Guest, &[far]).is_err());
    }

    #[test]
    fn descriptors_are_those_of_the_architecture() {
        let leaf = |stage, access| attributes(stage, access);
        assert_eq!(leaf(Stage::Guest, Access::ReadExecute), 0x77d);
        assert_eq!(leaf(Stage::Guest, Access::ReadWrite), 0x0040_0000_0000_07fd);
        assert_eq!(leaf(Stage::Guest, Access::DeviceReadWrite), 0x0040_0000_0000_06c5);
        assert_eq!(leaf(Stage::El2, Access::ReadExecute), 0x7c5);
        assert_eq!(leaf(Stage::El2, Access::Read), 0x0040_0000_0000_07c5);
        assert_eq!(leaf(Stage::El2, Access::ReadWrite), 0x0040_0000_0000_0745);
        assert_eq!(leaf(Stage::El2, Access::DeviceReadWrite), 0x0040_0000_0000_0641);
    }
}
