//! A vCPU's registers while it does not run, and the switch.
//!
//! Everything that a guest can write and that outlives a trap is here: general-purpose registers,
//! FP/SIMD, EL1 system registers, its timers. The virtual GIC is switched by `bulkhead-vgic`.

use crate::frame::{Frame, Resume};
use crate::regs::{execute, read, write};
use zerocopy::FromZeros;

/// FP/SIMD registers, as `stp q` stores them.
#[repr(C, align(16))]
#[derive(FromZeros)]
struct Vector {
    q: [[u64; 2]; 32],
    fpcr: u64,
    fpsr: u64,
}

macro_rules! registers {
    ($($first:ident = $first_name:literal, $second:ident = $second_name:literal;)*) => {
        /// Registers that are switched as they are: those of EL1 and EL0, and of EL2 those that speak of
        /// the vCPU. In pairs, for pairs are stored and loaded.
        #[derive(Clone, Copy, FromZeros)]
        #[repr(C)]
        struct Registers { $($first: u64, $second: u64,)* }

        impl Registers {
            #[inline(always)]
            fn save(&mut self) {
                // SAFETY: stores two words for each pair of fields, all inside `self` (repr(C)); reading
                // the registers has no other effect.
                unsafe {
                    core::arch::asm!(
                        $(concat!("mrs {1}, ", $first_name), concat!("mrs {2}, ", $second_name),
                        "stp {1}, {2}, [{0}], #16",)*
                        inout(reg) &raw mut *self => _, out(reg) _, out(reg) _, options(nostack, preserves_flags));
                }
            }

            #[inline(always)]
            fn restore(&self) {
                // SAFETY: loads what `save` or `Context::start` stored. All are state of the guest, which
                // confines nothing; the caller has seen to it that nothing is translated meanwhile.
                unsafe {
                    core::arch::asm!(
                        $("ldp {1}, {2}, [{0}], #16",
                        concat!("msr ", $first_name, ", {1}"), concat!("msr ", $second_name, ", {2}"),)*
                        inout(reg) &raw const *self => _, out(reg) _, out(reg) _, options(nostack, preserves_flags));
                }
            }
        }
    };
}

registers! {
    elr_el2 = "elr_el2", spsr_el2 = "spsr_el2";
    vmpidr = "vmpidr_el2", cpacr = "cpacr_el1";
    ttbr0 = "ttbr0_el1", ttbr1 = "ttbr1_el1";
    mair = "mair_el1", amair = "amair_el1";
    vbar = "vbar_el1", esr = "esr_el1";
    far = "far_el1", contextidr = "contextidr_el1";
    afsr0 = "afsr0_el1", afsr1 = "afsr1_el1";
    tpidr_el0 = "tpidr_el0", tpidrro_el0 = "tpidrro_el0";
    tpidr_el1 = "tpidr_el1", cntkctl = "cntkctl_el1";
    sp_el0 = "sp_el0", sp_el1 = "sp_el1";
    elr = "elr_el1", spsr = "spsr_el1";
    par = "par_el1", csselr = "csselr_el1";
    cntv_cval = "cntv_cval_el0", cntv_ctl = "cntv_ctl_el0";
    cntp_cval = "cntp_cval_el0", cntp_ctl = "cntp_ctl_el0";
}

/// Where a vCPU is in its world.
#[derive(Clone, Copy)]
pub struct World {
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// HCR_EL2: one of [`crate::traps`].
    pub hcr: u64,
}

/// A vCPU that does not run. All zero is nothing that could run: [`Context::start`] makes a vCPU of it.
#[derive(FromZeros)]
pub struct Context {
    x: [u64; 31],
    sctlr: u64,
    tcr: u64,
    registers: Registers,
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
    /// The registers of a partition's vCPU `vcpu` at its start: `entry` is its first instruction, x0 and
    /// x1 as given, the rest zero. Its number is affinity 0 of MPIDR_EL1 as it sees it.
    pub fn start(&mut self, vcpu: usize, entry: u64, x0: u64, x1: u64) {
        self.zero();
        self.registers.elr_el2 = entry;
        self.registers.spsr_el2 = START_PSTATE;
        self.registers.vmpidr = 1 << 31 | vcpu as u64;
        self.sctlr = START_SCTLR;
        self.fresh = true;
        self.x[0] = x0;
        self.x[1] = x1;
    }

    /// Takes the running vCPU's registers. `frame` must hold all of x0 to x30.
    #[inline(always)]
    pub fn save(&mut self, frame: &Frame) {
        self.fresh = false;
        self.sctlr = read!("sctlr_el1");
        self.tcr = read!("tcr_el1");
        self.registers.save();
        self.vector.save();
        copy(&frame.x, &mut self.x);
    }

    /// Whether it starts and has not run yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Makes this vCPU the one that the CPU returns to, with the registers that are told.
    ///
    /// The order is the work-around for Cortex-A72 erratum 1319367 (a speculative address
    /// translation may walk with registers of two worlds): no walks, then everything else, then the
    /// translation controls of the new world, SCTLR_EL1 before TCR_EL1 (ruling 9).
    #[inline(always)]
    pub fn restore(&self, world: World) -> Resume {
        write!("tcr_el1", NO_WALKS);
        execute!("isb");
        // Stage 1 on and without walks translates nothing; off, it would let every address through.
        write!("sctlr_el1", START_SCTLR | 1);
        execute!("isb");
        self.registers.restore();
        write!("hcr_el2", world.hcr);
        write!("vttbr_el2", world.vttbr);
        execute!("isb");
        write!("sctlr_el1", self.sctlr);
        execute!("isb");
        write!("tcr_el1", self.tcr);
        self.vector.restore();
        Resume(&raw const self.x)
    }
}

/// Leaves no guest's timers running: their lines are low. Then takes the offset of [`offset_counter`] away: a deadline in
/// execution time would seem to have passed, and its interrupt would rise before another's timers are loaded.
#[inline(always)]
pub fn stop_timers() {
    write!("cntv_ctl_el0", 0);
    write!("cntp_ctl_el0", 0);
    offset_counter(0);
    execute!("isb");
}

/// What CNTVCT and the virtual timer lag behind the counter, in ticks: 0 but for who counts execution time
/// (CNTVOFF_EL2; ruling 14). What comes next in a switch synchronises it.
#[inline(always)]
pub fn offset_counter(ticks: u64) {
    write!("cntvoff_el2", ticks);
}

/// Copies x0 to x30 through FP/SIMD registers, which belong to the guest and hold nothing of it now: they
/// are stored. 18 instructions, a seventh of what `memcpy` takes.
#[inline(always)]
fn copy(from: &[u64; 31], to: &mut [u64; 31]) {
    // SAFETY: reads the 248 bytes of `from` and writes those of `to`, which no other reference covers.
    // EL2's own code never uses FP/SIMD registers (soft-float target).
    unsafe {
        core::arch::asm!(
            ".arch_extension fp", ".arch_extension simd",
            "ldp q0, q1, [{0}, #0]", "ldp q2, q3, [{0}, #32]", "ldp q4, q5, [{0}, #64]", "ldp q6, q7, [{0}, #96]",
            "ldp q8, q9, [{0}, #128]", "ldp q10, q11, [{0}, #160]", "ldp q12, q13, [{0}, #192]",
            "ldr q14, [{0}, #224]", "ldr {2}, [{0}, #240]",
            "stp q0, q1, [{1}, #0]", "stp q2, q3, [{1}, #32]", "stp q4, q5, [{1}, #64]", "stp q6, q7, [{1}, #96]",
            "stp q8, q9, [{1}, #128]", "stp q10, q11, [{1}, #160]", "stp q12, q13, [{1}, #192]",
            "str q14, [{1}, #224]", "str {2}, [{1}, #240]",
            in(reg) from.as_ptr(), in(reg) to.as_mut_ptr(), out(reg) _, options(nostack, preserves_flags));
    }
}

impl Vector {
    #[inline(always)]
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

    #[inline(always)]
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
