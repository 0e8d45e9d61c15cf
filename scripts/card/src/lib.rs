//! A bootable card: a master boot record with one FAT32 partition. [`compose`] makes its bytes in memory, [`Card`]
//! reads the files of one back, be it a file or a device.
//!
//! Principles
//! 1. The same files give the same bytes: no time, no random serial number.
//! 2. What is read is believed no further than its own length: a damaged card is an error, never a panic.
//!
//! Honest limits: one partition, the first; 8.3 names and long names in ASCII; files, no directories.
#![forbid(unsafe_code)]

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

/// Bytes of a sector, the unit of the partition table.
pub const SECTOR_BYTES: u64 = 512;
/// First byte of the partition: 1 MiB, a multiple of every card's erase block that matters.
pub const PARTITION_START: u64 = 1 << 20;
/// Type of the partition: FAT32 with LBA, which the Pi's boot ROM looks for.
const PARTITION_TYPE: u8 = 0x0c;
/// Least partition: FAT32 has more than 65,525 clusters, here of 1 KiB.
const PARTITION_BYTES_MIN: u64 = 128 << 20;
const CLUSTER_BYTES: u32 = 1024;
/// Name of the volume.
const LABEL: [u8; 11] = *b"BULKHEAD   ";
/// Serial number of the volume; a time or a random number would make each card another.
const VOLUME_ID: u32 = 0x4255_4c4b;

const TABLE_AT: usize = 446;
const SIGNATURE_AT: usize = 510;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// A file of the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the root directory.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// The bytes of a card with these files, from its first sector on.
///
/// # Errors
/// A name that FAT does not take, or more than 2 TiB.
pub fn compose(files: &[File]) -> io::Result<Vec<u8>> {
    let content: u64 =
        files.iter().map(|f| (f.content.len() as u64).next_multiple_of(CLUSTER_BYTES.into())).sum();
    // A sixteenth for the file allocation tables and the directory.
    let wanted = (content + content / 16 + (1 << 20)).next_multiple_of(1 << 20);
    let bytes = wanted.max(PARTITION_BYTES_MIN);
    let mut partition = Cursor::new(vec![0; usize::try_from(bytes).map_err(io::Error::other)?]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_BYTES)
        .volume_id(VOLUME_ID)
        .volume_label(LABEL);
    fatfs::format_volume(&mut partition, options)?;
    let system = FileSystem::new(&mut partition, FsOptions::new())?;
    for file in files {
        let mut entry = system.root_dir().create_file(&file.name)?;
        entry.truncate()?;
        entry.write_all(&file.content)?;
        entry.flush()?;
    }
    system.unmount()?;
    let mut card = vec![0; PARTITION_START as usize];
    card[..SECTOR_BYTES as usize].copy_from_slice(&boot_record(bytes)?);
    card.append(&mut partition.into_inner());
    Ok(card)
}

/// The first sector: no code, one entry.
fn boot_record(partition_bytes: u64) -> io::Result<[u8; SECTOR_BYTES as usize]> {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR_BYTES).map_err(io::Error::other);
    let mut record = [0; SECTOR_BYTES as usize];
    let entry = &mut record[TABLE_AT..TABLE_AT + 16];
    // Cylinders, heads and sectors mean nothing with LBA: the largest values.
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = PARTITION_TYPE;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&sectors(PARTITION_START)?.to_le_bytes());
    entry[12..16].copy_from_slice(&sectors(partition_bytes)?.to_le_bytes());
    record[SIGNATURE_AT..].copy_from_slice(&SIGNATURE);
    Ok(record)
}

/// A card that is read.
pub struct Card<T: Read + Seek> {
    system: FileSystem<Window<T>>,
}

impl<T: Read + Seek> Card<T> {
    /// Looks for the first partition of a card and for FAT in it.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub fn open(mut medium: T) -> io::Result<Self> {
        let mut record = [0; SECTOR_BYTES as usize];
        medium.seek(SeekFrom::Start(0))?;
        medium.read_exact(&mut record)?;
        if record[SIGNATURE_AT..] != SIGNATURE {
            return Err(damaged(
                "no partition table: nothing was written here, or the writing was interrupted",
            ));
        }
        let word = |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|n| record[TABLE_AT + at + n])));
        let (start, length) = (word(8) * SECTOR_BYTES, word(12) * SECTOR_BYTES);
        if record[TABLE_AT + 4] != PARTITION_TYPE || start == 0 || length == 0 {
            return Err(damaged("the first partition is not FAT32"));
        }
        let window = Window { medium, start, length, at: 0 };
        Ok(Card { system: FileSystem::new(window, FsOptions::new())? })
    }

    /// Names in the root directory, sorted.
    ///
    /// # Errors
    /// The medium cannot be read, or is damaged.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let names: io::Result<Vec<String>> =
            self.system.root_dir().iter().map(|e| e.map(|e| e.file_name())).collect();
        names.map(|mut names| {
            names.sort();
            names
        })
    }

    /// Content of a file.
    ///
    /// # Errors
    /// There is none of that name, or the medium cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.system.root_dir().open_file(name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Content of the file that `config.txt` names for a key, as `kernel` or `device_tree`.
    ///
    /// # Errors
    /// `config.txt` is missing or names none, or that file cannot be read.
    pub fn read_configured(&self, key: &str) -> io::Result<Vec<u8>> {
        let config = String::from_utf8_lossy(&self.read("config.txt")?).into_owned();
        let value = |line: &str| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        let name = config.lines().find_map(value);
        self.read(&name.ok_or_else(|| damaged(&format!("config.txt has no line `{key}=`")))?)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A partition of a medium. It refuses writes: what reads a card changes nothing on it.
struct Window<T> {
    medium: T,
    start: u64,
    length: u64,
    at: u64,
}

impl<T: Read + Seek> Read for Window<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.medium.seek(SeekFrom::Start(self.start + self.at))?;
        let count = self.medium.read(&mut buffer[..wanted])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<T> Write for Window<T> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T> Seek for Window<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => i128::from(at),
            SeekFrom::Current(by) => i128::from(self.at) + i128::from(by),
            SeekFrom::End(by) => i128::from(self.length) + i128::from(by),
        };
        self.at = u64::try_from(target).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
