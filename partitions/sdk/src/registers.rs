//! System registers and barriers that the runtime uses, each with the reason why reading or writing
//! it cannot break memory safety.

use core::arch::asm;

/// Reads a system register by its name.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register has no side effect on memory.
        unsafe {
            ::core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value,
                               options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register by its name; the caller argues for the value in a SAFETY comment.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        ::core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value,
                           options(nostack, preserves_flags));
    }};
}
pub(crate) use {read, write};

/// Synchronises the context: later instructions see earlier register writes (Arm ARM B2.3.12).
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier only orders.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}

/// Completes earlier memory accesses before going on (DSB SY).
#[inline(always)]
pub fn dsb() {
    // SAFETY: a barrier only orders.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Sleeps until an interrupt is pending, also while interrupts are masked.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: WFI has no effect on memory; the DSB completes stores that others may wait for.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Unmasks IRQs at this CPU.
#[inline(always)]
pub fn unmask_interrupts() {
    // SAFETY: handlers run on a valid stack since boot; callers hold no critical section.
    unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) }
}

/// Masks IRQs at this CPU.
#[inline(always)]
pub fn mask_interrupts() {
    // SAFETY: masking only delays handlers. Not `nomem`: accesses must not move out of the section.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) }
}

/// Whether IRQs are masked (DAIF.I).
#[inline(always)]
pub fn interrupts_masked() -> bool {
    read!("daif") & (1 << 7) != 0
}

/// CNTVCT_EL0, not read before earlier loads have returned (Arm ARM D12.2: ISB).
#[inline(always)]
pub fn counter() -> u64 {
    isb();
    read!("cntvct_el0")
}

/// CNTPCT_EL0, as [`counter`] reads CNTVCT_EL0: system time, whatever that one counts.
#[inline(always)]
pub fn system_counter() -> u64 {
    isb();
    read!("cntpct_el0")
}

/// Frequency of the counter in hertz (CNTFRQ_EL0).
#[inline(always)]
pub fn counter_frequency_hz() -> u64 {
    read!("cntfrq_el0")
}
