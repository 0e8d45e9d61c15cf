//! From the first instruction to `main`.
//!
//! Entry is the arm64 boot protocol at EL1: MMU off, interrupts masked, x0 = device tree. QEMU gives
//! an ELF kernel no x0 but puts its tree at the start of RAM. Until the MMU is on, memory is Device
//! memory: no unaligned and no exclusive access. What was written so far bypassed the caches, so
//! lines that cover it are dropped before the MMU goes on.

use crate::device_tree::{self, Platform};
use crate::info::Info;
use crate::{exception, gic, hypercall, info, interrupt, mmu, registers, time};
use core::arch::global_asm;

global_asm!(include_str!("boot.s"));

/// Start of RAM on the canonical platform, where QEMU puts the device tree of an ELF kernel.
const RAM_START: u64 = 0x4000_0000;

/// What the runtime found, given to `main` once.
pub struct Partition {
    /// The partition's information region, `None` when it runs bare.
    pub info: Option<Info>,
}

/// Defines the partition's entry: `entry!(main)` with `fn main(partition: Partition) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        const _: () = {
            #[unsafe(no_mangle)]
            extern "Rust" fn __bulkhead_main(partition: $crate::Partition) -> ! {
                let main: fn($crate::Partition) -> ! = $main;
                main(partition)
            }
        };
    };
}

unsafe extern "Rust" {
    fn __bulkhead_main(partition: Partition) -> !;
}

/// Runs with the MMU off: reads the device tree and builds the tables. Returns TTBR0_EL1.
extern "C" fn bulkhead_early(tree: u64) -> u64 {
    let at = |address| {
        // SAFETY: either the address that the boot protocol gives or the start of RAM, both readable
        // for at least a page; the blob is not written while the partition runs its early code.
        unsafe { device_tree::Blob::at(address) }
    };
    let platform = at(tree)
        .or_else(|| at(RAM_START))
        .map(|blob| device_tree::platform(&blob))
        .unwrap_or(Platform::CANONICAL);
    mmu::build(&platform)
}

/// Runs with the MMU on, on the final stack, IRQs masked.
extern "C" fn bulkhead_late() -> ! {
    let platform = mmu::platform();
    crate::console::init(&platform);
    exception::init();
    hypercall::discover();
    gic::init(&platform);
    time::init();
    interrupt::init();
    let info = info::map();
    registers::unmask_interrupts();
    // SAFETY: defined exactly once, by `entry!`, with this signature.
    unsafe { __bulkhead_main(Partition { info }) }
}

// `boot.s` calls the two by name.
const _: () = {
    #[unsafe(no_mangle)]
    extern "C" fn __bulkhead_early(tree: u64) -> u64 {
        bulkhead_early(tree)
    }
    #[unsafe(no_mangle)]
    extern "C" fn __bulkhead_late() -> ! {
        bulkhead_late()
    }
};
