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

/// Most entries of a directory (Microsoft, FAT specification 1.03: 65,536 of 32 bytes).
const DIRECTORY_ENTRIES_MAX: usize = 65_536;

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
    /// Bytes of the partition.
    bytes: u64,
}

impl<T: Read + Seek> Card<T> {
    /// Looks for the first partition of a card and for FAT in it.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub fn open(mut medium: T) -> io::Result<Self> {
        let mut record = [0; SECTOR_BYTES as usize];
        medium.seek(SeekFrom::Start(0))?;
        medium.read_exact(&mut record).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is shorter than one sector"),
            _ => e,
        })?;
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
        let mut window = Window { medium, start, length, at: 0 };
        check_geometry(&mut window)?;
        window.seek(SeekFrom::Start(0))?;
        let system = FileSystem::new(window, FsOptions::new())
            .map_err(|e| damaged(&format!("the first partition holds no FAT32 file system: {e}")))?;
        Ok(Card { system, bytes: length })
    }

    /// Names in the root directory, sorted.
    ///
    /// # Errors
    /// The medium cannot be read, or is damaged.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let root = self.system.root_dir();
        let entries = root.iter().take(DIRECTORY_ENTRIES_MAX);
        let names: io::Result<Vec<String>> = entries.map(|e| e.map(|e| e.file_name())).collect();
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
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name} on it"));
        let root = self.system.root_dir();
        // Not by the file system's own search: a directory whose clusters form a circle has no end.
        let mut entries = root.iter().take(DIRECTORY_ENTRIES_MAX);
        let found = loop {
            let entry = entries.next().ok_or_else(missing)??;
            if entry.is_file() && entry.file_name().eq_ignore_ascii_case(name) {
                break entry;
            }
        };
        if found.len() > self.bytes {
            return Err(damaged(&format!(
                "{name} claims {} bytes, more than the partition has",
                found.len()
            )));
        }
        let mut content = Vec::new();
        found.to_file().read_to_end(&mut content)?;
        if content.len() as u64 != found.len() {
            return Err(damaged(&format!("{name} has {} bytes of {}", content.len(), found.len())));
        }
        Ok(content)
    }

    /// Name of the file that `config.txt` names for a key, as `kernel` or `device_tree`; of several lines the last.
    ///
    /// # Errors
    /// `config.txt` is missing or names none.
    pub fn configured(&self, key: &str) -> io::Result<String> {
        let config = String::from_utf8_lossy(&self.read("config.txt")?).into_owned();
        let value = |line: &str| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        let name = config.lines().filter_map(value).next_back();
        name.ok_or_else(|| damaged(&format!("config.txt has no line `{key}=`")))
    }

    /// Content of the file that `config.txt` names for a key.
    ///
    /// # Errors
    /// Those of [`Card::configured`] and [`Card::read`].
    pub fn read_configured(&self, key: &str) -> io::Result<Vec<u8>> {
        self.read(&self.configured(key)?)
    }
}

/// Whether the parts of a FAT32 volume lie inside it (Microsoft, FAT specification 1.03, "Boot Sector and BPB"): the
/// reader of the file system computes with these numbers unchecked.
fn check_geometry(volume: &mut (impl Read + Seek)) -> io::Result<()> {
    let none = |why: String| damaged(&format!("the first partition holds no FAT32 file system: {why}"));
    let mut block = [0; SECTOR_BYTES as usize];
    volume.read_exact(&mut block)?;
    let half = |at: usize| u64::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    let (per_cluster, reserved, tables) = (u64::from(block[13]), half(14), u64::from(block[16]));
    let (sectors, per_table, root, information) = (word(32), word(36), word(44), half(48));
    if block[SIGNATURE_AT..] != SIGNATURE || half(11) != SECTOR_BYTES {
        return Err(none("no boot sector".into()));
    }
    let data = reserved + tables * per_table;
    let shape = per_cluster.is_power_of_two() && (1..=2).contains(&tables) && reserved != 0;
    if !shape || per_table == 0 || data >= sectors || information >= reserved {
        return Err(none("its parts do not fit each other".into()));
    }
    let clusters = (sectors - data) / per_cluster;
    if clusters + 2 > per_table * SECTOR_BYTES / 4 || !(2..clusters + 2).contains(&root) {
        return Err(none("its table is too short".into()));
    }
    let end = volume.seek(SeekFrom::End(0))? / SECTOR_BYTES;
    if sectors > end {
        return Err(none(format!("it claims {sectors} sectors of {end}")));
    }
    Ok(())
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
