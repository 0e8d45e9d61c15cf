//! The scheduler that flies, run over a frame of a plan: what is computed about time is computed from its slots.
//!
//! `bulkhead_core::schedule::Timeline` counts in any unit; here a tick is a nanosecond, so that no figure is rounded.

use crate::model::{PartitionIndex, PlanCpu};
use bulkhead_blueprint::layout::{NONE, Window};
use bulkhead_core::plan_switch::Switch;
use bulkhead_core::schedule::{PlanView, Timeline};

/// Partition, start and end of each window that the scheduler runs in one frame, in order of partition and start. The
/// plan must be sound.
pub fn windows(schedule: &PlanCpu, frame_ns: u64) -> Vec<(PartitionIndex, u64, u64)> {
    let mut windows: Vec<Window> = schedule
        .windows
        .iter()
        .map(|w| Window {
            start_ticks: w.start_ns.value,
            end_ticks: w.end_ns(),
            next_ticks: 0,
            vcpu: w.partition.value as u32,
            flags: 0,
        })
        .collect();
    windows.sort_by_key(|w| w.start_ticks);
    let view = PlanView { windows: &windows, frame_ticks: frame_ns, background: NONE };
    let only = Switch { number: 0, plan: 0, before: 0, tick: 0, before_tick: 0 };
    let mut timeline = Timeline::new(0, 0);
    let mut slots = Vec::new();
    let mut at = 0;
    // Each window gives a slot, and each gap around one.
    for _ in 0..=2 * windows.len() {
        if at >= frame_ns {
            break;
        }
        let slot = timeline.slot(at, only, |_| view);
        if slot.window {
            slots.push((slot.vcpu as PartitionIndex, slot.start, slot.end));
        }
        at = slot.end;
    }
    slots.sort_unstable();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Span, Spanned};
    use proptest::prelude::*;

    const HERE: Span = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 1, node: 0 };

    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned::new(value, HERE)
    }

    proptest! {
        #[test]
        fn the_scheduler_runs_each_window_once_and_whole(
            lengths in prop::collection::vec((1u64..50, 0u64..30, 0usize..4), 0..40), tail in 1u64..20,
        ) {
            let mut at = 0;
            let windows: Vec<crate::model::Window> = lengths.iter().map(|(length, gap, partition)| {
                let start = at + gap;
                at = start + length;
                crate::model::Window {
                    span: HERE,
                    name: String::new(),
                    partition: spanned(*partition),
                    start_ns: spanned(start),
                    duration_ns: spanned(*length),
                    clean: Vec::new(),
                }
            }).collect();
            let mut wanted: Vec<(usize, u64, u64)> =
                windows.iter().map(|w| (w.partition.value, w.start_ns.value, w.end_ns())).collect();
            wanted.sort_unstable();
            let schedule = PlanCpu::new(HERE, spanned(0), None, windows);
            prop_assert_eq!(super::windows(&schedule, at + tail), wanted);
        }
    }
}
