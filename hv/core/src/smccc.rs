//! Function identifiers of the SMC Calling Convention (Arm DEN0028): whose call is it?
//!
//! The caller tests for Bulkhead's own 64-bit calls first; everything else comes here.

use bulkhead_abi::{ABI_VERSION, hypercall};

/// SMCCC_VERSION.
pub const VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const ARCH_FEATURES: u32 = 0x8000_0001;
/// NOT_SUPPORTED in x0.
pub const NOT_SUPPORTED: i64 = bulkhead_abi::status::NOT_SUPPORTED;

/// SMCCC 1.2: callers must not set the SVE hint (bit 16), which came with 1.3 (ruling 24).
const VERSION_1_2: i64 = 0x0001_0002;
/// PSCI's function numbers within the standard secure service range.
const PSCI_NUMBERS: u32 = 0x20;

/// PSCI_VERSION (DEN0022 5.1): the answer depends on nobody.
const PSCI_VERSION: u32 = 0x8400_0000;
/// Bits 29:24 of an identifier: who offers the service (SMCCC 2.5).
const OWNER: u32 = 0x3F00_0000;
/// Owner 6, the vendor's hypervisor, as the greatest owner with a call that is served.
const OWNER_LAST: u32 = 0x0600_0000;

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Call {
    /// Answered: x0. NOT_SUPPORTED for a call that is nobody's.
    Return(i64),
    /// Answered: w0 to w3.
    Return4(&'static [u32; 4]),
    /// For [`crate::psci::Psci::call`].
    Psci,
    /// About stolen time: for [`pv_time`].
    PvTime,
    /// Bulkhead's own: [`hypercall::BASE`] plus this number, 0 to [`hypercall::INDEX_MASK`].
    Own(u64),
}

/// Tells what the call with identifier `function` (x0) and first argument x1 is. The upper half of
/// x0 is ignored, as SMCCC 2.7 has it.
#[inline(always)]
pub fn classify(function: u64, first: u64) -> Call {
    let function = function as u32;
    if function & OWNER > OWNER_LAST {
        return Call::Return(NOT_SUPPORTED);
    }
    if function == PSCI_VERSION {
        return Call::Return(crate::psci::VERSION_1_1);
    }
    let number = function & 0xFFFF;
    match function & 0xFFFF_0000 {
        0x8400_0000 | 0xC400_0000 if number < PSCI_NUMBERS => Call::Psci,
        OWN_BLOCK if number <= hypercall::INDEX_MASK as u32 => Call::Own(u64::from(number)),
        _ => match function {
            VERSION => Call::Return(VERSION_1_2),
            PV_TIME_FEATURES | PV_TIME_ST => Call::PvTime,
            ARCH_FEATURES if first as u32 == PV_TIME_FEATURES => Call::PvTime,
            ARCH_FEATURES => Call::Return(arch_features(first as u32)),
            UID_QUERY => Call::Return4(&hypercall::UID),
            REVISION => Call::Return4(&[ABI_VERSION >> 16, ABI_VERSION & 0xFFFF, 0, 0]),
            _ => Call::Return(NOT_SUPPORTED),
        },
    }
}

const OWN_BLOCK: u32 = hypercall::BASE as u32;
const PV_TIME_FEATURES: u32 = hypercall::PV_TIME_FEATURES as u32;
const PV_TIME_ST: u32 = hypercall::PV_TIME_ST as u32;
const UID_QUERY: u32 = hypercall::UID_QUERY as u32;
const REVISION: u32 = hypercall::REVISION as u32;

/// Answers a call about stolen time (DEN0057 3.2). `structure`: where the calling vCPU sees its own, none
/// for a partition without.
#[must_use]
pub fn pv_time(function: u64, first: u64, structure: Option<u64>) -> i64 {
    let served = |queried: u64| matches!(queried as u32, PV_TIME_FEATURES | PV_TIME_ST);
    match structure {
        Some(address) if function as u32 == PV_TIME_ST => address as i64,
        // SMCCC_ARCH_FEATURES asks for PV_TIME_FEATURES alone.
        Some(_) if served(first) => 0,
        _ => NOT_SUPPORTED,
    }
}

/// SMCCC_ARCH_FEATURES. Firmware work-arounds are answered NOT_SUPPORTED: EL2 does not pass them on.
fn arch_features(queried: u32) -> i64 {
    match queried {
        VERSION | ARCH_FEATURES => 0,
        _ => NOT_SUPPORTED,
    }
}
