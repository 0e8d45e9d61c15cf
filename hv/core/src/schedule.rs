//! The timeline of one CPU: which vCPU runs when, and when that changes.
//!
//! A plan is a major frame of windows, repeated from T0 on. Boundaries are kept as absolute ticks and
//! advanced by addition, so nothing drifts and the usual path divides nothing. All CPUs derive the
//! same frames from the same T0, and follow the same plan switches ([`crate::plan_switch`]).
//!
//! `config/compile` runs this same code, and judges temporal requirements by the slots that it gives.

use crate::plan_switch::Switch;
use bulkhead_blueprint::layout::{NONE, Window};

/// One CPU's part of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    /// Windows in order of time, without overlap, within the frame.
    pub windows: &'a [Window],
    /// Major frame, not 0.
    pub frame_ticks: u64,
    /// vCPU that runs when no window does, or [`bulkhead_blueprint::layout::NONE`].
    pub background: u32,
}

/// What a CPU does from one tick to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The vCPU (index into the blueprint's vCPUs), or [`bulkhead_blueprint::layout::NONE`] to idle.
    pub vcpu: u32,
    /// Whether this is a window of the vCPU's own, not background time.
    pub window: bool,
    /// First tick.
    pub start: u64,
    /// First tick after it. The timer is armed for this, less the guard.
    pub end: u64,
    /// In a window: first tick of the vCPU's next one in the same plan; in background time 0.
    pub next: u64,
    /// What is cleaned before the window: bits of [`bulkhead_blueprint::layout::window_flags`].
    pub clean: u32,
}

/// Where a CPU stands in its plan. Owned by that CPU.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    plan: u16,
    /// The plan's part of this CPU, once it was looked up.
    view: Option<PlanView<'a>>,
    /// Number of the switch by which the plan began.
    switches: u64,
    /// Tick at which the current frame began.
    frame_start: u64,
    /// The window that is current or comes next; the number of windows after the last.
    next: usize,
}

impl<'a> Timeline<'a> {
    /// At tick `t0`, in the initial plan.
    #[must_use]
    pub const fn new(plan: u16, t0: u64) -> Self {
        Self { plan, view: None, switches: 0, frame_start: t0, next: 0 }
    }

    /// The current plan.
    #[must_use]
    pub const fn plan(&self) -> u16 {
        self.plan
    }

    /// vCPU that runs in it when no window does, or [`NONE`].
    #[must_use]
    pub fn background(&self) -> u32 {
        self.view.map_or(NONE, |view| view.background)
    }

    /// Number of the switch by which it began.
    #[must_use]
    pub const fn switches(&self) -> u64 {
        self.switches
    }

    /// The slot that `tick` lies in. Ticks of successive calls must not go back; one that comes
    /// before T0 is answered with background time.
    ///
    /// `switch` is the latest one asked for, `view` yields this CPU's part of a plan. Costs one step
    /// over a window in the usual case, at most two frames' windows after a delay.
    #[inline]
    pub fn slot(&mut self, tick: u64, switch: Switch, view: impl Fn(u16) -> PlanView<'a>) -> Slot {
        if switch.number != self.switches {
            self.follow(tick, switch);
        }
        let limit = if switch.number == self.switches { u64::MAX } else { switch.tick };
        let plan = *self.view.get_or_insert_with(|| view(self.plan));
        let passed = passed_frames(tick, self.frame_start, plan.frame_ticks);
        if passed != 0 {
            self.next = 0;
            self.frame_start = self.frame_start.wrapping_add(passed.wrapping_mul(plan.frame_ticks));
        }
        let mut slot = self.within_frame(tick, plan);
        slot.end = slot.end.min(limit);
        slot
    }

    /// The slot of the current frame that `tick` lies in.
    #[inline]
    fn within_frame(&mut self, tick: u64, plan: PlanView<'_>) -> Slot {
        let origin = self.frame_start;
        let mut gap_start = match self.next.checked_sub(1).and_then(|n| plan.windows.get(n)) {
            Some(window) => origin.wrapping_add(window.end_ticks),
            None => origin.min(tick),
        };
        let background =
            |start, end| Slot { vcpu: plan.background, window: false, start, end, next: 0, clean: 0 };
        while let Some(window) = plan.windows.get(self.next) {
            let start = origin.wrapping_add(window.start_ticks);
            let end = origin.wrapping_add(window.end_ticks);
            if tick < start {
                return background(gap_start, start);
            }
            if tick < end {
                let next = origin.wrapping_add(window.next_ticks);
                return Slot { vcpu: window.vcpu, window: true, start, end, next, clean: window.flags };
            }
            gap_start = end;
            self.next += 1;
        }
        background(gap_start, origin.wrapping_add(plan.frame_ticks))
    }

    /// Goes through the switches that `tick` has passed.
    #[cold]
    #[inline(never)]
    fn follow(&mut self, tick: u64, switch: Switch) {
        if self.switches + 1 < switch.number {
            self.begin(switch.before, switch.number - 1, switch.before_tick);
        }
        if tick >= switch.tick {
            self.begin(switch.plan, switch.number, switch.tick);
        }
    }

    fn begin(&mut self, plan: u16, switches: u64, tick: u64) {
        *self = Self { plan, view: None, switches, frame_start: tick, next: 0 };
    }
}

/// Whole frames from `start` to `tick`. Divides only if there is more than one.
#[inline]
fn passed_frames(tick: u64, start: u64, frame_ticks: u64) -> u64 {
    let since = tick.saturating_sub(start);
    if since < frame_ticks {
        0
    } else if since - frame_ticks < frame_ticks {
        1
    } else {
        since / frame_ticks.max(1)
    }
}
