//! Differences: each kind of change is seen, with its values, its places and whom it touches.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_compile::CheckOptions;
use bulkhead_evidence::diff as configuration;
use bulkhead_verify::diff::{Change, Description, Difference, Kind, Verdict, again, image};
use common::Workshop;
use std::path::Path;

/// avionics.dts with replacements, of which each must meet something.
fn text(replacements: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string("../examples/avionics.dts").expect("the example");
    for (from, to) in replacements {
        assert!(text.contains(from), "nothing to replace: {from}");
        text = text.replacen(from, to, 1);
    }
    text
}

fn describe(replacements: &[(&str, &str)]) -> Description {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("main.dts");
    std::fs::write(&path, text(replacements)).expect("a configuration");
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let checked = bulkhead_compile::check(&path, &options).expect("a configuration");
    let system = checked.model.as_ref().unwrap_or_else(|| panic!("{}", checked.render(false)));
    configuration::describe(system, &checked.findings, &checked.sources)
}

fn difference(replacements: &[(&str, &str)]) -> Difference {
    Difference::between(("old", &describe(&[])), ("new", &describe(replacements)))
}

fn the<'a>(difference: &'a Difference, kind: Kind, title: &str) -> &'a Change {
    let found = difference.changes.iter().find(|c| c.kind == kind && c.title.starts_with(title));
    found.unwrap_or_else(|| panic!("no {title}:\n{}", difference.to_text()))
}

/// The values of a property before and after.
fn values<'a>(change: &'a Change, name: &str) -> (&'a str, &'a str) {
    let field = change.fields.iter().find(|f| f.name == name);
    let field = field.unwrap_or_else(|| panic!("no {name} in {:?}", change.fields));
    let value = |v: &'a Option<bulkhead_verify::diff::Value>| v.as_ref().map_or("none", |v| v.value.as_str());
    (value(&field.old), value(&field.new))
}

fn reasons<'a>(difference: &'a Difference, partition: &str) -> Vec<&'a str> {
    let found = difference.partitions.iter().filter(|p| p.name == partition);
    found.flat_map(|p| p.reasons.iter().map(String::as_str)).collect()
}

#[test]
fn the_same_text_moved_is_no_difference() {
    let same = difference(&[("/dts-v1/;", "/* moved\n by two lines */\n/dts-v1/;")]);
    assert!(same.is_empty(), "{}", same.to_text());
    assert!(same.partitions.is_empty() && same.chapters.is_empty());
    assert!(same.to_text().contains("no difference"));
}

#[test]
fn a_partition_is_changed_and_those_that_share_its_cpu_are_named() {
    let d = difference(&[("duration-us = <3900>;", "duration-us = <3800>;")]);
    assert_eq!(d.changes.len(), 1, "{}", d.to_text());
    let change = the(&d, Kind::Partition, "display");
    assert_eq!(values(change, "duration"), ("3900 us", "3800 us"));
    let field = &change.fields[0];
    assert!(field.old.as_ref().is_some_and(|v| v.place.contains("main.dts:")), "{field:?}");
    assert_eq!(reasons(&d, "display")[0], "partition display changed");
    assert!(reasons(&d, "flight-control").contains(&"shares cpu@2 with display"));
    assert!(reasons(&d, "navigation").contains(&"shares plan normal with display"));
    assert!(reasons(&d, "gateway").contains(&"shares authority display of gateway with display"));
}

#[test]
fn a_partition_is_added_and_removed() {
    let extra = "extra: extra { compatible = \"openamp,domain-v1\", \"bulkhead,partition\"; id = <9>; \
                 bulkhead,criticality = \"DAL-E\"; cpus = <&cpus 0x2 0x1>; \
                 memory = <0x0 0x40000000 0x0 0x400000>; bulkhead,image = \"x.elf\"; \
                 bulkhead,health = <&hm_gateway>; };\n\t};\n\n\tports {";
    let with = describe(&[("};\n\n\tports {", extra)]);
    let without = describe(&[]);
    let added = Difference::between(("a", &without), ("b", &with));
    assert_eq!(the(&added, Kind::Partition, "extra").verdict, Verdict::Added);
    assert_eq!(the(&added, Kind::Memory, "extra at 0x40000000").verdict, Verdict::Added);
    assert!(reasons(&added, "gateway").contains(&"shares cpu@1 with extra"));
    let removed = Difference::between(("a", &with), ("b", &without));
    assert_eq!(the(&removed, Kind::Partition, "extra").verdict, Verdict::Removed);
    assert_eq!(reasons(&removed, "extra")[0], "partition extra removed");
}

#[test]
fn memory_devices_and_interrupts_are_compared() {
    let d = difference(&[("0x0 0x10000000>", "0x0 0x8000000>"), ("access = <&rtc>;", "")]);
    assert_eq!(values(the(&d, Kind::Memory, "gateway at"), "size"), ("256 MiB", "128 MiB"));
    assert_eq!(the(&d, Kind::Device, "").verdict, Verdict::Removed);
    let interrupt = the(&d, Kind::Interrupt, "34");
    assert_eq!((interrupt.verdict, values(interrupt, "owner")), (Verdict::Removed, ("gateway", "none")));
    assert_eq!(reasons(&d, "gateway").len(), 3, "{}", d.to_text());
    assert!(d.chapters.iter().any(|c| c.name == "dma"));
}

#[test]
fn a_port_concerns_all_its_ends() {
    let d = difference(&[("max-age-us = <6000>;", "max-age-us = <7000>;")]);
    let change = the(&d, Kind::Port, "surface-cmd");
    assert_eq!(values(change, "oldest at io-server"), ("6 ms", "7 ms"));
    assert_eq!(change.concerns.len(), 2);
    assert!(reasons(&d, "gateway").contains(&"shares port fault-report with flight-control"));
    let d = difference(&[("\t\t\tdoorbell;\n", "")]);
    assert_eq!(values(the(&d, Kind::Port, "fault-report"), "doorbell"), ("yes", "none"));
}

#[test]
fn a_window_concerns_its_partition_and_reaches_the_plan() {
    let d =
        difference(&[("start-us = <14000>; duration-us = <900>", "start-us = <13500>; duration-us = <900>")]);
    let change = the(&d, Kind::Plan, "normal");
    let (old, new) = values(change, "cpu@3 window io-2");
    assert_eq!((old, new), ("io-server from 14 ms for 900 us", "io-server from 13500 us for 900 us"));
    assert_eq!(change.concerns.iter().collect::<Vec<_>>(), ["io-server"]);
    assert!(reasons(&d, "navigation").contains(&"shares cpu@3 with io-server"));
    assert!(!reasons(&d, "navigation").contains(&"plan normal changed"));
}

#[test]
fn health_authority_acceptance_and_identity_are_compared() {
    let d = difference(&[("count = <20>", "count = <21>")]);
    let change = the(&d, Kind::Health, "gateway-table");
    let (old, new) = values(change, "memory-violation, then-1");
    assert_eq!((old, new), ("20 in 1000 ms: halt", "21 in 1000 ms: halt"));
    let d = difference(&[("\"status\", \"restart\", \"suspend\", \"resume\"", "\"status\", \"restart\"")]);
    let change = the(&d, Kind::Authority, "display of gateway");
    assert_eq!(values(change, "right Suspend"), ("yes", "none"));
    assert_eq!(change.concerns.iter().collect::<Vec<_>>(), ["display", "gateway"]);
    let d = difference(&[("(SAF-08)", "(SAF-09)")]);
    let change = the(&d, Kind::Acceptance, "PRT-004");
    assert!(values(change, "reason").1.ends_with("(SAF-09)"));
    assert!(change.concerns.contains("navigation") && !change.concerns.contains("io-server"));
    let d = difference(&[("rev C", "rev D")]);
    assert_eq!(values(the(&d, Kind::Identity, ""), "part number"), ("BH-AVN-20 rev C", "BH-AVN-20 rev D"));
    assert!(d.partitions.is_empty());
    let d = difference(&[("health-log-records = <256>", "health-log-records = <512>")]);
    assert_eq!(d.partitions.len(), 5, "what EL2 keeps concerns everybody");
}

#[test]
fn images_are_compared_by_what_the_verifier_reads() {
    let shop = Workshop::new();
    let payload = std::fs::read(shop.path("rtos.elf")).expect("a payload");
    shop.put("avionics.elf", &payload);
    let built = |name: &str, replacements: &[(&str, &str)]| {
        shop.put(name, text(replacements).as_bytes());
        let (_, image) = shop.build(&shop.path(name));
        image::describe(&bulkhead_verify::Image::from_bytes(image.bytes())).expect("a good image")
    };
    let old = built("old.dts", &[]);
    assert!(Difference::between(("a", &old), ("b", &built("same.dts", &[]))).is_empty());
    let new = built(
        "new.dts",
        &[
            ("rev C", "rev D"),
            ("start-us = <14000>; duration-us = <900>", "start-us = <13500>; duration-us = <900>"),
            ("count = <20>", "count = <21>"),
            ("message-bytes = <32>", "message-bytes = <40>"),
            ("\"status\", \"restart\", \"suspend\", \"resume\"", "\"status\", \"restart\""),
            ("access = <&rtc>;", ""),
        ],
    );
    let d = Difference::between(("a", &old), ("b", &new));
    assert_eq!(values(the(&d, Kind::Identity, ""), "part number").1, "BH-AVN-20 rev D");
    assert_eq!(values(the(&d, Kind::Port, "surface-cmd of io-server"), "message"), ("32 bytes", "40 bytes"));
    let then = values(the(&d, Kind::Health, "of gateway"), "memory-violation, then-1");
    assert!(then.0.starts_with("20 in ") && then.1.starts_with("21 in ") && then.1.ends_with("halt"));
    let authority = the(&d, Kind::Authority, "of gateway over display");
    assert_eq!(values(authority, "right suspend"), ("yes", "none"));
    assert_eq!(the(&d, Kind::Interrupt, "34").verdict, Verdict::Removed);
    assert_eq!(the(&d, Kind::Device, "gateway at").verdict, Verdict::Removed);
    assert_eq!(the(&d, Kind::Plan, "0").concerns.iter().collect::<Vec<_>>(), ["io-server"]);
    assert!(!d.changes.iter().any(|c| c.kind == Kind::Hypervisor), "{}", d.to_text());
}

#[test]
fn an_image_that_does_not_verify_is_refused() {
    let shop = Workshop::new();
    let (_, image) = shop.build(Path::new("../examples/demo.dts"));
    let mut bytes = image.bytes().to_vec();
    bytes[0x80] ^= 1;
    let refused = image::describe(&bulkhead_verify::Image::from_bytes(&bytes)).expect_err("a damaged image");
    assert!(refused.contains("the verifier refuses it"), "{refused}");
}

#[test]
fn each_kind_has_its_chapters() {
    for kind in [Kind::Identity, Kind::Hypervisor, Kind::Partition, Kind::Memory, Kind::Device] {
        assert_eq!(again::CHAPTERS.iter().filter(|(k, _)| *k == kind).count(), 1);
    }
    for kind in [Kind::Interrupt, Kind::Port, Kind::Plan, Kind::Health, Kind::Authority, Kind::Acceptance] {
        assert!(again::CHAPTERS.iter().any(|(k, chapters)| *k == kind && !chapters.is_empty()));
    }
}

#[test]
fn the_schema_of_a_difference_is_published_and_names_every_key() {
    let (path, schema) = ("schema/diff.schema.json", bulkhead_verify::diff::schema());
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(path, &schema).expect("the schema");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), schema);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let nothing = Description::default();
    let json = Difference::between(("a", &nothing), ("b", &nothing)).to_json();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&json), keys(&schema["properties"]));
    assert_eq!(schema["required"].as_array().map(Vec::len), Some(keys(&json).len()));
}

#[test]
fn who_is_influenced_without_sharing_anything_is_named() {
    let reset = difference(&[(
        "port-violation   { action = \"log\"; };",
        "port-violation { action = \"reset-board\"; };",
    )]);
    let wanted = "influenced by navigation: its failure resets the board";
    for partition in ["gateway", "display", "io-server"] {
        assert!(reasons(&reset, partition).contains(&wanted), "{partition}: {}", reset.to_text());
    }
    let back = Difference::between(
        (
            "old",
            &describe(&[(
                "port-violation   { action = \"log\"; };",
                "port-violation { action = \"reset-board\"; };",
            )]),
        ),
        ("new", &describe(&[])),
    );
    assert!(reasons(&back, "gateway").contains(&wanted), "what was removed influenced, too");
    let silent = difference(&[(
        "bulkhead,health = <&hm_display>;",
        "bulkhead,console-bytes = <0x8000>; bulkhead,health = <&hm_display>;",
    )]);
    assert!(reasons(&silent, "gateway").contains(&"influenced by display: its output takes time of CPU 0"));
    assert!(!reasons(&silent, "navigation").iter().any(|r| r.starts_with("influenced")));
    assert!(silent.chapters.iter().any(|c| c.name == "channels"), "the console is a channel");
}
