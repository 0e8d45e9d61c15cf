//! Cleaning of what a CPU remembers of the partition before (ruling 16): its L1 caches by set and way, its
//! branch predictor by firmware. The L2 cache is other CPUs' as well and is left alone.

use crate::boot::smc;
use crate::regs::{execute, read, write};
use bulkhead_blueprint::layout::window_flags;

/// SMCCC_ARCH_WORKAROUND_1 (DEN0028 7.5): clears the branch predictor; changes x0 to x3 at most.
const WORKAROUND_1: u64 = 0x8000_8000;
/// SMCCC_ARCH_FEATURES, and the version of the calling convention from which on it is there.
const ARCH_FEATURES: u64 = 0x8000_0001;
const SMCCC_VERSION: u64 = 0x8000_0000;
const VERSION_1_1: i32 = 0x0001_0001;
/// PSCI_FEATURES (DEN0022 5.15): asked first, for before SMCCC 1.1 no other call may be made unseen.
const PSCI_FEATURES: u64 = 0x8400_000A;

/// Cleans what `what` says, bits of [`window_flags`]. Bounded by the sets and ways of the L1 data cache.
#[cold]
#[inline(never)]
pub fn clean(what: u32) {
    if what & window_flags::CLEAN_PREDICTOR != 0 {
        smc(WORKAROUND_1, 0, 0, 0);
    }
    if what & window_flags::CLEAN_L1 != 0 {
        l1();
    }
}

/// Whether firmware clears the branch predictor of this CPU when it is asked to: at least 0 if so (1: this CPU
/// needs no clearing), else its status. Only where the board has PSCI by SMC.
#[must_use]
pub fn predictor_support() -> i32 {
    match smc(PSCI_FEATURES, SMCCC_VERSION, 0, 0) as i32 {
        0.. if smc(SMCCC_VERSION, 0, 0, 0) as i32 >= VERSION_1_1 => {
            smc(ARCH_FEATURES, WORKAROUND_1, 0, 0) as i32
        }
        status => status.min(-1),
    }
}

/// Writes back and invalidates this CPU's L1 data cache, and invalidates its L1 instruction cache.
fn l1() {
    // CLIDR_EL1.Ctype1: 2 to 4 have data (Arm ARM D24.2.29). Read for EL2's own sake: CSSELR_EL1 is the guest's.
    if read!("clidr_el1") & 7 >= 2 {
        let guests = read!("csselr_el1");
        write!("csselr_el1", 0);
        execute!("isb");
        let geometry = read!("ccsidr_el1");
        write!("csselr_el1", guests);
        // CCSIDR_EL1 has two formats (D24.2.27; FEAT_CCIDX).
        let (last_way, last_set) = match read!("id_aa64mmfr2_el1") >> 20 & 0xF {
            0 => (geometry >> 3 & 0x3FF, geometry >> 13 & 0x7FFF),
            _ => (geometry >> 3 & 0x1F_FFFF, geometry >> 32 & 0xFF_FFFF),
        };
        let (set_shift, way_shift) = ((geometry & 7) + 4, (last_way as u32).leading_zeros());
        let (one_set, sets) = (1u64 << set_shift, (last_set + 1) << set_shift);
        for way in 0..last_way + 1 {
            // A direct-mapped cache has no way to name: 0 shifted by 32 stays 0.
            let mut line = way << way_shift;
            let end = line + sets;
            while line != end {
                // SAFETY: cleaning and invalidating a line changes no value that anybody reads.
                unsafe { core::arch::asm!("dc cisw, {}", in(reg) line, options(nostack, preserves_flags)) }
                line += one_set;
            }
        }
        execute!("dsb sy");
    }
    execute!("ic iallu");
    execute!("dsb nsh");
    execute!("isb");
}
