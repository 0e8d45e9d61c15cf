//! What belongs to one CPU: its index, and the right to its state.
//!
//! A handler gets `&mut Cpu`, and there is one `Cpu` for each CPU: holding it proves that the code
//! runs on that CPU and that nobody else there holds it (EL2 runs with interrupts masked, and a
//! guest's trap is the only way in). [`PerCpu`] and [`Bound`] turn that proof into access.

use crate::regs::{execute, read, write};
use bulkhead_blueprint::limits::CPUS_MAX;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A CPU, seen by code that runs on it.
pub struct Cpu {
    index: usize,
    /// Not `Send`, not `Sync`: it proves where the code runs.
    bound: PhantomData<*mut ()>,
}

/// The blocks that TPIDR_EL2 points to.
struct Blocks([UnsafeCell<Cpu>; CPUS_MAX]);

// SAFETY: block n is touched by CPU n alone, through TPIDR_EL2 and in `Cpu::enter`.
unsafe impl Sync for Blocks {}

static BLOCKS: Blocks = Blocks([const { UnsafeCell::new(Cpu { index: 0, bound: PhantomData }) }; CPUS_MAX]);

/// 1 for each CPU that has claimed its block.
static CLAIMED: [AtomicUsize; CPUS_MAX] = [const { AtomicUsize::new(0) }; CPUS_MAX];

impl Cpu {
    /// The calling CPU's own block. Once for each CPU; `None` for a second claim, or if the CPU is not
    /// the one that `index` says.
    #[must_use]
    pub fn claim(index: usize) -> Option<&'static mut Self> {
        if read!("mpidr_el1") & 0xFF != index as u64 {
            return None;
        }
        let claimed = CLAIMED.get(index)?;
        if claimed.load(Ordering::Relaxed) != 0 {
            return None;
        }
        claimed.store(1, Ordering::Relaxed);
        let block = BLOCKS.0.get(index)?.get();
        // SAFETY: the claim above is taken once, by the CPU with this index, so this is the only
        // reference until that CPU enters its guests; from then on `vectors.s` makes one a trap.
        let cpu = unsafe { &mut *block };
        cpu.index = index;
        write!("tpidr_el2", block as u64);
        Some(cpu)
    }

    /// This CPU's index in the blueprint.
    #[inline(always)]
    #[must_use]
    pub fn index(&self) -> usize {
        self.index & (CPUS_MAX - 1)
    }

    /// Leaves boot for good: the CPU's reschedule handler chooses the first guest.
    pub fn enter(&'static mut self) -> ! {
        unsafe extern "C" {
            fn bulkhead_enter(index: u64) -> !;
        }
        execute!("isb");
        // SAFETY: the stack starts anew at the end of this CPU's own; nothing on it is used again, since
        // this function never returns and `self`, given away for ever, is found again by TPIDR_EL2.
        unsafe { bulkhead_enter(self.index() as u64) }
    }
}

/// State of which every CPU has one.
pub struct PerCpu<T>([UnsafeCell<T>; CPUS_MAX]);

// SAFETY: element n is reachable only with the `Cpu` of CPU n, of which there is one.
unsafe impl<T: Send> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// With an initial value for each CPU.
    #[must_use]
    pub const fn new(values: [UnsafeCell<T>; CPUS_MAX]) -> Self {
        Self(values)
    }

    /// This CPU's own.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "the exclusive borrow is that of the Cpu")]
    pub fn get<'a>(&'a self, cpu: &'a mut Cpu) -> &'a mut T {
        // SAFETY: `cpu` proves that this is CPU `index` and is borrowed for as long as the result,
        // so there is no second reference to the element.
        unsafe { &mut *self.0[cpu.index()].get() }
    }
}

/// State of which there are several on one CPU (the contexts of vCPUs), at most `N`, each bound to its CPU.
pub struct Bound<T, const N: usize> {
    values: AtomicPtr<T>,
    /// CPU index plus one; 0: not bound.
    owners: [AtomicUsize; N],
}

// SAFETY: an element is reachable only with the `Cpu` that it is bound to, of which there is one,
// and it is bound once.
unsafe impl<T: Send, const N: usize> Sync for Bound<T, N> {}

impl<T, const N: usize> Bound<T, N> {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: AtomicPtr::new(core::ptr::null_mut()), owners: [const { AtomicUsize::new(0) }; N] }
    }

    /// Binds each value to a CPU. At boot, by the boot CPU, before the others run guests; once.
    pub fn bind(&self, values: &'static mut [T], cpus: impl Iterator<Item = usize>) {
        if !self.values.load(Ordering::Relaxed).is_null() {
            return;
        }
        let count = values.len();
        self.values.store(values.as_mut_ptr(), Ordering::Relaxed);
        for (owner, cpu) in self.owners.iter().take(count).zip(cpus) {
            owner.store(cpu + 1, Ordering::Release);
        }
    }

    /// Element `n`, if it is bound to this CPU.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the exclusive borrow is that of the Cpu")]
    pub fn get<'a>(&'a self, cpu: &'a mut Cpu, n: usize) -> Option<&'a mut T> {
        if self.owners.get(n)?.load(Ordering::Relaxed) != cpu.index() + 1 {
            return None;
        }
        // SAFETY: as for `PerCpu::get`; an element's owner never changes once set, and has one only if there
        // is an element, in a slice that was given away for ever.
        Some(unsafe { &mut *self.values.load(Ordering::Relaxed).add(n) })
    }
}

impl<T, const N: usize> Default for Bound<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// This CPU's own of `each`, and element `n` of `bound` if it is bound to this CPU.
#[inline(always)]
pub fn both<'a, T, U, const N: usize>(
    cpu: &'a mut Cpu,
    each: &'a PerCpu<T>,
    bound: &'a Bound<U, N>,
    n: usize,
) -> (&'a mut T, Option<&'a mut U>) {
    let owner = cpu.index() + 1;
    let is_own = bound.owners.get(n).is_some_and(|cpu| cpu.load(Ordering::Relaxed) == owner);
    // SAFETY: as for `PerCpu::get` and `Bound::get`; `each` and `bound` are two objects, so the two
    // references never meet, and `cpu` is borrowed for as long as both.
    unsafe {
        let own = &mut *each.0[owner - 1].get();
        (own, if is_own { Some(&mut *bound.values.load(Ordering::Relaxed).add(n)) } else { None })
    }
}
