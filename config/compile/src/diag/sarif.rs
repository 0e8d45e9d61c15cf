//! Findings as SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format), which code-hosting services show
//! beside the line.
//!
//! A finding that nobody accepted has level `error` as it keeps an image from being built; an accepted one carries
//! its reason as a suppression.

use super::{Finding, Severity, Sources};
use crate::rules::{RULES, Rule};
use crate::span::Span;
use serde_sarif::sarif;

/// Where the format is defined.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// One run with every rule of this version and every finding.
pub fn to_sarif(findings: &[Finding], sources: &Sources) -> String {
    let driver = sarif::ToolComponent::builder()
        .name("bulkhead")
        .version(env!("CARGO_PKG_VERSION"))
        .rules(RULES.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>())
        .build();
    let run = sarif::Run::builder()
        .tool(sarif::Tool::builder().driver(driver).build())
        .column_kind("utf16CodeUnits")
        .results(findings.iter().map(|f| result(f, sources)).collect::<Vec<_>>())
        .build();
    let log = sarif::Sarif::builder().schema(SCHEMA).version("2.1.0").runs(vec![run]).build();
    // Strings, numbers and lists of them: there is nothing in it that JSON could refuse.
    serde_json::to_string_pretty(&log).unwrap_or_default()
}

fn descriptor(rule: &Rule) -> sarif::ReportingDescriptor {
    let text = |text: &str| sarif::MultiformatMessageString::builder().text(text).build();
    let level = match rule.severity {
        Severity::Error | Severity::Finding => "error",
        Severity::Warning => "warning",
    };
    sarif::ReportingDescriptor::builder()
        .id(rule.id)
        .short_description(text(rule.title))
        .full_description(text(rule.why))
        .help(text(&format!("Broken by: {}\nMend it: {}", rule.example, rule.fix)))
        .default_configuration(sarif::ReportingConfiguration::builder().level(level).build())
        .build()
}

fn result(finding: &Finding, sources: &Sources) -> sarif::Result {
    let mut text = finding.message.clone();
    for (what, line) in [("found", &finding.found), ("expected", &finding.expected)] {
        if let Some(line) = line {
            text.push_str(&format!("\n{what}: {line}"));
        }
    }
    text.push_str(&format!("\nfix: {}", finding.fix.as_deref().unwrap_or(finding.rule.fix)));
    let mut locations = finding.labels.iter().map(|label| location(label.span, &label.text, sources));
    let rule_index = RULES.iter().position(|rule| rule.id == finding.rule.id).unwrap_or_default();
    let suppressions: Vec<sarif::Suppression> = finding
        .accepted
        .iter()
        .map(|reason| sarif::Suppression::builder().kind("inSource").justification(reason).build())
        .collect();
    sarif::Result::builder()
        .rule_id(finding.rule.id)
        .rule_index(i64::try_from(rule_index).unwrap_or_default())
        .level(if finding.severity == Severity::Warning {
            sarif::ResultLevel::Warning
        } else {
            sarif::ResultLevel::Error
        })
        .message(sarif::Message::builder().text(text).build())
        .locations(locations.next().into_iter().collect::<Vec<_>>())
        .related_locations(locations.collect::<Vec<_>>())
        .suppressions(suppressions)
        .build()
}

fn location(span: Span, text: &str, sources: &Sources) -> sarif::Location {
    let name = sources.file(span).map_or("", |file| file.name.as_str());
    let column = |line: u32, column: u32| utf16_column(sources, Span { line, ..span }, column);
    let region = sarif::Region::builder()
        .start_line(i64::from(span.line))
        .start_column(column(span.line, span.column))
        .end_line(i64::from(span.end_line))
        .end_column(column(span.end_line, span.end_column))
        .build();
    let artifact = sarif::ArtifactLocation::builder().uri(uri(name)).build();
    let place = sarif::PhysicalLocation::builder().artifact_location(artifact).region(region).build();
    sarif::Location::builder()
        .physical_location(place)
        .message(sarif::Message::builder().text(text).build())
        .build()
}

/// A column in UTF-16 units, as SARIF counts, from one in bytes.
fn utf16_column(sources: &Sources, at: Span, column: u32) -> i64 {
    let line = sources.file(at).map_or("", |file| file.line(at.line));
    let bytes = (column.max(1) as usize - 1).min(line.len());
    let units = line.get(..bytes).map_or(bytes, |before| before.encode_utf16().count());
    i64::try_from(units + 1).unwrap_or(1)
}

/// A relative URI reference (RFC 3986): what is not unreserved or a path separator is percent-encoded.
fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
