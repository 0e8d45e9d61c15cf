//! Findings as a person reads them: in the manner of rustc, both culprits underlined.

use super::{Finding, Label, Severity, Source, Sources, bytes};
use crate::span::Span;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;

/// Shows all findings in the manner of rustc, `colour` with terminal escapes.
pub fn render(findings: &[Finding], sources: &Sources, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for finding in findings {
        out.push_str(&renderer.render(&[group(finding, sources)]));
        out.push_str("\n\n");
    }
    out
}

/// Those findings that keep an image from being built; all, if none of them does.
pub fn render_blocking(findings: &[Finding], sources: &Sources, colour: bool) -> String {
    let blocking: Vec<Finding> = findings.iter().filter(|f| f.blocks()).cloned().collect();
    render(if blocking.is_empty() { findings } else { &blocking }, sources, colour)
}

fn group<'a>(finding: &'a Finding, sources: &'a Sources) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Finding => Level::WARNING.with_name("finding"),
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(finding.message.as_str()).id(finding.rule.id));
    for (file, labels) in by_file(finding) {
        let Some(source) = sources.files.get(file as usize) else {
            continue;
        };
        let annotations = labels.into_iter().map(|(first, label)| {
            let kind = if first { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(first_line(source, label.span)).label(label.text.as_str())
        });
        group = group.element(
            Snippet::source(source.text.as_str()).path(source.name.as_str()).annotations(annotations),
        );
    }
    let fix = finding.fix.as_deref().unwrap_or(finding.rule.fix);
    let notes = [("found", finding.found.as_deref()), ("expected", finding.expected.as_deref())];
    for (name, text) in notes {
        if let Some(text) = text {
            group = group.element(Level::NOTE.with_name(name).message(text));
        }
    }
    group = group.element(Level::HELP.with_name("fix").message(fix));
    match (&finding.accepted, finding.severity) {
        (Some(reason), _) => group.element(Level::NOTE.with_name("accepted").message(reason.as_str())),
        (None, Severity::Finding) => group.element(Level::HELP.with_name("or accept").message(format!(
            "bulkhead,accept = \"{}: reason\"; in this node or an outer one",
            finding.rule.id
        ))),
        (None, _) => group,
    }
}

/// Labels grouped by file in order of first mention; the flag marks the first label of all.
fn by_file(finding: &Finding) -> Vec<(u32, Vec<(bool, &Label)>)> {
    let mut files: Vec<(u32, Vec<(bool, &Label)>)> = Vec::new();
    for (index, label) in finding.labels.iter().enumerate() {
        let entry = (index == 0, label);
        match files.iter_mut().find(|(file, _)| *file == label.span.file) {
            Some((_, labels)) => labels.push(entry),
            None => files.push((label.span.file, vec![entry])),
        }
    }
    files
}

/// A place of many lines is shown by its first: the rest would only push the message off the screen.
fn first_line(source: &Source, span: Span) -> Range<usize> {
    let all = bytes(source, span);
    let end = source.offset(span.line, u32::MAX).min(all.end);
    all.start..end.max(all.start)
}
