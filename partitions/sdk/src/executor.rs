//! embassy-executor on AArch64 EL1: one executor for each interrupt priority, and one below them all.
//!
//! An [`InterruptExecutor`] polls its tasks in the handler of a software-generated interrupt of its
//! own; waking a task sends that interrupt to this CPU, and the GIC's priorities decide what
//! pre-empts what. [`ThreadExecutor`] runs in the foreground and sleeps in WFI.

use crate::gic;
use crate::interrupt::{self, EnableError, priority};
use crate::registers::{mask_interrupts, unmask_interrupts, wait_for_interrupt};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use embassy_executor::{SendSpawner, Spawner, raw};

/// Context of the thread executor for the pender; an interrupt executor's is its SGI.
const THREAD: usize = usize::MAX;
/// Software-generated interrupts that Linux and other guests leave to the kernel: 0 to 15.
const SGIS: usize = 16;

static THREAD_WOKEN: AtomicBool = AtomicBool::new(false);
static RUNNING: [AtomicPtr<raw::Executor>; SGIS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; SGIS];

// embassy-executor calls it by name when a task of an executor becomes ready.
const _: () = {
    #[unsafe(export_name = "__pender")]
    fn pender(context: *mut ()) {
        match context.addr() {
            THREAD => THREAD_WOKEN.store(true, Ordering::Release),
            sgi => gic::send_to_self(sgi as u8),
        }
    }
};

/// Runs tasks of the lowest priority; every interrupt executor pre-empts them.
pub struct ThreadExecutor {
    inner: raw::Executor,
    not_send: PhantomData<*mut ()>,
}

impl ThreadExecutor {
    /// An executor without tasks.
    #[expect(clippy::new_without_default, reason = "one for each partition")]
    pub fn new() -> Self {
        Self { inner: raw::Executor::new(core::ptr::without_provenance_mut(THREAD)), not_send: PhantomData }
    }

    /// Spawns the first tasks with `init` and runs for ever.
    pub fn run(&'static mut self, init: impl FnOnce(Spawner)) -> ! {
        init(self.inner.spawner());
        loop {
            // SAFETY: only here, and not from within a task: `run` takes the executor for ever.
            unsafe { self.inner.poll() };
            // With IRQs masked, a wake between the look and the WFI is not lost: WFI ends on a
            // pending interrupt whether it is masked or not.
            mask_interrupts();
            if !THREAD_WOKEN.swap(false, Ordering::Acquire) {
                wait_for_interrupt();
            }
            unmask_interrupts();
        }
    }
}

/// Runs tasks at an interrupt priority. Place it in a static, one for each priority.
pub struct InterruptExecutor {
    inner: UnsafeCell<MaybeUninit<raw::Executor>>,
    started: AtomicBool,
}

// SAFETY: `inner` is written once, by the one call of `start` that wins `started`, before the
// executor's SGI is enabled; afterwards it is shared by reference only, and raw::Executor is Sync.
unsafe impl Sync for InterruptExecutor {}

impl InterruptExecutor {
    /// An executor that is not started.
    #[expect(clippy::new_without_default, reason = "made for statics")]
    pub const fn new() -> Self {
        Self { inner: UnsafeCell::new(MaybeUninit::uninit()), started: AtomicBool::new(false) }
    }

    /// Starts the executor on software-generated interrupt `sgi` (0 to 15, not used otherwise) with
    /// a GIC priority between [`priority::EXECUTOR_HIGHEST`] and [`priority::LOWEST`].
    ///
    /// `Taken` if the executor was started before or the SGI has a handler.
    pub fn start(&'static self, sgi: u8, gic_priority: u8) -> Result<SendSpawner, EnableError> {
        let running = RUNNING.get(usize::from(sgi)).ok_or(EnableError::NoSuchInterrupt)?;
        if self.started.swap(true, Ordering::Relaxed) {
            return Err(EnableError::Taken);
        }
        let context = core::ptr::without_provenance_mut(usize::from(sgi));
        // SAFETY: `started` lets one caller through, and nobody else looks at `inner` before.
        let executor = unsafe { &*(*self.inner.get()).write(raw::Executor::new(context)) };
        let free = running.compare_exchange(
            core::ptr::null_mut(),
            core::ptr::from_ref(executor).cast_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if free.is_err() {
            return Err(EnableError::Taken);
        }
        let allowed = gic_priority.clamp(priority::EXECUTOR_HIGHEST, priority::LOWEST);
        interrupt::enable(u32::from(sgi), allowed, poll)?;
        Ok(executor.spawner().make_send())
    }
}

fn poll(sgi: u32) {
    let executor = RUNNING[sgi as usize % SGIS].load(Ordering::Acquire);
    // SAFETY: null or a started executor in a static (`start`). The GIC does not deliver an SGI of
    // the priority that is being handled, so the executor is not polled from within itself.
    if let Some(executor) = unsafe { executor.as_ref() } {
        // SAFETY: as above.
        unsafe { executor.poll() };
    }
}
