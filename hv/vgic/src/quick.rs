//! Reads of the distributor that drivers repeat, by a short way: constants, and the files that are one
//! shadow word. `mmio` says the same of each of them, at greater length.

use crate::Vgic;
use crate::mmio::{IIDR, LINES, TYPER_V3};

/// Number of the first of the register files 0x80 apart that is answered here, `IGROUPR`.
const FIRST_FILE: u32 = 1;
/// Number of the last, `ICENABLER`.
const LAST_FILE: u32 = 3;

impl Vgic<'_> {
    /// What a read of the word at `offset` of the distributor's frame reads for `vcpu`; none for what
    /// takes longer.
    #[inline(always)]
    #[must_use]
    pub fn quick_read(&self, vcpu: usize, offset: u64) -> Option<u64> {
        let file = (offset >> 7) as u32;
        if offset & 3 != 0 || file > LAST_FILE {
            return None;
        }
        let is_v3 = self.distributor.is_v3();
        if file < FIRST_FILE {
            return match offset {
                4 if is_v3 => Some(TYPER_V3),
                4 => Some(LINES | ((self.interfaces.len() as u64).wrapping_sub(1) & 7) << 5),
                8 => Some(IIDR),
                _ => None,
            };
        }
        let word = (offset >> 2) as usize & 31;
        let bank = if word != 0 {
            self.distributor.shared_bank(word)?
        } else if is_v3 {
            // With affinity routing, word 0 is the redistributor's.
            return Some(0);
        } else {
            &self.interfaces.get(vcpu)?.bank
        };
        let bits = if file == FIRST_FILE { &bank.group } else { &bank.enable };
        Some(u64::from(bits.get() & self.distributor.present(word)))
    }
}
