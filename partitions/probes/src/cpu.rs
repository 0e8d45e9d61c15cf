//! A second vCPU, started by PSCI with the first one's translation tables.

use crate::fault;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

global_asm!(include_str!("cpu.s"));

unsafe extern "C" {
    static __probes_second: u8;
}

/// Read by `cpu.s` with the MMU off.
#[repr(C, align(64))]
struct Launch {
    mair: u64,
    tcr: u64,
    ttbr0: u64,
    sctlr: u64,
    vbar: u64,
    stack: u64,
    entry: u64,
}

struct Cell(UnsafeCell<Launch>);
// SAFETY: written by the first CPU while the second is off (`prepare`), read by the second's entry.
unsafe impl Sync for Cell {}

static LAUNCH: Cell =
    Cell(UnsafeCell::new(Launch { mair: 0, tcr: 0, ttbr0: 0, sctlr: 0, vbar: 0, stack: 0, entry: 0 }));

const STACK_BYTES: usize = 16 * 1024;
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);
// SAFETY: only the second CPU uses it, as its stack.
unsafe impl Sync for Stack {}
static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

macro_rules! own {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a translation register changes nothing.
        unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack)) };
        value
    }};
}

/// What CPU_ON takes as entry point and context identifier so that the second CPU runs `entry`, with
/// the MMU on and exceptions masked. The second CPU is off while this is called.
pub fn prepare(entry: extern "C" fn() -> !) -> (u64, u64) {
    let launch = Launch {
        mair: own!("mair_el1"),
        tcr: own!("tcr_el1"),
        ttbr0: own!("ttbr0_el1"),
        sctlr: own!("sctlr_el1"),
        vbar: fault::vectors(),
        stack: STACK.0.get().addr() as u64 + STACK_BYTES as u64,
        entry: entry as usize as u64,
    };
    // SAFETY: nobody reads it now (see `Cell`); then it is cleaned to where a CPU without MMU reads.
    unsafe {
        *LAUNCH.0.get() = launch;
        asm!("dc civac, {}", "dsb sy", in(reg) LAUNCH.0.get(), options(nostack, preserves_flags));
    }
    ((&raw const __probes_second).addr() as u64, LAUNCH.0.get().addr() as u64)
}

/// MPIDR_EL1 affinity fields of this CPU.
pub fn affinity() -> u64 {
    own!("mpidr_el1") & 0xff_00ff_ffff
}
