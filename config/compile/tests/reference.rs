//! The reference page `docs/language.md` has a row with an example for each word that the reader knows, and no other.
//!
//! A word that nobody knows is put into every node of a configuration; the finding lists what is known there.

use bulkhead_compile::{CheckOptions, check};
use std::collections::BTreeSet;

/// What the example lacks: limits of interrupts, regions, a view, segments.
const MORE: &str = "&gateway { grants { rtc { device = <&rtc>; }; };\n\
    \tregions { log { size = <0x0 0x2000>; rights = \"rw\"; }; }; view { uart = <0x0 0x09001000>; }; };\n\
    / { segments { maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; readers = <&nav>; }; }; };\n";
/// Words of every node, and units of durations, are explained above the tables.
const EVERYWHERE: &str = "bulkhead,accept";

type Words = BTreeSet<String>;

/// A duration's name with one unit for all.
fn plain(word: &str) -> String {
    let stem = word.strip_suffix("-ns").or_else(|| word.strip_suffix("-ms"));
    stem.map_or(word.to_owned(), |stem| format!("{stem}-us"))
}

/// The properties of each table of the page.
fn tables(page: &str) -> Vec<Words> {
    let mut tables: Vec<Words> = Vec::new();
    for line in page.lines() {
        if line.starts_with("| property |") {
            tables.push(Words::new());
        } else if let Some(row) = line.strip_prefix("| `") {
            let (word, rest) = row.split_once('`').expect("a word");
            let cells: Vec<&str> = rest.split(" | ").collect();
            let is_whole = cells.len() >= 3 && cells[1].len() > 5 && cells[2].len() > 4;
            assert!(is_whole, "no meaning or no example: {line}");
            tables.last_mut().expect("a table").insert(plain(word));
        }
    }
    tables
}

/// What the reader knows in each node of ours that has properties, by the node's path.
fn known() -> Vec<(String, Words)> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("main.dts");
    let text = std::fs::read_to_string("../examples/avionics.dts").expect("the example") + MORE;
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let mut out = Vec::new();
    for (at, _) in text.match_indices('{') {
        let changed = format!("{} zzz = <1>; {}", &text[..=at], &text[at + 1..]);
        std::fs::write(&file, changed).expect("a file");
        let checked = check(&file, &options).unwrap_or_else(|e| panic!("{e}"));
        let found =
            checked.findings.iter().find(|f| f.rule.id == "LNG-001" && f.message.starts_with("`zzz`"));
        let Some(finding) = found else { continue };
        let path = finding.message.rsplit(' ').next().unwrap_or_default().to_owned();
        let expected = finding.expected.as_deref().unwrap_or_default();
        let words: Words = expected.split(", ").filter(|w| *w != EVERYWHERE).map(plain).collect();
        if path != "/" && !words.is_empty() {
            out.push((path, words));
        }
    }
    out
}

#[test]
fn the_reference_page_has_every_word_of_the_reader_and_no_other() {
    let page = std::fs::read_to_string("../../docs/language.md").expect("the page");
    let tables = tables(&page);
    let known = known();
    assert!(known.len() > 50, "only {} nodes were tried", known.len());
    for (path, words) in &known {
        assert!(tables.contains(words), "no table of the page has just the words of {path}: {words:?}");
    }
    for table in &tables {
        assert!(known.iter().any(|(_, words)| words == table), "the reader knows no node with {table:?}");
    }
}
