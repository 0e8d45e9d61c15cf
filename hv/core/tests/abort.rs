//! Abort syndromes: each field, each reason not to emulate, and what a load leaves in Rt.

use bulkhead_core::abort::{
    Access, Fault, Unemulatable, decode, fault, ipa, is_word_load, is_word_store, register, word_ipa,
};

/// Data abort, ISV, word load into x3, translation fault at level 3.
const WORD_LOAD: u64 = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 3 << 16 | 0x07;
const FAR: u64 = 0xFFFF_8000_0900_0018;
const HPFAR: u64 = 0x9_0000;

#[test]
fn fields() {
    let load =
        Access { ipa: 0x0900_0018, bytes: 4, write: false, rt: 3, sign_extend: false, sixty_four: false };
    assert_eq!(decode(WORD_LOAD, FAR, HPFAR), Ok(load));
    for level in 4..8 {
        assert_eq!(decode(WORD_LOAD & !0x3F | level, FAR, HPFAR), Ok(load));
    }
    for power in 0..4 {
        let esr = WORD_LOAD & !(3 << 22) | power << 22;
        assert_eq!(decode(esr, FAR, HPFAR).unwrap().bytes, 1 << power);
    }
    for rt in 0..32 {
        let esr = WORD_LOAD & !(31 << 16) | rt << 16;
        assert_eq!(decode(esr, FAR, HPFAR).unwrap().rt, rt as usize);
    }
    let esr = WORD_LOAD | 1 << 21 | 1 << 15 | 1 << 6;
    let all = decode(esr, FAR, HPFAR).unwrap();
    assert!(all.sign_extend && all.sixty_four && all.write);
}

/// The short way says what the long way says, whichever bits of the syndrome are flipped.
#[test]
fn a_word_load_is_recognised_as_decode_would() {
    for first in 0..26 {
        for second in 0..26 {
            for status in 0..64u64 {
                let esr = (WORD_LOAD & !0x3F | status) ^ 1 << first ^ 1 << second;
                let access = decode(esr, FAR, HPFAR);
                let expected = access.is_ok_and(|a| a.bytes == 4 && !a.write && !a.sign_extend);
                assert_eq!(is_word_load(esr), expected, "{esr:#x}");
                let store = access.is_ok_and(|a| a.bytes == 4 && a.write && !a.sign_extend);
                assert_eq!(is_word_store(esr), store, "{esr:#x}");
                if let (true, Ok(access)) = (expected, access) {
                    assert_eq!((word_ipa(FAR, HPFAR), register(esr)), (access.ipa, access.rt));
                }
            }
        }
    }
    assert!(!is_word_load(WORD_LOAD ^ 1 << 26), "an abort of EL2 itself");
}

#[test]
fn refusals() {
    let cases = [
        (WORD_LOAD & !(1 << 24), Unemulatable::NoSyndrome),
        (WORD_LOAD | 1 << 10, Unemulatable::NoSyndrome),
        (WORD_LOAD | 1 << 8, Unemulatable::Maintenance),
        (WORD_LOAD | 1 << 7, Unemulatable::TableWalk),
        (WORD_LOAD & !0x3F | 0x0F, Unemulatable::NotTranslation),
        (WORD_LOAD & !0x3F | 0x10, Unemulatable::NotTranslation),
        (WORD_LOAD & !0x3F | 0x21, Unemulatable::NotTranslation),
    ];
    for (esr, expected) in cases {
        assert_eq!(decode(esr, FAR, HPFAR), Err(expected), "{esr:#x}");
    }
}

#[test]
fn the_ipa_is_told_only_where_hpfar_is_defined() {
    for status in 0..64u64 {
        let esr = WORD_LOAD & !0x3F | status;
        let defined = status < 0x0C;
        let expected = defined.then_some(0x0900_0018);
        assert_eq!(ipa(esr, FAR, HPFAR), expected, "status {status:#x}");
        assert_eq!(ipa(esr | 1 << 7, FAR, HPFAR), Some(0x0900_0000), "a walk's offset is not FAR's");
    }
    assert_eq!(ipa(WORD_LOAD | 1 << 10, FAR, HPFAR), Some(0x0900_0000));
    assert_eq!(ipa(WORD_LOAD, 0xFFF, u64::MAX), Some(0x000F_FFFF_FFFF_FFFF));
}

#[test]
fn faults_by_status() {
    let kinds = [
        (0x03, Fault::AddressSize),
        (0x04, Fault::Translation),
        (0x0B, Fault::AccessFlag),
        (0x0D, Fault::Permission),
        (0x10, Fault::External),
        (0x14, Fault::External),
        (0x18, Fault::Ecc),
        (0x1F, Fault::Ecc),
        (0x21, Fault::Alignment),
        (0x35, Fault::UnsupportedAtomic),
        (0x11, Fault::Other),
        (0x30, Fault::Other),
    ];
    for (status, kind) in kinds {
        assert_eq!(fault(status), kind, "{status:#x}");
    }
}

#[test]
fn extension_of_loads() {
    let value = 0x8182_8384_8586_8788;
    let cases: [(u32, bool, bool, u64); 9] = [
        (1, false, false, 0x88),
        (1, true, false, 0xFFFF_FF88),
        (1, true, true, 0xFFFF_FFFF_FFFF_FF88),
        (2, false, true, 0x8788),
        (2, true, false, 0xFFFF_8788),
        (4, false, true, 0x8586_8788),
        (4, true, true, 0xFFFF_FFFF_8586_8788),
        (8, false, true, value),
        (8, true, true, value),
    ];
    for (bytes, sign_extend, sixty_four, expected) in cases {
        let access = Access { ipa: 0, bytes, write: false, rt: 0, sign_extend, sixty_four };
        assert_eq!(access.loaded(value), expected, "{access:?}");
        let stored = value & (u64::MAX >> (64 - 8 * bytes));
        assert_eq!(access.stored(value), stored);
        assert_eq!(access.loaded(0x7F), 0x7F);
    }
}
