//! GICv3 (IHI0069). All interrupts in Group 1; affinity routing on.

use super::{CLEAR_ACTIVE, CLEAR_ENABLE, CLEAR_PENDING, CONTROL, GROUP, read, write};
use crate::mmu::REDISTRIBUTOR_BYTES_MAX;
use crate::registers::{self, isb};

/// GICD_CTLR: EnableGrp0 not used; EnableGrp1 (bit 1 with one security state) and ARE.
const ENABLE_GROUP1_ROUTING: u32 = 1 << 1 | 1 << 4;
const REGISTER_WRITE_PENDING: u32 = 1 << 31;
const GROUP_OF_SPIS: u64 = 0x84;
const LINES: u64 = 0x004;
const ROUTE: u64 = 0x6000;

const REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;
const TYPE: u64 = 0x08;
const WAKER: u64 = 0x14;
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
const LAST: u32 = 1 << 4;

/// Bits 39:32 and 23:0 of MPIDR_EL1 are the affinity.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// Polls of a handshake before going on: it is one register write away on a real GIC.
const POLLS: u32 = 1_000_000;

/// Returns the address of this CPU's SGI_base frame.
pub(super) fn init(distributor: u64, redistributors: u64, bytes: u64) -> u64 {
    write(distributor + CONTROL, ENABLE_GROUP1_ROUTING);
    wait(distributor + CONTROL, REGISTER_WRITE_PENDING);
    let words = u64::from(read(distributor + LINES) & 0x1f);
    for word in 0..words {
        write(distributor + GROUP_OF_SPIS + word * 4, u32::MAX);
    }
    let redistributor = own_redistributor(redistributors, bytes.min(REDISTRIBUTOR_BYTES_MAX));
    let waker = read(redistributor + WAKER);
    write(redistributor + WAKER, waker & !PROCESSOR_SLEEP);
    wait(redistributor + WAKER, CHILDREN_ASLEEP);
    let frame = redistributor + SGI_FRAME;
    write(frame + CLEAR_ENABLE, u32::MAX);
    write(frame + CLEAR_PENDING, u32::MAX);
    write(frame + CLEAR_ACTIVE, u32::MAX);
    write(frame + GROUP, u32::MAX);
    cpu_interface();
    frame
}

fn cpu_interface() {
    // SAFETY: these registers govern which interrupts are taken, not memory; IRQs are masked at the
    // CPU. ICC_SRE_EL1.SRE is written first so that the others exist.
    unsafe {
        registers::write!("icc_sre_el1", 0b111);
        isb();
        registers::write!("icc_pmr_el1", 0xff);
        registers::write!("icc_bpr1_el1", 0);
        registers::write!("icc_ctlr_el1", 0);
        registers::write!("icc_igrpen1_el1", 1);
    }
    isb();
}

/// The redistributor whose GICR_TYPER names this CPU; the first one if none does.
fn own_redistributor(first: u64, bytes: u64) -> u64 {
    let own = registers::read!("mpidr_el1") & AFFINITY;
    // GICR_TYPER.Affinity_Value holds Aff3.Aff2.Aff1.Aff0 in its upper word.
    let wanted = (own >> 32 << 24 | own & 0xff_ffff) as u32;
    let mut at = first;
    while at + REDISTRIBUTOR_STRIDE <= first + bytes {
        if read(at + TYPE + 4) == wanted {
            return at;
        }
        if read(at + TYPE) & LAST != 0 {
            break;
        }
        at += REDISTRIBUTOR_STRIDE;
    }
    first
}

fn wait(address: u64, bits: u32) {
    for _ in 0..POLLS {
        if read(address) & bits == 0 {
            return;
        }
    }
}

pub(super) fn route_here(distributor: u64, intid: u32) {
    let affinity = registers::read!("mpidr_el1") & AFFINITY;
    let address = distributor + ROUTE + u64::from(intid) * 8;
    // SAFETY: GICD_IROUTERn, a 64-bit register within the mapped distributor (64 KiB).
    unsafe { crate::mmio::write64(address, affinity) }
}

pub(super) fn acknowledge() -> u32 {
    let value = registers::read!("icc_iar1_el1") as u32;
    // The acknowledge takes effect before the handler looks at the device (IHI0069 4.1.1).
    registers::dsb();
    value
}

pub(super) fn end(value: u32) {
    // SAFETY: drops the priority of the interrupt that was acknowledged, and deactivates it.
    unsafe { registers::write!("icc_eoir1_el1", u64::from(value)) }
    isb();
}

pub(super) fn send_to_self(sgi: u8) {
    let affinity = registers::read!("mpidr_el1");
    let aff = |level: u32| affinity >> [0, 8, 16, 32][level as usize] & 0xff;
    let target = 1u64 << (aff(0) & 0xf);
    let value = aff(3) << 48 | aff(2) << 32 | u64::from(sgi & 0xf) << 24 | aff(1) << 16 | target;
    // SAFETY: makes an SGI pending here; its handler runs only at a higher priority or later.
    unsafe { registers::write!("icc_sgi1r_el1", value) }
    isb();
}
