//! The physical timer (CNTP, PPI 30) as a periodic interrupt. The runtime has the virtual one.

use bulkhead_sdk::registers::{self, counter, isb, system_counter};
use bulkhead_sdk::{interrupt, time};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// INTID of the EL1 physical timer (BSA: PPI 30).
pub const INTID: u32 = 30;

static PERIOD_TICKS: AtomicU64 = AtomicU64::new(0);
static DEADLINE_TICKS: AtomicU64 = AtomicU64::new(0);
static PERIODS: AtomicU64 = AtomicU64::new(0);
static LATEST_TICKS: AtomicU64 = AtomicU64::new(0);

fn set_compare(ticks: u64) {
    // SAFETY: the timer raises an interrupt and touches no memory.
    unsafe { asm!("msr cntp_cval_el0, {}", in(reg) ticks, options(nostack, preserves_flags)) }
    isb();
}

fn set_control(value: u64) {
    // SAFETY: as in `set_compare`.
    unsafe { asm!("msr cntp_ctl_el0, {}", in(reg) value, options(nostack, preserves_flags)) }
    isb();
}

/// Whether the timer's condition holds: CNTP_CTL_EL0.ISTATUS.
pub fn condition() -> bool {
    let control: u64;
    // SAFETY: reading the timer's control changes nothing.
    unsafe { asm!("mrs {}, cntp_ctl_el0", out(reg) control, options(nostack, preserves_flags)) };
    control & 0b100 != 0
}

/// Makes the timer's condition hold in `ns` nanoseconds, unmasked.
pub fn arm_in(ns: u64) {
    set_compare(system_counter() + time::ticks_from_ns(ns));
    set_control(1);
}

/// Turns the timer off: its line goes low.
pub fn disarm() {
    set_control(0);
}

/// Makes the virtual timer's condition hold in `ns` nanoseconds, unmasked. Only while the runtime
/// does not use it: no task sleeps.
pub fn arm_virtual_in(ns: u64) {
    let compare = counter() + time::ticks_from_ns(ns);
    // SAFETY: as in `set_compare`.
    unsafe {
        asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", in(reg) compare, in(reg) 1u64,
             options(nostack, preserves_flags));
    }
    isb();
}

/// Sleeps for `ns` nanoseconds, or until another interrupt. Interrupts are unmasked, and the runtime does
/// not use the virtual timer: no task sleeps.
pub fn nap(ns: u64) {
    // Masked, so that the interrupt does not come between the arming and the sleep.
    registers::mask_interrupts();
    arm_virtual_in(ns);
    registers::wait_for_interrupt();
    // The runtime's handler turns the timer off.
    registers::unmask_interrupts();
}

/// Whether the runtime's handler of the virtual timer's interrupt ran since [`arm_virtual_in`]: it turns the
/// timer off by CNTV_CTL_EL0.IMASK.
pub fn virtual_fired() -> bool {
    let control: u64;
    // SAFETY: reading the timer's control changes nothing.
    unsafe { asm!("mrs {}, cntv_ctl_el0", out(reg) control, options(nostack, preserves_flags)) };
    control & 0b10 != 0
}

/// Turns the virtual timer off.
pub fn disarm_virtual() {
    // SAFETY: as in `set_compare`.
    unsafe { asm!("msr cntv_ctl_el0, xzr", options(nostack, preserves_flags)) }
    isb();
}

/// Starts a periodic interrupt at the runtime's timer priority. Deadlines follow each other from the
/// first on, so that none is lost however late an interrupt comes.
pub fn start_periodic(period_ns: u64) -> Result<(), interrupt::EnableError> {
    let period = time::ticks_from_ns(period_ns);
    let first = system_counter() + period;
    PERIOD_TICKS.store(period, Relaxed);
    DEADLINE_TICKS.store(first, Relaxed);
    set_compare(first);
    set_control(1);
    interrupt::enable(INTID, interrupt::priority::TIMER, on_period)
}

fn on_period(_intid: u32) {
    let deadline = DEADLINE_TICKS.load(Relaxed);
    let late = system_counter().saturating_sub(deadline);
    LATEST_TICKS.fetch_max(late, Relaxed);
    PERIODS.fetch_add(1, Relaxed);
    let next = deadline + PERIOD_TICKS.load(Relaxed);
    DEADLINE_TICKS.store(next, Relaxed);
    set_compare(next);
}

/// Periods since the start.
pub fn periods() -> u64 {
    PERIODS.load(Relaxed)
}

/// Greatest lateness since the last call, in nanoseconds.
pub fn take_latest_ns() -> u64 {
    time::ns_from_ticks(LATEST_TICKS.swap(0, Relaxed))
}
