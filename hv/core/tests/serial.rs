//! Emulated PL011 and the console hypercalls of one partition.

use bulkhead_core::pl011::Refused;
use bulkhead_core::serial::{Memory, Serial};
use std::cell::Cell;
use std::sync::atomic::AtomicU8;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const LCR_H: u64 = 0x2C;
const CR: u64 = 0x30;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3C;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;
const RX: u64 = 1 << 4;
const TX: u64 = 1 << 5;
const RT: u64 = 1 << 6;

struct Bench {
    serial: Serial,
    output: Vec<AtomicU8>,
    input: Vec<AtomicU8>,
    line: Cell<bool>,
}

impl Bench {
    fn new() -> Self {
        let memory = |bytes| (0..bytes).map(|_| AtomicU8::new(0)).collect();
        let bench =
            Self { serial: Serial::default(), output: memory(64), input: memory(64), line: Cell::new(false) };
        bench.serial.reset(bench.memory());
        bench
    }

    fn memory(&self) -> Memory<'_> {
        Memory { output: &self.output, input: &self.input }
    }

    fn access(&self, offset: u64, bytes: u32, write: Option<u64>) -> Result<u64, Refused> {
        self.serial.access(self.memory(), offset, bytes, write, |level| {
            assert_ne!(level, self.line.get(), "only changes are told");
            self.line.set(level);
        })
    }

    fn read(&self, offset: u64) -> u64 {
        self.access(offset, 4, None).unwrap()
    }

    fn write(&self, offset: u64, value: u64) {
        assert_eq!(self.access(offset, 4, Some(value)), Ok(0));
    }

    fn input(&self, byte: u8) -> bool {
        self.serial.receive(self.memory(), byte, |level| self.line.set(level))
    }

    fn output(&self) -> Vec<u8> {
        let ring = self.serial.output(self.memory());
        std::iter::from_fn(|| ring.pop()).collect()
    }
}

#[test]
fn reset_values_and_write_masks() {
    // Offset, value after reset, bits that hold what is written (DDI 0183G, table 3-1).
    let registers = [
        (0x04, 0, 0),
        (FR, 0x90, 0),
        (0x20, 0, 0xFF),
        (0x24, 0, 0xFFFF),
        (0x28, 0, 0x3F),
        (LCR_H, 0, 0xFF),
        (CR, 0x300, 0xFF87),
        (IFLS, 0x12, 0x3F),
        (IMSC, 0, 0x7FF),
        (RIS, 0, 0),
        (MIS, 0, 0),
        (0x48, 0, 7),
        (0x4C, 0, 0),
        (0xFDC, 0, 0),
    ];
    for (offset, reset, mask) in registers {
        let bench = Bench::new();
        assert_eq!(bench.read(offset), reset, "reset value at {offset:#x}");
        bench.write(offset, 0xFFFF_FFFF);
        let expected = if mask == 0 { reset } else { mask };
        assert_eq!(bench.read(offset), expected, "written at {offset:#x}");
        bench.serial.reset(bench.memory());
        assert_eq!(bench.read(offset), reset, "after reset at {offset:#x}");
    }
}

#[test]
fn identification() {
    let bench = Bench::new();
    let bytes: Vec<u64> = (0..8).map(|n| bench.read(0xFE0 + 4 * n)).collect();
    assert_eq!(bytes, [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]);
}

#[test]
fn widths_and_alignment() {
    let bench = Bench::new();
    assert_eq!(bench.access(CR, 1, None), Ok(0));
    assert_eq!(bench.access(CR, 2, None), Ok(0x300));
    assert_eq!(bench.access(CR, 4, None), Ok(0x300));
    assert_eq!(bench.access(CR, 8, None), Err(Refused::Width));
    for misaligned in 1..4 {
        assert_eq!(bench.access(DR + misaligned, 1, Some(0x41)), Err(Refused::Misaligned));
    }
    assert_eq!(bench.access(0x1000, 4, None), Err(Refused::Outside));
    assert!(bench.output().is_empty());
}

#[test]
fn transmission_never_waits() {
    let bench = Bench::new();
    for n in 0..100u64 {
        assert_eq!(bench.read(FR) & 0xA0, 0x80, "TXFE set, TXFF clear");
        bench.write(DR, n);
    }
    let taken: Vec<u8> = (0..64).collect();
    assert_eq!(bench.output(), taken);
    assert_eq!(bench.serial.output(bench.memory()).lost(), 36);
}

#[test]
fn transmit_interrupt_follows_linux() {
    let bench = Bench::new();
    bench.write(DR, 0x41);
    assert_eq!(bench.read(RIS), TX);
    assert!(!bench.line.get());
    bench.write(IMSC, TX);
    assert!(bench.line.get());
    assert_eq!(bench.read(MIS), TX);
    bench.write(IMSC, 0);
    assert!(!bench.line.get());
    bench.write(ICR, TX);
    bench.write(IMSC, TX);
    assert!(!bench.line.get());
}

#[test]
fn receive_interrupts() {
    let bench = Bench::new();
    bench.write(LCR_H, 0x70);
    bench.write(IMSC, RX | RT);
    for n in 0..8 {
        assert!(bench.input(b'a' + n));
        assert!(bench.line.get());
        let expected = if n == 7 { RX | RT } else { RT };
        assert_eq!(bench.read(MIS), expected, "half of 16 is the trigger");
    }
    bench.write(ICR, RX | RT);
    assert!(bench.line.get(), "bytes still wait");
    for n in 0..8u8 {
        assert_eq!(bench.read(FR) & 0x10, 0);
        assert_eq!(bench.access(DR, 1, None), Ok(u64::from(b'a' + n)));
    }
    assert!(!bench.line.get());
    assert_eq!(bench.read(FR) & 0x50, 0x10);
}

#[test]
fn without_fifo_one_byte_fills() {
    let bench = Bench::new();
    bench.input(b'x');
    assert_eq!(bench.read(FR) & 0x40, 0x40);
    assert_eq!(bench.read(RIS), RX | RT);
    bench.write(LCR_H, 0x10);
    assert_eq!(bench.read(FR) & 0x40, 0);
}

#[test]
fn hypercalls_share_the_rings() {
    let bench = Bench::new();
    assert_eq!(bench.serial.write(bench.memory(), b"hello"), 5);
    assert_eq!(bench.output(), b"hello");
    for byte in 0..20 {
        assert!(bench.input(byte));
    }
    let (count, words) = bench.serial.read(bench.memory(), |_| {});
    assert_eq!(count, 16);
    assert_eq!(words[0].to_le_bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(words[1].to_le_bytes(), [8, 9, 10, 11, 12, 13, 14, 15]);
    let (count, words) = bench.serial.read(bench.memory(), |_| {});
    assert_eq!((count, words[0], words[1]), (4, 0x1312_1110, 0));
    for _ in 0..64 {
        bench.input(0);
    }
    assert!(!bench.input(0), "a full ring refuses input");
}
