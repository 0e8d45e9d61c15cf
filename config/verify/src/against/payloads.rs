//! Pristine payloads: what each partition starts with, byte by byte, and the files that the configuration names.
//!
//! Source of the placement: ELF program headers (System V ABI), Linux `Documentation/arch/arm64/booting.rst`. The
//! generated device tree has no file: what of it a configuration says (memory, bootargs, initrd) is compared.

use super::tree::{self, Node};
use super::wanted::Partition;
use super::{Sides, part};
use crate::claims::Ledger;
use crate::ranges::{Range, minus, show, union};
use crate::system::{Part, long, physical, word};
use crate::walk::Mapped;
use bulkhead_blueprint::layout::{Reach, reach, rights};
use std::path::PathBuf;

/// Blocks of 2 MiB, to which an arm64 Image is aligned (booting.rst).
const BLOCK: u64 = 2 << 20;
/// Offset of an Image whose header has no `image_size` (booting.rst).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// Bytes that a loader copies at once: bounds of a copy are padded to it with zeros.
const UNIT: u64 = 16;

/// Bytes that lie at an address of a partition.
struct Piece {
    what: String,
    at: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn range(&self) -> Range {
        Range::of(self.at, self.bytes.len() as u64)
    }
}

/// What a loader copies: destination and pristine bytes.
type Copies<'a> = Vec<(Range, &'a [u8])>;

/// One partition's comparison.
struct Start<'a, 's> {
    sides: &'s Sides<'a>,
    part: &'s Part<'a>,
    copies: Copies<'a>,
    pieces: Vec<Piece>,
    ledger: &'s mut Ledger,
}

pub fn contents(sides: &Sides<'_>, ledger: &mut Ledger) {
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        let sources = part.list.iter().flatten().filter(|e| e.source != 0);
        let copies: Copies<'_> = sources
            .filter_map(|e| {
                let from = Range::of(e.source, e.destination.bytes());
                Some((e.destination, physical(sides.system.view, &part.load.mapped, from)?))
            })
            .collect();
        let mut start = Start { sides, part, copies, pieces: Vec::new(), ledger };
        start.image(wanted.node);
        start.initrd(wanted.node);
        start.tree(wanted);
        start.regions(wanted.node);
        start.segments(wanted.node);
        start.judge();
    }
}

impl Start<'_, '_> {
    /// The bytes of a file that a property names; `None` if there is none, or it cannot be found, which is a finding.
    fn file(&mut self, node: &Node, property: &str) -> Option<Vec<u8>> {
        let written = node.text(property)?;
        let directories: &[PathBuf] = self.sides.payloads.unwrap_or_default();
        let bytes = directories.iter().find_map(|d| std::fs::read(d.join(&written)).ok());
        if bytes.is_none() {
            let message = format!("payload {written} of {}", self.part.name);
            self.ledger.fail(message, "no such file", "the file, in a directory that --payloads names");
        }
        bytes
    }

    fn expect(&mut self, what: &str, at: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.pieces.push(Piece { what: format!("{what} of {}", self.part.name), at, bytes });
        }
    }

    fn image(&mut self, node: &Node) {
        let Some(bytes) = self.file(node, "bulkhead,image") else { return };
        let first = |property: &str| node.wides(property).first().copied();
        let (entry, code, segments) = match bytes.get(..4) {
            Some(b"\x7fELF") => elf(&bytes).unwrap_or_default(),
            _ if bytes.get(56..60) == Some(b"ARM\x64") => {
                let offset = match (long(&bytes, 8), long(&bytes, 16)) {
                    (Some(offset), Some(1..)) => offset,
                    _ => OLD_TEXT_OFFSET,
                };
                let ram = first("memory").unwrap_or(0).checked_next_multiple_of(BLOCK).unwrap_or(0);
                let at = ram.saturating_add(offset);
                (at, None, vec![(at, bytes)])
            }
            _ => {
                let entry = first("bulkhead,entry").unwrap_or(0);
                (entry, None, vec![(first("bulkhead,load").unwrap_or(0), bytes)])
            }
        };
        self.rights(code);
        let found = self.part.record.entry;
        if found != entry {
            let message = format!("first instruction of {}", self.part.name);
            self.ledger.fail(message, format!("{found:#x}"), format!("{entry:#x}"));
        }
        segments.into_iter().for_each(|(at, bytes)| self.expect("the image", at, bytes));
    }

    /// Where the file's format tells code, that is executable and not writable, and the rest of the memory the reverse;
    /// else all of it is both.
    fn rights(&mut self, code: Option<Vec<Range>>) {
        let memory = self.part.declared(&[reach::MEMORY]);
        let outside = |ranges: &[Range]| minus(&memory, ranges);
        let executed = code.map_or_else(|| memory.clone(), |code| outside(&outside(&union(code))));
        let written = if executed == memory { memory.clone() } else { outside(&executed) };
        let of = |holds: fn(&Mapped) -> bool| {
            let list = self.part.run.mapped.iter().filter(|m| holds(m));
            outside(&outside(&union(list.map(Mapped::inputs).collect())))
        };
        let found = [
            ("executable", of(|m| m.access.execute), executed),
            ("writable", of(|m| m.access.write), written),
        ];
        for (what, found, expected) in found {
            if found != expected {
                let message = format!("{what} memory of {}", self.part.name);
                self.ledger.fail(message, show(&found), show(&expected));
            }
        }
    }

    /// The initrd lies where the compiler found room: a copy begins with it, and nothing else does.
    fn initrd(&mut self, node: &Node) {
        let Some(bytes) = self.file(node, "bulkhead,initrd") else { return };
        let place = self.copies.iter().find(|(_, copy)| copy.starts_with(&bytes)).map(|(at, _)| at.start);
        match place {
            Some(at) => self.expect("the initrd", at, bytes),
            None => self.missing("the initrd"),
        }
    }

    fn missing(&mut self, what: &str) {
        let message = format!("{what} of {}", self.part.name);
        self.ledger.fail(message, "no pristine bytes like the file's", "the file, byte by byte");
    }

    fn tree(&mut self, wanted: &Partition<'_>) {
        let at = self.part.record.entry_x0;
        if wanted.node.flag("bulkhead,dtb") {
            if let Some(bytes) = self.file(wanted.node, "bulkhead,dtb") {
                self.expect("the device tree", at, bytes);
            }
            return;
        }
        let holder = self.copies.iter().find(|(range, _)| range.contains(&Range::of(at, 8)));
        let blob = holder.and_then(|(range, bytes)| bytes.get((at - range.start) as usize..));
        // Offset 4 of the header: totalsize, big-endian (devicetree specification 0.4, 5.2).
        let length = blob.and_then(|b| word(b, 4)).map_or(0, |size| size.swap_bytes() as usize);
        let Some(blob) = blob.and_then(|b| b.get(..length)) else { return self.missing("the device tree") };
        match tree::parse(blob) {
            Ok(root) => self.told(&root, wanted),
            Err(reason) => self.ledger.fail(format!("device tree of {}", self.part.name), reason, "a tree"),
        }
        self.expect("the device tree", at, blob.to_vec());
    }

    /// What the generated tree tells the guest: its memory, its command line, its initrd.
    fn told(&mut self, root: &Node, wanted: &Partition<'_>) {
        let name = &self.part.name;
        let memory = root.children.iter().filter(|n| n.text("device_type").as_deref() == Some("memory"));
        let told: Vec<Range> =
            memory.flat_map(|n| n.wides("reg")).collect::<Vec<_>>().chunks_exact(2).map(pair).collect();
        let own = union(wanted.memory().into_iter().map(|(range, _)| range).collect());
        if union(told.clone()) != own {
            let message = format!("memory in the device tree of {name}");
            self.ledger.fail(message, show(&told), show(&own));
        }
        let chosen = root.child("chosen");
        let text = |node: Option<&Node>, property: &str| node.and_then(|n| n.text(property));
        let (found, expected) = (text(chosen, "bootargs"), wanted.node.text("bulkhead,bootargs"));
        if found != expected {
            let message = format!("command line in the device tree of {name}");
            self.ledger.fail(message, format!("{found:?}"), format!("{expected:?}"));
        }
        let address = |property: &str| chosen.and_then(|n| n.wides(property).first().copied());
        let range = |(start, end)| Range { start, end };
        let told = address("linux,initrd-start").zip(address("linux,initrd-end")).map(range);
        let placed = self.pieces.iter().find(|p| p.what.starts_with("the initrd")).map(Piece::range);
        if told != placed {
            let message = format!("initrd in the device tree of {name}");
            self.ledger.fail(message, format!("{told:x?}"), format!("{placed:x?}"));
        }
    }

    fn regions(&mut self, node: &Node) {
        for region in node.list("regions") {
            if let Some(bytes) = self.file(region, "file") {
                self.filled(region, reach::REGION, bytes);
            }
        }
    }

    /// A file that fills a region, or a segment that this partition writes.
    fn filled(&mut self, node: &Node, kind: u32, bytes: Vec<u8>) {
        let candidates = self.candidates(node, kind);
        let copied =
            |ipa: u64| self.copies.iter().any(|(range, copy)| range.start == ipa && copy.starts_with(&bytes));
        match candidates.iter().find(|r| copied(r.ipa)).map(|r| r.ipa) {
            Some(at) => self.expect(&node.name, at, bytes),
            None => self.missing(&node.name),
        }
    }

    /// Declared stretches that may be this region or segment: the blueprint does not name them.
    fn candidates(&self, node: &Node, kind: u32) -> Vec<Reach> {
        let size = node.wides("size").first().copied().unwrap_or(0);
        let at = node.wides("at").first().copied();
        let fits = |r: &&&Reach| {
            r.kind == kind && r.bytes == super::wanted::pages(size) && at.is_none_or(|at| at == r.ipa)
        };
        self.part.reaches.iter().filter(fits).map(|r| **r).collect()
    }

    fn segments(&mut self, own: &Node) {
        let sides = self.sides;
        let names =
            |list: Vec<u32>| list.iter().any(|p| sides.index.node(*p).is_some_and(|n| n.name == own.name));
        for segment in sides.root.list("segments") {
            let (written, read) = (names(segment.cells("writer")), names(segment.cells("readers")));
            let constant = read && !segment.flag("writer");
            if !written && !constant {
                continue;
            }
            let Some(bytes) = self.file(segment, "file") else { continue };
            if written {
                self.filled(segment, reach::SEGMENT, bytes);
                continue;
            }
            self.ledger.examined(bytes.len() as u64, "bytes");
            let found = self.candidates(segment, reach::SEGMENT).into_iter().any(|r| {
                let held = sides.system.view.at(Range::of(r.pa, r.bytes)).unwrap_or_default();
                let (head, tail) = held.split_at(bytes.len().min(held.len()));
                r.rights & rights::WRITE == 0 && head == bytes && tail.iter().all(|b| *b == 0)
            });
            if !found {
                self.missing(&segment.name);
            }
        }
    }

    /// Every piece is copied as it is, and nothing else is copied.
    fn judge(self) {
        let ledger = self.ledger;
        for piece in &self.pieces {
            ledger.examined(piece.bytes.len() as u64, "bytes");
            let holder = self.copies.iter().find(|(range, _)| range.contains(&piece.range()));
            let Some((range, copy)) = holder else {
                ledger.fail(piece.what.clone(), format!("nothing copied to {}", piece.range()), "the file");
                continue;
            };
            let held = &copy[(piece.at - range.start) as usize..][..piece.bytes.len()];
            if let Some(offset) = held.iter().zip(&piece.bytes).position(|(a, b)| a != b) {
                let found = format!("{:#04x} at byte {offset:#x}", held[offset]);
                ledger.fail(piece.what.clone(), found, format!("{:#04x}", piece.bytes[offset]));
            }
        }
        let known = union(self.pieces.iter().map(Piece::range).collect());
        for (range, copy) in &self.copies {
            for hole in minus(&[*range], &known) {
                let bytes = &copy[(hole.start - range.start) as usize..][..hole.bytes() as usize];
                if hole.bytes() >= 2 * UNIT || bytes.iter().any(|b| *b != 0) {
                    let message = format!("{} starts with bytes of no file", self.part.name);
                    ledger.fail(message, hole, "files of the configuration, padded with zeros");
                }
            }
        }
    }
}

fn pair(cells: &[u64]) -> Range {
    Range::of(cells[0], cells[1])
}

/// Entry of an executable, the pages of its code, and what it loads: address and bytes of each segment.
type Executable = (u64, Option<Vec<Range>>, Vec<(u64, Vec<u8>)>);

/// Reads an executable: `e_entry`, `p_paddr` and the file's bytes of each PT_LOAD segment, and the pages in memory of those
/// with PF_X.
fn elf(bytes: &[u8]) -> Option<Executable> {
    const PT_LOAD: u32 = 1;
    const PF_X: u32 = 1;
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (table, stride, count) = (long(bytes, 32)?, half(54)?, half(56)?);
    let (mut out, mut code) = (Vec::new(), Vec::new());
    for number in 0..u64::from(count) {
        let at = usize::try_from(table.checked_add(number * u64::from(stride))?).ok()?;
        if word(bytes, at)? == PT_LOAD {
            let field = |offset: usize| long(bytes, at.checked_add(offset)?);
            let (offset, address, length) = (field(8)?, field(24)?, field(32)?);
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            if word(bytes, at.checked_add(4)?)? & PF_X != 0 {
                code.push(Range::of(address, field(40)?).to_pages());
            }
            out.push((address, bytes.get(start..end)?.to_vec()));
        }
    }
    Some((long(bytes, 24)?, Some(code), out))
}
