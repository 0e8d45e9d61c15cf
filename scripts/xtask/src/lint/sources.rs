//! Rules for source files: sizes, `unsafe`, leftover words, paths of one machine.

use std::path::Path;
use std::process::Command;

use crate::failure::Result;
use crate::files;
use crate::process;
use crate::source::Scan;

/// Most lines of a file.
const FILE_LINES: usize = 600;
/// Most lines of a function.
const FUNCTION_LINES: usize = 60;
/// How far above a use of `unsafe` its reason may begin.
const REASON_WITHIN: usize = 12;

/// Directories whose crates may say `unsafe`.
const UNSAFE_ALLOWED: &[&str] = &["hv/arch/", "partitions/sdk/", "partitions/loader/", "partitions/probes/"];

/// The crate whose entries carry attributes that count as unsafe: it may lower the lint for those
/// attributes, and still says no `unsafe` itself.
const ATTRIBUTES_ALLOWED: &str = "hv/image/";

/// Words that mark unfinished work, in two halves so that this file does not hold them.
const LEFTOVERS: &[(&str, &str)] = &[
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X"),
    ("HA", "CK"),
    ("for n", "ow"),
    ("place", "holder"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("dbg", "!("),
];

/// Beginnings of paths that exist on one machine only, in two halves for the same reason.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/wo", "rk/"), ("/home", "/")];

/// Everything that is wrong with the files of the repository.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut found = Vec::new();
    for name in process::capture(&mut git)?.lines() {
        let path = root.join(name);
        let is_text = [".rs", ".s", ".S", ".c", ".h", ".ld", ".toml", ".dts", ".dtsi", ".md", ".sh"]
            .iter()
            .any(|extension| name.ends_with(extension));
        if !is_text || !path.exists() {
            continue;
        }
        let text = files::read_text(&path)?;
        words(name, &text, &mut found);
        if [".rs", ".s", ".S", ".c", ".h"].iter().any(|extension| name.ends_with(extension)) {
            size(name, &text, &mut found);
        }
        if name.ends_with(".rs") {
            rust(name, &text, &mut found);
        }
    }
    Ok(found)
}

fn size(name: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{name}: {lines} lines, at most {FILE_LINES}; split it by subject"));
    }
}

fn words(name: &str, text: &str, found: &mut Vec<String>) {
    for (line, content) in (1..).zip(text.lines()) {
        for (first, second) in LEFTOVERS {
            let word = format!("{first}{second}");
            if holds(content, &word) {
                found.push(format!("{name}:{line}: leftover `{word}`: finish it or file an issue"));
            }
        }
        for (first, second) in MACHINE_PATHS {
            let path = format!("{first}{second}");
            if content.contains(&path) {
                found.push(format!("{name}:{line}: `{path}...` is a path of one machine"));
            }
        }
    }
}

/// Whether a text holds a word that is not part of a longer one.
fn holds(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside(text[..at].chars().next_back()) && !inside(text[at + word.len()..].chars().next())
    })
}

fn rust(name: &str, text: &str, found: &mut Vec<String>) {
    let scan = Scan::new(text);
    let is_tests = name.contains("/tests/");
    for function in scan.functions() {
        if !is_tests && function.lines > FUNCTION_LINES && !scan.is_test(function.line) {
            found.push(format!(
                "{name}:{}: function `{}` has {} lines, at most {FUNCTION_LINES}",
                function.line, function.name, function.lines
            ));
        }
    }
    let allowed = UNSAFE_ALLOWED.iter().any(|directory| name.starts_with(directory));
    let lines: Vec<&str> = text.lines().collect();
    for line in scan.unsafe_lines() {
        if !allowed {
            found.push(format!("{name}:{line}: `unsafe` outside of {}", UNSAFE_ALLOWED.join(", ")));
        } else if !has_reason(&lines, line) {
            found.push(format!("{name}:{line}: `unsafe` without a SAFETY comment above it"));
        }
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    let is_forbidden = text.contains("#![forbid(unsafe_code)]")
        || name.starts_with(ATTRIBUTES_ALLOWED) && text.contains("#![deny(unsafe_code)]");
    if is_root && !allowed && !is_forbidden {
        found.push(format!("{name}: the crate does not say #![forbid(unsafe_code)]"));
    }
}

/// Whether a reason stands on the line or in the comment above it. Declarations of `unsafe fn`
/// have a `# Safety` section; what follows in one statement shares one reason. A block of foreign
/// declarations does nothing yet.
fn has_reason(lines: &[&str], line: usize) -> bool {
    let declares = |text: &&str| text.contains("unsafe extern \"") && !text.contains(" fn ");
    if lines.get(line - 1).is_some_and(declares) {
        return true;
    }
    let first = line.saturating_sub(REASON_WITHIN);
    let above = &lines[first.saturating_sub(1)..line.min(lines.len())];
    above.iter().any(|text| text.contains("SAFETY:") || text.contains("# Safety"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rust(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        rust(name, text, &mut found);
        found
    }

    #[test]
    fn unsafe_is_refused_where_it_is_not_allowed_and_wants_a_reason_where_it_is() {
        let plain = "fn f() { unsafe { g() } }\n";
        let reasoned = "// SAFETY: g has no precondition.\nfn f() { unsafe { g() } }\n";
        assert!(of_rust("hv/core/src/a.rs", reasoned)[0].contains("a.rs:2: `unsafe` outside"));
        assert!(of_rust("hv/arch/src/a.rs", plain)[0].contains("without a SAFETY comment"));
        assert!(of_rust("hv/arch/src/a.rs", reasoned).is_empty());
        let foreign = "unsafe extern \"C\" {\n    static END: u8;\n}\n";
        assert!(of_rust("hv/arch/src/a.rs", foreign).is_empty());
        assert!(!of_rust("hv/core/src/a.rs", foreign).is_empty());
    }

    #[test]
    fn crate_roots_forbid_unsafe() {
        assert!(of_rust("hv/core/src/lib.rs", "")[0].contains("forbid(unsafe_code)"));
        assert!(of_rust("hv/core/src/lib.rs", "#![forbid(unsafe_code)]\n").is_empty());
        assert!(of_rust("hv/core/src/other.rs", "").is_empty());
        assert!(of_rust("hv/image/src/main.rs", "#![deny(unsafe_code)]\n").is_empty());
        assert!(!of_rust("hv/core/src/lib.rs", "#![deny(unsafe_code)]\n").is_empty());
    }

    #[test]
    fn long_functions_and_files_are_named() {
        let long = format!("fn f() {{\n{}}}\n", "x();\n".repeat(FUNCTION_LINES));
        assert!(of_rust("a.rs", &long)[0].contains("function `f` has 62 lines"));
        let tested = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(of_rust("a.rs", &tested).is_empty());
        let mut found = Vec::new();
        size("a.rs", &"\n".repeat(FILE_LINES + 1), &mut found);
        assert!(found[0].contains("601 lines"));
    }

    #[test]
    fn leftovers_and_paths_of_a_machine_are_found_as_words() {
        let mut found = Vec::new();
        let text = ["// TO", "DO later\nlet methodology = 1;\nopen(\"/ro", "ot/x\");\n"].concat();
        words("a.rs", &text, &mut found);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.rs:1: leftover"));
        assert!(found[1].starts_with("a.rs:3:"));
    }
}
