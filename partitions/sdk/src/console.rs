//! The partition's console: the hypervisor's console call where there is a hypervisor, else a PL011.
//!
//! A hypercall carries up to 64 bytes and never waits: what does not fit into the partition's ring is
//! dropped and counted by EL2. The PL011 is waited for, which bare is nobody's loss. Output is not
//! locked: print from one priority, or have lines of several mixed.

use crate::device_tree::Platform;
use crate::hypercall;
use bulkhead_abi::hypercall::CONSOLE_WRITE_MAX;
use core::convert::Infallible;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Address of the PL011, 0 without one.
static PL011: AtomicU64 = AtomicU64::new(0);

// PL011 registers (DDI0183).
const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
const LINE_CONTROL: u64 = 0x2c;
const CONTROL: u64 = 0x30;
const FLAG_TRANSMIT_FULL: u32 = 1 << 5;
const FLAG_RECEIVE_EMPTY: u32 = 1 << 4;
const EIGHT_BITS_FIFO: u32 = 0b111 << 4;
const ENABLE_TRANSMIT_RECEIVE: u32 = 1 << 0 | 1 << 8 | 1 << 9;

fn read(offset: u64) -> u32 {
    let base = PL011.load(Relaxed);
    // SAFETY: `init` stored the address of a mapped PL011; its registers are not memory.
    unsafe { crate::mmio::read32(base + offset) }
}

fn write(offset: u64, value: u32) {
    let base = PL011.load(Relaxed);
    // SAFETY: as in `read`.
    unsafe { crate::mmio::write32(base + offset, value) }
}

/// Enables the PL011, if there is one. Its baud rate is as the firmware left it.
pub(crate) fn init(platform: &Platform) {
    if let Some(base) = platform.pl011 {
        PL011.store(base, Relaxed);
        write(LINE_CONTROL, EIGHT_BITS_FIFO);
        write(CONTROL, ENABLE_TRANSMIT_RECEIVE);
    }
}

/// Writes bytes as they are.
pub fn write_bytes(bytes: &[u8]) {
    if hypercall::present() {
        for chunk in bytes.chunks(CONSOLE_WRITE_MAX as usize) {
            hypercall::console_write(chunk);
        }
    } else if PL011.load(Relaxed) != 0 {
        for &byte in bytes {
            while read(FLAGS) & FLAG_TRANSMIT_FULL != 0 {
                core::hint::spin_loop();
            }
            write(DATA, u32::from(byte));
        }
    }
}

/// Reads what was typed, without waiting: returns the number of bytes stored in `buffer`, which has room for
/// 16 at least: a call hands over up to so many.
pub fn read_bytes(buffer: &mut [u8]) -> usize {
    let mut count = 0;
    if hypercall::present() {
        let mut chunk = [0; 16];
        let limit = buffer.len().min(chunk.len());
        if limit == chunk.len() {
            count = hypercall::console_read(&mut chunk);
            buffer[..count].copy_from_slice(&chunk[..count]);
        }
    } else if PL011.load(Relaxed) != 0 {
        while count < buffer.len() && read(FLAGS) & FLAG_RECEIVE_EMPTY == 0 {
            buffer[count] = read(DATA) as u8;
            count += 1;
        }
    }
    count
}

/// Collects a formatted line so that it goes out in few hypercalls.
struct Line {
    bytes: [u8; CONSOLE_WRITE_MAX as usize],
    used: usize,
}

impl Line {
    fn flush(&mut self) {
        write_bytes(&self.bytes[..self.used]);
        self.used = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            self.bytes[self.used] = byte;
            self.used += 1;
            if self.used == self.bytes.len() {
                self.flush();
            }
        }
        Ok(())
    }
}

/// Prints formatted text; the target of [`println!`](crate::println).
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; CONSOLE_WRITE_MAX as usize], used: 0 };
    // `Line` reports no errors; one of a value's own Display cuts the line.
    let _ = fmt::Write::write_fmt(&mut line, arguments);
    line.flush();
}

/// Prints one line on the partition's console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}
pub(crate) use println;

/// The console as an `embedded-io` byte stream.
pub struct Console;

impl embedded_io::ErrorType for Console {
    type Error = Infallible;
}

impl embedded_io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        write_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
