//! The health monitor's table machine: event and mode to action, with escalation.
//!
//! A row's action acts on each event. Step n (`then-n`) takes its place when the step before it is
//! due but has acted `count` times within the trailing time already; the restart limit takes the
//! place of any restart in the same manner. Counters survive the restarts that they count.
//!
//! Counting is exact: a counted step keeps the times of its last `count` acts, and it has acted
//! `count` times within the trailing time if and only if the oldest of those lies within it. The
//! times of all steps of a partition share a pool of [`STAMPS_MAX`]; a configuration that needs more
//! ([`stamps_needed`]) is refused by the compiler, and if one came through, its steps would escalate
//! earlier, never later.

use crate::lock::Lock;
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::{HealthRow, HealthStep, action, step};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use zerocopy::FromZeros;

/// Times that one partition's counters can hold.
pub const STAMPS_MAX: usize = 128;
/// Steps of a row that can be counted, one for each `then-n`.
const STEPS: usize = 3;
/// Counters: each step of each row, and the restart limit.
const COUNTERS: usize = event::COUNT * STEPS + 1;
/// Counter of the restart limit.
const LIMIT: usize = COUNTERS - 1;

/// What to do about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Nothing.
    Ignore = action::IGNORE as u8,
    /// A record in the health log.
    Log = action::LOG as u8,
    /// A record, and a virtual interrupt at the partition named.
    Notify = action::NOTIFY as u8,
    /// A synchronous external abort in the guest.
    InjectAbort = action::INJECT_ABORT as u8,
    /// An undefined-instruction exception in the guest.
    InjectUndef = action::INJECT_UNDEF as u8,
    /// Every vCPU stopped, to be resumed by authority.
    Suspend = action::SUSPEND as u8,
    /// Stopped until restarted.
    Halt = action::HALT as u8,
    /// Segments reloaded, persistent regions kept.
    WarmRestart = action::WARM_RESTART as u8,
    /// Memory scrubbed and loaded anew.
    ColdRestart = action::COLD_RESTART as u8,
    /// Another plan.
    SwitchPlan = action::SWITCH_PLAN as u8,
    /// The whole board.
    ResetBoard = action::RESET_BOARD as u8,
    /// The interrupt that came too often stays masked until the partition restarts.
    MaskInterrupt = action::MASK_INTERRUPT as u8,
}

impl Action {
    /// From a blueprint's step. One that does not exist halts: it cannot come from the compiler.
    #[must_use]
    pub const fn of(step: u32) -> Self {
        match step & step::ACTION_MASK {
            action::IGNORE => Self::Ignore,
            action::LOG => Self::Log,
            action::NOTIFY => Self::Notify,
            action::INJECT_ABORT => Self::InjectAbort,
            action::INJECT_UNDEF => Self::InjectUndef,
            action::SUSPEND => Self::Suspend,
            action::WARM_RESTART => Self::WarmRestart,
            action::COLD_RESTART => Self::ColdRestart,
            action::SWITCH_PLAN => Self::SwitchPlan,
            action::RESET_BOARD => Self::ResetBoard,
            action::MASK_INTERRUPT => Self::MaskInterrupt,
            _ => Self::Halt,
        }
    }

    /// Whether the partition starts anew.
    #[must_use]
    pub const fn is_restart(self) -> bool {
        matches!(self, Self::WarmRestart | Self::ColdRestart)
    }
}

/// Times that the rows and the restart limit of a partition need.
#[must_use]
pub fn stamps_needed(rows: &[HealthRow], limit: &HealthStep) -> u64 {
    let steps = rows.iter().take(event::COUNT).flat_map(|row| &row.steps);
    steps.chain([limit]).map(|step| u64::from(step.count)).sum()
}

/// One counter: where its times lie in the pool, how many it keeps, how often its step acted.
#[derive(Debug, FromZeros)]
struct Counter {
    first: AtomicU32,
    kept: AtomicU32,
    acted: AtomicU32,
}

/// Counters of one partition. Several CPUs may report at once. All zero is nothing counted and nothing to count:
/// [`Monitor::init`] follows.
#[derive(Debug, FromZeros)]
pub struct Monitor {
    lock: Lock,
    counters: [Counter; COUNTERS],
    stamps: [AtomicU64; STAMPS_MAX],
}

impl Monitor {
    /// At the board's reset: gives each counted step its part of the pool.
    pub fn init(&self, rows: &[HealthRow], limit: &HealthStep) {
        let steps = rows.iter().take(event::COUNT).flat_map(|row| &row.steps);
        let mut first = 0;
        for (counter, step) in self.counters.iter().zip(steps) {
            first = counter.assign(first, step.count);
        }
        if let Some(counter) = self.counters.get(LIMIT) {
            counter.assign(first, limit.count);
        }
    }

    /// Decides what to do about `event` of a partition with these rows, at `now` in ticks.
    /// `initialising`: the partition's mode is a cold or warm start. Returns a
    /// [`bulkhead_blueprint::layout::step`].
    pub fn decide(
        &self,
        rows: &[HealthRow],
        limit: &HealthStep,
        event: u32,
        initialising: bool,
        now: u64,
    ) -> u32 {
        let index = event as usize;
        let Some(row) = rows.get(index) else {
            return action::HALT;
        };
        self.lock.with(|| {
            let mut due = if initialising { row.init } else { row.normal };
            let mut counted = None;
            for (number, step) in row.steps.iter().enumerate() {
                if step.count == 0 {
                    break;
                }
                let counter = self.counters.get(index * STEPS + number);
                counted = counter;
                if !self.exhausted(counter, step.within_ticks, now) {
                    break;
                }
                due = step.action;
                counted = None;
            }
            if Action::of(due).is_restart() && limit.count != 0 {
                let restarts = self.counters.get(LIMIT);
                if self.exhausted(restarts, limit.within_ticks, now) {
                    due = limit.action;
                    counted = None;
                } else {
                    self.count(restarts, now);
                }
            }
            self.count(counted, now);
            due
        })
    }

    /// Whether the counter's step has acted as often as it may within the trailing time.
    fn exhausted(&self, counter: Option<&Counter>, within_ticks: u64, now: u64) -> bool {
        let Some(counter) = counter else { return true };
        let kept = counter.kept.load(Ordering::Relaxed);
        if counter.acted.load(Ordering::Relaxed) < kept {
            return false;
        }
        match self.oldest(counter) {
            Some(stamp) => now.saturating_sub(stamp.load(Ordering::Relaxed)) <= within_ticks,
            None => true,
        }
    }

    /// Notes that the counter's step acts now.
    fn count(&self, counter: Option<&Counter>, now: u64) {
        let Some(counter) = counter else { return };
        if let Some(stamp) = self.oldest(counter) {
            stamp.store(now, Ordering::Relaxed);
            let acted = counter.acted.load(Ordering::Relaxed);
            // Far beyond `kept` only the remainder matters.
            let kept = counter.kept.load(Ordering::Relaxed);
            let next = if acted + 1 == 2 * kept { kept } else { acted + 1 };
            counter.acted.store(next, Ordering::Relaxed);
        }
    }

    /// The slot of the oldest time kept, which the next act overwrites.
    fn oldest(&self, counter: &Counter) -> Option<&AtomicU64> {
        let kept = counter.kept.load(Ordering::Relaxed);
        let position = counter.acted.load(Ordering::Relaxed).checked_rem(kept)?;
        let first = counter.first.load(Ordering::Relaxed);
        self.stamps.get((first + position) as usize)
    }
}

impl Counter {
    /// Takes `count` times from the pool at `first`, or what is left; returns what comes after.
    fn assign(&self, first: u32, count: u32) -> u32 {
        let kept = count.min((STAMPS_MAX as u32).saturating_sub(first));
        self.first.store(first, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        self.acted.store(0, Ordering::Relaxed);
        first + kept
    }
}
