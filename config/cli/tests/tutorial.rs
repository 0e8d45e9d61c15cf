//! `docs/tutorial.md` says what really happens: its edits are made and its commands run, and what they print is compared.
//!
//! A block ```` ```diff FILE ```` replaces its `-` lines, which stand in the file exactly once, by its `+` lines; lines
//! that begin with a blank are context for both. A block ```` ```console ```` runs each line that begins with
//! `$ bulkhead`; what follows is what it prints. `BULKHEAD_BLESS=1 cargo test -p bulkhead --test tutorial` writes the
//! output anew; read the difference.

use assert_cmd::Command;
use std::path::Path;

const TUTORIAL: &str = "../../docs/tutorial.md";

/// Output and error output of a command line, as a terminal shows them.
fn run(line: &str, directory: &Path) -> String {
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let output = Command::cargo_bin("bulkhead")
        .expect("the command")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).expect("text")
}

/// Replaces the `-` lines of a difference by its `+` lines.
fn edit(file: &Path, difference: &str) {
    let side = |skip: char| {
        let lines = difference.lines().filter(|l| !l.starts_with(skip));
        lines.fold(String::new(), |text, line| text + line.get(1..).unwrap_or("") + "\n")
    };
    let (old, new) = (side('+'), side('-'));
    let text = std::fs::read_to_string(file).expect("the file");
    assert_eq!(text.matches(&old).count(), 1, "stands once in {}:\n{old}", file.display());
    std::fs::write(file, text.replace(&old, &new)).expect("the file");
}

/// Runs the commands of a block and gives the block with what they print.
fn console(block: &str, directory: &Path) -> String {
    let mut out = String::new();
    for line in block.lines().filter(|l| l.starts_with("$ bulkhead ")) {
        let printed = run(&line[2..], directory);
        out.push_str(&format!("{line}\n{}", printed.trim_end()));
        out.push('\n');
    }
    out
}

#[test]
fn the_tutorial_says_what_happens() {
    let text = std::fs::read_to_string(TUTORIAL).expect("the tutorial");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut parts = text.split("```");
    let mut real = parts.next().expect("a beginning").to_owned();
    let (mut commands, mut edits) = (0, 0);
    while let Some(block) = parts.next() {
        let (head, body) = block.split_once('\n').expect("a block of several lines");
        let body = match head.split_once(' ') {
            Some(("diff", file)) => {
                edit(&directory.path().join(file), body);
                edits += 1;
                body.to_owned()
            }
            None if head == "console" => {
                commands += 1;
                console(body, directory.path())
            }
            _ => panic!("a block of an unknown kind: {head}"),
        };
        real.push_str(&format!("```{head}\n{body}```{}", parts.next().expect("text after a block")));
    }
    assert!(commands >= 8 && edits >= 8, "{commands} commands, {edits} edits");
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(TUTORIAL, &real).expect("the tutorial");
    } else {
        assert_eq!(text, real);
    }
}
