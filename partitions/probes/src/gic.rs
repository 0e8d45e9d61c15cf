//! The interrupt controller of the canonical platform, register by register.
//!
//! The runtime has brought it up for the first CPU; what lies here sends, looks and, on a second
//! CPU, takes interrupts by polling.

use crate::physical::{self, Width};
use bulkhead_sdk::interrupt;
use bulkhead_sdk::registers::{dsb, isb};
use core::arch::asm;
use core::ptr;

/// Distributor.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// CPU interface of a GICv2.
pub const CPU_INTERFACE: u64 = 0x0801_0000;
/// First redistributor of a GICv3.
pub const REDISTRIBUTOR: u64 = 0x080a_0000;
/// Bytes from one vCPU's redistributor to the next.
pub const REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;
/// Offset of the frame of a redistributor that holds SGIs and PPIs.
pub const SGI_FRAME: u64 = 0x1_0000;
/// First INTID that is no interrupt.
pub const SPECIAL: u32 = 1020;

/// Offsets of the distributor, and of the redistributor's SGI frame for interrupts below 32.
pub mod offset {
    /// GICD_CTLR.
    pub const CTLR: u64 = 0x000;
    /// GICD_TYPER.
    pub const TYPER: u64 = 0x004;
    /// GICD_IGROUPR.
    pub const IGROUPR: u64 = 0x080;
    /// GICD_ISENABLER.
    pub const ISENABLER: u64 = 0x100;
    /// GICD_ICENABLER.
    pub const ICENABLER: u64 = 0x180;
    /// GICD_ISPENDR.
    pub const ISPENDR: u64 = 0x200;
    /// GICD_ICPENDR.
    pub const ICPENDR: u64 = 0x280;
    /// GICD_ISACTIVER.
    pub const ISACTIVER: u64 = 0x300;
    /// GICD_ICACTIVER.
    pub const ICACTIVER: u64 = 0x380;
    /// GICD_IPRIORITYR.
    pub const IPRIORITYR: u64 = 0x400;
    /// GICD_ITARGETSR (GICv2).
    pub const ITARGETSR: u64 = 0x800;
    /// GICD_ICFGR.
    pub const ICFGR: u64 = 0xc00;
    /// GICD_SGIR (GICv2).
    pub const SGIR: u64 = 0xf00;
    /// GICD_CPENDSGIR (GICv2).
    pub const CPENDSGIR: u64 = 0xf10;
    /// GICD_SPENDSGIR (GICv2).
    pub const SPENDSGIR: u64 = 0xf20;
    /// GICD_IROUTER (GICv3).
    pub const IROUTER: u64 = 0x6000;
}

/// Offsets of the GICv2's CPU interface.
pub mod cpu_offset {
    /// GICC_CTLR.
    pub const CTLR: u64 = 0x00;
    /// GICC_PMR.
    pub const PMR: u64 = 0x04;
    /// GICC_BPR.
    pub const BPR: u64 = 0x08;
    /// GICC_IAR.
    pub const IAR: u64 = 0x0c;
    /// GICC_EOIR.
    pub const EOIR: u64 = 0x10;
    /// GICC_RPR.
    pub const RPR: u64 = 0x14;
    /// GICC_HPPIR.
    pub const HPPIR: u64 = 0x18;
    /// GICC_IIDR.
    pub const IIDR: u64 = 0xfc;
    /// GICC_DIR.
    pub const DIR: u64 = 0x1000;
}

/// Whether the controller is a GICv3.
pub fn is_v3() -> bool {
    interrupt::controller_version() == 3
}

fn load(address: u64) -> u32 {
    // SAFETY: a register of the GIC, which the runtime has mapped; callers add offsets of this
    // module to its frames.
    unsafe { ptr::read_volatile(ptr::with_exposed_provenance(address as usize)) }
}

fn store(address: u64, value: u32) {
    // SAFETY: as in `load`; the GIC accesses no memory of ours.
    unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(address as usize), value) }
}

/// The frame that holds the registers of `intid` for vCPU `vcpu`.
pub fn frame(vcpu: u64, intid: u32) -> u64 {
    if is_v3() && intid < 32 { REDISTRIBUTOR + vcpu * REDISTRIBUTOR_STRIDE + SGI_FRAME } else { DISTRIBUTOR }
}

/// The bit of `intid` in the register of vCPU `vcpu` that begins at `offset`.
pub fn bit(vcpu: u64, offset: u64, intid: u32) -> bool {
    let register = frame(vcpu, intid) + offset + u64::from(intid / 32) * 4;
    load(register) >> (intid % 32) & 1 != 0
}

/// Writes the bit of `intid` alone to the register of vCPU `vcpu` that begins at `offset`.
pub fn set_bit(vcpu: u64, offset: u64, intid: u32) {
    set_word(vcpu, offset, intid / 32, 1 << (intid % 32));
}

/// Writes `value` for the INTIDs from 32 times `word` on to the register of vCPU `vcpu` that begins at `offset` and has
/// a bit for each.
pub fn set_word(vcpu: u64, offset: u64, word: u32, value: u32) {
    store(frame(vcpu, 32 * word) + offset + u64::from(word) * 4, value);
}

/// Sends each SPI of the distributor's word `word` to vCPU `vcpu`.
pub fn route_word(word: u32, vcpu: u64) {
    for intid in 32 * word..32 * (word + 1) {
        if is_v3() {
            let register = DISTRIBUTOR + offset::IROUTER + 8 * u64::from(intid);
            store(register, vcpu as u32);
        } else if intid.is_multiple_of(4) {
            let register = DISTRIBUTOR + offset::ITARGETSR + u64::from(intid);
            store(register, 0x0101_0101 << vcpu);
        }
    }
}

/// Writes the distributor's control register.
pub fn set_control(value: u32) {
    store(DISTRIBUTOR + offset::CTLR, value);
}

/// Whether the end of an interrupt drops its priority alone (EOImode = 1) on the calling CPU, whose interface is on.
pub fn set_split_end(split: bool) {
    if is_v3() {
        write_interface(Interface::Control, u64::from(split) << 1);
    } else {
        store(CPU_INTERFACE + cpu_offset::CTLR, u32::from(split) << 9 | 1);
    }
}

/// Deactivates `value`, an INTID or what [`acknowledge`] returned.
pub fn deactivate(value: u32) {
    if is_v3() {
        // SAFETY: ends the active state of an interrupt of this partition.
        unsafe { asm!("msr icc_dir_el1, {}", in(reg) u64::from(value), options(nostack, preserves_flags)) };
        isb();
    } else {
        store(CPU_INTERFACE + cpu_offset::DIR, value);
    }
}

/// Gives `intid` of vCPU `vcpu` a priority.
pub fn set_priority(vcpu: u64, intid: u32, priority: u8) {
    let address = frame(vcpu, intid) + offset::IPRIORITYR + u64::from(intid & !3);
    let shift = 8 * (intid & 3);
    let others = load(address) & !(0xff << shift);
    store(address, others | u32::from(priority) << shift);
}

/// Sends software-generated interrupt `sgi` to the vCPUs of `targets` (bit n: vCPU n).
pub fn send(targets: u32, sgi: u32) {
    dsb();
    if is_v3() {
        let value = u64::from(sgi & 0xf) << 24 | u64::from(targets & 0xffff);
        // SAFETY: makes interrupts pending; handlers run as for any interrupt.
        unsafe { asm!("msr icc_sgi1r_el1, {}", in(reg) value, options(nostack, preserves_flags)) }
        isb();
    } else {
        store(DISTRIBUTOR + offset::SGIR, (targets & 0xff) << 16 | sgi & 0xf);
    }
}

/// Brings up the interface of vCPU `vcpu`, which is the calling one, with SGIs 0 to 15 enabled at
/// priority 0x80. The distributor is up.
pub fn init_second(vcpu: u64) {
    if is_v3() {
        let waker = REDISTRIBUTOR + vcpu * REDISTRIBUTOR_STRIDE + 0x14;
        store(waker, 0);
        store(frame(vcpu, 0) + offset::IGROUPR, u32::MAX);
        // SAFETY: governs which interrupts are signalled, not memory; interrupts are masked.
        unsafe {
            asm!("msr icc_sre_el1, {sre}", "isb", "msr icc_pmr_el1, {all}", "msr icc_bpr1_el1, xzr",
                 "msr icc_ctlr_el1, xzr", "msr icc_igrpen1_el1, {one}", "isb",
                 sre = in(reg) 7u64, all = in(reg) 0xffu64, one = in(reg) 1u64,
                 options(nostack, preserves_flags));
        }
    } else {
        store(CPU_INTERFACE + cpu_offset::PMR, 0xff);
        store(CPU_INTERFACE + cpu_offset::BPR, 0);
        store(CPU_INTERFACE + cpu_offset::CTLR, 1);
    }
    for sgi in 0..16 {
        set_priority(vcpu, sgi, 0x80);
    }
    store(frame(vcpu, 0) + offset::ISENABLER, 0xffff);
}

/// Takes the most urgent pending interrupt: the value to give to [`end`], and its INTID.
pub fn acknowledge() -> (u32, u32) {
    let value = if is_v3() {
        let value: u64;
        // SAFETY: makes the interrupt active; whoever calls this ends it.
        unsafe { asm!("mrs {}, icc_iar1_el1", out(reg) value, options(nostack, preserves_flags)) };
        value as u32
    } else {
        load(CPU_INTERFACE + cpu_offset::IAR)
    };
    dsb();
    (value, value & if is_v3() { 0xff_ffff } else { 0x3ff })
}

/// Ends the interrupt that [`acknowledge`] returned as `value`.
pub fn end(value: u32) {
    if is_v3() {
        // SAFETY: drops the priority of an interrupt that was acknowledged, and deactivates it.
        unsafe {
            asm!("msr icc_eoir1_el1, {}", in(reg) u64::from(value), options(nostack, preserves_flags));
        }
        isb();
    } else {
        store(CPU_INTERFACE + cpu_offset::EOIR, value);
    }
}

/// Lets a GICv2 look at the line of `intid` again, between its end and the next sleep.
///
/// Needed on QEMU alone (seen up to 10.0): its GICv2 clears the physical active state when a guest's
/// end of interrupt deactivates it, but signals a line that is still high only at the next event of
/// the physical distributor. Clearing the pending state of a level changes nothing else.
pub fn look_again(intid: u32) {
    if !is_v3() {
        set_bit(0, offset::ICPENDR, intid);
    }
}

/// Running priority of the calling CPU.
pub fn running_priority() -> u32 {
    if is_v3() {
        let value: u64;
        // SAFETY: reading the running priority changes nothing.
        unsafe { asm!("mrs {}, icc_rpr_el1", out(reg) value, options(nostack, preserves_flags)) };
        value as u32
    } else {
        load(CPU_INTERFACE + cpu_offset::RPR)
    }
}

/// INTID of the most urgent pending interrupt, 1023 for none.
pub fn highest_pending() -> u32 {
    if is_v3() {
        let value: u64;
        // SAFETY: reading the pending interrupt changes nothing.
        unsafe { asm!("mrs {}, icc_hppir1_el1", out(reg) value, options(nostack, preserves_flags)) };
        value as u32
    } else {
        load(CPU_INTERFACE + cpu_offset::HPPIR) & 0x3ff
    }
}

/// Sets the priority mask of the calling CPU.
pub fn set_mask(priority: u8) {
    if is_v3() {
        // SAFETY: governs which interrupts are signalled.
        unsafe {
            asm!("msr icc_pmr_el1, {}", in(reg) u64::from(priority), options(nostack, preserves_flags));
        }
        isb();
    } else {
        store(CPU_INTERFACE + cpu_offset::PMR, priority.into());
    }
}

/// A register of a GICv3's CPU interface that says which interrupts may pre-empt which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// ICC_BPR1_EL1.
    BinaryPoint,
    /// ICC_AP1R0_EL1.
    ActivePriorities,
    /// ICC_IGRPEN1_EL1.
    Enable,
    /// ICC_CTLR_EL1.
    Control,
    /// ICC_PMR_EL1.
    Mask,
}

/// Reads one of them on the calling CPU.
pub fn read_interface(register: Interface) -> u64 {
    macro_rules! read {
        ($name:literal) => {{
            let value: u64;
            // SAFETY: reading the CPU interface's state changes nothing.
            unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
            value
        }};
    }
    match register {
        Interface::BinaryPoint => read!("icc_bpr1_el1"),
        Interface::ActivePriorities => read!("icc_ap1r0_el1"),
        Interface::Enable => read!("icc_igrpen1_el1"),
        Interface::Control => read!("icc_ctlr_el1"),
        Interface::Mask => read!("icc_pmr_el1"),
    }
}

/// Writes one of them on the calling CPU.
pub fn write_interface(register: Interface, value: u64) {
    macro_rules! write {
        ($name:literal) => {
            // SAFETY: governs which interrupts are signalled, not memory.
            unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) }
        };
    }
    match register {
        Interface::BinaryPoint => write!("icc_bpr1_el1"),
        Interface::ActivePriorities => write!("icc_ap1r0_el1"),
        Interface::Enable => write!("icc_igrpen1_el1"),
        Interface::Control => write!("icc_ctlr_el1"),
        Interface::Mask => write!("icc_pmr_el1"),
    }
    isb();
}

/// Reads a 32-bit register with the MMU off; a fault reads as all ones.
pub fn read_register(address: u64) -> u32 {
    physical::read(address, Width::Word).map_or(u32::MAX, |value| value as u32)
}

/// Writes a 32-bit register with the MMU off; whether it was accepted.
pub fn write_register(address: u64, value: u32) -> bool {
    physical::write(address, value.into(), Width::Word).is_ok()
}
