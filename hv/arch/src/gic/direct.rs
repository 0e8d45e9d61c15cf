//! Direct delivery on a GICv3 with one security state (`GICD_CTLR.DS` = 1): on the CPUs of a partition that
//! asks for it, IRQs are the guest's and FIQs EL2's (docs/adr/0026, ruling 28).
//!
//! - HCR_EL2.IMO = 0: Group 1 of the CPU interface is the guest's: it acknowledges, ends and enables without
//!   EL2. FMO = 1: Group 0 comes to EL2 whatever the guest masks.
//! - EL2's timer and its one SGI are in Group 0, above all priorities that a guest can give: what a guest
//!   knows as priority p is 0x80 + p/2 in the hardware, as in the Non-secure view of a GIC with two security
//!   states (IHI0069 4.8.6). Priority mask and running priority are shown likewise.
//! - The registers that both groups have in common trap (ICH_HCR_EL2.TC): mask and EOImode would be EL2's,
//!   too; an SGI could go to anybody's CPU.
//! - Distributor and redistributors stay emulated; what the guest writes of its own goes to the hardware.

use super::v3::Gicv3;
use super::{PRIORITY_OWN, offset};
use crate::regs::{execute, read, write};
use bulkhead_vgic::Hardware;

/// The SGI by which EL2 is asked to look at its inboxes on a CPU with direct delivery. The guest has the
/// other fifteen.
pub const DIRECT_KICK_INTID: u32 = 15;

/// SGIs of a guest with direct delivery, by bit.
pub const GUEST_SGIS: u32 = 0x7FFF;

/// ICH_HCR_EL2.TC (IHI0069 12.4.8): the guest's accesses to registers common to both groups trap.
pub(super) const TRAP_COMMON: u64 = 1 << 10;

/// GICD_CTLR.DS.
const CTLR_DS: u32 = 1 << 6;

/// Lowest priority that is EL2's; the mask that lets nothing of the guest's pass.
const LEAST: u64 = 0x80;

/// ICC_AP1R0_EL1: active priorities from [`LEAST`] on, with five bits of priority (IHI0069 12.2.6).
const GUESTS_PRIORITIES: u64 = 0xFFFF_0000;

/// Guest's priority as the hardware has it: below all of EL2's.
#[must_use]
const fn lowered(priority: u8) -> u8 {
    LEAST as u8 | (priority >> 1)
}

/// The way back, for what a guest reads.
#[must_use]
const fn raised(priority: u64) -> u64 {
    match priority {
        // Idle.
        0xFF => 0xFF,
        0..LEAST => 0,
        own => (own << 1) & 0xFF,
    }
}

/// A register that both groups have in common, as a guest accesses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// ICC_PMR_EL1.
    Mask,
    /// ICC_CTLR_EL1.
    Control,
    /// ICC_RPR_EL1.
    Running,
}

impl Gicv3 {
    /// Takes EL2's own interrupt of highest priority and makes it active; its INTID, a special one if there
    /// was none.
    #[inline(always)]
    pub fn acknowledge_own(&self) -> u32 {
        let raw = read!("icc_iar0_el1");
        execute!("dsb sy");
        raw as u32
    }

    /// Ends it: EOImode is 0 here, so the write deactivates, too.
    #[inline(always)]
    pub fn end_own(&self, intid: u32) {
        write!("icc_eoir0_el1", u64::from(intid));
    }

    /// The guest's access to a register that both groups have in common. `write`: the value, with no effect
    /// but on the mask: EOImode is 0 and both groups have binary points of their own. What a read reads.
    pub fn common(&self, register: Common, write: Option<u64>) -> u64 {
        match (register, write) {
            (Common::Mask, Some(value)) => {
                write!("icc_pmr_el1", u64::from(lowered(value as u8)));
                0
            }
            (Common::Mask, None) => raised(read!("icc_pmr_el1")),
            (Common::Running, _) => raised(read!("icc_rpr_el1")),
            (Common::Control, _) => read!("icc_ctlr_el1"),
        }
    }

    /// Makes the guest's SGI `id` (below [`DIRECT_KICK_INTID`]) pending on `cpu`, one of its own.
    pub fn send_guest_sgi(&self, cpu: u32, id: u32) {
        // Stores that the guest made before are seen before the SGI is.
        execute!("dsb ish");
        self.raise_group1(cpu, id);
    }

    /// Gives the guest's interrupt `intid` the priority that it asks for; one below 32 is that of `cpu`.
    pub fn prioritise(&self, cpu: u32, intid: u32, priority: u8) {
        let frame = if intid < 32 { self.banked_of(cpu) } else { *self.shared() };
        frame.write8(offset::IPRIORITYR + u64::from(intid), lowered(priority));
    }

    /// Brings this CPU's interface to the state in which a guest starts: nothing enabled, active or let
    /// through. What is active in the distributor is the virtual GIC's matter.
    pub fn forget_guest(&self) {
        write!("icc_igrpen1_el1", 0);
        write!("icc_pmr_el1", LEAST);
        write!("icc_bpr1_el1", 0);
        write!("icc_ap1r0_el1", 0);
        execute!("isb");
    }

    /// On an idle CPU: what a guest wrote into EL2's half of the active priorities no longer keeps EL2's own interrupts
    /// from waking it. No guest's interrupt has such a priority.
    pub fn disown_high(&self) {
        write!("icc_ap1r0_el1", read!("icc_ap1r0_el1") & GUESTS_PRIORITIES);
        execute!("isb");
    }

    /// Brings the guest's SGIs and PPIs `own` of `cpu`, where it does not run, to the state in which it starts:
    /// nothing pending or active, and the highest priority.
    pub fn forget_private(&self, cpu: u32, own: u32) {
        self.banked_of(cpu).write32(offset::ICPENDR, own);
        self.banked_of(cpu).write32(offset::ICACTIVER, own);
        for intid in (0..32).filter(|intid| own >> intid & 1 != 0) {
            self.prioritise(cpu, intid, 0);
        }
    }

    /// Whether the distributor has one security state, so that Group 0 is EL2's.
    pub(super) fn is_single_state(&self) -> bool {
        self.shared().read32(offset::CTLR) & CTLR_DS != 0
    }

    /// This CPU's interface, with EL2's `own` interrupts in Group 0.
    pub(super) fn init_direct(&self, own: [u32; 2]) {
        let frame = self.banked_of(Hardware::cpu(self));
        frame.write32(offset::IGROUPR, !own.into_iter().fold(0, |bits, intid| bits | 1 << intid));
        for intid in 0..32 {
            frame.write8(offset::IPRIORITYR + intid, LEAST as u8);
        }
        for intid in own {
            frame.write8(offset::IPRIORITYR + u64::from(intid), PRIORITY_OWN);
            frame.write32(offset::ISENABLER, 1 << intid);
        }
        write!("icc_ctlr_el1", 0);
        write!("icc_bpr0_el1", 0);
        self.forget_guest();
        write!("icc_igrpen0_el1", 1);
        execute!("isb");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_priority_of_a_guest_reaches_those_of_el2() {
        for priority in 0..=0xFF {
            assert!(lowered(priority) >= 0x80 && lowered(priority) > PRIORITY_OWN);
            // Sixteen steps are left, in order.
            assert_eq!(raised(u64::from(lowered(priority) & 0xF8)), u64::from(priority & 0xF0));
        }
        assert_eq!(raised(u64::from(PRIORITY_OWN)), 0);
        assert_eq!(raised(0xFF), 0xFF);
    }
}
