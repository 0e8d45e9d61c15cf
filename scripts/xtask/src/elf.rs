//! A reader of 64-bit little-endian ELF files: sections and functions, all bounds checked.
//!
//! Source: System V ABI, chapters "Object Files" and "Symbol Table".

use std::collections::BTreeSet;

use crate::failure::{Failure, Result};

const SECTION_ALLOCATED: u64 = 2;
const SECTION_WRITABLE: u64 = 1;
const TYPE_SYMBOLS: u32 = 2;
const TYPE_NO_BITS: u32 = 8;
const SYMBOL_BYTES: u64 = 24;
const SYMBOL_FUNCTION: u64 = 2;

/// A section header, as far as the driver needs it.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    /// Its size in bytes.
    pub size: u64,
    link: u32,
}

impl Section {
    /// Whether it is loaded and never written: code and constants.
    pub fn is_constant(&self) -> bool {
        self.kind != TYPE_NO_BITS && self.flags & SECTION_ALLOCATED != 0 && self.flags & SECTION_WRITABLE == 0
    }
}

/// An entry of the symbol table.
#[derive(Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, as the compiler mangled it.
    pub name: String,
    /// Where it is linked.
    pub address: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// An ELF file in memory.
pub struct Elf<'a> {
    bytes: &'a [u8],
    /// Its sections, in file order.
    pub sections: Vec<Section>,
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// When the bytes are no 64-bit little-endian ELF file or a header lies outside of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Elf<'a>> {
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(Failure::failed("not a 64-bit little-endian ELF file"));
        }
        let table = number(bytes, 40, 8)?;
        let entry_bytes = number(bytes, 58, 2)?;
        let count = number(bytes, 60, 2)?;
        let names_index = number(bytes, 62, 2)?;
        let mut sections = Vec::new();
        let mut name_offsets = Vec::new();
        for index in 0..count {
            let at = table.saturating_add(index * entry_bytes);
            let field = |offset: u64, length| number(bytes, at.saturating_add(offset), length);
            name_offsets.push(field(0, 4)?);
            sections.push(Section {
                name: String::new(),
                kind: field(4, 4)? as u32,
                flags: field(8, 8)?,
                address: field(16, 8)?,
                offset: field(24, 8)?,
                size: field(32, 8)?,
                link: field(40, 4)? as u32,
            });
        }
        let names = sections.get(names_index as usize).map_or(0, |section| section.offset);
        for (section, offset) in sections.iter_mut().zip(name_offsets) {
            section.name = text(bytes, names.saturating_add(offset))?;
        }
        Ok(Elf { bytes, sections })
    }

    /// All functions that have a symbol; empty for a stripped file.
    pub fn functions(&self) -> Result<Vec<Symbol>> {
        Ok(self.symbols()?.into_iter().filter(|(kind, _)| *kind == SYMBOL_FUNCTION).map(|(_, s)| s).collect())
    }

    /// Address of the symbol of that name.
    pub fn address(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.symbols()?.into_iter().find(|(_, symbol)| symbol.name == name).map(|(_, s)| s.address))
    }

    /// All symbols, each with its type.
    fn symbols(&self) -> Result<Vec<(u64, Symbol)>> {
        let mut found = Vec::new();
        for table in self.sections.iter().filter(|section| section.kind == TYPE_SYMBOLS) {
            let strings = self.sections.get(table.link as usize).map_or(0, |section| section.offset);
            for index in 0..table.size / SYMBOL_BYTES {
                let at = table.offset.saturating_add(index * SYMBOL_BYTES);
                let name = number(self.bytes, at, 4)?;
                let symbol = Symbol {
                    name: text(self.bytes, strings.saturating_add(name))?,
                    address: number(self.bytes, at + 8, 8)?,
                    size: number(self.bytes, at + 16, 8)?,
                };
                found.push((number(self.bytes, at + 4, 1)? & 0xf, symbol));
            }
        }
        Ok(found)
    }

    /// The bytes of a function; none if they are not in the file.
    pub fn code(&self, function: &Symbol) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| {
            let within = function.address.checked_sub(section.address);
            section.is_constant() && within.is_some_and(|offset| offset < section.size)
        })?;
        let start = section.offset.checked_add(function.address - section.address)?;
        let end = start.checked_add(function.size)?;
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// All aligned 64-bit words of what the file loads.
    pub fn constant_words(&self) -> BTreeSet<u64> {
        let loaded =
            self.sections.iter().filter(|s| s.kind != TYPE_NO_BITS && s.flags & SECTION_ALLOCATED != 0);
        let bytes = loaded.filter_map(|s| {
            let start = usize::try_from(s.offset).ok()?;
            self.bytes.get(start..start.checked_add(usize::try_from(s.size).ok()?)?)
        });
        bytes.flat_map(|b| b.as_chunks::<8>().0).map(|word| u64::from_le_bytes(*word)).collect()
    }

    /// Bytes of code and constants: what the size budget counts.
    pub fn constant_bytes(&self) -> u64 {
        self.sections.iter().filter(|s| s.is_constant()).map(|s| s.size).sum()
    }
}

fn number(bytes: &[u8], at: u64, length: usize) -> Result<u64> {
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    let field = bytes
        .get(start..start.saturating_add(length))
        .ok_or_else(|| Failure::failed(format!("ELF file ends before offset {at:#x}")))?;
    Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn text(bytes: &[u8], at: u64) -> Result<String> {
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    let tail = bytes
        .get(start..)
        .ok_or_else(|| Failure::failed(format!("ELF string outside of the file at {at:#x}")))?;
    let end = tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len());
    Ok(String::from_utf8_lossy(&tail[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_executable_has_text_and_symbols() {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(path).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let text = elf.sections.iter().find(|section| section.name == ".text").unwrap();
        assert!(text.is_constant());
        let data = elf.sections.iter().find(|section| section.name == ".data").unwrap();
        assert!(!data.is_constant());
        assert!(elf.constant_bytes() > text.size);
        let functions = elf.functions().unwrap();
        let main = functions.iter().find(|function| function.name == "main").unwrap();
        assert_eq!(elf.code(main).unwrap().len() as u64, main.size);
        assert_eq!(elf.address("main").unwrap(), Some(main.address));
        assert_eq!(elf.address("no symbol of this name").unwrap(), None);
    }

    #[test]
    fn damaged_files_are_refused_not_trusted() {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert!(Elf::parse(&bytes[..64]).is_err());
        assert!(Elf::parse(b"#!/bin/sh").is_err());
        let mut wild = bytes[..4096].to_vec();
        wild[40..48].fill(0xff);
        assert!(Elf::parse(&wild).is_err());
    }
}
