//! Life cycle: every state that two vCPUs, their kicks, and any requests can reach.

use bulkhead_abi::info::start_condition;
use bulkhead_core::lifecycle::{Disposition, Life, Lifecycle, Request, State};
use std::collections::HashSet;

const RESTART: Request = Request::Restart { warm: false, condition: start_condition::AUTHORITY };
const REQUESTS: [Request; 7] = [
    Request::Suspend,
    Request::Resume,
    Request::Halt,
    Request::SwitchOff,
    RESTART,
    Request::LoaderDone,
    Request::LoaderFailed,
];

/// The machine and what its environment knows: the CPUs behave as the documentation demands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    life: Life,
    /// Bit n: the CPU of vCPU n has a kick waiting.
    kicks: u8,
    /// Bit n: the CPU of vCPU n has been told to drop it and has not said yet that it has.
    dropping: u8,
    /// Bit n: the CPU of vCPU n executes it.
    running: u8,
    /// A CPU executes the reset.
    reset: bool,
    /// vCPU 0 executes the loader (it is running).
    loader: bool,
}

impl World {
    fn take(mut self, life: Life, vcpu: usize, disposition: Disposition) -> World {
        self.life = life;
        let bit = 1 << vcpu;
        self.running &= !bit;
        match disposition {
            Disposition::Run => {
                assert_eq!(life.dropped & bit, 0, "a dropped vCPU runs");
                assert!(matches!(life.state, State::Loading | State::Running));
                assert!(!self.reset, "a vCPU runs during the reset");
                self.running |= bit;
                self.loader = life.state == State::Loading;
            }
            Disposition::Drop => self.dropping |= bit,
            Disposition::Reset => {
                assert!(!self.reset, "two resets at once");
                assert_eq!(life.dropped, life.all, "reset with a vCPU held");
                assert_eq!(self.running | self.dropping, 0);
                self.reset = true;
            }
            Disposition::Park | Disposition::Nothing => {}
        }
        self
    }

    /// Everything that may happen next.
    fn successors(self) -> Vec<World> {
        let mut next = Vec::new();
        for request in REQUESTS {
            let from_guest =
                matches!(request, Request::SwitchOff | Request::LoaderDone | Request::LoaderFailed);
            if from_guest && self.running == 0 {
                continue;
            }
            if matches!(request, Request::LoaderDone | Request::LoaderFailed) && !self.loader {
                continue;
            }
            if let Some(life) = self.life.request(request) {
                let kicks = life.all;
                next.push(World { life, kicks, ..self });
            }
        }
        for vcpu in 0..2 {
            let bit = 1 << vcpu;
            if self.dropping & bit != 0 {
                let (life, then) = self.life.dropped(vcpu);
                let world = World { dropping: self.dropping & !bit, ..self };
                next.push(world.take(life, vcpu, then));
            } else if self.kicks & bit != 0 {
                let (life, then) = self.life.disposition(vcpu);
                let world = World { kicks: self.kicks & !bit, ..self };
                next.push(world.take(life, vcpu, then));
            }
        }
        if self.reset {
            let life = self.life.reset_done();
            let started = u8::from(life.state == State::Loading);
            next.push(World { life, reset: false, kicks: self.kicks | started, ..self });
        }
        next
    }

    fn boot() -> World {
        World { life: Life::new(2), kicks: 0b11, dropping: 0, running: 0, reset: false, loader: false }
    }
}

fn reachable() -> HashSet<World> {
    let mut seen = HashSet::from([World::boot()]);
    let mut todo = vec![World::boot()];
    while let Some(world) = todo.pop() {
        for next in world.successors() {
            if seen.insert(next) {
                todo.push(next);
            }
        }
    }
    seen
}

/// Runs the CPUs' own steps only, in a fixed order, until nothing waits.
fn quiesce(mut world: World) -> World {
    for _ in 0..100 {
        let idle = world.kicks == 0 && world.dropping == 0 && !world.reset;
        if idle {
            return world;
        }
        // The CPUs' steps come after the requests in the list, so the last is one of them.
        world = *world.successors().last().unwrap();
    }
    panic!("the CPUs never come to rest");
}

#[test]
fn every_reachable_state_is_sound_and_comes_to_rest() {
    let worlds = reachable();
    assert!(worlds.len() > 200, "only {} states", worlds.len());
    let mut states = HashSet::new();
    for world in &worlds {
        states.insert(world.life.state);
        let rest = quiesce(*world);
        let life = rest.life;
        match life.state {
            State::Restarting => panic!("a restart hangs"),
            State::Loading => assert!(rest.running & 1 != 0, "nobody loads"),
            State::Running => {}
            State::Suspended => assert_eq!(rest.running, 0),
            State::Halted | State::Off | State::Failed => {
                assert_eq!((rest.running, life.dropped), (0, life.all));
            }
        }
    }
    assert_eq!(states.len(), 7, "every state is reached");
}

#[test]
fn a_restart_from_anywhere_leads_to_loading() {
    for world in reachable() {
        let Some(life) = world.life.request(RESTART) else {
            assert_eq!(world.life.state, State::Restarting);
            continue;
        };
        let rest = quiesce(World { life, kicks: life.all, ..world });
        assert_eq!(rest.life.state, State::Loading);
        assert_eq!(rest.life.dropped, 0);
    }
}

#[test]
fn requests_by_state() {
    use State::*;
    let expected = [
        (Request::Suspend, vec![(Running, Suspended)]),
        (Request::Resume, vec![(Suspended, Running)]),
        (
            Request::Halt,
            vec![(Loading, Halted), (Running, Halted), (Suspended, Halted), (Restarting, Halted)],
        ),
        (Request::SwitchOff, vec![(Running, Off)]),
        (Request::LoaderDone, vec![(Loading, Running)]),
        (Request::LoaderFailed, vec![(Loading, Failed)]),
        (RESTART, [Loading, Running, Suspended, Halted, Off, Failed].map(|from| (from, Restarting)).to_vec()),
    ];
    for (request, moves) in expected {
        for from in [Loading, Running, Suspended, Halted, Off, Failed, Restarting] {
            let life = Life { state: from, ..Life::new(2) };
            let to = moves.iter().find(|(f, _)| *f == from).map(|(_, to)| *to);
            let got = life.request(request).map(|life| life.state);
            assert_eq!(got, to, "{request:?} in {from:?}");
        }
    }
}

#[test]
fn the_shared_form_keeps_everything() {
    let shared = Lifecycle::default();
    for count in 1..=8usize {
        shared.init(count);
        assert_eq!(shared.life(), Life::new(count));
        assert_eq!(shared.life().all.count_ones() as usize, count);
    }
    shared.init(2);
    assert_eq!(shared.disposition(1), Disposition::Nothing);
    assert_eq!(shared.disposition(0), Disposition::Reset);
    assert_eq!(shared.count_start(), 1);
    assert!(shared.reset_done());
    assert_eq!(shared.disposition(0), Disposition::Run);
    assert_eq!(shared.disposition(1), Disposition::Park);
    assert!(shared.request(Request::LoaderDone));
    assert!(!shared.request(Request::LoaderDone));
    assert!(shared.request(Request::Restart { warm: true, condition: start_condition::HEALTH_MONITOR }));
    let life = shared.life();
    assert!(life.warm);
    assert_eq!(u32::from(life.condition), start_condition::HEALTH_MONITOR);
    assert_eq!(shared.disposition(0), Disposition::Drop);
    assert_eq!(shared.dropped(0), Disposition::Nothing);
    assert_eq!(shared.disposition(1), Disposition::Drop);
    assert_eq!(shared.dropped(1), Disposition::Reset);
    assert_eq!(shared.disposition(0), Disposition::Nothing);
    assert!(shared.request(Request::Halt));
    assert!(!shared.reset_done());
    assert_eq!(shared.life().state, State::Halted);
    assert_eq!(shared.starts(), 1);
}
