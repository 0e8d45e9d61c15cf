//! Canaries: values in registers and memory that nobody but this partition may change.

use crate::smccc::Conduit;
use bulkhead_sdk::registers::isb;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

global_asm!(include_str!("canary.s"));

unsafe extern "C" {
    fn __probes_canary(seed: u64) -> u64;
    fn __probes_call_canary(function: u64, conduit: u64) -> u64;
}

/// 64-bit words of the canary memory: 64 KiB.
const WORDS: usize = 8192;
static MEMORY: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

fn pattern(index: usize) -> u64 {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Fills the canary memory and lets this CPU use its vector registers.
pub fn prepare() {
    for (index, word) in MEMORY.iter().enumerate() {
        word.store(pattern(index), Relaxed);
    }
    // SAFETY: FPEN = 0b11 lets `canary.s` use registers that no compiled code of this target has.
    unsafe { asm!("msr cpacr_el1, {}", in(reg) 0b11u64 << 20, options(nostack, preserves_flags)) }
    isb();
}

/// Words of the canary memory that changed.
pub fn spoilt_words() -> u64 {
    MEMORY.iter().enumerate().filter(|(index, word)| word.load(Relaxed) != pattern(*index)).count() as u64
}

/// Sleeps until an interrupt is pending, with a value made of `seed` in x0 to x30 and v0 to v31;
/// whether all came back.
pub fn sleep_with_registers(seed: u64) -> bool {
    // SAFETY: by the C ABI; the vector registers belong to nobody (`prepare`). Interrupt handlers
    // keep the general-purpose ones.
    unsafe { __probes_canary(seed) == 0 }
}

/// Whether x4 to x30 come back from a call of `function`.
pub fn call_keeps_registers(conduit: Conduit, function: u64) -> bool {
    // SAFETY: as `smccc::call`; registers that the C ABI keeps are saved and restored.
    unsafe { __probes_call_canary(function, u64::from(conduit == Conduit::Smc)) == 0 }
}
