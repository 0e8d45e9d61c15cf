//! Chapters of the report, derived from model, findings and the verifier's report.

use crate::draw::memory::size;
use crate::model::{ClaimResult, RuleResult, Section, Table, TestResult};
use crate::standing::{self, result};
use crate::trace::{CHANNELS, FREEDOM, REQUIREMENTS};
use crate::traced;
use bulkhead_compile::diag::Finding;
use bulkhead_compile::health::{Event, HealthTable, Step};
use bulkhead_compile::model::{PartitionIndex, System};
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
    /// Results of system tests, as they were given.
    pub tests: &'a [TestResult],
    /// SHA-256 of the EL2 executable.
    pub el2_sha256: &'a str,
    /// Names of the plans' pictures.
    pub plans: Vec<String>,
}

pub(crate) fn section(id: &'static str, title: &'static str, text: &str, tables: Vec<Table>) -> Section {
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
        traced::channels(source),
        traced::freedom(source),
        traced::requirements(source),
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
                lies_in(source, m.output, m.access.device),
            ]
        })
    });
    let columns = ["partition", "partition's address", "physical address", "size", "access", "of"];
    let table =
        Table::new("What each partition reaches at run time, from its tables", &columns, rows.collect());
    let text = "Every stretch that a partition's translation tables make reachable while it runs, read from the packed \
                image; nothing else is. Tables that its loader uses before it starts are in verify.json.";
    let mut out = section("memory", "Memory map", text, vec![table]);
    out.pictures = vec!["memory".to_owned()];
    out
}

/// Whose registers or memory a physical address is.
fn lies_in(source: &Source<'_>, address: u64, device: bool) -> String {
    let system = source.system;
    if device {
        let mut all = system.partitions.iter().flat_map(|p| &p.access).map(|a| &system.devices[a.value]);
        let found = all.find(|d| d.pages().any(|r| r.base <= address && address < r.end_saturating()));
        return found.map_or("registers".to_owned(), |d| d.display_name());
    }
    let zone = source.report.zones.iter().find(|z| z.range.start <= address && address < z.range.end);
    zone.map_or("the partition's memory", |z| z.what).to_owned()
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
            let waiting = p.backlog.map(|(most, depth)| format!("; {most} of {depth} messages may wait"));
            let what = format!("{} at {}: {}{}", p.port, p.reader, p.how, waiting.unwrap_or_default());
            add([kind.to_owned(), what, worst(p.worst_ns), limit(p.limit_ns), rule.to_owned()]);
        }
    }
    for s in &facts.switches {
        let what = format!("{} to {}: {}", s.left, s.entered, s.how);
        add(["plan switch".to_owned(), what, time(s.worst_ns), limit(s.limit_ns), "TMP-009".to_owned()]);
    }
    let columns = ["figure", "of", "worst case", "limit", "rule"];
    let text = "Plans as compiled, then the arithmetic behind the temporal rules: worst cases over every release of the \
                hyperperiod, net of the guard at the end of each window.";
    let mut tables = vec![Table::new("Temporal figures", &columns, rows)];
    tables.extend(
        [costs(facts), slack(facts), transients(facts)].into_iter().filter(|table| !table.rows.is_empty()),
    );
    let mut out = section("schedule", "Schedule", text, tables);
    out.pictures = source.plans.clone();
    out
}

/// What each switch costs, and each cleaning before a window.
fn costs(facts: &Facts) -> Table {
    let cost = &facts.cost;
    let named = |source: &str| if source.is_empty() { "no measurement named" } else { source }.to_owned();
    let row = |what: String, ns: u64, provenance: &str, source: &str| {
        vec![what, time(ns), provenance.to_owned(), named(source), "TMP-007".to_owned()]
    };
    let guard = "guard at the end of each window".to_owned();
    let mut rows = vec![row(guard, cost.window_guard_ns, cost.provenance, &cost.source)];
    rows.extend(
        cost.cleaning
            .iter()
            .map(|c| row(format!("cleaning before a window: {}", c.what), c.ns, c.provenance, &c.source)),
    );
    Table::new("Overheads", &["overhead", "time", "provenance", "source", "rule"], rows)
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
    let (parties, flows) = crate::flows::flows(source.system);
    let rows = flows.iter().map(|f| {
        let kind = if f.indirect { "indirect influence" } else { "configured" };
        vec![parties[f.from].clone(), parties[f.to].clone(), f.what.clone(), kind.to_owned()]
    });
    let table = Table::new("Flows and influences", &["from", "to", "by", "kind"], rows.collect());
    let text = "Every way in which one party can act on another or learn of it: ports, doorbells, segments, rights, health \
                events and console as configured, then what comes with sharing: CPUs, caches, buses, the console's \
                CPU, failures that reset the board or change the plan, and DMA that nothing confines.";
    let mut out = section("flow", "Information flow", text, vec![table]);
    out.pictures = vec!["flow".to_owned()];
    out
}

fn step(system: &System, step: &Step) -> String {
    let told = step.notify.iter().map(|p| system.partitions[p.value].name.value.as_str());
    let told: Vec<&str> = told.collect();
    let tail = if told.is_empty() { String::new() } else { format!(", tells {}", told.join(", ")) };
    let plan = step.plan.as_ref().map(|p| system.plans[p.value].name.value.as_str());
    let plan = plan.map(|name| format!(" {name}")).unwrap_or_default();
    format!("{}{plan}{tail}", step.action.value.word())
}

/// The action of a partition on an event: normal, while initialising, escalation.
fn actions(system: &System, index: PartitionIndex, event: Event) -> Option<[String; 3]> {
    let own = system.partitions[index].health.as_ref().and_then(|t| system.health_tables.get(t.value));
    let table: Option<&HealthTable> =
        if event.blames_partition() { own } else { system.module_health.as_ref() };
    let table = table?;
    let Some(entry) = table.entries.iter().find(|e| e.event.value == event) else {
        let default = table.default_action.as_ref()?.value.word().to_owned();
        return Some([default.clone(), default, "none".to_owned()]);
    };
    let steps = entry
        .escalation
        .iter()
        .map(|e| format!("{} in {}: {}", e.count.value, time(e.within_ns.value), step(system, &e.step)));
    let init = entry.in_init.as_ref().unwrap_or(&entry.step);
    let steps = steps.collect::<Vec<_>>().join("; ");
    let steps = if steps.is_empty() { "none".to_owned() } else { steps };
    Some([step(system, &entry.step), step(system, init), steps])
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
            let [normal, init, then] = found.unwrap_or_else(|| ["NONE", "NONE", "NONE"].map(str::to_owned));
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
    let limits = system.partitions.iter().map(|partition| {
        let table = partition.health.as_ref().and_then(|t| system.health_tables.get(t.value));
        let limit = table.and_then(|t| t.restart_limit.as_ref());
        let words = limit
            .map(|l| format!("{} in {}: {}", l.count.value, time(l.within_ns.value), step(system, &l.step)));
        vec![
            partition.name.value.clone(),
            words.unwrap_or_else(|| "none: restarts are not counted".to_owned()),
        ]
    });
    let limits = Table::new("Limits on restarts, whatever their cause", &["of", "limit"], limits.collect());
    let tables = vec![Table::new("Events and actions", &columns, rows), limits];
    section("health", "Health monitoring", &text, tables)
}

fn dma(source: &Source<'_>) -> Section {
    let system = source.system;
    let mut rows = Vec::new();
    for (partition, device) in standing::masters(system) {
        let quiesce = partition.quiesce_of(device).map_or("not said", |text| text.value.as_str());
        rows.push(vec![
            system.devices[device].display_name(),
            partition.name.value.clone(),
            "OPEN: no IOMMU confines it, it can write all memory".to_owned(),
            quiesce.to_owned(),
        ]);
    }
    if rows.is_empty() {
        rows.push(vec![
            "none".to_owned(),
            "nobody".to_owned(),
            "no bus master is granted to a partition".to_owned(),
            "-".to_owned(),
        ]);
    }
    let text = "Devices that can master the bus. This version programs no IOMMU: no translation table binds what they \
                write, an open finding (DMA-001) that stands until it is accepted by name.";
    let columns = ["device", "of", "state", "stopped before its partition is loaded anew"];
    section("dma", "DMA inventory", text, vec![Table::new("Bus masters", &columns, rows)])
}

fn justifications(source: &Source<'_>) -> Section {
    let accepted = source.rules.iter().flat_map(|r| r.findings.iter().map(move |f| (r, f)));
    let mut rows: Vec<Vec<String>> = accepted
        .filter(|(_, f)| !f.accepted.is_empty())
        .map(|(r, f)| vec![r.id.to_owned(), f.message.clone(), f.place.clone(), f.accepted.clone()])
        .collect();
    if rows.is_empty() {
        rows.push(["none", "no finding had to be accepted", "-", "-"].map(str::to_owned).to_vec());
    }
    let columns = ["rule", "finding", "at", "reason why it is accepted"];
    let text = "Findings that the configuration accepts by name, with the reason written at the culprit.";
    section("justifications", "Justifications", text, vec![Table::new("Accepted findings", &columns, rows)])
}

/// What a rule of a family looked at, and how much of it there is.
fn looked_at(system: &System, rule: &str) -> String {
    let grants: usize = system.partitions.iter().map(|p| p.access.len()).sum();
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match &rule[..3] {
        "MEM" => {
            let own = system.partitions.iter().map(|p| p.memory.len() + p.regions.len()).sum::<usize>();
            counted(own + system.segments.len(), "memory range")
        }
        "CPU" => counted(system.board.cpus.len(), "CPU"),
        "IRQ" | "DEV" => counted(grants, "granted device"),
        "DMA" => counted(standing::masters(system).len(), "granted bus master"),
        "PLN" => counted(system.plans.len(), "plan"),
        "TMP" => {
            let timed = system.partitions.iter().filter(|p| p.timing.is_some()).count();
            format!("{}, {}", counted(timed, "timing requirement"), counted(system.ports.len(), "port"))
        }
        "PRT" => counted(system.ports.len(), "port"),
        "HLT" => {
            counted(system.health_tables.len() + usize::from(system.module_health.is_some()), "health table")
        }
        "AUT" => counted(system.partitions.iter().map(|p| p.authority.len()).sum(), "authority node"),
        "CLO" => format!("{}, {}", counted(grants, "granted device"), counted(system.nodes.len(), "node")),
        _ => counted(system.partitions.len(), "partition"),
    }
}

fn rules(source: &Source<'_>) -> Section {
    let rows = source.rules.iter().map(|r| {
        let values: Vec<String> =
            r.findings.iter().map(|f| format!("{} ({}) {}", f.message, f.place, f.found)).collect();
        let result = match r.result {
            "holds" => "not found",
            "accepted" => "found, accepted",
            "warned" => "found, warning",
            _ => "FOUND",
        };
        let values = if values.is_empty() { looked_at(source.system, r.id) } else { values.join("; ") };
        vec![r.id.to_owned(), r.severity.to_owned(), r.title.to_owned(), result.to_owned(), values]
    });
    let columns = ["rule", "severity", "looks for", "result", "values, or what there was to look at"];
    let text = format!(
        "{} rules were applied to the configuration and to the layout of the image. Each looks for one mistake; \
         `not found` is the good result.",
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
        "system tests are not repeated here: their results are those that were given, and count with this EL2 alone",
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
        let state = result(source, s);
        if !state.starts_with("shown") && !state.starts_with("does not arise") {
            rows.push(vec![s.id.to_owned(), format!("{}: {}", s.group, s.what), state.to_owned()]);
        }
    }
    let lists = [REQUIREMENTS, FREEDOM, CHANNELS].into_iter().flatten();
    let untested = lists.filter(|s| result(source, s).contains("not by test")).count();
    if untested > 0 {
        let what = format!("{untested} statements lack a result of a system test with this EL2");
        rows.push(vec!["tests".to_owned(), what, "run them and give --tests".to_owned()]);
    }
    if rows.is_empty() {
        rows.push(["none", "nothing is open", "closed"].map(str::to_owned).to_vec());
    }
    let columns = ["from", "item", "state"];
    let text =
        "What somebody still has to look at: accepted findings, warnings, statements that are not shown.";
    section("open", "Open items", text, vec![Table::new("Open items", &columns, rows)])
}
