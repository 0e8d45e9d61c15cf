//! The board's PL011 (ARM DDI 0183). EL2 never waits for it once guests run.

use crate::mmio::Block;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const CR: u64 = 0x30;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
const ICR: u64 = 0x44;
const FR_TXFF: u32 = 1 << 5;
const FR_RXFE: u32 = 1 << 4;
const CR_ON: u32 = 1 | 1 << 8 | 1 << 9;
const IMSC_RECEIVE: u32 = 1 << 4 | 1 << 6;

/// The console UART.
#[derive(Clone, Copy)]
pub struct Uart {
    block: Block,
}

impl Uart {
    /// At the blueprint's address.
    #[must_use]
    pub const fn new(base: u64) -> Self {
        Self { block: Block::new(base) }
    }

    /// Sender and receiver on, at the line settings that firmware left; receive interrupts on.
    pub fn init(&self) {
        self.block.write32(CR, CR_ON);
        self.block.write32(IFLS, 0);
        self.block.write32(ICR, 0x7FF);
        self.block.write32(IMSC, IMSC_RECEIVE);
    }

    /// Boot and defects only: sends all, waiting for room, at most so long per byte that a stuck
    /// UART cannot stop the boot.
    pub fn send_all(&self, bytes: &[u8]) {
        const PATIENCE: u32 = 1 << 20;
        for &byte in bytes {
            let mut left = PATIENCE;
            while self.block.read32(FR) & FR_TXFF != 0 && left != 0 {
                left -= 1;
            }
            self.block.write32(DR, u32::from(byte));
        }
    }

    /// Whether a byte may be sent now.
    #[inline]
    #[must_use]
    pub fn ready(&self) -> bool {
        self.block.read32(FR) & FR_TXFF == 0
    }

    /// Sends a byte; the caller knows that there is room.
    #[inline]
    pub fn send(&self, byte: u8) {
        self.block.write32(DR, u32::from(byte));
    }

    /// A byte received, if there is one.
    #[inline]
    pub fn receive(&self) -> Option<u8> {
        if self.block.read32(FR) & FR_RXFE != 0 {
            return None;
        }
        Some(self.block.read32(DR) as u8)
    }
}
