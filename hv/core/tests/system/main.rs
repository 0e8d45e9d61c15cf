//! The machines of a whole system together: schedule, plan switch, life cycle, health monitor and authority, as the
//! dispatcher of `hv/image` plays them. Every state that two CPUs, three partitions and two plans can reach is
//! visited, whatever partitions do at any tick; larger systems are run at random.
//!
//! Invariants:
//!
//! 1. No window late: at every tick of its window a vCPU that may run has its CPU, by a reading of the plans that
//!    knows nothing of `Timeline`; what it may not use is the background's, or nobody's.
//! 2. No two partitions on one CPU: a CPU runs one vCPU, one that is bound to it, of a partition that is loading
//!    (its vCPU 0 alone) or running, and that it has not dropped.
//! 3. All CPUs are in the same plan at every tick.
//! 4. Authority is respected: what is not granted is refused and changes nothing; what is granted changes its target
//!    alone, in the way that was asked for.
//! 5. Every event has an action, one that the partition's table names, and it is carried out.
//! 6. What was begun ends: left alone, a partition that restarts runs again if its plan has windows for its vCPUs, and
//!    one that stops gives up its CPUs.

use bulkhead_abi::hypercall::{TARGET_SELF, control};
use bulkhead_abi::info::{event, start_condition};
use bulkhead_abi::status;
use bulkhead_blueprint::layout::{
    Authority, HealthRow, HealthStep, NONE, Partition, Plan, Window, action, step,
};
use bulkhead_core::authority;
use bulkhead_core::health_monitor::{Action, Monitor};
use bulkhead_core::lifecycle::{Disposition, Life, Request, State};
use bulkhead_core::plan_switch::{PlanSwitch, Switch, When};
use bulkhead_core::schedule::{PlanView, Timeline};
use zerocopy::FromZeros;

mod large;
mod small;

/// Ticks that a CPU looks ahead, and twice as many that a request keeps ahead.
const GUARD: u64 = 1;
const MARGIN: u64 = 2 * GUARD;
/// Ticks in which the first events escalate.
const WITHIN: u64 = 6;
/// Turns of vCPU 0 that its loader takes.
const LOADING: u8 = 1;

/// One CPU of one plan.
#[derive(Clone, Debug)]
struct Cpu {
    windows: Vec<Window>,
    background: u32,
}

/// A system as the compiler seals it.
#[derive(Clone, Debug)]
struct Sealed {
    plans: Vec<(u64, Vec<Cpu>)>,
    /// Partition, number in it and CPU of each vCPU.
    vcpus: Vec<(usize, usize, usize)>,
    partitions: Vec<Partition>,
    authorities: Vec<Authority>,
    rows: Vec<Vec<HealthRow>>,
    limit: HealthStep,
}

fn window(start_ticks: u64, end_ticks: u64, vcpu: u32) -> Window {
    Window { start_ticks, end_ticks, next_ticks: 0, vcpu, flags: 0 }
}

impl Sealed {
    fn view(&self, plan: u16, cpu: usize) -> PlanView<'_> {
        let (frame_ticks, cpus) = &self.plans[usize::from(plan)];
        let Cpu { windows, background } = &cpus[cpu];
        PlanView { windows, frame_ticks: *frame_ticks, background: *background }
    }

    fn cpus(&self) -> usize {
        self.plans[0].1.len()
    }

    fn vcpus_of(&self, partition: usize) -> usize {
        self.vcpus.iter().filter(|v| v.0 == partition).count()
    }

    fn records(&self) -> Vec<Plan> {
        let record = |id: usize| {
            let mut plan = Plan::new_zeroed();
            plan.id = id as u32;
            plan
        };
        (0..self.plans.len()).map(record).collect()
    }
}

/// What happens at a tick, besides the CPUs' own steps.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    /// A partition that runs calls PARTITION_CONTROL.
    Control {
        caller: usize,
        which: u64,
        operation: u64,
    },
    /// A partition that runs calls PLAN_SET.
    PlanSet {
        caller: usize,
        plan: u64,
    },
    /// A partition that runs does what is an event.
    Event {
        partition: usize,
        event: u32,
    },
}

/// One CPU.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    timeline: Timeline<'a>,
    /// The tick for which the timeline was asked last.
    looked: u64,
    /// First tick of the slot; until then EL2 switches, in time of the one before.
    start: u64,
    /// End of the slot.
    end: u64,
    /// The slot's vCPU, and that which runs.
    slot: u32,
    runs: u32,
}

/// The system at a tick. Comparable and without absolute times as a [`Key`].
struct World<'a> {
    sealed: &'a Sealed,
    now: u64,
    shared: PlanSwitch,
    places: Vec<Place<'a>>,
    lives: Vec<Life>,
    /// Turns that the loader of each partition still takes.
    loads: Vec<u8>,
    monitors: Vec<Monitor>,
    /// Ticks of the acts that each partition's monitor still counts: event and tick.
    acts: Vec<Vec<(u32, u64)>>,
}

/// A state of the world: all times relative to now, plan switches counted from 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    switch: (u16, u16, i64, i64),
    /// Of each CPU: whether it has followed the switch, the tick it looked at, its slot, whose that is, who runs.
    places: Vec<(bool, i64, [i64; 2], [u32; 2])>,
    lives: Vec<Life>,
    loads: Vec<u8>,
    acts: Vec<Vec<(u32, i64)>>,
}

impl<'a> World<'a> {
    /// At tick `now`, in plan 0 from then on.
    fn new(sealed: &'a Sealed, now: u64) -> Self {
        let shared = PlanSwitch::new();
        shared.init(0, now);
        let place = Place {
            timeline: Timeline::new(0, now),
            looked: now,
            start: now,
            end: now,
            slot: NONE,
            runs: NONE,
        };
        let monitors = sealed.rows.iter().map(|rows| {
            let monitor = Monitor::new_zeroed();
            monitor.init(rows, &sealed.limit);
            monitor
        });
        let lives = (0..sealed.partitions.len()).map(|p| Life::new(sealed.vcpus_of(p)));
        World {
            sealed,
            now,
            shared,
            places: vec![place; sealed.cpus()],
            lives: lives.collect(),
            loads: vec![0; sealed.partitions.len()],
            monitors: monitors.collect(),
            acts: vec![Vec::new(); sealed.partitions.len()],
        }
    }

    fn key(&self) -> Key {
        let now = self.now as i64;
        let last = self.shared.load();
        let follows = |place: &Place<'_>| place.timeline.switches() == last.number;
        let is_past = self.now >= last.tick && self.places.iter().all(follows);
        // Of what began long ago only the place in the frame matters.
        let begun = |plan: u16, tick: u64| {
            let (age, frame) = (now - tick as i64, self.sealed.plans[usize::from(plan)].0 as i64);
            let recent = 2 * MARGIN as i64;
            if age < recent { -age } else { -(recent + (age - recent) % frame) }
        };
        let switch = match is_past {
            true => (last.plan, last.plan, begun(last.plan, last.tick), begun(last.plan, last.tick)),
            false => (last.plan, last.before, last.tick as i64 - now, begun(last.before, last.before_tick)),
        };
        let relative = |tick: u64| tick as i64 - now;
        let place = |p: &Place<'_>| {
            let begun = relative(p.start).max(-1);
            (
                follows(p),
                relative(p.looked).max(-(2 * MARGIN as i64)),
                [begun, relative(p.end)],
                [p.slot, p.runs],
            )
        };
        let acts = self.acts.iter().map(|list| list.iter().map(|(e, t)| (*e, relative(*t))).collect());
        Key {
            switch,
            places: self.places.iter().map(place).collect(),
            lives: self.lives.clone(),
            loads: self.loads.clone(),
            acts: acts.collect(),
        }
    }

    /// The world of a key, at a tick far from zero.
    fn of(sealed: &'a Sealed, key: &Key) -> Self {
        const NOW: u64 = 1_000;
        let mut world = World::new(sealed, 0);
        let absolute = |relative: i64| (NOW as i64 + relative) as u64;
        let (plan, before, tick, before_tick) = key.switch;
        world.now = NOW;
        world.shared.init(before, absolute(before_tick));
        if plan != before || tick != before_tick {
            let asked = absolute(tick) - MARGIN;
            // Another plan first, for a plan may be entered anew.
            let _ = world.shared.request(1 - before, When::AtOnce, asked, MARGIN, |_| u64::MAX);
            let _ = world.shared.request(plan, When::AtOnce, asked, MARGIN, |_| u64::MAX);
            assert!(
                world.shared.load().plan == plan && world.shared.load().tick == absolute(tick),
                "a switch cannot be set up: {key:?}"
            );
        }
        let switch = world.shared.load();
        for (cpu, (place, (follows, looked, [start, end], [slot, runs]))) in
            world.places.iter_mut().zip(&key.places).enumerate()
        {
            let seen = if *follows {
                switch
            } else {
                Switch { number: 0, plan: before, tick: switch.before_tick, ..switch }
            };
            place.timeline = Timeline::new(before, absolute(before_tick));
            place.looked = absolute(*looked);
            let _ =
                place.timeline.slot(place.looked.max(absolute(before_tick)), seen, |p| sealed.view(p, cpu));
            (place.start, place.end) = (absolute(*start), absolute(*end));
            (place.slot, place.runs) = (*slot, *runs);
            assert_eq!(place.timeline.switches() == switch.number, *follows, "{key:?}");
        }
        (world.lives, world.loads) = (key.lives.clone(), key.loads.clone());
        for (partition, list) in key.acts.iter().enumerate() {
            for (event, at) in list {
                let rows = &sealed.rows[partition];
                let _ = world.monitors[partition].decide(rows, &sealed.limit, *event, false, absolute(*at));
                world.acts[partition].push((*event, absolute(*at)));
            }
        }
        world
    }

    fn is_running(&self, partition: usize) -> bool {
        self.places.iter().any(|p| {
            let on = self.sealed.vcpus.get(p.runs as usize);
            on.is_some_and(|v| v.0 == partition) && self.lives[partition].state == State::Running
        })
    }

    /// One tick: what somebody does, then what the CPUs do. `late`: which CPUs are held up for the whole guard.
    fn step(&mut self, deed: Deed, late: &[bool]) {
        self.act(deed);
        for (cpu, late) in late.iter().enumerate() {
            if self.now >= self.places[cpu].end - if *late { 0 } else { GUARD } {
                self.decide(cpu);
            }
        }
        self.check();
        self.now += 1;
        let oldest = self.now.saturating_sub(WITHIN);
        self.acts.iter_mut().for_each(|list| list.retain(|(_, at)| *at >= oldest));
    }

    fn act(&mut self, deed: Deed) {
        let before = (self.lives.clone(), self.shared.load());
        match deed {
            Deed::Nothing => {}
            Deed::Control { caller, which, operation } => {
                let (own, all) = (&self.sealed.partitions[caller], &self.sealed.authorities);
                let answer = authority::target(own, all, caller as u32, which, operation);
                // Invariant 4, by the words of the configuration.
                let listed = all.get(own.authority_first as usize + which as usize);
                let granted = match listed.filter(|_| which < u64::from(own.authority_count)) {
                    _ if which == TARGET_SELF => Ok(caller as u32),
                    None => Err(status::INVALID_PARAMETER),
                    Some(a) if a.rights >> operation & 1 == 1 => Ok(a.partition),
                    Some(_) => Err(status::DENIED),
                };
                assert_eq!(answer, granted, "invariant 4: {deed:?}");
                if let Ok(target) = answer {
                    let wish = match operation {
                        control::SUSPEND => Request::Suspend,
                        control::RESUME => Request::Resume,
                        control::HALT => Request::Halt,
                        _ => Request::Restart { warm: false, condition: start_condition::AUTHORITY },
                    };
                    self.request(target as usize, wish);
                    // Others go on with what they had begun, no more.
                    let others = (0..before.0.len()).filter(|p| *p != target as usize);
                    for (life, was) in others.map(|p| (self.lives[p], before.0[p])) {
                        let went_on = matches!(
                            (was.state, life.state),
                            (State::Restarting, State::Loading | State::Running)
                                | (State::Loading, State::Running)
                        );
                        assert!(
                            life.state == was.state || went_on,
                            "invariant 4: {deed:?}: {was:?} -> {life:?}"
                        );
                    }
                } else {
                    assert_eq!(
                        (&self.lives, self.shared.load()),
                        (&before.0, before.1),
                        "invariant 4: {deed:?}"
                    );
                }
            }
            Deed::PlanSet { caller, plan } => {
                let own = &self.sealed.partitions[caller];
                let answer = authority::plan(own, &self.sealed.records(), plan);
                let granted = (plan as usize) < self.sealed.plans.len() && own.plans >> plan & 1 == 1;
                assert_eq!(answer.is_ok(), granted, "invariant 4: {deed:?}");
                if let Ok(plan) = answer {
                    self.ask_for(plan, When::FrameEnd);
                } else {
                    assert_eq!(self.shared.load(), before.1, "invariant 4: {deed:?}");
                }
                assert_eq!(self.lives, before.0, "invariant 4: {deed:?}");
            }
            Deed::Event { partition, event } => self.event(partition, event),
        }
    }

    fn event(&mut self, partition: usize, event: u32) {
        let (rows, limit) = (&self.sealed.rows[partition], &self.sealed.limit);
        let before = self.lives[partition];
        let word = self.monitors[partition].decide(rows, limit, event, false, self.now);
        // Invariant 5: the table names it, and what it says comes about.
        let row = &rows[event as usize];
        let escalated = word != row.normal;
        assert!(!escalated || row.steps.iter().any(|s| s.count != 0 && s.action == word), "invariant 5");
        if !escalated && row.steps[0].count != 0 {
            self.acts[partition].push((event, self.now));
        }
        match Action::of(word) {
            Action::SwitchPlan => self.ask_for((word >> step::PLAN_SHIFT) as u16, When::AtOnce),
            Action::Suspend => self.request(partition, Request::Suspend),
            Action::Halt => self.request(partition, Request::Halt),
            Action::ColdRestart => {
                let condition = start_condition::HEALTH_MONITOR;
                self.request(partition, Request::Restart { warm: false, condition });
                let state = self.lives[partition].state;
                assert!(matches!(state, State::Restarting | State::Loading), "invariant 5: {state:?}");
            }
            Action::Log => assert_eq!(self.lives[partition], before, "invariant 5"),
            other => panic!("invariant 5: {other:?} is in no table"),
        }
    }

    /// A change of life; CPUs whose turn it is see to it at once.
    fn request(&mut self, partition: usize, wish: Request) {
        let Some(life) = self.lives[partition].request(wish) else { return };
        self.lives[partition] = life;
        self.kick(partition, None);
    }

    /// Every CPU but `but` where it is the partition's turn chooses anew (`dispatch::kick_vcpu`).
    fn kick(&mut self, partition: usize, but: Option<usize>) {
        for cpu in (0..self.places.len()).filter(|cpu| Some(*cpu) != but) {
            let place = self.places[cpu];
            let turns = [place.slot, place.timeline.background()];
            let is_of = |vcpu: &u32| self.sealed.vcpus.get(*vcpu as usize).is_some_and(|v| v.0 == partition);
            if place.end > self.now && turns.iter().any(is_of) {
                self.choose(cpu, place.slot);
            }
        }
    }

    fn ask_for(&mut self, plan: u16, when: When) {
        let frame = |plan: u16| self.sealed.plans[usize::from(plan)].0;
        if self.shared.request(plan, when, self.now, MARGIN, frame) && when == When::AtOnce {
            let switch = self.shared.load();
            for place in &mut self.places {
                if place.timeline.switches() != switch.number {
                    place.end = place.end.min(switch.tick);
                }
            }
        }
    }

    /// A CPU's timer was taken: the slot that begins within the guard.
    fn decide(&mut self, cpu: usize) {
        let (sealed, looked) = (self.sealed, self.now + GUARD);
        let place = &mut self.places[cpu];
        let slot = place.timeline.slot(looked, self.shared.load(), |p| sealed.view(p, cpu));
        place.start = slot.start.max(place.end);
        (place.looked, place.end, place.slot) = (looked, slot.end, slot.vcpu);
        self.choose(cpu, slot.vcpu);
    }

    /// The slot's vCPU if it can run, else the background's, else nobody (`switch::reschedule`).
    fn choose(&mut self, cpu: usize, slot: u32) {
        let background = self.places[cpu].timeline.background();
        self.places[cpu].runs = NONE;
        for vcpu in [slot, background] {
            if self.prepare(cpu, vcpu) {
                self.places[cpu].runs = vcpu;
                break;
            }
        }
    }

    /// Brings a vCPU into the state that its partition's life asks for; whether it can run (`dispatch::prepare`).
    fn prepare(&mut self, cpu: usize, vcpu: u32) -> bool {
        let Some(&(partition, index, _)) = self.sealed.vcpus.get(vcpu as usize) else { return false };
        let (mut life, mut disposition) = self.lives[partition].disposition(index);
        let mut told = false;
        for _ in 0..3 {
            match disposition {
                Disposition::Run | Disposition::Park | Disposition::Nothing => break,
                Disposition::Drop => (life, disposition) = life.dropped(index),
                Disposition::Reset => {
                    life = life.reset_done();
                    self.loads[partition] = LOADING;
                    told = true;
                    (life, disposition) = life.disposition(index);
                }
            }
        }
        let runs = disposition == Disposition::Run;
        // The loader's turns; then the guest's first.
        if runs && life.state == State::Loading {
            match self.loads[partition].checked_sub(1) {
                Some(left) => self.loads[partition] = left,
                None => {
                    life = life.request(Request::LoaderDone).unwrap();
                    told = true;
                }
            }
        }
        self.lives[partition] = life;
        if told {
            self.kick(partition, Some(cpu));
        }
        runs
    }

    /// Invariants 1 to 3 at this tick.
    fn check(&self) {
        let last = self.shared.load();
        let (plan, since) = last.current(self.now);
        for (cpu, place) in self.places.iter().enumerate() {
            let runs = self.sealed.vcpus.get(place.runs as usize);
            if let Some(&(partition, index, bound)) = runs {
                let life = self.lives[partition];
                assert_eq!(bound, cpu, "invariant 2: a vCPU on a foreign CPU");
                let may = match life.state {
                    State::Loading => index == 0,
                    State::Running => true,
                    _ => false,
                };
                assert!(may && life.dropped >> index & 1 == 0, "invariant 2: {life:?} runs on CPU {cpu}");
            }
            let view = self.sealed.view(plan, cpu);
            let at = self.now.saturating_sub(since) % view.frame_ticks;
            let owner = view.windows.iter().find(|w| w.start_ticks <= at && at < w.end_ticks);
            let expected = owner.map_or(view.background, |w| w.vcpu);
            if place.start > self.now {
                continue;
            }
            if self.now < since {
                continue;
            }
            assert_eq!(place.slot, expected, "invariants 1 and 3: CPU {cpu} at {at} of plan {plan}");
            let other = [NONE, view.background].contains(&place.runs);
            assert!(
                place.runs == expected || (other && !self.can_run(expected)),
                "invariant 1: CPU {cpu} at {at}"
            );
        }
    }

    /// Whether nothing keeps a vCPU from running.
    fn can_run(&self, vcpu: u32) -> bool {
        let Some(&(partition, index, _)) = self.sealed.vcpus.get(vcpu as usize) else { return false };
        match self.lives[partition].state {
            State::Running => true,
            State::Loading => index == 0,
            _ => false,
        }
    }
}

/// Whether plan `plan` gives each vCPU of a partition time of its CPU.
fn has_time(sealed: &Sealed, plan: u16, partition: usize) -> bool {
    let mut own = (0u32..).zip(&sealed.vcpus).filter(|(_, v)| v.0 == partition);
    own.all(|(vcpu, &(_, _, cpu))| {
        let view = sealed.view(plan, cpu);
        view.background == vcpu || view.windows.iter().any(|w| w.vcpu == vcpu)
    })
}

/// Invariant 6: nobody does anything more.
fn come_to_rest(mut world: World<'_>, late: &[bool], ticks: u64) {
    for _ in 0..ticks {
        world.step(Deed::Nothing, late);
    }
    let sealed = world.sealed;
    let plan = world.shared.load().current(world.now).0;
    for (partition, life) in world.lives.iter().enumerate() {
        let begun = matches!(life.state, State::Restarting | State::Loading);
        let is_stopped = matches!(life.state, State::Halted | State::Off | State::Failed);
        if has_time(sealed, plan, partition) {
            assert!(!begun, "invariant 6: partition {partition} hangs: {life:?}");
            assert!(!is_stopped || life.dropped == life.all, "invariant 6: {life:?}");
        }
    }
}
