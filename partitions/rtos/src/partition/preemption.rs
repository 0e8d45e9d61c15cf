//! Shows by measurement that a higher priority pre-empts a lower one: a level spins without ever
//! yielding until the control loop has run a few more periods. Without pre-emption it never would.

use super::shared::PERIODS;
use bulkhead_sdk::{console, println};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};

/// Periods of the control loop to spin through.
const SPIN_PERIODS: u32 = 5;
/// Longest spin. Generous: an emulator may deliver a timer late.
const SPIN_LIMIT: Duration = Duration::from_millis(200);

static REQUEST: Signal<CriticalSectionRawMutex, ()> = Signal::new();
static ANSWER: Signal<CriticalSectionRawMutex, Spin> = Signal::new();

/// What happened during a spin.
struct Spin {
    periods: u32,
    duration: Duration,
}

impl Spin {
    fn run() -> Self {
        let before = PERIODS.load(Relaxed);
        let start = Instant::now();
        loop {
            let spin =
                Self { periods: PERIODS.load(Relaxed).wrapping_sub(before), duration: start.elapsed() };
            if spin.periods >= SPIN_PERIODS || spin.duration > SPIN_LIMIT {
                return spin;
            }
            core::hint::spin_loop();
        }
    }

    fn was_preempted(&self) -> bool {
        self.periods >= SPIN_PERIODS
    }
}

impl fmt::Display for Spin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (periods, us) = (self.periods, self.duration.as_micros());
        write!(f, "{periods} periods in {us} us")
    }
}

/// Spins at the service level when asked.
#[embassy_executor::task]
pub async fn spinner() {
    loop {
        REQUEST.wait().await;
        ANSWER.signal(Spin::run());
    }
}

async fn test() {
    let thread = Spin::run();
    REQUEST.signal(());
    // The service level pre-empts this one at once: the answer is there when `signal` returns.
    let at_once = ANSWER.try_take();
    let immediate = at_once.is_some();
    let service = match at_once {
        Some(spin) => spin,
        None => ANSWER.wait().await,
    };
    let ok = immediate && thread.was_preempted() && service.was_preempted();
    println!(
        "preemption {} while spinning the loop ran: thread level {thread}, service level {service}; \
         service level {} thread level",
        if ok { "ok" } else { "FAILED" },
        if immediate { "pre-empted" } else { "waited for" }
    );
}

/// Tests once when the loop runs, and again whenever `p` is typed on the console.
#[embassy_executor::task]
pub async fn tester() {
    while PERIODS.load(Relaxed) == 0 {
        Timer::after_millis(1).await;
    }
    test().await;
    let mut typed = [0; 16];
    loop {
        Timer::after_millis(100).await;
        let count = console::read_bytes(&mut typed);
        if typed[..count].contains(&b'p') {
            test().await;
        }
    }
}
