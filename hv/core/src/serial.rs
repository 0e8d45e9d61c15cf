//! The serial side of one partition: its console rings and its emulated PL011, under one lock.
//!
//! The vCPUs of the partition come by traps and hypercalls, the console's CPU brings input. The
//! interrupt line is set while the lock is held, so that an older level never overtakes a newer one.

use crate::lock::Lock;
use crate::pl011::{Pl011, Refused};
use crate::ring::{Ring, RingRef};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use zerocopy::FromZeros;

/// Where the bytes of a partition's rings lie: slices of the work area, from the blueprint's
/// `console_out` and `console_in`.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// From the partition.
    pub output: &'a [AtomicU8],
    /// To the partition.
    pub input: &'a [AtomicU8],
}

/// Console state of one partition. All zero is empty rings: [`Serial::reset`] follows before any access.
#[derive(Debug, Default, FromZeros)]
pub struct Serial {
    lock: Lock,
    output: Ring,
    input: Ring,
    pl011: Pl011,
    /// The line's level as last told to the interrupt controller.
    level: AtomicBool,
}

impl Serial {
    /// The output ring, for the console multiplexer (its only consumer).
    #[must_use]
    pub const fn output<'a>(&'a self, memory: Memory<'a>) -> RingRef<'a> {
        self.output.over(memory.output)
    }

    /// One guest access to the emulated PL011. `set_line` is called with the new level of the
    /// interrupt line if it changed; it must not come back to this object.
    ///
    /// # Errors
    /// [`Refused`], the guest then gets an external abort.
    #[inline]
    pub fn access(
        &self,
        memory: Memory<'_>,
        offset: u64,
        bytes: u32,
        write: Option<u64>,
        set_line: impl FnOnce(bool),
    ) -> Result<u64, Refused> {
        let (output, input) = (self.output.over(memory.output), self.input.over(memory.input));
        self.lock.with(|| {
            let result = self.pl011.access(output, input, offset, bytes, write);
            self.update_line(input, set_line);
            result
        })
    }

    /// Console hypercall: appends what fits of `bytes`, counts the rest. Returns the bytes taken.
    #[inline]
    pub fn write(&self, memory: Memory<'_>, bytes: &[u8]) -> usize {
        let output = self.output.over(memory.output);
        self.lock.with(|| output.push(bytes))
    }

    /// Console hypercall: takes at most 16 bytes of input; returns how many, and the bytes
    /// little-endian in two words.
    pub fn read(&self, memory: Memory<'_>, set_line: impl FnOnce(bool)) -> (u64, [u64; 2]) {
        let input = self.input.over(memory.input);
        self.lock.with(|| {
            let mut words = [0; 2];
            let mut count = 0;
            for word in &mut words {
                for position in 0..8 {
                    let Some(byte) = input.pop() else { break };
                    *word |= u64::from(byte) << (8 * position);
                    count += 1;
                }
            }
            self.update_line(input, set_line);
            (count, words)
        })
    }

    /// Console's CPU: hands the partition a byte of input. Returns whether it fitted.
    pub fn receive(&self, memory: Memory<'_>, byte: u8, set_line: impl FnOnce(bool)) -> bool {
        let input = self.input.over(memory.input);
        self.lock.with(|| {
            let fitted = input.push(&[byte]) == 1;
            self.update_line(input, set_line);
            fitted
        })
    }

    /// Restart of the partition: the UART as after reset, input discarded, output kept for the
    /// console. The caller resets the interrupt controller in the same breath.
    pub fn reset(&self, memory: Memory<'_>) {
        let input = self.input.over(memory.input);
        self.lock.with(|| {
            self.pl011.reset();
            input.clear();
            self.level.store(false, Ordering::Relaxed);
        });
    }

    #[inline]
    fn update_line(&self, input: RingRef<'_>, set_line: impl FnOnce(bool)) {
        let level = self.pl011.line(input);
        if level != self.level.load(Ordering::Relaxed) {
            self.level.store(level, Ordering::Relaxed);
            set_line(level);
        }
    }
}
