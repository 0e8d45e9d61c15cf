//! What a guest reads from the ID registers (op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7).
//!
//! Each register is a list of fields with a rule; a field without a rule reads zero, which in every
//! ID register but those named below means "not implemented". So a CPU newer than this table shows
//! its guests nothing that EL2 does not know (ruling 8).

use super::{DEBUG_POINT_LAST, Encoding};

/// What the partition has beyond the base architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// A GICv3 with system registers.
    pub gicv3: bool,
    /// Pointer authentication: EL2 switches the keys and sets HCR_EL2.APK and API.
    pub pauth: bool,
    /// Largest physical address size the guest may see, encoded as ID_AA64MMFR0_EL1.PARange: the
    /// input size of its stage 2.
    pub pa_range: u64,
}

/// The rule of one four-bit field.
#[derive(Clone, Copy)]
enum Rule {
    /// As the CPU has it: no state that EL2 would have to switch, no trap that EL2 takes.
    Hardware,
    /// As the CPU has it, but not above this.
    AtMost(u8),
    /// As the CPU has it, with 0b1111 as "not implemented" and at most this otherwise.
    SignedAtMost(u8),
    /// This, whatever the CPU has.
    Fixed(u8),
    /// As the CPU has it if the partition was given pointer authentication.
    PointerAuthentication,
    /// 1 with a GICv3.
    GicSystemRegisters,
    /// The smaller of the CPU's and the partition's.
    PhysicalAddress,
}

use Rule::{
    AtMost, Fixed, GicSystemRegisters, Hardware, PhysicalAddress, PointerAuthentication, SignedAtMost,
};

/// Fields that are shown: lowest bit and rule.
type Fields = &'static [(u8, Rule)];

/// ID_AA64PFR0_EL1. Not shown: EL2, EL3 (nothing of theirs is reachable), RAS (error records are the
/// board's), SVE (not switched), MPAM, AMU, RME.
const PFR0: Fields = &[
    (0, Fixed(1)),  // EL0: AArch64 only, partitions run no AArch32
    (4, Fixed(1)),  // EL1: HCR_EL2.RW = 1
    (16, Hardware), // FP: switched with the partition
    (20, Hardware), // AdvSIMD
    (24, GicSystemRegisters),
    (48, Hardware),  // DIT: in PSTATE
    (56, AtMost(1)), // CSV2: 2 would add SCXTNUM_ELx, which is not switched
    (60, Hardware),  // CSV3: a property of the pipeline
];

/// ID_AA64PFR1_EL1. Not shown: MTE, SME, NMI, GCS: state or HCR/HCRX bits that EL2 leaves off.
const PFR1: Fields = &[
    (0, Hardware),  // BT: branch targets live in stage 1 and PSTATE
    (4, AtMost(2)), // SSBS: in PSTATE
];

/// ID_AA64DFR0_EL1. Not shown: PMU, SPE, trace, TRBE, BRBE. DoubleLock 0 means present: OSDLR_EL1
/// reads as zero.
const DFR0: Fields = &[
    (0, Fixed(6)),                       // DebugVer: Armv8, the least there is
    (12, Fixed(DEBUG_POINT_LAST as u8)), // BRPs: two, without effect
    (20, Fixed(DEBUG_POINT_LAST as u8)), // WRPs
];

/// ID_AA64ISAR0_EL1: instructions without state of their own. Not shown: TME.
const ISAR0: Fields = &[
    (4, Hardware),  // AES
    (8, Hardware),  // SHA1
    (12, Hardware), // SHA2
    (16, Hardware), // CRC32
    (20, Hardware), // Atomic
    (28, Hardware), // RDM
    (32, Hardware), // SHA3
    (36, Hardware), // SM3
    (40, Hardware), // SM4
    (44, Hardware), // DP
    (48, Hardware), // FHM
    (52, Hardware), // TS
    (56, Hardware), // TLB: range and outer-shareable forms stay within the VMID
    (60, Hardware), // RNDR
];

/// ID_AA64ISAR1_EL1. Not shown: LS64 and XS, which HCRX_EL2 = 0 turns off.
const ISAR1: Fields = &[
    (0, Hardware), // DPB
    (4, PointerAuthentication),
    (8, PointerAuthentication),
    (12, Hardware), // JSCVT
    (16, Hardware), // FCMA
    (20, Hardware), // LRCPC
    (24, PointerAuthentication),
    (28, PointerAuthentication),
    (32, Hardware), // FRINTTS
    (36, Hardware), // SB
    (40, Hardware), // SPECRES: acts on the guest's own context
    (44, Hardware), // BF16
    (48, Hardware), // DGH
    (52, Hardware), // I8MM
];

/// ID_AA64ISAR2_EL1. Not shown: WFxT (a trapped WFIT would sleep past its time), MOPS (HCRX_EL2).
const ISAR2: Fields = &[
    (8, PointerAuthentication),
    (12, PointerAuthentication),
    (20, Hardware), // BC
    (24, PointerAuthentication),
    (28, Hardware), // CLRBHB
    (52, Hardware), // CSSC
];

/// ID_AA64MMFR0_EL1. Not shown: SNSMem, stage-2 granules (0: as stage 1), FGT, ECV.
const MMFR0: Fields = &[
    (0, PhysicalAddress),
    (4, Hardware),         // ASIDBits
    (8, Hardware),         // BigEnd
    (16, Hardware),        // BigEndEL0
    (20, Hardware),        // TGran16
    (24, SignedAtMost(1)), // TGran64
    (28, SignedAtMost(1)), // TGran4
    (44, Hardware),        // ExS
];

/// ID_AA64MMFR1_EL1. Not shown: VMID, VHE, LORegions, XNX, HCX, TWED: EL2's.
const MMFR1: Fields = &[
    (0, AtMost(2)),  // HAFDBS: stage 1 only
    (12, Hardware),  // HPDS
    (20, AtMost(3)), // PAN: in PSTATE
    (24, Hardware),  // SpecSEI: a property of the pipeline
    (36, Hardware),  // ETS
    (44, Hardware),  // AFP
    (48, Hardware),  // nTLBPA
    (60, Hardware),  // ECBHB
];

/// ID_AA64MMFR2_EL1. Not shown: IESB (RAS), NV, FWB, EVT, IDS: EL2's.
const MMFR2: Fields = &[
    (0, Hardware),   // CnP: translations are shared within one VMID only
    (4, Hardware),   // UAO
    (8, Hardware),   // LSM
    (16, AtMost(1)), // VARange
    (20, Hardware),  // CCIDX
    (28, Hardware),  // ST
    (32, Hardware),  // AT
    (48, Hardware),  // TTL
    (52, Hardware),  // BBM
    (60, Hardware),  // E0PD
];

/// The value that the guest reads from the ID register `encoding`, where the CPU says `hardware`.
///
/// Registers of AArch32 (CRm 1 to 3) read zero, as they do where no level implements it; so do
/// ID_AA64PFR2, ZFR0, SMFR0, DFR1, AFR0, AFR1, ISAR3, MMFR3, MMFR4 and what is not allocated.
#[must_use]
pub fn id_register(encoding: Encoding, hardware: u64, features: &Features) -> u64 {
    let (_, _, _, crm, op2) = encoding.fields();
    let fields = match (crm, op2) {
        (4, 0) => PFR0,
        (4, 1) => PFR1,
        (5, 0) => DFR0,
        (6, 0) => ISAR0,
        (6, 1) => ISAR1,
        (6, 2) => ISAR2,
        (7, 0) => MMFR0,
        (7, 1) => MMFR1,
        (7, 2) => MMFR2,
        _ => return 0,
    };
    let mut value = 0;
    for (low, rule) in fields {
        let has = (hardware >> low) & 0xF;
        let shown = match *rule {
            Hardware => has,
            AtMost(limit) => has.min(u64::from(limit)),
            SignedAtMost(limit) => {
                if has == 0xF {
                    has
                } else {
                    has.min(u64::from(limit))
                }
            }
            Fixed(value) => u64::from(value),
            PointerAuthentication if features.pauth => has,
            PointerAuthentication => 0,
            GicSystemRegisters => u64::from(features.gicv3),
            PhysicalAddress => has.min(features.pa_range),
        };
        value |= (shown & 0xF) << low;
    }
    value
}
