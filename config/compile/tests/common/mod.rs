//! Small executables made byte by byte, and a reader of packed images that shares nothing with the compiler but the
//! blueprint's records.

// Each test binary uses its part of this module.
#![allow(dead_code)]

pub mod walk;

use bulkhead_abi::{ABI_VERSION, loader};
use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout::{Header, VERSION};
use bulkhead_compile::{BuildReport, BuildRequest, Failure, build};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, IntoBytes};

pub const PAGE: u64 = 4096;
pub const IMAGE_BASE: u64 = 0x4020_0000;

/// A PT_LOAD segment: address, bytes, bytes in memory, flags (1 execute, 2 write, 4 read).
pub type Segment<'a> = (u64, &'a [u8], u64, u32);

/// An AArch64 executable with these segments and absolute symbols.
pub fn elf(entry: u64, segments: &[Segment<'_>], symbols: &[(&str, u64)]) -> Vec<u8> {
    let mut file = vec![0u8; 64 + 56 * segments.len()];
    for (index, (address, bytes, memory, flags)) in segments.iter().enumerate() {
        let offset = file.len() as u64;
        file.extend_from_slice(bytes);
        let at = 64 + 56 * index;
        let words = [offset, *address, *address, bytes.len() as u64, *memory, PAGE];
        file[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
        file[at + 4..at + 8].copy_from_slice(&flags.to_le_bytes());
        for (slot, word) in file[at + 8..at + 56].chunks_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
    }
    let (table, names) = symbol_table(symbols);
    let (table_at, names_at) = (file.len(), file.len() + table.len());
    file.extend_from_slice(&table);
    file.extend_from_slice(&names);
    let sections = file.len() as u64;
    for (kind, offset, size, link) in
        [(0u32, 0, 0, 0u32), (2, table_at, table.len(), 2), (3, names_at, names.len(), 0)]
    {
        let mut header = [0u8; 64];
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        header[40..44].copy_from_slice(&link.to_le_bytes());
        file.extend_from_slice(&header);
    }
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    for (at, value, length) in [
        (16, 2, 2),
        (18, 183, 2),
        (24, entry, 8),
        (32, 64, 8),
        (40, sections, 8),
        (54, 56, 2),
        (56, segments.len() as u64, 2),
        (58, 64, 2),
        (60, 3, 2),
    ] {
        file[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
    }
    file
}

/// Entries and names of absolute symbols, the null entry first.
fn symbol_table(symbols: &[(&str, u64)]) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut table) = (vec![0u8], vec![0u8; 24]);
    for (name, value) in symbols {
        table.extend_from_slice(&(names.len() as u32).to_le_bytes());
        table.extend_from_slice(&[0x10, 0, 0xf1, 0xff]);
        table.extend_from_slice(&value.to_le_bytes());
        table.extend_from_slice(&[0; 8]);
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    (table, names)
}

/// An EL2 binary with the symbols of its linker script; `change` alters or, with `None`, drops one.
pub fn hypervisor(change: Option<(&str, Option<u64>)>) -> Vec<u8> {
    hypervisor_at(IMAGE_BASE, 3, change)
}

/// The same for a board with that image base and interrupt controller.
pub fn hypervisor_at(base: u64, gic: u64, change: Option<(&str, Option<u64>)>) -> Vec<u8> {
    let mut text = vec![0xaa; 5000];
    text[56..60].copy_from_slice(b"ARM\x64");
    let end = base + 0x5000;
    let mut symbols = vec![
        ("__blueprint_version", u64::from(VERSION)),
        ("__abi_version", u64::from(ABI_VERSION)),
        ("__gic_version", gic),
        ("__spectre_bhb", 0),
        ("__text_start", base),
        ("__text_end", base + 0x2000),
        ("__rodata_start", base + 0x2000),
        ("__rodata_end", base + 0x3000),
        ("__data_start", base + 0x3000),
        ("__el2_end", end),
        ("__state_bytes", 0x100),
        ("__partition_bytes", 0x1000),
        ("__vcpu_bytes", 0x800),
    ];
    if let Some((name, value)) = change {
        symbols.retain(|(known, _)| *known != name);
        symbols.extend(value.map(|v| (name, v)));
    }
    let segments: [Segment<'_>; 3] = [
        (base, &text, 0x2000, 5),
        (base + 0x2000, &[0xbb; 100], 100, 4),
        (base + 0x3000, &[0xcc; 64], end - base - 0x3000, 6),
    ];
    elf(base, &segments, &symbols)
}

/// A loader of two pages.
pub fn loader_elf() -> Vec<u8> {
    elf(loader::LOADER_IPA, &[(loader::LOADER_IPA, &[0xdd; 6000], 6000, 5)], &[])
}

/// A payload at `base`: code, constants, data with .bss, at bounds that are no multiple of 16.
pub fn payload_elf(base: u64) -> Vec<u8> {
    let segments: [Segment<'_>; 3] = [
        (base, &[0x11; 4097], 4097, 5),
        (base + 0x2000, &[0x22; 77], 77, 4),
        (base + 0x3008, &[0x33; 33], 0x4000, 6),
    ];
    elf(base + 4, &segments, &[])
}

/// An arm64 Image of `bytes` that claims `image_size`.
pub fn arm64_image(bytes: usize, image_size: u64) -> Vec<u8> {
    let mut file: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    file[8..16].fill(0);
    file[16..24].copy_from_slice(&image_size.to_le_bytes());
    file[24] = 0xa;
    file[56..60].copy_from_slice(b"ARM\x64");
    file
}

/// A directory with a configuration, binaries and payloads.
pub struct Workshop {
    directory: tempfile::TempDir,
}

impl Workshop {
    /// EL2, loader and the payloads of the demo.
    pub fn new() -> Workshop {
        let shop = Workshop { directory: tempfile::tempdir().expect("a temporary directory") };
        shop.put("hv.elf", &hypervisor(None));
        shop.put("loader.elf", &loader_elf());
        shop.put("rtos.elf", &payload_elf(0x4020_0000));
        shop.put("monitor.elf", &payload_elf(0x4020_0000));
        shop.put("linux/Image", &arm64_image(3_000_001, 3_500_000));
        shop.put("linux/initramfs.cpio.gz", &vec![0x77; 1_000_003]);
        shop
    }

    /// The same with payloads that are hashed quickly, and the fragments of `config/bad`.
    pub fn small() -> Workshop {
        let shop = Workshop::new();
        shop.put("linux/Image", &arm64_image(60_001, 70_000));
        shop.put("linux/initramfs.cpio.gz", &[0x77; 10_003]);
        for file in ["good.dtsi", "shared.dtsi", "payload.bin"] {
            shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
        }
        shop
    }

    /// The demo on a board with GICv2.
    pub fn demo_on_gic_v2(&self) -> Image {
        self.put("hv.elf", &hypervisor(Some(("__gic_version", Some(2)))));
        let demo = std::fs::canonicalize("../examples/demo.dts").expect("the demo");
        let text = format!(
            "/include/ \"{}\"\n&gic {{ compatible = \"arm,cortex-a15-gic\"; reg = <0x0 0x08000000 0x0 0x10000>, \
             <0x0 0x08010000 0x0 0x10000>, <0x0 0x08030000 0x0 0x10000>, <0x0 0x08040000 0x0 0x10000>; }};\n",
            demo.display()
        );
        self.build_text(&text).unwrap_or_else(|f| panic!("{f}")).1
    }

    /// The same for a Raspberry Pi 4.
    pub fn rpi4() -> Workshop {
        let shop = Workshop::new();
        shop.put("hv.elf", &hypervisor_at(0x20_0000, 2, None));
        shop.put("linux-boards/Image", &arm64_image(3_000_001, 3_500_000));
        shop.put("linux-boards/initramfs.cpio.gz", &[0x77; 1003]);
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, bytes).expect("a file");
    }

    fn request(&self, config: &Path) -> BuildRequest {
        BuildRequest {
            config: config.to_path_buf(),
            hv_elf: self.path("hv.elf"),
            loader_elf: self.path("loader.elf"),
            payload_dirs: vec![self.directory.path().to_path_buf()],
            output: self.path("out/image.img"),
        }
    }

    pub fn try_build(&self, config: &Path) -> Result<(BuildReport, Image), Failure> {
        let request = self.request(config);
        let report = build(&request)?;
        let bytes = std::fs::read(&request.output).expect("the image");
        Ok((report, Image::new(&bytes)))
    }

    /// Builds a configuration that is good.
    pub fn build(&self, config: &Path) -> (BuildReport, Image) {
        self.try_build(config).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Builds the text of a configuration.
    pub fn build_text(&self, text: &str) -> Result<(BuildReport, Image), Failure> {
        self.put("main.dts", text.as_bytes());
        self.try_build(&self.path("main.dts"))
    }
}

/// A mapped page or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    pub input: u64,
    pub output: u64,
    pub bytes: u64,
    pub bits: u64,
}

impl Leaf {
    /// S2AP write permission.
    pub fn guest_writes(&self) -> bool {
        self.bits & 0x80 != 0
    }

    /// Stage-1 AP[2] clear.
    pub fn el2_writes(&self) -> bool {
        self.bits & 0x80 == 0
    }

    pub fn executes(&self) -> bool {
        self.bits >> 53 & 3 == 0
    }

    /// The physical pages.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        (self.output..self.output + self.bytes).step_by(PAGE as usize)
    }
}

/// A packed image.
pub struct Image {
    words: Vec<u64>,
    length: usize,
}

impl Image {
    pub fn new(bytes: &[u8]) -> Image {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Image { words, length: bytes.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }

    /// Bytes from a physical address on.
    pub fn at(&self, address: u64, bytes: u64) -> &[u8] {
        let start = (address - IMAGE_BASE) as usize;
        &self.bytes()[start..start + bytes as usize]
    }

    pub fn blueprint_at(&self) -> u64 {
        IMAGE_BASE + 0x5000
    }

    pub fn blueprint(&self) -> Blueprint<'_> {
        let start = (self.blueprint_at() - IMAGE_BASE) as usize;
        Blueprint::parse(&self.bytes()[start..]).expect("a blueprint that EL2 takes")
    }

    pub fn header(&self) -> &Header {
        self.blueprint().header
    }

    /// Everything that the tables at `root` map.
    pub fn leaves(&self, root: u64) -> Vec<Leaf> {
        let mut out = Vec::new();
        self.descend(root, 1, 0, &mut out);
        out
    }

    fn descend(&self, table: u64, level: u32, base: u64, out: &mut Vec<Leaf>) {
        let sealed = self.blueprint_at()..self.header().sealed_end;
        assert!(sealed.contains(&table), "a table at {table:#x} is not sealed");
        let entries = <[u64]>::ref_from_bytes(self.at(table, PAGE)).expect("a table");
        let span = PAGE << (9 * (3 - level));
        for (index, entry) in entries.iter().enumerate().filter(|(_, e)| **e != 0) {
            let input = base + index as u64 * span;
            let output = entry & 0x0000_ffff_ffff_f000;
            match (level, entry & 3) {
                (1 | 2, 3) => self.descend(output, level + 1, input, out),
                (2, 1) | (3, 3) => {
                    out.push(Leaf { input, output, bytes: span, bits: entry & !0x0000_ffff_ffff_f000 })
                }
                _ => panic!("entry {entry:#x} at level {level}"),
            }
        }
    }
}

/// Finds what an address maps to.
pub struct View(BTreeMap<u64, Leaf>);

impl View {
    pub fn new(leaves: &[Leaf]) -> View {
        View(leaves.iter().map(|l| (l.input, *l)).collect())
    }

    pub fn leaf(&self, input: u64) -> Option<Leaf> {
        let (_, leaf) = self.0.range(..=input).next_back()?;
        (input < leaf.input + leaf.bytes).then_some(*leaf)
    }

    pub fn physical(&self, input: u64) -> Option<u64> {
        self.leaf(input).map(|l| l.output + (input - l.input))
    }
}
