//! Writes to its console as fast as it can for five seconds, by hypercall and by the emulated PL011
//! in turns, then sleeps until the ring has drained and says that it is done.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, console, println, time};
use probes::physical::{self, Width};
use probes::{fault, report};

bulkhead_sdk::entry!(main);

const FLOOD_NS: u64 = 5_000_000_000;
/// Long enough for a ring of 4 KiB at 115,200 baud.
const PAUSE_NS: u64 = 2_000_000_000;
/// Data register of the PL011 of the canonical platform.
const PL011_DATA: u64 = 0x0900_0000;
const LINE: &[u8; 64] = b"flood by hypercall: 64 bytes with its line end, again and again\n";
const BYTES: &[u8; 32] = b"flood by PL011, byte after byte\n";

fn elapsed(start: u64, ns: u64) -> bool {
    time::now_ticks() - start > time::ticks_from_ns(ns)
}

fn main(_partition: Partition) -> ! {
    fault::install();
    report::normal();
    println!("probe console-flood: begin");
    let (mut lines, mut bytes, mut refused) = (0u64, 0u64, 0u64);
    let start = time::now_ticks();
    while !elapsed(start, FLOOD_NS) {
        for _ in 0..100 {
            console::write_bytes(LINE);
            lines += 1;
        }
        for &byte in BYTES {
            match physical::write(PL011_DATA, byte.into(), Width::Word) {
                Ok(()) => bytes += 1,
                Err(_) => refused += 1,
            }
        }
    }
    let end = time::now_ticks();
    while !elapsed(end, PAUSE_NS) {
        core::hint::spin_loop();
    }
    println!("flooded with {lines} lines by hypercall and {bytes} bytes by PL011");
    let failed = u64::from(refused != 0 || lines < 1000);
    println!("probe console-flood: {} passed, {failed} failed", 1 - failed);
    report::sleep()
}
