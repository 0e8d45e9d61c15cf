//! When the board's own watchdog is kicked: once all CPUs that share their time have shown that they go on.
//!
//! Each of these CPUs beats once in a frame, where it looks at deadlines anyway. The lowest of them kicks after its
//! own beat if every other one has beaten since it kicked last. So a CPU that hangs, in EL2 or because its timer
//! never comes, ends the kicks; what the board then does nobody on it can hinder.
//!
//! Honest limits: a CPU that one partition owns does not beat, because EL2 has no timer there.

use bulkhead_blueprint::limits::CPUS_MAX;
use core::sync::atomic::{AtomicU32, Ordering};

/// Beats of all CPUs.
pub struct Beats {
    /// Beats of each CPU, modulo 2^32. Written by that CPU alone.
    given: [AtomicU32; CPUS_MAX],
    /// What they were at the last kick. Written by the CPU that kicks.
    seen: [AtomicU32; CPUS_MAX],
}

impl Beats {
    /// Nobody has beaten.
    #[must_use]
    pub const fn new() -> Self {
        Self { given: [const { AtomicU32::new(0) }; CPUS_MAX], seen: [const { AtomicU32::new(0) }; CPUS_MAX] }
    }

    /// CPU `cpu` goes on; `cpus` are those that must (bit n: CPU n). Whether it has to kick now.
    pub fn beat(&self, cpu: usize, cpus: u32) -> bool {
        let Some(own) = self.given.get(cpu) else { return false };
        own.store(own.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let pairs = || self.given.iter().zip(&self.seen).enumerate().filter(|(n, _)| cpus >> n & 1 != 0);
        let is_still = |(given, seen): (&AtomicU32, &AtomicU32)| {
            given.load(Ordering::Relaxed) == seen.load(Ordering::Relaxed)
        };
        if cpus.trailing_zeros() as usize != cpu || pairs().any(|(_, pair)| is_still(pair)) {
            return false;
        }
        for (_, (given, seen)) in pairs() {
            seen.store(given.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        true
    }
}

impl Default for Beats {
    fn default() -> Self {
        Self::new()
    }
}
