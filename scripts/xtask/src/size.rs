//! `cargo xtask size`: what EL2 consists of, by crate and module: lines of source, bytes of its GICv3 binary.

use std::collections::BTreeMap;
use std::path::Path;

use crate::budget;
use crate::elf::{Elf, Symbol};
use crate::failure::Result;
use crate::files;
use crate::lint::stack::plain;

/// Lines and bytes of each module.
type Table = BTreeMap<String, (usize, u64)>;

/// Prints the table, the largest first. `el2` must have been built.
///
/// # Errors
/// The binary or a source cannot be read.
pub fn print(root: &Path, el2: &Path) -> Result<()> {
    let bytes = files::read(el2)?;
    let elf = Elf::parse(&bytes)?;
    let mut table = Table::new();
    for (name, path) in budget::CRATES.iter().map(|name| (name, root.join(name).join("src"))) {
        for (file, lines) in budget::files_and_lines(&path)? {
            let module = file.strip_prefix(&path).unwrap_or(&file).with_extension("");
            let module = module.iter().next().unwrap_or_default().to_string_lossy().into_owned();
            table.entry(format!("{} {module}", name.trim_start_matches("hv/"))).or_default().0 += lines;
        }
    }
    add_bytes(&mut table, &elf.functions()?);
    let functions: u64 = table.values().map(|(_, bytes)| bytes).sum();
    let rest = elf.constant_bytes().saturating_sub(functions);
    table.entry("constants, assembly, alignment".to_owned()).or_default().1 += rest;
    let mut rows: Vec<_> = table.into_iter().collect();
    rows.sort_by_key(|(name, (lines, bytes))| (std::cmp::Reverse((*bytes, *lines)), name.clone()));
    println!("{:<34}{:>7}{:>8}", "module", "lines", "bytes");
    for (name, (lines, bytes)) in &rows {
        println!("{name:<34}{lines:>7}{bytes:>8}");
    }
    let sum = rows.iter().fold((0, 0), |sum, (_, row)| (sum.0 + row.0, sum.1 + row.1));
    println!("{:<34}{:>7}{:>8}", "all", sum.0, sum.1);
    Ok(())
}

/// Bytes go to the module whose function they are, not to that whose code was inlined there.
fn add_bytes(table: &mut Table, functions: &[Symbol]) {
    // Two names of the same code count once.
    let unique: BTreeMap<u64, &Symbol> = functions.iter().map(|f| (f.address, f)).collect();
    for function in unique.values() {
        table.entry(module(&function.name)).or_default().1 += function.size;
    }
}

/// Crate and module of a function, by its mangled name; ways in from the assembler by their own.
fn module(mangled: &str) -> String {
    let name = plain(mangled).replace("..", "::");
    let Some(path) = name.split_once("bulkhead_").map(|(_, path)| path).filter(|path| path.contains("::"))
    else {
        let own = if name.contains("::") { "core library" } else { "ways in, memory functions" };
        return own.to_owned();
    };
    let mut parts = path.split("::").map(|part| part.split('$').next().unwrap_or_default());
    let (owner, module) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{} {module}", if owner == "hv" { "image" } else { owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_belong_to_the_module_of_their_name() {
        assert_eq!(module("_ZN11bulkhead_hv4boot6system17h0123456789abcdefE"), "image boot");
        let method = "_ZN87_$LT$bulkhead_core..console..View$u20$as$u20$bulkhead_core..console..Sources$GT$6output17h0123456789abcdefE";
        assert_eq!(module(method), "core console");
        assert_eq!(module("_ZN4core9panicking5panic17h0123456789abcdefE"), "core library");
        assert_eq!(module("bulkhead_reschedule"), "ways in, memory functions");
    }

    #[test]
    fn two_names_of_the_same_code_count_once() {
        let symbol = |name: &str, address| Symbol { name: name.into(), address, size: 8 };
        let mut table = Table::new();
        add_bytes(&mut table, &[symbol("a", 0), symbol("b", 0), symbol("c", 8)]);
        assert_eq!(table["ways in, memory functions"], (0, 16));
    }
}
