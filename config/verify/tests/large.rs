//! An image whose tables map 8 GiB in pages of 4 KiB is verified within the time that the project promises.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_verify::{Image, verify};
use common::Workshop;

/// Descriptors of 8 GiB in pages of 4 KiB, at run time and for the loader.
const LEAVES: u64 = 2 * (8 << 30 >> 12);

/// Time is printed, not judged: the promise of 0.5 s is for an optimised build on an idle core
/// (`cargo test --release -p bulkhead-verify --test large -- --nocapture`).
#[test]
fn eight_gibibytes_in_pages_are_walked_in_one_piece() {
    let shop = Workshop::new();
    shop.put("payload.bin", &std::fs::read("../bad/payload.bin").expect("a payload"));
    // IPA and PA differ modulo 2 MiB, so that no block can be used; RAM that holds it all.
    let good = std::fs::read_to_string("../bad/good.dtsi").expect("a file");
    let memory = "memory = <0x0 0x40000000 0x0 0x800000>";
    assert!(good.contains(memory));
    let large = "memory = <0x1 0x00000000 0x2 0x00000000>; bulkhead,memory-pa = <0x1 0x00001000>";
    let load = good.replacen(memory, large, 1).replacen("<0x0 0x40080000>", "<0x1 0x00080000>", 2);
    shop.put("good.dtsi", load.as_bytes());
    let text = "/dts-v1/;\n/include/ \"good.dtsi\"\n/ { memory@100000000 { device_type = \"memory\"; \
                reg = <0x1 0x00000000 0x2 0x00100000>; }; };\n";
    let (_, packed) = shop.build_text(text).unwrap_or_else(|f| panic!("{f}"));
    let image = Image::from_bytes(packed.bytes());
    let start = std::time::Instant::now();
    let report = verify(&image).unwrap_or_else(|e| panic!("{e}"));
    println!(
        "8 GiB in 4 KiB pages: {} ms, image {} MiB",
        start.elapsed().as_millis(),
        packed.bytes().len() >> 20
    );
    let failing: Vec<_> = report.findings().take(3).collect();
    assert!(failing.is_empty(), "{failing:?}");
    let tables = report.claims.iter().find(|c| c.id == "VFY-010").expect("the claim");
    assert!(tables.examined > LEAVES, "{} descriptors", tables.examined);
    assert!(report.partitions.iter().any(|p| p.run.iter().any(|m| m.bytes == 8 << 30)), "one stretch");
}
