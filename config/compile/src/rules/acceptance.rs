//! ACC: `bulkhead,accept = "ID: reason"` on the node of a finding's first culprit, or on an ancestor.

use super::{Check, by_id, rule};
use crate::diag::{Finding, Severity};
use crate::dts::{Property, ROOT, Tree};
use crate::span::Span;
use std::collections::{BTreeSet, HashMap};

rule!(ACC_001, "ACC-001", Error, Check::Acceptances,
    "An acceptance names an unknown or unacceptable rule, has no reason, or no finding stands behind it any more.",
    why: "An acceptance that covers nothing today would silently cover the finding of tomorrow.",
    example: "bulkhead,accept = \"PRT-004\"; /* no reason */",
    fix: "write \"ID: reason\" for a rule of severity `finding`, or remove it");

rule!(ACC_002, "ACC-002", Warning, Check::Acceptances,
    "The reason of an acceptance says nothing.",
    why: "An assessor reads the reason in place of the rule: `ok` and `to be done` argue nothing.",
    example: "bulkhead,accept = \"PRT-004: ok\";",
    fix: "say why the finding is harmless here, and name the requirement or the argument");

rule!(ACC_003, "ACC-003", Warning, Check::Acceptances,
    "One acceptance covers findings of several unrelated nodes.",
    why: "A reason is about one thing; high up in the tree it also covers what is added below it tomorrow.",
    example: "ports { bulkhead,accept = \"PRT-004: all data is checked\"; /* two ports */ };",
    fix: "write one acceptance at each port, partition or table");

/// The property that accepts findings.
pub const PROPERTY: &str = "bulkhead,accept";

struct Acceptance<'t> {
    id: &'t str,
    reason: &'t str,
    span: Span,
    /// Children of the accepting node below which, or at which, it covered something.
    covered: BTreeSet<usize>,
}

/// Marks the findings that an acceptance covers and adds ACC-001 for acceptances that are wrong or stale.
///
/// While the source itself has errors nothing is called stale: the finding may be hidden behind one of them.
pub fn apply(tree: &Tree, findings: &mut Vec<Finding>) {
    let readable = !findings.iter().any(|f| matches!(f.rule.check, Check::Reader));
    let mut by_node: HashMap<usize, Vec<Acceptance<'_>>> = HashMap::new();
    let mut wrong = Vec::new();
    for (index, node) in tree.nodes.iter().enumerate() {
        let Some(property) = node.property(PROPERTY) else {
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
        let Some((node, at)) = covering else { continue };
        if let Some(acceptance) = by_node.get_mut(&node).and_then(|list| list.get_mut(at)) {
            acceptance.covered.insert(tree.below(span.node as usize, node));
            finding.accepted = Some(acceptance.reason.to_owned());
        }
    }
    wrong
        .extend(by_node.iter().flat_map(|(node, list)| list.iter().filter_map(|a| too_wide(tree, *node, a))));
    wrong.extend(by_node.values().flatten().filter_map(says_nothing));
    for stale in by_node.into_values().flatten().filter(|a| readable && a.covered.is_empty()) {
        let message = format!("nothing is left to accept for {}", stale.id);
        let finding = Finding::new(&ACC_001, message, stale.span, "this acceptance")
            .found("no finding of that rule at this node or inside it")
            .expected("a finding that it covers")
            .fix("remove it");
        wrong.push(finding);
    }
    findings.extend(wrong);
}

/// ACC-003: an acceptance at the root or at one of its children that covers what several of their children have.
fn too_wide(tree: &Tree, node: usize, acceptance: &Acceptance<'_>) -> Option<Finding> {
    let high = node == ROOT || tree.nodes[node].parent == ROOT;
    let mut covered = acceptance.covered.iter().filter(|_| high && acceptance.covered.len() > 1);
    let (first, second) = (covered.next()?, covered.next()?);
    let message = format!("one acceptance of {} covers several nodes", acceptance.id);
    let names: Vec<&str> = acceptance.covered.iter().map(|n| tree.nodes[*n].name.as_str()).collect();
    let finding = Finding::new(&ACC_003, message, acceptance.span, "this acceptance")
        .also(tree.nodes[*first].span, "covered")
        .also(tree.nodes[*second].span, "covered too")
        .found(names.join(", "))
        .expected("an acceptance at each");
    Some(finding)
}

/// ACC-002: fewer than three words, or words that put it off.
fn says_nothing(acceptance: &Acceptance<'_>) -> Option<Finding> {
    let words: Vec<String> = acceptance.reason.split_whitespace().map(str::to_ascii_lowercase).collect();
    let put_off = words
        .iter()
        .any(|w| ["todo", "tbd", "fixme"].contains(&w.trim_matches(|c: char| !c.is_alphabetic())));
    (words.len() < 3 || put_off).then(|| {
        let message = format!("the reason for accepting {} says nothing", acceptance.id);
        Finding::new(&ACC_002, message, acceptance.span, "this reason")
            .found(format!("\"{}\"", acceptance.reason))
            .expected("why the finding is harmless here")
    })
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
            Err(refuse(
                format!("{id} cannot be accepted: its severity is {word}"),
                "a rule of severity `finding`",
            ))
        }
        Some(_) if reason.is_empty() => {
            Err(refuse(format!("the acceptance of {id} has no reason"), "\"ID: reason\""))
        }
        Some(_) => Ok(Acceptance { id, reason, span, covered: BTreeSet::new() }),
    }
}
