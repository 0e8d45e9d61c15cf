//! `bulkhead diff` as a user calls it.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use assert_cmd::Command;
use common::Workshop;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn bulkhead(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("bulkhead").expect("the command").args(arguments).assert()
}

#[test]
fn configurations_and_images_are_compared_but_not_with_each_other() {
    let shop = Workshop::new();
    let text = std::fs::read_to_string("../examples/demo.dts").expect("the demo");
    shop.put("old.dts", text.as_bytes());
    let new = text.replacen("refresh-us = <2000>", "refresh-us = <2500>", 1);
    shop.put("new.dts", new.as_bytes());
    let paths = ["old.dts", "new.dts", "out/image.img", "old.img"].map(|name| shop.path(name));
    let [old, new, image, old_image] = paths.each_ref().map(|path| path.to_str().expect("a path"));
    bulkhead(&["diff", old, old]).code(0).stdout(contains("no difference"));
    bulkhead(&["diff", old, new]).code(1).stdout(
        contains("refresh: 2 ms -> 2500 us  [")
            .and(contains("old.dts:").and(contains("new.dts:")))
            .and(contains("port state changed")),
    );
    let json = bulkhead(&["diff", old, new, "--format", "json"]).code(1).get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["changes"][0]["fields"][0]["new"]["value"], "2500 us");
    assert_eq!(json["partitions"].as_array().map(Vec::len), Some(3));
    shop.build(&shop.path("old.dts"));
    std::fs::copy(image, old_image).expect("a copy");
    bulkhead(&["diff", image, old_image]).code(0).stdout(contains("no difference"));
    shop.build(&shop.path("new.dts"));
    bulkhead(&["diff", old_image, image]).code(1).stdout(contains("refresh: 2000000 ns -> 2500000 ns"));
    bulkhead(&["diff", image, old]).code(2).stderr(contains("verify").and(contains("--against")));
    bulkhead(&["diff", "no-such.dts", old]).code(2).stderr(contains("cannot read no-such.dts"));
    bulkhead(&["diff", "../bad/LNG-001.dts", old]).code(2).stderr(contains("error[LNG-001]"));
}
