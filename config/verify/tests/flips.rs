//! Single bits of tables and blueprint are flipped; each flip is reported, or nobody reaches anything else than before.
//!
//! The digest cannot mask anything: it is left out of the judgement in the bulk, and recomputed over each damaged
//! image in a sample that goes through the whole verifier. "Reaches" is decided by the walk written here, which knows
//! descriptors only by their raw bits.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::System;
use bulkhead_verify::{Image, verify};
use common::Workshop;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;

/// Flips in each image: five images, 125,000 in all.
const FLIPS: u64 = 25_000;
/// Flips of each image that are sealed anew and verified in full.
const SEALED_FLIPS: u64 = 400;

/// xorshift64*, seeded: the same flips in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

/// Whole images: the demo, the demo on GICv2, shared CPUs in two plans, regions and segments, two small partitions.
fn images() -> Vec<(&'static str, Image)> {
    let shop = Workshop::small();
    let (_, demo) = shop.build(Path::new("../examples/demo.dts"));
    shop.put("table.bin", &[7; 5000]);
    let build = |text: &str| {
        let (_, image) = shop.build_text(text).unwrap_or_else(|f| panic!("{f}"));
        Image::from_bytes(image.bytes())
    };
    let small = build("/dts-v1/;\n/include/ \"good.dtsi\"\n");
    let shared = build("/dts-v1/;\n/include/ \"shared.dtsi\"\n");
    let extras = build(
        "/dts-v1/;\n/include/ \"good.dtsi\"\n&a { regions { table { size = <0x0 0x3000>; rights = \"r\"; file = \
         \"table.bin\"; }; }; };\n/ { segments { maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; file = \
         \"table.bin\"; readers = <&a &b>; }; board { compatible = \"bulkhead,segment\"; size = <0x0 0x1000>; readers = \
         <&a>; writer = <&b>; }; }; };\n",
    );
    let gic2 = Image::from_bytes(shop.demo_on_gic_v2().bytes());
    let demo = Image::from_bytes(demo.bytes());
    vec![("demo", demo), ("gic2", gic2), ("shared", shared), ("extras", extras), ("small", small)]
}

/// Offsets of the blueprint and of all tables, and the offset where the hashed part ends.
fn targets(image: &Image) -> (Range<u64>, Vec<u64>, u64) {
    let view = image.open().expect("a good image");
    let base = view.header().image_base;
    let at = view.blueprint_at - base;
    // The digest itself is no target: it is recomputed.
    let blueprint = at + 32..at + u64::from(view.header().total_bytes);
    let system = System::gather(&view);
    let tables = system.visited.keys().map(|t| t - base).collect();
    (blueprint, tables, view.header().hashed_end - base)
}

/// Every valid leaf that a walk of the hardware could use, with all its bits, and who owns which interrupt.
fn relation(image: &Image) -> Vec<(u64, u64, u64)> {
    let view = image.open().expect("an image");
    let header = view.header();
    let mut roots = vec![header.el2_root];
    roots.extend(view.blueprint.partitions.iter().flat_map(|p| [p.stage2_root, p.loader_root]));
    let mut out = Vec::new();
    for (number, root) in (0u64..).zip(roots) {
        leaves(&view, root, 1, 0, &mut |input, entry| out.push((number, input, entry)));
    }
    for (index, p) in (0u64..).zip(view.blueprint.partitions) {
        out.extend((0u64..).zip(p.irq_owned).map(|(word, bits)| (1000 + index, word, u64::from(bits))));
    }
    out.extend((0u64..).zip(view.blueprint.routes).map(|(intid, r)| (2000, intid, u64::from(r.owner))));
    out
}

fn leaves(
    view: &bulkhead_verify::image::View<'_>,
    table: u64,
    level: u32,
    base: u64,
    out: &mut impl FnMut(u64, u64),
) {
    let entries = view.at(bulkhead_verify::ranges::Range::of(table, 4096)).unwrap_or_default();
    for (index, bytes) in (0u64..).zip(entries.chunks_exact(8)) {
        let entry = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let input = base + (index << (12 + 9 * (3 - level)));
        match (entry & 3, level) {
            (3, 1 | 2) => leaves(view, entry & 0x0000_ffff_ffff_f000, level + 1, input, out),
            (1 | 3, _) => out(input, entry),
            _ => {}
        }
    }
}

/// Whether the verifier, the image's digest left out, says something.
fn is_reported(image: &Image) -> bool {
    let Ok(view) = image.open() else {
        return true;
    };
    let system = System::gather(&view);
    judge(&system, Depth::WithoutDigest).iter().any(|c| !c.findings.is_empty())
}

/// Recomputes the digest over the damaged image, as who damages it would.
fn seal(image: &mut Image, code: u64, blueprint: u64, hashed_end: u64) {
    let mut hash = Sha256::new();
    hash.update(&image.bytes()[..code as usize]);
    hash.update(&image.bytes()[blueprint as usize + 32..hashed_end as usize]);
    let digest = hash.finalize();
    image.bytes_mut()[blueprint as usize..blueprint as usize + 32].copy_from_slice(&digest);
}

/// One flip in the blueprint for three in the tables; half of the latter in descriptors that are in use.
fn flip(random: &mut Random, image: &Image, blueprint: &Range<u64>, tables: &[u64]) -> (u64, u32) {
    let bit = random.below(8) as u32;
    if random.below(4) == 0 {
        return (blueprint.start + random.below(blueprint.end - blueprint.start), bit);
    }
    let table = tables[random.below(tables.len() as u64) as usize];
    let first = random.below(512);
    let is_used = |slot: &u64| {
        let at = (table + slot * 8) as usize;
        image.bytes()[at..at + 8] != [0; 8]
    };
    let slots = (first..512).chain(0..first);
    let slot = if random.below(2) == 0 { slots.into_iter().find(is_used).unwrap_or(first) } else { first };
    (table + slot * 8 + random.below(8), bit)
}

fn damage(name: &str, good: &Image) {
    let (blueprint, tables, hashed_end) = targets(good);
    let at = blueprint.start - 32;
    let code = System::gather(&good.open().expect("good")).code().bytes();
    let before = relation(good);
    assert!(!is_reported(good), "{name} is not good to begin with");
    let mut image = good.clone();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ hashed_end);
    let mut reported = 0;
    for number in 0..FLIPS {
        let (offset, bit) = flip(&mut random, good, &blueprint, &tables);
        image.bytes_mut()[offset as usize] ^= 1 << bit;
        if is_reported(&image) {
            reported += 1;
        } else {
            assert!(relation(&image) == before, "{name}: bit {bit} of byte {offset:#x} went unnoticed");
        }
        if number < SEALED_FLIPS {
            let digest = image.bytes()[at as usize..at as usize + 32].to_vec();
            seal(&mut image, code, at, hashed_end);
            let found = verify(&image);
            let holds = found.as_ref().is_ok_and(|report| report.holds());
            assert!(
                !holds || relation(&image) == before,
                "{name}: bit {bit} of byte {offset:#x}, sealed anew"
            );
            let mishashed = found.is_ok_and(|r| r.findings().any(|f| f.claim == "VFY-001"));
            // Only a changed extent of what is hashed may still show.
            let is_header =
                (at..at + size_of::<bulkhead_blueprint::layout::Header>() as u64).contains(&offset);
            assert!(!mishashed || is_header, "{name}: the digest of byte {offset:#x} masks");
            image.bytes_mut()[at as usize..at as usize + 32].copy_from_slice(&digest);
        }
        image.bytes_mut()[offset as usize] ^= 1 << bit;
    }
    println!("{name}: {FLIPS} flips, {reported} reported, {} without effect on access", FLIPS - reported);
    assert!(reported > FLIPS / 2, "{name}: only {reported} of {FLIPS} flips were reported");
}

#[test]
fn each_flipped_bit_is_reported_or_changes_nothing_that_anybody_reaches() {
    let images = images();
    std::thread::scope(|scope| {
        for (name, image) in &images {
            scope.spawn(move || damage(name, image));
        }
    });
}
