//! Function identifiers: who owns which.

use bulkhead_abi::hypercall;
use bulkhead_core::smccc::{Call, NOT_SUPPORTED, classify, pv_time};

#[test]
fn the_standard_calls() {
    assert_eq!(classify(0x8000_0000, 0), Call::Return(0x1_0002));
    assert_eq!(classify(0x8000_0001, 0x8000_0000), Call::Return(0));
    assert_eq!(classify(0x8000_0001, 0x8000_0001), Call::Return(0));
    assert_eq!(classify(0x8000_0001, 0x8000_8000), Call::Return(-1));
    assert_eq!(classify(hypercall::UID_QUERY, 0), Call::Return4(&hypercall::UID));
    assert_eq!(classify(hypercall::REVISION, 0), Call::Return4(&[1, 0, 0, 0]));
    // The upper half of x0 says nothing.
    assert_eq!(classify(0xFFFF_FFFF_8000_0000, 0), Call::Return(0x1_0002));
}

#[test]
fn ranges_end_where_they_end() {
    for number in 0..0x1_0000u64 {
        let psci = number < 0x20;
        // PSCI_VERSION, the first 32-bit call, is answered at once.
        let expected = if number == 0 { Call::Return(0x1_0001) } else { Call::Psci };
        assert_eq!(classify(0x8400_0000 + number, 0) == expected, psci);
        assert_eq!(classify(0xC400_0000 + number, 0) == Call::Psci, psci);
        let own = match classify(hypercall::BASE + number, 0) {
            Call::Own(index) => Some(index),
            Call::Return(NOT_SUPPORTED) => None,
            other => panic!("{number:#x}: {other:?}"),
        };
        assert_eq!(own, (number <= hypercall::INDEX_MASK).then_some(number));
    }
}

#[test]
fn stolen_time() {
    const ARCH_FEATURES: u64 = 0x8000_0001;
    const PLACE: u64 = 0x7_0000_0840;
    let (features, structure) = (hypercall::PV_TIME_FEATURES, hypercall::PV_TIME_ST);
    assert_eq!(classify(features, structure), Call::PvTime);
    assert_eq!(classify(structure, 0), Call::PvTime);
    assert_eq!(classify(ARCH_FEATURES, features), Call::PvTime);
    // Only the first of them is a feature of SMCCC's own (DEN0057 3.2).
    assert_eq!(classify(ARCH_FEATURES, structure), Call::Return(NOT_SUPPORTED));
    for (function, first, answer) in [
        (ARCH_FEATURES, features, 0),
        (features, features, 0),
        (features, structure, 0),
        (features, 0x8400_0000, NOT_SUPPORTED),
        (structure, 0, PLACE as i64),
        (structure, features, PLACE as i64),
    ] {
        assert_eq!(pv_time(function, first, Some(PLACE)), answer, "{function:#x} {first:#x}");
        assert_eq!(pv_time(function, first, None), NOT_SUPPORTED, "{function:#x} {first:#x}");
    }
}

#[test]
fn all_else_is_unknown() {
    // Trusted OS, TRNG, KVM's, OEM, 32-bit vendor block, a yielding call, SVE hint, all ones.
    for function in [
        0xB200_0000,
        0x8400_0050,
        0x8600_0000,
        0x8600_FF00,
        0x8300_0000,
        0x8600_0001,
        0x4600_0000,
        0xC601_0000,
        0xFFFF_FFFF,
        0,
    ] {
        assert_eq!(classify(function, 0), Call::Return(NOT_SUPPORTED), "{function:#x}");
    }
}
