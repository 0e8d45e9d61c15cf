//! The timeline of one CPU: which vCPU runs when, and when that changes.
//!
//! A plan is a major frame of windows, repeated from T0 on. Boundaries are kept as absolute ticks and
//! advanced by addition, so nothing drifts and the usual path divides nothing. All CPUs derive the
//! same frames from the same T0, and a plan switch is one word that all of them read: the plan, and
//! the number of the frame boundary at which it begins (ruling 12).
//!
//! `config/compile` runs this same code to verify a configuration's temporal requirements.

use bulkhead_blueprint::layout::{NONE, Window};

/// One CPU's part of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    /// Windows in order of time, without overlap, within the frame.
    pub windows: &'a [Window],
    /// Major frame, not 0.
    pub frame_ticks: u64,
    /// vCPU that runs when no window does, or [`NONE`].
    pub background: u32,
}

/// What a CPU does from one tick to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The vCPU (index into the blueprint's vCPUs), or [`NONE`] to idle.
    pub vcpu: u32,
    /// Whether this is a window of the vCPU's own, not background time.
    pub window: bool,
    /// First tick.
    pub start: u64,
    /// First tick after it. The timer is armed for this, less the guard.
    pub end: u64,
}

/// The plan that shall run, and from which frame boundary on: one word, so that a reader sees both
/// or neither. Boundaries are counted from T0, over all plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanWord(pub u64);

impl PlanWord {
    const BOUNDARY_BITS: u32 = 48;

    /// `plan` begins at frame boundary `boundary` (0 is T0).
    #[must_use]
    pub const fn new(plan: u16, boundary: u64) -> Self {
        let boundary = boundary & ((1 << Self::BOUNDARY_BITS) - 1);
        Self((plan as u64) << Self::BOUNDARY_BITS | boundary)
    }

    /// The plan.
    #[must_use]
    pub const fn plan(self) -> u16 {
        (self.0 >> Self::BOUNDARY_BITS) as u16
    }

    /// The frame boundary at which it begins.
    #[must_use]
    pub const fn boundary(self) -> u64 {
        self.0 & ((1 << Self::BOUNDARY_BITS) - 1)
    }
}

/// Where a CPU stands in its plan. Owned by that CPU.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    plan: u16,
    /// Number of the boundary at which the current frame began.
    boundary: u64,
    /// Its tick.
    frame_start: u64,
    /// The window that is current or comes next; the number of windows after the last.
    next: usize,
}

impl Timeline {
    /// At boundary 0, tick `t0`, in `plan`.
    #[must_use]
    pub const fn new(plan: u16, t0: u64) -> Self {
        Self { plan, boundary: 0, frame_start: t0, next: 0 }
    }

    /// The current plan.
    #[must_use]
    pub const fn plan(&self) -> u16 {
        self.plan
    }

    /// Number of the boundary at which the current frame began.
    #[must_use]
    pub const fn boundary(&self) -> u64 {
        self.boundary
    }

    /// The slot that `tick` lies in. Ticks of successive calls must not go back; one that comes
    /// before T0 is answered with background time.
    ///
    /// `word` is the plan to run, `view` yields this CPU's part of a plan. Costs one step over a
    /// window in the usual case, at most two frames' windows after a delay.
    pub fn slot<'a>(&mut self, tick: u64, word: PlanWord, view: impl Fn(u16) -> PlanView<'a>) -> Slot {
        let mut plan = view(self.plan);
        if tick >= self.frame_start.wrapping_add(plan.frame_ticks) {
            self.enter_frame(tick, word, &view);
            plan = view(self.plan);
        }
        let origin = self.frame_start;
        let mut gap_start = match self.next.checked_sub(1).and_then(|n| plan.windows.get(n)) {
            Some(window) => origin.wrapping_add(window.end_ticks),
            None => origin,
        };
        let background = |start, end| Slot { vcpu: plan.background, window: false, start, end };
        while let Some(window) = plan.windows.get(self.next) {
            let start = origin.wrapping_add(window.start_ticks);
            let end = origin.wrapping_add(window.end_ticks);
            if tick < start {
                return background(gap_start, start);
            }
            if tick < end {
                return Slot { vcpu: window.vcpu, window: true, start, end };
            }
            gap_start = end;
            self.next += 1;
        }
        background(gap_start, origin.wrapping_add(plan.frame_ticks))
    }

    /// First tick of the next window of `vcpu` after the current slot, in the current plan;
    /// `u64::MAX` if it has none. For the information page.
    #[must_use]
    pub fn next_window(&self, plan: PlanView<'_>, vcpu: u32, slot: &Slot) -> u64 {
        let mut first = u64::MAX;
        for window in plan.windows {
            if window.vcpu == vcpu && vcpu != NONE {
                let start = self.frame_start.wrapping_add(window.start_ticks);
                if start >= slot.end {
                    return start;
                }
                if first == u64::MAX {
                    first = start.wrapping_add(plan.frame_ticks);
                }
            }
        }
        first
    }

    /// Moves to the frame that `tick` lies in, through a plan switch that falls due on the way.
    fn enter_frame<'a>(&mut self, tick: u64, word: PlanWord, view: &impl Fn(u16) -> PlanView<'a>) {
        self.next = 0;
        let mut frame = view(self.plan).frame_ticks.max(1);
        if word.plan() != self.plan && word.boundary() > self.boundary {
            let ahead = word.boundary() - self.boundary;
            let passed = passed_frames(tick, self.frame_start, frame);
            self.pass(passed.min(ahead), frame);
            if passed < ahead {
                return;
            }
            self.plan = word.plan();
            frame = view(self.plan).frame_ticks.max(1);
        }
        self.pass(passed_frames(tick, self.frame_start, frame), frame);
    }

    fn pass(&mut self, frames: u64, frame_ticks: u64) {
        self.boundary += frames;
        self.frame_start = self.frame_start.wrapping_add(frames.wrapping_mul(frame_ticks));
    }
}

/// Whole frames from `start` to `tick`. Divides only if there is more than one.
fn passed_frames(tick: u64, start: u64, frame_ticks: u64) -> u64 {
    let since = tick.saturating_sub(start);
    if since < frame_ticks {
        0
    } else if since - frame_ticks < frame_ticks {
        1
    } else {
        since / frame_ticks
    }
}
