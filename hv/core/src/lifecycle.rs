//! The life cycle of one partition across its CPUs.
//!
//! A vCPU is *held* by the CPU it is bound to until that CPU *drops* it: clears its list registers
//! and will not run it again. A restart, halt, switch-off or failed load asks every CPU to drop its
//! vCPU, by a kick; nobody waits. The CPU that drops the last one during a restart runs the reset
//! (ruling 19); where all were dropped before, the CPU of vCPU 0 does. Then vCPU 0 runs the loader.
//!
//! [`Life`] is the pure machine, small enough to be enumerated; [`Lifecycle`] keeps it in words.

use crate::lock::Lock;
use bulkhead_abi::info::{start_condition, state};
use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::FromZeros;

/// State of a partition; the numbers are those of [`bulkhead_abi::info::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// vCPU 0 runs the loader.
    Loading = state::LOADING as u8,
    /// The guest runs.
    Running = state::RUNNING as u8,
    /// Stopped, contents kept.
    Suspended = state::SUSPENDED as u8,
    /// Stopped until restarted.
    Halted = state::HALTED as u8,
    /// Switched itself off.
    Off = state::OFF as u8,
    /// Could not be loaded.
    Failed = state::FAILED as u8,
    /// vCPUs are being collected for a restart.
    Restarting = state::RESTARTING as u8,
}

impl State {
    /// As status lines spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Halted => "halted",
            Self::Off => "off",
            Self::Failed => "failed",
            Self::Restarting => "restarting",
        }
    }

    const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            state::LOADING => Self::Loading,
            state::RUNNING => Self::Running,
            state::SUSPENDED => Self::Suspended,
            state::OFF => Self::Off,
            state::FAILED => Self::Failed,
            state::RESTARTING => Self::Restarting,
            _ => Self::Halted,
        }
    }
}

/// What somebody wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop, keep contents (authority, health monitor).
    Suspend,
    /// Run on after a suspension.
    Resume,
    /// Stop for good (authority, health monitor).
    Halt,
    /// The guest switches itself off (PSCI SYSTEM_OFF, mode IDLE).
    SwitchOff,
    /// Start anew.
    Restart {
        /// Keep persistent regions.
        warm: bool,
        /// One of [`start_condition`].
        condition: u32,
    },
    /// The loader is done: the guest starts.
    LoaderDone,
    /// The loader found a payload that differs from the blueprint's digest.
    LoaderFailed,
}

/// What the CPU of a vCPU does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Disposition {
    /// Run it: the loader while loading (vCPU 0), else the guest, if PSCI has it on.
    Run,
    /// Keep it, do not run it.
    Park,
    /// Clear its list registers and interrupts, forget its registers, then call
    /// [`Lifecycle::dropped`].
    Drop,
    /// Reset what the vCPUs share, then call [`Lifecycle::reset_done`] and kick vCPU 0.
    Reset,
    /// It is dropped already: nothing to do.
    Nothing,
}

/// The pure machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// State.
    pub state: State,
    /// Bit n: vCPU n exists.
    pub all: u8,
    /// Bit n: vCPU n was dropped.
    pub dropped: u8,
    /// A CPU runs the reset.
    pub resetting: bool,
    /// The next start, or the last, keeps persistent regions.
    pub warm: bool,
    /// Why it starts, one of [`start_condition`].
    pub condition: u8,
}

impl Life {
    /// At the board's reset: about to be loaded, with nothing held by any CPU. `count` is 1 to 8.
    #[must_use]
    pub const fn new(count: usize) -> Self {
        let missing = 8 - (count & 15);
        let all = (0xFFu16 >> (missing & 7)) as u8;
        Self {
            state: State::Restarting,
            all,
            dropped: all,
            resetting: false,
            warm: false,
            condition: start_condition::POWER_ON as u8,
        }
    }

    /// Applies a request. `None` if it means nothing in this state (NO_ACTION); otherwise every CPU
    /// of the partition is to be kicked.
    #[must_use]
    pub const fn request(self, request: Request) -> Option<Self> {
        let state = match (request, self.state) {
            (Request::Suspend, State::Running) => State::Suspended,
            (Request::Resume, State::Suspended) => State::Running,
            (Request::Halt, State::Loading | State::Running | State::Suspended | State::Restarting) => {
                State::Halted
            }
            (Request::SwitchOff, State::Running) => State::Off,
            (Request::LoaderDone, State::Loading) => State::Running,
            (Request::LoaderFailed, State::Loading) => State::Failed,
            (Request::Restart { .. }, State::Restarting) => return None,
            (Request::Restart { warm, condition }, _) => {
                return Some(Self { state: State::Restarting, warm, condition: condition as u8, ..self });
            }
            _ => return None,
        };
        Some(Self { state, ..self })
    }

    /// What the CPU of `vcpu` does, when kicked or about to run it.
    pub const fn disposition(self, vcpu: usize) -> (Self, Disposition) {
        let bit = 1u8.unbounded_shl(vcpu as u32);
        match self.state {
            State::Loading if vcpu != 0 => (self, Disposition::Park),
            State::Loading | State::Running => (self, Disposition::Run),
            State::Suspended => (self, Disposition::Park),
            _ if self.dropped & bit == 0 => (self, Disposition::Drop),
            State::Restarting if vcpu == 0 => self.try_reset(),
            _ => (self, Disposition::Nothing),
        }
    }

    /// The CPU of `vcpu` has dropped it.
    pub const fn dropped(mut self, vcpu: usize) -> (Self, Disposition) {
        self.dropped |= 1u8.unbounded_shl(vcpu as u32) & self.all;
        if matches!(self.state, State::Restarting) { self.try_reset() } else { (self, Disposition::Nothing) }
    }

    /// Hands the reset to the caller if all are dropped and nobody has it.
    const fn try_reset(mut self) -> (Self, Disposition) {
        if self.dropped != self.all || self.resetting {
            return (self, Disposition::Nothing);
        }
        self.resetting = true;
        (self, Disposition::Reset)
    }

    /// The reset is done. If nobody halted the partition meanwhile it is loading, every vCPU is held
    /// again, and vCPU 0's CPU is to be kicked.
    #[must_use]
    pub const fn reset_done(mut self) -> Self {
        self.resetting = false;
        if matches!(self.state, State::Restarting) {
            self.state = State::Loading;
            self.dropped = 0;
        }
        self
    }

    const fn to_bits(self) -> u32 {
        self.state as u32
            | (self.resetting as u32) << 3
            | (self.warm as u32) << 4
            | ((self.condition & 7) as u32) << 5
            | (self.all as u32) << 8
            | (self.dropped as u32) << 16
    }

    const fn from_bits(bits: u32) -> Self {
        Self {
            state: State::from_bits(bits),
            all: (bits >> 8) as u8,
            dropped: (bits >> 16) as u8,
            resetting: bits & 1 << 3 != 0,
            warm: bits & 1 << 4 != 0,
            condition: (bits >> 5) as u8 & 7,
        }
    }
}

/// The life of one partition, shared between its CPUs and those of its authorities. All zero is a partition that
/// does not exist: [`Lifecycle::init`] follows.
#[derive(Debug, Default, FromZeros)]
pub struct Lifecycle {
    lock: Lock,
    life: AtomicU32,
    starts: AtomicU32,
}

impl Lifecycle {
    /// At the board's reset: a partition with `count` vCPUs.
    pub fn init(&self, count: usize) {
        self.life.store(Life::new(count).to_bits(), Ordering::Release);
    }

    /// The machine's present state, for status and decisions that may be outdated at once.
    #[inline]
    #[must_use]
    pub fn life(&self) -> Life {
        Life::from_bits(self.life.load(Ordering::Acquire))
    }

    /// Whether the state is [`State::Running`].
    #[inline(always)]
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life.load(Ordering::Acquire) & 7 == state::RUNNING
    }

    /// The state alone.
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        State::from_bits(self.life.load(Ordering::Acquire))
    }

    /// Number of starts since the board's reset, the present one included.
    #[inline]
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Applies a request. True: kick every CPU of the partition, and see to the own one with
    /// [`Lifecycle::disposition`]. False: NO_ACTION.
    #[must_use]
    pub fn request(&self, request: Request) -> bool {
        self.update(|life| match life.request(request) {
            Some(next) => (next, true),
            None => (life, false),
        })
    }

    /// What the CPU of `vcpu` does with it, when kicked, or about to run it.
    pub fn disposition(&self, vcpu: usize) -> Disposition {
        self.update(|life| life.disposition(vcpu))
    }

    /// The CPU of `vcpu` has dropped it. [`Disposition::Reset`] or [`Disposition::Nothing`].
    pub fn dropped(&self, vcpu: usize) -> Disposition {
        self.update(|life| life.dropped(vcpu))
    }

    /// Counts a start; the reset calls it and publishes the result. Returns the new count.
    pub fn count_start(&self) -> u32 {
        let starts = self.starts.load(Ordering::Relaxed).wrapping_add(1);
        self.starts.store(starts, Ordering::Release);
        starts
    }

    /// The reset is done. True: kick the CPU of vCPU 0, which loads. False: it was halted meanwhile.
    #[must_use]
    pub fn reset_done(&self) -> bool {
        self.update(|life| {
            let next = life.reset_done();
            (next, matches!(next.state, State::Loading))
        })
    }

    fn update<R>(&self, step: impl FnOnce(Life) -> (Life, R)) -> R {
        self.lock.with(|| {
            let (next, result) = step(self.life());
            self.life.store(next.to_bits(), Ordering::Release);
            result
        })
    }
}
