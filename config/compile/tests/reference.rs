//! The reference page `docs/language.md` has a row with an example for each word that the reader knows, and no other.
//!
//! A word that nobody knows is put into every node of a configuration; the finding lists what is known there.

use bulkhead_compile::diag::Severity;
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

/// Label in `tests/data/every-node.dts` of the node that each table of the page is about, in order.
const PLACES: [&str; 18] = [
    "at_hypervisor",
    "at_partition",
    "at_timing",
    "at_grant",
    "at_region",
    "at_authority",
    "at_view",
    "at_sampling",
    "at_queuing",
    "at_segment",
    "at_plans",
    "at_plan",
    "at_schedule",
    "at_window",
    "at_table",
    "at_limit",
    "at_event",
    "at_init",
];
/// The last table: an escalation step.
const LAST_PLACE: &str = "at_step";
/// Examples that this version, this board or the devices of others refuse, as the page says, with the family that does.
const REFUSED: [(&str, &str); 3] =
    [("bulkhead,cache-colours", "LIM"), ("bulkhead,direct-interrupts", "IRQ"), ("watchdog-us", "HLT")];

/// Property, label of its node and example of every row.
fn examples(page: &str) -> Vec<(String, &'static str, String)> {
    let mut places = PLACES.into_iter().chain([LAST_PLACE]);
    let mut place = "";
    let mut out = Vec::new();
    for line in page.lines() {
        if line.starts_with("| property |") {
            place = places.next().expect("a place for each table");
        } else if let Some(row) = line.strip_prefix("| `") {
            let (word, rest) = row.split_once('`').expect("a word");
            let example = rest.rsplit(" | `").next().and_then(|e| e.strip_suffix("` |")).expect("an example");
            out.push((word.to_owned(), place, example.to_owned()));
        }
    }
    assert_eq!(places.next(), None, "the page has a table for each place");
    out
}

/// A requirement on time holds or not in the system around it: its rules may refuse an example, no others.
#[test]
fn every_example_of_the_page_is_accepted_where_it_belongs() {
    let page = std::fs::read_to_string("../../docs/language.md").expect("the page");
    let base = std::fs::read_to_string("tests/data/every-node.dts").expect("the configuration");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("main.dts");
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let (mut wrong, mut count) = (String::new(), 0);
    for (word, place, example) in examples(&page) {
        let stem = plain(&word);
        let stem = stem.trim_end_matches("-us");
        let units = ["-ns", "-us", "-ms"].iter().filter(|_| word.ends_with("-us"));
        let removed: String = units.map(|unit| format!("/delete-property/ {stem}{unit}; ")).collect();
        std::fs::write(&file, format!("{base}&{place} {{ {removed}{example} }};\n")).expect("a file");
        let checked = check(&file, &options).unwrap_or_else(|e| panic!("{e}"));
        let refused = REFUSED.iter().find(|(known, _)| *known == word).map_or("TMP", |(_, family)| *family);
        let errors = checked.findings.iter().filter(|f| f.severity == Severity::Error);
        let families: BTreeSet<&str> = errors.map(|f| &f.rule.id[..3]).filter(|id| *id != "TMP").collect();
        let is_as_said = if refused == "TMP" { families.is_empty() } else { families == [refused].into() };
        if !is_as_said {
            wrong += &format!("{place}: {example} {families:?}\n{}", checked.render_blocking(false));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 80, "only {count} examples");
}
