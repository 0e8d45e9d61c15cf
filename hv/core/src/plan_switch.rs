//! Plan switches: which plan all CPUs run, and the tick from which on.
//!
//! One 64-bit word says it all at once: the number of the switch, the plan that it ends, the plan
//! that it begins. Its tick stands in a word chosen by the number's parity, so that a reader who has
//! the word has the tick that belongs to it: the word of the other parity is that of the switch
//! before, and is written again only when that one is long past (docs/adr/0019).
//!
//! A switch is asked for at least one margin ahead of its tick, the margin being twice the window
//! guard: a CPU looks at most one guard ahead, and a request takes less than one guard from reading
//! the counter to storing the word. So every CPU sees the same switch when it decides about the
//! time after the tick. Requests race without harm: the last one stored in time counts.

use core::sync::atomic::{AtomicU64, Ordering};

/// A switch as every CPU reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// How many there were, this one included; 0: the initial plan begins.
    pub number: u64,
    /// The plan that runs from [`Switch::tick`] on.
    pub plan: u16,
    /// The plan that it ends.
    pub before: u16,
    /// The common tick of all CPUs.
    pub tick: u64,
    /// The tick at which [`Switch::before`] began.
    pub before_tick: u64,
}

impl Switch {
    /// The plan at tick `now`, and since when it runs.
    #[must_use]
    pub const fn current(&self, now: u64) -> (u16, u64) {
        if now >= self.tick { (self.plan, self.tick) } else { (self.before, self.before_tick) }
    }
}

/// When a switch shall happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the end of the major frame.
    FrameEnd,
    /// As soon as all CPUs can: the frame is cut short.
    AtOnce,
}

/// What all CPUs share. Written by whoever switches, read by everybody.
pub struct PlanSwitch {
    word: AtomicU64,
    ticks: [AtomicU64; 2],
}

/// Bits of a plan's index in the word.
const PLAN_BITS: u32 = 8;

impl PlanSwitch {
    /// Plan 0 since tick 0; [`PlanSwitch::init`] comes before any use.
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0), ticks: [const { AtomicU64::new(0) }; 2] }
    }

    /// The initial plan begins at `t0`.
    pub fn init(&self, plan: u16, t0: u64) {
        self.store(Switch { number: 0, plan, before: plan, tick: t0, before_tick: t0 });
        self.ticks[1].store(t0, Ordering::Release);
    }

    /// The number of [`PlanSwitch::load`].
    #[inline(always)]
    #[must_use]
    pub fn number(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> (2 * PLAN_BITS)
    }

    /// The latest switch: done, or asked for.
    #[must_use]
    pub fn load(&self) -> Switch {
        let word = self.word.load(Ordering::Acquire);
        let number = word >> (2 * PLAN_BITS);
        let parity = (number & 1) as usize;
        Switch {
            number,
            plan: word as u16 & 0xFF,
            before: (word >> PLAN_BITS) as u16 & 0xFF,
            tick: self.ticks[parity].load(Ordering::Relaxed),
            before_tick: self.ticks[parity ^ 1].load(Ordering::Relaxed),
        }
    }

    fn store(&self, switch: Switch) {
        self.ticks[(switch.number & 1) as usize].store(switch.tick, Ordering::Relaxed);
        let plans = u64::from(switch.before) << PLAN_BITS | u64::from(switch.plan);
        self.word.store(switch.number << (2 * PLAN_BITS) | plans, Ordering::Release);
    }

    /// Asks for `plan` at tick `now`. `margin`: twice the window guard; `frame_ticks`: the major frame
    /// of a plan, at least two margins. Returns whether anything changes: not if the plan runs
    /// already or is what all wait for, nor if a plan is about to be entered at once and this one is
    /// not.
    pub fn request(
        &self,
        plan: u16,
        when: When,
        now: u64,
        margin: u64,
        frame_ticks: impl Fn(u16) -> u64,
    ) -> bool {
        let last = self.load();
        let at_once = when == When::AtOnce;
        let earliest = now + margin;
        let next = if now < last.tick && earliest <= last.tick {
            // It has not happened, and everybody has time to see another word.
            let cuts = !(last.tick - last.before_tick).is_multiple_of(frame_ticks(last.before).max(1));
            if !at_once && (plan == last.plan || cuts) {
                return false;
            }
            let soon = earliest.max(last.before_tick + 2 * margin).min(last.tick);
            Switch { plan, tick: if at_once { soon } else { last.tick }, ..last }
        } else if plan == last.plan {
            return false;
        } else {
            // It happened, or is too near to be changed: another one comes after it.
            let frame = frame_ticks(last.plan).max(1);
            let tick = if at_once {
                earliest.max(last.tick + 2 * margin)
            } else {
                last.tick + earliest.saturating_sub(last.tick).div_ceil(frame).max(1) * frame
            };
            Switch { number: last.number + 1, plan, before: last.plan, tick, before_tick: last.tick }
        };
        let changes = next != last;
        if changes {
            self.store(next);
        }
        changes
    }
}

impl Default for PlanSwitch {
    fn default() -> Self {
        Self::new()
    }
}
