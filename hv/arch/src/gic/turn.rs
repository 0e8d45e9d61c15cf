//! Mutual exclusion between CPUs for the one distributor register that interrupts of different
//! partitions share in a word and that can only be read and written back: GICD_ICFGR.
//!
//! Lamport's bakery algorithm. Each CPU writes only its own two words, and there is no
//! load/store-exclusive loop, which Armv8.0 does not bound (ruling 5). First come, first served: a
//! CPU waits for at most one section of each other CPU, one register read and one write long.

use bulkhead_blueprint::limits::CPUS_MAX;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// The bakery: who is choosing a number, and the numbers chosen (0: none).
pub struct Turn {
    choosing: [AtomicBool; CPUS_MAX],
    number: [AtomicU32; CPUS_MAX],
}

impl Turn {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self {
            choosing: [const { AtomicBool::new(false) }; CPUS_MAX],
            number: [const { AtomicU32::new(0) }; CPUS_MAX],
        }
    }

    /// Runs `section` on CPU `cpu` (masked to the array) while no other CPU runs one. EL2 runs with
    /// interrupts masked, so a section always runs to its end.
    ///
    /// Numbers grow only while the bakery is never empty; wrapping would take 2^32 sections without
    /// a gap.
    pub fn with<R>(&self, cpu: usize, section: impl FnOnce() -> R) -> R {
        let me = cpu % CPUS_MAX;
        self.choosing[me].store(true, SeqCst);
        let highest = self.number.iter().map(|n| n.load(SeqCst)).max();
        let mine = highest.unwrap_or(0).wrapping_add(1);
        self.number[me].store(mine, SeqCst);
        self.choosing[me].store(false, SeqCst);
        for other in 0..CPUS_MAX {
            while self.choosing[other].load(SeqCst) {
                core::hint::spin_loop();
            }
            while self.goes_before(other, (mine, me)) {
                core::hint::spin_loop();
            }
        }
        let result = section();
        self.number[me].store(0, SeqCst);
        result
    }

    fn goes_before(&self, other: usize, mine: (u32, usize)) -> bool {
        let number = self.number[other % CPUS_MAX].load(SeqCst);
        number != 0 && (number, other) < mine
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::sync::atomic::Ordering::Relaxed;

    #[test]
    fn no_read_modify_write_is_lost_between_cpus() {
        let turn = Turn::new();
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..3 {
                let (turn, word) = (&turn, &word);
                scope.spawn(move || {
                    for _ in 0..150 {
                        turn.with(cpu, || {
                            let old = word.load(Relaxed);
                            std::thread::yield_now();
                            word.store(old + 1, Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(word.load(Relaxed), 450);
    }
}
