//! The distributor and redistributor frames: which register stands where, and which widths it takes.
//!
//! Registers are words. Bytes are legal for priorities, GICv2 targets and SGI senders; doublewords
//! for the 64-bit registers of GICv3. A reserved word reads as zero and ignores writes; a width that
//! the architecture does not allow is refused.

use crate::Vgic;
use crate::hw::Hardware;
use crate::registers::{File, Registers};
use crate::state::{INTIDS, IRQ_WORDS, VCPUS};

/// Frame of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// GICD: 4 KiB (GICv2) or 64 KiB (GICv3).
    Distributor,
    /// GICR (GICv3): 128 KiB for each vCPU, `RD_base` then `SGI_base`, one behind the other.
    Redistributor,
}

/// Why an access was refused; the guest gets an external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The register does not take accesses of this width.
    Width,
    /// The offset is no multiple of the width.
    Alignment,
    /// The partition has no such frame, or not so much of it.
    Outside,
}

/// Product "B" of implementer 0x43b (JEP106 code of Arm, as guests expect), revision 0.
pub(crate) const IIDR: u64 = 0x4200_043b;
/// ITLinesNumber.
pub(crate) const LINES: u64 = IRQ_WORDS as u64 - 1;
/// GICD_TYPER of GICv3 (IHI 0069, 12.9.38): No1N, 10 INTID bits; no LPIs, MBIs, extended SPIs, A3V.
pub(crate) const TYPER_V3: u64 = (1 << 25) | (9 << 19) | LINES;
/// `GICD_CTLR` (12.9.4): affinity routing and one security state, both fixed.
const CTLR_V3_FIXED: u64 = (1 << 4) | (1 << 6);
/// Identification registers from PIDR4 on: Arm GICv3 distributor; PIDR0 differs for redistributors.
const ID_V3: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// The same of a GIC-400.
const ID_V2: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// PIDR0 of a redistributor.
const ID_REDISTRIBUTOR: u64 = 0x93;
/// Bytes of a redistributor.
const REDISTRIBUTOR_SHIFT: u32 = 17;

impl<'a> Vgic<'a> {
    /// An access of `vcpu`, current here, of `bytes` (1, 2, 4 or 8) to `frame` at `offset`, which
    /// counts from the start of the partition's distributor or of its first redistributor. Returns
    /// what a read reads; of a write, a value of no meaning.
    ///
    /// # Errors
    /// The access is refused; see [`Refused`]. Nothing has changed then.
    pub fn mmio<H: Hardware>(
        &self,
        hw: &'a H,
        vcpu: usize,
        frame: Frame,
        offset: u64,
        bytes: u32,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(Refused::Width);
        }
        if offset & u64::from(bytes - 1) != 0 {
            return Err(Refused::Alignment);
        }
        let is_v3 = self.distributor.is_v3();
        let owner = match frame {
            Frame::Distributor if offset < (if is_v3 { 0x1_0000 } else { 0x1000 }) => vcpu,
            Frame::Redistributor if is_v3 && offset < (VCPUS as u64) << REDISTRIBUTOR_SHIFT => {
                (offset >> REDISTRIBUTOR_SHIFT) as usize
            }
            _ => return Err(Refused::Outside),
        };
        let cpu = self.on(hw, vcpu).ok_or(Refused::Outside)?;
        let banked = self.interfaces.get(owner).ok_or(Refused::Outside)?;
        let registers = Registers { cpu, owner, banked };
        let access = Access { offset: offset as u32 & 0x1_ffff, bytes, write };
        if !is_v3 && access.offset == 0xf00 {
            return self.sgir(hw, vcpu, &access);
        }
        let run = || match frame {
            Frame::Distributor => registers.distributor(&access),
            Frame::Redistributor if access.offset < 0x1_0000 => registers.rd_base(&access),
            Frame::Redistributor => registers.sgi_base(&access),
        };
        if write.is_some() { self.distributor.lock.with(run) } else { run() }
    }

    /// `GICD_SGIR` (IHI 0048, 4.3.15), write-only.
    fn sgir<H: Hardware>(&self, hw: &'a H, vcpu: usize, access: &Access) -> Result<u64, Refused> {
        if let Some(value) = access.word()? {
            let targets = match (value >> 24) & 3 {
                0 => (value >> 16) & 0xff,
                1 => !(1u32 << (vcpu % VCPUS)),
                2 => 1u32 << (vcpu % VCPUS),
                _ => 0,
            };
            if self.send_sgi(hw, vcpu, targets, value & 0xf) {
                self.sgi_to_self(hw, vcpu, value & 0xf);
            }
        }
        Ok(0)
    }
}

/// An aligned access within a frame.
struct Access {
    offset: u32,
    bytes: u32,
    write: Option<u64>,
}

impl Access {
    /// What is written to a register of 32 bits.
    fn word(&self) -> Result<Option<u32>, Refused> {
        if self.bytes != 4 {
            return Err(Refused::Width);
        }
        Ok(self.write.map(|value| value as u32))
    }

    /// The width is that of a register of byte fields.
    fn byte_or_word(&self) -> Result<(), Refused> {
        if matches!(self.bytes, 1 | 4) { Ok(()) } else { Err(Refused::Width) }
    }

    /// A read of a 64-bit register as a whole or by halves.
    fn double(&self, value: u64) -> Result<u64, Refused> {
        match self.bytes {
            8 => Ok(value),
            4 if self.offset & 4 == 0 => Ok(value & 0xffff_ffff),
            4 => Ok(value >> 32),
            _ => Err(Refused::Width),
        }
    }

    /// Identification register at `self.offset`, of the twelve that end the frame.
    fn id(&self, id: &[u8; 12]) -> u64 {
        let n = ((self.offset & 0xfff).wrapping_sub(0xfd0) >> 2) as usize;
        id.get(n).map_or(0, |byte| u64::from(*byte))
    }
}

impl<H: Hardware> Registers<'_, H> {
    fn distributor(&self, access: &Access) -> Result<u64, Refused> {
        let is_v3 = self.cpu.distributor.is_v3();
        let offset = access.offset;
        match offset {
            0x400..0x800 => {
                access.byte_or_word()?;
                let intid = offset - 0x400;
                // With affinity routing, word 0 is the redistributor's.
                let absent = intid >= INTIDS || (is_v3 && intid < 32);
                Ok(if absent { 0 } else { self.priorities(intid, access.bytes, access.write) })
            }
            0x800..0xc00 => {
                access.byte_or_word()?;
                Ok(if is_v3 { 0 } else { self.targets(offset - 0x800, access) })
            }
            0xf10..0xf30 if !is_v3 => {
                access.byte_or_word()?;
                Ok(self.sgi_senders(offset >= 0xf20, offset & 0xf, access.bytes, access.write))
            }
            0x6100..0x8000 if is_v3 => self.router(access),
            _ => self.distributor_word(access, is_v3),
        }
    }

    fn distributor_word(&self, access: &Access, is_v3: bool) -> Result<u64, Refused> {
        let write = access.word()?;
        let offset = access.offset;
        let vcpus = self.cpu.all.len() as u64;
        Ok(match offset {
            0x000 => {
                if let Some(value) = write {
                    self.enable_groups(value & 3);
                }
                u64::from(self.cpu.distributor.groups.get()) | if is_v3 { CTLR_V3_FIXED } else { 0 }
            }
            0x004 if is_v3 => TYPER_V3,
            0x004 => LINES | ((vcpus.wrapping_sub(1) & 7) << 5),
            0x008 => IIDR,
            0x080..0x400 => {
                let word = (offset as usize & 0x7c) >> 2;
                if word >= IRQ_WORDS || (is_v3 && word == 0) { 0 } else { self.bits(offset, word, write) }
            }
            0xc00..0xd00 => {
                let index = (offset as usize & 0xfc) >> 2;
                let absent = index >= 2 * IRQ_WORDS || (is_v3 && index < 2);
                if absent { 0 } else { u64::from(self.config(index, write)) }
            }
            0xffd0..=0xffff => access.id(&ID_V3),
            0xfd0..=0xfff if !is_v3 => access.id(&ID_V2),
            _ => 0,
        })
    }

    /// A word of a register file with one bit per interrupt.
    fn bits(&self, offset: u32, word: usize, write: Option<u32>) -> u64 {
        let Some(file) = File::at(offset) else {
            return 0;
        };
        match write {
            Some(value) => {
                self.write(file, word, value);
                0
            }
            None => u64::from(self.read(file, word)),
        }
    }

    /// `ITARGETSR` (GICv2): of SGIs and PPIs the reader's own bit.
    fn targets(&self, intid: u32, access: &Access) -> u64 {
        let mut read = 0;
        for lane in 0..access.bytes.min(4) {
            let byte = match intid + lane {
                0..32 => 1 << (self.cpu.vcpu % VCPUS),
                intid @ 32..INTIDS => {
                    self.target(intid, access.write.map(|value| (value >> (8 * lane)) as u8))
                }
                _ => 0,
            };
            read |= u64::from(byte) << (8 * lane);
        }
        read
    }

    /// `IROUTER<n>` (12.9.22): Aff0 is kept, the other affinities and 1-of-N read as zero.
    fn router(&self, access: &Access) -> Result<u64, Refused> {
        let intid = (access.offset - 0x6000) >> 3;
        let write = access.write.filter(|_| access.offset & 4 == 0).map(|value| value as u8);
        if access.bytes < 4 {
            return Err(Refused::Width);
        }
        let value = if intid < INTIDS { self.target(intid, write) } else { 0 };
        access.double(u64::from(value))
    }

    /// `RD_base` (12.11).
    fn rd_base(&self, access: &Access) -> Result<u64, Refused> {
        match access.offset {
            0x008 | 0x00c => {
                let n = self.owner as u64;
                let last = self.owner + 1 == self.cpu.all.len();
                return access.double((n << 32) | (n << 8) | (u64::from(last) << 4));
            }
            // The 64-bit registers of LPIs.
            0x040..0x050 | 0x070..0x080 | 0x0a0..0x0c0 => return access.double(0),
            _ => {}
        }
        let write = access.word()?;
        Ok(match access.offset {
            0x004 => IIDR,
            0x014 => {
                if let Some(value) = write {
                    self.banked.asleep.put((value >> 1) & 1);
                }
                // ProcessorSleep and, following it, ChildrenAsleep.
                u64::from(self.banked.asleep.get()) * 6
            }
            0xffe0 => ID_REDISTRIBUTOR,
            0xffd0..=0xffff => access.id(&ID_V3),
            _ => 0,
        })
    }

    /// `SGI_base` (12.11): word 0 of the register files.
    fn sgi_base(&self, access: &Access) -> Result<u64, Refused> {
        let offset = access.offset & 0xffff;
        if let 0x400..0x420 = offset {
            access.byte_or_word()?;
            return Ok(self.priorities(offset - 0x400, access.bytes, access.write));
        }
        let write = access.word()?;
        Ok(match offset {
            0x080 | 0x100 | 0x180 | 0x200 | 0x280 | 0x300 | 0x380 => self.bits(offset, 0, write),
            0xc00 => u64::from(self.config(0, None)),
            0xc04 => u64::from(self.config(1, write)),
            0xffe0 => ID_REDISTRIBUTOR,
            0xffd0..=0xffff => access.id(&ID_V3),
            _ => 0,
        })
    }
}
