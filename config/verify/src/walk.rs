//! Translation tables, read exhaustively: every descriptor of every reachable table, once.
//!
//! Source: Arm ARM D8.3 (VMSAv8-64 descriptors), D8.4 (permissions), D8.5 (memory types). 4 KiB granule, one level-1
//! root of 39 bits, stage 1 of EL2 without VHE and stage 2 of EL1&0.

use crate::image::View;
use crate::ranges::{PAGE, Range};
use serde::Serialize;
use std::collections::BTreeMap;

/// A translation regime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Stage 1 of EL2: MAIR index 0 is Device-nGnRnE, index 1 Normal write-back.
    El2,
    /// Stage 2 of a partition.
    Guest,
}

/// What may be done at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Access {
    /// Stores are allowed. Loads always are: a descriptor that denies them is refused.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// Device-nGnRE (EL2: nGnRnE) instead of Normal write-back.
    pub device: bool,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bit = |given: bool, letter: char| if given { letter } else { '-' };
        write!(f, "r{}{}", bit(self.write, 'w'), bit(self.execute, 'x'))?;
        f.write_str(if self.device { " device" } else { "" })
    }
}

/// A stretch of addresses that translate in one piece, as long as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// First input address: IPA, or EL2's virtual address.
    pub input: u64,
    /// First physical address.
    pub output: u64,
    /// Length.
    pub bytes: u64,
    /// What may be done there.
    pub access: Access,
}

impl Mapped {
    /// Input addresses.
    #[must_use]
    pub fn inputs(&self) -> Range {
        Range::of(self.input, self.bytes)
    }

    /// Physical addresses.
    #[must_use]
    pub fn outputs(&self) -> Range {
        Range::of(self.output, self.bytes)
    }
}

/// Something in a table that the architecture or this design does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// First input address of the entry.
    pub input: u64,
    /// The entry.
    pub entry: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// Stretches in ascending order of input.
    pub mapped: Vec<Mapped>,
    /// Faults; at most [`FAULTS_MAX`] are kept.
    pub faults: Vec<Fault>,
    /// Descriptors read.
    pub descriptors: u64,
    /// Leaves found.
    pub leaves: u64,
}

/// Most faults that a walk keeps: a table of garbage would fill a report.
pub const FAULTS_MAX: usize = 16;

/// Tables that were visited, and the root through which.
pub type Visited = BTreeMap<u64, usize>;

const OUTPUT_MASK: u64 = 0x0000_ffff_ffff_f000;
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const ACCESS_FLAG: u64 = 1 << 10;
const READ_ONLY_EL2: u64 = 1 << 7;
const RES1_EL2: u64 = 1 << 6;
const XN: u64 = 1 << 54;

/// The access that a leaf's attribute bits allow; `Err` names why they are not among those allowed.
fn decode(regime: Regime, bits: u64) -> Result<Access, &'static str> {
    if bits & ACCESS_FLAG == 0 {
        return Err("access flag clear");
    }
    let (device, write) = match regime {
        Regime::El2 => (bits >> 2 & 7 == 0, bits & READ_ONLY_EL2 == 0),
        Regime::Guest => (bits >> 2 & 0xf == 1, bits >> 7 & 1 == 1),
    };
    let access = Access { write, execute: bits & XN == 0, device };
    if bits & !(VALID | TABLE_OR_PAGE) != encode(regime, access) {
        return Err("attributes that are not allowed");
    }
    match access {
        Access { execute: true, device: true, .. } => Err("executable device memory"),
        _ => Ok(access),
    }
}

/// The only attribute bits that may stand for an access, without the type of the descriptor.
fn encode(regime: Regime, access: Access) -> u64 {
    let share = if access.device { 0b10 << 8 } else { 0b11 << 8 };
    let never = if access.execute { 0 } else { XN };
    let rest = match regime {
        Regime::El2 => {
            let kind = if access.device { 0 } else { 1 << 2 };
            RES1_EL2 | kind | if access.write { 0 } else { READ_ONLY_EL2 }
        }
        Regime::Guest => {
            let kind = if access.device { 1 << 2 } else { 0xf << 2 };
            kind | if access.write { 0b11 << 6 } else { 0b01 << 6 }
        }
    };
    ACCESS_FLAG | share | never | rest
}

/// Walks the tables at `root`. `visited` makes each table of the image count once, whoever reaches it.
pub fn walk(view: &View<'_>, regime: Regime, root: u64, number: usize, visited: &mut Visited) -> Walk {
    let mut walker = Walker { view, regime, number, visited, out: Walk::default() };
    walker.table(root, 1, 0);
    walker.out
}

struct Walker<'a, 'v> {
    view: &'a View<'a>,
    regime: Regime,
    number: usize,
    visited: &'v mut Visited,
    out: Walk,
}

impl Walker<'_, '_> {
    fn fault(&mut self, input: u64, entry: u64, what: &'static str) {
        if self.out.faults.len() < FAULTS_MAX {
            self.out.faults.push(Fault { input, entry, what });
        }
    }

    /// One table; descends at most twice.
    fn table(&mut self, address: u64, level: u32, base: u64) {
        let Some(entries) = self.view.table(address) else {
            return self.fault(base, address, "a table outside the sealed part");
        };
        if self.visited.insert(address, self.number).is_some() {
            return self.fault(base, address, "a table that is reached twice");
        }
        self.out.descriptors += 512;
        let span = PAGE << (9 * (3 - level));
        for (index, &entry) in entries.iter().enumerate() {
            if entry != 0 {
                self.entry(u64::from_le(entry), level, base + index as u64 * span, span);
            }
        }
    }

    fn entry(&mut self, entry: u64, level: u32, input: u64, span: u64) {
        let output = entry & OUTPUT_MASK;
        match (entry & (VALID | TABLE_OR_PAGE), level) {
            (3, 1 | 2) if entry & !(OUTPUT_MASK | 3) != 0 => {
                self.fault(input, entry, "attributes in a table descriptor");
            }
            (3, 1 | 2) => self.table(output, level + 1, input),
            (1, 1 | 2) | (3, 3) => self.leaf(entry, input, output, span),
            (1, _) => self.fault(input, entry, "a reserved descriptor"),
            _ => self.fault(input, entry, "an invalid descriptor that is not zero"),
        }
    }

    fn leaf(&mut self, entry: u64, input: u64, output: u64, span: u64) {
        self.out.leaves += 1;
        if output & (span - 1) != 0 {
            return self.fault(input, entry, "a block whose address is not aligned to it");
        }
        match decode(self.regime, entry & !OUTPUT_MASK) {
            Ok(access) => append(&mut self.out.mapped, Mapped { input, output, bytes: span, access }),
            Err(what) => self.fault(input, entry, what),
        }
    }
}

/// Adds a stretch behind the others, as one with the last where both sides and the access go on.
pub fn append(list: &mut Vec<Mapped>, next: Mapped) {
    if let Some(last) = list.last_mut()
        && last.access == next.access
        && last.inputs().end == next.input
        && last.outputs().end == next.output
    {
        last.bytes += next.bytes;
        return;
    }
    list.push(next);
}

/// What `input` translates to, with its access.
#[must_use]
pub fn translate(mapped: &[Mapped], input: u64) -> Option<(u64, Access)> {
    let index = mapped.partition_point(|m| m.input <= input);
    let found = mapped.get(index.checked_sub(1)?)?;
    let inside = found.inputs().contains(&Range::of(input, 1));
    inside.then(|| (found.output + (input - found.input), found.access))
}

/// Whether all of `inputs` is mapped and `holds` for each piece of it.
#[must_use]
pub fn all_mapped(mapped: &[Mapped], inputs: Range, holds: impl Fn(&Mapped) -> bool) -> bool {
    let mut at = inputs.start;
    let first = mapped.partition_point(|m| m.inputs().end <= at);
    for stretch in &mapped[first..] {
        if at >= inputs.end {
            break;
        }
        if stretch.input > at || !holds(stretch) {
            return false;
        }
        at = stretch.inputs().end;
    }
    at >= inputs.end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptors of the Arm ARM, spelled out: the encoder must not be judged by itself.
    #[test]
    fn descriptors_are_those_of_the_architecture() {
        let access = |write, execute, device| Access { write, execute, device };
        let guest = |bits| decode(Regime::Guest, bits);
        assert_eq!(guest(0x77d), Ok(access(false, true, false)));
        assert_eq!(guest(0x0040_0000_0000_07ff), Ok(access(true, false, false)));
        assert_eq!(guest(0x0040_0000_0000_06c5), Ok(access(true, false, true)));
        let el2 = |bits| decode(Regime::El2, bits);
        assert_eq!(el2(0x7c5), Ok(access(false, true, false)));
        assert_eq!(el2(0x0040_0000_0000_0641), Ok(access(true, false, true)));
    }

    #[test]
    fn every_other_bit_is_refused() {
        for (regime, good) in
            [(Regime::Guest, 0x0040_0000_0000_07ffu64), (Regime::El2, 0x0040_0000_0000_0747)]
        {
            assert!(decode(regime, good).is_ok());
            for bit in (2..12).chain(48..64) {
                let found = decode(regime, good ^ 1 << bit);
                let changed = found.is_ok_and(|a| Ok(a) == decode(regime, good));
                assert!(!changed, "bit {bit} of {regime:?} is ignored");
            }
        }
    }
}
