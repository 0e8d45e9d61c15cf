//! Reads of the distributor that drivers repeat, by a short way: constants, and the files that are one
//! shadow word. `registers` says the same of each of them, at greater length.

use crate::Seat;
use crate::hw::Hardware;
use crate::registers::{IIDR, LINES, TYPER_V3};
use crate::state::IRQ_WORDS;

/// Number of the first of the register files 0x80 apart that is answered here, `IGROUPR`.
const FIRST_FILE: u32 = 1;
/// Number of the last, `ICENABLER`.
const LAST_FILE: u32 = 3;

impl Seat<'_> {
    /// What a read of the word at `offset` of the distributor's frame reads; none for what takes longer.
    #[inline(always)]
    pub fn quick_read<H: Hardware>(&self, hw: &H, offset: u64) -> Option<u64> {
        if offset & 3 != 0 || offset >> 7 > u64::from(LAST_FILE) {
            return None;
        }
        let file = (offset >> 7) as u32;
        let is_v3 = hw.is_v3();
        if file < FIRST_FILE {
            return match offset {
                4 if is_v3 => Some(TYPER_V3),
                4 => Some(LINES | ((self.all.len() as u64).wrapping_sub(1) & 7) << 5),
                8 => Some(IIDR),
                _ => None,
            };
        }
        let word = (offset >> 2) as usize & 31;
        // With affinity routing, word 0 is the redistributor's.
        if word >= IRQ_WORDS || (word == 0 && is_v3) {
            return Some(0);
        }
        let bank = self.distributor.bank(self.me, word);
        let bits = if file == FIRST_FILE { &bank.group } else { &bank.enable };
        Some(u64::from(bits.get() & self.distributor.present(word)))
    }
}
