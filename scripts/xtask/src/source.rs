//! A scanner of Rust source: code lines, functions, uses of `unsafe` and what belongs to tests.
//!
//! It knows comments, strings and brackets, not the grammar; that is enough for counting and
//! needs no parser of the language.

use std::ops::RangeInclusive;

/// Stands in for the contents of strings: not blank, and part of no word or bracket.
const FILLER: char = '"';

/// What is inside a Rust file. Lines count from 1.
pub struct Scan {
    /// The text with comments blanked and string contents replaced.
    code: Vec<char>,
    /// Line of each character of `code`.
    line_of: Vec<usize>,
    /// Line ranges of items that exist only under test.
    tests: Vec<RangeInclusive<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of the word `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Scan {
    /// Scans a file's text.
    pub fn new(text: &str) -> Scan {
        let code = blank(text);
        let mut line = 1;
        let line_of = code
            .iter()
            .map(|&c| {
                let this = line;
                line += usize::from(c == '\n');
                this
            })
            .collect();
        let mut scan = Scan { code, line_of, tests: Vec::new() };
        scan.tests = scan.find_tests();
        scan
    }

    /// Lines that hold code outside of tests: no blanks, no comments.
    pub fn code_lines(&self) -> usize {
        let mut last = 0;
        let mut count = 0;
        for (&c, &line) in self.code.iter().zip(&self.line_of) {
            if !c.is_whitespace() && line != last {
                last = line;
                count += usize::from(!self.is_test(line));
            }
        }
        count
    }

    /// Whether a line belongs to an item that exists only under test.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    /// Lines on which the keyword `unsafe` stands outside of attributes and lint names.
    pub fn unsafe_lines(&self) -> Vec<usize> {
        let is_keyword = |at: &usize| {
            let rest: String = self.code[at + "unsafe".len()..].iter().take(12).collect();
            !rest.starts_with('(')
        };
        let positions = self.words("unsafe").into_iter().filter(is_keyword);
        let mut lines: Vec<usize> = positions.map(|at| self.line_of[at]).collect();
        lines.dedup();
        lines
    }

    /// All functions with a body, in order.
    pub fn functions(&self) -> Vec<Function> {
        self.words("fn").into_iter().filter_map(|at| self.function_at(at)).collect()
    }

    fn function_at(&self, at: usize) -> Option<Function> {
        let name: String = self.code[at + 2..]
            .iter()
            .skip_while(|c| c.is_whitespace())
            .take_while(|&&c| is_word(c))
            .collect();
        if name.is_empty() {
            return None;
        }
        let open = self.item_end(at).filter(|&end| self.code[end] == '{')?;
        let close = self.matching(open)?;
        let line = self.line_of[at];
        Some(Function { name, line, lines: self.line_of[close] - line + 1 })
    }

    /// Where an item's head ends: its opening brace, or its semicolon.
    fn item_end(&self, start: usize) -> Option<usize> {
        let mut depth = 0i32;
        for (at, &c) in self.code.iter().enumerate().skip(start) {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                '{' | ';' if depth == 0 => return Some(at),
                _ => {}
            }
        }
        None
    }

    fn matching(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (at, &c) in self.code.iter().enumerate().skip(open) {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.checked_sub(1)?,
                _ => continue,
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn find_tests(&self) -> Vec<RangeInclusive<usize>> {
        let mut found = Vec::new();
        for at in self.words("cfg") {
            let condition: String = self.code[at..].iter().take_while(|&&c| c != ']').collect();
            let condition: String = condition.chars().filter(|c| !c.is_whitespace()).collect();
            if condition != "cfg(test)" && !condition.starts_with("cfg(all(test,") {
                continue;
            }
            let last = self.code.len().saturating_sub(1);
            let inner = self.code[..at].iter().rev().nth(1) == Some(&'!');
            let after = at + self.code[at..].iter().take_while(|&&c| c != ']').count() + 1;
            let end = if inner { None } else { self.item_end(after) };
            let end = match end {
                Some(open) if self.code[open] == '{' => self.matching(open).unwrap_or(last),
                Some(semicolon) => semicolon,
                None => last,
            };
            found.push(self.line_of[at]..=self.line_of[end]);
        }
        found
    }

    /// Positions of a word.
    fn words(&self, word: &str) -> Vec<usize> {
        let word: Vec<char> = word.chars().collect();
        let boundary = |at: Option<usize>| !at.and_then(|at| self.code.get(at)).copied().is_some_and(is_word);
        (0..self.code.len().saturating_sub(word.len() - 1))
            .filter(|&at| self.code[at..].starts_with(&word))
            .filter(|&at| boundary(at.checked_sub(1)) && boundary(Some(at + word.len())))
            .collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments by blanks and string contents by [`FILLER`], keeping line ends.
fn blank(text: &str) -> Vec<char> {
    let source: Vec<char> = text.chars().collect();
    let mut out = source.clone();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let (length, fill) = if rest.starts_with(&['/', '/']) {
            (line_length(rest), ' ')
        } else if rest.starts_with(&['/', '*']) {
            (block_comment_length(rest), ' ')
        } else if let Some(length) = raw_string_length(&source, at) {
            (length, FILLER)
        } else if rest[0] == '"' {
            (string_length(rest), FILLER)
        } else if let Some(length) = char_literal_length(rest) {
            (length, FILLER)
        } else {
            at += 1;
            continue;
        };
        for c in &mut out[at..at + length] {
            if *c != '\n' {
                *c = fill;
            }
        }
        at += length;
    }
    out
}

fn line_length(rest: &[char]) -> usize {
    rest.iter().take_while(|&&c| c != '\n').count()
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of `r"..."`, `r#"..."#`, `br"..."` at this place, if one starts here.
fn raw_string_length(source: &[char], at: usize) -> Option<usize> {
    if at > 0 && is_word(source[at - 1]) {
        return None;
    }
    let rest = &source[at..];
    let prefix = rest.iter().take_while(|&&c| c == 'b' || c == 'c' || c == 'r').count();
    if prefix == 0 || prefix > 2 || rest[prefix - 1] != 'r' {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let body = rest[open + 1..].windows(end.len()).position(|window| window == end);
    Some(body.map_or(rest.len(), |body| open + 1 + body + end.len()))
}

/// Length of a character literal; none for a lifetime.
fn char_literal_length(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', tail @ ..] => {
            let close = tail.iter().skip(1).position(|&c| c == '\'')?;
            Some(close + 4)
        }
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// Lines of assembly that hold code: no blanks, no comments.
pub fn assembly_lines(text: &str) -> usize {
    let blanked: String = blank(text).into_iter().collect();
    blanked.lines().filter(|line| !line.trim().is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"
//! Head.
use a::b; // trailing

/* block /* nested */ still */
fn first<'a>(x: &'a [u8; 2]) -> char {
    let s = "fn no() { // }";
    let r = r#"unsafe { "quoted" }"#;
    '{'
}

#[unsafe(no_mangle)]
fn second() { unsafe { call('\'') } }

trait T { fn declared(&self); }

#[cfg(test)]
mod tests {
    fn helper() {}
}
"##;

    #[test]
    fn code_lines_are_without_blanks_comments_and_tests() {
        assert_eq!(Scan::new(SAMPLE).code_lines(), 9);
    }

    #[test]
    fn functions_have_their_length_and_declarations_none() {
        let functions = Scan::new(SAMPLE).functions();
        let found: Vec<(&str, usize)> = functions.iter().map(|f| (f.name.as_str(), f.lines)).collect();
        assert_eq!(found, [("first", 5), ("second", 1), ("helper", 1)]);
    }

    #[test]
    fn unsafe_in_strings_comments_and_attributes_does_not_count() {
        assert_eq!(Scan::new(SAMPLE).unsafe_lines(), [13]);
        let lint_names = "#![forbid(unsafe_code)]\n#![deny(unsafe_op_in_unsafe_fn)]\n";
        assert!(Scan::new(lint_names).unsafe_lines().is_empty());
    }

    #[test]
    fn test_items_are_known_by_their_attribute() {
        let scan = Scan::new("fn a() {}\n#[cfg(test)]\nextern crate std;\nfn b() {}\n");
        assert!(scan.is_test(2) && scan.is_test(3));
        assert!(!scan.is_test(1) && !scan.is_test(4));
        assert!(Scan::new("#![cfg(test)]\nfn a() {}\n").is_test(2));
        assert!(!Scan::new("#[cfg(not(test))]\nfn a() {}\n").is_test(2));
    }

    #[test]
    fn assembly_is_counted_without_comments() {
        assert_eq!(assembly_lines("// head\n\nstart: mov x0, #1 // why\n  /* a\n b */\n ret\n"), 2);
    }
}
