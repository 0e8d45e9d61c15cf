//! A reader of 64-bit little-endian AArch64 ELF executables: what is loaded where, and symbols.
//!
//! Source: System V ABI, chapters "Object Files" and "Program Loading". Nothing in the file is believed before it
//! is checked against the file's length.

/// A `PT_LOAD` segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Physical address (`p_paddr`), which for a partition is an IPA.
    pub address: u64,
    /// Bytes in the file, at `address`.
    pub bytes: Vec<u8>,
    /// Bytes in memory; those beyond the file's are zero.
    pub memory_bytes: u64,
    /// PF_X.
    pub executable: bool,
    /// PF_W.
    pub writable: bool,
}

impl Segment {
    /// First address after it.
    pub fn end(&self) -> u64 {
        self.address + self.memory_bytes
    }
}

/// An executable.
#[derive(Debug, Clone)]
pub struct Elf {
    /// `e_entry`.
    pub entry: u64,
    /// Segments that occupy memory, in file order.
    pub segments: Vec<Segment>,
    symbols: Vec<(String, u64)>,
}

const LOAD: u64 = 1;
const NOTE: u64 = 4;
const SYMBOL_TABLE: u64 = 2;
const AARCH64: u64 = 183;
const EXECUTE: u64 = 1;
const WRITE: u64 = 2;

impl Elf {
    /// Reads an executable.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(bytes: &[u8]) -> Result<Elf, String> {
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err("not a 64-bit little-endian ELF file".to_owned());
        }
        if number(bytes, 18, 2)? != AARCH64 {
            return Err("an ELF file for another machine than AArch64".to_owned());
        }
        let (table, stride, count) = (number(bytes, 32, 8)?, number(bytes, 54, 2)?, number(bytes, 56, 2)?);
        let mut segments = Vec::new();
        for index in 0..count {
            let at = table.saturating_add(index * stride);
            if number(bytes, at, 4)? == LOAD {
                segments.extend(segment(bytes, at)?);
            }
        }
        if segments.is_empty() {
            return Err("an ELF file without anything to load".to_owned());
        }
        Ok(Elf { entry: number(bytes, 24, 8)?, segments, symbols: symbols(bytes)? })
    }

    /// Value of the symbol `name`.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The bytes of every note segment (PT_NOTE) of an executable, one after the other; `None` if it is none.
pub fn notes(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, stride, count) =
        (number(bytes, 32, 8).ok()?, number(bytes, 54, 2).ok()?, number(bytes, 56, 2).ok()?);
    let mut out = Vec::new();
    for index in 0..count {
        let at = table.saturating_add(index * stride);
        if number(bytes, at, 4).ok()? == NOTE {
            let field = |offset: u64| number(bytes, at.saturating_add(offset), 8).ok();
            out.extend_from_slice(slice(bytes, field(8)?, field(32)?).ok()?);
        }
    }
    Some(out)
}

fn segment(bytes: &[u8], at: u64) -> Result<Option<Segment>, String> {
    let field = |offset: u64, length| number(bytes, at.saturating_add(offset), length);
    let (offset, address) = (field(8, 8)?, field(24, 8)?);
    let (file_bytes, memory_bytes) = (field(32, 8)?, field(40, 8)?);
    let flags = field(4, 4)?;
    if memory_bytes == 0 {
        return Ok(None);
    }
    if file_bytes > memory_bytes || address.checked_add(memory_bytes).is_none() {
        return Err(format!("segment at {address:#x} has an impossible size"));
    }
    Ok(Some(Segment {
        address,
        bytes: slice(bytes, offset, file_bytes)?.to_vec(),
        memory_bytes,
        executable: flags & EXECUTE != 0,
        writable: flags & WRITE != 0,
    }))
}

fn symbols(bytes: &[u8]) -> Result<Vec<(String, u64)>, String> {
    const STRIDE: u64 = 24;
    let (table, stride, count) = (number(bytes, 40, 8)?, number(bytes, 58, 2)?, number(bytes, 60, 2)?);
    let section = |index: u64, offset: u64, length| {
        let at = table.saturating_add(index.saturating_mul(stride));
        number(bytes, at.saturating_add(offset), length)
    };
    let mut out = Vec::new();
    for index in 0..count {
        if section(index, 4, 4)? != SYMBOL_TABLE {
            continue;
        }
        let entries = slice(bytes, section(index, 24, 8)?, section(index, 32, 8)?)?;
        let strings = section(index, 40, 4)?;
        let names = slice(bytes, section(strings, 24, 8)?, section(strings, 32, 8)?)?;
        for entry in entries.chunks_exact(STRIDE as usize) {
            let name = usize::try_from(number(entry, 0, 4)?).unwrap_or(usize::MAX);
            let tail = names.get(name..).ok_or("a symbol's name lies outside of the file")?;
            let name = tail.split(|&byte| byte == 0).next().unwrap_or_default();
            out.push((String::from_utf8_lossy(name).into_owned(), number(entry, 8, 8)?));
        }
    }
    Ok(out)
}

fn slice(bytes: &[u8], at: u64, length: u64) -> Result<&[u8], String> {
    let range = usize::try_from(at).ok().zip(at.checked_add(length).and_then(|e| usize::try_from(e).ok()));
    range
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or_else(|| format!("ELF file ends before {at:#x} + {length:#x}"))
}

fn number(bytes: &[u8], at: u64, length: u64) -> Result<u64, String> {
    let field = slice(bytes, at, length)?;
    Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_files_are_refused_or_read_never_a_panic(at in 0usize..200, value: u8, cut in 0usize..220) {
            let mut file = vec![0u8; 200];
            file[..6].copy_from_slice(b"\x7fELF\x02\x01");
            file[18] = 183;
            (file[32], file[54], file[56]) = (64, 56, 1);
            (file[64], file[72], file[96], file[104]) = (1, 120, 80, 90);
            prop_assert!(Elf::parse(&file).is_ok());
            file[at] = value;
            file.truncate(cut);
            let _ = Elf::parse(&file);
        }
    }

    #[test]
    fn segments_that_leave_the_file_or_the_address_space_are_refused() {
        let mut file = vec![0u8; 200];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 183;
        (file[32], file[54], file[56]) = (64, 56, 1);
        (file[64], file[72], file[96], file[104]) = (1, 120, 81, 90);
        assert!(Elf::parse(&file).unwrap_err().contains("ends before"));
        file[96] = 80;
        file[88..96].fill(0xff);
        assert!(Elf::parse(&file).unwrap_err().contains("impossible"));
    }
}
