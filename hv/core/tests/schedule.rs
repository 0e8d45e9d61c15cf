//! The timeline against a brute-force reading of the same plans.

use bulkhead_blueprint::layout::{NONE, Window};
use bulkhead_core::schedule::{PlanView, PlanWord, Slot, Timeline};

const T0: u64 = 1_000;

fn window(start_ticks: u64, end_ticks: u64, vcpu: u32) -> Window {
    Window { start_ticks, end_ticks, vcpu, flags: 0 }
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
    }
}

#[test]
fn every_tick_of_every_plan_at_every_pace() {
    let plans = plans();
    for plan in 0..3u16 {
        let frame = view(&plans, plan).frame_ticks;
        for pace in 1..40 {
            let mut timeline = Timeline::new(plan, T0);
            let word = PlanWord::new(plan, 0);
            for tick in (T0..T0 + 100).step_by(pace) {
                let slot = timeline.slot(tick, word, |n| view(&plans, n));
                let since = tick - T0;
                let origin = T0 + since / frame * frame;
                let expected = brute(view(&plans, plan), origin, since % frame);
                assert_eq!(slot, expected, "plan {plan} pace {pace} tick {tick}");
                assert_eq!(timeline.boundary(), since / frame);
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
        let slot = timeline.slot(tick, PlanWord::new(0, 0), |n| view(&plans, n));
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
    let word = PlanWord::new(0, 0);
    let early = timeline.slot(T0 - 400, word, |n| view(&plans, n));
    assert_eq!((early.vcpu, early.window, early.end), (7, false, T0));
    assert!(timeline.slot(T0, word, |n| view(&plans, n)).window);
}

#[test]
fn a_switch_happens_at_its_boundary_at_every_pace() {
    let plans = plans();
    // Plan 0 (12 ticks) until boundary 3, then plan 1 (5 ticks).
    let word = PlanWord::new(1, 3);
    assert_eq!((word.plan(), word.boundary()), (1, 3));
    let change = T0 + 3 * 12;
    for pace in 1..60 {
        let mut timeline = Timeline::new(0, T0);
        for tick in (T0..T0 + 120).step_by(pace) {
            let slot = timeline.slot(tick, word, |n| view(&plans, n));
            let (plan, since, base, first) =
                if tick < change { (0, tick - T0, T0, 0) } else { (1, tick - change, change, 3) };
            let frame = view(&plans, plan).frame_ticks;
            let origin = base + since / frame * frame;
            assert_eq!(timeline.plan(), plan);
            assert_eq!(timeline.boundary(), first + since / frame);
            assert_eq!(slot, brute(view(&plans, plan), origin, since % frame));
        }
    }
}

#[test]
fn a_boundary_that_has_passed_changes_nothing() {
    let plans = plans();
    let mut timeline = Timeline::new(0, T0);
    timeline.slot(T0 + 40, PlanWord::new(0, 0), |n| view(&plans, n));
    assert_eq!(timeline.boundary(), 3);
    timeline.slot(T0 + 120, PlanWord::new(1, 2), |n| view(&plans, n));
    assert_eq!(timeline.plan(), 0);
}

#[test]
fn next_windows() {
    let plans = plans();
    let mut timeline = Timeline::new(0, T0);
    let plan = view(&plans, 0);
    let cases =
        [(0, 1, 8), (0, 2, 3), (3, 1, 8), (3, 2, 15), (9, 1, 12), (11, 2, 15), (11, 7, u64::MAX - T0)];
    for (tick, vcpu, expected) in cases {
        let slot = timeline.slot(T0 + tick, PlanWord::new(0, 0), |n| view(&plans, n));
        let next = timeline.next_window(plan, vcpu, &slot);
        assert_eq!(next, T0 + expected, "vCPU {vcpu} at {tick}");
    }
}
