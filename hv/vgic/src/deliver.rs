//! Interrupts on their way to a vCPU: from the hardware, from emulated devices, from other
//! partitions, from other vCPUs.

use crate::hw::{Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::{SGI_SHIFT, SOURCES};
use crate::state::{DOORBELLS, TAG_HARDWARE, TAG_LATCHED, VCPUS, at, place_of};
use crate::words::{bits, mask};
use crate::{Cpu, Vgic};

impl<'a> Vgic<'a> {
    /// Hot path: physical interrupt `intid`, acknowledged and priority-dropped on this CPU, goes to
    /// `vcpu`, which is bound to it. The guest's end deactivates it.
    #[inline(always)]
    pub fn inject_hw<H: Hardware>(&self, hw: &'a H, vcpu: usize, intid: u32) {
        let Some(me) = self.interfaces.get(vcpu) else {
            return hw.deactivate(intid);
        };
        let free = me.free.get();
        if free == 0 {
            return self.no_known_room(hw, vcpu, intid);
        }
        let bank = self.distributor.bank(me, (intid >> 5) as usize);
        let n = free.trailing_zeros() as usize % LIST_REGISTERS_MAX;
        me.tags[n].put(intid | TAG_HARDWARE);
        me.free.publish(free & (free - 1));
        hw.write_list(n, Lr::hardware(intid, bank.priority(intid), bank.is_group1(intid)));
    }

    /// No list register is known to be free. If none is indeed, or the vCPU is not current, the
    /// interrupt waits in software, and the best of all is offered.
    #[cold]
    #[inline(never)]
    fn no_known_room<H: Hardware>(&self, hw: &'a H, vcpu: usize, intid: u32) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        if cpu.fold(false) != 0 {
            return self.inject_hw(hw, vcpu, intid);
        }
        let (word, bit) = place_of(intid);
        at(&cpu.me.waiting, word).set(bit);
        if cpu.me.is_current() {
            self.distributor.lock.with(|| cpu.refill());
        }
    }

    /// The line of the emulated device on virtual SPI `intid` is now `level`. `here`: the vCPU of this
    /// partition that is current on the calling CPU, if any. A line that falls takes back what the
    /// guest has not acknowledged; one that is still high at the guest's end of interrupt interrupts
    /// again. Ignored for an INTID that is physical or absent.
    #[inline(never)]
    pub fn set_level<H: Hardware>(&self, hw: &'a H, here: Option<usize>, intid: u32, level: bool) {
        let (word, bit) = place_of(intid);
        let Some(cpu) = self.on(hw, here.unwrap_or(0)).filter(|_| self.distributor.is_virtual_spi(intid))
        else {
            return;
        };
        let bank = cpu.bank(word);
        self.distributor.lock.with(|| {
            if bank.level.has(bit) == level {
                return;
            }
            bank.level.assign(bit, level);
            if level {
                bank.pending.set(bank.edge.get() & bit);
            }
            cpu.tell_others(word, bit);
            let concerned = cpu.distributor.routed(cpu.vcpu, word) | cpu.me.holds(word, hw.list_registers());
            if here.is_some() {
                cpu.refill();
            } else if concerned & bit != 0 {
                cpu.nudge(cpu.vcpu);
            }
        });
    }

    /// Another partition, on physical CPU `source_cpu`, rings doorbell `bit` (below 32) of `vcpu`.
    /// Returns whether the caller is to have the vCPU's CPU call [`Vgic::on_post`]: false if an earlier
    /// ring is still on its way or the vCPU is not current.
    #[inline(always)]
    pub fn ring(&self, vcpu: usize, source_cpu: usize, bit: u32) -> bool {
        self.interfaces.get(vcpu).is_some_and(|interface| {
            interface.inbox.post(source_cpu, 1 << (bit as usize % DOORBELLS)) && interface.is_current()
        })
    }

    /// `vcpu`, current here, wrote `value` to `ICC_SGI1R_EL1`, `ICC_SGI0R_EL1` or
    /// `ICC_ASGI1R_EL1` (IHI 0069): the SGI goes out in the group that the receiver gave it.
    #[inline(always)]
    pub fn sgi1r<H: Hardware>(&self, hw: &'a H, vcpu: usize, value: u64) {
        /// Aff3, RS, Aff2 and Aff1 of the targets: all vCPUs have 0 there.
        const AFFINITY: u64 = 0x00ff_f0ff_00ff_0000;
        let targets = if value & (1 << 40) != 0 {
            !(1u32 << (vcpu % VCPUS))
        } else if value & AFFINITY == 0 {
            value as u32 & 0xffff
        } else {
            0
        };
        self.send_sgi(hw, vcpu, targets, (value >> 24) as u32 & 0xf);
    }

    /// Sends SGI `id` from `vcpu`, current here, to the vCPUs in `targets`.
    #[inline(always)]
    pub(crate) fn send_sgi<H: Hardware>(&self, hw: &'a H, vcpu: usize, targets: u32, id: u32) {
        let source = self.distributor.cpu(vcpu) as usize;
        let own = 1u32 << (vcpu % VCPUS);
        for target in bits(targets & !own & mask(VCPUS)) {
            if let Some(interface) = self.interfaces.get(target as usize)
                && interface.inbox.post(source, 1 << (SGI_SHIFT + id))
                && interface.is_current()
            {
                hw.post(self.distributor.cpu(target as usize));
            }
        }
        if targets & own != 0 {
            self.sgi_to_self(hw, vcpu, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn sgi_to_self<H: Hardware>(&self, hw: &'a H, vcpu: usize, id: u32) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        self.distributor.lock.with(|| {
            cpu.latch(1 << id, if hw.is_v3() { 0 } else { vcpu });
            cpu.refill();
        });
    }

    /// Physical CPU `source` has posted something to `vcpu`, current here.
    #[inline(always)]
    pub fn on_post<H: Hardware>(&self, hw: &'a H, vcpu: usize, source: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        let (doorbells, detour) = cpu.take_post(source);
        if doorbells != 0 || detour {
            cpu.take_events(doorbells, detour);
        }
    }

    /// Another CPU has kicked this one, where `vcpu` is current: what others have changed or posted
    /// goes to the list registers.
    pub fn on_kick<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        let (doorbells, detour) = cpu.take_inbox();
        cpu.take_events(doorbells, detour);
    }

    /// A maintenance interrupt on this CPU, where `vcpu` is current.
    pub fn on_maintenance<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.refill());
        }
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Delivers doorbells, and looks at the list registers if an SGI took the detour or others changed
    /// something.
    #[inline(never)]
    pub(crate) fn take_events(&self, doorbells: u32, detour: bool) {
        self.distributor.lock.with(|| {
            let mut refill = detour;
            if self.me.attention.get() != 0 {
                self.me.attention.put(0);
                self.mirror_ppis();
                refill = true;
            }
            if doorbells != 0 {
                self.fold(true);
            }
            for bell in bits(doorbells) {
                if let Some(intid) = self.distributor.doorbell(bell) {
                    refill |= !self.doorbell(intid);
                }
            }
            if refill {
                self.refill();
            }
        });
    }

    /// Delivers a doorbell. Returns whether that is all.
    #[inline(always)]
    fn doorbell(&self, intid: u32) -> bool {
        let (word, bit) = place_of(intid);
        let held = self.elsewhere(word, self.vcpu);
        if self.try_place(intid, self.distributor.routed(self.vcpu, word) & !held, 0) {
            return true;
        }
        self.bank(word).pending.set(bit);
        self.tell_others(word, bit);
        false
    }

    /// Makes `sgis` (by bit) from `source` pending outside the list registers.
    pub(crate) fn latch(&self, sgis: u32, source: usize) {
        self.me.sources[source % VCPUS].set(sgis);
        self.me.bank.pending.set(sgis);
    }

    /// Takes the inbox: returns the doorbells, and whether an SGI needs [`Cpu::refill`].
    pub(crate) fn take_inbox(&self) -> (u32, bool) {
        (0..SOURCES).fold((0, false), |(doorbells, detour), source| {
            let (more, also) = self.take_post(source);
            (doorbells | more, detour | also)
        })
    }

    /// The same for what physical CPU `source` has posted. SGIs go straight to free list registers:
    /// word 0 is this CPU's alone, so there is no lock.
    #[inline(always)]
    fn take_post(&self, source: usize) -> (u32, bool) {
        let events = self.me.inbox.take(source);
        let mut detour = false;
        let sgis = (events >> SGI_SHIFT) as u32;
        if sgis != 0 {
            // GICv2 names the sender's vCPU.
            let sender = if self.hw.is_v3() { 0 } else { self.distributor.vcpu_on(source) };
            self.fold(false);
            for id in bits(sgis) {
                if !self.try_place(id, u32::MAX, sender) {
                    self.latch(1 << id, sender as usize);
                    detour = true;
                }
            }
        }
        (events as u32, detour)
    }

    /// A software interrupt without detours: deliverable, in no list register, and one is free.
    /// `eligible`: interrupts of its word that may go here. Under the lock, but for word 0.
    #[inline(always)]
    fn try_place(&self, intid: u32, eligible: u32, source: u32) -> bool {
        let (word, bit) = place_of(intid);
        let (me, bank) = (self.me, self.bank(word));
        let free = me.free.get();
        let deliverable = bank.enabled(self.distributor.groups.get()) & eligible;
        let blocked = bank.active.get() | bank.pending.get() | me.holds(word, self.hw.list_registers());
        if free == 0 || deliverable & !blocked & bit == 0 {
            return false;
        }
        let eoi = !bank.edge.has(bit);
        let lr = Lr::software(intid, bank.priority(intid), bank.is_group1(intid), eoi, source);
        self.write(free.trailing_zeros() as usize, intid | TAG_LATCHED, lr);
        me.free.publish(free & (free - 1));
        true
    }

    /// The vCPU that SPI `intid` is routed to by `target`, an `ITARGETSR` byte or an `IROUTER.Aff0`; the
    /// lowest where several are named.
    pub(crate) fn target_vcpu(&self, target: u8) -> Option<usize> {
        let target = u32::from(target);
        let vcpu = if self.hw.is_v3() { target } else { target.trailing_zeros() } as usize;
        (vcpu < self.all.len()).then_some(vcpu)
    }

    /// After a change of interrupts `bits` of `word`: other CPUs that may have them, or should, look.
    #[inline(never)]
    pub(crate) fn tell_others(&self, word: usize, bits: u32) {
        let raised = self.bank(word).raised();
        for (vcpu, interface) in self.all.iter().enumerate() {
            let concerned = interface.holds(word, self.hw.list_registers())
                | at(&interface.waiting, word).get()
                | (raised & self.distributor.routed(vcpu, word));
            if vcpu != self.vcpu && word != 0 && concerned & bits != 0 {
                self.nudge(vcpu);
            }
        }
    }

    /// Makes the CPU of `vcpu` look at the shared state: at once if the vCPU is current there, else when
    /// it becomes so. Not for the calling CPU's current vCPU. Under the lock.
    pub(crate) fn nudge(&self, vcpu: usize) {
        if let Some(interface) = self.all.get(vcpu) {
            interface.attention.put(1);
            if interface.is_current() {
                self.hw.kick(self.distributor.cpu(vcpu));
            }
        }
    }
}
