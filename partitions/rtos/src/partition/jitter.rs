//! Release jitter on its way from the control loop to the report: two buffers, filled in turn.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;

/// Periods in a report.
pub const PERIODS: usize = 1000;

static BUFFERS: [[AtomicU32; PERIODS]; 2] = [const { [const { AtomicU32::new(0) }; PERIODS] }; 2];
static FULL: Signal<CriticalSectionRawMutex, usize> = Signal::new();

/// The control loop's side.
pub struct Recorder {
    buffer: usize,
    used: usize,
}

impl Recorder {
    /// Both buffers empty.
    pub const fn new() -> Self {
        Self { buffer: 0, used: 0 }
    }

    /// Adds one period's jitter in nanoseconds; a full buffer goes to the report, which has as long
    /// as the other takes to fill.
    pub fn record(&mut self, jitter_ns: u32) {
        BUFFERS[self.buffer][self.used].store(jitter_ns, Relaxed);
        self.used += 1;
        if self.used == PERIODS {
            FULL.signal(self.buffer);
            self.used = 0;
            self.buffer ^= 1;
        }
    }
}

/// Waits for a full buffer and copies it.
pub async fn next(samples: &mut [u32; PERIODS]) {
    let buffer = FULL.wait().await;
    for (sample, recorded) in samples.iter_mut().zip(&BUFFERS[buffer]) {
        *sample = recorded.load(Relaxed);
    }
}
