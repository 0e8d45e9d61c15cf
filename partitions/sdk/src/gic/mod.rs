//! The interrupt controller, GICv2 or GICv3, as the device tree says. One security state is assumed
//! (a guest's view, and QEMU `virt`): priorities are as written.

mod v2;
mod v3;

use crate::device_tree::{Gic, Platform};
use crate::mmio;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static IS_V3: AtomicBool = AtomicBool::new(false);
static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
/// GICC of a GICv2; SGI_base frame of this CPU's redistributor of a GICv3.
static LOCAL: AtomicU64 = AtomicU64::new(0);

/// First INTID that is no interrupt (IHI0069 2.2.1: 1020 to 1023 are special).
pub(crate) const SPECIAL: u32 = 1020;
/// First shared peripheral interrupt.
const FIRST_SPI: u32 = 32;

// Offsets that GICD (v2, v3) and the redistributor's SGI_base frame have in common.
const CONTROL: u64 = 0x000;
const GROUP: u64 = 0x080;
const SET_ENABLE: u64 = 0x100;
const CLEAR_ENABLE: u64 = 0x180;
const CLEAR_PENDING: u64 = 0x280;
const CLEAR_ACTIVE: u64 = 0x380;
const PRIORITY: u64 = 0x400;

fn read(address: u64) -> u32 {
    // SAFETY: a register of the GIC, mapped by `mmu::build`; the address comes from `DISTRIBUTOR` or
    // `LOCAL` and an offset within the frame.
    unsafe { mmio::read32(address) }
}

fn write(address: u64, value: u32) {
    // SAFETY: as in `read`; the GIC accesses no memory of ours (no LPIs are enabled).
    unsafe { mmio::write32(address, value) }
}

fn write_byte(address: u64, value: u8) {
    // SAFETY: as in `write`; the priority registers are byte-accessible.
    unsafe { mmio::write8(address, value) }
}

/// Brings distributor and CPU interface up with every interrupt of this CPU disabled.
pub(crate) fn init(platform: &Platform) {
    match platform.gic {
        Gic::V2 { distributor, cpu_interface } => {
            DISTRIBUTOR.store(distributor, Relaxed);
            LOCAL.store(cpu_interface, Relaxed);
            v2::init(distributor, cpu_interface);
        }
        Gic::V3 { distributor, redistributors, redistributor_bytes } => {
            IS_V3.store(true, Relaxed);
            DISTRIBUTOR.store(distributor, Relaxed);
            let frame = v3::init(distributor, redistributors, redistributor_bytes);
            LOCAL.store(frame, Relaxed);
        }
    }
}

/// Version of the architecture, 2 or 3.
pub(crate) fn version() -> u32 {
    if IS_V3.load(Relaxed) { 3 } else { 2 }
}

/// The frame that holds the per-interrupt registers of `intid`.
fn frame(intid: u32) -> u64 {
    if intid < FIRST_SPI && IS_V3.load(Relaxed) { LOCAL.load(Relaxed) } else { DISTRIBUTOR.load(Relaxed) }
}

/// Gives `intid` (below [`SPECIAL`]) a priority, routes it here and enables it.
pub(crate) fn enable(intid: u32, priority: u8) {
    let frame = frame(intid);
    write_byte(frame + PRIORITY + u64::from(intid), priority);
    if intid >= FIRST_SPI {
        if IS_V3.load(Relaxed) {
            v3::route_here(DISTRIBUTOR.load(Relaxed), intid);
        } else {
            v2::route_here(DISTRIBUTOR.load(Relaxed), intid);
        }
    }
    write(frame + SET_ENABLE + u64::from(intid / 32) * 4, 1 << (intid % 32));
}

/// Disables `intid`.
pub(crate) fn disable(intid: u32) {
    write(frame(intid) + CLEAR_ENABLE + u64::from(intid / 32) * 4, 1 << (intid % 32));
}

/// Takes the highest-priority pending interrupt: the value to give to [`end`], and its INTID.
pub(crate) fn acknowledge() -> (u32, u32) {
    let value = if IS_V3.load(Relaxed) { v3::acknowledge() } else { v2::acknowledge(LOCAL.load(Relaxed)) };
    let intid = if IS_V3.load(Relaxed) { value & 0xff_ffff } else { value & 0x3ff };
    (value, intid)
}

/// Ends the interrupt that [`acknowledge`] returned as `value`.
pub(crate) fn end(value: u32) {
    if IS_V3.load(Relaxed) {
        v3::end(value);
    } else {
        v2::end(LOCAL.load(Relaxed), value);
    }
}

/// Sends software-generated interrupt `sgi` (0 to 15) to this CPU.
pub(crate) fn send_to_self(sgi: u8) {
    if IS_V3.load(Relaxed) {
        v3::send_to_self(sgi);
    } else {
        v2::send_to_self(DISTRIBUTOR.load(Relaxed), sgi);
    }
}
