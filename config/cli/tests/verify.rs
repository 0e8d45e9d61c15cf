//! `bulkhead verify` as a user calls it.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use assert_cmd::Command;
use bulkhead_card::{File, compose};
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
    let payloads = shop.path("");
    let payloads = payloads.to_str().expect("a path");
    bulkhead(&["verify", path, "--against", "../examples/demo.dts", "--payloads", payloads])
        .code(0)
        .stdout(contains("AGT-007  holds").and(contains("AGT-012  holds")));
    bulkhead(&["verify", path, "--against", "../examples/demo.dts", "--without-payloads"])
        .code(0)
        .stdout(contains("Not compared: the contents of payloads").and(contains("AGT-012").not()));
    bulkhead(&["verify", path, "--against", "../examples/demo.dts"])
        .code(1)
        .stdout(contains("payload rtos.elf of rtos").and(contains("--payloads")));
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

/// A card with this kernel, as `cargo xtask flash` lays it out.
fn card(kernel: &[u8]) -> Vec<u8> {
    let file = |name: &str, content: &[u8]| File { name: name.into(), content: content.to_vec() };
    compose(&[file("config.txt", b"[all]\nkernel=bulkhead.img\n"), file("bulkhead.img", kernel)])
        .expect("a card")
}

#[test]
fn a_card_says_which_image_it_carries_and_whether_it_is_sound() {
    let shop = Workshop::rpi4();
    let (built, image) = shop.build(Path::new("../examples/demo-rpi4.dts"));
    let verify = |name: &str, bytes: &[u8]| {
        shop.put(name, bytes);
        bulkhead(&["verify", "--card", shop.path(name).to_str().expect("a path")])
    };
    let good = verify("good", &card(image.bytes())).code(0);
    let id = contains(format!("image ID     {}\n", built.image_id)).and(contains("VFY-030  holds"));
    good.stdout(contains("part number  BH-DEMO-RPI4-1 rev A\n").and(contains("claims hold\n")).and(id));
    let path = shop.path("good");
    let good = path.to_str().expect("a path");
    let output =
        bulkhead(&["verify", "--card", good, "--format", "json"]).code(0).get_output().stdout.clone();
    let report: serde_json::Value = serde_json::from_slice(&output).expect("JSON alone");
    assert_eq!(report["image"]["board"], "rpi4");
    bulkhead(&["verify", "--card", good, "--against", "../examples/demo-rpi4.dts", "--without-payloads"])
        .code(0);
    let other =
        bulkhead(&["verify", "--card", good, "--against", "../examples/demo.dts", "--without-payloads"])
            .code(1);
    other.stdout(contains("FAIL: do not use this card").and(contains("AGT-008  FAILS")));

    let mut damaged = image.bytes().to_vec();
    damaged[0x80] ^= 1;
    verify("damaged", &card(&damaged))
        .code(1)
        .stdout(contains("1 of ").and(contains(" claims FAIL: do not use this card")));
}

#[test]
fn what_is_no_card_of_ours_is_named_with_what_to_do() {
    let shop = Workshop::new();
    let refused = |bytes: &[u8], reason: &str| {
        shop.put("card", bytes);
        let outcome = bulkhead(&["verify", "--card", shop.path("card").to_str().expect("a path")]).code(2);
        outcome.stderr(contains(reason).and(contains("fix: ")));
    };
    refused(&[0; 100], "shorter than one sector");
    refused(&[0; 1 << 20], "no partition table");
    let whole =
        card(b"no image of ours, but some bytes that are long enough to hold a header of an arm64 Image");
    refused(&whole, "its bulkhead.img: no arm64 Image header");
    let change = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    refused(&change(446 + 4, 0x83), "the first partition is not FAT32");
    refused(&change((1 << 20) + 510, 0), "holds no FAT32 file system");
    refused(&whole[..(1 << 20) + 512 * 40], "no card that");
    let without = |files: &[(&str, &[u8])]| {
        let file = |(name, content): &(&str, &[u8])| File { name: (*name).into(), content: content.to_vec() };
        compose(&files.iter().map(file).collect::<Vec<_>>()).expect("a card")
    };
    refused(&without(&[("photo.jpg", b"x")]), "there is no file config.txt on it");
    refused(&without(&[("config.txt", b"arm_64bit=1\n")]), "config.txt has no line `kernel=`");
    refused(&without(&[("config.txt", b"kernel=bulkhead.img\n")]), "there is no file bulkhead.img on it");
    bulkhead(&["verify", "--card", "/dev/no-such-card"]).code(2).stderr(contains("lsblk"));
    bulkhead(&["verify", "--card", "a", "b.img"]).code(2).stderr(contains("cannot be used with"));
    bulkhead(&["verify"]).code(2);
}
