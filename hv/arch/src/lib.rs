//! AArch64 at EL2: the one crate of the hypervisor that says `unsafe`.
//!
//! Principles
//! 1. What leaves this crate is safe to call: addresses come from the sealed blueprint, never from a
//!    guest, and state of a CPU is reached only with the proof of running on it ([`cpu::Cpu`]).
//! 2. EL2 runs with interrupts masked from entry to ERET: no nesting, no locks against itself.
//! 3. No floating point, no allocation, no access to a guest's memory.
//! 4. What a guest may do is one reviewed table ([`traps`]).
//!
//! Honest limits: non-VHE EL2, 4 KiB granule, 39-bit addresses, PL011, GICv2 and GICv3.
//!
//! Reading order: [`boot`], [`cpu`], [`frame`], [`traps`], [`context`], [`identity`], [`gic`],
//! [`timer`], [`cleaning`], [`uart`], [`memory`], [`once`].
#![no_std]
#![cfg(target_arch = "aarch64")]

pub mod boot;
pub mod cleaning;
pub mod context;
pub mod cpu;
pub mod fence;
pub mod frame;
pub mod gic;
pub mod identity;
pub mod memory;
mod mmio;
pub mod once;
mod regs;
pub mod timer;
pub mod traps;
pub mod uart;

/// Makes stores visible to all CPUs, then wakes those that wait in [`wait_event`].
pub fn signal_event() {
    regs::execute!("dsb ish");
    regs::execute!("sev");
}

/// Waits for an event from another CPU, or returns early.
pub fn wait_event() {
    regs::execute!("wfe");
}

/// Waits for an interrupt, masked or not.
pub fn wait_interrupt() {
    regs::execute!("dsb sy");
    regs::execute!("wfi");
}

/// Takes SErrors that wait, so that they are attributed to the vCPU that ran (ruling 9). Whether
/// there was one. Overwrites ELR_EL2 and SPSR_EL2: the vCPU's must have been stored.
#[must_use]
pub fn drain_serrors() -> bool {
    const ISR_A: u64 = 1 << 8;
    regs::execute!("dsb sy");
    regs::execute!("isb");
    if regs::read!("isr_el1") & ISR_A == 0 {
        return false;
    }
    // The vector of EL2's own SErrors returns at once.
    regs::execute!("msr daifclr, #4");
    regs::execute!("isb");
    regs::execute!("msr daifset, #4");
    true
}
