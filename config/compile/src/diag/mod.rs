//! Findings and how they are shown: every message names the rule, both culprits, what was found, what was expected
//! and the fix. [`human`], [`json`] and [`sarif`] show them.

pub mod human;
pub mod json;
pub mod sarif;

pub use human::{render, render_blocking};
pub use json::to_json;
pub use sarif::to_sarif;

use crate::rules::Rule;
use crate::span::Span;
use std::ops::Range;

/// What a finding does to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No image, and no acceptance helps.
    Error,
    /// No image until `bulkhead,accept` stands at the culprit.
    Finding,
    /// Told, nothing more.
    Warning,
}

impl Severity {
    /// `error`, `finding` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Finding => "finding",
            Severity::Warning => "warning",
        }
    }
}

/// One culprit of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its place.
    pub span: Span,
    /// What it does there.
    pub text: String,
}

/// One violation of one rule.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The rule's severity, or less where the rule says so.
    pub severity: Severity,
    /// The violation in one line.
    pub message: String,
    /// Culprits; the first is the one to mend, and the one at which an acceptance is looked for.
    pub labels: Vec<Label>,
    /// What stands in the configuration.
    pub found: Option<String>,
    /// What should.
    pub expected: Option<String>,
    /// How to get there.
    pub fix: Option<String>,
    /// Reason of the acceptance that covers it.
    pub accepted: Option<String>,
}

impl Finding {
    /// A finding of `rule` whose culprit is at `span`.
    pub fn new(
        rule: &'static Rule,
        message: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Self {
        Finding {
            rule,
            severity: rule.severity,
            message: message.into(),
            labels: vec![Label { span, text: label.into() }],
            found: None,
            expected: None,
            fix: None,
            accepted: None,
        }
    }

    /// A finding about the source as a whole, where no place is known.
    pub fn without_place(rule: &'static Rule, message: impl Into<String>) -> Self {
        Finding {
            rule,
            severity: rule.severity,
            message: message.into(),
            labels: Vec::new(),
            found: None,
            expected: None,
            fix: None,
            accepted: None,
        }
    }

    /// Adds a further culprit.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: label.into() });
        self
    }

    /// Says what was found.
    #[must_use]
    pub fn found(mut self, text: impl Into<String>) -> Self {
        self.found = Some(text.into());
        self
    }

    /// Says what was expected.
    #[must_use]
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    /// Says how to mend it; without it the rule's general fix is shown.
    #[must_use]
    pub fn fix(mut self, text: impl Into<String>) -> Self {
        self.fix = Some(text.into());
        self
    }

    /// Lowers the severity to a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The place to mend.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|l| l.span)
    }

    /// Whether it keeps an image from being built.
    pub fn blocks(&self) -> bool {
        match self.severity {
            Severity::Error => true,
            Severity::Finding => self.accepted.is_none(),
            Severity::Warning => false,
        }
    }
}

/// Sorts by place, then rule, so that two runs and two machines say the same, and drops repetitions: one name may be
/// that of several ends of a port.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.span(), f.rule.id, f.labels.get(1).map(|l| l.span));
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    findings.dedup_by(|a, b| a.rule.id == b.rule.id && a.message == b.message && a.labels == b.labels);
}

/// The source files of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// One source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as messages show it.
    pub name: String,
    /// Its text.
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    fn new(name: String, text: String) -> Self {
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Source { name, text, lines }
    }

    /// Byte offset of a line and column, both from 1, kept inside the line and on a character boundary.
    fn offset(&self, line: u32, column: u32) -> usize {
        let index = (line.max(1) as usize - 1).min(self.lines.len() - 1);
        let start = self.lines[index];
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next - 1);
        let mut at = (start + column.max(1) as usize - 1).min(end);
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// Text of line `line`, from 1, without its line break.
    pub fn line(&self, line: u32) -> &str {
        let start = self.offset(line, 1);
        let end = self.offset(line, u32::MAX);
        &self.text[start..end]
    }
}

impl Sources {
    /// Adds a file and returns its number, the one it already has if the name is known.
    pub fn add(&mut self, name: &str, text: impl FnOnce() -> String) -> u32 {
        let known = self.files.iter().position(|f| f.name == name);
        let index = known.unwrap_or_else(|| {
            self.files.push(Source::new(name.to_owned(), text()));
            self.files.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Every file, in order of first use; the configuration itself is the first.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// The same files under other names, for what must not tell where they lay.
    #[must_use]
    pub fn renamed(&self, name: impl Fn(&str) -> String) -> Sources {
        let renamed = |file: &Source| Source { name: name(&file.name), ..file.clone() };
        Sources { files: self.files.iter().map(renamed).collect() }
    }

    /// The file that `span` lies in.
    pub fn file(&self, span: Span) -> Option<&Source> {
        self.files.get(span.file as usize)
    }

    /// `file:line:column` of the start of `span`.
    pub fn place(&self, span: Span) -> String {
        let name = self.file(span).map_or("?", |f| f.name.as_str());
        format!("{name}:{}:{}", span.line, span.column)
    }

    /// The text that `span` covers; empty if the file is unknown.
    pub fn text(&self, span: Span) -> &str {
        self.file(span).map_or("", |f| &f.text[bytes(f, span)])
    }
}

fn bytes(file: &Source, span: Span) -> Range<usize> {
    let start = file.offset(span.line, span.column);
    let end = file.offset(span.end_line, span.end_column).max(start);
    start..end
}
