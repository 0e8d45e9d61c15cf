//! `cargo xtask flash`: a configuration as a bootable card.
//!
//! [`boot_files`] says what lies on it, `bulkhead_card` how, [`device`] which devices may be overwritten and how;
//! [`start`] takes it out again as the board's firmware does.

pub mod device;
pub mod start;

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_card::{File, compose};

use crate::failure::{Failure, Result};
use crate::files;
use crate::image::Image;
use crate::paths::Paths;
use crate::setup::firmware::Firmware;
use crate::setup::kernel::{self, RPI4_DEVICE_TREE};
use device::Device;

/// Boards that boot from a card of ours.
pub const BOARDS: [&str; 1] = ["rpi4"];

/// The image's name on the card.
const KERNEL: &str = "bulkhead.img";
/// The device tree's name, by which the firmware looks for it anyway.
const DEVICE_TREE: &str = "bcm2711-rpi-4-b.dtb";
/// Trusted Firmware-A.
const ARMSTUB: &str = "bl31.bin";

/// Least run of zeros that becomes a hole: a multiple of every file system's block.
const HOLE_BYTES: usize = 64 << 10;

/// Where a card's bytes go.
pub enum Target {
    /// An image file.
    File(PathBuf),
    /// A card in a reader.
    Device(Device),
}

/// What decides what lies on the card.
pub struct Contents<'a> {
    /// The packed image.
    pub image: &'a Image,
    /// The board's firmware.
    pub firmware: &'a Firmware,
    /// Start by Trusted Firmware-A.
    pub trusted_firmware: bool,
}

/// Writes the card.
///
/// # Errors
/// The target cannot be written or does not read back; what is on it then boots nothing.
pub fn flash(paths: &Paths, contents: &Contents<'_>, target: &Target) -> Result<()> {
    let files = boot_files(paths, contents)?;
    let card =
        compose(&files).map_err(|e| Failure::unusable(format!("the card cannot be put together: {e}")))?;
    match target {
        Target::File(path) => write_file(path, &card)?,
        Target::Device(device) => device.write(&card)?,
    }
    println!("files on it: {}", files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// What lies on the card.
fn boot_files(paths: &Paths, contents: &Contents<'_>) -> Result<Vec<File>> {
    let file = |name: &str, content: Vec<u8>| File { name: name.to_owned(), content };
    let tree = kernel::unpacked(&paths.cache, kernel::BOARDS).device_tree(RPI4_DEVICE_TREE)?;
    let mut list = vec![
        file("config.txt", config(contents.trusted_firmware).into_bytes()),
        file("start4.elf", contents.firmware.file("start4.elf")?),
        file("fixup4.dat", contents.firmware.file("fixup4.dat")?),
        file("LICENCE.txt", contents.firmware.licence()?),
        file(DEVICE_TREE, files::read(&tree)?),
        file(KERNEL, files::read(&contents.image.path)?),
    ];
    if contents.trusted_firmware {
        list.push(file(ARMSTUB, contents.firmware.trusted()?));
    }
    Ok(list)
}

/// What the firmware is told (Raspberry Pi documentation, "config.txt"). Addresses are those of
/// `board/rpi4/board.toml`.
fn config(trusted_firmware: bool) -> String {
    let armstub = if trusted_firmware { format!("armstub={ARMSTUB}\n") } else { String::new() };
    format!(
        "# Written by `cargo xtask flash`. docs/boards/rpi4.md explains each line.\n\
         [all]\n\
         arm_64bit=1\n\
         kernel={KERNEL}\n\
         kernel_address=0x200000\n\
         device_tree={DEVICE_TREE}\n\
         device_tree_address=0x8000000\n\
         enable_gic=1\n\
         enable_uart=1\n\
         uart_2ndstage=1\n\
         init_uart_clock=48000000\n\
         init_emmc_clock=100000000\n\
         dtoverlay=disable-bt\n\
         gpu_mem=76\n\
         {armstub}"
    )
}

/// Writes an image file under a temporary name, reads it back, and renames it: no half one is ever seen.
fn write_file(path: &Path, card: &[u8]) -> Result<()> {
    if path.is_dir() || std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Err(Failure::unusable(format!(
            "{} is no regular file: a card in a reader is named by `--device`",
            path.display()
        )));
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let partial = path.with_file_name(name);
    let written = write_with_holes(&partial, card).map_err(|e| Failure::file("write", &partial, &e));
    let outcome = written.and_then(|()| compare(&files::read(&partial)?, card, &partial));
    if let Err(failure) = outcome {
        // What was refused for lack of room must not keep the room.
        let _ = std::fs::remove_file(&partial);
        let free =
            free_bytes(path).map_or_else(String::new, |free| format!(" and {} MiB are free", free >> 20));
        return Err(Failure::unusable(format!(
            "{failure}\nNothing was left behind. The image needs {} MiB{free}: make room, or name a file elsewhere with \
             `--image`",
            card.len().div_ceil(1 << 20)
        )));
    }
    files::rename(&partial, path)?;
    println!("{}: {} MiB, written and read back", path.display(), card.len() >> 20);
    Ok(())
}

/// Writes a file in which blocks of zeros are holes, where the file system has such: most of a card is empty.
fn write_with_holes(path: &Path, card: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for (at, block) in (0u64..).step_by(HOLE_BYTES).zip(card.chunks(HOLE_BYTES)) {
        if block.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(block)?;
        }
    }
    file.set_len(card.len() as u64)?;
    file.sync_all()
}

/// Bytes that a user may still write where a file is to lie, as `df` tells.
fn free_bytes(file: &Path) -> Option<u64> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes << 10)
}

fn compare(found: &[u8], wanted: &[u8], path: &Path) -> Result<()> {
    let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
    match differs.or((found.len() != wanted.len()).then_some(found.len().min(wanted.len()))) {
        None => Ok(()),
        Some(at) => {
            Err(Failure::failed(format!("{} differs at byte {at} from what was written", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-flash-{name}-{}", std::process::id()));
        files::remove_dir(&directory).unwrap();
        files::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn what_the_firmware_is_told_agrees_with_the_board() {
        let board: toml::Table =
            include_str!("../../../../board/rpi4/board.toml").parse().expect("the board's description");
        let number = |line: &str| {
            let text = config(false);
            let value = text.lines().find_map(|l| l.strip_prefix(line)).unwrap().to_owned();
            i64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
        };
        assert_eq!(board["image-base"].as_integer(), Some(number("kernel_address=")));
        let regions = board["firmware"].as_array().unwrap();
        let tree = number("device_tree_address=");
        assert!(regions.iter().any(|r| r["base"].as_integer() == Some(tree)), "nobody keeps {tree:#x}");
        let decimal = |key: &str| {
            let text = config(false);
            text.lines().find_map(|l| l.strip_prefix(key)?.parse::<i64>().ok())
        };
        let clocks = board["fixed-clocks"].as_array().unwrap();
        assert!(clocks.iter().all(|c| c["hz"].as_integer() == decimal("init_emmc_clock=")), "{clocks:?}");
        assert!(!config(false).contains("armstub"));
        assert!(config(true).contains("armstub=bl31.bin"));
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let directory = scratch("file");
        let card = compose(&[File { name: "config.txt".into(), content: b"kernel=a\n".to_vec() }]).unwrap();
        write_file(&directory.join("card.img"), &card).unwrap();
        assert_eq!(files::read(&directory.join("card.img")).unwrap(), card);
        // What is empty takes no room, but on file systems without holes.
        let blocks =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(directory.join("card.img")).unwrap());
        assert!(blocks * 512 < card.len() as u64 / 8, "{} KiB", blocks / 2);
        let refused = write_file(&directory, &card).unwrap_err().to_string();
        assert!(refused.contains("`--device`"), "{refused}");
        let nowhere = write_file(&directory.join("no/card.img"), &card).unwrap_err().to_string();
        assert!(nowhere.contains("needs 129 MiB"), "{nowhere}");
        assert_eq!(files::list(&directory).unwrap().len(), 1);
        files::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_named_with_what_is_needed_and_what_is_free() {
        let directory = scratch("full");
        let card = vec![1; 1 << 20];
        // The kernel answers "no space left on device" to every write.
        std::os::unix::fs::symlink("/dev/full", directory.join("card.img.part")).unwrap();
        let failure = write_file(&directory.join("card.img"), &card).unwrap_err().to_string();
        assert!(failure.contains("No space left"), "{failure}");
        let free = free_bytes(&directory.join("card.img")).unwrap() >> 20;
        let told = failure.split_once("needs 1 MiB and ").unwrap().1.split_once(" MiB are free").unwrap().0;
        assert!(told.parse::<u64>().unwrap().abs_diff(free) < 1 << 20, "{failure}: {free}");
        assert_eq!(files::list(&directory).unwrap().len(), 0, "something was left behind");
        files::remove_dir(&directory).unwrap();
        let failure = write_file(Path::new("/dev/full"), b"x").unwrap_err().to_string();
        assert!(failure.contains("no regular file"), "{failure}");
        assert_eq!(compare(b"ab", b"ac", Path::new("x")).unwrap_err().exit(), 1);
        assert!(compare(b"ab", b"abc", Path::new("x")).unwrap_err().to_string().contains("byte 2"));
    }
}
