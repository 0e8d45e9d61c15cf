//! Reads and writes every register of the interrupt controller, at every width that is legal and,
//! under the hypervisor, at widths that are not: those must abort and change nothing.
//!
//! The clock's interrupt (34) is granted and so all there; others read as zero and ignore writes.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod cpu_interface;
mod distributor;
mod redistributor;
mod widths;

use bulkhead_sdk::{Partition, registers};
use probes::{Report, fault, gic};

bulkhead_sdk::entry!(main);

/// The shared interrupt that this partition owns: the board's real-time clock.
pub const OWNED: u32 = 34;
/// Shared interrupts that it does not have.
pub const FOREIGN: [u32; 4] = [40, 95, 200, 287];

fn main(partition: Partition) -> ! {
    fault::install();
    registers::mask_interrupts();
    let mut report = Report::new("gic-registers");
    distributor::identification(&mut report);
    distributor::control(&mut report);
    distributor::owned(&mut report);
    distributor::banked(&mut report);
    distributor::routing(&mut report);
    if partition.info.is_some() {
        distributor::foreign(&mut report);
        widths::check(&mut report);
    }
    if gic::is_v3() {
        redistributor::check(&mut report);
        cpu_interface::version3(&mut report);
    } else {
        distributor::senders(&mut report);
        cpu_interface::version2(&mut report);
    }
    cpu_interface::split_end(&mut report);
    registers::unmask_interrupts();
    report.finish()
}
