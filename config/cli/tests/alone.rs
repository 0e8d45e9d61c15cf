//! The command without the repository: an empty directory, the binaries of a release, and a payload.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use assert_cmd::Command;
use common::{hypervisor, hypervisor_at, loader_elf, payload_elf};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with the command, EL2, its loader and a payload for the configuration of `bulkhead new`.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { directory: tempfile::tempdir().expect("a temporary directory") };
        std::fs::copy(env!("CARGO_BIN_EXE_bulkhead"), desk.path("bulkhead")).expect("a copy");
        desk.put("hv.elf", &hypervisor(None));
        desk.put("loader.elf", &loader_elf());
        desk.put("first.elf", &payload_elf(0x4020_0000));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file");
    }

    /// Runs a command line there, with nothing in the environment but where programs are.
    fn run(&self, line: &str) -> assert_cmd::assert::Assert {
        let mut command = Command::new(self.path("bulkhead"));
        command.current_dir(self.directory.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(line.split_whitespace()).assert()
    }
}

const BUILD: &str = "build first.dts --hv hv.elf --loader loader.elf -o first.img";

#[test]
fn from_new_to_a_verified_pack_in_an_empty_directory() {
    let desk = Desk::new();
    desk.run("new first.dts --board qemu-virt").code(0);
    desk.run("check first.dts").code(0);
    desk.run(BUILD).code(0).stdout(contains("first"));
    let first = std::fs::read(desk.path("first.img")).expect("the image");
    desk.run(BUILD).code(0);
    assert!(
        first == std::fs::read(desk.path("first.img")).expect("the image"),
        "other bytes from the same inputs"
    );
    desk.run("verify first.img --against first.dts").code(0).stdout(contains("0 failed"));
    let pack = "certify first.dts --hv hv.elf --loader loader.elf -o pack";
    desk.run(pack).code(0).stdout(contains("0 failed").and(contains("report.html")));
    desk.run("verify-evidence pack").code(0).stdout(contains("digests and image are good"));
    desk.run("show first.dts --image first.img").code(0).stdout(contains("Physical memory"));
    desk.run("diff first.dts first.dts").code(0);
}

#[test]
fn an_el2_binary_of_another_version_board_or_feature_is_named_and_writes_nothing() {
    let desk = Desk::new();
    desk.run("new first.dts --board qemu-virt").code(0);
    let bare = |symbol: &str, value: u64| hypervisor(Some((symbol, Some(value))));
    for (binary, says) in [
        (bare("__blueprint_version", 3), "found: blueprint version 3"),
        (bare("__abi_version", 0x2_0000), "found: ABI version 2.0"),
        (hypervisor_at(0x20_0000, 3, None), "expected: linked for 0x40200000 (board qemu-virt)"),
        (bare("__gic_version", 2), "expected: for GICv3 (board qemu-virt)"),
        (bare("__spectre_bhb", 1), "expected: built without `spectre-bhb`"),
    ] {
        desk.put("hv.elf", &binary);
        desk.run(BUILD)
            .code(1)
            .stderr(contains("error[IMG-004]").and(contains(says)).and(contains("no image written")));
    }
    assert!(!desk.path("first.img").exists());
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["show", "../examples/avionics.dts"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// A picture file, or nothing.
fn svg(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(format!("{name}.svg"))).unwrap_or_default()
}

#[test]
fn pictures_are_shown_in_the_terminal_and_written_as_files() {
    let avionics = std::fs::canonicalize("../examples/avionics.dts").expect("the example");
    let desk = Desk::new();
    std::fs::copy(avionics, desk.path("avionics.dts")).expect("a copy");
    let text = desk.run("show avionics.dts").code(0).get_output().stdout.clone();
    let text = String::from_utf8(text).expect("text");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "too wide:\n{text}");
    for words in ["Plan normal: major frame 20 ms", "Plan maintenance: major frame 5 ms", "Information flow"]
    {
        assert!(text.contains(words), "no {words}:\n{text}");
    }
    let row = text.lines().find(|l| l.starts_with("CPU 3")).expect("a row");
    assert!(row.contains("|3===") && row.contains(">5."), "{row}");
    desk.run("show avionics.dts --svg pictures").code(0).stdout("");
    let pictures = desk.path("pictures");
    let normal = svg(&pictures, "plan-normal");
    assert!(normal.contains("navigation: 0 to 3 ms") && normal.contains("5 io-server"), "{normal}");
    assert!(
        svg(&pictures, "plan-maintenance").starts_with("<svg ")
            && svg(&pictures, "flow").contains("port air-data")
    );
    desk.run("new first.dts --board qemu-virt").code(0);
    desk.run(BUILD).code(0);
    desk.run("show first.dts --image first.img --svg pictures").code(0);
    assert!(svg(&pictures, "memory").contains(">first<"));
    desk.run("show avionics.dts --image first.img")
        .code(1)
        .stderr(contains("is not the image of avionics.dts"));
    desk.run("show no-such.dts").code(2).stderr(contains("no-such.dts"));
}
