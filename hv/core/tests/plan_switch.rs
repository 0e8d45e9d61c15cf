//! The scheduler of a whole system, enumerated: CPUs, partitions and two plans, and whoever may ask
//! for a plan at any tick, twice. Invariants:
//!
//! 1. No window late: at every tick every CPU runs what the plan of that tick says, by a reading of
//!    the plans that knows nothing of `Timeline`.
//! 2. All CPUs are in the same plan at every tick.
//! 3. A plan that is asked for begins at the end of a major frame, or cuts one short if it is entered
//!    at once, and in both cases no sooner than a margin and no later than it should.
//! 4. A request that says nothing changes, changes nothing.

use bulkhead_blueprint::layout::{NONE, Window};
use bulkhead_core::plan_switch::{PlanSwitch, Switch, When};
use bulkhead_core::schedule::{PlanView, Timeline};
use proptest::prelude::*;

/// Ticks that a CPU looks ahead, and twice as many that a request keeps ahead.
const GUARD: u64 = 1;
const MARGIN: u64 = 2 * GUARD;
const T0: u64 = 100;
/// EL2 waits for a planned tick and runs nobody.
const EL2: u32 = NONE - 1;

/// One CPU of one plan.
#[derive(Clone, Debug)]
struct Cpu {
    windows: Vec<Window>,
    background: u32,
}

#[derive(Clone, Debug)]
struct Plan {
    frame: u64,
    cpus: Vec<Cpu>,
}

fn window(start_ticks: u64, end_ticks: u64, vcpu: u32) -> Window {
    Window { start_ticks, end_ticks, next_ticks: 0, vcpu, flags: 0 }
}

fn view(plans: &[Plan], plan: u16, cpu: usize) -> PlanView<'_> {
    let plan = &plans[usize::from(plan)];
    let Cpu { windows, background } = &plan.cpus[cpu];
    PlanView { windows, frame_ticks: plan.frame, background: *background }
}

/// Two CPUs, three partitions (1 and 2 on CPU 0, 3 with 2's other vCPU on CPU 1), two plans.
fn small() -> Vec<Plan> {
    let cpu = |windows: &[Window], background| Cpu { windows: windows.to_vec(), background };
    vec![
        Plan {
            frame: 8,
            cpus: vec![
                cpu(&[window(0, 3, 10), window(3, 6, 20)], 20),
                cpu(&[window(2, 4, 30), window(6, 8, 21)], NONE),
            ],
        },
        Plan { frame: 5, cpus: vec![cpu(&[window(2, 5, 10)], NONE), cpu(&[window(0, 2, 30)], 21)] },
    ]
}

/// A request: at which tick, for which plan, when.
type Request = (u64, u16, When);

/// The system from T0 on. A CPU decides one guard ahead of its slot's end, or at the end itself where
/// a visit used the guard up; it is kicked when a plan is entered at once.
struct World<'a> {
    plans: &'a [Plan],
    shared: PlanSwitch,
    timelines: Vec<Timeline<'a>>,
    /// What each CPU has decided to run, and from which tick on.
    runs: Vec<Vec<(u64, u32)>>,
    /// End of each CPU's slot.
    ends: Vec<u64>,
    /// Every switch that has been asked for and was not replaced.
    switches: Vec<Switch>,
}

impl<'a> World<'a> {
    fn new(plans: &'a [Plan]) -> Self {
        let shared = PlanSwitch::new();
        shared.init(0, T0);
        let cpus = plans[0].cpus.len();
        let first = shared.load();
        World {
            plans,
            shared,
            timelines: vec![Timeline::new(0, T0); cpus],
            runs: vec![vec![]; cpus],
            ends: vec![T0; cpus],
            switches: vec![first],
        }
    }

    fn request(&mut self, (tick, plan, when): Request) {
        let before = self.shared.load();
        let frame = |plan: u16| self.plans[usize::from(plan)].frame;
        let changed = self.shared.request(plan, when, tick, MARGIN, frame);
        let after = self.shared.load();
        assert_eq!(changed, before != after, "invariant 4");
        if !changed {
            return;
        }
        assert!(after.tick >= tick + MARGIN, "invariant 3: {after:?} asked for at {tick}");
        let origin = after.before_tick;
        let whole = (after.tick - origin).is_multiple_of(frame(after.before));
        let soon = after.tick <= tick + 4 * MARGIN;
        assert!(whole || (soon && when == When::AtOnce), "invariant 3: {after:?} asked for at {tick}");
        let latest = tick + MARGIN + 2 * frame(after.before);
        assert!(after.tick <= latest, "invariant 3: {after:?} asked for at {tick}");
        if after.number == before.number {
            self.switches.pop();
        }
        self.switches.push(after);
        if when == When::AtOnce {
            for (timeline, end) in self.timelines.iter().zip(&mut self.ends) {
                if timeline.switches() != after.number {
                    *end = after.tick.min(*end);
                }
            }
        }
    }

    /// A CPU's timer has fired and was taken at `now`.
    fn decide(&mut self, cpu: usize, now: u64) {
        let plans = self.plans;
        let slot = self.timelines[cpu].slot(now + GUARD, self.shared.load(), |p| view(plans, p, cpu));
        assert!(slot.start <= now + GUARD && slot.end > now + GUARD);
        // EL2 waits for the planned tick. What is shorter than the guard because a plan was cut is left
        // out where a visit used the guard up.
        if slot.start > self.ends[cpu] {
            self.runs[cpu].push((self.ends[cpu], EL2));
        }
        self.runs[cpu].push((slot.start.max(self.ends[cpu]), slot.vcpu));
        self.ends[cpu] = slot.end;
    }

    /// Invariants 1 and 2 at `tick`.
    fn check(&self, tick: u64) {
        let current = self.switches.iter().rev().find(|s| s.tick <= tick).unwrap();
        for (cpu, runs) in self.runs.iter().enumerate() {
            let run = runs.iter().rev().find(|(from, _)| *from <= tick);
            if run.is_some_and(|r| r.1 == EL2) {
                let cut = self.switches.iter().any(|s| tick < s.tick && s.tick <= tick + GUARD);
                assert!(cut, "invariant 1: CPU {cpu} waits at {tick}");
                continue;
            }
            let plan = view(self.plans, current.plan, cpu);
            let at = (tick - current.tick) % plan.frame_ticks;
            let mine = plan.windows.iter().find(|w| w.start_ticks <= at && at < w.end_ticks);
            let expected = mine.map_or(plan.background, |w| w.vcpu);
            assert_eq!(
                run.map(|r| r.1),
                Some(expected),
                "invariant 1: CPU {cpu} at {tick}, plan {}",
                current.plan
            );
        }
    }
}

/// Runs the system over `ticks`. `late`: which CPUs are held up for the whole guard, always.
fn simulate(plans: &[Plan], requests: &[Request], ticks: u64, late: &[bool]) {
    let mut world = World::new(plans);
    for tick in T0 - GUARD..T0 + ticks {
        requests.iter().filter(|r| r.0 == tick).for_each(|r| world.request(*r));
        for (cpu, late) in late.iter().enumerate() {
            if tick >= world.ends[cpu] - if *late { 0 } else { GUARD } {
                world.decide(cpu, tick);
            }
        }
        if tick >= T0 {
            world.check(tick);
        }
    }
}

#[test]
fn every_pair_of_requests_at_every_tick() {
    let plans = small();
    for first in T0..T0 + 20 {
        for second in first..first + 14 {
            for choice in 0..16u16 {
                let when = |bit: u16| if choice >> bit & 1 == 0 { When::FrameEnd } else { When::AtOnce };
                let requests = [(first, choice & 1, when(2)), (second, choice >> 1 & 1, when(3))];
                for late in [[false, false], [true, false], [false, true], [true, true]] {
                    simulate(&plans, &requests, 60, &late);
                }
            }
        }
    }
}

/// A plan for `cpus` CPUs: windows and gaps longer than the guard, one vCPU for each CPU and window.
fn plan(cpus: usize) -> impl Strategy<Value = Plan> {
    let lengths = || prop::collection::vec((GUARD + 1..9, any::<bool>()), 1..7);
    prop::collection::vec((lengths(), any::<bool>()), cpus).prop_map(|cpus| {
        let frame = cpus.iter().map(|(l, _)| l.iter().map(|(n, _)| n).sum::<u64>()).max().unwrap_or(0);
        let frame = frame.max(4 * GUARD) + GUARD + 1;
        let cpus = cpus.into_iter().enumerate().map(|(cpu, (lengths, has_background))| {
            let mut at = 0;
            let mut windows = Vec::new();
            for (number, (length, is_window)) in lengths.into_iter().enumerate() {
                if is_window {
                    windows.push(window(at, at + length, (cpu * 100 + number) as u32));
                }
                at += length;
            }
            let background = if has_background { (cpu * 100 + 99) as u32 } else { NONE };
            Cpu { windows, background }
        });
        Plan { frame, cpus: cpus.collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn large_systems(
        plans in prop::collection::vec(plan(4), 5),
        requests in prop::collection::vec((0u64..300, 0u16..5, any::<bool>()), 0..25),
        late in prop::collection::vec(any::<bool>(), 4),
    ) {
        let when = |at_once| if at_once { When::AtOnce } else { When::FrameEnd };
        let requests: Vec<Request> = requests.into_iter().map(|(t, p, o)| (T0 + t, p, when(o))).collect();
        simulate(&plans, &requests, 400, &late);
    }
}
