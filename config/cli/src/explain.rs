//! `explain` and `rules`: the texts of the rule table.

use bulkhead_compile::diag::Severity;
use bulkhead_compile::rules::{RULES, Rule, by_id};
use clap::ValueEnum;

/// How the list is shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line for each rule.
    Human,
    /// JSON for a program.
    Json,
}

fn effect(rule: &Rule) -> &'static str {
    match rule.severity {
        Severity::Error => "error: no image, and it cannot be accepted",
        Severity::Finding => {
            "finding: no image until bulkhead,accept = \"ID: reason\" stands at the first culprit"
        }
        Severity::Warning => "warning",
    }
}

/// Explains one rule; the exit status is 2 if there is none of that name.
pub fn explain(id: &str) -> u8 {
    let wanted = id.to_ascii_uppercase();
    let Some(rule) = by_id(&wanted) else {
        let ids = RULES.iter().map(|r| r.id);
        let hint = bulkhead_compile::read::spelling::nearest(&wanted, ids);
        let hint = hint.map(|h| format!("; nearest: {h}")).unwrap_or_default();
        eprintln!("error: there is no rule {id}{hint}\nfix: `bulkhead rules` lists them all");
        return crate::UNUSABLE;
    };
    println!("{}: {}", rule.id, rule.title);
    println!("\n  {}", effect(rule));
    println!("\nWhy\n  {}", rule.why);
    println!("\nBroken by\n  {}", rule.example);
    println!("\nMend it\n  {}", rule.fix);
    crate::CLEAN
}

/// Lists all rules.
pub fn list(format: Format) -> u8 {
    if format == Format::Json {
        let list: Vec<serde_json::Value> = RULES
            .iter()
            .map(|r| {
                serde_json::json!({
                    "id": r.id, "severity": r.severity.word(), "title": r.title,
                    "why": r.why, "example": r.example, "fix": r.fix,
                })
            })
            .collect();
        println!("{}", serde_json::Value::Array(list));
    } else {
        for rule in RULES {
            println!("{}  {:7}  {}", rule.id, rule.severity.word(), rule.title);
        }
    }
    crate::CLEAN
}
