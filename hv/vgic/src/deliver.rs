//! Interrupts on their way to a vCPU: from the hardware, from emulated devices, from other
//! partitions, from other vCPUs.

use crate::hw::{Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::{SGI_SHIFT, SOURCES};
use crate::state::{DOORBELLS, IRQ_WORDS, TAG_HARDWARE, VCPUS, place_of};
use crate::{Cpu, Vgic};

impl<'a> Vgic<'a> {
    /// Hot path: physical interrupt `intid`, acknowledged and priority-dropped on this CPU, goes to
    /// `vcpu`, which is current here. The guest's end deactivates it.
    #[inline]
    pub fn inject_hw<H: Hardware>(&self, hw: &'a H, vcpu: usize, intid: u32) {
        let Some(me) = self.interfaces.get(vcpu) else {
            return hw.deactivate(intid);
        };
        let mut free = me.free.get();
        if free == 0 {
            free = me.reclaim(hw);
            if free == 0 {
                return self.overflow(hw, vcpu, intid);
            }
        }
        let bank = self.distributor.bank(me, (intid >> 5) as usize);
        let n = free.trailing_zeros() as usize % LIST_REGISTERS_MAX;
        me.free.put(free & (free - 1));
        me.lists[n].put(intid | TAG_HARDWARE);
        hw.write_list(n, Lr::hardware(intid, bank.priority(intid), bank.is_group1(intid)));
    }

    /// No list register is free: the interrupt waits in software, the best of all is offered.
    #[cold]
    #[inline(never)]
    fn overflow<H: Hardware>(&self, hw: &'a H, vcpu: usize, intid: u32) {
        let (word, bit) = place_of(intid);
        let Some(cpu) = self.on(hw, vcpu) else { return };
        let Some(waiting) = cpu.me.waiting.get(word) else {
            return hw.deactivate(intid);
        };
        waiting.set(bit);
        self.distributor.lock.with(|| cpu.refill());
    }

    /// Raises virtual SPI `intid` once, as an edge. `here`: the vCPU of this partition that is
    /// current on the calling CPU, if any. Ignored for an INTID that is physical or absent.
    pub fn raise<H: Hardware>(&self, hw: &'a H, here: Option<usize>, intid: u32) {
        if self.distributor.is_virtual_spi(intid) {
            self.distributor.lock.with(|| self.raise_locked(hw, here, intid));
        }
    }

    fn raise_locked<H: Hardware>(&self, hw: &'a H, here: Option<usize>, intid: u32) {
        let (word, bit) = place_of(intid);
        if let Some(cpu) = here.and_then(|vcpu| self.on(hw, vcpu)) {
            cpu.fold();
            if cpu.try_place(intid, 0) {
                return;
            }
            cpu.bank(word).pending.set(bit);
        } else if let Some(any) = self.interfaces.first() {
            self.distributor.bank(any, word).pending.set(bit);
        }
        self.look_after(hw, here, intid);
    }

    /// The line of the emulated device on virtual SPI `intid` is now `level`. `here` as for
    /// [`Vgic::raise`]. A line that falls takes back what the guest has not acknowledged; one that
    /// is still high at the guest's end of interrupt interrupts again.
    pub fn set_level<H: Hardware>(&self, hw: &'a H, here: Option<usize>, intid: u32, level: bool) {
        let (word, bit) = place_of(intid);
        let Some(any) = self.interfaces.first() else {
            return;
        };
        if !self.distributor.is_virtual_spi(intid) {
            return;
        }
        let bank = self.distributor.bank(any, word);
        self.distributor.lock.with(|| {
            if bank.level.has(bit) == level {
                return;
            }
            if level {
                bank.level.set(bit);
                if bank.edge.has(bit) {
                    bank.pending.set(bit);
                }
            } else {
                bank.level.clear(bit);
            }
            self.look_after(hw, here, intid);
        });
    }

    /// After a change of virtual SPI `intid`: the CPU that has it in a list register looks, and the
    /// one that it is routed to.
    fn look_after<H: Hardware>(&self, hw: &'a H, here: Option<usize>, intid: u32) {
        let (word, bit) = place_of(intid);
        let target = self.distributor.target_vcpu(intid, self.interfaces.len());
        for (vcpu, interface) in self.interfaces.iter().enumerate() {
            if target != Some(vcpu) && !interface.resident[word % IRQ_WORDS].has(bit) {
                continue;
            }
            if here == Some(vcpu) {
                if let Some(cpu) = self.on(hw, vcpu) {
                    cpu.refill();
                }
            } else {
                crate::nudge(hw, self.distributor, self.interfaces, vcpu);
            }
        }
    }

    /// Another partition, on physical CPU `source_cpu`, rings doorbell `bit` (below 32) of `vcpu`.
    /// Returns whether the caller is to kick the vCPU's CPU: false if an earlier ring is still on
    /// its way or the vCPU is not current.
    #[inline]
    pub fn ring(&self, vcpu: usize, source_cpu: usize, bit: u32) -> bool {
        self.interfaces.get(vcpu).is_some_and(|interface| {
            interface.inbox.post(source_cpu, 1 << (bit as usize % DOORBELLS)) && interface.is_current()
        })
    }

    /// `vcpu`, current here, wrote `value` to `ICC_SGI1R_EL1`, `ICC_SGI0R_EL1` or
    /// `ICC_ASGI1R_EL1` (IHI 0069): the SGI goes out in the group that the receiver gave it.
    #[inline]
    pub fn sgi1r<H: Hardware>(&self, hw: &'a H, vcpu: usize, value: u64) {
        /// Aff3, RS, Aff2 and Aff1 of the targets: all vCPUs have 0 there.
        const AFFINITY: u64 = 0x00ff_f0ff_00ff_0000;
        let id = (value >> 24) as u32 & 0xf;
        let targets = if value & (1 << 40) != 0 {
            !(1u32 << (vcpu % VCPUS))
        } else if value & AFFINITY == 0 {
            value as u32 & 0xffff
        } else {
            0
        };
        if self.send_sgi(hw, vcpu, targets, id) {
            self.sgi_to_self(hw, vcpu, id);
        }
    }

    /// Sends SGI `id` from `vcpu`, current here, to the other vCPUs in `targets`. Returns whether
    /// `vcpu` itself is one of `targets`.
    #[inline]
    pub(crate) fn send_sgi<H: Hardware>(&self, hw: &H, vcpu: usize, targets: u32, id: u32) -> bool {
        let source = self.distributor.cpu(vcpu) as usize;
        let own = 1u32 << (vcpu % VCPUS);
        let mut others = targets & !own & ((1u32 << self.interfaces.len().min(VCPUS)) - 1);
        while others != 0 {
            let target = others.trailing_zeros() as usize;
            others &= others - 1;
            if let Some(interface) = self.interfaces.get(target)
                && interface.inbox.post(source, 1 << (SGI_SHIFT + id))
                && interface.is_current()
            {
                hw.kick(self.distributor.cpu(target));
            }
        }
        targets & own != 0
    }

    #[inline(never)]
    pub(crate) fn sgi_to_self<H: Hardware>(&self, hw: &'a H, vcpu: usize, id: u32) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        self.distributor.lock.with(|| {
            cpu.latch(1 << id, if self.distributor.is_v3() { 0 } else { vcpu });
            cpu.refill();
        });
    }

    /// Another CPU has kicked this one, where `vcpu` is current: its inbox goes to the list
    /// registers.
    #[inline]
    pub fn on_kick<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        let (doorbells, detour) = cpu.take_inbox();
        if doorbells != 0 || detour || cpu.me.attention.get() != 0 {
            self.take_shared(hw, vcpu, doorbells, detour);
        }
    }

    /// Doorbells, what others changed, and SGIs that found no direct way.
    #[inline(never)]
    fn take_shared<H: Hardware>(&self, hw: &'a H, vcpu: usize, doorbells: u32, detour: bool) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.take_events(doorbells, detour));
        }
    }

    /// A maintenance interrupt on this CPU, where `vcpu` is current.
    pub fn on_maintenance<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.refill());
        }
    }

    /// `vcpu`, current here, wrote INTID `value` to `ICC_DIR_EL1`, which traps while something
    /// active is out of the list registers. With EOImode = 0 the write has no effect.
    pub fn deactivate<H: Hardware>(&self, hw: &'a H, vcpu: usize, value: u64) {
        if let Some(cpu) = self.on(hw, vcpu)
            && value < u64::from(crate::INTIDS)
        {
            self.distributor.lock.with(|| {
                cpu.deactivate(value as u32);
                cpu.refill();
            });
        }
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Delivers doorbells, and looks at the list registers if an SGI took the detour or others changed
    /// something. Under the lock.
    pub(crate) fn take_events(&self, doorbells: u32, detour: bool) {
        let mut refill = detour;
        if self.me.attention.get() != 0 {
            self.me.attention.put(0);
            self.mirror_ppis();
            refill = true;
        }
        self.fold();
        let mut bits = doorbells;
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let Some(intid) = self.distributor.doorbell(bit) else {
                continue;
            };
            if !self.try_place(intid, 0) {
                let (word, bit) = place_of(intid);
                self.bank(word).pending.set(bit);
                match self.distributor.target_vcpu(intid, self.all.len()) {
                    Some(target) if target != self.vcpu => self.nudge(target),
                    _ => refill = true,
                }
            }
        }
        if refill {
            self.refill();
        }
    }

    /// Makes `sgis` (by bit) from `source` pending outside the list registers.
    pub(crate) fn latch(&self, sgis: u32, source: usize) {
        self.me.sources[source % VCPUS].set(sgis);
        self.me.bank.pending.set(sgis);
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Takes the inbox: returns the doorbells, and whether an SGI needs [`Cpu::refill`].
    #[inline]
    pub(crate) fn take_inbox(&self) -> (u32, bool) {
        let (mut doorbells, mut detour) = (0, false);
        for cpu in 0..SOURCES {
            let events = self.me.inbox.take(cpu);
            if events != 0 {
                doorbells |= events as u32;
                let sgis = (events >> SGI_SHIFT) as u32;
                detour |= sgis != 0 && self.take_sgis(cpu, sgis);
            }
        }
        (doorbells, detour)
    }

    /// SGIs from physical CPU `cpu` go straight to free list registers. Returns whether one found
    /// none and is pending in software. Word 0 is this CPU's alone, so there is no lock.
    #[inline(never)]
    fn take_sgis(&self, cpu: usize, sgis: u32) -> bool {
        let source = self.source_of(cpu);
        let mut detour = false;
        let mut sgis = sgis;
        self.fold_banked();
        while sgis != 0 {
            let id = sgis.trailing_zeros();
            sgis &= sgis - 1;
            if !self.try_place(id, source as u32) {
                self.latch(1 << id, source);
                detour = true;
            }
        }
        detour
    }

    /// What the guest sees as sender of an SGI from physical CPU `cpu`: GICv2 names the vCPU.
    fn source_of(&self, cpu: usize) -> usize {
        if self.distributor.is_v3() {
            return 0;
        }
        (0..self.all.len()).find(|vcpu| self.distributor.cpu(*vcpu) as usize == cpu).unwrap_or(0)
    }
}
