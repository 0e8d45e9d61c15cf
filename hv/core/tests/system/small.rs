//! Every state of a small system.

use super::*;
use std::collections::HashSet;

/// Two CPUs; partition 0 on CPU 0, partition 1 on both, partition 2 on CPU 1; two plans. Partition 0 may do what it
/// likes to 1 but restart it, and ask for plan 1; 1 may ask for nothing; 2 may restart 0. A partition's first event
/// of a time is logged or restarts it, the next enters plan 1 at once or halts it.
fn small() -> Sealed {
    let cpu = |windows: &[Window], background| Cpu { windows: windows.to_vec(), background };
    let plans = vec![
        (
            8,
            vec![cpu(&[window(0, 3, 0), window(3, 6, 1)], 1), cpu(&[window(2, 4, 3), window(5, 8, 2)], NONE)],
        ),
        (8, vec![cpu(&[window(2, 6, 0)], NONE), cpu(&[window(0, 2, 3)], 2)]),
    ];
    let mut partitions: Vec<Partition> = (0..3).map(|_| Partition::new_zeroed()).collect();
    partitions[0].authority_count = 1;
    partitions[0].plans = 0b10;
    partitions[2].authority_first = 1;
    partitions[2].authority_count = 1;
    let right = |operation: u64| 1u32 << operation;
    let authorities = vec![
        Authority {
            partition: 1,
            rights: right(control::SUSPEND) | right(control::RESUME) | right(control::HALT),
        },
        Authority { partition: 0, rights: right(control::RESTART) },
    ];
    let enter = action::SWITCH_PLAN | 1 << step::PLAN_SHIFT;
    let back = action::SWITCH_PLAN;
    let table = |normal: u32, then: u32| {
        let none = HealthStep { count: 0, action: 0, within_ticks: 0 };
        let then = HealthStep { count: u32::from(then != 0), action: then, within_ticks: WITHIN };
        vec![HealthRow { normal, init: normal, steps: [then, none, none] }; event::COUNT]
    };
    let rows = vec![table(action::COLD_RESTART, enter), table(action::LOG, action::HALT), table(back, 0)];
    let vcpus = vec![(0, 0, 0), (1, 0, 0), (1, 1, 1), (2, 0, 1)];
    let limit = HealthStep { count: 0, action: 0, within_ticks: 0 };
    Sealed { plans, vcpus, partitions, authorities, rows, limit }
}

/// What may happen in the small system: what is granted, what is not, and every partition's fault.
fn deeds(world: &World<'_>) -> Vec<Deed> {
    let mut deeds = vec![Deed::Nothing];
    let control = |caller, which, operation| Deed::Control { caller, which, operation };
    let all = [
        (0, control(0, 0, control::SUSPEND)),
        (0, control(0, 0, control::RESUME)),
        (0, control(0, 0, control::HALT)),
        (0, control(0, 0, control::RESTART)),
        (0, control(0, 1, control::RESTART)),
        (0, Deed::PlanSet { caller: 0, plan: 1 }),
        (0, Deed::PlanSet { caller: 0, plan: 0 }),
        (1, control(1, 0, control::HALT)),
        (1, control(1, TARGET_SELF, control::RESTART)),
        (1, Deed::PlanSet { caller: 1, plan: 1 }),
        (2, control(2, 0, control::RESTART)),
        (2, control(2, 0, control::HALT)),
    ];
    deeds.extend(all.iter().filter(|(caller, _)| world.is_running(*caller)).map(|(_, deed)| *deed));
    let faults = (0..3).filter(|partition| world.is_running(*partition));
    deeds.extend(faults.map(|partition| Deed::Event { partition, event: event::MEMORY_VIOLATION }));
    deeds
}

/// Every state that the small system reaches, with CPUs that are held up always, or never.
fn explore(late: [bool; 2]) -> HashSet<Key> {
    let sealed = small();
    let mut first = World::new(&sealed, 1_000);
    first.now -= GUARD;
    // The plans begin.
    first.step(Deed::Nothing, &late);
    let mut seen = HashSet::from([first.key()]);
    let mut todo = Vec::from_iter(seen.iter().cloned());
    while let Some(key) = todo.pop() {
        let possible = deeds(&World::of(&sealed, &key));
        for deed in possible {
            let mut world = World::of(&sealed, &key);
            assert_eq!(world.key(), key, "a state is not what was written down");
            world.step(deed, &late);
            let next = world.key();
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    seen
}

#[test]
fn every_state_of_a_small_system() {
    for late in [[false, false], [true, false], [false, true], [true, true]] {
        let sealed = small();
        let seen = explore(late);
        assert!(seen.len() > 10_000, "only {} states", seen.len());
        for state in [State::Loading, State::Running, State::Suspended, State::Halted, State::Restarting] {
            assert!(
                seen.iter().any(|k| k.lives.iter().any(|l| l.state == state)),
                "{state:?} is not reached"
            );
        }
        assert!(
            [0, 1].iter().all(|plan| seen.iter().any(|key| key.switch.0 == *plan)),
            "a plan is not reached"
        );
        for key in seen {
            come_to_rest(World::of(&sealed, &key), &late, 60);
        }
    }
}
