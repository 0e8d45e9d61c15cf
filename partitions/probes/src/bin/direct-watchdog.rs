//! Has direct interrupts and a watchdog, keeps everything from its CPU that a guest can and does not kick: EL2's
//! timer must come all the same.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::info::start_condition;
use bulkhead_sdk::{Partition, println, registers};
use probes::gic::{self, Interface, offset};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Starts that the watchdog ends.
const BITES: u32 = 3;

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let info = partition.info.expect("direct-watchdog needs the hypervisor");
    let start = info.start_count();
    let mut report = Report::new("direct-watchdog");
    let expected = if start == 1 { start_condition::POWER_ON } else { start_condition::HEALTH_MONITOR };
    report.equal("start condition", info.start_condition(), expected);
    report.equal_hex("nothing runs", gic::running_priority(), 0xff);
    report.end();
    if start > BITES {
        // Not in mode NORMAL the watchdog is not armed.
        println!("direct-watchdog was bitten {BITES} times");
        loop {
            registers::wait_for_interrupt();
        }
    }
    report::normal();
    gic::write_interface(Interface::BinaryPoint, 7);
    gic::set_priority(0, 1, 0);
    gic::set_bit(0, offset::ISENABLER, 1);
    gic::send(1, 1);
    while gic::acknowledge().1 >= gic::SPECIAL {
        core::hint::spin_loop();
    }
    gic::set_mask(0);
    loop {
        core::hint::spin_loop();
    }
}
