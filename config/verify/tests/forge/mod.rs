//! Changes to the records of a packed image, as who means harm makes them: any value, at its place.

// Each test binary uses its part of this module.
#![allow(dead_code)]

use bulkhead_abi::info::fixed;
use bulkhead_blueprint::layout::{Header, Table};
use bulkhead_verify::Image;
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::ranges::PAGE;
use bulkhead_verify::system::{System, static_info};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Output address of a descriptor.
const OUTPUT: u64 = 0x0000_ffff_ffff_f000;

/// An image and where its blueprint lies in the file.
#[derive(Clone)]
pub struct Forge {
    pub image: Image,
    at: usize,
    base: u64,
}

impl Forge {
    /// From a good image.
    pub fn new(bytes: &[u8]) -> Forge {
        let image = Image::from_bytes(bytes);
        let view = image.open().expect("a good image");
        let base = view.header().image_base;
        let at = (view.blueprint_at - base) as usize;
        Forge { image, at, base }
    }

    /// Offset of a physical address in the file.
    pub fn offset(&self, address: u64) -> usize {
        (address - self.base) as usize
    }

    /// The header.
    pub fn header(&mut self) -> &mut Header {
        let at = self.at;
        Header::mut_from_bytes(&mut self.image.bytes_mut()[at..at + size_of::<Header>()]).expect("a header")
    }

    /// The records of a table.
    pub fn table<T>(&mut self, of: impl Fn(&Header) -> Table) -> &mut [T]
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        let table = of(self.header());
        let from = self.at + table.offset as usize;
        let bytes = table.count as usize * size_of::<T>();
        <[T]>::mut_from_bytes(&mut self.image.bytes_mut()[from..from + bytes]).expect("records")
    }

    /// Where the static information pages of a partition lie in the file.
    fn info(&self, partition: usize) -> usize {
        let view = self.image.open().expect("an image");
        let system = System::gather(&view);
        let part = &system.partitions[partition];
        let info = static_info(&view, part.record, &part.run.mapped).expect("its pages");
        info.as_ptr() as usize - view.file().as_ptr() as usize
    }

    /// Writes a word of a partition's static information pages.
    pub fn tell(&mut self, partition: usize, field: usize, value: u32) {
        let at = self.info(partition) + field - fixed::START;
        self.image.bytes_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Writes a word of an entry of its port table.
    pub fn tell_of_port(&mut self, partition: usize, port: usize, field: usize, value: u32) {
        self.tell(partition, fixed::PORTS + port * fixed::PORT_STRIDE + field, value);
    }

    /// Place of the leaf that translates `input` under a root, and the bytes that it translates.
    fn leaf(&self, root: u64, input: u64) -> (usize, u64) {
        let mut table = root;
        for level in 1..=3 {
            let shift = 12 + 9 * (3 - level);
            let place = self.offset(table) + (input >> shift & 0x1ff) as usize * 8;
            let entry = u64::from_le_bytes(self.image.bytes()[place..place + 8].try_into().expect("eight"));
            assert_eq!(entry & 1, 1, "{input:#x} is not mapped");
            if level == 3 || entry & 2 == 0 {
                return (place, 1 << shift);
            }
            table = entry & OUTPUT;
        }
        unreachable!("level 3 returns")
    }

    /// Changes each descriptor that translates some of `bytes` from `input` on under a root; `change` is told how far behind
    /// `input` it begins.
    pub fn change(&mut self, root: u64, input: u64, bytes: u64, change: impl Fn(u64, u64) -> u64) {
        let mut at = input;
        while at < input + bytes {
            let (place, span) = self.leaf(root, at);
            let slot = &mut self.image.bytes_mut()[place..place + 8];
            let entry = u64::from_le_bytes((&*slot).try_into().expect("eight"));
            slot.copy_from_slice(&change(entry, at - input).to_le_bytes());
            at += span;
        }
    }

    /// Lets `bytes` from `input` on translate to `output` under a root, each descriptor's rights as they are.
    pub fn point(&mut self, root: u64, input: u64, bytes: u64, output: u64) {
        self.change(root, input, bytes, |entry, behind| entry & !OUTPUT | (output + behind));
    }

    /// What stands against a claim, the digest's left out.
    pub fn against(&self, claim: &str) -> Vec<String> {
        let view = self.image.open().unwrap_or_else(|e| panic!("{e}"));
        let outcomes = judge(&System::gather(&view), Depth::WithoutDigest);
        let found = outcomes.iter().filter(|o| o.id == claim).flat_map(|o| &o.findings);
        found.map(|f| format!("{}: {} ({})", f.message, f.found, f.expected)).collect()
    }
}

/// Pages from an address on.
pub fn pages(from: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| from + number * PAGE)
}
