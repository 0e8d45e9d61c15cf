//! The state of 32 interrupts, one bit each, and the lock that orders its writers.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use zerocopy::FromZeros;

/// 32 bits that several CPUs read and one at a time writes: relaxed plain loads and stores.
#[derive(Debug, FromZeros)]
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn put(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, bits: u32) {
        self.put(self.get() | bits);
    }

    pub(crate) fn clear(&self, bits: u32) {
        self.put(self.get() & !bits);
    }

    /// Sets or clears `bits`.
    pub(crate) fn assign(&self, bits: u32, set: bool) {
        self.put(if set { self.get() | bits } else { self.get() & !bits });
    }

    /// The value, before everything that is read after it.
    pub(crate) fn acquire(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Stores after everything that was stored before.
    #[inline(always)]
    pub(crate) fn publish(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    /// Whether any of `bits` is set.
    pub(crate) fn has(&self, bits: u32) -> bool {
        self.get() & bits != 0
    }
}

const PLANES: usize = 5;

/// What an injection needs of an interrupt, in a byte of its own: the priority, of which the upper five
/// bits are implemented, and bit 0 for Group 1.
#[derive(Debug, FromZeros)]
pub(crate) struct Traits(AtomicU8);

impl Traits {
    const PRIORITY: u8 = 0xf8;

    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Priority, and whether it is in Group 1.
    #[inline(always)]
    pub(crate) fn get(&self) -> (u8, bool) {
        let traits = self.0.load(Ordering::Relaxed);
        (traits & Self::PRIORITY, traits & 1 != 0)
    }

    /// The group is 1 if the lowest bit of `group1` is.
    #[inline(always)]
    pub(crate) fn regroup(&self, group1: u32) {
        self.0.store(self.0.load(Ordering::Relaxed) & !1 | group1 as u8 & 1, Ordering::Relaxed);
    }

    pub(crate) fn put(&self, priority: u8, group1: bool) {
        self.0.store(priority & Self::PRIORITY | u8::from(group1), Ordering::Relaxed);
    }
}

/// The distributor's state of 32 interrupts. Priorities and groups stand twice: in [`Traits`], which
/// the injection reads, and here by bits, so that the highest of many pending interrupts is found word by
/// word.
#[derive(Debug, FromZeros)]
pub(crate) struct Bank {
    /// Group 1 (else Group 0).
    pub(crate) group: Word,
    /// Enabled by the guest.
    pub(crate) enable: Word,
    /// Pending latches of software interrupts that are in no list register.
    pub(crate) pending: Word,
    /// Software interrupts that the guest made active by `ISACTIVER`.
    pub(crate) active: Word,
    /// Edge-triggered (else level-sensitive).
    pub(crate) edge: Word,
    /// Lines of emulated devices.
    pub(crate) level: Word,
    planes: [Word; PLANES],
}

impl Bank {
    pub(crate) const fn new() -> Self {
        Self {
            group: Word::new(0),
            enable: Word::new(0),
            pending: Word::new(0),
            active: Word::new(0),
            edge: Word::new(0),
            level: Word::new(0),
            planes: [const { Word::new(0) }; PLANES],
        }
    }

    /// To reset state, with the interrupts of `edge` edge-triggered and those of `enable` enabled.
    pub(crate) fn reset(&self, edge: u32, enable: u32) {
        let flags = [&self.group, &self.pending, &self.active, &self.level];
        flags.into_iter().chain(&self.planes).for_each(|word| word.put(0));
        self.edge.put(edge);
        self.enable.put(enable);
    }

    /// Enabled by the guest, and their group too (`groups`: bit 0 Group 0, bit 1 Group 1).
    #[inline(always)]
    pub(crate) fn enabled(&self, groups: u32) -> u32 {
        let group = self.group.get();
        let zero = 0u32.wrapping_sub(groups & 1);
        let one = 0u32.wrapping_sub((groups >> 1) & 1);
        self.enable.get() & ((group & one) | (!group & zero))
    }

    /// Software interrupts that are pending outside list registers, by latch or by line.
    pub(crate) fn raised(&self) -> u32 {
        self.pending.get() | (self.level.get() & !self.edge.get())
    }

    /// Sets the priorities of `interrupts`, at most four from `lowest` on: the bytes of `priorities`.
    pub(crate) fn set_priorities(&self, interrupts: u32, lowest: u32, priorities: u32) {
        for (n, plane) in self.planes.iter().enumerate() {
            let bits = lowest_bits(priorities >> (7 - n));
            plane.put(plane.get() & !interrupts | lowest.wrapping_mul(bits) & interrupts);
        }
    }

    /// Of `ready` (not 0), the interrupt of highest priority, the lowest of several: its bit.
    pub(crate) fn best(&self, ready: u32) -> u32 {
        let narrow = |left: u32, plane: usize| match left & !self.planes[plane].get() {
            0 => left,
            better => better,
        };
        narrow(narrow(narrow(narrow(narrow(ready, 0), 1), 2), 3), 4)
    }
}

/// A ticket lock: first come, first served. Only the CPUs of one partition's vCPUs and the
/// console's take it, EL2 masks interrupts while it holds it, so a wait is bounded by that many
/// short sections and concerns no other partition (ruling 5).
#[derive(Debug, FromZeros)]
pub(crate) struct Lock {
    next: AtomicU32,
    serving: AtomicU32,
}

impl Lock {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0) }
    }

    /// Runs `section` alone. Not re-entrant.
    pub(crate) fn with<R>(&self, section: impl FnOnce() -> R) -> R {
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

/// The numbers of the bits of `word`, lowest first.
#[inline(always)]
pub(crate) fn bits(word: u32) -> impl Iterator<Item = u32> {
    let mut left = word;
    core::iter::from_fn(move || {
        let n = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (n < 32).then_some(n)
    })
}

/// The lowest bits of four bytes, as four bits.
#[inline(always)]
pub(crate) fn lowest_bits(bytes: u32) -> u32 {
    let bits = bytes & 0x0101_0101;
    (bits | bits >> 7 | bits >> 14 | bits >> 21) & 0xf
}

/// The lowest `count` bits, `count` below 32.
#[inline(always)]
pub(crate) fn mask(count: usize) -> u32 {
    (1 << (count & 31)) - 1
}
