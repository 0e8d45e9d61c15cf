//! A vCPU's registers while it does not run, and the switch.
//!
//! Everything that a guest can write and that outlives a trap is here: general-purpose registers,
//! FP/SIMD, EL1 system registers, its timers. The virtual GIC is switched by `bulkhead-vgic`.

use crate::frame::Frame;
use crate::regs::{execute, read, write};
use crate::traps::{HCR, HCR_LOADER};

/// FP/SIMD registers, as `stp q` stores them.
#[repr(C, align(16))]
struct Vector {
    q: [[u64; 2]; 32],
    fpcr: u64,
    fpsr: u64,
}

macro_rules! el1_registers {
    ($($(#[$meta:meta])* $field:ident = $name:literal,)*) => {
        /// EL1 and EL0 registers that are switched as they are.
        #[derive(Clone, Copy)]
        struct El1 { $($(#[$meta])* $field: u64,)* }

        impl El1 {
            const RESET: Self = Self { $($field: 0,)* };

            fn save(&mut self) {
                $(self.$field = read!($name);)*
            }

            fn restore(&self) {
                $(write!($name, self.$field);)*
            }
        }
    };
}

el1_registers! {
    cpacr = "cpacr_el1",
    ttbr0 = "ttbr0_el1",
    ttbr1 = "ttbr1_el1",
    mair = "mair_el1",
    amair = "amair_el1",
    vbar = "vbar_el1",
    esr = "esr_el1",
    far = "far_el1",
    afsr0 = "afsr0_el1",
    afsr1 = "afsr1_el1",
    contextidr = "contextidr_el1",
    tpidr_el0 = "tpidr_el0",
    tpidrro_el0 = "tpidrro_el0",
    tpidr_el1 = "tpidr_el1",
    sp_el0 = "sp_el0",
    sp_el1 = "sp_el1",
    elr = "elr_el1",
    spsr = "spsr_el1",
    par = "par_el1",
    csselr = "csselr_el1",
    cntkctl = "cntkctl_el1",
    cntv_cval = "cntv_cval_el0",
    cntv_ctl = "cntv_ctl_el0",
    cntp_cval = "cntp_cval_el0",
    cntp_ctl = "cntp_ctl_el0",
}

/// Where a vCPU is in its world.
#[derive(Clone, Copy)]
pub struct World {
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// The loader runs, not the guest.
    pub loading: bool,
    /// MPIDR_EL1 as the guest sees it: its number, affinity 0.
    pub vcpu: u64,
}

/// A vCPU that does not run.
pub struct Context {
    x: [u64; 31],
    pc: u64,
    pstate: u64,
    sctlr: u64,
    tcr: u64,
    el1: El1,
    vector: Vector,
    /// Started and never stored since: it has not run yet.
    fresh: bool,
}

/// PSTATE at a guest's start: EL1h, all interrupts masked (arm64 boot protocol, PSCI 6.4).
const START_PSTATE: u64 = 0x3C5;
/// SCTLR_EL1 at a guest's start: MMU and caches off, RES1 bits of Armv8.0 (29, 28, 23, 22, 20, 11).
const START_SCTLR: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;
/// TCR_EL1.EPD1 and EPD0: no walk of EL1's tables.
const NO_WALKS: u64 = 1 << 23 | 1 << 7;

impl Context {
    /// All zero: nothing that could run. [`Context::start`] makes a vCPU of it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            x: [0; 31],
            pc: 0,
            pstate: 0,
            sctlr: 0,
            tcr: 0,
            el1: El1::RESET,
            vector: Vector { q: [[0; 2]; 32], fpcr: 0, fpsr: 0 },
            fresh: false,
        }
    }

    /// A vCPU's registers at its start: `entry` is its first instruction, x0 and x1 as given, the rest
    /// zero.
    pub fn start(&mut self, entry: u64, x0: u64, x1: u64) {
        *self = Self::new();
        self.pc = entry;
        self.pstate = START_PSTATE;
        self.sctlr = START_SCTLR;
        self.fresh = true;
        self.x[0] = x0;
        self.x[1] = x1;
    }

    /// Takes the running vCPU's registers. `frame` must hold all of x0 to x30.
    pub fn save(&mut self, frame: &Frame) {
        self.fresh = false;
        copy(&frame.x, &mut self.x);
        self.pc = read!("elr_el2");
        self.pstate = read!("spsr_el2");
        self.sctlr = read!("sctlr_el1");
        self.tcr = read!("tcr_el1");
        self.el1.save();
        self.vector.save();
    }

    /// Whether it starts and has not run yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Makes this vCPU the one that the CPU returns to.
    ///
    /// The order is the work-around for Cortex-A72 erratum 1319367 (a speculative address
    /// translation may walk with registers of two worlds): no walks, then everything else, then the
    /// translation controls of the new world (ruling 9).
    pub fn restore(&self, frame: &mut Frame, world: World) {
        write!("tcr_el1", NO_WALKS);
        execute!("isb");
        self.el1.restore();
        write!("vmpidr_el2", 1 << 31 | world.vcpu);
        write!("hcr_el2", if world.loading { HCR_LOADER } else { HCR });
        write!("vttbr_el2", world.vttbr);
        execute!("isb");
        write!("sctlr_el1", self.sctlr);
        write!("tcr_el1", self.tcr);
        self.vector.restore();
        write!("elr_el2", self.pc);
        write!("spsr_el2", self.pstate);
        copy(&self.x, &mut frame.x);
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves no guest's timers running: their lines are low.
pub fn stop_timers() {
    write!("cntv_ctl_el0", 0);
    write!("cntp_ctl_el0", 0);
    execute!("isb");
}

/// Copies x0 to x30: 32 instructions, a quarter of what `memcpy` takes.
fn copy(from: &[u64; 31], to: &mut [u64; 31]) {
    // SAFETY: reads the 248 bytes of `from` and writes those of `to`, which no other reference covers.
    unsafe {
        core::arch::asm!(
            "ldp {2}, {3}, [{0}, #0]", "ldp {4}, {5}, [{0}, #16]",
            "stp {2}, {3}, [{1}, #0]", "stp {4}, {5}, [{1}, #16]",
            "ldp {2}, {3}, [{0}, #32]", "ldp {4}, {5}, [{0}, #48]",
            "stp {2}, {3}, [{1}, #32]", "stp {4}, {5}, [{1}, #48]",
            "ldp {2}, {3}, [{0}, #64]", "ldp {4}, {5}, [{0}, #80]",
            "stp {2}, {3}, [{1}, #64]", "stp {4}, {5}, [{1}, #80]",
            "ldp {2}, {3}, [{0}, #96]", "ldp {4}, {5}, [{0}, #112]",
            "stp {2}, {3}, [{1}, #96]", "stp {4}, {5}, [{1}, #112]",
            "ldp {2}, {3}, [{0}, #128]", "ldp {4}, {5}, [{0}, #144]",
            "stp {2}, {3}, [{1}, #128]", "stp {4}, {5}, [{1}, #144]",
            "ldp {2}, {3}, [{0}, #160]", "ldp {4}, {5}, [{0}, #176]",
            "stp {2}, {3}, [{1}, #160]", "stp {4}, {5}, [{1}, #176]",
            "ldp {2}, {3}, [{0}, #192]", "ldp {4}, {5}, [{0}, #208]",
            "stp {2}, {3}, [{1}, #192]", "stp {4}, {5}, [{1}, #208]",
            "ldp {2}, {3}, [{0}, #224]", "ldr {4}, [{0}, #240]", "stp {2}, {3}, [{1}, #224]", "str {4}, [{1}, #240]",
            in(reg) from.as_ptr(), in(reg) to.as_mut_ptr(),
            out(reg) _, out(reg) _, out(reg) _, out(reg) _, options(nostack, preserves_flags));
    }
}

impl Vector {
    fn save(&mut self) {
        // SAFETY: stores 512 bytes to `q` and 16 to what follows, all inside `self` (repr(C));
        // EL2 itself never uses these registers (soft-float target).
        unsafe {
            core::arch::asm!(
                ".arch_extension fp", ".arch_extension simd",
                "stp q0, q1, [{0}, #0]", "stp q2, q3, [{0}, #32]", "stp q4, q5, [{0}, #64]", "stp q6, q7, [{0}, #96]",
                "stp q8, q9, [{0}, #128]", "stp q10, q11, [{0}, #160]", "stp q12, q13, [{0}, #192]",
                "stp q14, q15, [{0}, #224]", "stp q16, q17, [{0}, #256]", "stp q18, q19, [{0}, #288]",
                "stp q20, q21, [{0}, #320]", "stp q22, q23, [{0}, #352]", "stp q24, q25, [{0}, #384]",
                "stp q26, q27, [{0}, #416]", "stp q28, q29, [{0}, #448]", "stp q30, q31, [{0}, #480]",
                "mrs {1}, fpcr", "mrs {2}, fpsr", "str {1}, [{0}, #512]", "str {2}, [{0}, #520]",
                in(reg) &raw mut *self, out(reg) _, out(reg) _, options(nostack, preserves_flags));
        }
    }

    fn restore(&self) {
        // SAFETY: loads what `save` stored; the registers belong to the guest alone.
        unsafe {
            core::arch::asm!(
                ".arch_extension fp", ".arch_extension simd",
                "ldp q0, q1, [{0}, #0]", "ldp q2, q3, [{0}, #32]", "ldp q4, q5, [{0}, #64]", "ldp q6, q7, [{0}, #96]",
                "ldp q8, q9, [{0}, #128]", "ldp q10, q11, [{0}, #160]", "ldp q12, q13, [{0}, #192]",
                "ldp q14, q15, [{0}, #224]", "ldp q16, q17, [{0}, #256]", "ldp q18, q19, [{0}, #288]",
                "ldp q20, q21, [{0}, #320]", "ldp q22, q23, [{0}, #352]", "ldp q24, q25, [{0}, #384]",
                "ldp q26, q27, [{0}, #416]", "ldp q28, q29, [{0}, #448]", "ldp q30, q31, [{0}, #480]",
                "ldr {1}, [{0}, #512]", "ldr {2}, [{0}, #520]", "msr fpcr, {1}", "msr fpsr, {2}",
                in(reg) &raw const *self, out(reg) _, out(reg) _, options(nostack, preserves_flags, readonly));
        }
    }
}
