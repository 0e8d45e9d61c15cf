//! What tasks of different priorities share: single words, each with one writer.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use rtos_logic::control::Milli;
use rtos_logic::setpoint::Rejection;

/// A thousandth-valued word.
pub struct Shared(AtomicI32);

impl Shared {
    const fn new(initial: Milli) -> Self {
        Self(AtomicI32::new(initial.0))
    }

    /// The newest value.
    pub fn get(&self) -> Milli {
        Milli(self.0.load(Relaxed))
    }

    /// Replaces the value.
    pub fn set(&self, value: Milli) {
        self.0.store(value.0, Relaxed);
    }
}

/// Set-point; written by the set-point task.
pub static SETPOINT: Shared = Shared::new(Milli(20_000));
/// Position of the plant; written by the control loop.
pub static POSITION: Shared = Shared::new(Milli(0));
/// Output of the controller; written by the control loop.
pub static OUTPUT: Shared = Shared::new(Milli(0));
/// Periods that ran; written by the control loop.
pub static PERIODS: AtomicU32 = AtomicU32::new(0);
/// Periods left out because the partition did not run for long; written by the control loop.
pub static MISSED: AtomicU32 = AtomicU32::new(0);

/// Set-points that were rejected, for the thread level to tell. A full channel drops the newest.
pub static REJECTED: Channel<CriticalSectionRawMutex, Rejection, 4> = Channel::new();
