//! embassy-time on the virtual timer (CNTV, PPI 27). A tick of embassy is a nanosecond; the counter's
//! frequency is read at run time.

use crate::interrupt::{self, priority};
use crate::registers::{self, isb};
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::task::Waker;
use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// INTID of the virtual timer (BSA: PPI 27).
const TIMER_INTID: u32 = 27;
const NS_PER_S: u64 = 1_000_000_000;
const ENABLE: u64 = 1;
const ENABLE_MASKED: u64 = 0b11;

/// Fixed-point factors with 32 fractional bits. Zero until [`init`]: time stands still at 0.
static NS_PER_TICK_Q32: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_NS_Q32: AtomicU64 = AtomicU64::new(0);

/// Reads the counter's frequency.
pub(crate) fn init() {
    let hz = registers::counter_frequency_hz().max(1);
    NS_PER_TICK_Q32.store((NS_PER_S << 32) / hz, Relaxed);
    TICKS_PER_NS_Q32.store(((u128::from(hz) << 32) / u128::from(NS_PER_S)) as u64, Relaxed);
}

fn scale(value: u64, factor_q32: u64) -> u64 {
    ((u128::from(value) * u128::from(factor_q32)) >> 32) as u64
}

/// Nanoseconds that `ticks` of CNTVCT last.
pub fn ns_from_ticks(ticks: u64) -> u64 {
    scale(ticks, NS_PER_TICK_Q32.load(Relaxed))
}

/// Ticks of CNTVCT that last at least `ns` nanoseconds.
pub fn ticks_from_ns(ns: u64) -> u64 {
    let product = u128::from(ns) * u128::from(TICKS_PER_NS_Q32.load(Relaxed));
    ((product + u128::from(u32::MAX)) >> 32) as u64
}

/// System time: CNTPCT in ticks. Ports and the information region use it. The executor's timers go by CNTVCT,
/// which a configuration may have count execution time (`bulkhead,clock`).
pub fn now_ticks() -> u64 {
    registers::system_counter()
}

struct VirtualTimer {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: VirtualTimer = VirtualTimer {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for VirtualTimer {
    fn now(&self) -> u64 {
        ns_from_ticks(registers::counter())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            let mut queue = self.queue.borrow_ref_mut(section);
            if queue.schedule_wake(at, waker) {
                arm(&mut queue, self.now());
            }
        });
    }
}

/// Wakes what has expired and sets the compare value for the next; disables the timer if there is
/// none. A compare value that has passed meanwhile fires at once.
fn arm(queue: &mut Queue, now_ns: u64) {
    let next_ns = queue.next_expiration(now_ns);
    // SAFETY: the timer raises an interrupt and touches no memory.
    unsafe {
        if next_ns == u64::MAX {
            registers::write!("cntv_ctl_el0", ENABLE_MASKED);
        } else {
            registers::write!("cntv_cval_el0", ticks_from_ns(next_ns));
            registers::write!("cntv_ctl_el0", ENABLE);
        }
    }
    // The level is up to date before the interrupt is ended.
    isb();
}

fn on_timer(_intid: u32) {
    critical_section::with(|section| {
        arm(&mut DRIVER.queue.borrow_ref_mut(section), DRIVER.now());
    });
}

/// Gives the timer's interrupt its handler.
pub(crate) fn enable_interrupt() {
    // SAFETY: as in `arm`; a compare value left by the firmware does not fire.
    unsafe { registers::write!("cntv_ctl_el0", ENABLE_MASKED) }
    isb();
    if interrupt::enable(TIMER_INTID, priority::TIMER, on_timer).is_err() {
        panic!("PPI {TIMER_INTID} of the virtual timer is taken");
    }
}
