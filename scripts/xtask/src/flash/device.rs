//! Cards in a reader: what a device is, whether it may be overwritten, and how it is written.
//!
//! The first sector, with the partition table, is cleared first and written last, after all else was read back: a
//! card whose writing was interrupted boots nothing and shows no files.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::files;

/// Largest device that is taken for a card without being told so.
const BYTES_MAX: u64 = 256_000_000_000;
const SECTOR: usize = 512;
/// Bytes written or read at once.
const CHUNK: usize = 4 << 20;
/// Alignment of memory and offsets that reading past the page cache asks for.
const DIRECT_ALIGNMENT: usize = 4096;
/// `O_EXCL` on a block device: refused while somebody has it mounted.
const O_EXCL: i32 = 0o200;
/// `O_DIRECT`.
const O_DIRECT: i32 = if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 };

/// A block device that may be overwritten.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    /// What the user knows it by.
    description: String,
    bytes: u64,
}

/// The kernel's view of the machine: `/`, or a directory that stands for it in tests.
struct Host<'a> {
    root: &'a Path,
}

impl Device {
    /// Looks at a device and refuses what is no card, or in use.
    ///
    /// # Errors
    /// Why it may not be overwritten, and what to do.
    pub fn examine(path: &Path, force: bool) -> Result<Device> {
        let real = std::fs::canonicalize(path).map_err(|e| {
            Failure::unusable(format!(
                "cannot look at {}: {e}. `lsblk` lists what is there; a card's device appears when it is put in",
                path.display()
            ))
        })?;
        let kind = std::fs::metadata(&real).map_err(|e| Failure::file("look at", &real, &e))?.file_type();
        if !kind.is_block_device() {
            return Err(Failure::unusable(format!(
                "{} is no block device: an image file is named by `--image`",
                path.display()
            )));
        }
        Host { root: Path::new("/") }.examine(&real, force)
    }

    /// Shows what is to be overwritten and asks once.
    ///
    /// # Errors
    /// The answer was not yes.
    pub fn confirm(&self, yes: bool) -> Result<()> {
        println!(
            "{} will be overwritten: {}, {:.1} GB",
            self.path.display(),
            self.description,
            gigabytes(self.bytes)
        );
        if yes {
            return Ok(());
        }
        print!("All data on it will be lost. Go on? [yes/no] ");
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_ok() && answer.trim() == "yes" {
            return Ok(());
        }
        let hint = if std::io::stdin().is_terminal() { "" } else { "; `--yes` answers in a script" };
        Err(Failure::unusable(format!(
            "{} was not touched: the answer was not `yes`{hint}",
            self.path.display()
        )))
    }

    /// Writes a card's bytes, shows progress, reads them back.
    ///
    /// # Errors
    /// Writing or reading failed, or what came back differs: the card then boots nothing.
    pub fn write(&self, card: &[u8]) -> Result<()> {
        if card.len() as u64 > self.bytes {
            return Err(Failure::unusable(format!(
                "{} has {} MiB, {} MiB are needed: take a larger card",
                self.path.display(),
                self.bytes >> 20,
                card.len() >> 20
            )));
        }
        let mut open = OpenOptions::new();
        let device = open.read(true).write(true).custom_flags(O_EXCL).open(&self.path);
        let device = device.map_err(|e| self.cannot_open(&e))?;
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{what} {}: {e}\nThe card was left without a partition table: it boots nothing. Run the same command \
                 again, with another card if it fails again",
                self.path.display()
            ))
        };
        put(&device, card).map_err(|e| failed("cannot write", &e))?;
        let back = OpenOptions::new().read(true).custom_flags(O_DIRECT).open(&self.path);
        // Where the page cache cannot be passed by, it is what is compared.
        let back = back.or_else(|_| File::open(&self.path)).map_err(|e| failed("cannot read back", &e))?;
        same(back, card).map_err(|e| failed("cannot verify", &e))?;
        seal(&device, card).map_err(|e| failed("cannot finish", &e))?;
        println!(
            "{}: {} MiB written and read back; take the card out",
            self.path.display(),
            card.len() >> 20
        );
        Ok(())
    }

    fn cannot_open(&self, cause: &std::io::Error) -> Failure {
        let hint = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run the command as a user who may write it (group `disk`, or sudo)"
            }
            std::io::ErrorKind::ResourceBusy => "somebody uses it: unmount it first",
            std::io::ErrorKind::ReadOnlyFilesystem => {
                "it is write-protected: look for the switch at the card's side"
            }
            _ => "put the card in again and look with `lsblk`",
        };
        Failure::unusable(format!("cannot open {}: {cause}; {hint}", self.path.display()))
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Everything but the first sector, which is cleared.
fn put(mut device: impl Write + Seek, card: &[u8]) -> std::io::Result<()> {
    device.seek(SeekFrom::Start(0))?;
    device.write_all(&[0; SECTOR])?;
    device.flush()?;
    let body = card.get(SECTOR..).unwrap_or(&[]);
    let mut done = SECTOR;
    for chunk in body.chunks(CHUNK) {
        device.write_all(chunk)?;
        done += chunk.len();
        progress("writing", done, card.len());
    }
    device.flush()
}

/// Whether the device gives back what was written, but for the first sector.
fn same(mut device: impl Read, card: &[u8]) -> std::io::Result<()> {
    let mut memory = vec![0; CHUNK + DIRECT_ALIGNMENT];
    let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT).min(DIRECT_ALIGNMENT);
    let buffer = &mut memory[skip..skip + CHUNK];
    let mut at = 0;
    while at < card.len() {
        let count = device.read(buffer)?;
        let wanted = &card[at..card.len().min(at + count)];
        let skipped = SECTOR.saturating_sub(at).min(wanted.len());
        if count == 0 || buffer[skipped..wanted.len()] != wanted[skipped..] {
            let what =
                format!("it gives back something else between byte {at} and byte {}", at + count.max(1));
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        }
        at += count;
        progress("reading back", at.min(card.len()), card.len());
    }
    Ok(())
}

/// The first sector, which makes the card whole.
fn seal(mut device: &File, card: &[u8]) -> std::io::Result<()> {
    device.sync_all()?;
    device.seek(SeekFrom::Start(0))?;
    device.write_all(card.get(..SECTOR).unwrap_or(card))?;
    device.sync_all()
}

fn progress(what: &str, done: usize, all: usize) {
    if std::io::stdout().is_terminal() {
        print!("\r{what} {:>3} %", done * 100 / all.max(1));
        if done == all {
            println!();
        }
        let _ = std::io::stdout().flush();
    }
}

impl Host<'_> {
    fn examine(&self, path: &Path, force: bool) -> Result<Device> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let class = self.root.join("sys/class/block").join(&name);
        let refuse =
            |why: String| Err(Failure::unusable(format!("{} is not overwritten: {why}", path.display())));
        if class.join("partition").exists() {
            return refuse("it is a partition; name the whole device, which `lsblk` shows above it".into());
        }
        let text =
            |file: &str| files::read_text(&class.join(file)).map(|t| t.trim().to_owned()).unwrap_or_default();
        let sectors: u64 = text("size").parse().unwrap_or(0);
        let bytes = sectors.saturating_mul(SECTOR as u64);
        if bytes == 0 {
            return refuse("there is no card in it".into());
        }
        if text("ro") == "1" {
            return refuse("it is write-protected: look for the switch at the card's side".into());
        }
        if let Some((what, place)) = self.user_of(&name)? {
            return refuse(format!(
                "{what} is in use as {place}; unmount it first, if it is the right device at all"
            ));
        }
        if bytes > BYTES_MAX && !force {
            let size = gigabytes(bytes);
            return refuse(format!(
                "it has {size:.0} GB, which is much for a card; `--force` says that it is one"
            ));
        }
        let words =
            [text("device/vendor"), text("device/model"), text("device/name"), text("loop/backing_file")];
        let known: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let description =
            if known.is_empty() { "a device without a model".to_owned() } else { known.join(" ") };
        Ok(Device { path: path.to_path_buf(), description, bytes })
    }

    /// Who uses the device or a part of it: a mount, swap space, or a device built upon it (RAID, LVM, encryption).
    fn user_of(&self, name: &str) -> Result<Option<(String, String)>> {
        let class = self.root.join("sys/class/block");
        let mut parts = vec![name.to_owned()];
        for entry in std::fs::read_dir(class.join(name)).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                parts.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        for file in ["proc/self/mounts", "proc/swaps"] {
            for line in files::read_text(&self.root.join(file))?.lines() {
                let mut words = line.split_whitespace();
                let (source, place) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                let real = std::fs::canonicalize(source).unwrap_or_else(|_| source.into());
                if parts.iter().any(|part| real == Path::new("/dev").join(part)) {
                    let place = if file == "proc/swaps" { "swap space" } else { place };
                    return Ok(Some((source.to_owned(), place.to_owned())));
                }
            }
        }
        for part in &parts {
            if let Some(holder) =
                std::fs::read_dir(class.join(part).join("holders")).into_iter().flatten().flatten().next()
            {
                return Ok(Some((format!("/dev/{part}"), holder.file_name().to_string_lossy().into_owned())));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files below its root.
    fn host(name: &str, list: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("xtask-device-{name}-{}", std::process::id()));
        files::remove_dir(&root).unwrap();
        for (file, content) in [("proc/self/mounts", ""), ("proc/swaps", "")].iter().chain(list) {
            files::write(&root.join(file), content.as_bytes()).unwrap();
        }
        root
    }

    fn judge(name: &str, list: &[(&str, &str)], force: bool) -> std::result::Result<Device, String> {
        let root = host(name, list);
        let result = Host { root: &root }.examine(Path::new("/dev/sdz"), force).map_err(|f| f.to_string());
        files::remove_dir(&root).unwrap();
        result
    }

    const SIZE: (&str, &str) = ("sys/class/block/sdz/size", "62333952\n");

    #[test]
    fn a_card_is_described_and_others_are_refused_with_what_to_do() {
        let model = ("sys/class/block/sdz/device/model", "STORAGE DEVICE \n");
        let card = judge("card", &[SIZE, model], false).unwrap();
        assert_eq!((card.description.as_str(), card.bytes), ("STORAGE DEVICE", 31_914_983_424));
        let part = judge("part", &[SIZE, ("sys/class/block/sdz/partition", "1")], false).unwrap_err();
        assert!(part.contains("name the whole device"), "{part}");
        let empty = judge("empty", &[("sys/class/block/sdz/size", "0\n")], false).unwrap_err();
        assert!(empty.contains("no card in it"), "{empty}");
        let protected = judge("ro", &[SIZE, ("sys/class/block/sdz/ro", "1\n")], false).unwrap_err();
        assert!(protected.contains("write-protected"), "{protected}");
    }

    #[test]
    fn what_is_in_use_is_never_overwritten_and_large_ones_only_by_force() {
        let part = ("sys/class/block/sdz/sdz1/partition", "1");
        let mounted = ("proc/self/mounts", "/dev/sdz1 / ext4 rw 0 0\n");
        let message = judge("mounted", &[SIZE, part, mounted], true).unwrap_err();
        assert!(message.contains("/dev/sdz1 is in use as /;"), "{message}");
        let swap = ("proc/swaps", "Filename Type\n/dev/sdz partition 1 0 -2\n");
        assert!(judge("swap", &[SIZE, swap], true).unwrap_err().contains("swap space"));
        let held = ("sys/class/block/sdz1/holders/dm-0", "");
        assert!(judge("held", &[SIZE, part, held], true).unwrap_err().contains("in use as dm-0"));
        let large = ("sys/class/block/sdz/size", "1000000000\n");
        assert!(judge("large", &[large], false).unwrap_err().contains("`--force`"));
        assert!(judge("forced", &[large], true).is_ok());
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let message = Device::examine(Path::new("/proc/version"), false).unwrap_err().to_string();
        assert!(message.contains("`--image`"), "{message}");
        let message = Device::examine(Path::new("/dev/no-such-card"), false).unwrap_err().to_string();
        assert!(message.contains("lsblk"), "{message}");
    }

    #[test]
    fn the_first_sector_comes_last_and_differences_are_found() {
        let card: Vec<u8> = (0..3 * CHUNK + 700).map(|n| (n % 251) as u8 + 1).collect();
        let mut medium = std::io::Cursor::new(vec![0xee; card.len()]);
        put(&mut medium, &card).unwrap();
        let mut bytes = medium.into_inner();
        assert!(bytes[..SECTOR].iter().all(|&byte| byte == 0) && bytes[SECTOR..] == card[SECTOR..]);
        same(&bytes[..], &card).unwrap();
        bytes[2 * CHUNK] ^= 1;
        assert!(same(&bytes[..], &card).unwrap_err().to_string().contains("something else between"));
        assert!(same(&bytes[..CHUNK], &card).is_err());
        // A device that fails in the middle has no partition table.
        let mut small = [0xee; 2 * SECTOR];
        assert!(put(std::io::Cursor::new(&mut small[..]), &card).is_err());
        assert!(small[..SECTOR].iter().all(|&byte| byte == 0));
    }
}
