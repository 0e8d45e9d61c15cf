//! `config/bad`: for every rule a minimal configuration that breaks it, with the message that it should give.
//!
//! `BULKHEAD_BLESS=1 cargo test -p bulkhead-compile --test bad` rewrites the messages; read the difference.

use bulkhead_compile::diag::{Finding, Severity};
use bulkhead_compile::rules::{Check, RULES};
use bulkhead_compile::{CheckOptions, Checked, check};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "../bad";

fn run(path: &Path) -> Checked {
    check(path, &CheckOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Configurations whose name starts with a rule's identity: `MEM-001.dts`, `MEM-001-word.dts`.
fn bad_files() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(DIRECTORY).expect("config/bad").map(|e| e.expect("an entry").path());
    let sources = entries.filter(|p| p.extension().is_some_and(|e| e == "dts" || e == "dtb"));
    let mut files: Vec<(String, PathBuf)> = sources
        .map(|p| (p.file_stem().expect("a name").to_string_lossy().chars().take(7).collect(), p))
        .collect();
    files.sort();
    files
}

#[test]
fn every_rule_has_a_file_that_breaks_it_and_every_file_a_rule() {
    let files = bad_files();
    // What only packing decides is broken in tests/build.rs: it takes binaries, not a configuration alone.
    for rule in RULES.iter().filter(|r| !matches!(r.check, Check::Packing)) {
        assert!(files.iter().any(|(id, _)| id == rule.id), "config/bad/{}.dts is missing", rule.id);
    }
    for (id, path) in files {
        assert!(RULES.iter().any(|r| r.id == id), "{} names no rule", path.display());
    }
}

#[test]
fn each_file_breaks_its_rule_and_no_other_error_rule() {
    for (id, path) in bad_files() {
        let checked = run(&path);
        let rule = RULES.iter().find(|rule| rule.id == id);
        let only_warns = rule.is_some_and(|rule| rule.severity == Severity::Warning);
        assert_eq!(checked.is_clean(), only_warns, "{}", path.display());
        assert!(checked.findings.iter().any(|f| f.rule.id == id), "{} does not break {id}", path.display());
        // LIM-002 goes with what EL2 learns to do: a file may show a rule about something that it does not do yet.
        let other =
            |f: &&Finding| f.severity == Severity::Error && (f.rule.id != "LIM-002" || id == "LIM-002");
        for finding in checked.findings.iter().filter(other) {
            assert_eq!(finding.rule.id, id, "{} breaks another rule: {}", path.display(), finding.message);
        }
    }
}

#[test]
fn each_file_gives_the_message_that_stands_beside_it() {
    let bless = std::env::var_os("BULKHEAD_BLESS").is_some();
    let mut differences = Vec::new();
    for (_, path) in bad_files() {
        let found = run(&path).render(false).replace(&format!("{DIRECTORY}/"), "");
        let golden = path.with_extension("txt");
        if bless {
            std::fs::write(&golden, &found).expect("golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            differences.push(format!("--- {}\n{found}", golden.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_message_names_what_was_found_and_shows_a_place() {
    for (_, path) in bad_files() {
        for finding in
            run(&path).findings.iter().filter(|f| !["LNG-006", "LNG-011", "LIM-005"].contains(&f.rule.id))
        {
            assert!(
                finding.found.is_some(),
                "{}: {} does not say what was found",
                path.display(),
                finding.message
            );
            assert!(!finding.labels.is_empty(), "{}: {} shows no place", path.display(), finding.message);
        }
    }
}

#[test]
fn what_the_bad_files_start_from_is_good() {
    for name in ["good.dtsi", "shared.dtsi"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for file in ["good.dtsi", "shared.dtsi", "payload.bin"] {
            std::fs::copy(Path::new(DIRECTORY).join(file), directory.path().join(file)).expect("a copy");
        }
        let path = directory.path().join("main.dts");
        std::fs::write(&path, format!("/dts-v1/;\n/include/ \"{name}\"\n")).expect("main.dts");
        let checked = run(&path);
        assert!(checked.is_clean() && checked.findings.is_empty(), "{name}:\n{}", checked.render(false));
    }
}
