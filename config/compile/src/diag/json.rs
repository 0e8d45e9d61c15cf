//! Findings for a program.

use super::{Finding, Sources};

/// Findings as JSON: one array of objects with rule, severity, message, culprits, and the accepted reason.
pub fn to_json(findings: &[Finding], sources: &Sources) -> String {
    let list: Vec<serde_json::Value> = findings
        .iter()
        .map(|f| {
            let culprits: Vec<serde_json::Value> = f
                .labels
                .iter()
                .map(|l| {
                    serde_json::json!({
                        "file": sources.file(l.span).map(|s| s.name.as_str()),
                        "line": l.span.line,
                        "column": l.span.column,
                        "end-line": l.span.end_line,
                        "end-column": l.span.end_column,
                        "text": l.text,
                    })
                })
                .collect();
            serde_json::json!({
                "rule": f.rule.id,
                "severity": f.severity.word(),
                "blocks": f.blocks(),
                "message": f.message,
                "culprits": culprits,
                "found": f.found,
                "expected": f.expected,
                "fix": f.fix.as_deref().unwrap_or(f.rule.fix),
                "accepted": f.accepted,
            })
        })
        .collect();
    serde_json::Value::Array(list).to_string()
}
