//! Virtual GICv2 and GICv3: the distributor model of a partition and the allocation of list
//! registers.
//!
//! A partition has one [`Distributor`] and one [`CpuInterface`] per vCPU; [`Vgic`] joins them on a
//! visit of EL2. Physical interrupts go to the guest linked to the hardware ([`Seat::inject_hw`]),
//! so that their end costs no trap; doorbells, emulated devices and SGIs are software interrupts.
//!
//! Principles
//! 1. The hot path ([`Seat::inject_hw`]) takes no lock, reads no list register and has no loop.
//! 2. Guest state is 32 interrupts to a word; registers are word operations. Loops run over list
//!    registers, vCPUs, words, or the bits of one written word.
//! 3. Cross-CPU words have one writer, or are written under the partition's lock.
//! 4. Whatever a guest programs, EL2 neither panics nor loops: indices are masked or checked, a
//!    write has no effect on what the partition does not have.
//! 5. Nothing here is unsafe; the hardware stands behind [`Hardware`].
//!
//! Honest limits
//! - No LPIs, no ITS, no 1-of-N routing, no message-based SPIs, no security states.
//! - Priority, enable and target changes reach an interrupt that is pending in another CPU's list
//!   register with that CPU's next kick, not before the register write completes (`RWP` reads 0).
//!   Writes to `ICPENDR` and `ICACTIVER` do not reach it at all, and it reads as active.
//! - `PENDR` and `ACTIVER` of a physical PPI act on the hardware only when a vCPU writes its own
//!   redistributor; its `ICFGR` is fixed, for the partitions of a CPU share it.
//! - PSCI CPU_OFF leaves the interface as it is: a physical SPI that is pending in one of its list registers
//!   stays active until the vCPU runs again, which then finds `VMCR` and active priorities of before.
//! - `GICR_WAKER` keeps its handshake but does not hold interrupts back.
//! - A GICv2 guest with EOImode = 1 that has more interrupts active than there are list registers
//!   may see another spilled one deactivated than it named: the hardware only counts.
//! - The physical active state of PPIs 27 and 30 at a partition switch is the world switch's
//!   matter (ruling 1); their enables are moved here.
//!
//! Reading order: `hw`, `words`, `state`, `inbox`, `spill`, `lists`, `deliver`, `power`,
//! `registers`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod deliver;
mod hw;
mod inbox;
mod lists;
mod power;
mod quick;
mod registers;
mod spill;
mod state;
mod words;

pub(crate) mod atomics {
    //! What the inbox is built of; its model check takes them from elsewhere.
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use zerocopy::FromZeros;
}

pub use hw::{Control, File, Hardware, LIST_REGISTERS_MAX, Lr};
pub use power::set_ppis;
pub use registers::{Frame, Refused};
pub use state::{Config, CpuInterface, DOORBELLS, Distributor, INTIDS, IRQ_WORDS, VCPUS};

use words::Bank;

/// A partition's GIC as EL2 sees it during a visit.
#[derive(Clone, Copy, Debug)]
pub struct Vgic<'a> {
    /// The partition's distributor.
    pub distributor: &'a Distributor,
    /// One interface per vCPU, at most [`VCPUS`].
    pub interfaces: &'a [CpuInterface],
}

/// The same on the CPU of one of its vCPUs: what the paths of every interrupt need, found once.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    distributor: &'a Distributor,
    all: &'a [CpuInterface],
    me: &'a CpuInterface,
    vcpu: usize,
}

/// The same with that CPU's hardware.
struct Cpu<'a, H> {
    distributor: &'a Distributor,
    all: &'a [CpuInterface],
    me: &'a CpuInterface,
    vcpu: usize,
    hw: &'a H,
}

impl<'a, H: Hardware> Cpu<'a, H> {
    #[inline(always)]
    fn bank(&self, word: usize) -> &'a Bank {
        self.distributor.bank(self.me, word)
    }

    fn seat(&self) -> Seat<'a> {
        Seat { distributor: self.distributor, all: self.all, me: self.me, vcpu: self.vcpu }
    }
}

impl<'a> Seat<'a> {
    #[inline(always)]
    fn on<H: Hardware>(&self, hw: &'a H) -> Cpu<'a, H> {
        Cpu { distributor: self.distributor, all: self.all, me: self.me, vcpu: self.vcpu, hw }
    }
}

impl<'a> Vgic<'a> {
    /// The place of `vcpu`, below [`VCPUS`]; none for a vCPU that the partition does not have.
    #[inline(always)]
    pub fn seat(&self, vcpu: usize) -> Option<Seat<'a>> {
        let me = self.interfaces.get(vcpu)?;
        Some(Seat { distributor: self.distributor, all: self.interfaces, me, vcpu })
    }

    /// The CPU of `vcpu`; none for a vCPU that the partition does not have.
    #[inline(always)]
    fn on<H: Hardware>(&self, hw: &'a H, vcpu: usize) -> Option<Cpu<'a, H>> {
        Some(self.seat(vcpu)?.on(hw))
    }
}
