//! System registers that a guest's MSR, MRS or SYS instruction traps on: who may see what.
//!
//! Denied by default: what is not listed here is UNDEFINED in the guest. ID registers (HCR_EL2.TID3)
//! are answered field by field from an allow-list in [`crate::sysreg::id_register`], so that a guest
//! sees the features that it really has: those whose state EL2 switches or that have none.

mod id;

pub use id::{Features, id_register};

/// A register or instruction by its encoding, op0:op1:CRn:CRm:op2 as in the instruction's bits 20:5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding(pub u16);

impl Encoding {
    /// From the five fields; each is cut to its width.
    #[must_use]
    pub const fn new(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Self {
        Self((op0 & 3) << 14 | (op1 & 7) << 11 | (crn & 15) << 7 | (crm & 15) << 3 | (op2 & 7))
    }

    /// op0, op1, CRn, CRm, op2.
    #[must_use]
    pub const fn fields(self) -> (u16, u16, u16, u16, u16) {
        let bits = self.0;
        (bits >> 14, (bits >> 11) & 7, (bits >> 7) & 15, (bits >> 3) & 15, bits & 7)
    }
}

/// A trapped access (ESR_EL2.EC = 0x18; Arm ARM D24.2.40, "ISS encoding for an exception from MSR,
/// MRS, or System instruction execution").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trapped {
    /// The register or instruction.
    pub encoding: Encoding,
    /// The general-purpose register, 31 for XZR.
    pub rt: usize,
    /// MRS: the guest reads.
    pub read: bool,
}

/// Takes a syndrome with exception class 0x18 apart.
#[inline]
#[must_use]
pub fn decode(esr: u64) -> Trapped {
    let field = |low: u64, width: u64| ((esr >> low) & ((1 << width) - 1)) as u16;
    Trapped {
        encoding: Encoding::new(field(20, 2), field(14, 3), field(10, 4), field(1, 4), field(17, 3)),
        rt: field(5, 5) as usize,
        read: esr & 1 != 0,
    }
}

/// Register of a trapped access, 31 for XZR.
#[inline(always)]
#[must_use]
pub const fn register(esr: u64) -> usize {
    ((esr >> 5) & 0x1F) as usize
}

/// Whether [`decode`] and [`policy`] would find a write of ICC_SGI1R_EL1: one comparison.
#[inline(always)]
#[must_use]
pub const fn is_sgi(esr: u64) -> bool {
    const CLASS_AND_FIELDS: u64 = 0x3F << 26 | 0x3F_FC1F;
    const SGI1R: u64 = 0x18 << 26 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
    esr & CLASS_AND_FIELDS == SGI1R
}

/// What becomes of a trapped access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// An ID register: read the CPU's and answer [`id_register`].
    Id,
    /// The read yields this.
    Value(u64),
    /// The write, or maintenance instruction, has no effect.
    Ignore,
    /// A write of ICC_SGI1R_EL1: for the virtual GIC.
    Sgi,
    /// A write of ICC_DIR_EL1: for the virtual GIC.
    Deactivate,
    /// UNDEFINED in the guest, and an undefined-sysreg event.
    Undefined,
}

/// Highest numbers of breakpoints and watchpoints that ID_AA64DFR0_EL1 shows: the least that the
/// architecture allows. They read as zero and ignore writes, so they never fire (ruling 7).
pub(crate) const DEBUG_POINT_LAST: u16 = 1;

/// OSLSR_EL1: OS lock implemented (OSLM = 0b10), unlocked.
const OSLSR: u64 = 1 << 3;

/// Decides a trapped access. `gicv3`: the partition has a GICv3, so ICC registers exist for it.
pub const fn policy(trapped: Trapped, gicv3: bool) -> Answer {
    match trapped.encoding.fields() {
        (3, 0, 0, 1..=7, _) if trapped.read => Answer::Id,
        (3, 0, 12, 11, op2) if gicv3 && !trapped.read => gic(op2),
        // DC ISW, CSW, CISW (HCR_EL2.TSW). Set/way operations of one guest would reach the lines of
        // all, and guests' memory is coherent without them: EL2 never turns the caches off.
        (1, 0, 7, 6 | 10 | 14, 2) if !trapped.read => Answer::Ignore,
        (2, op1, crn, crm, op2) => debug(op1, crn, crm, op2, trapped.read),
        // ACTLR_EL1 (HCR_EL2.TACR): implementation-defined control of the CPU, EL2's alone. A guest
        // that probes it reads zero.
        (3, 0, 1, 0, 1) => zero(trapped.read),
        // REVIDR_EL1, AIDR_EL1 (HCR_EL2.TID1): no revision known, so work-arounds stay on.
        (3, 0, 0, 0, 6) | (3, 1, 0, 0, 7) if trapped.read => Answer::Value(0),
        _ => Answer::Undefined,
    }
}

/// ICC_DIR_EL1, ICC_SGI1R_EL1, ICC_ASGI1R_EL1 and ICC_SGI0R_EL1: all write-only, CRm = 11.
const fn gic(op2: u16) -> Answer {
    match op2 {
        1 => Answer::Deactivate,
        5 => Answer::Sgi,
        // With one security state ASGI1R and SGI0R raise Group 0 SGIs; a guest's SGIs are Group 1.
        6 | 7 => Answer::Ignore,
        _ => Answer::Undefined,
    }
}

/// Debug registers (MDCR_EL2.TDA, TDRA, TDOSA): present, without effect. Linux writes them at boot.
const fn debug(op1: u16, crn: u16, crm: u16, op2: u16, read: bool) -> Answer {
    match (op1, crn, crm, op2) {
        // OSLSR_EL1; OSLAR_EL1 below takes writes only.
        (0, 1, 1, 4) if read => Answer::Value(OSLSR),
        (0, 1, 0, 4) if !read => Answer::Ignore,
        // DBGBVR, DBGBCR, DBGWVR, DBGWCR n.
        (0, 0, n, 4..=7) if n <= DEBUG_POINT_LAST => zero(read),
        // OSDTRRX, MDCCINT, MDSCR, OSDTRTX, OSECCR.
        (0, 0, 0 | 3 | 6, 2) | (0, 0, 2, 0 | 2) => zero(read),
        // OSDLR, DBGPRCR, DBGCLAIMSET, DBGCLAIMCLR.
        (0, 1, 3 | 4, 4) | (0, 7, 8 | 9, 6) => zero(read),
        // DBGDTR_EL0, DBGDTRRX_EL0 and DBGDTRTX_EL0.
        (3, 0, 4 | 5, 0) => zero(read),
        // MDRAR_EL1, DBGAUTHSTATUS_EL1, MDCCSR_EL0: read-only.
        (0, 1, 0, 0) | (0, 7, 14, 6) | (3, 0, 1, 0) if read => Answer::Value(0),
        _ => Answer::Undefined,
    }
}

/// Read as zero, write ignored.
const fn zero(read: bool) -> Answer {
    if read { Answer::Value(0) } else { Answer::Ignore }
}
