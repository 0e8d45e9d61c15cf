//! No panic is reachable in EL2 after its boot: looked up in the shipped binary itself.
//!
//! Every direct branch of the code is decoded (Arm ARM C4.1.66, `B` and `BL`) and attributed to the
//! function it stands in. A branch to the panic machinery of `core` from outside of boot fails.

use std::path::Path;

use crate::elf::{Elf, Symbol};
use crate::failure::Result;
use crate::files;

/// Parts of the mangled names of what `core` panics with, in both mangling schemes: its panic
/// functions, and the cold halves of checks that do nothing but call them.
const PANIC_MACHINERY: &[&str] = &[
    "4core9panicking",
    "13expect_failed",
    "13unwrap_failed",
    "slice_index_fail",
];

/// Parts of the mangled names of functions that run before the first guest only. The firmware's
/// device tree (`fdt`) is read there and nowhere else.
const BOOT: &[&str] = &["4boot", "bulkhead_early", "3fdt"];

/// Functions of EL2 that could panic while guests run.
pub fn check(el2: &Path) -> Result<Vec<String>> {
    let bytes = files::read(el2)?;
    let elf = Elf::parse(&bytes)?;
    let functions = elf.functions()?;
    if functions.is_empty() {
        return Ok(vec![format!(
            "{}: no symbols, so panics cannot be looked for",
            el2.display()
        )]);
    }
    let mut found = Vec::new();
    for function in &functions {
        let exempt = is_panic(function) || BOOT.iter().any(|part| function.name.contains(part));
        if exempt {
            continue;
        }
        for target in elf
            .code(function)
            .into_iter()
            .flat_map(|code| branches(function.address, code))
        {
            if let Some(panic) = functions
                .iter()
                .find(|f| f.address == target && is_panic(f))
            {
                found.push(format!(
                    "EL2 can panic while guests run: `{}` calls `{}`",
                    function.name, panic.name
                ));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn is_panic(function: &Symbol) -> bool {
    PANIC_MACHINERY
        .iter()
        .any(|part| function.name.contains(part))
}

/// Targets of the direct unconditional branches in a function.
fn branches(address: u64, code: &[u8]) -> impl Iterator<Item = u64> {
    (0..)
        .zip(code.chunks_exact(4))
        .filter_map(move |(index, word)| {
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
        let symbol = |name: &str| Symbol {
            name: name.into(),
            address: 0,
            size: 4,
        };
        assert!(is_panic(&symbol(
            "_ZN4core9panicking9panic_fmt17h8e181ef286dd88d5E"
        )));
        assert!(is_panic(&symbol(
            "_RNvNtCs3g5Gb6bJpu0_4core6option13expect_failed"
        )));
        assert!(!is_panic(&symbol(
            "_ZN11bulkhead_hv5calls4call17h079caad0a42fa1d3E"
        )));
    }

    #[test]
    fn branches_forward_and_backward_are_decoded() {
        // bl +8; nop; b -4; ret
        let words: [u32; 4] = [0x9400_0002, 0xd503_201f, 0x17ff_ffff, 0xd65f_03c0];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(
            branches(0x1000, &code).collect::<Vec<_>>(),
            [0x1008, 0x1004]
        );
    }
}
