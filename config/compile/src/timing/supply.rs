//! What a vCPU is given, as a function of time.

use crate::model::{CpuIndex, Plan, PlanCpu};

/// Net intervals of a vCPU within a frame, repeated with it. Ascending and apart from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// Length of the frame.
    pub frame_ns: u64,
    /// Start and end of each interval, from the frame's start.
    pub net: Vec<(u64, u64)>,
}

/// Greatest common divisor.
pub fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Whether the frame is longer than zero and every window ends inside of it and none overlaps another: what PLN-001
/// and PLN-002 refuse has no meaning in time.
pub fn is_sound(plan: &Plan) -> bool {
    let frame = plan.major_frame_ns.value;
    frame != 0
        && plan.cpus.iter().all(|cpu| {
            let mut windows: Vec<(u64, u64)> =
                cpu.windows.iter().map(|w| (w.start_ns.value, w.end_ns())).collect();
            windows.sort_unstable();
            windows.iter().all(|(_, end)| *end <= frame) && windows.windows(2).all(|p| p[0].1 <= p[1].0)
        })
}

/// The schedule of `cpu` in `plan`.
pub fn schedule_of(plan: &Plan, cpu: CpuIndex) -> Option<&PlanCpu> {
    plan.cpus.iter().find(|c| c.cpu.value == cpu)
}

impl Supply {
    /// The windows of partition `index` in `schedule`, as EL2's scheduler runs them, each shortened by the guard at its
    /// end.
    pub fn of(schedule: &PlanCpu, plan: &Plan, index: usize, guard_ns: u64) -> Supply {
        let own = schedule.slots_of(index);
        let net =
            own.map(|(start, end)| (start, start.saturating_add((end - start).saturating_sub(guard_ns))));
        let mut net: Vec<(u64, u64)> = net.filter(|(start, end)| start < end).collect();
        net.sort_unstable();
        Supply { frame_ns: plan.major_frame_ns.value, net }
    }

    /// All the time there is.
    pub fn whole(frame_ns: u64) -> Supply {
        Supply { frame_ns, net: vec![(0, frame_ns)] }
    }

    /// Time given in each frame.
    pub fn per_frame(&self) -> u64 {
        self.net.iter().map(|(start, end)| end - start).sum()
    }

    /// Time given from the start of the first frame to `at`.
    fn until(&self, at: u64) -> u64 {
        let (frames, rest) = (at / self.frame_ns, at % self.frame_ns);
        let given = self.net.iter().map(|(start, end)| rest.min(*end).saturating_sub(*start)).sum::<u64>();
        frames * self.per_frame() + given
    }

    /// Time given between two instants.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.until(to) - self.until(from)
    }

    /// The first instant by which `demand_ns` (above zero) has been given since `from`; `None` if never, or not
    /// within 64 bits of nanoseconds.
    pub fn finish(&self, from: u64, demand_ns: u64) -> Option<u64> {
        let each = self.per_frame();
        let target = self.until(from).checked_add(demand_ns)?;
        let frames = target.checked_sub(1)?.checked_div(each)?;
        let mut rest = target - frames * each;
        for (start, end) in &self.net {
            if rest <= end - start {
                return frames.checked_mul(self.frame_ns)?.checked_add(start + rest);
            }
            rest -= end - start;
        }
        None
    }

    /// For each interval of the frame its end, and the start of the next, which may lie in the next frame.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let again = self.net.first().map(|(start, _)| self.frame_ns + start);
        let starts = self.net.iter().skip(1).map(|(start, _)| *start).chain(again);
        self.net.iter().map(|(_, end)| *end).zip(starts)
    }

    /// The end of the interval that lies around `at`; `at` itself if there is none.
    pub fn end_of(&self, at: u64) -> u64 {
        let place = at % self.frame_ns;
        let around = self.net.iter().find(|(start, end)| (*start..*end).contains(&place));
        around.map_or(at, |(_, end)| at - place + end)
    }

    /// The first instant at or after `from` at which the vCPU runs.
    pub fn start(&self, from: u64) -> Option<u64> {
        self.finish(from, 1).map(|end| end - 1)
    }

    /// The latest instant at or before `to` up to which the vCPU ran; `None` if it has not run since zero.
    pub fn last_before(&self, to: u64) -> Option<u64> {
        let (frame, rest) = (to - to % self.frame_ns, to % self.frame_ns);
        let inside = self.net.iter().rev().find(|(start, _)| *start < rest);
        match (inside, self.net.last()) {
            (Some((_, end)), _) => Some(frame + rest.min(*end)),
            (None, Some((_, end))) => Some(frame.checked_sub(self.frame_ns)? + end),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn supplies() -> impl Strategy<Value = Supply> {
        (1u64..40, prop::collection::vec(0u64..40, 0..6)).prop_map(|(frame_ns, cuts)| {
            let mut cuts: Vec<u64> = cuts.into_iter().map(|c| c % (frame_ns + 1)).collect();
            cuts.sort_unstable();
            let net = cuts.chunks_exact(2).map(|c| (c[0], c[1])).filter(|(s, e)| s < e).collect();
            Supply { frame_ns, net }
        })
    }

    fn runs(supply: &Supply, t: u64) -> bool {
        supply.net.iter().any(|(s, e)| (*s..*e).contains(&(t % supply.frame_ns)))
    }

    proptest! {
        #[test]
        fn every_nanosecond_of_the_windows_is_counted(supply in supplies(), from in 0u64..200, length in 0u64..100) {
            let slow = (from..from + length).filter(|t| runs(&supply, *t)).count() as u64;
            prop_assert_eq!(supply.between(from, from + length), slow);
        }

        #[test]
        fn finish_start_and_last_agree_with_a_clock_that_ticks(supply in supplies(), from in 0u64..100, demand in 1u64..60) {
            let mut left = demand;
            let ticked = (from..from + 5000).find(|t| { left -= u64::from(runs(&supply, *t)); left == 0 });
            prop_assert_eq!(supply.finish(from, demand), ticked.map(|t| t + 1));
            prop_assert_eq!(supply.start(from), (from..from + 100).find(|t| runs(&supply, *t)));
            prop_assert_eq!(supply.last_before(from), (0..from).rev().find(|t| runs(&supply, *t)).map(|t| t + 1));
        }

        #[test]
        fn gcd_divides_both(a in 1u64..10_000, b in 1u64..10_000) {
            let d = gcd(a, b);
            prop_assert!(a % d == 0 && b % d == 0 && (d + 1..=a.min(b)).all(|x| a % x != 0 || b % x != 0));
        }
    }
}
