//! A guest's registers while EL2 runs.

use crate::regs::{read, write};

/// x0 to x30 as `vectors.s` lays them out. In handlers of calls and interrupts only x0-x18 are there;
/// the reschedule, access and SError handlers see all.
#[repr(C)]
pub struct Frame {
    /// General-purpose registers.
    pub x: [u64; 31],
}

const _: () = assert!(size_of::<Frame>() <= 256, "vectors.s takes 256 bytes of stack");

impl Frame {
    /// Whether register `n` is there in handlers that see x0-x18 only; 31, XZR, needs no place.
    #[inline(always)]
    #[must_use]
    pub const fn is_saved(n: usize) -> bool {
        n < 19 || n == 31
    }

    /// To return to the guest with these.
    pub fn resume(&self) -> Resume {
        Resume(&raw const self.x)
    }

    /// Register `n`; 31 is XZR.
    #[inline]
    #[must_use]
    pub fn get(&self, n: usize) -> u64 {
        self.x.get(n).copied().unwrap_or(0)
    }

    /// Sets register `n`; 31 is XZR.
    #[inline]
    pub fn set(&mut self, n: usize, value: u64) {
        if let Some(register) = self.x.get_mut(n) {
            *register = value;
        }
    }
}

/// Where the x0 to x30 lie with which `vectors.s` returns to the guest: in the frame, or in the context of the vCPU that
/// was chosen.
#[repr(transparent)]
pub struct Resume(pub(crate) *const [u64; 31]);

/// The syndrome registers of a trap.
#[derive(Clone, Copy)]
pub struct Syndrome {
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
    /// ELR_EL2.
    pub elr: u64,
    /// SPSR_EL2.
    pub spsr: u64,
}

impl Syndrome {
    /// Of the present trap.
    #[must_use]
    pub fn read() -> Self {
        Self { far: far(), hpfar: hpfar(), elr: read!("elr_el2"), spsr: read!("spsr_el2") }
    }
}

/// FAR_EL2 of the present trap.
#[inline(always)]
#[must_use]
pub fn far() -> u64 {
    read!("far_el2")
}

/// HPFAR_EL2 of the present trap.
#[inline(always)]
#[must_use]
pub fn hpfar() -> u64 {
    read!("hpfar_el2")
}

/// Goes on behind the trapped instruction (system registers, SMC and emulated accesses are all
/// four bytes long in AArch64 state).
#[inline]
pub fn skip_instruction() {
    write!("elr_el2", read!("elr_el2").wrapping_add(4));
}

/// Goes back to an HVC instruction, whose preferred return is behind it.
pub fn step_back() {
    write!("elr_el2", read!("elr_el2").wrapping_sub(4));
}

/// Exceptions that EL2 may raise in the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// UNDEFINED: exception class 0.
    Undefined,
    /// Synchronous external abort on a data access.
    DataAbort,
    /// Synchronous external abort on an instruction fetch.
    InstructionAbort,
}

/// Raises an exception in the guest at EL1, as if the trapped instruction had caused it there
/// (Arm ARM D1.3, AArch64.TakeException).
pub fn inject(exception: Injection) {
    const IL: u64 = 1 << 25;
    const EXTERNAL: u64 = 0x10;
    const MODE: u64 = 0xF;
    const EL1H: u64 = 0x5;
    const EL1T: u64 = 0x4;
    const MASKED: u64 = 0x3C0;
    let spsr = read!("spsr_el2");
    let from_el0 = spsr & MODE == 0;
    let lower = u64::from(from_el0);
    let class = match exception {
        Injection::Undefined => 0,
        Injection::InstructionAbort => 0x21 - lower,
        Injection::DataAbort => 0x25 - lower,
    };
    let code = if exception == Injection::Undefined { 0 } else { EXTERNAL };
    let offset = match spsr & MODE {
        EL1H => 0x200,
        EL1T => 0,
        _ => 0x400,
    };
    write!("esr_el1", class << 26 | IL | code);
    write!("far_el1", read!("far_el2"));
    write!("elr_el1", read!("elr_el2"));
    write!("spsr_el1", spsr);
    write!("elr_el2", read!("vbar_el1") + offset);
    // PAN, UAO and the like start as SCTLR_EL1 says on silicon; EL2 enters with the flags cleared,
    // which every kernel's entry code copes with, because it must on a CPU without them.
    write!("spsr_el2", MASKED | EL1H);
}
