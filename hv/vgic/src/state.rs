//! What is kept for a partition ([`Distributor`]) and for each of its vCPUs ([`CpuInterface`]).

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::hw::{LIST_REGISTERS_MAX, Lr};
use crate::inbox::{Inbox, SOURCES};
use crate::spill::Spilled;
use crate::words::{Bank, Lock, Word};

/// Words of an interrupt bitmap.
pub const IRQ_WORDS: usize = 9;
/// Interrupts of a partition: INTIDs 0 to 287.
pub const INTIDS: u32 = 32 * IRQ_WORDS as u32;
/// Most vCPUs of a partition.
pub const VCPUS: usize = 8;
/// Doorbells that a partition can receive.
pub const DOORBELLS: usize = 32;

/// The SGIs of word 0.
pub(crate) const SGIS: u32 = 0xffff;

/// Which GIC the partition sees; always that of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// GICv2 (IHI 0048): distributor emulated, CPU interface is the hardware's GICV.
    V2,
    /// GICv3 (IHI 0069): distributor and redistributors emulated, affinity routing on, one security
    /// state; the CPU interface is the hardware's `ICV_*` system registers.
    V3,
}

/// What the blueprint says about a partition's interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// GIC version.
    pub version: Version,
    /// Physical CPU of each vCPU, below 8; all different.
    pub cpus: [u8; VCPUS],
    /// Physical interrupts that the partition owns, PPIs in word 0.
    pub owned: &'a [u32; IRQ_WORDS],
    /// Interrupts that exist for the partition, owned ones included. SGIs and PPIs always exist.
    pub present: &'a [u32; IRQ_WORDS],
    /// INTID of each doorbell bit, 32 to 287; 0 where there is none.
    pub doorbell_intids: &'a [u16; DOORBELLS],
}

/// Word and bit of an INTID.
#[inline]
pub(crate) const fn place_of(intid: u32) -> (usize, u32) {
    ((intid >> 5) as usize, 1 << (intid & 31))
}

/// A partition's distributor, shared by the CPUs of its vCPUs. Shared words are written under its
/// lock, or once before the partition starts.
#[derive(Debug)]
pub struct Distributor {
    pub(crate) lock: Lock,
    is_v3: Word,
    /// Enabled groups: bit 0 Group 0, bit 1 Group 1 (`GICD_CTLR`).
    pub(crate) groups: Word,
    cpus: [AtomicU8; VCPUS],
    owned: [Word; IRQ_WORDS],
    present: [Word; IRQ_WORDS],
    doorbells: [AtomicU16; DOORBELLS],
    banks: [Bank; IRQ_WORDS - 1],
    /// `ITARGETSR` (GICv2) or `IROUTER.Aff0` (GICv3) of each SPI.
    targets: [AtomicU8; 32 * (IRQ_WORDS - 1)],
    /// SPIs by the vCPU they are routed to.
    routed: [[Word; IRQ_WORDS]; VCPUS],
}

impl Default for Distributor {
    fn default() -> Self {
        Self::new()
    }
}

impl Distributor {
    /// A distributor without interrupts. [`Distributor::init`] gives it its configuration.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lock: Lock::new(),
            is_v3: Word::new(0),
            groups: Word::new(0),
            cpus: [const { AtomicU8::new(0) }; VCPUS],
            owned: [const { Word::new(0) }; IRQ_WORDS],
            present: [const { Word::new(0) }; IRQ_WORDS],
            doorbells: [const { AtomicU16::new(0) }; DOORBELLS],
            banks: [const { Bank::new() }; IRQ_WORDS - 1],
            targets: [const { AtomicU8::new(0) }; 32 * (IRQ_WORDS - 1)],
            routed: [const { [const { Word::new(0) }; IRQ_WORDS] }; VCPUS],
        }
    }

    /// Takes the configuration, once at boot before any other call. The registers stay at 0 until
    /// [`crate::Vgic::reset_shared`].
    pub fn init(&self, config: &Config) {
        self.is_v3.put(u32::from(config.version == Version::V3));
        for (cell, cpu) in self.cpus.iter().zip(config.cpus) {
            cell.store(cpu, Ordering::Relaxed);
        }
        for (word, bits) in self.owned.iter().zip(config.owned) {
            word.put(*bits);
        }
        for (n, (word, bits)) in self.present.iter().zip(config.present).enumerate() {
            word.put(if n == 0 { u32::MAX } else { *bits });
        }
        for (cell, intid) in self.doorbells.iter().zip(config.doorbell_intids) {
            cell.store(*intid, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_v3(&self) -> bool {
        self.is_v3.get() != 0
    }

    /// Physical CPU of `vcpu`.
    #[inline]
    pub(crate) fn cpu(&self, vcpu: usize) -> u32 {
        u32::from(self.cpus[vcpu % VCPUS].load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn owned(&self, word: usize) -> u32 {
        self.owned.get(word).map_or(0, Word::get)
    }

    #[inline]
    pub(crate) fn present(&self, word: usize) -> u32 {
        self.present.get(word).map_or(0, Word::get)
    }

    /// INTID of doorbell `bit`, if it is one that exists and is no physical interrupt.
    #[inline]
    pub(crate) fn doorbell(&self, bit: u32) -> Option<u32> {
        let cell = &self.doorbells[bit as usize % DOORBELLS];
        let intid = u32::from(cell.load(Ordering::Relaxed));
        self.is_virtual_spi(intid).then_some(intid)
    }

    /// Whether EL2 may raise `intid`: an SPI that is present and not owned.
    #[inline]
    pub(crate) fn is_virtual_spi(&self, intid: u32) -> bool {
        let (word, bit) = place_of(intid);
        intid >= 32 && (self.present(word) & !self.owned(word)) & bit != 0
    }

    /// The state of `word`; word 0 is banked in the vCPU's interface. A word out of range means the
    /// last, which the callers' masks of present interrupts exclude.
    #[inline]
    pub(crate) fn bank<'a>(&'a self, banked: &'a CpuInterface, word: usize) -> &'a Bank {
        match word.checked_sub(1) {
            None => &banked.bank,
            Some(n) => &self.banks[n % (IRQ_WORDS - 1)],
        }
    }

    /// The state of `word`, 1 to 8; none for another.
    #[inline(always)]
    pub(crate) fn shared_bank(&self, word: usize) -> Option<&Bank> {
        self.banks.get(word.wrapping_sub(1))
    }

    /// SPIs of `word` routed to `vcpu`; all of word 0.
    #[inline]
    pub(crate) fn routed(&self, vcpu: usize, word: usize) -> u32 {
        if word == 0 {
            return u32::MAX;
        }
        self.routed[vcpu % VCPUS].get(word).map_or(0, Word::get)
    }

    /// What the guest wrote as target of SPI `intid`.
    #[inline]
    pub(crate) fn target(&self, intid: u32) -> u8 {
        let index = (intid as usize).wrapping_sub(32) % self.targets.len();
        self.targets[index].load(Ordering::Relaxed)
    }

    /// The vCPU that SPI `intid` is routed to; the lowest where several are named.
    pub(crate) fn target_vcpu(&self, intid: u32, vcpus: usize) -> Option<usize> {
        let target = u32::from(self.target(intid));
        let vcpu = if self.is_v3() { target } else { target.trailing_zeros() } as usize;
        (vcpu < vcpus).then_some(vcpu)
    }

    /// Sets the target of SPI `intid`; returns the vCPU that it now has.
    pub(crate) fn set_target(&self, intid: u32, target: u8, vcpus: usize) -> Option<usize> {
        let (word, bit) = place_of(intid);
        let index = (intid as usize).wrapping_sub(32) % self.targets.len();
        self.targets[index].store(target, Ordering::Relaxed);
        let chosen = self.target_vcpu(intid, vcpus);
        for (vcpu, words) in self.routed.iter().enumerate() {
            let Some(routed) = words.get(word) else { break };
            if chosen == Some(vcpu) {
                routed.set(bit);
            } else {
                routed.clear(bit);
            }
        }
        chosen
    }
}

/// In [`CpuInterface::lists`]: the list register is linked to a physical interrupt.
pub(crate) const TAG_HARDWARE: u32 = 1 << 31;
/// In [`CpuInterface::lists`]: the pending latch went into the list register.
pub(crate) const TAG_LATCHED: u32 = 1 << 30;
/// INTID in a tag.
pub(crate) const TAG_INTID: u32 = 0xffff;

/// The interrupt state of one vCPU. The CPU that the vCPU is bound to writes it, without a lock
/// where only word 0 or linked interrupts are concerned; others write the inbox and, under the
/// distributor's lock, `attention` and the bank but for what is pending or active in it.
#[derive(Debug)]
pub struct CpuInterface {
    /// SGIs and PPIs.
    pub(crate) bank: Bank,
    /// Pending SGIs by sender (GICv2); GICv3 keeps all under 0.
    pub(crate) sources: [Word; VCPUS],
    /// List registers known to be free. Others may have become so since. Never set while something
    /// waits for a list register.
    pub(crate) free: Word,
    /// List registers that hold, or held, a software interrupt.
    pub(crate) software: Word,
    /// What was put into each list register: INTID and tag bits.
    pub(crate) lists: [Word; LIST_REGISTERS_MAX],
    /// Physical interrupts taken from the hardware that wait for a list register.
    pub(crate) waiting: [Word; IRQ_WORDS],
    /// Software interrupts in a list register or spilled.
    pub(crate) resident: [Word; IRQ_WORDS],
    /// Active interrupts moved out of their list registers.
    pub(crate) spilled: Spilled,
    /// Bits of [`crate::Control`] last written.
    pub(crate) control: Word,
    /// PPIs enabled in the hardware for this vCPU.
    pub(crate) mirrored: Word,
    /// Whether the interface is on the hardware of its CPU.
    pub(crate) current: Word,
    /// Set by others: state that concerns the list registers has changed.
    pub(crate) attention: Word,
    /// `GICR_WAKER.ProcessorSleep`.
    pub(crate) asleep: Word,
    pub(crate) inbox: Inbox,
    saved_lists: [AtomicU64; LIST_REGISTERS_MAX],
    /// `VMCR` and the two active priorities registers while not current.
    pub(crate) saved: [Word; 3],
}

impl Default for CpuInterface {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuInterface {
    /// An interface with nothing in it, not current. [`crate::Vgic::reset_vcpu`] puts it on the
    /// hardware.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bank: Bank::new(),
            sources: [const { Word::new(0) }; VCPUS],
            free: Word::new(0),
            software: Word::new(0),
            lists: [const { Word::new(0) }; LIST_REGISTERS_MAX],
            waiting: [const { Word::new(0) }; IRQ_WORDS],
            resident: [const { Word::new(0) }; IRQ_WORDS],
            spilled: Spilled::new(),
            control: Word::new(0),
            mirrored: Word::new(0),
            current: Word::new(0),
            attention: Word::new(0),
            asleep: Word::new(0),
            inbox: Inbox {
                sent: [const { AtomicU64::new(0) }; SOURCES],
                seen: [const { AtomicU64::new(0) }; SOURCES],
            },
            saved_lists: [const { AtomicU64::new(0) }; LIST_REGISTERS_MAX],
            saved: [const { Word::new(0) }; 3],
        }
    }

    /// Whether the vCPU's interface is on the hardware of its CPU: then, and only then, other CPUs
    /// kick it.
    #[inline]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.current.get() != 0
    }

    /// Interrupts of `word` in this vCPU's list registers or spilled, as far as known: one that the
    /// guest ended since may still be counted. `lists`: list registers that a CPU has.
    pub(crate) fn holds(&self, word: usize, lists: usize) -> u32 {
        let used = !self.free.get();
        let index = word % IRQ_WORDS;
        let mut bits = self.resident[index].get() | self.spilled.bits(word);
        for (n, tag) in self.lists.iter().enumerate().take(lists) {
            let tag = tag.get();
            let (tag_word, bit) = place_of(tag & TAG_INTID);
            if used & (1 << n) != 0 && tag & TAG_HARDWARE != 0 && tag_word == word {
                bits |= bit;
            }
        }
        bits
    }

    pub(crate) fn saved_list(&self, n: usize) -> Lr {
        Lr::from_bits(self.saved_lists[n % LIST_REGISTERS_MAX].load(Ordering::Relaxed))
    }

    pub(crate) fn save_list(&self, n: usize, lr: Lr) {
        self.saved_lists[n % LIST_REGISTERS_MAX].store(lr.bits(), Ordering::Relaxed);
    }
}
