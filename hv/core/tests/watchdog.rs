//! The board's watchdog, beside a model of one: it bites exactly if some CPU hangs.

use bulkhead_core::watchdog::Beats;
use proptest::prelude::*;

/// CPUs that are supervised, among four: 1, 2 and 3.
const CPUS: u32 = 0b1110;

#[test]
fn the_lowest_kicks_after_everybody_s_beat_and_no_other_cpu_does() {
    let beats = Beats::new();
    assert!(!beats.beat(1, CPUS), "2 and 3 have not begun");
    assert!(!beats.beat(2, CPUS) && !beats.beat(3, CPUS), "not the lowest");
    assert!(beats.beat(1, CPUS));
    assert!(!beats.beat(1, CPUS), "the others have to beat again");
    assert!(!beats.beat(3, CPUS) && !beats.beat(1, CPUS), "2 hangs");
    assert!(!beats.beat(0, CPUS), "a CPU that is not supervised");
    assert!(!beats.beat(2, CPUS) && beats.beat(1, CPUS));
}

#[test]
fn one_cpu_alone_kicks_at_each_beat() {
    let beats = Beats::new();
    assert!((0..100).all(|_| beats.beat(3, 0b1000)));
    assert!(!beats.beat(99, 0b1000), "no such CPU");
}

proptest! {
    /// Three CPUs beat once in each frame of 100 ticks, each at its own phase with jitter, for 64 frames; one hangs
    /// from some frame on, or none. The watchdog's time is four frames.
    #[test]
    fn a_hung_cpu_is_found_within_six_frames_and_nobody_else_is_bitten(
        phases in [0u64..90, 0u64..90, 0u64..90],
        jitter in prop::collection::vec(0u64..10, 64 * 3),
        hung in prop::option::of((0usize..3, 1u64..40)),
    ) {
        let mut events: Vec<(u64, usize)> = (0..64 * 3)
            .map(|n| (n as u64 / 3 * 100 + phases[n % 3] + jitter[n], n % 3))
            .filter(|(at, cpu)| hung.is_none_or(|(who, from)| who != *cpu || *at < from * 100))
            .collect();
        events.sort_unstable();
        let (beats, mut expires) = (Beats::new(), u64::MAX);
        let mut bitten = None;
        for (at, cpu) in events {
            if at >= expires {
                bitten = Some(expires);
                break;
            }
            if beats.beat(cpu + 1, CPUS) {
                expires = at + 400;
            }
        }
        let last = 63 * 100;
        let bitten = bitten.or((expires < last).then_some(expires));
        match hung {
            None => prop_assert_eq!(bitten, None),
            // Who never began to be kicked is not armed.
            Some(_) if expires == u64::MAX => {}
            Some((_, from)) => prop_assert!(bitten.is_some_and(|at| at <= (from + 6) * 100), "{bitten:?}"),
        }
    }
}
