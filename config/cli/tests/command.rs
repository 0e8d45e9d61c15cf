//! The command as a user calls it: what it prints and what it exits with.

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn bulkhead(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("bulkhead").expect("the command").args(arguments).assert()
}

#[test]
fn the_demo_is_clean_without_its_payloads() {
    bulkhead(&["check", "../examples/demo.dts", "--without-payloads"])
        .code(0)
        .stderr(contains("0 errors, 0 findings to accept, 3 accepted"));
}

#[test]
fn missing_payloads_are_errors() {
    bulkhead(&["check", "../examples/demo.dts"]).code(1).stderr(contains("error[IMG-001]"));
}

#[test]
fn payloads_are_found_in_a_further_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = std::fs::read_to_string("../bad/IMG-001.dts").expect("a configuration");
    for file in ["good.dtsi", "payload.bin"] {
        std::fs::copy(format!("../bad/{file}"), directory.path().join(file)).expect("a copy");
    }
    let path = directory.path().join("main.dts");
    std::fs::write(&path, text.replace("no-such-file.elf", "here.bin")).expect("a configuration");
    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(other.join("here.bin"), "payload").expect("a payload");
    let path = path.to_str().expect("a path");
    bulkhead(&["check", path]).code(1);
    bulkhead(&["check", path, "--payloads", other.to_str().expect("a path")]).code(0);
}

#[test]
fn findings_without_acceptance_refuse_and_say_how_to_accept() {
    bulkhead(&["check", "../bad/PRT-004.dts"])
        .code(1)
        .stderr(contains("finding[PRT-004]").and(contains("bulkhead,accept = \"PRT-004: reason\"")));
}

#[test]
fn unusable_input_exits_with_two() {
    bulkhead(&["check", "no-such-file.dts"]).code(2).stderr(contains("no-such-file.dts"));
    bulkhead(&["check", "../bad/LNG-006.dts"]).code(2).stderr(contains("error[LNG-006]"));
}

#[test]
fn what_is_no_source_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("main.dts");
    let cases: [(&[u8], &str); 6] = [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf/dts-v1/;\n/ { };\n", "byte-order mark"),
        (b"\xff\xfe/\0d\0t\0s\0", "no text"),
        (b"/include/ \"board/qemu-virt.dtsi\"\n/ { };\n", "begin the configuration with /dts-v1/;"),
        (b"/dts-v1/;\n/include/ \"main.dts\"\n", "files that do not include each other"),
        ("/dts-v1/;\n/ { n\u{e4}me { }; };\n".as_bytes(), "of ASCII"),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes).expect("a file");
        bulkhead(&["check", path.to_str().expect("a path")]).code(2).stderr(contains(expected));
    }
    let directory = directory.path().to_str().expect("a path");
    bulkhead(&["check", directory]).code(2).stderr(contains("cannot read"));
    bulkhead(&["check", "/dev/zero"]).code(2).stderr(contains("not a regular file"));
}

#[test]
fn all_findings_come_at_once_also_as_json() {
    let output =
        bulkhead(&["check", "../bad/DMA-003.dts", "--format", "json"]).code(1).get_output().stdout.clone();
    let list: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    let rules: Vec<&str> =
        list.as_array().expect("an array").iter().filter_map(|f| f["rule"].as_str()).collect();
    assert_eq!(rules, ["DMA-001", "DMA-003"]);
    assert_eq!(list[0]["accepted"], "its driver is part of the argument");
    assert_eq!((&list[1]["blocks"], &list[1]["severity"]), (&true.into(), &"error".into()));
    assert_eq!(list[1]["culprits"][0]["line"], 20);
}

#[test]
fn sarif_names_rule_place_and_reason() {
    let output =
        bulkhead(&["check", "../bad/DMA-003.dts", "--format", "sarif"]).code(1).get_output().stdout.clone();
    let log: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let (results, rules) = (&log["runs"][0]["results"], &log["runs"][0]["tool"]["driver"]["rules"]);
    let [accepted, open] = [&results[0], &results[1]];
    assert_eq!((&accepted["ruleId"], &open["ruleId"]), (&"DMA-001".into(), &"DMA-003".into()));
    assert_eq!(accepted["suppressions"][0]["justification"], "its driver is part of the argument");
    assert_eq!(open["suppressions"].as_array().map(Vec::len), Some(0));
    let place = &open["locations"][0]["physicalLocation"];
    assert_eq!((&place["region"]["startLine"], &open["level"]), (&20.into(), &"error".into()));
    assert!(place["artifactLocation"]["uri"].as_str().expect("a URI").ends_with("bad/DMA-003.dts"));
    let index = open["ruleIndex"].as_u64().expect("an index") as usize;
    assert_eq!(rules[index]["id"], "DMA-003");
}

#[test]
fn every_rule_that_is_listed_can_be_explained() {
    let output = bulkhead(&["rules", "--format", "json"]).code(0).get_output().stdout.clone();
    let list: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    let rules = list.as_array().expect("an array");
    assert!(rules.len() > 50);
    for rule in rules {
        let (id, title) = (rule["id"].as_str().expect("an id"), rule["title"].as_str().expect("a title"));
        bulkhead(&["explain", id]).code(0).stdout(contains(title));
    }
    bulkhead(&["rules"]).code(0).stdout(contains("MEM-001  error"));
}

#[test]
fn an_unknown_rule_has_a_nearest_one() {
    bulkhead(&["explain", "mem-01"]).code(2).stderr(contains("nearest: MEM-001"));
    bulkhead(&["explain", "mem-001"]).code(0);
}

#[test]
fn without_dtc_the_message_says_what_to_install() {
    Command::cargo_bin("bulkhead")
        .expect("the command")
        .args(["check", "../examples/demo.dts"])
        .env("PATH", "")
        .assert()
        .code(2)
        .stderr(contains("apt install device-tree-compiler"));
}

#[test]
fn a_directory_with_blanks_and_commas_is_no_trouble() {
    let directory = tempfile::Builder::new().prefix("a, b ").tempdir().expect("a temporary directory");
    let path = directory.path().join("the demo.dts");
    std::fs::copy("../examples/demo.dts", &path).expect("a copy");
    let text = path.to_str().expect("a path");
    bulkhead(&["check", text, "--without-payloads"]).code(0).stderr(contains("the demo.dts:49:"));
}

#[test]
fn no_image_is_written_where_something_stands_against_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("bulkhead.img");
    let output = image.to_str().expect("a path");
    let build = |file: &str, binary: &str| {
        let arguments = ["--hv", binary, "--loader", binary, "-o", output];
        bulkhead(&[&["build", file], arguments.as_slice()].concat())
    };
    build("../bad/IMG-002.dts", "../bad/payload.bin")
        .code(1)
        .stderr(contains("IMG-002").and(contains("no image written")));
    build("../bad/good.dtsi", "no-such-file").code(2).stderr(contains("LNG-006"));
    let good = directory.path().join("good.dts");
    for file in ["good.dtsi", "payload.bin"] {
        let from = std::path::Path::new("../bad").join(file);
        std::fs::copy(from, directory.path().join(file)).expect("a copy");
    }
    std::fs::write(&good, "/dts-v1/;\n/include/ \"good.dtsi\"\n").expect("a file");
    let good = good.to_str().expect("a path");
    build(good, "no-such-file").code(2).stderr(contains("cannot read no-such-file"));
    build(good, "../bad/payload.bin")
        .code(1)
        .stderr(contains("IMG-004").and(contains("not a 64-bit little-endian ELF file")));
    assert!(!image.exists());
    for input in ["good.dts", "good.dtsi", "payload.bin"] {
        let path = directory.path().join(input);
        let before = std::fs::read(&path).expect("an input");
        let own = path.to_str().expect("a path");
        let arguments =
            ["build", good, "--hv", "../bad/payload.bin", "--loader", "../bad/payload.bin", "-o", own];
        bulkhead(&arguments).code(2).stderr(contains("is one of the inputs"));
        assert_eq!(std::fs::read(&path).expect("the input"), before, "{input}");
    }
}

#[test]
fn a_new_configuration_is_clean_on_every_board_and_never_overwrites() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for board in ["qemu-virt", "rpi4"] {
        let file = directory.path().join(format!("{board}.dts"));
        let file = file.to_str().expect("a path");
        bulkhead(&["new", file, "--board", board]).code(0).stdout(contains("bulkhead check"));
        bulkhead(&["check", file, "--without-payloads"])
            .code(0)
            .stderr(contains("0 errors, 0 findings to accept, 0 accepted, 0 warnings"));
        bulkhead(&["new", file, "--board", board]).code(2).stderr(contains("cannot write"));
    }
    bulkhead(&["new", "x.dts", "--board", "pdp-11"])
        .code(2)
        .stderr(contains("qemu-virt").and(contains("rpi4")));
}
