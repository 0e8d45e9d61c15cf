//! The longest time that a vCPU is without its CPU.

use super::guard::guard_of;
use super::supply::schedule_of;
use crate::model::{CpuIndex, PartitionIndex, System, Window};
use crate::span::Span;

/// Longest time without the CPU: between windows of one plan, or from the last of one to the first of another that
/// is entered at the frame's end.
#[derive(Debug, Clone, Copy)]
pub struct Blackout {
    /// How long.
    pub ns: u64,
    /// The window before it.
    pub from: Span,
    /// The window after it.
    pub to: Span,
}

/// The longest blackout of partition `index` on `cpu` over the plans that give it windows there.
pub fn longest(system: &System, index: PartitionIndex, cpu: CpuIndex) -> Option<Blackout> {
    let guard = guard_of(system, cpu);
    let mut longest: Option<Blackout> = None;
    let mut consider = |ns: u64, from: Span, to: Span| {
        if longest.as_ref().is_none_or(|l| ns > l.ns) {
            longest = Some(Blackout { ns, from, to });
        }
    };
    let mut edges = Vec::new();
    for plan in system.plans.iter().filter(|p| p.sound) {
        let Some(schedule) = schedule_of(plan, cpu) else {
            continue;
        };
        let windows: Vec<&Window> = schedule.windows_of(index).collect();
        let end = |w: &Window| w.start_ns.value + w.duration_ns.value.saturating_sub(guard);
        for pair in windows.windows(2) {
            consider(pair[1].start_ns.value.saturating_sub(end(pair[0])), pair[0].span, pair[1].span);
        }
        if let (Some(first), Some(last)) = (windows.first(), windows.last()) {
            let tail = plan.major_frame_ns.value.saturating_sub(end(last));
            edges.push((first.start_ns.value, first.span, tail, last.span));
        }
    }
    for (_, _, tail, from) in &edges {
        for (head, to, _, _) in &edges {
            consider(tail + head, *from, *to);
        }
    }
    longest
}
