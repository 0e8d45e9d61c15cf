//! No panic is reachable in EL2 after its boot: looked up in the shipped binary itself.
//!
//! Every direct branch of the code is decoded (Arm ARM C4.1.66, `B` and `BL`) and attributed to the
//! function it stands in. A function belongs to boot if it is one of boot's, or if every direct
//! branch to it comes from boot; what nobody branches to (vectors, function pointers) does not. A
//! branch to the panic machinery of `core` from outside of boot fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::elf::{Elf, Symbol};
use crate::failure::Result;
use crate::files;

/// Parts of the mangled names of what `core` panics with, in both mangling schemes: its panic
/// functions, and the cold halves of checks that do nothing but call them.
const PANIC_MACHINERY: &[&str] =
    &["4core9panicking", "13expect_failed", "13unwrap_failed", "slice_index_fail"];

/// Parts of the mangled names of functions that run before the first guest only. The firmware's
/// device tree (`fdt`) is read there and nowhere else.
const BOOT: &[&str] = &["4boot", "bulkhead_early", "3fdt"];

/// Functions of EL2 that could panic while guests run.
pub fn check(el2: &Path) -> Result<Vec<String>> {
    let bytes = files::read(el2)?;
    let elf = Elf::parse(&bytes)?;
    let functions = elf.functions()?;
    if functions.is_empty() {
        return Ok(vec![format!("{}: no symbols, so panics cannot be looked for", el2.display())]);
    }
    let calls = calls(&elf, &functions);
    let at_boot = boot(&functions, &calls);
    let outside = |f: &Symbol| !is_panic(f) && !at_boot.contains(&f.address);
    let mut found = BTreeSet::new();
    for caller in functions.iter().filter(|f| outside(f)) {
        let targets = calls.get(&caller.address).into_iter().flatten();
        for panic in targets.filter_map(|t| functions.iter().find(|f| f.address == *t && is_panic(f))) {
            found.insert(format!("EL2 can panic while guests run: `{}` calls `{}`", caller.name, panic.name));
        }
    }
    Ok(found.into_iter().collect())
}

/// Targets of each function's direct branches, by address.
fn calls(elf: &Elf, functions: &[Symbol]) -> BTreeMap<u64, BTreeSet<u64>> {
    let code = |f: &Symbol| elf.code(f).unwrap_or_default();
    functions.iter().map(|f| (f.address, branches(f.address, code(f)).collect())).collect()
}

/// Addresses of the functions that run at boot only.
fn boot(functions: &[Symbol], calls: &BTreeMap<u64, BTreeSet<u64>>) -> BTreeSet<u64> {
    let named = |f: &&Symbol| BOOT.iter().any(|part| f.name.contains(part));
    let mut found: BTreeSet<u64> = functions.iter().filter(named).map(|f| f.address).collect();
    loop {
        let only_from_boot = |target: u64| {
            let mut callers = calls.iter().filter(|(from, to)| **from != target && to.contains(&target));
            callers.clone().next().is_some() && callers.all(|(from, _)| found.contains(from))
        };
        let more: Vec<u64> = functions
            .iter()
            .map(|f| f.address)
            .filter(|address| !found.contains(address) && only_from_boot(*address))
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn is_panic(function: &Symbol) -> bool {
    PANIC_MACHINERY.iter().any(|part| function.name.contains(part))
}

/// Targets of the direct unconditional branches in a function.
fn branches(address: u64, code: &[u8]) -> impl Iterator<Item = u64> {
    (0..).zip(code.chunks_exact(4)).filter_map(move |(index, word)| {
        let word = u32::from_le_bytes(word.try_into().ok()?);
        let is_branch = word & 0x7c00_0000 == 0x1400_0000;
        // imm26, sign-extended, in words.
        let offset = i64::from(((word << 6) as i32) >> 6) * 4;
        is_branch.then(|| (address + index * 4).wrapping_add_signed(offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_known_in_both_mangling_schemes() {
        let symbol = |name: &str| Symbol { name: name.into(), address: 0, size: 4 };
        assert!(is_panic(&symbol("_ZN4core9panicking9panic_fmt17h8e181ef286dd88d5E")));
        assert!(is_panic(&symbol("_RNvNtCs3g5Gb6bJpu0_4core6option13expect_failed")));
        assert!(!is_panic(&symbol("_ZN11bulkhead_hv5calls4call17h079caad0a42fa1d3E")));
    }

    #[test]
    fn what_only_boot_branches_to_belongs_to_boot() {
        let symbol = |address, name: &str| Symbol { name: name.into(), address, size: 4 };
        let functions = [
            symbol(1, "_ZN4boot4main"),
            symbol(2, "helper"),
            symbol(3, "deep"),
            symbol(4, "shared"),
            symbol(5, "vector"),
        ];
        let calls = [(1, vec![2, 4]), (2, vec![3, 2]), (5, vec![4])];
        let calls = calls.map(|(from, to)| (from, to.into_iter().collect())).into();
        assert_eq!(boot(&functions, &calls).into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn branches_forward_and_backward_are_decoded() {
        // bl +8; nop; b -4; ret
        let words: [u32; 4] = [0x9400_0002, 0xd503_201f, 0x17ff_ffff, 0xd65f_03c0];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(branches(0x1000, &code).collect::<Vec<_>>(), [0x1008, 0x1004]);
    }
}
