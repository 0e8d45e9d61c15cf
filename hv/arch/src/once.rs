//! A static that is written once at boot and read ever after.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that the boot CPU sets before the other CPUs look.
pub struct Once<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    set: AtomicBool,
}

// SAFETY: written once before `set` is released, only read afterwards.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Not set.
    #[must_use]
    pub const fn new() -> Self {
        Self { value: UnsafeCell::new(MaybeUninit::uninit()), set: AtomicBool::new(false) }
    }

    /// Sets the value. Boot CPU only, before any other CPU runs; a second call has no effect.
    pub fn set(&self, value: T) {
        if self.set.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: not set yet, so no reference was handed out; only the boot CPU runs.
        unsafe { (*self.value.get()).write(value) };
        self.set.store(true, Ordering::Release);
    }

    /// The value, once set.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        if self.set.load(Ordering::Acquire) {
            // SAFETY: set, and never written again.
            Some(unsafe { (*self.value.get()).assume_init_ref() })
        } else {
            None
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}
