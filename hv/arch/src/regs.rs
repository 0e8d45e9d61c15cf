//! System registers and barriers, named as the Arm ARM names them.
//!
//! Every access is one instruction. Which registers EL2 writes, and why, is decided in the modules
//! that use these macros; the values that confine guests stand in `traps`.

/// Reads a system register.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register at EL2 has no effect on memory that Rust knows of; each
        // name used in this crate exists at EL2 on every CPU that reaches the use.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: registers written by this crate are either guest state (EL1, timers, virtual GIC),
        // which cannot affect EL2's own memory, or EL2 controls whose values are argued at the use.
        // No `nomem`: later accesses must not move before a change of translation or trap control.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
        }
    }};
}

/// Executes an instruction without operands: a barrier, a hint, a TLB or cache operation.
macro_rules! execute {
    ($instruction:literal) => {
        // SAFETY: the operations used are barriers, hints, or maintenance that drops cached
        // translations and instructions; none changes the contents of memory.
        unsafe { core::arch::asm!($instruction, options(nostack, preserves_flags)) }
    };
}

pub(crate) use {execute, read, write};
