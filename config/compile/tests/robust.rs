//! Foreign bytes: whatever stands in a tree, reading and judging it ends with findings, never with a panic.

use bulkhead_compile::diag::{Sources, render};
use bulkhead_compile::dts::{Paths, Tree, parse};
use bulkhead_compile::read::{SearchPath, read};
use bulkhead_compile::rules;
use proptest::prelude::*;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The demo as dtc annotates it.
fn annotated(name: &str) -> &'static str {
    static TEXT: OnceLock<[String; 2]> = OnceLock::new();
    let all = TEXT.get_or_init(|| {
        ["../examples/demo.dts", "tests/data/avionics.dts"].map(|path| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            std::fs::create_dir(directory.path().join("board")).expect("a directory");
            std::fs::copy(
                "../../board/qemu-virt/qemu-virt.dtsi",
                directory.path().join("board/qemu-virt.dtsi"),
            )
            .expect("a copy");
            let dtc = Command::new("dtc")
                .args(["-q", "-O", "dts", "-T", "-T", "-i"])
                .arg(directory.path())
                .arg(path)
                .output();
            String::from_utf8(dtc.expect("dtc").stdout).expect("text")
        })
    });
    if name == "demo" { &all[0] } else { &all[1] }
}

fn paths() -> Paths {
    Paths { directory: PathBuf::from("."), shown_prefix: PathBuf::new(), builtin: PathBuf::from("/nowhere") }
}

/// Reads and judges a tree and shows what was found; `None` if the text is no tree.
fn all_steps(text: &str) -> Option<(Tree, usize)> {
    let mut sources = Sources::default();
    let tree = parse(text, &paths(), &mut sources).ok()?;
    let search = SearchPath::default();
    let reading = read(&tree, &sources, &search);
    let mut findings = reading.findings;
    if let Some(system) = &reading.system {
        findings.extend(rules::judge(system, true));
    }
    rules::acceptance::apply(&tree, &mut findings);
    let shown = render(&findings, &sources, false);
    assert!(findings.is_empty() || shown.contains("fix:"));
    Some((tree, findings.len()))
}

#[test]
fn the_unchanged_text_is_read() {
    let (tree, _) = all_steps(annotated("demo")).expect("a tree");
    assert!(tree.nodes.len() > 50);
}

/// What a line of the text is changed into.
fn change(line: &str, kind: u8, number: u64) -> String {
    let cells: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let swap = |with: &str| {
        let mut cells = cells.clone();
        let numbers: Vec<usize> = (0..cells.len()).filter(|i| cells[*i].contains("0x")).collect();
        if let Some(at) = numbers.get(number as usize % numbers.len().max(1)) {
            let tail: String = cells[*at].chars().skip_while(|c| *c != '>' && *c != ';').collect();
            let head = if cells[*at].starts_with('<') { "<" } else { "" };
            cells[*at] = format!("{head}{with}{tail}");
        }
        cells.join(" ")
    };
    match kind {
        0 => String::new(),
        1 => format!("{line}\n{line}"),
        2 => swap("0xffffffff"),
        3 => swap("0x00"),
        4 => swap(&format!("{:#x}", number as u32)),
        5 => line.replacen("0x", "", 1),
        6 => line.replacen('"', "", 1),
        7 => line.replacen("= <", "= <0x01 ", 1),
        8 => line.chars().take(number as usize % (line.len() + 1)).collect(),
        _ => line.replace(';', " é;"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_lines_never_panic(
        which in prop::sample::select(vec!["demo", "avionics"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..10, any::<u64>()), 1..6),
    ) {
        let mut lines: Vec<String> = annotated(which).lines().map(str::to_owned).collect();
        for (at, kind, number) in changes {
            let at = at.index(lines.len());
            lines[at] = change(&lines[at], kind, number);
        }
        all_steps(&lines.join("\n"));
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in prop::collection::vec("[ -~é]{0,40}|/ \\{|\\};|a = <.*>;|x: y \\{ /\\* f:1:2-3:4 \\*/", 0..12)) {
        all_steps(&lines.join("\n"));
    }
}
