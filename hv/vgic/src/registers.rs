//! The distributor's register files: what a word of a guest means for 32 interrupts.
//!
//! Bits of interrupts that the partition does not have read as zero and ignore writes. Bits of
//! owned interrupts go to the hardware as one masked word.

use crate::Cpu;
use crate::hw::{Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::SGI_SHIFT;
use crate::state::{CpuInterface, IRQ_WORDS, SGIS, TAG_INTID, VCPUS, place_of};
use crate::words::Bank;

/// EOImode of the guest in `VMCR`: VEOIM (GICv3), VEM (GICv2).
pub(crate) const VMCR_EOI_MODE: u32 = 1 << 9;

/// The register files with one bit per interrupt, in the order of their offsets from 0x080 on,
/// 0x80 apart (IHI 0069, 12.8; IHI 0048, 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

impl File {
    /// The file at `offset`.
    pub(crate) fn at(offset: u32) -> Option<Self> {
        Some(match offset >> 7 {
            1 => Self::Group,
            2 => Self::SetEnable,
            3 => Self::ClearEnable,
            4 => Self::SetPending,
            5 => Self::ClearPending,
            6 => Self::SetActive,
            7 => Self::ClearActive,
            _ => return None,
        })
    }
}

/// The upper bit of each of 16 two-bit fields, as 16 bits.
fn upper_bits(fields: u32) -> u32 {
    let mut bits = (fields >> 1) & 0x5555_5555;
    bits = (bits | (bits >> 1)) & 0x3333_3333;
    bits = (bits | (bits >> 2)) & 0x0f0f_0f0f;
    bits = (bits | (bits >> 4)) & 0x00ff_00ff;
    (bits | (bits >> 8)) & 0xffff
}

/// 16 bits as the upper bits of 16 two-bit fields.
fn upper_fields(bits: u32) -> u32 {
    let mut fields = bits & 0xffff;
    fields = (fields | (fields << 8)) & 0x00ff_00ff;
    fields = (fields | (fields << 4)) & 0x0f0f_0f0f;
    fields = (fields | (fields << 2)) & 0x3333_3333;
    fields = (fields | (fields << 1)) & 0x5555_5555;
    fields << 1
}

/// What this CPU's list registers hold of 32 interrupts.
struct Held {
    pending: u32,
    active: u32,
}

/// The registers of one vCPU's word 0 (`owner`), and of the SPIs, accessed by the vCPU of `cpu`.
pub(crate) struct Registers<'a, H> {
    pub(crate) cpu: Cpu<'a, H>,
    pub(crate) owner: usize,
    pub(crate) banked: &'a CpuInterface,
}

impl<H: Hardware> Registers<'_, H> {
    pub(crate) fn bank(&self, word: usize) -> &Bank {
        self.cpu.distributor.bank(self.banked, word)
    }

    /// Whether the state of `word` in the hardware and in list registers is this CPU's.
    fn is_here(&self, word: usize) -> bool {
        word != 0 || self.owner == self.cpu.vcpu
    }

    #[inline(never)]
    pub(crate) fn read(&self, file: File, word: usize) -> u32 {
        let bank = self.bank(word);
        let value = match file {
            File::Group => bank.group.get(),
            File::SetEnable | File::ClearEnable => bank.enable.get(),
            File::SetPending | File::ClearPending => self.pending(word),
            File::SetActive | File::ClearActive => self.active(word),
        };
        value & self.cpu.distributor.present(word)
    }

    fn pending(&self, word: usize) -> u32 {
        let mut pending = self.bank(word).raised() | self.waiting(word);
        if self.is_here(word) {
            let owned = self.cpu.distributor.owned(word);
            pending |= self.cpu.held(word).pending;
            if owned != 0 {
                pending |= self.cpu.hw.pending(word) & owned;
            }
        }
        pending
    }

    fn active(&self, word: usize) -> u32 {
        let mut active = self.bank(word).active.get() | self.cpu.elsewhere(word, self.owner);
        if self.is_here(word) {
            let held = self.cpu.held(word);
            let owned = self.cpu.distributor.owned(word);
            active |= held.active | self.cpu.me.spilled.bits(word);
            if owned != 0 {
                active |= self.cpu.hw.active(word) & owned & !held.pending & !self.waiting(word);
            }
        }
        active
    }

    /// Physical interrupts of `word` that wait for a list register, at any vCPU that may have them.
    #[inline(never)]
    fn waiting(&self, word: usize) -> u32 {
        if word == 0 {
            return self.banked.waiting[0].get();
        }
        let all = self.cpu.all.iter();
        all.fold(0, |bits, interface| bits | interface.waiting[word % IRQ_WORDS].get())
    }

    #[inline(never)]
    pub(crate) fn write(&self, file: File, word: usize, value: u32) {
        let bank = self.bank(word);
        let mut bits = value & self.cpu.distributor.present(word);
        if word == 0 && file != File::Group && !self.cpu.distributor.is_v3() {
            bits &= !SGIS;
        }
        match file {
            File::Group => {
                let group = bits;
                bits = bank.group.get() ^ group;
                bank.group.put(group);
            }
            File::SetEnable => bank.enable.set(bits),
            File::ClearEnable => bank.enable.clear(bits),
            File::SetPending => self.set_pending(word, bits),
            _ if !self.is_here(word) => {}
            File::ClearPending => self.cpu.clear_pending(word, bits),
            File::SetActive => self.set_active(word, bits),
            File::ClearActive => self.cpu.clear_active(word, bits, self.cpu.elsewhere(word, self.owner)),
        }
        if matches!(file, File::Group | File::SetEnable | File::ClearEnable) {
            self.mirror(word, bits);
        }
        self.settle(word, bits);
    }

    #[inline(never)]
    fn set_pending(&self, word: usize, bits: u32) {
        let distributor = self.cpu.distributor;
        let owned = bits & distributor.owned(word);
        let software = bits & !owned;
        if !self.is_here(word) {
            let source = distributor.cpu(self.cpu.vcpu) as usize;
            self.banked.inbox.post(source, u64::from(software & SGIS) << SGI_SHIFT);
            return;
        }
        if owned != 0 {
            self.cpu.hw.set_pending(word, owned);
        }
        self.bank(word).pending.set(software);
        if word == 0 {
            self.cpu.latch(software & SGIS, 0);
        }
    }

    #[inline(never)]
    fn set_active(&self, word: usize, bits: u32) {
        let owned = bits & self.cpu.distributor.owned(word);
        let me = self.cpu.me.holds(word, self.cpu.hw.list_registers());
        let untouched = !(me | self.cpu.elsewhere(word, self.owner) | self.waiting(word));
        if owned & untouched != 0 {
            self.cpu.hw.set_active(word, owned & untouched);
        }
        self.bank(word).active.set(bits & !owned & untouched);
    }

    /// `IPRIORITYR`: `bytes` interrupts from `intid` on.
    pub(crate) fn priorities(&self, intid: u32, bytes: u32, write: Option<u64>) -> u64 {
        let (word, _) = place_of(intid);
        let (bank, present) = (self.bank(word), self.cpu.distributor.present(word));
        let (mut read, mut written) = (0, 0);
        for lane in 0..bytes.min(4) {
            let bit = 1 << ((intid + lane) & 31);
            if present & bit == 0 {
                continue;
            }
            if let Some(value) = write {
                bank.set_priority(intid + lane, (value >> (8 * lane)) as u8);
                written |= bit;
            }
            read |= u64::from(bank.priority(intid + lane)) << (8 * lane);
        }
        if written != 0 {
            self.settle(word, written);
        }
        read
    }

    /// The target of SPI `intid`: `ITARGETSR` byte or `IROUTER.Aff0`.
    pub(crate) fn target(&self, intid: u32, write: Option<u8>) -> u8 {
        let (word, bit) = place_of(intid);
        let distributor = self.cpu.distributor;
        if distributor.present(word) & bit == 0 {
            return 0;
        }
        if let Some(target) = write {
            let vcpus = self.cpu.all.len();
            // GICv2: bits of CPU interfaces that there are not read as zero.
            let target =
                if distributor.is_v3() { target } else { target & ((1u32 << vcpus.min(VCPUS)) - 1) as u8 };
            let chosen = distributor.set_target(intid, target, vcpus);
            if distributor.owned(word) & bit != 0 {
                if let Some(vcpu) = chosen {
                    self.cpu.hw.route(intid, distributor.cpu(vcpu));
                }
                self.mirror(word, bit);
            }
            self.settle(word, bit);
        }
        distributor.target(intid)
    }

    /// `ICFGR<index>`: bit 1 of each field is edge-triggered. SGIs are fixed.
    pub(crate) fn config(&self, index: usize, write: Option<u32>) -> u32 {
        let word = index / 2;
        let shift = 16 * (index as u32 & 1);
        let (bank, present) = (self.bank(word), self.cpu.distributor.present(word));
        if let Some(value) = write
            && index != 0
        {
            let mask = present & (0xffff << shift);
            let edge = (upper_bits(value) << shift) & mask;
            let changed = (bank.edge.get() ^ edge) & mask;
            bank.edge.put(bank.edge.get() ^ changed);
            let owned = self.cpu.distributor.owned(word) & mask;
            if owned != 0 && self.is_here(word) {
                let fields = upper_fields(owned >> shift);
                self.cpu.hw.configure(index, fields, value & fields);
            }
            self.settle(word, changed);
        }
        upper_fields((bank.edge.get() & present) >> shift)
    }

    /// `GICD_CTLR`: groups 0 and 1 are enabled as `groups` says.
    pub(crate) fn enable_groups(&self, groups: u32) {
        let distributor = self.cpu.distributor;
        if distributor.groups.get() == groups {
            return;
        }
        distributor.groups.put(groups);
        for word in 1..IRQ_WORDS {
            self.cpu.mirror_spis(word, u32::MAX);
        }
        self.cpu.mirror_ppis();
        for vcpu in 0..self.cpu.all.len() {
            if vcpu != self.cpu.vcpu {
                self.cpu.nudge(vcpu);
            }
        }
        self.cpu.refill();
    }

    /// Enables of `bits` to the hardware.
    fn mirror(&self, word: usize, bits: u32) {
        if word != 0 {
            self.cpu.mirror_spis(word, bits);
        } else if self.is_here(0) {
            self.cpu.mirror_ppis();
        }
    }

    /// After a change of `bits`: the CPUs that it may concern look at their list registers.
    #[inline(never)]
    fn settle(&self, word: usize, bits: u32) {
        if bits == 0 {
            return;
        }
        if !self.is_here(word) {
            return self.cpu.nudge(self.owner);
        }
        let distributor = self.cpu.distributor;
        let lists = self.cpu.hw.list_registers();
        let raised = self.bank(word).raised() & !distributor.owned(word);
        for (vcpu, interface) in self.cpu.all.iter().enumerate() {
            if word == 0 && vcpu != self.cpu.vcpu {
                continue;
            }
            let concerned = interface.holds(word, lists)
                | interface.waiting[word % IRQ_WORDS].get()
                | (raised & distributor.routed(vcpu, word));
            if concerned & bits == 0 {
                continue;
            }
            if vcpu == self.cpu.vcpu {
                self.cpu.refill();
            } else {
                self.cpu.nudge(vcpu);
            }
        }
    }

    /// `SPENDSGIR` (`set`) and `CPENDSGIR` of GICv2: a byte of senders for each of `bytes` SGIs from
    /// `id` on.
    pub(crate) fn sgi_senders(&self, set: bool, id: u32, bytes: u32, write: Option<u64>) -> u64 {
        let mut read = 0;
        for lane in 0..bytes.min(4) {
            let id = id + lane;
            if let Some(value) = write {
                let senders = (value >> (8 * lane)) as u32 & ((1u32 << self.cpu.all.len().min(VCPUS)) - 1);
                self.cpu.change_senders(set, id, senders);
            }
            read |= u64::from(self.cpu.senders(id)) << (8 * lane);
        }
        if write.is_some() {
            self.cpu.refill();
        }
        read
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// The next list register in `used` that holds an interrupt of `bits` of `word`: its number, bit
    /// and contents. Takes it, and what it passes, out of `used`.
    #[inline(never)]
    fn next_held(&self, word: usize, bits: u32, used: &mut u32) -> Option<(usize, u32, Lr)> {
        while *used != 0 {
            let n = used.trailing_zeros() as usize % LIST_REGISTERS_MAX;
            *used &= *used - 1;
            let (tag_word, bit) = place_of(self.me.lists[n].get() & TAG_INTID);
            if tag_word == word && bits & bit != 0 {
                let lr = self.load(n);
                if !lr.is_empty() {
                    return Some((n, bit, lr));
                }
            }
        }
        None
    }

    /// The list registers in use.
    fn used(&self) -> u32 {
        self.all_lists() & !self.me.free.get()
    }

    #[inline(never)]
    fn held(&self, word: usize) -> Held {
        let mut held = Held { pending: 0, active: 0 };
        let mut used = self.used();
        while let Some((_, bit, lr)) = self.next_held(word, u32::MAX, &mut used) {
            held.pending |= if lr.is_pending() { bit } else { 0 };
            held.active |= if lr.is_active() { bit } else { 0 };
        }
        held
    }

    /// Interrupts of `word` that other vCPUs have in list registers or spilled; of word 0, `owner` if
    /// that is another.
    #[inline(never)]
    fn elsewhere(&self, word: usize, owner: usize) -> u32 {
        let lists = self.hw.list_registers();
        let mut bits = 0;
        for (vcpu, interface) in self.all.iter().enumerate() {
            if vcpu != self.vcpu && (word != 0 || vcpu == owner) {
                bits |= interface.holds(word, lists);
            }
        }
        bits
    }

    /// Ends the pending state of `bits`, in software, in the hardware and in list registers.
    #[inline(never)]
    fn clear_pending(&self, word: usize, bits: u32) {
        let owned = bits & self.distributor.owned(word);
        if owned != 0 {
            self.hw.clear_pending(word, owned);
        }
        self.bank(word).pending.clear(bits);
        if word == 0 {
            for sgis in &self.me.sources {
                sgis.clear(bits);
            }
        }
        let waiting = &self.me.waiting[word % IRQ_WORDS];
        let mut taken = waiting.get() & bits;
        waiting.clear(bits);
        let mut used = self.used();
        while let Some((n, bit, lr)) = self.next_held(word, bits, &mut used) {
            if lr.is_pending() {
                taken |= if lr.is_hardware() { bit } else { 0 };
                self.withdraw(n, lr.with_pending(false));
            }
        }
        if taken != 0 {
            self.hw.clear_active(word, taken);
        }
    }

    /// Ends the active state of `bits`, but for what is `elsewhere`.
    #[inline(never)]
    pub(crate) fn clear_active(&self, word: usize, bits: u32, elsewhere: u32) {
        let bits = bits & !elsewhere;
        let mut spilled = self.me.spilled.bits(word) & bits;
        while spilled != 0 {
            self.end_one_spilled(32 * word as u32 + spilled.trailing_zeros());
            spilled &= spilled - 1;
        }
        self.bank(word).active.clear(bits);
        let mut pending = self.me.waiting[word % IRQ_WORDS].get();
        let mut used = self.used();
        while let Some((n, bit, lr)) = self.next_held(word, bits, &mut used) {
            if lr.is_active() {
                self.withdraw(n, lr.with_active(false));
            } else {
                pending |= bit;
            }
        }
        let inactive = bits & self.distributor.owned(word) & !pending;
        if inactive != 0 {
            self.hw.clear_active(word, inactive);
        }
    }

    /// What is left of list register `n` after a part of its state was taken away.
    #[inline(never)]
    fn withdraw(&self, n: usize, lr: Lr) {
        if lr.is_empty() {
            self.store(n, Lr::EMPTY);
            self.release(n, self.me.lists[n % LIST_REGISTERS_MAX].get());
        } else {
            self.store(n, lr);
        }
    }

    /// `ICC_DIR_EL1`: deactivates `intid` if the guest's EOImode is 1.
    pub(crate) fn deactivate(&self, intid: u32) {
        let (word, bit) = place_of(intid);
        if self.hw.vmcr() & VMCR_EOI_MODE != 0 && self.distributor.present(word) & bit != 0 {
            self.clear_active(word, bit, self.elsewhere(word, self.vcpu));
        }
    }

    /// Senders of which SGI `id` is pending.
    fn senders(&self, id: u32) -> u32 {
        let mut senders = 0;
        for (source, sgis) in self.me.sources.iter().enumerate() {
            senders |= ((sgis.get() >> id) & 1) << source;
        }
        let mut used = self.used();
        while let Some((_, _, lr)) = self.next_held(0, 1 << id, &mut used) {
            if lr.is_pending() {
                senders |= 1 << lr.source();
            }
        }
        senders
    }

    fn change_senders(&self, set: bool, id: u32, senders: u32) {
        let bit = 1 << id;
        for (source, sgis) in self.me.sources.iter().enumerate() {
            if senders & (1 << source) != 0 {
                if set {
                    sgis.set(bit);
                } else {
                    sgis.clear(bit);
                }
            }
        }
        if self.me.sources.iter().any(|sgis| sgis.has(bit)) {
            self.me.bank.pending.set(bit);
        } else {
            self.me.bank.pending.clear(bit);
        }
        if !set {
            let mut used = self.used();
            while let Some((n, _, lr)) = self.next_held(0, bit, &mut used) {
                if lr.is_pending() && senders & (1 << lr.source()) != 0 {
                    self.withdraw(n, lr.with_pending(false));
                }
            }
        }
    }

    /// The hardware's enables of owned SPIs `bits` of `word`: guest-enabled, group enabled, and
    /// routed to a vCPU that is current.
    #[inline(never)]
    pub(crate) fn mirror_spis(&self, word: usize, bits: u32) {
        let owned = self.distributor.owned(word) & bits;
        if owned == 0 {
            return;
        }
        let mut live = 0;
        for (vcpu, interface) in self.all.iter().enumerate() {
            if interface.is_current() {
                live |= self.distributor.routed(vcpu, word);
            }
        }
        let on = self.bank(word).enabled(self.distributor.groups.get()) & owned & live;
        if on != 0 {
            self.hw.enable(word, on);
        }
        if owned & !on != 0 {
            self.hw.disable(word, owned & !on);
        }
    }

    /// The same for this vCPU's owned PPIs.
    pub(crate) fn mirror_ppis(&self) {
        let owned = self.distributor.owned(0);
        self.set_ppis(self.me.bank.enabled(self.distributor.groups.get()) & owned);
    }

    /// Enables PPIs `on` of this vCPU in the hardware, and no others.
    #[inline(never)]
    pub(crate) fn set_ppis(&self, on: u32) {
        let before = self.me.mirrored.get();
        if on & !before != 0 {
            self.hw.enable(0, on & !before);
        }
        if before & !on != 0 {
            self.hw.disable(0, before & !on);
        }
        self.me.mirrored.put(on);
    }
}
