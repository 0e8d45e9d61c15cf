//! `bulkhead verify` as a user calls it.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use assert_cmd::Command;
use common::Workshop;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::path::Path;

fn bulkhead(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("bulkhead").expect("the command").args(arguments).assert()
}

#[test]
fn a_good_image_holds_and_a_damaged_one_does_not() {
    let shop = Workshop::new();
    let (_, image) = shop.build(Path::new("../examples/demo.dts"));
    let path = shop.path("out/image.img");
    let path = path.to_str().expect("a path");
    bulkhead(&["verify", path])
        .code(0)
        .stdout(contains("VFY-013  holds").and(contains("Common mode:")).and(contains("0 failed")));
    bulkhead(&["verify", path, "--against", "../examples/demo.dts"])
        .code(0)
        .stdout(contains("AGT-007  holds"));
    let output = bulkhead(&["verify", path, "--format", "json"]).code(0).get_output().stdout.clone();
    let report: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(report["image"]["part_number"], "BH-DEMO-1 rev A");
    assert!(report["claims"].as_array().expect("claims").len() > 20);
    let mut damaged = image.bytes().to_vec();
    damaged[0x80] ^= 1;
    shop.put("damaged.img", &damaged);
    let other = shop.path("damaged.img");
    bulkhead(&["verify", other.to_str().expect("a path")])
        .code(1)
        .stdout(contains("VFY-001  FAILS").and(contains("expected:")));
    shop.put("short.img", &damaged[..damaged.len() / 2]);
    let short = shop.path("short.img");
    bulkhead(&["verify", short.to_str().expect("a path")]).code(2).stderr(contains("truncated"));
    bulkhead(&["verify", "no-such.img"]).code(2).stderr(contains("cannot read no-such.img"));
    let missing = bulkhead(&["verify", path, "--against", "no-such.dts"]).code(2);
    missing.stderr(contains("no-such.dts"));
}
