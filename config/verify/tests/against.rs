//! Images compared with configurations: equal to their own, different from changed ones.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_compile::board::BUILTIN_FILES;
use bulkhead_verify::against::{self, tree};
use bulkhead_verify::{Image, Report};
use common::Workshop;
use std::path::Path;

/// The blob of a source text, with the board files that come with the compiler.
fn blob(shop: &Workshop, text: &str) -> Vec<u8> {
    for (name, content) in BUILTIN_FILES {
        shop.put(&format!("boards/board/{name}"), content.as_bytes());
    }
    shop.put("against.dts", text.as_bytes());
    tree::compile(&shop.path("against.dts"), &[&shop.path("boards")]).unwrap_or_else(|e| panic!("{e}"))
}

fn compare(shop: &Workshop, image: &Image, text: &str) -> Report {
    against::verify(image, "against.dts", &blob(shop, text)).unwrap_or_else(|e| panic!("{e}"))
}

fn failed(report: &Report) -> Vec<&str> {
    let outcomes = &report.against.as_ref().expect("a comparison").claims;
    outcomes.iter().filter(|c| !c.findings.is_empty()).map(|c| c.id).collect()
}

#[test]
fn an_image_equals_its_own_configuration_and_no_changed_one() {
    let shop = Workshop::new();
    let text = std::fs::read_to_string("../examples/demo.dts").expect("the demo");
    let image = Image::from_bytes(shop.build(Path::new("../examples/demo.dts")).1.bytes());
    let report = compare(&shop, &image, &text);
    assert!(report.holds(), "{}", report.to_text());
    let changes = [
        ("id = <2>", "id = <9>", "AGT-001 AGT-005"),
        ("&cpus 0x8 0x1", "&cpus 0x4 0x1", "AGT-001"),
        ("0x0 0x800000>", "0x0 0x801000>", "AGT-002"),
        ("access = <&rtc>;", "access = <&rtc &gpio>;", "AGT-003 AGT-004"),
        ("access = <&rtc>;", "access = <&gpio>;", "AGT-003 AGT-004"),
        ("depth = <32>", "depth = <31>", "AGT-005"),
        ("doorbell;", "", "AGT-005"),
        ("to = <&monitor &linux>;", "to = <&monitor>;", "AGT-005"),
        ("allow = \"status\", \"restart\";", "allow = \"status\";", "AGT-006"),
        ("console-cpu = <&cpu3>", "console-cpu = <&cpu2>", "AGT-008"),
        ("BH-DEMO-1 rev A", "BH-DEMO-1 rev B", "AGT-008"),
    ];
    for (old, new, expected) in changes {
        assert!(text.contains(old), "{old}");
        let report = compare(&shop, &image, &text.replace(old, new));
        assert_eq!(failed(&report).join(" "), expected, "{old} -> {new}");
    }
}

#[test]
fn windows_and_regions_are_compared() {
    let shop = Workshop::new();
    for file in ["good.dtsi", "shared.dtsi", "payload.bin"] {
        shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
    }
    let (good, shared) = ("/dts-v1/;\n/include/ \"good.dtsi\"\n", "/dts-v1/;\n/include/ \"shared.dtsi\"\n");
    let region =
        format!("{good}&a {{ regions {{ heap {{ size = <0x0 0x2000>; rights = \"rw\"; }}; }}; }};\n");
    for text in [shared, &region] {
        let image = Image::from_bytes(shop.build_text(text).unwrap_or_else(|f| panic!("{f}")).1.bytes());
        let report = compare(&shop, &image, text);
        assert!(report.holds(), "{}", report.to_text());
        if text == shared {
            let source = std::fs::read_to_string("../bad/shared.dtsi").expect("a file");
            let later = source.replacen("start-us = <5000>", "start-us = <5001>", 1);
            assert_ne!(source, later, "shared.dtsi has a window at 5 ms");
            shop.put("shared.dtsi", later.as_bytes());
            assert_eq!(failed(&compare(&shop, &image, text)), ["AGT-007"]);
        } else {
            assert_eq!(failed(&compare(&shop, &image, good)), ["AGT-002"]);
            assert_eq!(failed(&compare(&shop, &image, &region.replace("0x2000", "0x3000"))), ["AGT-002"]);
            assert_eq!(failed(&compare(&shop, &image, &region.replace("\"rw\"", "\"r\""))), ["AGT-002"]);
        }
    }
}
