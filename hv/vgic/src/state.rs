//! What is kept for a partition ([`Distributor`]) and for each of its vCPUs ([`CpuInterface`]).

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::hw::LIST_REGISTERS_MAX;
use crate::inbox::{Inbox, SOURCES};
use crate::spill::Spilled;
use crate::words::{Bank, Lock, Traits, Word, bits};
use zerocopy::FromZeros;

/// Words of an interrupt bitmap.
pub const IRQ_WORDS: usize = 9;
/// Interrupts of a partition: INTIDs 0 to 287.
pub const INTIDS: u32 = 32 * IRQ_WORDS as u32;
/// Shared ones among them.
const SPIS: usize = 32 * (IRQ_WORDS - 1);
/// Most vCPUs of a partition.
pub const VCPUS: usize = 8;
/// Doorbells that a partition can receive.
pub const DOORBELLS: usize = 32;

/// The SGIs of word 0.
pub(crate) const SGIS: u32 = 0xffff;

/// What the blueprint says about a partition's interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
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
pub(crate) const fn place_of(intid: u32) -> (usize, u32) {
    ((intid >> 5) as usize, 1 << (intid & 31))
}

/// A partition's distributor, shared by the CPUs of its vCPUs. Shared words are written under its
/// lock, or once before the partition starts.
#[derive(Debug, FromZeros)]
pub struct Distributor {
    pub(crate) lock: Lock,
    /// Enabled groups: bit 0 Group 0, bit 1 Group 1 (`GICD_CTLR`).
    pub(crate) groups: Word,
    words: Word,
    /// Words with owned SPIs, one bit each.
    owned_words: Word,
    cpus: [AtomicU8; VCPUS],
    /// The other way round.
    vcpus: [AtomicU8; SOURCES],
    owned: [Word; IRQ_WORDS],
    present: [Word; IRQ_WORDS],
    /// Owned SPIs that are not enabled in the hardware whatever the guest does, until the reset.
    masked: [Word; IRQ_WORDS],
    doorbells: [AtomicU16; DOORBELLS],
    /// The same by word.
    doorbell_words: [Word; IRQ_WORDS],
    banks: [Bank; IRQ_WORDS - 1],
    traits: [Traits; SPIS],
    /// `ITARGETSR` (GICv2) or `IROUTER.Aff0` (GICv3) of each SPI.
    targets: [AtomicU8; SPIS],
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
    pub const fn new() -> Self {
        Self {
            lock: Lock::new(),
            groups: Word::new(0),
            words: Word::new(0),
            owned_words: Word::new(0),
            cpus: [const { AtomicU8::new(0) }; VCPUS],
            vcpus: [const { AtomicU8::new(0) }; SOURCES],
            owned: [const { Word::new(0) }; IRQ_WORDS],
            present: [const { Word::new(0) }; IRQ_WORDS],
            masked: [const { Word::new(0) }; IRQ_WORDS],
            doorbells: [const { AtomicU16::new(0) }; DOORBELLS],
            doorbell_words: [const { Word::new(0) }; IRQ_WORDS],
            banks: [const { Bank::new() }; IRQ_WORDS - 1],
            traits: [const { Traits::new() }; SPIS],
            targets: [const { AtomicU8::new(0) }; SPIS],
            routed: [const { [const { Word::new(0) }; IRQ_WORDS] }; VCPUS],
        }
    }

    /// Takes the configuration, once at boot before any other call. The registers stay at 0 until
    /// [`crate::Vgic::reset_shared`].
    pub fn init(&self, config: &Config) {
        for (vcpu, (cell, cpu)) in self.cpus.iter().zip(config.cpus).enumerate().rev() {
            cell.store(cpu, Ordering::Relaxed);
            self.vcpus[usize::from(cpu) % SOURCES].store(vcpu as u8, Ordering::Relaxed);
        }
        for (n, (word, bits)) in self.owned.iter().zip(config.owned).enumerate() {
            word.put(*bits);
            self.owned_words.assign(1 << n, n != 0 && *bits != 0);
        }
        for (n, (word, bits)) in self.present.iter().zip(config.present).enumerate() {
            word.put(if n == 0 { u32::MAX } else { *bits });
            if n == 0 || *bits != 0 {
                self.words.put(n as u32 + 1);
            }
        }
        for (cell, intid) in self.doorbells.iter().zip(config.doorbell_intids) {
            if self.is_virtual_spi(u32::from(*intid)) {
                cell.store(*intid, Ordering::Relaxed);
                let (word, bit) = place_of(u32::from(*intid));
                at(&self.doorbell_words, word).set(bit);
            }
        }
    }

    /// Physical CPU of `vcpu`.
    pub(crate) fn cpu(&self, vcpu: usize) -> u32 {
        u32::from(self.cpus[vcpu % VCPUS].load(Ordering::Relaxed))
    }

    /// Words with owned SPIs, one bit each.
    pub(crate) fn owned_words(&self) -> u32 {
        self.owned_words.get()
    }

    /// Words of interrupts, up to the last that is present.
    pub(crate) fn words(&self) -> usize {
        (self.words.get() as usize).min(IRQ_WORDS)
    }

    /// The vCPU that is bound to physical CPU `cpu`.
    #[inline(always)]
    pub(crate) fn vcpu_on(&self, cpu: usize) -> u32 {
        u32::from(self.vcpus[cpu % SOURCES].load(Ordering::Relaxed))
    }

    pub(crate) fn owned(&self, word: usize) -> u32 {
        at(&self.owned, word).get()
    }

    pub(crate) fn present(&self, word: usize) -> u32 {
        at(&self.present, word).get()
    }

    /// Owned SPIs of `word` that stay disabled.
    pub(crate) fn masked(&self, word: usize) -> &Word {
        at(&self.masked, word)
    }

    /// INTID of doorbell `bit`, 0 if there is none.
    pub(crate) fn doorbell(&self, bit: u32) -> u32 {
        u32::from(self.doorbells[bit as usize % DOORBELLS].load(Ordering::Relaxed))
    }

    /// Whether EL2 may raise `intid`: an SPI that is present and not owned.
    pub(crate) fn is_virtual_spi(&self, intid: u32) -> bool {
        let (word, bit) = place_of(intid);
        (32..INTIDS).contains(&intid) && (self.present(word) & !self.owned(word)) & bit != 0
    }

    /// The state of `word`; word 0 is banked in the vCPU's interface.
    #[inline(always)]
    pub(crate) fn bank<'a>(&'a self, banked: &'a CpuInterface, word: usize) -> &'a Bank {
        if word == 0 { &banked.bank } else { &self.banks[(word - 1) % (IRQ_WORDS - 1)] }
    }

    /// The state of the words from 1 on.
    #[inline(always)]
    pub(crate) fn shared_banks(&self) -> &[Bank] {
        &self.banks[..(self.words().max(1) - 1).min(IRQ_WORDS - 1)]
    }

    /// Priority and group of interrupt `intid`.
    #[inline(always)]
    pub(crate) fn traits<'a>(&'a self, banked: &'a CpuInterface, intid: u32) -> &'a Traits {
        match (intid as usize).checked_sub(32) {
            None => &banked.traits[intid as usize % 32],
            Some(spi) => &self.traits[spi % SPIS],
        }
    }

    /// The same of the interrupts of `word`.
    pub(crate) fn word_traits<'a>(&'a self, banked: &'a CpuInterface, word: usize) -> &'a [Traits; 32] {
        let spis = self.traits.as_chunks().0;
        if word == 0 { &banked.traits } else { &spis[(word - 1) % (IRQ_WORDS - 1)] }
    }

    /// The SPIs of `word` to reset state, routed to vCPU 0, which `target` says.
    pub(crate) fn reset_word(&self, banked: &CpuInterface, word: usize, target: u8) {
        self.masked(word).put(0);
        // A doorbell is an edge, also to a guest that does not say so: its end needs no visit.
        self.bank(banked, word).reset(at(&self.doorbell_words, word).get(), 0);
        self.word_traits(banked, word).iter().for_each(|traits| traits.put(0, false));
        let targets = self.targets.as_chunks::<32>().0;
        targets[(word - 1) % (IRQ_WORDS - 1)].iter().for_each(|cell| cell.store(target, Ordering::Relaxed));
        for (vcpu, words) in self.routed.iter().enumerate() {
            at(words, word).put(if vcpu == 0 { self.present(word) } else { 0 });
        }
    }

    /// SPIs of `word` routed to `vcpu`; all of word 0.
    pub(crate) fn routed(&self, vcpu: usize, word: usize) -> u32 {
        if word == 0 { u32::MAX } else { at(&self.routed[vcpu % VCPUS], word).get() }
    }

    fn target_cell(&self, intid: u32) -> &AtomicU8 {
        &self.targets[(intid as usize).wrapping_sub(32) % SPIS]
    }

    /// What the guest wrote as target of SPI `intid`.
    pub(crate) fn target(&self, intid: u32) -> u8 {
        self.target_cell(intid).load(Ordering::Relaxed)
    }

    /// Sets the target of SPI `intid` as the guest writes it, which means `chosen` of `vcpus`.
    pub(crate) fn set_target(&self, intid: u32, target: u8, chosen: Option<usize>, vcpus: usize) {
        let (word, bit) = place_of(intid);
        self.target_cell(intid).store(target, Ordering::Relaxed);
        for (vcpu, words) in self.routed.iter().take(vcpus).enumerate() {
            at(words, word).assign(bit, chosen == Some(vcpu));
        }
    }
}

/// Word `word`, or the last one.
pub(crate) fn at(words: &[Word; IRQ_WORDS], word: usize) -> &Word {
    &words[word.min(IRQ_WORDS - 1)]
}

/// In [`CpuInterface::tags`]: the interrupt is none of the hardware.
pub(crate) const TAG_SOFTWARE: u32 = 1 << 31;
/// In [`CpuInterface::tags`]: the pending latch went into the list register.
pub(crate) const TAG_LATCHED: u32 = 1 << 30;
/// In [`CpuInterface::control`]: to be written anew whatever it shall be. Its bits keep list registers
/// from being found free.
pub(crate) const STALE: u32 = u32::MAX;
/// In [`CpuInterface::tags`]: nothing, although the list register does not count as free.
pub(crate) const TAG_NONE: u32 = TAG_INTID;
/// INTID in a tag.
pub(crate) const TAG_INTID: u32 = 0xffff;

/// The interrupt state of one vCPU. The CPU that the vCPU is bound to writes it, without a lock
/// where only word 0 or linked interrupts are concerned; others write the inbox and, under the
/// distributor's lock, `attention` and the bank but for what is pending or active in it.
///
/// What an injection needs comes first: at small offsets it costs less.
#[derive(Debug, FromZeros)]
#[repr(C)]
pub struct CpuInterface {
    /// What was put into each list register: INTID and tag bits.
    pub(crate) tags: [Word; LIST_REGISTERS_MAX],
    /// List registers known to be free: others may have become so since. Empty while something waits
    /// for a list register. While not current: those of which nothing is kept.
    pub(crate) free: Word,
    /// List registers that the CPU has; none before the first reset.
    pub(crate) lists: Word,
    /// List registers that hold, or held, an SPI that is no physical one and that another vCPU could have.
    pub(crate) shared: Word,
    /// Bits of [`crate::Control`] last written, or [`STALE`].
    pub(crate) control: Word,
    /// While something waits: the lowest priority that was dealt out.
    pub(crate) worst: Word,
    /// Owned PPIs that are enabled while current.
    pub(crate) ppis: Word,
    /// Whether the interface is on the hardware of its CPU.
    pub(crate) current: Word,
    pub(crate) inbox: Inbox,
    pub(crate) traits: [Traits; 32],
    /// SGIs and PPIs.
    pub(crate) bank: Bank,
    /// Pending SGIs by sender (GICv2); GICv3 keeps all under 0.
    pub(crate) sources: [Word; VCPUS],
    /// Physical interrupts taken from the hardware that wait for a list register.
    pub(crate) waiting: [Word; IRQ_WORDS],
    /// Active interrupts moved out of their list registers.
    pub(crate) spilled: Spilled,
    /// Set by others: state that concerns the list registers has changed.
    pub(crate) attention: Word,
    /// `GICR_WAKER.ProcessorSleep`.
    pub(crate) asleep: Word,
    /// `VMCR` and the two active priorities registers while not current.
    pub(crate) saved: [Word; 3],
    /// What the list registers that are not free hold while not current.
    pub(crate) kept: [AtomicU64; LIST_REGISTERS_MAX],
}

impl Default for CpuInterface {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuInterface {
    /// An interface with nothing in it, not current. [`crate::Vgic::reset_shared`] puts it on the
    /// hardware.
    pub const fn new() -> Self {
        Self {
            traits: [const { Traits::new() }; 32],
            bank: Bank::new(),
            sources: [const { Word::new(0) }; VCPUS],
            free: Word::new(0),
            lists: Word::new(0),
            shared: Word::new(0),
            tags: [const { Word::new(0) }; LIST_REGISTERS_MAX],
            waiting: [const { Word::new(0) }; IRQ_WORDS],
            spilled: Spilled::new(),
            control: Word::new(0),
            worst: Word::new(0),
            ppis: Word::new(0),
            current: Word::new(0),
            attention: Word::new(0),
            asleep: Word::new(0),
            inbox: Inbox {
                sent: [const { AtomicU64::new(0) }; SOURCES],
                seen: [const { AtomicU64::new(0) }; SOURCES],
            },
            saved: [const { Word::new(0) }; 3],
            kept: [const { AtomicU64::new(0) }; LIST_REGISTERS_MAX],
        }
    }

    /// Whether the vCPU's interface is on the hardware of its CPU: then, and only then, other CPUs
    /// kick it.
    pub fn is_current(&self) -> bool {
        self.current.get() != 0
    }

    /// List registers that hold something, as far as known.
    #[inline(always)]
    pub(crate) fn used(&self) -> u32 {
        // A list register is counted from the store to `free` on, before which its tag is written.
        self.lists.get() & !self.free.acquire()
    }

    /// Interrupts of `word` in this vCPU's list registers or spilled, as far as known: one that the
    /// guest ended since may still be counted.
    pub(crate) fn holds(&self, word: usize) -> u32 {
        let mut held = self.spilled.bits(word);
        for n in bits(self.used()) {
            let (tag_word, bit) = place_of(self.tags[n as usize % LIST_REGISTERS_MAX].get() & TAG_INTID);
            held |= if tag_word == word { bit } else { 0 };
        }
        held
    }
}
