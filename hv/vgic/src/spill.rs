//! Active interrupts that had to leave their list registers, in the order in which they left.
//!
//! The one of lowest priority leaves first, and an interrupt becomes active only above all that are
//! active. So with EOImode = 0, where guests end the highest first, the last to leave ends first,
//! whatever the guest has done to the priorities since.

use crate::state::place_of;
use crate::words::Word;

/// With EOImode = 0 no more interrupts can be active than there are priorities.
const DEPTH: usize = 32;

/// A stack of INTIDs, written by the vCPU's CPU.
#[derive(Debug)]
pub(crate) struct Spilled {
    intids: [Word; DEPTH],
    depth: Word,
}

impl Spilled {
    pub(crate) const fn new() -> Self {
        Self { intids: [const { Word::new(0) }; DEPTH], depth: Word::new(0) }
    }

    #[inline]
    pub(crate) fn depth(&self) -> usize {
        (self.depth.get() as usize).min(DEPTH)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.depth() == DEPTH
    }

    pub(crate) fn clear(&self) {
        self.depth.put(0);
    }

    /// Which interrupts of `word` are on the stack.
    pub(crate) fn bits(&self, word: usize) -> u32 {
        let intids = self.intids.iter().take(self.depth());
        intids.fold(0, |bits, intid| match place_of(intid.get()) {
            (of, bit) if of == word => bits | bit,
            _ => bits,
        })
    }

    /// Puts `intid` on top. Lost if the stack is full.
    pub(crate) fn push(&self, intid: u32) {
        let depth = self.depth();
        if let Some(slot) = self.intids.get(depth) {
            slot.put(intid);
            self.depth.put(depth as u32 + 1);
        }
    }

    /// The INTID on top, which stays.
    pub(crate) fn top(&self) -> Option<u32> {
        self.intids.get(self.depth().wrapping_sub(1)).map(Word::get)
    }

    /// Takes `intid` out, wherever it stands.
    pub(crate) fn remove(&self, intid: u32) {
        let depth = self.depth();
        let mut kept = 0;
        for slot in self.intids.iter().take(depth) {
            let value = slot.get();
            if value != intid
                && let Some(to) = self.intids.get(kept)
            {
                to.put(value);
                kept += 1;
            }
        }
        self.depth.put(kept as u32);
    }
}
