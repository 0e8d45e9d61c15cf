//! Chapters whose statements are traced to rules, claims and tests: channels, freedom from interference, requirements.

use crate::model::{Section, Table};
use crate::sections::{Source, section};
use crate::standing::{self, result};
use crate::trace::{CHANNELS, FREEDOM, REQUIREMENTS, Shown};
use bulkhead_compile::model::KeepOver;
use bulkhead_compile::rules::plan::time;

fn traced(source: &Source<'_>, list: &[Shown], caption: &str, first: &str) -> Table {
    let joined = |list: &[&str]| if list.is_empty() { "-".to_owned() } else { list.join(", ") };
    let rows = list.iter().map(|s| {
        vec![
            s.id.to_owned(),
            format!("{}: {}", s.group, s.what),
            s.how.to_owned(),
            joined(s.rules),
            joined(s.claims),
            standing::tests(source, s),
            result(source, s),
            standing::residual(source, s),
        ]
    });
    let columns = ["id", first, "by", "rules", "verifier", "system tests", "result here", "residual"];
    Table::new(caption, &columns, rows.collect())
}

/// How to read the columns of tests and results.
const TESTED: &str = "System tests run on the release's benches; a result counts if it was given (--tests) and was made \
    with this EL2, by its digest.";

/// What partitions share, with what stands against it.
pub fn channels(source: &Source<'_>) -> Section {
    let table = traced(source, CHANNELS, "Channels with mitigation and residual", "channel");
    let (state, residual) = match source.system.hypervisor.spectre_bhb {
        Some(_) => {
            ("overwritten at every entry from a guest (property spectre-bhb)", "none known for Cortex-A72")
        }
        None => {
            ("not overwritten: the property spectre-bhb is absent", "a guest can train the branches of EL2")
        }
    };
    let choice = vec!["branch history at EL2".to_owned(), state.to_owned(), residual.to_owned()];
    let choices =
        Table::new("Mitigations chosen by the configuration", &["what", "state", "residual"], vec![choice]);
    let text = format!(
        "Interference channels in the sense of A(M)C 20-193: what partitions share although their memory and time are \
         apart. {TESTED}"
    );
    section("channels", "Interference channels", &text, vec![table, choices])
}

/// The fault models of ISO 26262-6, annex D.
pub fn freedom(source: &Source<'_>) -> Section {
    let table = traced(source, FREEDOM, "Fault models of annex D", "fault model");
    let text = format!(
        "Freedom from interference in the sense of ISO 26262-6:2018, annex D: each fault model with the rule, the \
         verifier's claim and the system test that stand against it. {TESTED}"
    );
    section("freedom", "Freedom from interference", &text, vec![table])
}

/// Requirements of the product and of the configuration.
pub fn requirements(source: &Source<'_>) -> Section {
    let mut tables = vec![traced(source, REQUIREMENTS, "Requirements and their trace", "requirement")];
    let rows = stated(source);
    if !rows.is_empty() {
        let columns = ["id", "requirement", "shown by", "result here"];
        tables.push(Table::new("Requirements that this configuration states", &columns, rows));
    }
    let text = format!(
        "Each requirement with the rules, claims and tests that show it, and their result here. {TESTED}"
    );
    section("requirements", "Requirements", &text, tables)
}

/// What the configuration itself demands, with what was computed.
fn stated(source: &Source<'_>) -> Vec<Vec<String>> {
    let facts = source.timing;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |id: String, what: String, by: &str, result: String| {
        rows.push(vec![format!("REQ-{id}"), what, by.to_owned(), result]);
    };
    let worst = |ns: Option<u64>| ns.map_or("unbounded".to_owned(), time);
    for s in &facts.supplies {
        let what =
            format!("{} in every {}, within {}", time(s.duration_ns), time(s.period_ns), time(s.deadline_ns));
        let got = format!("at least {}, within {}", time(s.least_ns), worst(s.worst_response_ns));
        add(format!("{}-timing-{}-vcpu{}", s.partition, s.plan, s.vcpu), what, "TMP-001, TMP-002", got);
    }
    for (b, limit) in facts.blackouts.iter().filter_map(|b| Some((b, b.limit_ns?))) {
        let what = format!("no blackout longer than {} on {}", time(limit), b.cpu);
        add(format!("{}-blackout", b.partition), what, "TMP-003", format!("at most {}", time(b.longest_ns)));
    }
    for (kind, rule, list) in [("age", "TMP-004", &facts.ages), ("latency", "TMP-005", &facts.latencies)] {
        for (p, limit) in list.iter().filter_map(|p| Some((p, p.limit_ns?))) {
            let what = format!("{kind} of {} at {} at most {}", p.port, p.reader, time(limit));
            add(
                format!("{}-{}-{kind}", p.reader, p.port),
                what,
                rule,
                format!("at most {}", worst(p.worst_ns)),
            );
        }
    }
    for (s, limit) in facts.switches.iter().filter_map(|s| Some((s, s.limit_ns?))) {
        let what = format!("from {} to {} within {}", s.left, s.entered, time(limit));
        add(
            format!("plan-{}-{}", s.left, s.entered),
            what,
            "TMP-010",
            format!("within {}", time(s.worst_ns)),
        );
    }
    let holds = source.claims.iter().any(|c| c.id == "VFY-021" && c.holds);
    for partition in &source.system.partitions {
        for region in &partition.regions {
            let Some(kept) = &region.keep_over else { continue };
            let what = match kept.value {
                KeepOver::WarmRestart => "a warm restart",
                KeepOver::ColdRestart => "warm and cold restarts",
                KeepOver::BoardReset => "restarts and a warm reset of the board",
            };
            let what = format!("region {} outlives {what}", region.name.value);
            let result = if holds { "holds" } else { "FAILS" };
            add(
                format!("{}-{}", partition.name.value, region.name.value),
                what,
                "VFY-021",
                result.to_owned(),
            );
        }
    }
    rows
}
