//! Trapped system registers: decoding, policy over the whole encoding space, ID registers.

use bulkhead_core::sysreg::{
    Answer, Encoding, Features, Trapped, decode, id_register, is_sgi, policy, register,
};

const FEATURES: Features = Features { gicv3: true, pauth: false, pa_range: 2 };

fn id(crm: u16, op2: u16, hardware: u64, features: &Features) -> u64 {
    id_register(Encoding::new(3, 0, 0, crm, op2), hardware, features)
}

fn ask(encoding: Encoding, read: bool, gicv3: bool) -> Answer {
    let trapped = Trapped { encoding, rt: 0, read };
    policy(trapped, gicv3)
}

#[test]
fn the_syndrome_is_taken_apart() {
    // MRS x7, S3_5_C15_C2_1: Op0 = 3, Op2 = 1, Op1 = 5, CRn = 15, Rt = 7, CRm = 2, read.
    let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | 1 << 17 | 5 << 14 | 15 << 10 | 7 << 5 | 2 << 1 | 1;
    let trapped = decode(esr);
    assert_eq!(trapped.encoding.fields(), (3, 5, 15, 2, 1));
    assert_eq!(trapped.encoding, Encoding::new(3, 5, 15, 2, 1));
    assert_eq!((trapped.rt, trapped.read), (7, true));
    assert!(!decode(esr & !1).read);
}

#[test]
fn registers_that_linux_touches() {
    let cases = [
        ((2, 0, 1, 0, 4), false, Answer::Ignore),    // OSLAR_EL1
        ((2, 0, 1, 0, 4), true, Answer::Undefined),  // write-only
        ((2, 0, 1, 1, 4), true, Answer::Value(8)),   // OSLSR_EL1
        ((2, 0, 1, 3, 4), false, Answer::Ignore),    // OSDLR_EL1
        ((2, 0, 0, 2, 2), true, Answer::Value(0)),   // MDSCR_EL1
        ((2, 0, 0, 2, 2), false, Answer::Ignore),    //
        ((2, 0, 0, 1, 5), false, Answer::Ignore),    // DBGBCR1_EL1
        ((2, 0, 0, 2, 5), false, Answer::Undefined), // DBGBCR2_EL1: not shown
        ((3, 0, 1, 0, 1), true, Answer::Value(0)),   // ACTLR_EL1
        ((3, 0, 0, 0, 6), true, Answer::Value(0)),   // REVIDR_EL1
        ((3, 0, 0, 4, 0), true, Answer::Id),         // ID_AA64PFR0_EL1
        ((3, 0, 0, 7, 7), true, Answer::Id),         // not allocated
        ((3, 0, 0, 4, 0), false, Answer::Undefined), //
        ((1, 0, 7, 14, 2), false, Answer::Ignore),   // DC CISW
        ((1, 0, 7, 6, 2), false, Answer::Ignore),    // DC ISW
        ((3, 0, 12, 11, 5), false, Answer::Sgi),     // ICC_SGI1R_EL1
        ((3, 0, 12, 11, 1), false, Answer::Deactivate),
        ((3, 0, 12, 11, 7), false, Answer::Ignore),  // ICC_SGI0R_EL1
        ((3, 3, 9, 12, 0), true, Answer::Undefined), // PMCR_EL0
        ((3, 0, 9, 14, 1), false, Answer::Undefined), // PMINTENSET_EL1
        ((3, 0, 10, 4, 3), false, Answer::Undefined), // LORC_EL1
        ((3, 0, 5, 3, 0), true, Answer::Undefined),  // ERRIDR_EL1
        ((3, 0, 15, 2, 0), false, Answer::Undefined), // implementation-defined
        ((3, 4, 1, 1, 0), true, Answer::Undefined),  // HCR_EL2
    ];
    for ((op0, op1, crn, crm, op2), read, expected) in cases {
        let encoding = Encoding::new(op0, op1, crn, crm, op2);
        assert_eq!(ask(encoding, read, true), expected, "S{op0}_{op1}_C{crn}_C{crm}_{op2} read {read}");
    }
    let sgi = Encoding::new(3, 0, 12, 11, 5);
    assert_eq!(ask(sgi, false, false), Answer::Undefined, "GICv2 partition");
}

#[test]
fn everything_else_is_undefined() {
    let mut answered = 0;
    for bits in 0..=u16::MAX {
        for read in [false, true] {
            answered += usize::from(ask(Encoding(bits), read, true) != Answer::Undefined);
        }
    }
    // 56 ID registers; 4 GIC; 3 set/way; ACTLR read and write; REVIDR, AIDR. Debug: OSLSR, OSLAR; 8
    // breakpoint registers, 5 + 4 + 2 others, each read and write; 3 read-only.
    assert_eq!(answered, 56 + 4 + 3 + 2 + 2 + 2 + 2 * (8 + 5 + 4 + 2) + 3);
}

#[test]
fn nothing_unknown_shows() {
    // A CPU of the far future: every field at its highest unsigned value but one.
    for crm in 0..8 {
        for op2 in 0..8 {
            let shown = id(crm, op2, 0xEEEE_EEEE_EEEE_EEEE, &FEATURES);
            let none = id(crm, op2, 0, &FEATURES);
            if crm < 4 || !matches!((crm, op2), (4..=7, 0) | (4 | 6 | 7, 1) | (6 | 7, 2)) {
                assert_eq!((shown, none), (0, 0), "CRm {crm} op2 {op2}");
            }
        }
    }
}

/// Fields of ID_AA64PFR0_EL1 on a CPU with everything: lowest bit, what shows.
const PFR0: [(u32, u64); 12] =
    [(0, 1), (4, 1), (8, 0), (12, 0), (24, 1), (28, 0), (32, 0), (36, 0), (40, 0), (44, 0), (52, 0), (56, 1)];

#[test]
fn hidden_features() {
    let all = 0xEEEE_EEEE_EEEE_EEEE;
    let field = |value: u64, low: u32| (value >> low) & 0xF;
    let pfr0 = id(4, 0, all, &FEATURES);
    for (low, expected) in PFR0 {
        assert_eq!(field(pfr0, low), expected, "PFR0 bit {low}");
    }
    assert_eq!(field(id(4, 0, all, &Features { gicv3: false, ..FEATURES }), 24), 0);
    let pfr1 = id(4, 1, all, &FEATURES);
    assert_eq!(pfr1 & !0xFF, 0, "MTE, SME and what follows");
    assert_eq!(id(5, 0, all, &FEATURES), 0x0010_1006, "PMUVer 0");
    assert_eq!(field(id(6, 0, all, &FEATURES), 24), 0, "TME");
    let pauth = [(6, 1, 4), (6, 1, 8), (6, 1, 24), (6, 1, 28), (6, 2, 8), (6, 2, 12), (6, 2, 24)];
    for (crm, op2, low) in pauth {
        assert_eq!(field(id(crm, op2, all, &FEATURES), low), 0);
        let given = Features { pauth: true, ..FEATURES };
        assert_eq!(field(id(crm, op2, all, &given), low), 0xE);
    }
    assert_eq!(field(id(7, 0, all, &FEATURES), 0), 2, "PARange");
    assert_eq!(field(id(7, 0, 1, &FEATURES), 0), 1, "PARange of the CPU");
    for low in [4, 8, 16, 28, 32, 40, 52, 56] {
        assert_eq!(field(id(7, 1, all, &FEATURES), low), 0, "MMFR1 bit {low}");
    }
}

#[test]
fn a_cortex_a72_keeps_its_instructions() {
    assert_eq!(id(6, 0, 0x1_1120, &FEATURES), 0x1_1120);
    assert_eq!(id(4, 0, 0x2222, &FEATURES), 0x0100_0011);
    // 44 bits of physical address, no 16 KiB granule.
    assert_eq!(id(7, 0, 0x1124, &FEATURES), 0x22 | 0x100, "PARange 40 bits");
    assert_eq!(id(5, 0, 0x1030_5106, &FEATURES), 0x0010_1006);
    let off = 0xFF << 16;
    assert_eq!(id(4, 0, off, &FEATURES) & off, off, "no floating point");
    assert_eq!(id(7, 0, 0xF << 28, &FEATURES) >> 28 & 0xF, 0xF, "no 4 KiB granule");
}

/// The short way to an SGI takes what the long way takes, whichever fields differ.
#[test]
fn a_write_of_sgi1r_is_recognised_as_decode_and_policy_would() {
    const SGI1R: u64 = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 9 << 5 | 11 << 1;
    let mut found = 0;
    for first in 0..22 {
        for second in 0..22 {
            let esr = SGI1R ^ 1 << first ^ 1 << second;
            let trapped = decode(esr);
            let named = trapped.encoding == Encoding::new(3, 0, 12, 11, 5) && !trapped.read;
            assert_eq!(is_sgi(esr), named, "{esr:#x}");
            assert_eq!(register(esr), trapped.rt);
            if named {
                assert_eq!(policy(trapped, true), Answer::Sgi);
                found += 1;
            }
        }
    }
    assert_eq!(found, 22 + 5 * 4, "the same bit twice, or two bits of Rt");
    assert!(!is_sgi(SGI1R ^ 1 << 26));
}
