//! The emulated PL011 UART (Arm DDI 0183G) of a partition.
//!
//! Its FIFOs are the partition's console rings, so transmission never waits (`FR.TXFE` is always
//! one) and the receive FIFO refills itself from the input ring. Identification bytes are those of
//! QEMU's model, whose FIFO has 16 entries; Linux' `amba-pl011` and the Zephyr and FreeRTOS drivers
//! run unmodified.
//!
//! Honest limits: settings for baud rate, DMA, loopback and modem lines are stored without effect;
//! framing, parity, break and overrun never occur. The receive time-out is immediate: `RIS.RT` is set
//! while any byte waits, and clearing it takes reading the byte.

use crate::ring::RingRef;
use core::sync::atomic::{AtomicU16, Ordering};
use zerocopy::FromZeros;

/// Entries of the receive FIFO that `FR.RXFF` and the trigger levels refer to.
const FIFO_DEPTH: u32 = 16;

/// Register offsets (DDI 0183G, 3.2).
mod offset {
    pub const DR: u64 = 0x00;
    pub const FR: u64 = 0x18;
    pub const ILPR: u64 = 0x20;
    pub const LCR_H: u64 = 0x2C;
    pub const CR: u64 = 0x30;
    pub const IFLS: u64 = 0x34;
    pub const IMSC: u64 = 0x38;
    pub const RIS: u64 = 0x3C;
    pub const MIS: u64 = 0x40;
    pub const ICR: u64 = 0x44;
    pub const PERIPH_ID0: u64 = 0xFE0;
    pub const END: u64 = 0x1000;
}

/// PeriphID0 to 3 and PCellID0 to 3.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1];

const FR_RXFE: u16 = 1 << 4;
const FR_RXFF: u16 = 1 << 6;
const FR_TXFE: u16 = 1 << 7;
const LCR_FEN: u16 = 1 << 4;
const INT_RX: u16 = 1 << 4;
const INT_TX: u16 = 1 << 5;
const INT_RT: u16 = 1 << 6;
const INT_ALL: u16 = 0x7FF;
/// CR after reset: receiver and transmitter enabled.
const CR_RESET: u16 = 0x300;
/// IFLS after reset: both triggers at one half.
const IFLS_RESET: u16 = 0x12;

/// Why an access was refused; the guest gets an external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wider than 32 bits: the APB has no such transfer.
    Width,
    /// Not at a register's first byte.
    Misaligned,
    /// Outside the 4 KiB frame.
    Outside,
}

/// Writable bits of the registers from [`offset::ILPR`] to DMACR at 0x48, a word each; none of
/// RIS, MIS and ICR, which are not stored.
const WRITABLE: [u16; 11] = [0xFF, 0xFFFF, 0x3F, 0xFF, 0xFF87, 0x3F, INT_ALL, 0, 0, 0, 0x7];

/// Place in [`Pl011::stored`] of the register at `offset`.
const fn place(offset: u64) -> usize {
    (offset.wrapping_sub(offset::ILPR) / 4) as usize
}

/// Registers of one emulated UART. Accesses of several vCPUs are serialised by the caller
/// ([`crate::serial::Serial`]). All zero until [`Pl011::reset`], before any access.
#[derive(Debug, Default, FromZeros)]
pub struct Pl011 {
    stored: [AtomicU16; WRITABLE.len()],
    /// `INT_TX` once something was transmitted and not cleared since.
    transmitted: AtomicU16,
}

impl Pl011 {
    /// To the state after reset.
    pub fn reset(&self) {
        for register in &self.stored {
            register.store(0, Ordering::Relaxed);
        }
        self.transmitted.store(0, Ordering::Relaxed);
        self.stored[place(offset::CR)].store(CR_RESET, Ordering::Relaxed);
        self.stored[place(offset::IFLS)].store(IFLS_RESET, Ordering::Relaxed);
    }

    fn get(&self, offset: u64) -> u16 {
        let register = self.stored.get(place(offset));
        register.map_or(0, |register| register.load(Ordering::Relaxed))
    }

    /// The interrupt line: any masked interrupt status (`UARTINTR`).
    #[inline]
    #[must_use]
    pub fn line(&self, input: RingRef<'_>) -> bool {
        self.raw_status(input) & self.get(offset::IMSC) != 0
    }

    /// One access of `bytes` bytes at `offset` of the frame. Returns the value read, 0 for writes.
    ///
    /// # Errors
    /// [`Refused`] for what the bus would not carry.
    pub fn access(
        &self,
        output: RingRef<'_>,
        input: RingRef<'_>,
        offset: u64,
        bytes: u32,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        if offset >= offset::END {
            return Err(Refused::Outside);
        }
        if bytes > 4 {
            return Err(Refused::Width);
        }
        if offset & 3 != 0 {
            return Err(Refused::Misaligned);
        }
        if let Some(value) = write {
            self.write(output, offset, value as u16);
            return Ok(0);
        }
        let value = self.read(input, offset);
        Ok(u64::from(if bytes == 1 { value & 0xFF } else { value }))
    }

    fn write(&self, output: RingRef<'_>, offset: u64, value: u16) {
        match offset {
            offset::DR => {
                output.push(&[value as u8]);
                self.transmitted.store(INT_TX, Ordering::Relaxed);
            }
            offset::ICR => {
                let kept = self.transmitted.load(Ordering::Relaxed) & !value;
                self.transmitted.store(kept, Ordering::Relaxed);
            }
            _ => {
                let place = place(offset);
                if let (Some(register), Some(mask)) = (self.stored.get(place), WRITABLE.get(place)) {
                    register.store(value & mask, Ordering::Relaxed);
                }
            }
        }
    }

    fn read(&self, input: RingRef<'_>, offset: u64) -> u16 {
        match offset {
            offset::DR => u16::from(input.pop().unwrap_or(0)),
            offset::FR => self.flags(input),
            offset::RIS => self.raw_status(input),
            offset::MIS => self.raw_status(input) & self.get(offset::IMSC),
            offset::PERIPH_ID0.. => {
                let index = (offset - offset::PERIPH_ID0) / 4;
                let byte = IDENTIFICATION.get(index as usize);
                byte.map_or(0, |byte| u16::from(*byte))
            }
            // RSR/ECR, where no error is ever recorded, and reserved offsets read zero.
            _ => self.get(offset),
        }
    }

    /// Entries that the receive FIFO holds: one without `LCR_H.FEN`.
    fn fifo_depth(&self) -> u32 {
        if self.get(offset::LCR_H) & LCR_FEN != 0 { FIFO_DEPTH } else { 1 }
    }

    fn flags(&self, input: RingRef<'_>) -> u16 {
        let waiting = input.len();
        let mut flags = FR_TXFE;
        if waiting == 0 {
            flags |= FR_RXFE;
        }
        if waiting >= self.fifo_depth() {
            flags |= FR_RXFF;
        }
        flags
    }

    /// `RIS`: TX after a transmission until cleared, RX at the trigger level, RT while a byte waits.
    fn raw_status(&self, input: RingRef<'_>) -> u16 {
        let mut status = self.transmitted.load(Ordering::Relaxed);
        let waiting = input.len();
        if waiting != 0 {
            let depth = self.fifo_depth();
            let trigger = match (self.get(offset::IFLS) >> 3) & 7 {
                0 => depth / 8,
                1 => depth / 4,
                2 => depth / 2,
                3 => depth / 4 * 3,
                _ => depth / 8 * 7,
            };
            status |= INT_RT;
            if waiting >= trigger {
                status |= INT_RX;
            }
        }
        status
    }
}
