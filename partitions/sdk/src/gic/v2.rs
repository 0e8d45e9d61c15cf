//! GICv2 (IHI0048B).

use super::{CLEAR_ACTIVE, CLEAR_ENABLE, CLEAR_PENDING, CONTROL, read, write, write_byte};

const TARGETS: u64 = 0x800;
const SGI: u64 = 0xf00;
/// GICD_SGIR.TargetListFilter: only the requesting CPU.
const SGI_SELF: u32 = 0b10 << 24;

const CPU_CONTROL: u64 = 0x00;
const CPU_PRIORITY_MASK: u64 = 0x04;
const CPU_BINARY_POINT: u64 = 0x08;
const CPU_ACKNOWLEDGE: u64 = 0x0c;
const CPU_END: u64 = 0x10;

pub(super) fn init(distributor: u64, cpu_interface: u64) {
    write(distributor + CLEAR_ENABLE, u32::MAX);
    write(distributor + CLEAR_PENDING, u32::MAX);
    write(distributor + CLEAR_ACTIVE, u32::MAX);
    write(distributor + CONTROL, 1);
    write(cpu_interface + CPU_PRIORITY_MASK, 0xff);
    write(cpu_interface + CPU_BINARY_POINT, 0);
    write(cpu_interface + CPU_CONTROL, 1);
}

/// GICD_ITARGETSR0 of a banked interrupt reads as this CPU's bit (IHI0048B 4.3.12).
pub(super) fn route_here(distributor: u64, intid: u32) {
    let own = read(distributor + TARGETS) as u8;
    write_byte(distributor + TARGETS + u64::from(intid), own.max(1));
}

pub(super) fn acknowledge(cpu_interface: u64) -> u32 {
    read(cpu_interface + CPU_ACKNOWLEDGE)
}

pub(super) fn end(cpu_interface: u64, value: u32) {
    write(cpu_interface + CPU_END, value);
}

pub(super) fn send_to_self(distributor: u64, sgi: u8) {
    write(distributor + SGI, SGI_SELF | u32::from(sgi & 0xf));
}
