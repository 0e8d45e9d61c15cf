//! Calls by the SMC Calling Convention (Arm DEN0028), by either conduit.

use core::arch::asm;

/// Which instruction carries a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC #0`.
    Hvc,
    /// `SMC #0`.
    Smc,
}

impl Conduit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hvc, Self::Smc];
}

/// PSCI 1.1 function identifiers (Arm DEN0022) and the rest that probes call.
pub mod function {
    /// SMCCC_VERSION.
    pub const SMCCC_VERSION: u64 = 0x8000_0000;
    /// SMCCC_ARCH_FEATURES.
    pub const SMCCC_ARCH_FEATURES: u64 = 0x8000_0001;
    /// PSCI_VERSION.
    pub const PSCI_VERSION: u64 = 0x8400_0000;
    /// CPU_SUSPEND, 64-bit.
    pub const CPU_SUSPEND: u64 = 0xC400_0001;
    /// CPU_OFF.
    pub const CPU_OFF: u64 = 0x8400_0002;
    /// CPU_ON, 64-bit.
    pub const CPU_ON: u64 = 0xC400_0003;
    /// CPU_ON, 32-bit.
    pub const CPU_ON_32: u64 = 0x8400_0003;
    /// AFFINITY_INFO, 64-bit.
    pub const AFFINITY_INFO: u64 = 0xC400_0004;
    /// AFFINITY_INFO, 32-bit.
    pub const AFFINITY_INFO_32: u64 = 0x8400_0004;
    /// MIGRATE, 64-bit.
    pub const MIGRATE: u64 = 0xC400_0005;
    /// MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
    /// SYSTEM_OFF.
    pub const SYSTEM_OFF: u64 = 0x8400_0008;
    /// SYSTEM_RESET.
    pub const SYSTEM_RESET: u64 = 0x8400_0009;
    /// PSCI_FEATURES.
    pub const PSCI_FEATURES: u64 = 0x8400_000A;
}

/// NOT_SUPPORTED in x0.
pub const NOT_SUPPORTED: i64 = -1;

/// Calls `function` with up to three arguments; returns x0 to x3.
pub fn call(conduit: Conduit, function: u64, arguments: [u64; 3]) -> [u64; 4] {
    let [x1, x2, x3] = arguments;
    let (r0, r1, r2, r3);
    // SAFETY: by SMCCC a call changes x0 to x17 at most, all of which are named or in the ABI's
    // clobbers; the calls that probes make write no memory of the caller. Entry points given to
    // CPU_ON are this crate's own (`cpu`).
    unsafe {
        match conduit {
            Conduit::Hvc => asm!("hvc #0",
                inlateout("x0") function => r0, inlateout("x1") x1 => r1,
                inlateout("x2") x2 => r2, inlateout("x3") x3 => r3,
                clobber_abi("C"), options(nostack)),
            Conduit::Smc => asm!("smc #0",
                inlateout("x0") function => r0, inlateout("x1") x1 => r1,
                inlateout("x2") x2 => r2, inlateout("x3") x3 => r3,
                clobber_abi("C"), options(nostack)),
        }
    }
    [r0, r1, r2, r3]
}

/// As [`call`]; returns x0 alone, signed. 32-bit error codes are sign-extended by the convention.
pub fn status(conduit: Conduit, function: u64, arguments: [u64; 3]) -> i64 {
    call(conduit, function, arguments)[0] as i64
}
