//! The physical interrupt controller, as EL2 drives it: GICv2 ([`v2::Gicv2`]) and GICv3
//! ([`v3::Gicv3`]) behind one trait, so that the interrupt handler is compiled once for each version
//! and branches on neither.
//!
//! A value of either type belongs to one CPU: it holds that CPU's redistributor or CPU-interface
//! number beside what all CPUs share, so no call looks up where it runs. Nothing in it but
//! the note of enabled PPIs changes after [`Physical::init_cpu`].
//!
//! How interrupts are set up (ruling 28 relies on the first two points):
//! - One priority for interrupts of guests, 0xA0, and a higher one for EL2's own, 0x20. A guest's
//!   priorities exist in its virtual interface only.
//! - All interrupts are in the group that signals IRQ; EL2 uses FIQs on CPUs with direct delivery alone
//!   ([`direct`]).
//! - EOImode = 1: EL2 drops the priority when it has taken an interrupt, and the guest's end of a
//!   hardware-linked virtual interrupt deactivates the physical one.
//!
//! Modules in reading order: [`formats`] (pure), `turn`, [`v3`], [`direct`], [`v2`].

use crate::mmio::Block;
use bulkhead_vgic::Hardware;
use turn::Turn;

pub mod direct;
pub mod formats;
pub(crate) mod turn;
pub mod v2;
pub mod v3;

/// The SGI by which one CPU's EL2 asks another to look at its inboxes.
pub const KICK_INTID: u32 = 1;

/// SGI `POST_INTID + n`: CPU n has posted something to the vCPU that is current on the receiver. One for
/// each CPU, so that the receiver knows where to look.
pub const POST_INTID: u32 = 8;

/// Least INTID that names no interrupt: 1020 to 1023 are special (IHI0069 2.2, IHI0048 3.2.5).
pub const SPECIAL_INTID: u32 = 1020;

/// Priority of EL2's own interrupts.
const PRIORITY_OWN: u8 = 0x20;

/// Priority of interrupts that partitions own, for the four bytes of a priority register.
const PRIORITY_GUEST_WORD: u32 = 0xA0A0_A0A0;

/// Reads of a status bit before a wait is given up. The controller answers within a few; the
/// architecture gives no figure, and EL2 has no unbounded loop.
const WAIT_READS: u32 = 100_000;

/// Reads of a status bit on a path that a guest can reach (a write of ICENABLER).
const WAIT_READS_GUEST: u32 = 32;

/// Why the interrupt controller cannot be used. The number is printed at boot and explained in
/// `docs/boot.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// `GICD_CTLR.RWP` or `GICR_CTLR.RWP` stayed set: writes to the controller do not complete.
    WritePending = 1,
    /// `GICR_WAKER.ChildrenAsleep` stayed set: the redistributor does not wake.
    Asleep = 2,
    /// `GICR_TYPER` names another CPU than this one: the blueprint's redistributor address or CPU
    /// order is not the board's.
    ForeignRedistributor = 3,
    /// `ICC_SRE_EL2.SRE` stays 0: firmware keeps the system-register interface from EL2.
    NoSystemRegisters = 4,
    /// `GICD_PIDR2.ArchRev` is not the version that the blueprint was compiled for.
    Version = 5,
    /// The virtual interface has more than five bits of preemption: more active-priority registers
    /// than the partition switch saves.
    PreemptionBits = 6,
    /// A partition has direct interrupts and `GICD_CTLR.DS` is 0: Group 0 is not EL2's.
    SecurityStates = 7,
}

/// An interrupt controller as EL2's own code needs it, beside what the virtual GIC does with it.
///
/// The partition switch moves the timer PPIs' active state (ruling 1) by [`Hardware::read`] and
/// [`Hardware::write`] with word 0.
///
/// "Raw" is what the acknowledge register gave: the INTID and, for a GICv2 SGI, the sender. Only
/// [`intid`] is meant to look into it.
pub trait Physical: Hardware {
    /// Brings the distributor to a known state: every SPI disabled, in the group of IRQ, neither
    /// pending nor active, level-sensitive, at the guests' priority and routed to CPU 0; then
    /// forwarding is switched on. Called once, by CPU 0, before any [`Physical::init_cpu`].
    ///
    /// # Errors
    /// [`Fault::Version`] or [`Fault::WritePending`].
    fn init_distributor(&self) -> Result<(), Fault>;

    /// Brings this CPU's banked interrupts, CPU interface and virtual interface to a known state and
    /// enables EL2's own: the maintenance interrupt, the EL2 timer and the kick. Called once by
    /// each CPU, with IRQs masked.
    ///
    /// # Errors
    /// A [`Fault`].
    fn init_cpu(&self) -> Result<(), Fault>;

    /// Takes the pending interrupt of highest priority and makes it active; raw. An INTID of
    /// [`SPECIAL_INTID`] or above says there was none and wants no end.
    fn acknowledge(&self) -> u32;

    /// Drops the running priority after [`Physical::acknowledge`]. The interrupt stays active until
    /// the guest ends it (or [`Hardware::deactivate`]).
    fn end(&self, raw: u32);

    /// Drops the priority and deactivates: for EL2's own interrupts, SGIs included.
    fn retire(&self, raw: u32);

    /// Enables an interrupt of EL2's own (the console UART) at EL2's priority. A PPI or SGI is
    /// enabled on this CPU; an SPI goes to `cpu`.
    fn enable_own(&self, intid: u32, cpu: u32);

    /// INTID of EL2's timer.
    fn timer_intid(&self) -> u32;

    /// Sends SGI `id` (0 to 15) to one CPU; one with direct delivery gets its kick instead. Earlier stores
    /// are visible to it when it takes the SGI.
    fn send_sgi(&self, cpu: u32, id: u32);
}

/// The INTID of a raw acknowledge value, 0 to 1023. Neither version gives others here: EL2 has no
/// LPIs enabled, and bits 12:10 of a GICv2 value are an SGI's sender.
#[inline(always)]
#[must_use]
pub const fn intid(raw: u32) -> u32 {
    raw & 0x3FF
}

/// The word index and bit of an INTID in a register with one bit for each interrupt.
const fn word_and_bit(intid: u32) -> (u64, u32) {
    ((intid / 32) as u64, 1 << (intid % 32))
}

/// Distributor registers that both versions have at the same offsets (IHI0048 4.3, IHI0069 12.9);
/// the banked ones lie at the same offsets of a GICv3 redistributor's SGI frame.
mod offset {
    pub const CTLR: u64 = 0x000;
    pub const TYPER: u64 = 0x004;
    pub const IGROUPR: u64 = 0x080;
    pub const ISENABLER: u64 = 0x100;
    pub const ICENABLER: u64 = 0x180;
    pub const ICPENDR: u64 = 0x280;
    pub const ICACTIVER: u64 = 0x380;
    pub const IPRIORITYR: u64 = 0x400;
    pub const ICFGR: u64 = 0xC00;
}

/// Order of read-modify-writes of GICD_ICFGR.
static CONFIGURATION: Turn = Turn::new();

/// Gives the bits in `mask` of ICFGR<index> those of `value`; within [`CONFIGURATION`]'s turn, as
/// interrupts of several partitions share the word.
fn modify_configuration(frame: &Block, index: usize, mask: u32, value: u32) {
    let register = offset::ICFGR + 4 * index as u64;
    let old = frame.read32(register);
    frame.write32(register, (old & !mask) | (value & mask));
}
