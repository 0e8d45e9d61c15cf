//! Measuring: single events between two readings of CNTVCT, with nothing else in between, so that
//! under QEMU's `-icount` with a counter of 1 GHz the difference is a number of instructions, the
//! second reading included.

use crate::gic;
use bulkhead_sdk::registers::{isb, mask_interrupts};
use core::arch::{asm, global_asm};

global_asm!(include_str!("meter.s"));

unsafe extern "C" {
    fn __meter_await(cpu_interface: u64, spin: u64) -> Stamp;
    static __meter_vectors: u8;
}

/// An interrupt that was taken.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stamp {
    /// CNTVCT when the first instruction of the handler ran.
    pub ticks: u64,
    acknowledged: u64,
}

impl Stamp {
    /// INTID.
    pub fn intid(self) -> u32 {
        (self.acknowledged & if gic::is_v3() { 0xff_ffff } else { 0x3ff }) as u32
    }
}

/// How [`await_interrupt`] waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In WFI.
    Asleep,
    /// In a loop of one branch.
    Spinning,
}

/// Tells an observer outside of the machine that phase `PHASE` (64 to 127) begins: an unallocated
/// hint, which is a NOP to the CPU (Arm ARM C6.2, HINT).
#[inline(always)]
pub fn mark<const PHASE: u32>() {
    // SAFETY: a NOP. Not `nomem`: memory accesses stay on their side of it.
    unsafe { asm!("hint #{}", const PHASE, options(nostack, preserves_flags)) }
}

/// Puts the measuring vectors in place on this CPU, with interrupts masked from now on but in
/// [`await_interrupt`].
pub fn install() {
    mask_interrupts();
    let vectors = (&raw const __meter_vectors).addr() as u64;
    // SAFETY: the vectors pass on what they do not serve; interrupts are masked, so that their
    // handler runs in `__meter_await` only, which expects what it clobbers.
    unsafe { asm!("msr vbar_el1, {}", in(reg) vectors, options(nostack, preserves_flags)) }
    isb();
}

/// Waits for an interrupt, ends it, and turns the virtual timer off.
pub fn await_interrupt(wait: Wait) -> Stamp {
    let cpu_interface = if gic::is_v3() { 0 } else { gic::CPU_INTERFACE };
    // SAFETY: `install` put the vectors in place that bring it back; it clobbers what the C ABI lets
    // it clobber, the GIC's registers are mapped.
    unsafe { __meter_await(cpu_interface, u64::from(wait == Wait::Spinning)) }
}

/// Sets the virtual timer's deadline, CNTVCT in ticks.
pub fn set_deadline(ticks: u64) {
    // SAFETY: the timer raises an interrupt and touches no memory.
    unsafe {
        asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", in(reg) ticks, in(reg) 1u64,
             options(nostack, preserves_flags));
    }
    isb();
}

macro_rules! between_readings {
    ($instruction:literal, $($operand:tt)*) => {{
        let (before, after): (u64, u64);
        // SAFETY: by SMCCC a call changes x0 to x17 at most, and those that are measured write no
        // memory of the caller; loads are of device registers that the caller names.
        unsafe {
            asm!("mrs {before}, cntvct_el0", $instruction, "mrs {after}, cntvct_el0",
                 before = out(reg) before, after = lateout(reg) after, $($operand)*);
        }
        after - before
    }};
}

/// Ticks of `HVC #0` with function `function`.
#[inline(always)]
pub fn hvc(function: u64, argument: u64) -> u64 {
    between_readings!("hvc #0", inlateout("x0") function => _, inlateout("x1") argument => _,
                      lateout("x2") _, lateout("x3") _, options(nostack))
}

/// Ticks of `SMC #0` with function `function`.
#[inline(always)]
pub fn smc(function: u64) -> u64 {
    between_readings!("smc #0", inlateout("x0") function => _, lateout("x1") _, lateout("x2") _,
                      lateout("x3") _, options(nostack))
}

/// Ticks of a 32-bit load from the device register at `address`.
#[inline(always)]
pub fn load(address: u64) -> u64 {
    between_readings!("ldr {value:w}, [{address}]", value = out(reg) _, address = in(reg) address,
                      options(nostack))
}

/// Reads CNTVCT and sends SGI 1 to vCPU 1 at once; returns the reading. From a register that EL2 saves at
/// every entry, as most senders do: from x19 on it takes a longer way.
#[inline(always)]
pub fn send_sgi() -> u64 {
    const SGI: u64 = 1;
    const TARGET: u64 = 1 << 1;
    let before: u64;
    if gic::is_v3() {
        // SAFETY: makes an interrupt pending at the other vCPU.
        unsafe {
            asm!("mrs {}, cntvct_el0", "msr icc_sgi1r_el1, x8", "isb", out(reg) before,
                 in("x8") SGI << 24 | TARGET, options(nostack));
        }
    } else {
        // SAFETY: as above; GICD_SGIR is mapped.
        unsafe {
            asm!("mrs {}, cntvct_el0", "str w8, [{}]", out(reg) before,
                 in(reg) gic::DISTRIBUTOR + gic::offset::SGIR, in("x8") TARGET << 16 | SGI, options(nostack));
        }
    }
    before
}

/// Reads CNTVCT and calls `function` with `argument` at once; returns the reading.
#[inline(always)]
pub fn call(function: u64, argument: u64) -> u64 {
    let before: u64;
    // SAFETY: as in `between_readings`.
    unsafe {
        asm!("mrs {before}, cntvct_el0", "hvc #0", before = out(reg) before,
             inlateout("x0") function => _, inlateout("x1") argument => _, lateout("x2") _,
             lateout("x3") _, options(nostack));
    }
    before
}
