//! ACC: `bulkhead,accept = "ID: reason"` on the node of a finding's first culprit, or on an ancestor.

use super::{Check, by_id, rule};
use crate::diag::{Finding, Severity};
use crate::dts::{Property, Tree};
use crate::span::Span;
use std::collections::HashMap;

rule!(ACC_001, "ACC-001", Error, Check::Acceptances,
    "An acceptance names an unknown or unacceptable rule, has no reason, or no finding stands behind it any more.",
    why: "An acceptance that covers nothing today would silently cover the finding of tomorrow.",
    example: "bulkhead,accept = \"PRT-004\"; /* no reason */",
    fix: "write \"ID: reason\" for a rule of severity `finding`, or remove it");

struct Acceptance<'t> {
    id: &'t str,
    reason: &'t str,
    span: Span,
    used: bool,
}

/// Marks the findings that an acceptance covers and adds ACC-001 for acceptances that are wrong or stale.
///
/// While the source itself has errors nothing is called stale: the finding may be hidden behind one of them.
pub fn apply(tree: &Tree, findings: &mut Vec<Finding>) {
    let readable = !findings.iter().any(|f| matches!(f.rule.check, Check::Reader));
    let mut by_node: HashMap<usize, Vec<Acceptance<'_>>> = HashMap::new();
    let mut wrong = Vec::new();
    for (index, node) in tree.nodes.iter().enumerate() {
        let Some(property) = node.property("bulkhead,accept") else {
            continue;
        };
        for text in property_texts(property) {
            match parse(text, property.span) {
                Ok(acceptance) => by_node.entry(index).or_default().push(acceptance),
                Err(finding) => wrong.push(*finding),
            }
        }
    }
    for finding in findings.iter_mut().filter(|f| f.severity == Severity::Finding) {
        let Some(span) = finding.span() else { continue };
        let covering = tree.ancestors(span.node as usize).find_map(|node| {
            let list = by_node.get(&node)?;
            list.iter().position(|a| a.id == finding.rule.id).map(|at| (node, at))
        });
        if let Some(acceptance) = covering.and_then(|(node, at)| by_node.get_mut(&node)?.get_mut(at)) {
            acceptance.used = true;
            finding.accepted = Some(acceptance.reason.to_owned());
        }
    }
    for stale in by_node.into_values().flatten().filter(|a| readable && !a.used) {
        let message = format!("nothing is left to accept for {}", stale.id);
        let finding = Finding::new(&ACC_001, message, stale.span, "this acceptance")
            .found("no finding of that rule at this node or inside it")
            .expected("a finding that it covers")
            .fix("remove it");
        wrong.push(finding);
    }
    findings.extend(wrong);
}

fn property_texts(property: &Property) -> Vec<&str> {
    property.texts().filter(|t| !t.is_empty()).unwrap_or_else(|| vec![""])
}

fn parse(text: &str, span: Span) -> Result<Acceptance<'_>, Box<Finding>> {
    let refuse = |message: String, expected: &str| {
        Box::new(
            Finding::new(&ACC_001, message, span, "this acceptance")
                .found(format!("\"{text}\""))
                .expected(expected),
        )
    };
    let (id, reason) = text.split_once(':').unwrap_or((text, ""));
    let (id, reason) = (id.trim(), reason.trim());
    match by_id(id) {
        None => Err(refuse(format!("`{id}` is no rule"), "\"ID: reason\" with an ID of `bulkhead rules`")),
        Some(rule) if rule.severity != Severity::Finding => {
            let word = rule.severity.word();
            Err(refuse(format!("{id} cannot be accepted: it is an {word}"), "a rule of severity `finding`"))
        }
        Some(_) if reason.is_empty() => {
            Err(refuse(format!("the acceptance of {id} has no reason"), "\"ID: reason\""))
        }
        Some(_) => Ok(Acceptance { id, reason, span, used: false }),
    }
}
