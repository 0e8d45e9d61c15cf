//! Images compared with configurations: equal to their own, different from changed ones.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_compile::board::{BUILTIN_BOARDS, BUILTIN_FILES};
use bulkhead_verify::against::{self, Configuration, tree};
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
    let blob = blob(shop, text);
    let payloads = [shop.path("")];
    let configuration =
        Configuration { file: "against.dts", blob: &blob, payloads: Some(&payloads), boards: BUILTIN_BOARDS };
    against::verify(image, &configuration).unwrap_or_else(|e| panic!("{e}"))
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
        ("0x0 0x800000>", "0x0 0x801000>", "AGT-002 AGT-012"),
        ("access = <&rtc>;", "access = <&rtc &gpio>;", "AGT-003 AGT-004"),
        ("access = <&rtc>;", "access = <&gpio>;", "AGT-003 AGT-004"),
        ("depth = <32>", "depth = <31>", "AGT-005"),
        ("doorbell;", "", "AGT-005 AGT-010 AGT-011"),
        ("to = <&monitor &linux>;", "to = <&monitor>;", "AGT-005 AGT-010"),
        ("allow = \"status\", \"restart\";", "allow = \"status\";", "AGT-006"),
        ("console-cpu = <&cpu3>", "console-cpu = <&cpu2>", "AGT-008"),
        ("BH-DEMO-1 rev A", "BH-DEMO-1 rev B", "AGT-008"),
        ("health-log-records", "watchdog-ms = <1000>; health-log-records", "AGT-008"),
        // Each kind of cell of a health table: default, action, step, limit, time, who is told, mode, the module's.
        ("default-action = \"cold-restart\"", "default-action = \"halt\"", "AGT-009"),
        ("denied-hypercall  { action = \"log\"; }", "denied-hypercall  { action = \"halt\"; }", "AGT-009"),
        (
            "undefined-sysreg { action = \"inject-undef\"; }",
            "undecodable-access { action = \"inject-undef\"; }",
            "AGT-009",
        ),
        ("then-1 { count = <3>", "then-1 { count = <4>", "AGT-009"),
        ("restart-limit { count = <5>", "restart-limit { count = <6>", "AGT-009"),
        ("within-ms = <1000>", "within-ms = <1001>", "AGT-009"),
        ("in-init { action = \"halt\"; };", "", "AGT-009"),
        (
            "deadline-miss     { action = \"notify\"; notify = <&linux>; }",
            "deadline-miss     { action = \"notify\"; notify = <&monitor>; }",
            "AGT-009",
        ),
        ("default-action = \"reset-board\"", "default-action = \"log\"", "AGT-009"),
        ("bulkhead,health = <&health_linux>", "bulkhead,health = <&health_rtos>", "AGT-009"),
        ("bulkhead,init-timeout-ms = <10000>", "bulkhead,init-timeout-ms = <10001>", "AGT-010"),
        ("bulkhead,watchdog-ms = <2000>", "bulkhead,watchdog-ms = <2001>", "AGT-010"),
        ("bulkhead,watchdog-ms = <2000>;", "", "AGT-010 AGT-011"),
        ("refresh-us = <2000>", "refresh-us = <2001>", "AGT-010"),
        ("doorbell;", "doorbell; doorbell-interval-us = <101>;", "AGT-010"),
        ("bulkhead,console = \"pl011\"", "bulkhead,console = \"hypercall\"", "AGT-011"),
        (
            "bulkhead,console = \"pl011\"",
            "bulkhead,direct-interrupts; bulkhead,console = \"pl011\"",
            "AGT-006 AGT-011",
        ),
        ("\"read-health\"", "\"read-health\", \"reset-board\"", "AGT-011"),
        ("bulkhead.tour\"", "bulkhead.tours\"", "AGT-012"),
        ("bulkhead,image = \"monitor.elf\"", "bulkhead,image = \"linux/Image\"", "AGT-012"),
        ("bulkhead,image = \"monitor.elf\"", "bulkhead,image = \"nowhere.elf\"", "AGT-012"),
        ("bulkhead,initrd = \"linux/initramfs.cpio.gz\";", "", "AGT-012"),
    ];
    for (old, new, expected) in changes {
        assert!(text.contains(old), "{old}");
        let report = compare(&shop, &image, &text.replace(old, new));
        assert_eq!(failed(&report).join(" "), expected, "{old} -> {new}");
    }
}

#[test]
fn windows_and_regions_are_compared() {
    let shop = Workshop::small();
    let (good, shared) = ("/dts-v1/;\n/include/ \"good.dtsi\"\n", "/dts-v1/;\n/include/ \"shared.dtsi\"\n");
    let region =
        format!("{good}&a {{ regions {{ heap {{ size = <0x0 0x2000>; rights = \"rw\"; }}; }}; }};\n");
    let clock = format!("{good}&b {{ bulkhead,clock = \"execution\"; }};\n");
    let direct = format!("{good}&b {{ bulkhead,direct-interrupts; }};\n");
    for text in [shared, &direct, &clock, &region] {
        let image = Image::from_bytes(shop.build_text(text).unwrap_or_else(|f| panic!("{f}")).1.bytes());
        let report = compare(&shop, &image, text);
        assert!(report.holds(), "{}", report.to_text());
        if text == shared {
            let source = std::fs::read_to_string("../bad/shared.dtsi").expect("a file");
            let later = source.replacen("start-us = <5000>", "start-us = <5001>", 1);
            assert_ne!(source, later, "shared.dtsi has a window at 5 ms");
            shop.put("shared.dtsi", later.as_bytes());
            assert_eq!(failed(&compare(&shop, &image, text)), ["AGT-007"]);
            shop.put("shared.dtsi", source.replacen("id = <0>;", "id = <0>; immediate;", 1).as_bytes());
            assert_eq!(failed(&compare(&shop, &image, text)), ["AGT-010"]);
            shop.put("shared.dtsi", source.replacen("partition = <&d>", "partition = <&c>", 1).as_bytes());
            assert_eq!(failed(&compare(&shop, &image, text)), ["AGT-007", "AGT-010", "AGT-011"]);
        } else if text == direct || text == clock {
            assert_eq!(failed(&compare(&shop, &image, good)), ["AGT-011"]);
        } else {
            assert_eq!(failed(&compare(&shop, &image, good)), ["AGT-002"]);
            assert_eq!(failed(&compare(&shop, &image, &region.replace("0x2000", "0x3000"))), ["AGT-002"]);
            assert_eq!(failed(&compare(&shop, &image, &region.replace("\"rw\"", "\"r\""))), ["AGT-002"]);
        }
    }
}

#[test]
fn payloads_are_compared_byte_by_byte_and_their_times_are_plans() {
    let shop = Workshop::new();
    let text = std::fs::read_to_string("../examples/demo.dts").expect("the demo");
    let built = shop.build(Path::new("../examples/demo.dts")).1;
    let image = Image::from_bytes(built.bytes());
    assert!(compare(&shop, &image, &text).holds());
    // Another file, as somebody left it after the image was built.
    for name in ["rtos.elf", "monitor.elf", "linux/Image", "linux/initramfs.cpio.gz"] {
        let good = std::fs::read(shop.path(name)).expect("a payload");
        for place in [good.len() / 2, 64 + 56 * 3] {
            let mut other = good.clone();
            other[place] ^= 1;
            shop.put(name, &other);
            assert_eq!(failed(&compare(&shop, &image, &text)), ["AGT-012"], "{name} at {place}");
        }
        shop.put(name, &good);
    }
    // Another byte in the image, with every digest made anew: nothing in the image alone tells.
    let base = image.open().expect("good").header().image_base;
    let view = image.open().expect("good");
    let system = bulkhead_verify::system::System::gather(&view);
    let zone = view.payloads();
    let list = system.partitions[1].list.as_ref().expect("a list");
    let entry = list.iter().find(|e| e.source != 0).expect("a copy");
    let at =
        bulkhead_verify::walk::translate(&system.partitions[1].load.mapped, entry.source).expect("mapped").0;
    assert!(zone.contains(&bulkhead_verify::ranges::Range::of(at, 1)));
    let mut bytes = built.bytes().to_vec();
    bytes[(at - base) as usize + 3] ^= 0x10;
    let report = compare(&shop, &Image::from_bytes(&bytes), &text);
    let claims: Vec<&str> = report.findings().map(|f| f.claim).collect();
    assert_eq!(claims, ["VFY-002", "AGT-012"], "{}", report.to_text());
    // Without directories the claim is not made, and the report says so.
    let blob = blob(&shop, &text);
    let report =
        against::verify(&image, &Configuration { file: "a.dts", blob: &blob, payloads: None, boards: &[] })
            .expect("an image");
    assert!(report.holds() && report.to_text().contains("Not compared: the contents of payloads"));
}
