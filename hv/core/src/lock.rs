//! The lock of one partition: a ticket lock that guards nothing but the order of its holders.
//!
//! Only the vCPUs of one partition, and the console's CPU, ever take the same lock, so a wait is
//! bounded by that many short critical sections and no partition waits for another (ruling 5).
//! Taking a ticket is a load/store-exclusive sequence on Armv8.0; it repeats only while another
//! holder of the same partition takes one. What the lock protects stays in atomics accessed with
//! plain loads and stores; the lock gives them mutual exclusion and order.

use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::FromZeros;

/// A ticket lock: first come, first served. EL2 runs with interrupts masked, so a holder always
/// runs to its release on the CPU that took the lock. All zero is a free lock.
#[derive(Debug, Default, FromZeros)]
pub struct Lock {
    next: AtomicU32,
    serving: AtomicU32,
}

impl Lock {
    /// Runs `section` while no other holder runs. Not re-entrant.
    #[inline]
    pub fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        let ticket = self.take();
        let result = section();
        self.serving.store(ticket.wrapping_add(1), Ordering::Release);
        result
    }

    /// Waits for its turn. One copy for all that wait.
    #[inline(never)]
    fn take(&self) -> u32 {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            core::hint::spin_loop();
        }
        ticket
    }
}
