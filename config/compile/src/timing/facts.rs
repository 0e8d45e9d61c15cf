//! Everything that is computed about time, as data for reports.

use super::blackout;
use super::change::TakeTurns;
use super::guard::{asked, guard_of, longest_guard};
use super::jobs::{Jobs, RELEASES_MAX, demand_of};
use super::ports::{Unknown, Worst, age, backlog, latency};
use super::transient;
use crate::model::{Action, Plan, PlanCpu, PlanIndex, Port, PortKind, System};
use crate::rules::plan::time;
use serde::Serialize;

/// The figures behind the TMP rules.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// What is taken off every window.
    pub cost: Cost,
    /// CPU and slack map of every plan.
    pub plans: Vec<PlanFacts>,
    /// Supply of every vCPU with a requirement under every plan it holds in.
    pub supplies: Vec<SupplyFacts>,
    /// Longest blackout of every vCPU on a shared CPU.
    pub blackouts: Vec<BlackoutFacts>,
    /// Worst age at every reader of a sampling port.
    pub ages: Vec<PortFacts>,
    /// Worst latency of every queuing port.
    pub latencies: Vec<PortFacts>,
    /// Every change of plan that an authority or health action can ask for.
    pub switches: Vec<SwitchFacts>,
    /// What entering a plan breaks once.
    pub transients: Vec<TransientFacts>,
}

/// Time that is charged to the end of every window.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cost {
    /// Partition switch and longest visit to EL2.
    pub window_guard_ns: u64,
    /// `measured` or `estimated`.
    pub provenance: &'static str,
    /// How it was measured; empty for an estimate.
    pub source: String,
    /// What windows clean: it is added to the guard of their CPU.
    pub cleaning: Vec<CleaningCost>,
}

/// Time that cleaning before a window takes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CleaningCost {
    /// As a configuration writes it.
    pub what: &'static str,
    /// How long.
    pub ns: u64,
    /// `measured` or `estimated`.
    pub provenance: &'static str,
    /// How it was measured; empty for an estimate.
    pub source: String,
}

/// One plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanFacts {
    /// Its name.
    pub plan: String,
    /// Length of the major frame.
    pub major_frame_ns: u64,
    /// Whether PLN-001 and PLN-002 hold; else nothing is computed from it.
    pub sound: bool,
    /// Its CPUs.
    pub cpus: Vec<CpuFacts>,
}

/// One CPU in one plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CpuFacts {
    /// Name of the CPU.
    pub cpu: String,
    /// Who gets the slack.
    pub background: Option<String>,
    /// Windows in order of time.
    pub windows: Vec<WindowFacts>,
    /// Time in no window, as start and end.
    pub slack: Vec<(u64, u64)>,
    /// Sum of the slack.
    pub slack_ns: u64,
    /// Sum of the windows.
    pub windows_ns: u64,
}

/// One window.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WindowFacts {
    /// Its name.
    pub window: String,
    /// Who runs.
    pub partition: String,
    /// From the start of the major frame.
    pub start_ns: u64,
    /// From the start of the major frame.
    pub end_ns: u64,
    /// What is left after the guard.
    pub net_ns: u64,
}

/// What one vCPU is given under one plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SupplyFacts {
    /// Partition.
    pub partition: String,
    /// Number of the vCPU.
    pub vcpu: usize,
    /// Plan.
    pub plan: String,
    /// Distance of releases.
    pub period_ns: u64,
    /// Required in each.
    pub duration_ns: u64,
    /// Releases of the hyperperiod, all of which were looked at.
    pub releases: u64,
    /// Least time given within a period.
    pub least_ns: u64,
    /// The release with the least.
    pub least_release_ns: u64,
    /// Longest time from a release until its duration was given; absent if one never is.
    pub worst_response_ns: Option<u64>,
    /// Required response.
    pub deadline_ns: u64,
}

/// The longest blackout of one vCPU.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlackoutFacts {
    /// Partition.
    pub partition: String,
    /// Name of the CPU.
    pub cpu: String,
    /// How long, over all plans and their changes at a frame's end.
    pub longest_ns: u64,
    /// `max-blackout`, if required.
    pub limit_ns: Option<u64>,
}

/// One end of one port.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortFacts {
    /// Port.
    pub port: String,
    /// Reader.
    pub reader: String,
    /// Worst case; absent where none can be computed.
    pub worst_ns: Option<u64>,
    /// Required, if anything is.
    pub limit_ns: Option<u64>,
    /// The plan of the worst case, or the two around a change.
    pub plan: String,
    /// The arithmetic, or why there is no figure.
    pub how: String,
    /// Queuing ports: messages that may wait, and the depth.
    pub backlog: Option<(u64, u32)>,
}

/// One change of plan at a frame's end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SwitchFacts {
    /// Plan that is left.
    #[serde(skip)]
    pub from: PlanIndex,
    /// Plan that is entered.
    #[serde(skip)]
    pub to: PlanIndex,
    /// Name of the plan that is left.
    pub left: String,
    /// Name of the plan that is entered.
    pub entered: String,
    /// Request to first window.
    pub worst_ns: u64,
    /// `plan-switch-latency`, if required.
    pub limit_ns: Option<u64>,
    /// The arithmetic.
    pub how: String,
}

/// One requirement that is broken once.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransientFacts {
    /// Name of the plan that is left.
    pub left: String,
    /// Name of the plan that is entered.
    pub entered: String,
    /// `at once` or `at the end of a frame`.
    pub when: &'static str,
    /// Whose requirement.
    pub partition: String,
    /// Which one.
    pub requirement: String,
    /// Required.
    pub limit_ns: u64,
    /// Once.
    pub worst_ns: u64,
}

/// Computes everything.
pub fn facts(system: &System) -> Facts {
    let board = &system.board.facts;
    let provenance = |is_measured: bool| if is_measured { "measured" } else { "estimated" };
    let cleaning = asked(system).into_iter().map(|cost| CleaningCost {
        what: cost.what.word(),
        ns: cost.ns,
        provenance: provenance(cost.measured.is_some()),
        source: cost.measured.unwrap_or_default().to_owned(),
    });
    let cost = Cost {
        window_guard_ns: board.window_guard_ns,
        provenance: provenance(board.window_guard_measured.is_some()),
        source: board.window_guard_measured.clone().unwrap_or_default(),
        cleaning: cleaning.collect(),
    };
    Facts {
        cost,
        plans: system.plans.iter().map(|plan| plan_facts(system, plan)).collect(),
        supplies: supplies(system),
        blackouts: blackouts(system),
        ages: ages(system),
        latencies: latencies(system),
        switches: plan_switches(system),
        transients: transients(system),
    }
}

fn partition_name(system: &System, index: usize) -> String {
    system.partitions[index].name.value.clone()
}

fn plan_facts(system: &System, plan: &Plan) -> PlanFacts {
    let frame = plan.major_frame_ns.value;
    let cpus = plan.cpus.iter().map(|schedule| cpu_facts(system, schedule, frame)).collect();
    PlanFacts { plan: plan.name.value.clone(), major_frame_ns: frame, sound: plan.sound, cpus }
}

fn cpu_facts(system: &System, schedule: &PlanCpu, frame: u64) -> CpuFacts {
    let guard = guard_of(system, schedule.cpu.value);
    let mut windows: Vec<WindowFacts> = schedule
        .windows
        .iter()
        .map(|w| WindowFacts {
            window: w.name.clone(),
            partition: partition_name(system, w.partition.value),
            start_ns: w.start_ns.value,
            end_ns: w.end_ns(),
            net_ns: w.duration_ns.value.saturating_sub(guard),
        })
        .collect();
    windows.sort_by_key(|w| w.start_ns);
    let mut slack = Vec::new();
    let mut at = 0;
    for (start, end) in windows.iter().map(|w| (w.start_ns, w.end_ns)).chain([(frame, frame)]) {
        if at < start {
            slack.push((at, start));
        }
        at = at.max(end);
    }
    CpuFacts {
        cpu: system.board.cpus[schedule.cpu.value].name.clone(),
        background: schedule.background.as_ref().map(|b| partition_name(system, b.value)),
        slack_ns: slack.iter().map(|(start, end)| end - start).sum(),
        windows_ns: windows.iter().map(|w| w.end_ns.saturating_sub(w.start_ns)).sum(),
        windows,
        slack,
    }
}

fn supplies(system: &System) -> Vec<SupplyFacts> {
    let mut out = Vec::new();
    for (index, partition) in system.partitions.iter().enumerate() {
        for (number, plan) in system.plans.iter().enumerate() {
            let Some(jobs) = Jobs::of(system, index, number).filter(|jobs| jobs.runner.aligned) else {
                continue;
            };
            for (vcpu, share) in jobs.runner.shares.iter().enumerate() {
                let Some(duration_ns) = demand_of(jobs.timing, vcpu) else { continue };
                let period_ns = jobs.timing.period_ns.value;
                let releases = jobs.releases().min(RELEASES_MAX);
                let given = |k: u64| {
                    let at = jobs.release(k);
                    (share.certain.between(at, at.saturating_add(period_ns)), at)
                };
                let (least_ns, least_release_ns) = (0..releases).map(given).min().unwrap_or_default();
                let response = |k: u64| {
                    let at = jobs.release(k);
                    Some(share.certain.finish(at, duration_ns)? - at)
                };
                let responses: Option<Vec<u64>> = (0..releases).map(response).collect();
                out.push(SupplyFacts {
                    partition: partition.name.value.clone(),
                    vcpu,
                    plan: plan.name.value.clone(),
                    period_ns,
                    duration_ns,
                    releases,
                    least_ns,
                    least_release_ns,
                    worst_response_ns: responses.and_then(|all| all.into_iter().max()),
                    deadline_ns: jobs.timing.deadline_ns.as_ref().map_or(period_ns, |d| d.value),
                });
            }
        }
    }
    out
}

fn blackouts(system: &System) -> Vec<BlackoutFacts> {
    let mut out = Vec::new();
    for (index, partition) in system.partitions.iter().enumerate() {
        for cpu in partition.vcpus.iter() {
            if let Some(longest) = blackout::longest(system, index, *cpu) {
                let limit = partition.timing.as_ref().and_then(|t| t.max_blackout_ns.as_ref());
                out.push(BlackoutFacts {
                    partition: partition.name.value.clone(),
                    cpu: system.board.cpus[*cpu].name.clone(),
                    longest_ns: longest.ns,
                    limit_ns: limit.map(|l| l.value),
                });
            }
        }
    }
    out
}

fn port_facts(
    system: &System,
    port: &str,
    reader: usize,
    worst: Result<Worst, Unknown>,
    limit_ns: Option<u64>,
) -> PortFacts {
    let (worst_ns, plan, how) = match worst {
        Ok(worst) => (Some(worst.ns), worst.plan, worst.how),
        Err(Unknown::NoTiming(who)) => {
            (None, String::new(), format!("{} states no timing", partition_name(system, who)))
        }
        Err(Unknown::NotTogether) => (None, String::new(), "no plan runs both ends".to_owned()),
        Err(Unknown::TakeTurns(who, TakeTurns(one, other))) => {
            let (one, other) = (&system.plans[one].name.value, &system.plans[other].name.value);
            let who = partition_name(system, who);
            (None, String::new(), format!("{one} and {other} may take turns before a job of {who} is done"))
        }
    };
    let (port, reader) = (port.to_owned(), partition_name(system, reader));
    PortFacts { port, reader, worst_ns, limit_ns, plan, how, backlog: None }
}

fn ages(system: &System) -> Vec<PortFacts> {
    let mut out = Vec::new();
    for port in system.ports.iter().filter(|p| matches!(p.kind, PortKind::Sampling { .. })) {
        let Some(writer) = port.from.first() else { continue };
        out.extend(port.to.iter().map(|reader| {
            let worst = age(system, writer.partition, reader.partition);
            let limit = reader.max_age_ns.as_ref().map(|l| l.value);
            port_facts(system, &port.name.value, reader.partition, worst, limit)
        }));
    }
    out
}

/// What a queuing port holds and has to keep.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// Messages that fit.
    pub depth: u32,
    /// Messages that each job of the writer sends at most.
    pub per_period: u32,
    /// Required latency.
    pub max_latency_ns: Option<u64>,
}

/// Every queuing port with a writer and a reader.
pub fn queues(system: &System) -> impl Iterator<Item = (&Port, Queue)> {
    system.ports.iter().filter(|port| !port.from.is_empty() && !port.to.is_empty()).filter_map(|port| {
        let PortKind::Queuing { depth, max_latency_ns, per_period } = &port.kind else { return None };
        let max_latency_ns = max_latency_ns.as_ref().map(|l| l.value);
        Some((port, Queue { depth: depth.value, per_period: per_period.value, max_latency_ns }))
    })
}

fn latencies(system: &System) -> Vec<PortFacts> {
    let of = |(port, queue): (&Port, Queue)| {
        let (writer, reader) = (port.from[0].partition, port.to[0].partition);
        let limit = queue.max_latency_ns;
        let mut facts = port_facts(system, &port.name.value, reader, latency(system, port), limit);
        let waiting = facts.worst_ns.and_then(|ns| backlog(system, writer, ns, queue.per_period));
        facts.backlog = waiting.map(|waiting| (waiting, queue.depth));
        facts
    };
    queues(system).map(of).collect()
}

/// Every change of plan at a frame's end that an authority or a health action can ask for, with its worst latency: the
/// frame has to end two guards after the request at the soonest, so that one which just misses that waits for all of the
/// next frame, then for the new plan's first window.
pub fn plan_switches(system: &System) -> Vec<SwitchFacts> {
    let tables = system.health_tables.iter().chain(&system.module_health);
    let steps = tables.flat_map(|t| t.steps()).filter(|(_, s)| *s.action == Action::SwitchPlan);
    let by_health = steps.filter_map(|(_, s)| s.plan.as_ref());
    let by_authority = system.partitions.iter().flat_map(|p| &p.authority).flat_map(|a| &a.plans);
    let mut targets: Vec<PlanIndex> = by_health.chain(by_authority).map(|p| p.value).collect();
    targets.sort_unstable();
    targets.dedup();
    let notice = longest_guard(system).saturating_mul(2);
    let mut out = Vec::new();
    for to in targets {
        let entered = &system.plans[to];
        let head = entered.cpus.iter().flat_map(|c| &c.windows).map(|w| w.start_ns.value).min().unwrap_or(0);
        for (from, left) in system.plans.iter().enumerate().filter(|(from, _)| *from != to) {
            let frame = left.major_frame_ns.value;
            out.push(SwitchFacts {
                from,
                to,
                left: left.name.value.clone(),
                entered: entered.name.value.clone(),
                worst_ns: notice.saturating_add(frame).saturating_add(head),
                limit_ns: system.hypervisor.plan_switch_latency_ns.as_ref().map(|l| l.value),
                how: format!(
                    "just less than two guards ({}) before a frame's end, a frame of {}, then the first window of the \
                     new plan at {}",
                    time(notice),
                    time(frame),
                    time(head)
                ),
            });
        }
    }
    out
}

fn transients(system: &System) -> Vec<TransientFacts> {
    let name = |plan: PlanIndex| system.plans[plan].name.value.clone();
    let list = transient::all(system).into_iter();
    list.map(|t| TransientFacts {
        left: name(t.from),
        entered: name(t.to),
        when: t.when(),
        partition: partition_name(system, t.partition),
        requirement: t.requirement,
        limit_ns: t.limit_ns,
        worst_ns: t.worst_ns,
    })
    .collect()
}
