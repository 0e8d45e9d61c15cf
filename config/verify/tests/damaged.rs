//! Foreign bytes: whatever is done to an image, the verifier answers in bounded time and memory, and names damage.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_abi::info::fixed;
use bulkhead_blueprint::layout::{self, VERSION, partition_flags};
use bulkhead_blueprint::{Blueprint, Defect};
use bulkhead_verify::against::tree;
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::{System, static_info};
use bulkhead_verify::{Image, Unreadable, verify};
use common::Workshop;
use proptest::prelude::*;
use std::path::Path;
use std::sync::OnceLock;
use zerocopy::IntoBytes;

fn demo() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let shop = Workshop::small();
        shop.build(Path::new("../examples/demo.dts")).1.bytes().to_vec()
    })
}

/// Offset of the blueprint in the demo.
fn blueprint_at() -> usize {
    let image = Image::from_bytes(demo());
    let view = image.open().expect("a good image");
    (view.blueprint_at - view.header().image_base) as usize
}

#[test]
fn truncated_foreign_and_mishashed_images_have_names() {
    let refused = |bytes: &[u8]| verify(&Image::from_bytes(bytes)).err();
    let at = blueprint_at();
    assert_eq!(refused(&[]), Some(Unreadable::NotAnImage));
    assert_eq!(refused(&[0; 100_000]), Some(Unreadable::NotAnImage));
    assert_eq!(refused(&demo()[..at]), Some(Unreadable::NoBlueprint));
    assert_eq!(refused(&demo()[..at + 4096]), Some(Unreadable::Blueprint(Defect::Truncated)));
    let (expected, found) = (demo().len() as u64, demo().len() as u64 - 1);
    assert_eq!(refused(&demo()[..demo().len() - 1]), Some(Unreadable::Truncated { expected, found }));
    let mut other = demo().to_vec();
    other[at + 40] = VERSION as u8 + 1;
    assert_eq!(refused(&other), Some(Unreadable::Blueprint(Defect::Version)));
    let mut moved = demo().to_vec();
    moved[at + 144 + 5] ^= 1;
    assert!(matches!(refused(&moved), Some(Unreadable::Misplaced { .. })), "{:?}", refused(&moved));
    for offset in [0x100, at + 3] {
        let mut bytes = demo().to_vec();
        bytes[offset] ^= 1;
        let report = verify(&Image::from_bytes(&bytes)).expect("an image");
        let claims: Vec<&str> = report.findings().map(|f| f.claim).collect();
        assert_eq!(claims, ["VFY-001"], "byte {offset:#x}");
    }
    let mut payload = demo().to_vec();
    let last = payload.iter().rposition(|b| *b == 0x77).expect("a byte of the initramfs");
    payload[last] ^= 1;
    let report = verify(&Image::from_bytes(&payload)).expect("an image");
    assert_eq!(report.findings().map(|f| f.claim).collect::<Vec<_>>(), ["VFY-002"]);
    let missing = Image::read(Path::new("no-such-image")).err();
    assert!(missing.is_some_and(|e| e.to_string().contains("no-such-image")));
}

#[test]
fn a_cycle_of_tables_is_named_and_ends() {
    let image = Image::from_bytes(demo());
    let view = image.open().expect("good");
    let base = view.header().image_base;
    let root = view.blueprint.partitions[0].stage2_root;
    let mut bytes = demo().to_vec();
    let table = (root - base) as usize;
    bytes[table + 8 * 300..table + 8 * 301].copy_from_slice(&(root | 3).to_le_bytes());
    let report = verify(&Image::from_bytes(&bytes)).expect("an image");
    assert!(report.findings().any(|f| f.message.contains("reached twice")), "{}", report.to_text());
}

/// The words that decide about partition 0's clock, changed: its flags, and what its information page says.
fn with_clock(image: &Image, flags: u32, told: u32) -> Image {
    let mut bytes = image.bytes().to_vec();
    let view = image.open().expect("a good image");
    let system = System::gather(&view);
    let part = &system.partitions[0];
    let info = static_info(&view, part.record, &part.run.mapped).expect("its page");
    let offset = |of: &[u8]| of.as_ptr() as usize - image.bytes().as_ptr() as usize;
    let flags_at = offset(part.record.as_bytes()) + std::mem::offset_of!(layout::Partition, flags);
    bytes[flags_at..flags_at + 4].copy_from_slice(&(part.record.flags | flags).to_le_bytes());
    let page = offset(info) + fixed::CLOCK - fixed::START;
    bytes[page..page + 4].copy_from_slice(&told.to_le_bytes());
    Image::from_bytes(&bytes)
}

#[test]
fn a_clock_that_stands_still_is_one_of_one_vcpu_without_stolen_time() {
    use partition_flags::{EXECUTION_CLOCK, PV_TIME};
    let shop = Workshop::small();
    let build = |change: &str| {
        let text = format!("/dts-v1/;\n/include/ \"good.dtsi\"\n&a {{ {change} }};\n");
        Image::from_bytes(shop.build_text(&text).unwrap_or_else(|f| panic!("{f}")).1.bytes())
    };
    let failed = |image: &Image| -> String {
        let view = image.open().expect("an image");
        let outcomes = judge(&System::gather(&view), Depth::WithoutDigest);
        let all = outcomes.iter().flat_map(|c| &c.findings);
        all.map(|f| format!("{} {} ({})\n", f.claim, f.found, f.expected)).collect()
    };
    let (one, two) = (build(""), build("cpus = <&cpus 0x5 0x1>;"));
    assert_eq!(failed(&build("bulkhead,clock = \"execution\";")), "");
    assert_eq!(failed(&with_clock(&one, EXECUTION_CLOCK, 1)), "");
    assert_eq!(failed(&with_clock(&one, EXECUTION_CLOCK, 0)), "VFY-062 0 (1)\n");
    assert_eq!(failed(&with_clock(&one, 0, 1)), "VFY-062 1 (0)\n");
    assert_eq!(failed(&with_clock(&two, EXECUTION_CLOCK, 1)), "VFY-062 2 vCPUs (one vCPU)\n");
    let both = failed(&with_clock(&one, EXECUTION_CLOCK | PV_TIME, 1));
    assert_eq!(both, "VFY-062 stolen time beside it (one of the two)\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bursts_of_damage_end_in_an_answer(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 8]>(), 0u8..4), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = demo().to_vec();
        let (start, end) = (blueprint_at(), bytes.len());
        for (place, value, kind) in edits {
            // Half of the damage falls on the blueprint, on whole words of few values that pass for counts.
            let span = if kind < 2 { start + 40..start + 0x4000 } else { 0..end };
            let at = (span.start + place.index(span.len() - 8)) & !7;
            let value = if kind == 0 { u64::from(value[0]).to_le_bytes() } else { value };
            bytes[at..at + 8].copy_from_slice(&value);
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        if let Ok(report) = verify(&Image::from_bytes(&bytes)) {
            let kept = report.findings().count();
            prop_assert!(kept <= 20 * report.claims.len());
        }
    }

    #[test]
    fn no_bytes_make_the_blueprint_decoder_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..60),
        length in any::<prop::sample::Index>(),
    ) {
        let at = blueprint_at();
        let mut words: Vec<u64> =
            demo()[at..at + 0x8000].chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight"))).collect();
        for (place, value) in edits {
            let slot = 5 + place.index(words.len() - 5);
            words[slot] = words[slot] & !0xffff_ffff | u64::from(value);
        }
        words.truncate(length.index(words.len()) + 1);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let image = Image::from_bytes(&bytes);
        let _ = Blueprint::parse(image.bytes()).map(|b| b.reaches(image.bytes()).map(<[_]>::len));
    }

    #[test]
    fn no_blob_makes_the_tree_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = tree::parse(&bytes);
        let mut header = vec![0xd0, 0x0d, 0xfe, 0xed];
        header.extend(&bytes);
        let _ = tree::parse(&header);
    }
}
