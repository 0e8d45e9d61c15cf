//! Device registers: one volatile access of exactly the width asked for.
//!
//! No references to device memory are formed, and the accesses are plain loads and stores without
//! write-back, as Arm ARM D1.13.4 wants for accesses that a nested hypervisor may emulate.

/// A block of device registers that EL2 drives.
#[derive(Clone, Copy)]
pub struct Block {
    base: u64,
}

impl Block {
    /// The block at physical address `base`.
    ///
    /// Only this crate makes blocks, from the sealed blueprint's device addresses, which the
    /// compiler maps in EL2's stage-1 table as device memory.
    pub(crate) const fn new(base: u64) -> Self {
        Self { base }
    }

    /// The block of the same kind `bytes` further on (modulo 2^64), which is another of the blueprint's.
    pub(crate) const fn moved(self, bytes: u64) -> Self {
        Self { base: self.base.wrapping_add(bytes) }
    }

    /// Reads 32 bits at byte offset `offset`.
    #[inline(always)]
    pub fn read32(&self, offset: u64) -> u32 {
        let value: u32;
        // SAFETY: `base` is a device block of the blueprint (see `new`), mapped as device memory and
        // never handed to a guest; a load from it touches no Rust object.
        unsafe {
            core::arch::asm!("ldr {:w}, [{}]", out(reg) value, in(reg) self.base + offset,
                options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Writes 32 bits at byte offset `offset`.
    #[inline(always)]
    pub fn write32(&self, offset: u64, value: u32) {
        // SAFETY: as in `read32`; a store to a device block touches no Rust object, and the devices
        // that EL2 drives are no bus masters.
        unsafe {
            core::arch::asm!("str {:w}, [{}]", in(reg) value, in(reg) self.base + offset,
                options(nostack, preserves_flags));
        }
    }

    /// Writes 64 bits at byte offset `offset`.
    #[inline(always)]
    pub fn write64(&self, offset: u64, value: u64) {
        // SAFETY: as in `write32`.
        unsafe {
            core::arch::asm!("str {}, [{}]", in(reg) value, in(reg) self.base + offset,
                options(nostack, preserves_flags));
        }
    }

    /// Writes 8 bits at byte offset `offset`.
    #[inline(always)]
    pub fn write8(&self, offset: u64, value: u8) {
        // SAFETY: as in `write32`.
        unsafe {
            core::arch::asm!("strb {:w}, [{}]", in(reg) u32::from(value), in(reg) self.base + offset,
                options(nostack, preserves_flags));
        }
    }

    /// Reads 64 bits at byte offset `offset`.
    #[inline(always)]
    pub fn read64(&self, offset: u64) -> u64 {
        let value: u64;
        // SAFETY: as in `read32`.
        unsafe {
            core::arch::asm!("ldr {}, [{}]", out(reg) value, in(reg) self.base + offset,
                options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Reads 32 bits at a constant offset below 16 KiB: the offset is part of the instruction.
    #[inline(always)]
    pub fn read32_at<const OFFSET: u64>(&self) -> u32 {
        let value: u32;
        // SAFETY: as in `read32`.
        unsafe {
            core::arch::asm!("ldr {:w}, [{}, #{}]", out(reg) value, in(reg) self.base, const OFFSET,
                options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Writes 32 bits at a constant offset below 16 KiB: the offset is part of the instruction.
    #[inline(always)]
    pub fn write32_at<const OFFSET: u64>(&self, value: u32) {
        // SAFETY: as in `write32`.
        unsafe {
            core::arch::asm!("str {:w}, [{}, #{}]", in(reg) value, in(reg) self.base, const OFFSET,
                options(nostack, preserves_flags));
        }
    }
}
