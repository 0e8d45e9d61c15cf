//! Device registers: plain loads and stores without write-back, one instruction each.
//!
//! A hypervisor emulates an access from its syndrome, and an access with write-back or of a pair has
//! none (Arm ARM D24.2.40, ISV). The compiler may turn volatile accesses in a loop into such ones,
//! so the instructions are spelt out.

use core::arch::asm;

/// Reads 32 bits.
///
/// # Safety
/// `address` is a 32-bit register of a device that is mapped, and reading it has no effect on memory.
pub(crate) unsafe fn read32(address: u64) -> u32 {
    let value: u32;
    // SAFETY: the caller vouches for the address; the load touches no Rust object.
    unsafe {
        asm!("ldr {:w}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags));
    }
    value
}

/// Writes 32 bits.
///
/// # Safety
/// `address` is a 32-bit register of a device that is mapped and accesses no memory of ours.
pub(crate) unsafe fn write32(address: u64, value: u32) {
    // SAFETY: as for `read32`.
    unsafe {
        asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags));
    }
}

/// Writes 8 bits.
///
/// # Safety
/// As for [`write32`], of a register that takes bytes.
pub(crate) unsafe fn write8(address: u64, value: u8) {
    // SAFETY: as for `read32`.
    unsafe {
        asm!("strb {:w}, [{}]", in(reg) u32::from(value), in(reg) address, options(nostack, preserves_flags));
    }
}

/// Writes 64 bits.
///
/// # Safety
/// As for [`write32`], of a 64-bit register.
pub(crate) unsafe fn write64(address: u64, value: u64) {
    // SAFETY: as for `read32`.
    unsafe {
        asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack, preserves_flags));
    }
}
