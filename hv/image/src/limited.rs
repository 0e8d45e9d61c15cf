//! Interrupts that may come only so often (`InterruptLimit`): beyond it they are an event.
//!
//! A limit of n in a time counts n down, then looks at the clock and begins anew: less than the time since it
//! last began, and more than n have come in it. So n in any such time are never an event, and 2 n in one are
//! always. Nobody but these interrupts pays for it: their routes have values of their own.

use crate::health::{Cause, report};
use crate::interrupts::absent;
use crate::system::{Local, System};
use bulkhead_abi::info::event;
use bulkhead_abi::trace::cause;
use bulkhead_arch::gic::Physical;
use bulkhead_arch::timer;
use bulkhead_blueprint::limits::INTERRUPT_LIMITS_MAX;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What is left of each limit. Written by the CPU that the interrupt is routed to.
static LEFT: [AtomicU32; INTERRUPT_LIMITS_MAX] = [const { AtomicU32::new(0) }; INTERRUPT_LIMITS_MAX];
/// Tick at which it last began anew.
static SINCE: [AtomicU64; INTERRUPT_LIMITS_MAX] = [const { AtomicU64::new(0) }; INTERRUPT_LIMITS_MAX];

/// Interrupt `raw`, which has the limit `index`, was acknowledged. The handler's result.
pub fn take(local: &Local, system: &System, raw: u32, index: usize) -> u64 {
    let (Some(limit), Some(left), Some(since)) =
        (system.blueprint.interrupt_limits.get(index), LEFT.get(index), SINCE.get(index))
    else {
        return 0;
    };
    let Some(seat) = local.seat.filter(|_| limit.owner == local.partition) else {
        return absent(local, system, raw, limit.owner);
    };
    local.gic.end(raw);
    local.trace.count(cause::INJECTION);
    if !seat.inject_hw(&local.gic, limit.intid) {
        seat.inject_late(&local.gic, limit.intid);
    }
    let rest = left.load(Ordering::Relaxed);
    left.store(rest.wrapping_sub(1), Ordering::Relaxed);
    if rest != 0 {
        return 0;
    }
    let now = timer::now();
    let begun = since.load(Ordering::Relaxed);
    since.store(now, Ordering::Relaxed);
    left.store(limit.count.wrapping_sub(1), Ordering::Relaxed);
    // At first none has begun.
    if begun == 0 || now.wrapping_sub(begun) >= limit.per_ticks {
        return 0;
    }
    report(local, system, event::INTERRUPT_STORM, &Cause::code(u64::from(limit.intid)))
}
