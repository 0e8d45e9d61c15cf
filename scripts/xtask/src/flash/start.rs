//! What VideoCore's firmware does between the card and the first instruction, for QEMU, which knows no such firmware:
//! takes kernel and device tree where `config.txt` names them and, where it names an `armstub`, prepares that and tells the
//! tree how much memory there is. Sources: Raspberry Pi documentation, "config.txt"; TF-A, "Raspberry Pi 4"; the header of
//! armstub8 (words at 0xf0).

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_card::Card;

use crate::failure::{Failure, Result};
use crate::files;
use crate::process;

/// Word of an armstub by which the firmware knows that it takes addresses; it clears the word when it has stored them.
const MAGIC_AT: usize = 0xf0;
const MAGIC: u32 = 0x5afe_570b;
/// Where it stores the addresses of device tree and kernel.
const TREE_AT: usize = 0xf8;
const KERNEL_AT: usize = 0xfc;
/// Memory below VideoCore's share (`gpu_mem=76`) and below 1 GiB, as cells of the vendor's `/memory@0`.
const MEMORY: [&str; 3] = ["0", "0", "3b400000"];

/// What the firmware put into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The packed image.
    pub kernel: PathBuf,
    /// The device tree.
    pub device_tree: PathBuf,
    /// What starts the image, if not the stock start-up code.
    pub stub: Option<Stub>,
}

/// An `armstub` of the card, entered by all CPUs at EL3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Its bytes, for address 0.
    pub path: PathBuf,
    /// Where the kernel lies.
    pub kernel_address: u32,
    /// Where the device tree lies.
    pub tree_address: u32,
}

/// Takes out of a card, or an image of one, what the firmware would start.
///
/// # Errors
/// It is no complete card, or its armstub takes no addresses.
pub fn load(card: &Path, into: &Path) -> Result<Started> {
    let refuse = |e: std::io::Error| Failure::unusable(format!("{} is no card of ours: {e}", card.display()));
    let file = File::open(card).map_err(|e| Failure::file("read", card, &e))?;
    let opened = Card::open(BufReader::new(file)).map_err(refuse)?;
    let (kernel, device_tree) = (into.join("kernel"), into.join("device-tree"));
    files::write(&kernel, &opened.read_configured("kernel").map_err(refuse)?)?;
    files::write(&device_tree, &opened.read_configured("device_tree").map_err(refuse)?)?;
    let Ok(name) = opened.configured("armstub") else {
        return Ok(Started { kernel, device_tree, stub: None });
    };
    let address = |key: &str| {
        let text = opened.configured(key).map_err(refuse)?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16)
            .map_err(|e| Failure::unusable(format!("{key}={text} in config.txt: {e}")))
    };
    let (kernel_address, tree_address) = (address("kernel_address")?, address("device_tree_address")?);
    let mut bytes = opened.read(&name).map_err(refuse)?;
    prepare(&mut bytes, kernel_address, tree_address).ok_or_else(|| {
        Failure::unusable(format!("{name} is no armstub: no word {MAGIC:#x} at {MAGIC_AT:#x}"))
    })?;
    let path = into.join("stub");
    files::write(&path, &bytes)?;
    let mut memory = Command::new("fdtput");
    process::run_quiet(memory.args(["-t", "x"]).arg(&device_tree).args(["/memory@0", "reg"]).args(MEMORY))?;
    Ok(Started { kernel, device_tree, stub: Some(Stub { path, kernel_address, tree_address }) })
}

/// Stores the addresses where the stub looks for them.
fn prepare(stub: &mut [u8], kernel: u32, tree: u32) -> Option<()> {
    if stub.get(MAGIC_AT..MAGIC_AT + 4)? != MAGIC.to_le_bytes() {
        return None;
    }
    for (at, word) in [(MAGIC_AT, 0), (TREE_AT, tree), (KERNEL_AT, kernel)] {
        stub.get_mut(at..at + 4)?.copy_from_slice(&word.to_le_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_gets_its_addresses_and_loses_its_magic() {
        let mut stub = vec![0xaa; 0x200];
        assert_eq!(prepare(&mut stub, 1, 2), None);
        stub[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(&MAGIC.to_le_bytes());
        assert_eq!(prepare(&mut stub[..0xfe], 1, 2), None);
        stub[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(&MAGIC.to_le_bytes());
        prepare(&mut stub, 0x20_0000, 0x800_0000).unwrap();
        let word = |at: usize| u32::from_le_bytes(stub[at..at + 4].try_into().unwrap());
        assert_eq!(
            [word(0xf0), word(0xf8), word(0xfc), word(0x100)],
            [0, 0x800_0000, 0x20_0000, 0xaaaa_aaaa]
        );
    }
}
