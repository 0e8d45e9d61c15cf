//! Cards are written and read back; damaged ones are refused.

use bulkhead_card::{Card, File, PARTITION_START, SECTOR_BYTES, compose};
use std::io::Cursor;

fn files() -> Vec<File> {
    let file = |name: &str, content: &[u8]| File { name: name.to_owned(), content: content.to_vec() };
    vec![
        file("config.txt", b"# comment\narm_64bit=1\nkernel = bulkhead.img\n"),
        file("bulkhead.img", &(0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()),
        file("bcm2711-rpi-4-b.dtb", b"tree"),
    ]
}

#[test]
fn every_file_comes_back_and_equal_files_give_equal_bytes() {
    let bytes = compose(&files()).unwrap();
    assert_eq!(bytes, compose(&files()).unwrap());
    let card = Card::open(Cursor::new(bytes)).unwrap();
    assert_eq!(card.names().unwrap(), ["bcm2711-rpi-4-b.dtb", "bulkhead.img", "config.txt"]);
    for file in files() {
        assert_eq!(card.read(&file.name).unwrap(), file.content, "{}", file.name);
    }
    assert_eq!(card.read_configured("kernel").unwrap(), files()[1].content);
    assert!(card.read_configured("initramfs").unwrap_err().to_string().contains("`initramfs=`"));
    assert!(card.read("missing").unwrap_err().to_string().contains("no file missing"));
    // The firmware looks for names in any case, and takes the last of several lines.
    assert_eq!(card.configured("kernel").unwrap(), "bulkhead.img");
    assert_eq!(card.read("BULKHEAD.IMG").unwrap(), files()[1].content);
}

#[test]
fn the_partition_is_one_of_fat32_that_a_boot_rom_finds() {
    let bytes = compose(&files()).unwrap();
    assert_eq!(bytes[446 + 4], 0x0c);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (start, sectors) = (word(446 + 8), word(446 + 12));
    assert_eq!(u64::from(start) * SECTOR_BYTES, PARTITION_START);
    assert_eq!(u64::from(start + sectors) * SECTOR_BYTES, bytes.len() as u64);
    // BIOS parameter block of FAT32: no 16-bit table size, and the type's name for people.
    let volume = &bytes[PARTITION_START as usize..];
    assert_eq!(&volume[82..90], b"FAT32   ");
    assert_eq!(&volume[22..24], [0, 0]);
}

#[test]
fn large_files_grow_the_partition() {
    let content = vec![7; 200 << 20];
    let bytes = compose(&[File { name: "large".into(), content }]).unwrap();
    let card = Card::open(Cursor::new(&bytes)).unwrap();
    assert_eq!(card.read("large").unwrap().len(), 200 << 20);
}

#[test]
fn what_was_not_written_completely_is_refused() {
    let bytes = compose(&files()).unwrap();
    // The first sector is written last: an interrupted card has none.
    let mut interrupted = bytes.clone();
    interrupted[..SECTOR_BYTES as usize].fill(0);
    let message = Card::open(Cursor::new(interrupted)).err().unwrap().to_string();
    assert!(message.contains("interrupted"), "{message}");
    assert!(Card::open(Cursor::new(&bytes[..100])).is_err());
    let cut = Card::open(Cursor::new(&bytes[..PARTITION_START as usize + 700]));
    assert!(cut.and_then(|card| card.read("bulkhead.img")).is_err());
    let mut foreign = bytes;
    foreign[446 + 4] = 0x83;
    assert!(Card::open(Cursor::new(foreign)).err().unwrap().to_string().contains("FAT32"));
}

/// The first bytes of the volume, of its information sector, of its tables and of its directory, each with values that
/// turn sizes into zero and into the largest: nothing panics, and nothing runs on for ever.
#[test]
fn damaged_file_systems_are_errors() {
    let whole = compose(&files()).unwrap();
    let volume = PARTITION_START as usize;
    let word = |at: usize| u16::from_le_bytes([whole[volume + at], whole[volume + at + 1]]) as usize;
    let (reserved, tables) = (word(14), usize::from(whole[volume + 16]));
    let table = volume + reserved * SECTOR_BYTES as usize;
    let data = table + tables * word(36) * SECTOR_BYTES as usize;
    let places = [(volume, 96), (volume + 512, 16), (volume + 996, 28), (table, 32), (data, 192)];
    let mut refused = 0;
    let mut bytes = whole.clone();
    for (start, length) in places {
        for at in start..start + length {
            for value in [0x00, 0x01, 0x80, 0xff] {
                bytes[at] = value;
                let card = Card::open(Cursor::new(&bytes));
                let read = card.and_then(|card| card.names().and_then(|_| card.read_configured("kernel")));
                refused += usize::from(read.is_err());
                bytes[at] = whole[at];
            }
        }
    }
    assert!(refused > 100, "{refused} damaged ones were refused");
}
