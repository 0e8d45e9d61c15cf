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
    pub fn slot(&mut self, tick: u64, switch: Switch, view: impl Fn(u16) -> PlanView<'a>) -> Slot {
        if switch.number != self.switches {
            self.follow(tick, switch);
        }
        let limit = if switch.number == self.switches { u64::MAX } else { switch.tick };
        let plan = *self.view.get_or_insert_with(|| view(self.plan));
        let passed = tick.saturating_sub(self.frame_start) / plan.frame_ticks.max(1);
        if passed != 0 {
            self.next = 0;
            self.frame_start = self.frame_start.wrapping_add(passed.wrapping_mul(plan.frame_ticks));
        }
        let first = plan.windows.first().map_or(plan.frame_ticks, |window| window.start_ticks);
        // Before T0 it stays this.
        let (vcpu, end) = (plan.background, self.frame_start.wrapping_add(first));
        let mut slot = Slot { vcpu, window: false, start: tick, end, next: 0, clean: 0 };
        let _begun = self.steady(tick, self.switches, &mut slot);
        slot.end = slot.end.min(limit);
        slot
    }

    /// The same, into `slot`, where that is all to be found out, and whether it was: no other plan has been asked for
    /// since the current one began, `number` being that of the latest switch, and `tick` lies in this frame or the
    /// next one. Nothing but the place in the plan changes then. For the partition switch.
    #[inline(always)]
    #[must_use]
    pub fn steady(&mut self, tick: u64, number: u64, slot: &mut Slot) -> bool {
        let Some(plan) = self.view.as_ref().filter(|_| number == self.switches) else { return false };
        let mut since = tick.wrapping_sub(self.frame_start);
        if since >= plan.frame_ticks {
            since = since.wrapping_sub(plan.frame_ticks);
            if since >= plan.frame_ticks {
                return false;
            }
            self.next = 0;
            self.frame_start = self.frame_start.wrapping_add(plan.frame_ticks);
        }
        let origin = self.frame_start;
        let mut gap_end = plan.frame_ticks;
        while let Some(window) = plan.windows.get(self.next) {
            if since < window.start_ticks {
                gap_end = window.start_ticks;
                break;
            }
            if since < window.end_ticks {
                let (start, end) =
                    (origin.wrapping_add(window.start_ticks), origin.wrapping_add(window.end_ticks));
                let next = origin.wrapping_add(window.next_ticks);
                *slot = Slot { vcpu: window.vcpu, window: true, start, end, next, clean: window.flags };
                return true;
            }
            self.next += 1;
        }
        let before = self.next.checked_sub(1).and_then(|n| plan.windows.get(n)).map_or(0, |w| w.end_ticks);
        let (start, end) = (origin.wrapping_add(before), origin.wrapping_add(gap_end));
        *slot = Slot { vcpu: plan.background, window: false, start, end, next: 0, clean: 0 };
        true
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
