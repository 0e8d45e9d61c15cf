//! Chapters of the report, derived from model, findings and the verifier's report.

use crate::draw::memory::size;
use crate::model::{ClaimResult, RuleResult, Section, Table};
use crate::trace::{CHANNELS, FREEDOM, REQUIREMENTS, Shown, result};
use bulkhead_compile::diag::Finding;
use bulkhead_compile::health::{Event, HealthTable, Step};
use bulkhead_compile::model::{KeepOver, PartitionIndex, System};
use bulkhead_compile::rules::plan::time;
use bulkhead_compile::timing::facts::{Facts, TransientFacts};
use bulkhead_verify::Report;

/// What chapters are derived from.
pub struct Source<'a> {
    /// The model.
    pub system: &'a System,
    /// The verifier's report, against the configuration.
    pub report: &'a Report,
    /// Everything the rules found.
    pub findings: &'a [Finding],
    /// Rules with results.
    pub rules: &'a [RuleResult],
    /// Claims with results.
    pub claims: &'a [ClaimResult],
    /// Figures of the temporal analysis.
    pub timing: &'a Facts,
    /// Names of the plans' pictures.
    pub plans: Vec<String>,
}

fn section(id: &'static str, title: &'static str, text: &str, tables: Vec<Table>) -> Section {
    Section { id, title, text: text.to_owned(), tables, pictures: Vec::new() }
}

/// All chapters, in the order of the report.
pub fn all(source: &Source<'_>) -> Vec<Section> {
    vec![
        allocation(source),
        memory(source),
        schedule(source),
        flow(source),
        health(source),
        dma(source),
        channels(source),
        freedom(source),
        requirements(source),
        justifications(source),
        rules(source),
        claims(source),
        limits(),
        crate::assumptions::section(source),
        open(source),
    ]
}

fn yes(given: bool) -> String {
    if given { "x" } else { "" }.to_owned()
}

fn allocation(source: &Source<'_>) -> Section {
    let (system, report) = (source.system, source.report);
    let names: Vec<&str> = system.partitions.iter().map(|p| p.name.value.as_str()).collect();
    let columns = [&["resource"], names.as_slice()].concat();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |what: String, cells: Vec<String>| rows.push([vec![what], cells].concat());
    let level = |p: &bulkhead_compile::model::Partition| {
        p.criticality.as_ref().map_or("none".to_owned(), |c| c.value.to_string())
    };
    add("criticality".to_owned(), system.partitions.iter().map(level).collect());
    for cpu in 0..system.board.cpus.len() {
        let cells = system.partitions.iter().map(|p| yes(p.vcpus.value.contains(&cpu))).collect();
        add(format!("CPU {cpu}"), cells);
    }
    if system.partitions.iter().any(|p| p.direct_interrupts.is_some()) {
        let cells = system.partitions.iter().map(|p| yes(p.direct_interrupts.is_some()));
        add("interrupts without EL2".to_owned(), cells.collect());
    }
    let ram = report.partitions.iter().map(|p| {
        let memory = p.run.iter().filter(|m| !m.access.device && m.access.write).map(|m| m.bytes).sum();
        size(memory)
    });
    add("writable memory".to_owned(), ram.collect());
    for device in system.partitions.iter().flat_map(|p| &p.access).map(|a| a.value) {
        let cells = system.partitions.iter().map(|p| yes(p.access.iter().any(|a| a.value == device)));
        add(format!("device {}", system.devices[device].display_name()), cells.collect());
    }
    let mut intids: Vec<u32> = report.partitions.iter().flat_map(|p| p.interrupts.clone()).collect();
    intids.sort_unstable();
    intids.dedup();
    for intid in intids {
        let banked = if intid < 32 { " (banked)" } else { "" };
        add(
            format!("interrupt {intid}{banked}"),
            report.partitions.iter().map(|p| yes(p.interrupts.contains(&intid))).collect(),
        );
    }
    let text = "Who has what. CPUs and devices as configured; memory and interrupts as the verifier read them from the \
                packed image.";
    section(
        "allocation",
        "Allocation matrix",
        text,
        vec![Table::new("Resources by partition", &columns, rows)],
    )
}

fn memory(source: &Source<'_>) -> Section {
    let rows = source.report.partitions.iter().flat_map(|p| {
        p.run.iter().map(|m| {
            vec![
                p.name.clone(),
                format!("{:#x}", m.input),
                format!("{:#x}", m.output),
                size(m.bytes),
                m.access.to_string(),
            ]
        })
    });
    let columns = ["partition", "partition's address", "physical address", "size", "access"];
    let table =
        Table::new("What each partition reaches at run time, from its tables", &columns, rows.collect());
    let text = "Every stretch that some translation table of the image makes reachable; nothing else is.";
    let mut out = section("memory", "Memory map", text, vec![table]);
    out.pictures = vec!["memory".to_owned()];
    out
}

fn schedule(source: &Source<'_>) -> Section {
    let facts = source.timing;
    let limit = |ns: Option<u64>| ns.map_or("none stated".to_owned(), time);
    let worst = |ns: Option<u64>| ns.map_or("unbounded".to_owned(), time);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |cells: [String; 5]| rows.push(cells.to_vec());
    for s in &facts.supplies {
        let what = format!("{} vCPU {}, plan {}", s.partition, s.vcpu, s.plan);
        let least = format!("least {} in {} releases", time(s.least_ns), s.releases);
        let wanted = format!("{} every {}", time(s.duration_ns), time(s.period_ns));
        add(["duration".to_owned(), what.clone(), least, wanted, "TMP-001".to_owned()]);
        add([
            "deadline".to_owned(),
            what,
            worst(s.worst_response_ns),
            time(s.deadline_ns),
            "TMP-002".to_owned(),
        ]);
    }
    for b in &facts.blackouts {
        add([
            "blackout".to_owned(),
            format!("{} on {}", b.partition, b.cpu),
            time(b.longest_ns),
            limit(b.limit_ns),
            "TMP-003".to_owned(),
        ]);
    }
    for (kind, rule, list) in [("age", "TMP-004", &facts.ages), ("latency", "TMP-005", &facts.latencies)] {
        for p in list {
            let what = format!("{} at {}: {}", p.port, p.reader, p.how);
            add([kind.to_owned(), what, worst(p.worst_ns), limit(p.limit_ns), rule.to_owned()]);
        }
    }
    for s in &facts.switches {
        let what = format!("{} to {}: {}", s.left, s.entered, s.how);
        add(["plan switch".to_owned(), what, time(s.worst_ns), limit(s.limit_ns), "TMP-009".to_owned()]);
    }
    rows.extend(costs(facts));
    let columns = ["figure", "of", "worst case", "limit", "rule"];
    let text = "Plans as compiled, then the arithmetic behind the temporal rules: worst cases over every release of the \
                hyperperiod, net of the guard at the end of each window.";
    let mut tables = vec![Table::new("Temporal figures", &columns, rows)];
    tables.extend([slack(facts), transients(facts)].into_iter().filter(|table| !table.rows.is_empty()));
    let mut out = section("schedule", "Schedule", text, tables);
    out.pictures = source.plans.clone();
    out
}

/// What each switch costs, and each cleaning before a window.
fn costs(facts: &Facts) -> Vec<Vec<String>> {
    let cost = &facts.cost;
    let named = |source: &str| if source.is_empty() { "no measurement named" } else { source }.to_owned();
    let row = |what: &str, of: String, ns: u64, provenance: &str| {
        vec![what.to_owned(), of, time(ns), provenance.to_owned(), "TMP-007".to_owned()]
    };
    let mut rows = vec![row("guard", named(&cost.source), cost.window_guard_ns, cost.provenance)];
    rows.extend(cost.cleaning.iter().map(|c| {
        let of = format!("{} before a window: {}", c.what, named(&c.source));
        row("cleaning", of, c.ns, c.provenance)
    }));
    rows
}

/// Where the time of each shared CPU goes, plan by plan.
fn slack(facts: &Facts) -> Table {
    let mut rows = Vec::new();
    for plan in &facts.plans {
        for cpu in &plan.cpus {
            let span = |(start, end): &(u64, u64)| format!("{} to {}", time(*start), time(*end));
            let spans: Vec<String> = cpu.slack.iter().map(span).collect();
            rows.push(vec![
                format!("{} on {}", plan.plan, cpu.cpu),
                time(plan.major_frame_ns),
                time(cpu.windows_ns),
                time(cpu.windows.iter().map(|w| w.net_ns).sum()),
                time(cpu.slack_ns),
                spans.join(", "),
                cpu.background.clone().unwrap_or_else(|| "nobody".to_owned()),
            ]);
        }
    }
    let columns =
        ["plan and CPU", "major frame", "windows", "net of guards", "slack", "slack from", "goes to"];
    Table::new("CPU and slack map", &columns, rows)
}

/// What a change of plan breaks once.
fn transients(facts: &Facts) -> Table {
    let row = |t: &TransientFacts| {
        vec![
            format!("{} to {} {}", t.left, t.entered, t.when),
            format!("{} of {}", t.requirement, t.partition),
            time(t.worst_ns),
            time(t.limit_ns),
            "TMP-008".to_owned(),
        ]
    };
    let rows = facts.transients.iter().map(row).collect();
    Table::new("Once, when a plan is entered", &["change", "requirement", "once", "limit", "rule"], rows)
}

fn flow(source: &Source<'_>) -> Section {
    let (parties, flows) = crate::pictures::flows(source.system);
    let rows = flows.iter().map(|f| {
        let kind = if f.indirect { "indirect influence" } else { "configured" };
        vec![parties[f.from].clone(), parties[f.to].clone(), f.what.clone(), kind.to_owned()]
    });
    let table = Table::new("Flows and influences", &["from", "to", "by", "kind"], rows.collect());
    let text = "Every way in which one party can act on another: ports, doorbells, segments, authority and console as \
                configured, and what partitions share without wanting to.";
    let mut out = section("flow", "Information flow", text, vec![table]);
    out.pictures = vec!["flow".to_owned()];
    out
}

fn step(system: &System, step: &Step) -> String {
    let told = step.notify.iter().map(|p| system.partitions[p.value].name.value.as_str());
    let told: Vec<&str> = told.collect();
    let tail = if told.is_empty() { String::new() } else { format!(", tells {}", told.join(", ")) };
    format!("{}{tail}", step.action.value.word())
}

/// The action of a partition on an event: normal, while initialising, escalation.
fn actions(system: &System, index: PartitionIndex, event: Event) -> Option<[String; 3]> {
    let own = system.partitions[index].health.as_ref().and_then(|t| system.health_tables.get(t.value));
    let table: Option<&HealthTable> =
        if event.blames_partition() { own } else { system.module_health.as_ref() };
    let table = table?;
    let Some(entry) = table.entries.iter().find(|e| e.event.value == event) else {
        let default = table.default_action.as_ref()?.value.word().to_owned();
        return Some([default.clone(), default, String::new()]);
    };
    let steps = entry
        .escalation
        .iter()
        .map(|e| format!("{} in {}: {}", e.count.value, time(e.within_ns.value), step(system, &e.step)));
    let init = entry.in_init.as_ref().unwrap_or(&entry.step);
    Some([step(system, &entry.step), step(system, init), steps.collect::<Vec<_>>().join("; ")])
}

fn health(source: &Source<'_>) -> Section {
    let system = source.system;
    let mut rows = Vec::new();
    let mut cells = 0;
    let mut filled = 0;
    for event in Event::ALL {
        for (index, partition) in system.partitions.iter().enumerate() {
            let found = actions(system, index, *event);
            cells += 2;
            filled += if found.is_some() { 2 } else { 0 };
            let [normal, init, then] =
                found.unwrap_or_else(|| ["NONE".to_owned(), "NONE".to_owned(), String::new()]);
            let whose = if event.blames_partition() { partition.name.value.as_str() } else { "module" };
            let row = vec![event.word().to_owned(), whose.to_owned(), normal, init, then];
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        }
    }
    let text = format!(
        "Action on every event, for every partition, in both modes. Completeness: {filled} of {cells} cells (event x \
         mode x partition) have an action."
    );
    let columns = ["event", "of", "action", "while initialising", "escalation"];
    section("health", "Health monitoring", &text, vec![Table::new("Events and actions", &columns, rows)])
}

fn dma(source: &Source<'_>) -> Section {
    let system = source.system;
    let mut rows = Vec::new();
    for (partition, access) in system.partitions.iter().flat_map(|p| p.access.iter().map(move |a| (p, a))) {
        let device = &system.devices[access.value];
        if device.bus_master {
            let state = if device.behind_iommu {
                "behind an IOMMU"
            } else {
                "OPEN: no IOMMU, it can write all memory"
            };
            let quiesce = partition.quiesce_of(access.value).map_or("not said", |text| text.value.as_str());
            rows.push(vec![
                device.display_name(),
                partition.name.value.clone(),
                state.to_owned(),
                quiesce.to_owned(),
            ]);
        }
    }
    if rows.is_empty() {
        rows.push(vec![
            "none".to_owned(),
            "nobody".to_owned(),
            "no bus master is granted to a partition".to_owned(),
            "-".to_owned(),
        ]);
    }
    let text = "Devices that can master the bus. What has no IOMMU before it is not bound by any translation table: an \
                open finding (DMA-001) that stands until it is accepted by name.";
    let columns = ["device", "of", "state", "stopped before its partition is loaded anew"];
    section("dma", "DMA inventory", text, vec![Table::new("Bus masters", &columns, rows)])
}

fn traced(source: &Source<'_>, list: &[Shown], caption: &str, first: &str) -> Table {
    let rows = list.iter().map(|s| {
        vec![
            s.id.to_owned(),
            format!("{}: {}", s.group, s.what),
            s.how.to_owned(),
            s.rules.join(", "),
            s.claims.join(", "),
            s.tests.join(", "),
            result(s, source.rules, source.claims).to_owned(),
            s.residual.to_owned(),
        ]
    });
    let columns = ["id", first, "by", "rules", "verifier", "system tests", "result here", "residual"];
    Table::new(caption, &columns, rows.collect())
}

fn channels(source: &Source<'_>) -> Section {
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
    let text = "Interference channels in the sense of A(M)C 20-193: what partitions share although their memory and \
                time are apart. System tests are those of the release; they run on its test benches, not here.";
    section("channels", "Interference channels", text, vec![table, choices])
}

fn freedom(source: &Source<'_>) -> Section {
    let table = traced(source, FREEDOM, "Fault models of annex D", "fault model");
    let text = "Freedom from interference in the sense of ISO 26262-6:2018, annex D: each fault model with the rule, \
                the verifier's claim and the system test that stand against it.";
    section("freedom", "Freedom from interference", text, vec![table])
}

fn requirements(source: &Source<'_>) -> Section {
    let mut tables = vec![traced(source, REQUIREMENTS, "Requirements and their trace", "requirement")];
    let mut rows = Vec::new();
    for partition in &source.system.partitions {
        let name = &partition.name.value;
        if let Some(timing) = &partition.timing {
            let list: Vec<String> = timing.duration_ns.value.iter().map(|ns| time(*ns)).collect();
            let what = format!("{} every {}", list.join(", "), time(timing.period_ns.value));
            rows.push(vec![format!("REQ-{name}-timing"), what, "TMP-001, TMP-002".to_owned()]);
        }
        for region in partition.regions.iter().filter(|r| r.keep_over.is_some()) {
            let word = match region.keep_over.as_ref().map(|k| k.value) {
                Some(KeepOver::WarmRestart) => "a warm restart",
                _ => "a cold restart",
            };
            let what = format!("region {} outlives {word}", region.name.value);
            rows.push(vec![format!("REQ-{name}-{}", region.name.value), what, "VFY-021".to_owned()]);
        }
    }
    if !rows.is_empty() {
        tables.push(Table::new(
            "Requirements that this configuration states",
            &["id", "requirement", "shown by"],
            rows,
        ));
    }
    let text =
        "Each requirement with the rules, claims and tests that show it, and their result for this image.";
    section("requirements", "Requirements", text, tables)
}

fn justifications(source: &Source<'_>) -> Section {
    let accepted = source.rules.iter().flat_map(|r| r.findings.iter().map(move |f| (r, f)));
    let mut rows: Vec<Vec<String>> = accepted
        .filter(|(_, f)| !f.accepted.is_empty())
        .map(|(r, f)| vec![r.id.to_owned(), f.message.clone(), f.place.clone(), f.accepted.clone()])
        .collect();
    if rows.is_empty() {
        rows.push(["none", "no finding had to be accepted", "", ""].map(str::to_owned).to_vec());
    }
    let columns = ["rule", "finding", "at", "reason why it is accepted"];
    let text = "Findings that the configuration accepts by name, with the reason written at the culprit.";
    section("justifications", "Justifications", text, vec![Table::new("Accepted findings", &columns, rows)])
}

fn rules(source: &Source<'_>) -> Section {
    let rows = source.rules.iter().map(|r| {
        let values: Vec<String> =
            r.findings.iter().map(|f| format!("{} ({}) {}", f.message, f.place, f.found)).collect();
        vec![
            r.id.to_owned(),
            r.severity.to_owned(),
            r.title.to_owned(),
            r.result.to_owned(),
            values.join("; "),
        ]
    });
    let columns = ["rule", "severity", "demands", "result", "values"];
    let text = format!(
        "{} rules were applied to the configuration and to the layout of the image.",
        source.rules.len()
    );
    section("rules", "Rule results", &text, vec![Table::new("Rules", &columns, rows.collect())])
}

fn claims(source: &Source<'_>) -> Section {
    let rows = source.claims.iter().map(|c| {
        let verdict = if c.holds { "holds".to_owned() } else { format!("FAILS: {}", c.findings.join("; ")) };
        vec![c.id.clone(), c.title.clone(), c.method.clone(), c.examined.clone(), verdict]
    });
    let columns = ["claim", "claims", "method", "examined", "result"];
    let text = format!(
        "What the independent verifier showed from the image's bytes. Common mode: {}.",
        source.report.common_mode
    );
    section("verifier", "Verifier results", &text, vec![Table::new("Claims", &columns, rows.collect())])
}

fn limits() -> Section {
    let own = [
        "system tests are named, not repeated here",
        "execution times of partitions are requirements of the configuration, not measured",
        "no cache colouring and no bandwidth regulation",
    ];
    let list = bulkhead_verify::LIMITS.iter().chain(&own);
    let rows = list.enumerate().map(|(number, text)| vec![format!("NS-{}", number + 1), (*text).to_owned()]);
    let text = "What this pack does not show. An argument for a system has to cover it by other means.";
    section("limits", "Limits", text, vec![Table::new("Not shown", &["id", "limit"], rows.collect())])
}

fn open(source: &Source<'_>) -> Section {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for f in source.findings {
        let state = if f.accepted.is_some() { "accepted: keep the reason true" } else { f.severity.word() };
        rows.push(vec![f.rule.id.to_owned(), f.message.clone(), state.to_owned()]);
    }
    let lists = [REQUIREMENTS, FREEDOM, CHANNELS].into_iter().flatten();
    for s in lists {
        let state = result(s, source.rules, source.claims);
        if !state.starts_with("shown") {
            rows.push(vec![s.id.to_owned(), format!("{}: {}", s.group, s.what), state.to_owned()]);
        }
    }
    if rows.is_empty() {
        rows.push(["none", "nothing is open", "closed"].map(str::to_owned).to_vec());
    }
    let columns = ["from", "item", "state"];
    let text =
        "What somebody still has to look at: accepted findings, warnings, statements that are not shown.";
    section("open", "Open items", text, vec![Table::new("Open items", &columns, rows)])
}
