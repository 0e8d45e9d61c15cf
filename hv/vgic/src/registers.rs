//! The registers of the distributor and redistributor frames.
//!
//! Registers are words. Bytes are legal for priorities, GICv2 targets and SGI senders; doublewords
//! for the 64-bit registers of GICv3. A reserved word reads as zero and ignores writes; a width that
//! the architecture does not allow is refused. So do the bits of interrupts that the partition does not
//! have; those of owned interrupts go to the hardware as one masked word.
//!
//! Whatever looks at or changes what list registers hold comes between [`Cpu::collect`] and
//! [`Cpu::deal`], so it finds all state in software.

use crate::hw::{File, Hardware};
use crate::inbox::SGI_SHIFT;
use crate::state::{CpuInterface, INTIDS, IRQ_WORDS, SGIS, VCPUS, at, place_of};
use crate::words::{Bank, bits, lowest_bits, mask};
use crate::{Cpu, Vgic};

/// EOImode of the guest in `VMCR`: VEOIM (GICv3), VEM (GICv2).
pub(crate) const VMCR_EOI_MODE: u32 = 1 << 9;

/// Frame of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// GICD: 4 KiB (GICv2) or 64 KiB (GICv3).
    Distributor,
    /// GICR (GICv3): 128 KiB for each vCPU, `RD_base` then `SGI_base`, one behind the other.
    Redistributor,
}

/// Why an access was refused; the guest gets an external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The register does not take accesses of this width.
    Width,
    /// The offset is no multiple of the width.
    Alignment,
    /// The partition has no such frame, or not so much of it.
    Outside,
}

/// Product "B" of implementer 0x43b (JEP106 code of Arm, as guests expect), revision 0.
pub(crate) const IIDR: u64 = 0x4200_043b;
/// ITLinesNumber.
pub(crate) const LINES: u64 = IRQ_WORDS as u64 - 1;
/// GICD_TYPER of GICv3 (IHI 0069, 12.9.38): No1N, 10 INTID bits; no LPIs, MBIs, extended SPIs, A3V.
pub(crate) const TYPER_V3: u64 = (1 << 25) | (9 << 19) | LINES;
/// `GICD_CTLR` (12.9.4): affinity routing and one security state, both fixed.
const CTLR_V3_FIXED: u64 = (1 << 4) | (1 << 6);
/// Identification registers from PIDR4 on: Arm GICv3 distributor; PIDR0 differs for redistributors.
const ID_V3: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// The same of a GIC-400.
const ID_V2: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// PIDR0 of a redistributor.
const ID_REDISTRIBUTOR: u64 = 0x93;
/// Bytes of a redistributor.
const REDISTRIBUTOR_SHIFT: u32 = 17;

/// The upper bit of each of 16 two-bit fields, as 16 bits.
fn upper_bits(fields: u32) -> u32 {
    // Each step brings pairs, quads and bytes of them together.
    let bits = fields >> 1 & 0x5555_5555;
    let bits = (bits | bits >> 1) & 0x3333_3333;
    let bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    let bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0xffff
}

/// 16 bits as the upper bits of 16 two-bit fields.
fn upper_fields(bits: u32) -> u32 {
    let fields = bits & 0xffff;
    let fields = (fields | fields << 8) & 0x00ff_00ff;
    let fields = (fields | fields << 4) & 0x0f0f_0f0f;
    let fields = (fields | fields << 2) & 0x3333_3333;
    let fields = (fields | fields << 1) & 0x5555_5555;
    fields << 1
}

/// Which registers an offset counts in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Distributor,
    /// `RD_base`.
    Control,
    /// `SGI_base`: word 0 of the register files.
    Banked,
}

/// An aligned access of the vCPU of `cpu` to an area whose word 0 is that of vCPU `owner`.
struct Access<'a, H> {
    cpu: &'a Cpu<'a, H>,
    owner: usize,
    banked: &'a CpuInterface,
    area: Area,
    offset: u32,
    bytes: u32,
    write: Option<u64>,
}

impl<'a> Vgic<'a> {
    /// An access of `vcpu`, current here, of `bytes` (1, 2, 4 or 8) to `frame` at `offset`, which
    /// counts from the start of the partition's distributor or of its first redistributor. Returns
    /// what a read reads; of a write, a value of no meaning.
    ///
    /// # Errors
    /// The access is refused; see [`Refused`]. Nothing has changed then.
    #[inline(never)]
    pub fn mmio<H: Hardware>(
        &self,
        hw: &'a H,
        vcpu: usize,
        frame: Frame,
        offset: u64,
        bytes: u32,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(Refused::Width);
        }
        if offset & u64::from(bytes - 1) != 0 {
            return Err(Refused::Alignment);
        }
        let (owner, area) = match frame {
            Frame::Distributor if offset < (if hw.is_v3() { 0x1_0000 } else { 0x1000 }) => {
                (vcpu, Area::Distributor)
            }
            Frame::Redistributor if hw.is_v3() => {
                let area = if offset & 0x1_0000 == 0 { Area::Control } else { Area::Banked };
                ((offset >> REDISTRIBUTOR_SHIFT) as usize, area)
            }
            _ => return Err(Refused::Outside),
        };
        let cpu = self.on(hw, vcpu).ok_or(Refused::Outside)?;
        let banked = self.interfaces.get(owner).ok_or(Refused::Outside)?;
        let access = Access { cpu: &cpu, owner, banked, area, offset: offset as u32 & 0xffff, bytes, write };
        if access.widths() & bytes == 0 {
            return Err(Refused::Width);
        }
        Ok(access.run())
    }

    /// `vcpu`, current here, wrote INTID `value` to `ICC_DIR_EL1`, which traps while something
    /// active is out of the list registers. With EOImode = 0 the write has no effect.
    #[inline(never)]
    pub fn deactivate<H: Hardware>(&self, hw: &'a H, vcpu: usize, value: u64) {
        if let Some(cpu) = self.on(hw, vcpu)
            && value < u64::from(INTIDS)
            && hw.vmcr() & VMCR_EOI_MODE != 0
        {
            let (word, bit) = place_of(value as u32);
            self.distributor.lock.with(|| {
                let used = cpu.collect();
                cpu.clear_active(word, bit & self.distributor.present(word), cpu.waiting(word, cpu.me));
                cpu.deal(used);
            });
        }
    }
}

impl<H: Hardware> Access<'_, H> {
    /// The widths that the register takes, as the sum of their bytes.
    fn widths(&self) -> u32 {
        let v3 = self.cpu.hw.is_v3();
        match (self.area, self.offset) {
            // GICR_TYPER and the registers of LPIs.
            (Area::Control, 0x008..0x010 | 0x040..0x050 | 0x070..0x080 | 0x0a0..0x0c0) => 4 | 8,
            (Area::Distributor, 0x6100..0x8000) if v3 => 4 | 8,
            (Area::Distributor, 0xf10..0xf30) if !v3 => 1 | 4,
            (Area::Distributor, 0x400..0xc00) | (Area::Banked, 0x400..0x420) => 1 | 4,
            _ => 4,
        }
    }

    /// The access as a whole.
    fn run(&self) -> u64 {
        let cpu = self.cpu;
        match (self.write, self.offset) {
            (Some(value), 0xf00) if !cpu.hw.is_v3() => {
                cpu.seat().sgir(cpu.hw, value as u32);
                0
            }
            // What list registers hold shows in pending and active states, and in the senders of SGIs.
            (None, 0..0x200 | 0x400..0xf10 | 0xf30..) => self.register(),
            _ => cpu.distributor.lock.with(|| {
                let used = cpu.collect();
                let value = self.register();
                cpu.deal(used);
                value
            }),
        }
    }

    fn register(&self) -> u64 {
        let (v3, offset) = (self.cpu.hw.is_v3(), self.offset);
        let distributor = self.area == Area::Distributor;
        match offset {
            0xffd0.. if v3 => self.id(&ID_V3),
            0xfd0.. if !v3 => self.id(&ID_V2),
            _ if self.area == Area::Control => self.control(),
            0x000 if distributor => self.groups() | if v3 { CTLR_V3_FIXED } else { 0 },
            0x004 if distributor && v3 => TYPER_V3,
            0x004 if distributor => LINES | ((self.cpu.all.len() as u64).wrapping_sub(1) & 7) << 5,
            0x008 if distributor => IIDR,
            0x080..0x400 => self.file((offset as usize & 0x7c) >> 2),
            0x400..0x800 => self.priorities(offset - 0x400),
            0x800..0xc00 if !v3 => self.targets(offset - 0x800),
            0xc00..0xd00 => self.config((offset as usize & 0xfc) >> 2),
            0xf10..0xf30 if !v3 => self.sgi_senders(offset & 0xf),
            0x6100..0x8000 if v3 && distributor => {
                let (intid, half) = ((offset - 0x6000) >> 3, offset & 4);
                let write = self.write.filter(|_| half == 0).map(|value| value as u8);
                let read = u64::from(self.target(intid, write)) >> (8 * half);
                if write.is_some() {
                    self.routed(place_of(intid));
                }
                read
            }
            _ => 0,
        }
    }

    /// Identification register, of the twelve that end the frame.
    fn id(&self, id: &[u8; 12]) -> u64 {
        match ((self.offset & 0xfff).wrapping_sub(0xfd0) >> 2) as usize {
            4 if self.area != Area::Distributor => ID_REDISTRIBUTOR,
            n => id.get(n).map_or(0, |byte| u64::from(*byte)),
        }
    }

    /// `RD_base` (12.11).
    fn control(&self) -> u64 {
        let n = self.owner as u64;
        let last = u64::from(self.owner + 1 == self.cpu.all.len());
        match self.offset {
            0x004 => IIDR,
            0x008 if self.bytes == 4 => (n << 8) | (last << 4),
            0x008 => (n << 32) | (n << 8) | (last << 4),
            0x00c => n,
            0x014 => {
                if let Some(value) = self.write {
                    self.banked.asleep.put((value >> 1) as u32 & 1);
                }
                // ProcessorSleep and, following it, ChildrenAsleep.
                u64::from(self.banked.asleep.get()) * 6
            }
            _ => 0,
        }
    }

    /// `GICD_CTLR`: groups 0 and 1 are enabled.
    fn groups(&self) -> u64 {
        let (cpu, groups) = (self.cpu, &self.cpu.distributor.groups);
        if let Some(value) = self.write
            && groups.get() != value as u32 & 3
        {
            groups.put(value as u32 & 3);
            for word in bits(cpu.distributor.owned_words()) {
                cpu.mirror_spis(word as usize, u32::MAX);
            }
            cpu.mirror_ppis();
            for vcpu in (0..cpu.all.len()).filter(|vcpu| *vcpu != cpu.vcpu) {
                cpu.nudge(vcpu);
            }
        }
        u64::from(groups.get())
    }

    /// The interrupts of `word` that the partition has and whose registers stand here. With affinity
    /// routing word 0 is the redistributor's.
    fn present(&self, word: usize) -> u32 {
        let is_here = match self.area {
            Area::Distributor => word < IRQ_WORDS && (word != 0 || !self.cpu.hw.is_v3()),
            _ => word == 0,
        };
        if is_here { self.cpu.distributor.present(word) } else { 0 }
    }

    fn bank(&self, word: usize) -> &Bank {
        self.cpu.distributor.bank(self.banked, word)
    }

    /// Whether the state of `word` in the hardware and in list registers is this CPU's.
    fn is_own(&self, word: usize) -> bool {
        word != 0 || self.owner == self.cpu.vcpu
    }

    /// `IPRIORITYR`, from that of interrupt `first` on, which are in one word.
    fn priorities(&self, first: u32) -> u64 {
        let (word, lowest) = place_of(first);
        let count = self.bytes.min(4);
        let present = self.present(word);
        let lanes = (lowest * mask(count as usize)) & present;
        let mut read = 0;
        for lane in 0..count {
            if lanes & lowest << lane != 0 {
                let traits = self.cpu.distributor.traits(self.banked, first + lane);
                if let Some(value) = self.write {
                    traits.put((value >> (8 * lane)) as u8, traits.get().1);
                }
                read |= u64::from(traits.get().0) << (8 * lane);
            }
        }
        if let Some(value) = self.write {
            self.bank(word).set_priorities(lanes, lowest, value as u32);
            self.tell_others(word, lanes);
        }
        read
    }

    /// `ITARGETSR` of GICv2, likewise.
    fn targets(&self, first: u32) -> u64 {
        let (word, lowest) = place_of(first);
        let read = (0..self.bytes.min(4)).fold(0, |read, lane| {
            let write = self.write.map(|value| (value >> (8 * lane)) as u8);
            read | u64::from(self.target(first + lane, write)) << (8 * lane)
        });
        if self.write.is_some() {
            self.routed((word, lowest * mask(self.bytes.min(4) as usize)));
        }
        read
    }

    /// After a change of the targets of SPIs `bits` of `word`.
    fn routed(&self, (word, bits): (usize, u32)) {
        let bits = bits & self.present(word);
        if word != 0 {
            self.cpu.mirror_spis(word, bits);
        }
        self.tell_others(word, bits);
    }

    /// `ITARGETSR` or `IROUTER.Aff0` (the other affinities and 1-of-N read as zero). Of SGIs and PPIs
    /// (GICv2) the reader's own bit.
    fn target(&self, intid: u32, write: Option<u8>) -> u8 {
        let (word, bit) = place_of(intid);
        let (cpu, distributor) = (self.cpu, self.cpu.distributor);
        if word == 0 {
            return 1 << (cpu.vcpu % VCPUS);
        }
        if self.present(word) & bit == 0 {
            return 0;
        }
        if let Some(target) = write {
            // GICv2: bits of CPU interfaces that there are not read as zero.
            let target = if cpu.hw.is_v3() { target } else { target & mask(cpu.all.len()) as u8 };
            let chosen = cpu.target_vcpu(target);
            distributor.set_target(intid, target, chosen, cpu.all.len());
            if distributor.owned(word) & bit != 0
                && let Some(vcpu) = chosen
            {
                cpu.hw.route(intid, distributor.cpu(vcpu));
            }
        }
        distributor.target(intid)
    }

    /// `SPENDSGIR` and `CPENDSGIR` of GICv2: a byte for each SGI from `first` on, a bit for each sender.
    fn sgi_senders(&self, first: u32) -> u64 {
        let (cpu, me) = (self.cpu, self.cpu.me);
        let sgis = mask(self.bytes.min(4) as usize);
        let (mut read, mut pending) = (0, 0);
        for (source, sent) in me.sources.iter().take(cpu.all.len()).enumerate() {
            if let Some(value) = self.write {
                let written = lowest_bits(value as u32 >> source) & sgis;
                sent.assign(written << first, self.offset >= 0xf20);
            }
            pending |= sent.get();
            // Four bits become the lowest ones of four bytes.
            read |= ((sent.get() >> first & sgis).wrapping_mul(0x0020_4081) & 0x0101_0101) << source;
        }
        if self.write.is_some() {
            let all = sgis << first;
            me.bank.pending.put(me.bank.pending.get() & !all | pending & all);
        }
        u64::from(read)
    }

    /// `ICFGR<index>`: bit 1 of each field is edge-triggered. SGIs are fixed, and PPIs (IHI 0069, 12.9.7 and
    /// IHI 0048, 4.3.13 leave it to us): theirs is hardware that the partitions of a CPU share.
    fn config(&self, index: usize) -> u64 {
        let (word, shift) = (index / 2, 16 * (index as u32 & 1));
        let (bank, present) = (self.bank(word), self.present(word));
        let fixed = present & (0xffff << shift);
        if let Some(value) = self.write
            && index > 1
            && fixed != 0
        {
            let value = value as u32;
            bank.edge.put(bank.edge.get() & !fixed | (upper_bits(value) << shift) & fixed);
            let fields = upper_fields((self.cpu.distributor.owned(word) & fixed) >> shift);
            if fields != 0 && self.is_own(word) {
                self.cpu.hw.configure(index, fields, value & fields);
            }
            self.tell_others(word, fixed);
        }
        u64::from(upper_fields((bank.edge.get() & present) >> shift))
    }

    /// A word of a register file with one bit for each interrupt; the files are 0x80 apart.
    fn file(&self, word: usize) -> u64 {
        let present = self.present(word);
        if present == 0 {
            return 0;
        }
        let (cpu, bank) = (self.cpu, self.bank(word));
        let Some(value) = self.write else {
            let value = match self.offset >> 7 {
                1 => bank.group.get(),
                2 | 3 => bank.enable.get(),
                4 | 5 => self.pending(word),
                _ => self.active(word),
            };
            return u64::from(value & present);
        };
        let mut bits = value as u32 & present;
        let file = self.offset >> 7;
        // SGIs of a GICv2 are always enabled, and have pending registers of their own.
        if word == 0 && (2..6).contains(&file) && !cpu.hw.is_v3() {
            bits &= !SGIS;
        }
        match file {
            1 => {
                let group = bits;
                bits ^= bank.group.get();
                bank.group.put(group);
                self.regroup(word, group);
            }
            2 | 3 => bank.enable.assign(bits, file == 2),
            4 => self.set_pending(word, bits),
            _ if !self.is_own(word) => {}
            5 => self.clear_pending(word, bits),
            6 => self.set_active(word, bits),
            _ => cpu.clear_active(word, bits, cpu.waiting(word, self.banked)),
        }
        if file < 4 && word != 0 {
            cpu.mirror_spis(word, bits);
        } else if file < 4 && self.is_own(0) {
            cpu.mirror_ppis();
        }
        self.tell_others(word, bits);
        0
    }

    /// The interrupts of `word` are in the groups that `group` says.
    fn regroup(&self, word: usize, group: u32) {
        let traits = self.cpu.distributor.word_traits(self.banked, word);
        let mut left = group;
        // Written out: 32 turns of a loop would make this the longest visit.
        for [a, b, c, d] in traits.as_chunks().0 {
            a.regroup(left);
            b.regroup(left >> 1);
            c.regroup(left >> 2);
            d.regroup(left >> 3);
            left >>= 4;
        }
    }

    /// After a change of `bits` of `word`: other CPUs that may have them, or should, look. This one
    /// deals anew in any case.
    fn tell_others(&self, word: usize, bits: u32) {
        if !self.is_own(word) {
            self.cpu.nudge(self.owner);
        }
        self.cpu.tell_others(word, bits);
    }

    /// The hardware's word of `file`, of owned interrupts alone.
    fn physical(&self, file: File, word: usize) -> u32 {
        match self.cpu.distributor.owned(word) {
            owned if owned != 0 && self.is_own(word) => self.cpu.hw.read(file, word) & owned,
            _ => 0,
        }
    }

    fn pending(&self, word: usize) -> u32 {
        let software = self.bank(word).raised() | self.cpu.waiting(word, self.banked);
        software | self.physical(File::SetPending, word)
    }

    fn active(&self, word: usize) -> u32 {
        let cpu = self.cpu;
        let spilled = if self.is_own(word) { cpu.me.spilled.bits(word) } else { 0 };
        let physical = self.physical(File::SetActive, word) & !cpu.waiting(word, self.banked);
        self.bank(word).active.get() | cpu.elsewhere(word, self.owner) | spilled | physical
    }

    fn set_pending(&self, word: usize, bits: u32) {
        let owned = bits & self.cpu.distributor.owned(word);
        let software = bits & !owned;
        if !self.is_own(word) {
            let source = self.cpu.distributor.cpu(self.cpu.vcpu) as usize;
            self.banked.inbox.post(source, u64::from(software & SGIS) << SGI_SHIFT);
            return;
        }
        self.cpu.physical(File::SetPending, word, owned);
        self.bank(word).pending.set(software);
        if word == 0 {
            self.cpu.latch(software & SGIS, 0);
        }
    }

    /// Ends the pending state of `bits` in software and in the hardware.
    fn clear_pending(&self, word: usize, bits: u32) {
        let (cpu, waiting) = (self.cpu, at(&self.cpu.me.waiting, word));
        let taken = waiting.get() & bits;
        waiting.clear(bits);
        self.bank(word).pending.clear(bits);
        if word == 0 {
            cpu.me.sources.iter().for_each(|sgis| sgis.clear(bits));
        }
        cpu.physical(File::ClearPending, word, bits & cpu.distributor.owned(word));
        cpu.physical(File::ClearActive, word, taken);
    }

    fn set_active(&self, word: usize, bits: u32) {
        let cpu = self.cpu;
        let held = cpu.me.spilled.bits(word) | cpu.elsewhere(word, self.owner);
        let bits = bits & !held & !cpu.waiting(word, self.banked);
        let owned = bits & cpu.distributor.owned(word);
        cpu.physical(File::SetActive, word, owned);
        self.bank(word).active.set(bits & !owned);
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Writes `bits`, if any, to a file of the hardware.
    #[inline(never)]
    fn physical(&self, file: File, word: usize, bits: u32) {
        if bits != 0 {
            self.hw.write(file, word, bits);
        }
    }

    /// Physical interrupts of `word` that wait for a list register, at any vCPU that may have them;
    /// word 0 is that of `banked`.
    #[inline(never)]
    fn waiting(&self, word: usize, banked: &CpuInterface) -> u32 {
        if word == 0 {
            return banked.waiting[0].get();
        }
        self.all.iter().fold(0, |bits, interface| bits | at(&interface.waiting, word).get())
    }

    /// Ends the active state of `bits`, but for what other CPUs hold or is only `waiting`.
    #[inline(never)]
    fn clear_active(&self, word: usize, bits_: u32, waiting: u32) {
        let ended = bits_ & !self.elsewhere(word, self.vcpu);
        let owned = self.distributor.owned(word);
        let departed = self.me.spilled.bits(word) & ended & !owned;
        self.me.spilled.remove(word, ended);
        self.bank(word).active.clear(ended);
        self.physical(File::ClearActive, word, ended & owned & !waiting);
        for n in bits(departed) {
            self.depart(32 * word as u32 + n);
        }
    }
}
