//! Histograms for a terminal: how late windows began, and what EL2 was entered for.

use crate::{CAUSE_NAMES, CpuTrace, Event, Layout, Window};
use bulkhead_abi::trace::cause;
use std::fmt::Write as _;

/// Upper bounds of the jitter histogram's buckets, in ticks.
const BUCKETS: [u64; 8] = [0, 1, 2, 4, 8, 64, 1024, u64::MAX];
/// Characters of the longest bar.
const BAR: u64 = 40;

/// What is known of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Windows that began.
    pub windows: u64,
    /// Turns in background time.
    pub background: u64,
    /// Ticks that it had a CPU.
    pub ticks: u64,
    /// Latest start, in ticks.
    pub latest: u64,
    /// Windows by lateness, in the buckets of [`BUCKETS`].
    pub jitter: [u64; BUCKETS.len()],
    /// Windows whose planned start is not one of the plan's; only those are judged whose plan's
    /// beginning is in the trace.
    pub off_plan: u64,
    /// Visits by cause.
    pub visits: [u64; cause::COUNT],
    /// Health events.
    pub health: u64,
    /// Interrupts that waited for it.
    pub deferred: u64,
    /// The longest that one of them may have waited, in ticks.
    pub longest_wait: u64,
    /// Longest that the CPU was cleaned before one of its windows, in ticks.
    pub longest_cleaning: u64,
    /// Interrupts of it that came while another ran.
    pub stragglers: u64,
}

/// Sums up each partition, by index.
#[must_use]
pub fn summarise(layout: &Layout, cpus: &[CpuTrace]) -> Vec<Summary> {
    let mut out = vec![Summary::default(); layout.partitions.len()];
    for (cpu, trace) in cpus.iter().enumerate() {
        one_cpu(layout, cpu, trace, &mut out);
    }
    out
}

fn one_cpu(layout: &Layout, cpu: usize, trace: &CpuTrace, out: &mut [Summary]) {
    let mut plan: Option<(usize, u64)> = None;
    let mut open: Option<(u32, u64)> = None;
    let mut visits = [0u64; cause::COUNT];
    let (mut waited, mut cleaned) = ((0, 0), 0);
    let owner = |vcpu: u32| layout.vcpus.get(vcpu as usize).map_or(usize::MAX, |v| v.partition);
    for record in &trace.records {
        match record.event {
            Event::Plan { plan: index } => plan = Some((usize::from(index), record.ticks)),
            Event::Start { vcpu, window, late } => {
                open = Some((vcpu, record.ticks));
                visits = [0; cause::COUNT];
                let (count, away) = std::mem::take(&mut waited);
                if let Some(summary) = out.get_mut(owner(vcpu)) {
                    summary.deferred += count;
                    summary.longest_wait = summary.longest_wait.max(away);
                    summary.longest_cleaning = summary.longest_cleaning.max(std::mem::take(&mut cleaned));
                    let planned = record.ticks.saturating_sub(u64::from(late));
                    let fits = plan.is_none_or(|plan| is_planned(layout, cpu, plan, vcpu, planned));
                    summary.start(window, u64::from(late), fits);
                }
            }
            Event::Visits { first, counts } => {
                for (slot, count) in visits.iter_mut().skip(first).zip(counts) {
                    *slot += u64::from(count);
                }
            }
            Event::End { vcpu, .. } => {
                if let Some((_, start)) = open.take().filter(|(open, _)| *open == vcpu)
                    && let Some(summary) = out.get_mut(owner(vcpu))
                {
                    summary.ticks += record.ticks.saturating_sub(start);
                    summary.add(&visits);
                }
            }
            Event::Deferred { count, away } => waited = (u64::from(count), u64::from(away)),
            Event::Straggler { partition, .. } => {
                out.get_mut(partition as usize).into_iter().for_each(|s| s.stragglers += 1);
            }
            Event::Health { partition, .. } => {
                out.get_mut(partition as usize).into_iter().for_each(|s| s.health += 1);
            }
            Event::Cleaned { ticks, .. } => cleaned = ticks,
            Event::PlanAsked { .. } | Event::Unknown(_) => {}
        }
    }
    if let Some(summary) = open.and_then(|(vcpu, _)| out.get_mut(owner(vcpu))) {
        summary.add(&trace.open_visits.map(u64::from));
    }
}

/// Whether a window of `vcpu` begins at `planned` under the plan that began at its tick.
fn is_planned(layout: &Layout, cpu: usize, plan: (usize, u64), vcpu: u32, planned: u64) -> bool {
    let Some(record) = layout.plans.get(plan.0) else {
        return false;
    };
    let Some(since) = planned.checked_sub(plan.1) else {
        // Begun under the plan before.
        return true;
    };
    let windows: &[Window] = record.cpus.get(cpu).map_or(&[], Vec::as_slice);
    windows.iter().any(|w| w.vcpu == vcpu && w.start == since % record.frame.max(1))
}

impl Summary {
    fn start(&mut self, window: bool, late: u64, fits: bool) {
        if !window {
            self.background += 1;
            return;
        }
        self.windows += 1;
        self.latest = self.latest.max(late);
        self.off_plan += u64::from(!fits);
        if let Some(bucket) = BUCKETS.iter().position(|most| late <= *most) {
            self.jitter[bucket] += 1;
        }
    }

    fn add(&mut self, visits: &[u64; cause::COUNT]) {
        for (sum, count) in self.visits.iter_mut().zip(visits) {
            *sum += count;
        }
    }
}

/// The report as text.
#[must_use]
pub fn text(layout: &Layout, cpus: &[CpuTrace]) -> String {
    let mut out = String::new();
    let ns = |ticks: u64| ticks as f64 * 1e9 / layout.hz.max(1) as f64;
    for (cpu, trace) in cpus.iter().enumerate() {
        let (records, lost) = (trace.records.len(), trace.overwritten);
        let _ = writeln!(out, "CPU {cpu}: {records} records, {lost} older ones overwritten");
    }
    for (name, summary) in layout.partitions.iter().zip(summarise(layout, cpus)) {
        let _ = writeln!(
            out,
            "\n{name}: {} windows, {} turns in background time, {:.3} ms in all",
            summary.windows,
            summary.background,
            ns(summary.ticks) / 1e6
        );
        if summary.windows != 0 {
            let _ = writeln!(
                out,
                "  window start: at most {} ticks ({:.0} ns) late, {} off the plan",
                summary.latest,
                ns(summary.latest),
                summary.off_plan
            );
            histogram(&mut out, &summary);
        }
        let causes = CAUSE_NAMES.iter().zip(summary.visits).filter(|(_, count)| *count != 0);
        let visits: Vec<String> = causes.map(|(name, count)| format!("{name} {count}")).collect();
        let visits = if visits.is_empty() { "none".to_owned() } else { visits.join(", ") };
        let _ = writeln!(out, "  visits to EL2: {visits}");
        let _ = writeln!(
            out,
            "  interrupts that waited {} ({} ticks at most), that came late {}; health events {}",
            summary.deferred, summary.longest_wait, summary.stragglers, summary.health
        );
        if summary.longest_cleaning != 0 {
            let (ticks, ns) = (summary.longest_cleaning, ns(summary.longest_cleaning));
            let _ = writeln!(out, "  cleaning before a window: {ticks} ticks ({ns:.0} ns) at most");
        }
    }
    out
}

fn histogram(out: &mut String, summary: &Summary) {
    let most = summary.jitter.iter().copied().max().unwrap_or(0).max(1);
    for (count, upper) in summary.jitter.iter().zip(BUCKETS).filter(|(count, _)| **count != 0) {
        let bar = "#".repeat(usize::try_from((count * BAR).div_ceil(most)).unwrap_or(0));
        let upper = if upper == u64::MAX { "more".to_owned() } else { upper.to_string() };
        let _ = writeln!(out, "  {upper:>6} ticks {count:>8} {bar}");
    }
}
