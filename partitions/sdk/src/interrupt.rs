//! Interrupts: a handler for each, called with IRQs unmasked, so that one of a higher GIC priority
//! (a lower number) nests.

use crate::gic;
use crate::registers::{mask_interrupts, unmask_interrupts};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// INTIDs that can have a handler: SGIs, PPIs and 256 SPIs.
pub const INTIDS: usize = 288;

/// What to do on an interrupt: called with its INTID, at its priority.
pub type Handler = fn(u32);

static HANDLERS: [AtomicPtr<()>; INTIDS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; INTIDS];
static UNHANDLED: AtomicU64 = AtomicU64::new(0);

/// GIC priorities that the runtime uses. A lower number pre-empts a higher one; a guest may have as
/// few as 16 levels, so steps are 16.
pub mod priority {
    /// The timer, which wakes tasks of every priority.
    pub const TIMER: u8 = 0x20;
    /// Highest priority to give to an executor.
    pub const EXECUTOR_HIGHEST: u8 = 0x30;
    /// Lowest priority to give to an executor or a handler.
    pub const LOWEST: u8 = 0xe0;
}

/// Version of the interrupt controller that was found, 2 or 3.
pub fn controller_version() -> u32 {
    gic::version()
}

/// Interrupts that came without having a handler.
pub fn unhandled() -> u64 {
    UNHANDLED.load(Relaxed)
}

/// Why an interrupt could not be enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableError {
    /// The INTID is beyond [`INTIDS`].
    NoSuchInterrupt,
    /// The INTID has a handler already.
    Taken,
}

/// Gives `intid` a handler and a priority, and enables it.
pub fn enable(intid: u32, priority: u8, handler: Handler) -> Result<(), EnableError> {
    let slot = HANDLERS.get(intid as usize).ok_or(EnableError::NoSuchInterrupt)?;
    slot.compare_exchange(core::ptr::null_mut(), handler as *mut (), Relaxed, Relaxed)
        .map_err(|_| EnableError::Taken)?;
    gic::enable(intid, priority);
    Ok(())
}

/// Disables `intid` at the interrupt controller; its handler stays registered.
pub fn disable(intid: u32) {
    if (intid as usize) < INTIDS {
        gic::disable(intid);
    }
}

/// Enables the timer's interrupt.
pub(crate) fn init() {
    crate::time::enable_interrupt();
}

fn take() {
    let (value, intid) = gic::acknowledge();
    if intid >= gic::SPECIAL {
        return;
    }
    match handler(intid) {
        Some(handler) => {
            unmask_interrupts();
            handler(intid);
            mask_interrupts();
        }
        None => {
            UNHANDLED.fetch_add(1, Relaxed);
        }
    }
    gic::end(value);
}

fn handler(intid: u32) -> Option<Handler> {
    let pointer = HANDLERS.get(intid as usize)?.load(Relaxed);
    if pointer.is_null() {
        return None;
    }
    // SAFETY: `enable` stored a `Handler` there, the only non-null value that is ever stored.
    Some(unsafe { core::mem::transmute::<*mut (), Handler>(pointer) })
}

// `vectors.s` calls it by name.
const _: () = {
    #[unsafe(no_mangle)]
    extern "C" fn __bulkhead_irq() {
        take()
    }
};
