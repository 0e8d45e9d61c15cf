//! The timeline against a brute-force reading of the same plans.

use bulkhead_blueprint::layout::{NONE, Window};
use bulkhead_core::plan_switch::Switch;
use bulkhead_core::schedule::{PlanView, Slot, Timeline};

const T0: u64 = 1_000;

fn window(start_ticks: u64, end_ticks: u64, vcpu: u32) -> Window {
    // Any number will do: the timeline only adds it.
    Window { start_ticks, end_ticks, next_ticks: end_ticks * 3, vcpu, flags: 0 }
}

/// No switch was ever asked for.
fn still(plan: u16) -> Switch {
    Switch { number: 0, plan, before: plan, tick: T0, before_tick: T0 }
}

fn plans() -> [(Vec<Window>, u64, u32); 3] {
    [
        (vec![window(0, 3, 1), window(3, 5, 2), window(8, 10, 1)], 12, 7),
        (vec![window(2, 5, 3)], 5, NONE),
        (vec![], 4, 9),
    ]
}

fn view(plans: &[(Vec<Window>, u64, u32); 3], plan: u16) -> PlanView<'_> {
    let (windows, frame_ticks, background) = &plans[usize::from(plan)];
    PlanView { windows, frame_ticks: *frame_ticks, background: *background }
}

/// The slot at `offset` from a frame's start at `origin`, found by looking at every tick.
fn brute(plan: PlanView<'_>, origin: u64, offset: u64) -> Slot {
    let owner = |tick: u64| plan.windows.iter().position(|w| w.start_ticks <= tick && tick < w.end_ticks);
    let mine = owner(offset);
    let start = (0..=offset).rev().take_while(|t| owner(*t) == mine).last();
    let end = (offset..plan.frame_ticks).take_while(|t| owner(*t) == mine).last();
    Slot {
        vcpu: mine.map_or(plan.background, |n| plan.windows[n].vcpu),
        window: mine.is_some(),
        start: origin + start.unwrap(),
        end: origin + end.unwrap() + 1,
        next: mine.map_or(0, |n| origin + plan.windows[n].next_ticks),
        clean: mine.map_or(0, |n| plan.windows[n].flags),
    }
}

#[test]
fn every_tick_of_every_plan_at_every_pace() {
    let plans = plans();
    for plan in 0..3u16 {
        let frame = view(&plans, plan).frame_ticks;
        for pace in 1..40 {
            let mut timeline = Timeline::new(plan, T0);
            let word = still(plan);
            for tick in (T0..T0 + 100).step_by(pace) {
                let slot = timeline.slot(tick, word, |n| view(&plans, n));
                let since = tick - T0;
                let origin = T0 + since / frame * frame;
                let expected = brute(view(&plans, plan), origin, since % frame);
                assert_eq!(slot, expected, "plan {plan} pace {pace} tick {tick}");
            }
        }
    }
}

#[test]
fn following_the_ends_visits_every_slot_without_drift() {
    let plans = plans();
    let mut timeline = Timeline::new(0, T0);
    let mut tick = T0;
    let mut starts = Vec::new();
    for _ in 0..60_000 {
        let slot = timeline.slot(tick, still(0), |n| view(&plans, n));
        assert_eq!(slot.start, tick);
        starts.push(slot.start - T0);
        tick = slot.end;
    }
    assert_eq!(&starts[..6], [0, 3, 5, 8, 10, 12]);
    assert_eq!(tick, T0 + 60_000 / 5 * 12);
}

#[test]
fn before_t0_only_the_background_runs() {
    let plans = plans();
    let mut timeline = Timeline::new(0, T0);
    let word = still(0);
    let early = timeline.slot(T0 - 400, word, |n| view(&plans, n));
    assert_eq!((early.vcpu, early.window, early.end), (7, false, T0));
    assert!(timeline.slot(T0, word, |n| view(&plans, n)).window);
}

#[test]
fn a_switch_happens_at_its_tick_at_every_pace() {
    let plans = plans();
    // Plan 0 (12 ticks) until the end of its third frame, or in the middle of it, then plan 1.
    for change in [T0 + 3 * 12, T0 + 2 * 12 + 4] {
        let word = Switch { number: 1, plan: 1, before: 0, tick: change, before_tick: T0 };
        for pace in 1..60 {
            let mut timeline = Timeline::new(0, T0);
            for tick in (T0..T0 + 120).step_by(pace) {
                let slot = timeline.slot(tick, word, |n| view(&plans, n));
                let (plan, since, base) =
                    if tick < change { (0, tick - T0, T0) } else { (1, tick - change, change) };
                let frame = view(&plans, plan).frame_ticks;
                let origin = base + since / frame * frame;
                assert_eq!(timeline.plan(), plan);
                assert_eq!(timeline.switches(), u64::from(tick >= change));
                let mut expected = brute(view(&plans, plan), origin, since % frame);
                if tick < change {
                    expected.end = expected.end.min(change);
                }
                assert_eq!(slot, expected);
            }
        }
    }
}

#[test]
fn a_switch_that_was_overtaken_by_another_is_made_up_for() {
    let plans = plans();
    let word = Switch { number: 2, plan: 2, before: 1, tick: T0 + 24, before_tick: T0 + 12 };
    let mut timeline = Timeline::new(0, T0);
    let slot = timeline.slot(T0 + 14, word, |n| view(&plans, n));
    assert_eq!((timeline.plan(), slot.vcpu, slot.start, slot.end), (1, 3, T0 + 14, T0 + 17));
    let slot = timeline.slot(T0 + 25, word, |n| view(&plans, n));
    assert_eq!((timeline.plan(), slot.vcpu, slot.start, slot.end), (2, 9, T0 + 24, T0 + 28));
}
