//! PSCI server: every function, argument checks, the CPU_ON life cycle, and races.

use bulkhead_core::psci::{Outcome, Psci, Start};
use std::sync::atomic::{AtomicU32, Ordering};

const CPU_ON: u64 = 0xC400_0003;
const AFFINITY_INFO: u64 = 0xC400_0004;
const CPU_OFF: u64 = 0x8400_0002;
const ENTRY: u64 = 0x4008_0000;

fn call(psci: &Psci, caller: usize, function: u64, arguments: [u64; 3]) -> Outcome {
    psci.call(caller, 2, function, arguments, |ipa| (0x4000_0000..0x5000_0000).contains(&ipa))
}

fn running() -> Psci {
    let psci = Psci::default();
    psci.reset();
    psci
}

#[test]
fn plain_functions() {
    let psci = running();
    let cases = [
        (0x8400_0000, 0, Outcome::Return(0x1_0001)),
        (0x8400_0006, 0, Outcome::Return(2)),
        (0x8400_0008, 0, Outcome::SystemOff),
        (0x8400_0009, 0, Outcome::SystemReset),
        (0x8400_0001, 0, Outcome::Standby),
        (0xC400_0001, 0x1234, Outcome::Standby),
        (0xC400_0001, 0x1_0000, Outcome::Return(-2)),
        (0xC400_0001, 0x8000_0000, Outcome::Return(-2)),
        // MIGRATE, MIGRATE_INFO_UP_CPU, CPU_FREEZE, CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND,
        // SYSTEM_RESET2, MEM_PROTECT; SMC64 forms of functions that have none.
        (0x8400_0005, 0, Outcome::Return(-1)),
        (0x8400_0007, 0, Outcome::Return(-1)),
        (0x8400_000B, 0, Outcome::Return(-1)),
        (0x8400_000C, 0, Outcome::Return(-1)),
        (0x8400_000E, 0, Outcome::Return(-1)),
        (0x8400_0012, 0, Outcome::Return(-1)),
        (0x8400_0013, 0, Outcome::Return(-1)),
        (0xC400_0000, 0, Outcome::Return(-1)),
        (0xC400_0008, 0, Outcome::Return(-1)),
    ];
    for (function, argument, expected) in cases {
        let got = call(&psci, 0, function, [argument, 0, 0]);
        assert_eq!(got, expected, "{function:#x}({argument:#x})");
    }
}

#[test]
fn features_are_what_is_served() {
    let psci = running();
    for number in 0..0x20u64 {
        for base in [0x8400_0000u64, 0xC400_0000] {
            let function = base + number;
            let says = call(&psci, 0, 0x8400_000A, [function, 0, 0]) == Outcome::Return(0);
            let probe = running();
            let serves =
                call(&probe, 0, function, [0, 0, 0]) != Outcome::Return(-1) || function == 0x8400_000A;
            assert_eq!(says, serves, "{function:#x}");
        }
    }
    assert_eq!(call(&psci, 0, 0x8400_000A, [0x8000_0000, 0, 0]), Outcome::Return(0));
}

#[test]
fn a_secondary_goes_on_and_off() {
    let psci = running();
    assert!(psci.is_on(0) && !psci.is_on(1));
    assert_eq!(call(&psci, 0, AFFINITY_INFO, [1, 0, 0]), Outcome::Return(1));
    assert_eq!(psci.take_start(1), None);
    assert_eq!(call(&psci, 0, CPU_ON, [1, ENTRY, 77]), Outcome::Start { vcpu: 1 });
    assert_eq!(call(&psci, 0, AFFINITY_INFO, [1, 0, 0]), Outcome::Return(2));
    assert_eq!(call(&psci, 0, CPU_ON, [1, ENTRY, 0]), Outcome::Return(-5));
    let start = Start { entry: ENTRY, context: 77 };
    assert_eq!(psci.take_start(1), Some(start));
    assert_eq!(psci.take_start(1), None);
    assert_eq!(call(&psci, 0, AFFINITY_INFO, [1, 0, 0]), Outcome::Return(0));
    assert_eq!(call(&psci, 0, CPU_ON, [1, ENTRY, 0]), Outcome::Return(-4));
    assert_eq!(call(&psci, 1, CPU_OFF, [0; 3]), Outcome::Off);
    assert_eq!(call(&psci, 0, AFFINITY_INFO, [1, 0, 0]), Outcome::Return(1));
    assert_eq!(call(&psci, 0, CPU_ON, [1, ENTRY, 78]), Outcome::Start { vcpu: 1 });
    psci.reset();
    assert_eq!(psci.take_start(1), None);
    assert!(psci.is_on(0));
}

#[test]
fn arguments_are_checked() {
    let psci = running();
    let refused = [
        (CPU_ON, [2, ENTRY, 0], -2),
        (CPU_ON, [u64::MAX, ENTRY, 0], -2),
        (CPU_ON, [0x8000_0001, ENTRY, 0], -2),
        (CPU_ON, [0x1_0000_0001, ENTRY, 0], -2),
        (CPU_ON, [0x101, ENTRY, 0], -2),
        (CPU_ON, [1, 0x3FFF_FFFC, 0], -9),
        (CPU_ON, [1, ENTRY + 2, 0], -9),
        (CPU_ON, [0, ENTRY, 0], -4),
        (AFFINITY_INFO, [1, 1, 0], -2),
        (AFFINITY_INFO, [5, 0, 0], -2),
    ];
    for (function, arguments, status) in refused {
        assert_eq!(
            call(&psci, 0, function, arguments),
            Outcome::Return(status),
            "{function:#x} {arguments:x?}"
        );
    }
}

#[test]
fn narrow_calls_cut_their_arguments() {
    let psci = running();
    let garbage = 0xDEAD_BEEF_0000_0000;
    assert_eq!(
        call(&psci, 0, 0x8400_0003, [garbage | 1, garbage | ENTRY, garbage | 5]),
        Outcome::Start { vcpu: 1 }
    );
    let start = psci.take_start(1).unwrap();
    assert_eq!((start.entry, start.context), (ENTRY, 5));
    assert_eq!(call(&psci, 0, garbage | 0x8400_0000, [0; 3]), Outcome::Return(0x1_0001));
}

#[test]
fn of_many_racers_one_wins() {
    for _ in 0..200 {
        let psci = running();
        let wins = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for racer in 0..4u64 {
                let (psci, wins) = (&psci, &wins);
                scope.spawn(move || match call(psci, 0, CPU_ON, [1, ENTRY + 4 * racer, racer]) {
                    Outcome::Start { vcpu: 1 } => _ = wins.fetch_add(1, Ordering::Relaxed),
                    outcome => assert_eq!(outcome, Outcome::Return(-5)),
                });
            }
        });
        assert_eq!(wins.into_inner(), 1);
        let start = psci.take_start(1).unwrap();
        assert_eq!(start.entry, ENTRY + 4 * start.context, "a torn start");
    }
}
