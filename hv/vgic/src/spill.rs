//! Active interrupts that are in no list register, in the order in which they were moved out.
//!
//! With EOImode = 0 an interrupt becomes active only above all that are active, and guests end the
//! highest first, whatever they have done to the priorities since: the one on top ends first.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::hw::{LIST_REGISTERS_MAX, Lr};
use crate::state::{IRQ_WORDS, at, place_of};
use crate::words::Word;
use zerocopy::FromZeros;

/// Most that stay out of the list registers while a guest runs. With EOImode = 0 no more can be active
/// than there are priorities.
pub(crate) const SPILLED_MAX: usize = 32;
const SLOTS: usize = SPILLED_MAX + LIST_REGISTERS_MAX;

/// A stack of list register contents, the highest priority on top, written by the vCPU's CPU.
#[derive(Debug, FromZeros)]
pub(crate) struct Spilled {
    slots: [AtomicU64; SLOTS],
    depth: Word,
    /// Which interrupts are on the stack: none is twice.
    interrupts: [Word; IRQ_WORDS],
}

impl Spilled {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const { AtomicU64::new(0) }; SLOTS],
            depth: Word::new(0),
            interrupts: [const { Word::new(0) }; IRQ_WORDS],
        }
    }

    pub(crate) fn depth(&self) -> usize {
        (self.depth.get() as usize).min(SLOTS)
    }

    pub(crate) fn clear(&self) {
        self.depth.put(0);
        self.interrupts.iter().for_each(|word| word.put(0));
    }

    #[inline(always)]
    fn get(&self, slot: usize) -> Lr {
        Lr::from_bits(self.slots[slot.min(SLOTS - 1)].load(Ordering::Relaxed))
    }

    fn put(&self, slot: usize, lr: Lr) {
        self.slots[slot.min(SLOTS - 1)].store(lr.bits(), Ordering::Relaxed);
    }

    /// Which interrupts of `word` are on the stack.
    pub(crate) fn bits(&self, word: usize) -> u32 {
        at(&self.interrupts, word).get()
    }

    /// Puts `lr` below those of higher priority, but above the lowest `floor`. There are never more than
    /// slots: see [`crate::Cpu::deal`].
    pub(crate) fn push(&self, lr: Lr, floor: usize) {
        let (word, bit) = place_of(lr.intid());
        at(&self.interrupts, word).set(bit);
        let mut slot = self.depth();
        self.depth.put(slot as u32 + 1);
        while slot > floor && self.get(slot - 1).priority() < lr.priority() {
            self.put(slot, self.get(slot - 1));
            slot -= 1;
        }
        self.put(slot, lr);
    }

    /// Takes the one on top.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Lr> {
        let top = self.depth().checked_sub(1)?;
        self.depth.put(top as u32);
        let lr = self.get(top);
        let (word, bit) = place_of(lr.intid());
        at(&self.interrupts, word).clear(bit);
        Some(lr)
    }

    /// Takes interrupts `bits` of `word` out, wherever they stand.
    pub(crate) fn remove(&self, word: usize, bits: u32) {
        if self.bits(word) & bits == 0 {
            return;
        }
        at(&self.interrupts, word).clear(bits);
        let mut kept = 0;
        for slot in 0..self.depth() {
            let lr = self.get(slot);
            let (of, bit) = place_of(lr.intid());
            if of != word || bits & bit == 0 {
                self.put(kept, lr);
                kept += 1;
            }
        }
        self.depth.put(kept as u32);
    }
}
