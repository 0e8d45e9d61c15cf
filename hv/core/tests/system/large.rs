//! Larger systems, at random.

use super::*;
use proptest::prelude::*;

/// A system of `cpus` CPUs and twice as many partitions, each with a vCPU on one CPU or two, in `plans` plans.
fn large(cpus: usize, plans: usize) -> impl Strategy<Value = Sealed> {
    let count = 2 * cpus;
    let lengths = prop::collection::vec((GUARD + 1..9, 0usize..8), 1..7);
    let plan = prop::collection::vec((lengths, any::<bool>()), cpus);
    let steps = [action::LOG, action::COLD_RESTART, action::HALT, action::SUSPEND, action::SWITCH_PLAN];
    let word = (0..steps.len(), 0..plans as u32).prop_map(move |(kind, plan)| match steps[kind] {
        action::SWITCH_PLAN => action::SWITCH_PLAN | plan << step::PLAN_SHIFT,
        other => other,
    });
    let rows = prop::collection::vec((word.clone(), word, 0u32..3), count);
    let rights = prop::collection::vec((0..count as u32, any::<u32>()), count);
    (prop::collection::vec(plan, plans), rows, rights, prop::collection::vec(any::<u32>(), count)).prop_map(
        move |(plans, rows, rights, may_enter)| {
            let mut vcpus = Vec::new();
            for partition in 0..count {
                vcpus.push((partition, 0, partition % cpus));
                if partition % 3 == 0 {
                    vcpus.push((partition, 1, (partition + 1) % cpus));
                }
            }
            let on = |cpu: usize, pick: usize| {
                let own: Vec<u32> =
                    (0u32..).zip(&vcpus).filter(|(_, v)| v.2 == cpu).map(|(n, _)| n).collect();
                own[pick % own.len()]
            };
            let plans = plans.into_iter().map(|cpus| planned(cpus, &on)).collect();
            let mut partitions = Vec::new();
            for (number, plans) in may_enter.into_iter().enumerate() {
                let mut partition = Partition::new_zeroed();
                (partition.authority_first, partition.authority_count) = (number as u32, 1);
                partition.plans = plans;
                partitions.push(partition);
            }
            let authorities = rights.into_iter().map(|(partition, rights)| Authority { partition, rights });
            let none = HealthStep { count: 0, action: 0, within_ticks: 0 };
            let rows = rows.into_iter().map(|(normal, action, count)| {
                let then = HealthStep { count, action, within_ticks: WITHIN };
                vec![HealthRow { normal, init: normal, steps: [then, none, none] }; event::COUNT]
            });
            let (authorities, rows) = (authorities.collect(), rows.collect());
            Sealed { plans, vcpus, partitions, authorities, rows, limit: none }
        },
    )
}

/// A plan: for each CPU lengths of windows and gaps, and whether it has a background.
fn planned(cpus: Vec<(Vec<(u64, usize)>, bool)>, on: &dyn Fn(usize, usize) -> u32) -> (u64, Vec<Cpu>) {
    let frame = cpus.iter().map(|(list, _)| list.iter().map(|(n, _)| n).sum::<u64>()).max().unwrap_or(0);
    let cpus = cpus.into_iter().enumerate().map(|(cpu, (list, has_background))| {
        let mut at = 0;
        let mut windows = Vec::new();
        for (length, pick) in list {
            if pick != 0 {
                windows.push(window(at, at + length, on(cpu, pick)));
            }
            at += length;
        }
        Cpu { windows, background: if has_background { on(cpu, 0) } else { NONE } }
    });
    (frame.max(4 * GUARD) + GUARD + 1, cpus.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn large_systems(
        sealed in large(4, 4),
        deeds in prop::collection::vec((0u64..400, 0usize..8, 0usize..3, 0u64..5), 0..60),
        late in prop::collection::vec(any::<bool>(), 4),
    ) {
        let mut world = World::new(&sealed, 1_000);
        world.now -= GUARD;
        for tick in 0..400 {
            let due = deeds.iter().find(|d| d.0 == tick).filter(|d| world.is_running(d.1));
            let deed = due.map_or(Deed::Nothing, |&(_, who, kind, what)| match kind {
                0 => Deed::Control { caller: who, which: what % 2, operation: what.max(1) },
                1 => Deed::PlanSet { caller: who, plan: what },
                _ => Deed::Event { partition: who, event: what as u32 },
            });
            world.step(deed, &late);
        }
        come_to_rest(world, &late, 400);
    }
}
