//! The PSCI 1.1 server of one partition (Arm DEN0022, "PSCI" below), by HVC and by trapped SMC.
//!
//! It decides; the caller carries out. Power states are words that change hands: the winner of a
//! CPU_ON race owns the target's words until it marks them ready, then the target's own CPU does.
//!
//! Honest limits: affinity level 0 only; CPU_SUSPEND knows standby only; no SYSTEM_RESET2, no
//! SYSTEM_SUSPEND, no MIGRATE. When every vCPU has switched itself off with CPU_OFF nothing can wake
//! the partition but a restart.

use bulkhead_blueprint::limits::PARTITION_VCPUS_MAX;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::FromZeros;

/// Function identifiers, 32-bit form; the 64-bit form has [`SMC64`] set.
mod function {
    pub const VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const FEATURES: u32 = 0x8400_000A;
    pub const CPU_SUSPEND_64: u32 = CPU_SUSPEND | super::SMC64;
    pub const CPU_ON_64: u32 = CPU_ON | super::SMC64;
    pub const AFFINITY_INFO_64: u32 = AFFINITY_INFO | super::SMC64;
}

/// The bit of a function identifier that says: 64-bit arguments (SMCCC 2.5).
const SMC64: u32 = 1 << 30;
/// PSCI 1.1.
pub(crate) const VERSION_1_1: i64 = 0x0001_0001;
/// MIGRATE_INFO_TYPE: no Trusted OS, nothing to migrate.
const NO_MIGRATION: i64 = 2;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INTERNAL_FAILURE: i64 = -6;
const INVALID_ADDRESS: i64 = -9;

/// MPIDR affinity fields of a 64-bit target; all other bits must be zero (PSCI 5.1.4).
const AFFINITY_64: u64 = 0xFF_00FF_FFFF;
/// The same of a 32-bit target.
const AFFINITY_32: u64 = 0x00FF_FFFF;
/// Bits of a power state that must be zero in the original format, and StateType = power-down.
const POWER_STATE_REFUSED: u64 = 0xFCFF_0000;
/// Attempts to win a power state before another holder's exclusive access is blamed.
const ATTEMPTS: u32 = 16;

/// Power state: off.
const OFF: u32 = 0;
/// Won by a CPU_ON that still writes entry and context.
const CLAIMED: u32 = 1;
/// Waiting for the target's CPU.
const PENDING: u32 = 2;
/// On.
const ON: u32 = 3;

/// What the caller of [`Psci::call`] shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Put this into x0 and go on.
    Return(i64),
    /// CPU_ON succeeded: put 0 into x0 and kick the CPU of this vCPU, which then calls
    /// [`Psci::take_start`].
    Start {
        /// Index of the vCPU to start.
        vcpu: usize,
    },
    /// CPU_OFF: the calling vCPU is off; run something else on this CPU.
    Off,
    /// CPU_SUSPEND to standby: put 0 into x0 and wait for an interrupt.
    Standby,
    /// SYSTEM_OFF of the partition alone. Does not return to the guest.
    SystemOff,
    /// SYSTEM_RESET of the partition alone. Does not return to the guest.
    SystemReset,
}

/// Where a vCPU shall start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// First instruction (IPA).
    pub entry: u64,
    /// x0 at entry.
    pub context: u64,
}

#[derive(Debug, Default, FromZeros)]
struct Power {
    state: AtomicU32,
    entry: AtomicU64,
    context: AtomicU64,
}

/// Power states of a partition's vCPUs. All zero is every vCPU off.
#[derive(Debug, Default, FromZeros)]
pub struct Psci {
    vcpus: [Power; PARTITION_VCPUS_MAX],
}

impl Psci {
    /// State at a (re)start of the partition: vCPU 0 on, the others off. Called while no vCPU runs.
    pub fn reset(&self) {
        for (index, power) in self.vcpus.iter().enumerate() {
            let state = if index == 0 { ON } else { OFF };
            power.state.store(state, Ordering::Release);
        }
    }

    /// Serves a call of vCPU `caller` of a partition with `count` vCPUs.
    ///
    /// `function` is x0 (its upper half is ignored, SMCCC 2.7), `arguments` x1 to x3.
    /// `is_memory` tells whether an IPA lies in the partition's memory.
    pub fn call(
        &self,
        caller: usize,
        count: usize,
        function: u64,
        arguments: [u64; 3],
        is_memory: impl FnOnce(u64) -> bool,
    ) -> Outcome {
        let function = function as u32;
        let (wide, [first, second, third]) = if function & SMC64 != 0 {
            (true, arguments)
        } else {
            (false, arguments.map(|argument| argument & 0xFFFF_FFFF))
        };
        Outcome::Return(match function {
            function::VERSION => VERSION_1_1,
            function::MIGRATE_INFO_TYPE => NO_MIGRATION,
            function::FEATURES => features(first as u32),
            function::CPU_ON | function::CPU_ON_64 => {
                let Some(vcpu) = target(first, wide, count) else {
                    return Outcome::Return(INVALID_PARAMETERS);
                };
                if second & 3 != 0 || !is_memory(second) {
                    return Outcome::Return(INVALID_ADDRESS);
                }
                match self.claim(vcpu, second, third) {
                    Ok(()) => return Outcome::Start { vcpu },
                    Err(status) => status,
                }
            }
            function::AFFINITY_INFO | function::AFFINITY_INFO_64 => match target(first, wide, count) {
                Some(vcpu) if second == 0 => self.affinity_info(vcpu),
                _ => INVALID_PARAMETERS,
            },
            function::CPU_SUSPEND | function::CPU_SUSPEND_64 => {
                // The power state is 32 bits wide in both forms.
                if first & POWER_STATE_REFUSED == 0 {
                    return Outcome::Standby;
                }
                INVALID_PARAMETERS
            }
            function::CPU_OFF => {
                if let Some(power) = self.vcpus.get(caller) {
                    power.state.store(OFF, Ordering::Release);
                }
                return Outcome::Off;
            }
            function::SYSTEM_OFF => return Outcome::SystemOff,
            function::SYSTEM_RESET => return Outcome::SystemReset,
            _ => NOT_SUPPORTED,
        })
    }

    /// On the target's own CPU: where to start, if a CPU_ON waits. The vCPU is on from here.
    pub fn take_start(&self, vcpu: usize) -> Option<Start> {
        let power = self.vcpus.get(vcpu)?;
        if power.state.load(Ordering::Acquire) != PENDING {
            return None;
        }
        let start = Start {
            entry: power.entry.load(Ordering::Relaxed),
            context: power.context.load(Ordering::Relaxed),
        };
        power.state.store(ON, Ordering::Release);
        Some(start)
    }

    /// Whether the vCPU is on.
    #[must_use]
    #[inline]
    pub fn is_on(&self, vcpu: usize) -> bool {
        self.vcpus.get(vcpu).is_some_and(|power| power.state.load(Ordering::Acquire) == ON)
    }

    /// Wins the right to start `vcpu` and leaves entry and context for it.
    fn claim(&self, vcpu: usize, entry: u64, context: u64) -> Result<(), i64> {
        let power = self.vcpus.get(vcpu).ok_or(INVALID_PARAMETERS)?;
        // A weak exchange may fail for no reason; the bound keeps this loop finite (ruling 5).
        for _ in 0..ATTEMPTS {
            match power.state.compare_exchange_weak(OFF, CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    power.entry.store(entry, Ordering::Relaxed);
                    power.context.store(context, Ordering::Relaxed);
                    power.state.store(PENDING, Ordering::Release);
                    return Ok(());
                }
                Err(ON) => return Err(ALREADY_ON),
                Err(CLAIMED | PENDING) => return Err(ON_PENDING),
                Err(_) => {}
            }
        }
        Err(INTERNAL_FAILURE)
    }

    /// AFFINITY_INFO: 0 on, 1 off, 2 being switched on.
    fn affinity_info(&self, vcpu: usize) -> i64 {
        let state = self.vcpus.get(vcpu).map_or(OFF, |power| power.state.load(Ordering::Acquire));
        match state {
            ON => 0,
            OFF => 1,
            _ => 2,
        }
    }
}

/// The vCPU with this MPIDR: affinity 0.0.0.n is vCPU n.
fn target(mpidr: u64, wide: bool, count: usize) -> Option<usize> {
    let affinity = if wide { AFFINITY_64 } else { AFFINITY_32 };
    if mpidr & !affinity != 0 {
        return None;
    }
    let count = count.min(PARTITION_VCPUS_MAX) as u64;
    (mpidr < count).then_some(mpidr as usize)
}

/// PSCI_FEATURES: 0 for what is served, SMCCC_VERSION included (PSCI 5.15).
fn features(queried: u32) -> i64 {
    match queried {
        function::VERSION
        | function::CPU_SUSPEND
        | function::CPU_OFF
        | function::CPU_ON
        | function::AFFINITY_INFO
        | function::MIGRATE_INFO_TYPE
        | function::SYSTEM_OFF
        | function::SYSTEM_RESET
        | function::FEATURES
        | function::CPU_SUSPEND_64
        | function::CPU_ON_64
        | function::AFFINITY_INFO_64
        | crate::smccc::VERSION => 0,
        _ => NOT_SUPPORTED,
    }
}
