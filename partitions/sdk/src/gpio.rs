//! Pins of a BCM2711 (Raspberry Pi 4), if the partition was granted the block that holds them all; driven by the
//! traits of `embedded-hal`. Found in the device tree, so that the same ELF runs where there is none.
//!
//! Registers: BCM2711 ARM Peripherals, chapter 5: GPFSELn, GPSETn, GPCLRn, GPLEVn.
//!
//! Limits: outputs; no pulls, no edges. Functions are changed by reading and writing GPFSELn, which other pins
//! share: [`Gpio::output`] is for start-up code, before tasks run.

use crate::{mmio, mmu};
use core::convert::Infallible;
use core::sync::atomic::{AtomicU64, Ordering};
use embedded_hal::digital::{ErrorType, OutputPin, StatefulOutputPin};

/// Pins of the block.
const PINS: u8 = 58;
const GPFSEL: u64 = 0x00;
const GPSET: u64 = 0x1c;
const GPCLR: u64 = 0x28;
const GPLEV: u64 = 0x34;
const OUTPUT: u32 = 0b001;

/// Pins that were given out.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The block of pins.
#[derive(Debug)]
pub struct Gpio {
    base: u64,
}

impl Gpio {
    /// The block, if the device tree names one: then it is granted and mapped.
    #[must_use]
    pub fn find() -> Option<Self> {
        mmu::platform().gpio.map(|base| Self { base })
    }

    /// Makes pin `number` (0 to 57) an output; its level stays. `None` if there is no such pin, or it was given out.
    pub fn output(&mut self, number: u8) -> Option<Output> {
        let bit = 1 << number.min(63);
        if number >= PINS || TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return None;
        }
        let register = self.base + GPFSEL + 4 * u64::from(number / 10);
        let shift = 3 * u32::from(number % 10);
        // SAFETY: a register of the block that the device tree names and `mmu` maps; it reaches no memory.
        unsafe {
            let others = mmio::read32(register) & !(0b111 << shift);
            mmio::write32(register, others | OUTPUT << shift);
        }
        Some(Output { bank: self.base + 4 * u64::from(number / 32), mask: 1 << (number % 32) })
    }
}

/// An output.
#[derive(Debug)]
pub struct Output {
    /// The block's base, plus 4 for pins from 32 on.
    bank: u64,
    mask: u32,
}

impl ErrorType for Output {
    type Error = Infallible;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), Infallible> {
        // SAFETY: as in `Gpio::output`; ones clear pins, zeros change nothing.
        unsafe { mmio::write32(self.bank + GPCLR, self.mask) };
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        // SAFETY: as in `Gpio::output`; ones set pins, zeros change nothing.
        unsafe { mmio::write32(self.bank + GPSET, self.mask) };
        Ok(())
    }
}

impl StatefulOutputPin for Output {
    /// The level at the pin itself, which a short circuit may hold.
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        // SAFETY: as in `Gpio::output`; reading levels changes nothing.
        Ok(unsafe { mmio::read32(self.bank + GPLEV) } & self.mask != 0)
    }

    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        self.is_set_high().map(|high| !high)
    }
}
