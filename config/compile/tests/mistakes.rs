//! Mistakes that people make, one at a time, in a sound configuration: each gives the findings that lead out of it and
//! none that only follows from them. Every finding says what was found, what was expected and where.
//!
//! `tests/data/mistakes.txt`: a name, a text of `tests/data/pump.dts`, what is written instead, and the rules that are
//! broken, in order; separated by ` | `, with `\n` and `\t` for line breaks and tabulators.

use bulkhead_compile::{CheckOptions, Checked, check};

const BASE: &str = "tests/data/pump.dts";
const MISTAKES: &str = "tests/data/mistakes.txt";

fn judge(text: &str) -> Checked {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("main.dts");
    std::fs::write(&file, text).expect("a file");
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    check(&file, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// Rules of the findings that nobody accepted.
fn open_rules(checked: &Checked) -> String {
    let open = checked.findings.iter().filter(|f| f.accepted.is_none());
    open.map(|f| f.rule.id).collect::<Vec<_>>().join(" ")
}

/// What dtc says of a syntax error alone has neither found nor expected.
fn says_everything(checked: &Checked) -> bool {
    let whole = |f: &bulkhead_compile::diag::Finding| {
        let told = f.found.is_some() && f.expected.is_some() || f.rule.id == "LNG-006";
        told && !f.labels.is_empty()
    };
    checked.findings.iter().all(whole)
}

#[test]
fn the_configuration_to_make_mistakes_in_is_sound() {
    let checked = judge(&std::fs::read_to_string(BASE).expect("the configuration"));
    assert!(checked.is_clean() && open_rules(&checked).is_empty(), "{}", checked.render(false));
}

#[test]
fn each_mistake_gives_its_findings_and_nothing_that_follows_from_them() {
    let base = std::fs::read_to_string(BASE).expect("the configuration");
    let list = std::fs::read_to_string(MISTAKES).expect("the mistakes");
    let plain = |text: &str| text.replace("\\n", "\n").replace("\\t", "\t");
    let (mut count, mut wrong) = (0, String::new());
    for line in list.lines() {
        let [name, old, new, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("four parts: {line}");
        };
        let (old, new) = (plain(old), plain(new));
        assert!(base.contains(&old), "{name}: the configuration has no {old}");
        let checked = judge(&base.replacen(&old, &new, 1));
        let found = open_rules(&checked);
        if found != expected || !says_everything(&checked) {
            wrong += &format!("{name}: {found}, expected {expected}\n{}", checked.render(false));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 100, "only {count} mistakes");
}
