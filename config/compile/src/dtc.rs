//! Runs the device-tree compiler and turns what it says into findings.
//!
//! The board files that come with this crate are laid out in a temporary directory that dtc searches last, so that
//! `/include/ "board/NAME.dtsi"` works anywhere and a file of that name beside the configuration wins.

use crate::board::BUILTIN_FILES;
use crate::diag::{Finding, Sources};
use crate::dts::{self, NodeIndex, Paths, Tree};
use crate::rules::language::{LNG_002, LNG_006};
use crate::span::Span;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest dtc that annotates columns.
const OLDEST: (u32, u32) = (1, 5);

/// A source file as dtc sees it.
#[derive(Debug)]
pub struct Compiled {
    /// The tree; `None` if dtc refuses the source.
    pub tree: Option<Tree>,
    /// Every file that the tree comes from, the configuration first.
    pub sources: Sources,
    /// What dtc complains about, as LNG-002 and LNG-006.
    pub findings: Vec<Finding>,
}

/// Why a configuration could not even be read.
#[derive(Debug)]
pub struct Unusable(
    /// The reason with the fix.
    pub String,
);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// Compiles `path` with dtc.
///
/// # Errors
/// The file cannot be read, or dtc is missing or too old.
pub fn compile(path: &Path) -> Result<Compiled, Unusable> {
    let text = std::fs::read(path).map_err(|e| {
        Unusable(format!("cannot read {}: {e}\nfix: give the path of a configuration (.dts)", path.display()))
    })?;
    check_version()?;
    let builtin =
        lay_out_boards().map_err(|e| Unusable(format!("cannot write a temporary directory: {e}")))?;
    let paths = Paths {
        directory: directory_of(path),
        shown_prefix: path.parent().map(Path::to_path_buf).unwrap_or_default(),
        builtin: builtin.path().to_path_buf(),
    };
    let name = path.file_name().unwrap_or_default();
    let mut sources = Sources::default();
    sources.add(&paths.shown(&name.to_string_lossy()), || String::from_utf8_lossy(&text).into_owned());
    if let Some(finding) = no_source(&text, &paths.directory) {
        return Ok(Compiled { tree: None, sources, findings: vec![finding] });
    }

    let (tree, complaints) = run(&paths, name, &mut sources)?;
    let mut findings = Vec::new();
    let mut unresolvable = false;
    for line in complaints.lines() {
        let reference = tree.as_ref().and_then(|t| dangling_reference(line, t, &sources));
        if let Some(finding) = reference {
            findings.push(finding);
        } else if let Some(finding) = refusal(line, &paths, &mut sources) {
            unresolvable = true;
            findings.push(finding);
        }
    }
    if tree.is_none() && findings.is_empty() {
        findings.push(Finding::without_place(&LNG_006, format!("dtc gave up: {}", complaints.trim())));
    }
    // After an error other than a dangling reference dtc resolves no reference at all: nothing can be judged.
    let tree = tree.filter(|_| !unresolvable);
    Ok(Compiled { tree, sources, findings })
}

/// LNG-006 about a file that dtc would only call a syntax error: nothing, not text, or without the first line.
fn no_source(text: &[u8], directory: &Path) -> Option<Finding> {
    let (found, fix) = if text.iter().all(u8::is_ascii_whitespace) {
        ("an empty file", "`bulkhead new FILE` writes a configuration to start from")
    } else if text.starts_with(b"\xef\xbb\xbf") {
        ("a byte-order mark", "save it as UTF-8 without a byte-order mark")
    } else if text.contains(&0) {
        ("bytes that are no text", "give device-tree source in UTF-8, or a blob that dtc wrote")
    } else if !is_versioned(text, directory, INCLUDE_DEPTH) {
        ("no /dts-v1/;", "begin the configuration with /dts-v1/;")
    } else {
        return None;
    };
    let start = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 2, node: 0 };
    let finding = Finding::new(&LNG_006, "the file is no device-tree source", start, "begins here");
    Some(finding.found(found).expected("/dts-v1/; and then nodes").fix(fix))
}

/// How deep included files are looked into for /dts-v1/; dtc says what is wrong with a circle.
const INCLUDE_DEPTH: u32 = 8;

/// Whether `text`, or a file that it includes, says /dts-v1/; a file that cannot be read may.
fn is_versioned(text: &[u8], directory: &Path, depth: u32) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut included = text.split("/include/").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let builtin = |name: &str| BUILTIN_FILES.iter().any(|(file, _)| name == format!("board/{file}"));
    text.contains("/dts-v1/")
        || depth == 0
        || included.any(|name| {
            let path = directory.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => is_versioned(&bytes, path.parent().unwrap_or(directory), depth - 1),
                Err(_) => !builtin(name),
            }
        })
}

/// Whether the file at `path` can be read and begins with `magic`.
pub fn starts_with(path: &Path, magic: &[u8]) -> bool {
    let mut head = vec![0; magic.len()];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && head == magic
}

/// Runs dtc on the file `name`; gives the tree, if it wrote one, and what it says on its error output.
fn run(paths: &Paths, name: &OsStr, sources: &mut Sources) -> Result<(Option<Tree>, String), Unusable> {
    let output = Command::new("dtc")
        .args(["-q", "-f", "-I", "dts", "-O", "dts", "-T", "-T", "-i"])
        .arg(&paths.builtin)
        .arg("--")
        .arg(name)
        .current_dir(&paths.directory)
        .output()
        .map_err(|e| Unusable(format!("cannot run dtc: {e}")))?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Ok((None, complaints));
    }
    let tree = dts::parse(&String::from_utf8_lossy(&output.stdout), paths, sources);
    let tree = tree.map_err(|e| Unusable(format!("dtc wrote no annotated tree: {e}")))?;
    Ok((Some(tree), complaints))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Asks dtc for its version.
fn check_version() -> Result<(), Unusable> {
    const FIX: &str =
        "fix: install the device-tree compiler 1.5 or newer (Debian: apt install device-tree-compiler)";
    let output = Command::new("dtc")
        .arg("--version")
        .output()
        .map_err(|e| Unusable(format!("cannot run the device-tree compiler `dtc`: {e}\n{FIX}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match version(&text) {
        Some(found) if found >= OLDEST => Ok(()),
        _ => Err(Unusable(format!("found {}, expected dtc 1.5 or newer\n{FIX}", text.trim()))),
    }
}

/// `Version: DTC 1.6.1` or `Version: DTC v1.7.0-...`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().last()?.trim_start_matches('v');
    let mut parts = number.split(['.', '-']).map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn lay_out_boards() -> std::io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("bulkhead-boards-").tempdir()?;
    std::fs::create_dir(directory.path().join("board"))?;
    for (name, text) in BUILTIN_FILES {
        std::fs::write(directory.path().join("board").join(name), text)?;
    }
    Ok(directory)
}

/// `file:5.12-137: ERROR (phandle_references): /node@1: Reference to non-existent node or label "x"`.
fn dangling_reference(line: &str, tree: &Tree, sources: &Sources) -> Option<Finding> {
    let (before, after) = line.split_once("Reference to non-existent node or label \"")?;
    let target = after.strip_suffix('"')?;
    let path = before.rsplit_once("): ")?.1.trim_end_matches(": ");
    let node = find_path(tree, path)?;
    let written = if target.starts_with('/') { format!("&{{{target}}}") } else { format!("&{target}") };
    let span = find_reference(tree, sources, node, &written).unwrap_or(tree.nodes[node].span);
    let labels = tree.nodes.iter().flat_map(|n| n.labels.iter().map(String::as_str));
    let nearest = crate::read::spelling::nearest(target, labels);
    let finding = Finding::new(
        &LNG_002,
        format!("the reference {written} names nothing"),
        span,
        "no node has this label",
    )
    .found(written.clone());
    Some(match nearest {
        Some(label) => {
            finding.expected(format!("a label that exists; nearest: &{label}")).fix(format!("write &{label}"))
        }
        None => finding.expected("a label that exists"),
    })
}

fn find_path(tree: &Tree, path: &str) -> Option<NodeIndex> {
    path.split('/').filter(|part| !part.is_empty()).try_fold(dts::ROOT, |node, part| tree.child(node, part))
}

/// The place of `written` in the text of one of the node's properties.
fn find_reference(tree: &Tree, sources: &Sources, node: NodeIndex, written: &str) -> Option<Span> {
    tree.nodes[node]
        .properties
        .iter()
        .find_map(|p| references_in(sources, p.span).into_iter().find(|span| sources.text(*span) == written))
}

/// The places of all `&label` and `&{/path}` inside the text that `span` covers, in order.
pub fn references_in(sources: &Sources, span: Span) -> Vec<Span> {
    let text = sources.text(span);
    let mut out = Vec::new();
    let (mut line, mut column) = (span.line, span.column);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '&' {
            let length = if rest[1..].starts_with('{') {
                rest.find('}').map_or(1, |at| at + 1)
            } else {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                end.map_or(rest.len(), |at| at + 1)
            };
            let width = u32::try_from(length).unwrap_or(1);
            out.push(Span { line, column, end_line: line, end_column: column + width, ..span });
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += c.len_utf8() as u32;
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Any other error line of dtc's: `Error: file:4.2-3 syntax error`, `file:7.4-8: ERROR (check): /d: text`,
/// `FATAL ERROR: text`. Lines that only repeat an error are dropped.
fn refusal(line: &str, paths: &Paths, sources: &mut Sources) -> Option<Finding> {
    if let Some(text) = line.strip_prefix("FATAL ERROR: ") {
        let repeats = text.starts_with("Unable to parse") || text.starts_with("Syntax error");
        return (!repeats).then(|| missing_include(text, sources));
    }
    let (place, text) = if let Some(rest) = line.strip_prefix("Error: ") {
        rest.split_once(' ')?
    } else {
        let (place, rest) = line.split_once(": ERROR ")?;
        (place, rest.split_once(": ")?.1)
    };
    let message = format!("dtc: {text}");
    Some(match short_place(place, paths, sources) {
        Some(span) => {
            let finding = Finding::new(&LNG_006, message, span, "here");
            let first = text.split_once("Duplicate label '").and_then(|(_, rest)| rest.split('\'').next());
            let first = first.and_then(|label| first_label(label, span, sources));
            let finding = first.into_iter().fold(finding, |f, first| f.also(first, "first"));
            match by_complaint(text).or_else(|| slip(span, sources)) {
                Some(fix) => finding.fix(fix),
                None => finding,
            }
        }
        None => Finding::without_place(&LNG_006, message),
    })
}

/// How to mend what dtc has a message of its own for.
fn by_complaint(text: &str) -> Option<&'static str> {
    let known = [
        ("Duplicate label", "give each node a label of its own"),
        (
            "Duplicate node name",
            "give each node a name of its own; &LABEL { ... }; adds to one that is there",
        ),
        ("out of range", "write a number above 32 bits in two cells: <HIGH LOW>"),
        ("duplicated phandle", "leave `phandle` to dtc: write a label, and &LABEL where it is named"),
        ("Properties must precede", "move the property before the first child node"),
    ];
    known.iter().find(|(part, _)| text.contains(part)).map(|(_, fix)| *fix)
}

/// Where `label` stands in the file of `second` before it.
fn first_label(label: &str, second: Span, sources: &Sources) -> Option<Span> {
    let wanted = format!("{label}:");
    let lines = sources.file(second)?.text.lines();
    let at = (1..).zip(lines).find_map(|(line, text)| {
        let column = text
            .match_indices(&wanted)
            .map(|(at, _)| at)
            .find(|at| !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '&'))?;
        Some((line, u32::try_from(column).ok()? + 1))
    });
    let (line, column) = at.filter(|at| *at < (second.line, second.column))?;
    let end_column = column + u32::try_from(label.len()).ok()?;
    Some(Span { line, column, end_line: line, end_column, ..second })
}

/// Directives of the C preprocessor, which other trees are written for.
const DIRECTIVES: [&str; 7] = ["#include", "#define", "#undef", "#if", "#ifdef", "#ifndef", "#endif"];

/// How to mend the slips behind most syntax errors: a semicolon, a quotation mark, a directive of the C preprocessor.
fn slip(span: Span, sources: &Sources) -> Option<&'static str> {
    let file = sources.file(span)?;
    let line = file.line(span.line);
    if line.split_whitespace().next().is_some_and(|word| DIRECTIVES.contains(&word)) {
        return Some("the C preprocessor is not run: write /include/ \"FILE\", and numbers as they are");
    }
    let here = line.get(span.column.saturating_sub(1) as usize..)?;
    let touches =
        line.get(..span.column.saturating_sub(1) as usize)?.ends_with(|c: char| c.is_ascii_hexdigit());
    match here.chars().next() {
        Some(c) if !c.is_ascii() => {
            return Some("names and labels are of ASCII; other letters stand in comments and in \"...\"");
        }
        Some(c) if c.is_ascii_alphabetic() && touches => {
            return Some("write the number alone, as 4096 or 0x1000: no unit, no other letters");
        }
        Some('-') => {
            return Some("put a calculation in parentheses, <(1 - 2)>; few numbers here are negative");
        }
        _ => {}
    }
    let lines = file.text.lines().take(span.line.saturating_sub(1) as usize);
    let before: String = lines.map(|l| format!("{l}\n")).collect();
    let before = before + line.get(..span.column.saturating_sub(1) as usize)?;
    let mut before = before.trim_end();
    while let Some(comment) = before.strip_suffix("*/").and_then(|text| text.rfind("/*")) {
        before = before[..comment].trim_end();
    }
    match before.chars().last()? {
        '=' => Some("put text into \"...\", numbers and references into <...>"),
        '>' | '"' | ']' | '}' => Some("put `;` behind what stands before this place"),
        _ => None,
    }
}

/// `Couldn't open "x.dtsi": No such file or directory`, shown at the `/include/` that asks for it.
fn missing_include(text: &str, sources: &Sources) -> Finding {
    let message = format!("dtc: {text}");
    let circle = text.starts_with("Includes nested");
    let wanted = if circle { "/include/" } else { text.split('"').nth(1).unwrap_or(text) };
    let at = sources.files().first().and_then(|main| {
        (1..).zip(main.text.lines()).find_map(|(line, content)| {
            let column = content.contains("/include/").then(|| content.find(wanted))??;
            Some((line, column as u32 + 1))
        })
    });
    let boards: Vec<String> = BUILTIN_FILES.iter().map(|(name, _)| format!("board/{name}")).collect();
    let (expected, fix) = match circle {
        true => ("files that do not include each other".to_owned(), "take the /include/ of the circle out"),
        false => (
            format!("a file beside the configuration, or a built-in one: {}", boards.join(", ")),
            "mend the name, or put the file there",
        ),
    };
    let width = wanted.len() as u32;
    let finding = match at {
        Some((line, column)) => {
            let span = Span { file: 0, line, column, end_line: line, end_column: column + width, node: 0 };
            Finding::new(&LNG_006, message, span, "included here")
        }
        None => Finding::without_place(&LNG_006, message),
    };
    finding.expected(expected).fix(fix)
}

/// `file:4.2-3`, `file:4.2-7.3`, with or without a final colon.
fn short_place(place: &str, paths: &Paths, sources: &mut Sources) -> Option<Span> {
    let (file, numbers) = place.trim_end_matches(':').rsplit_once(':')?;
    let (start, end) = numbers.split_once('-')?;
    let (line, column) = start.split_once('.')?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    let (end_line, end_column) = match end.split_once('.') {
        Some((end_line, end_column)) => (end_line.parse().ok()?, end_column.parse().ok()?),
        None => (line, end.parse().ok()?),
    };
    Some(Span { file: paths.add(sources, file), line, column, end_line, end_column, node: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_slips_of_syntax_have_a_fix_of_their_own() {
        let fix = |text: &str, line: u32, column: u32| {
            let mut sources = Sources::default();
            let file = sources.add("x.dts", || text.to_owned());
            slip(Span { file, line, column, end_line: line, end_column: column + 1, node: 0 }, &sources)
        };
        assert!(fix("a = <1>\t/* one */ /* more */\nb = <2>;", 2, 1).is_some_and(|f| f.contains("`;`")));
        assert!(fix("a = first.elf;", 1, 5).is_some_and(|f| f.contains("\"...\"")));
        assert!(fix("#include <x.h>", 1, 1).is_some_and(|f| f.contains("/include/")));
        assert_eq!(fix("#address-cells 2;", 1, 16), None);
    }

    #[test]
    fn versions_of_distributions_are_understood() {
        assert_eq!(version("Version: DTC 1.6.1\n"), Some((1, 6)));
        assert_eq!(version("Version: DTC v1.7.0-gabcdef\n"), Some((1, 7)));
        assert_eq!(version("nonsense"), None);
    }
}
