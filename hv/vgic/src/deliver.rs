//! Interrupts on their way to a vCPU: from the hardware, from emulated devices, from other
//! partitions, from other vCPUs.

use core::sync::atomic::{Ordering, fence};

use crate::hw::{Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::{SGI_SHIFT, SOURCES};
use crate::state::{DOORBELLS, TAG_INTID, TAG_LATCHED, TAG_SOFTWARE, VCPUS, at, place_of};
use crate::words::{bits, mask};
use crate::{Cpu, Seat, Vgic};

impl<'a> Seat<'a> {
    /// Hot path: physical interrupt `intid`, acknowledged and priority-dropped on this CPU, goes to
    /// the vCPU, which is current here. The guest's end deactivates it. If no list register is known to be
    /// free it does not go yet; [`Seat::inject_late`] follows then.
    #[inline(always)]
    #[must_use]
    pub fn inject_hw<H: Hardware>(&self, hw: &'a H, intid: u32) -> bool {
        let me = self.me;
        let free = me.free.get();
        if free != 0 {
            let (priority, group1) = self.distributor.traits(me, intid).get();
            let n = free.trailing_zeros() as usize % LIST_REGISTERS_MAX;
            me.tags[n].put(intid);
            me.free.publish(free & (free - 1));
            hw.write_list(n, Lr::hardware(intid, priority, group1));
        }
        free != 0
    }

    /// If no list register is free indeed, or the vCPU is not current, the interrupt waits in software,
    /// and the best of all is offered.
    #[cold]
    #[inline(never)]
    pub fn inject_late<H: Hardware>(&self, hw: &'a H, intid: u32) {
        let (cpu, (word, bit)) = (self.on(hw), place_of(intid));
        if self.me.is_current() {
            cpu.fold();
            if self.inject_hw(hw, intid) {
                return;
            }
            at(&self.me.waiting, word).set(bit);
            if !cpu.can_wait(intid) {
                self.distributor.lock.with(|| cpu.refill());
            }
        } else {
            at(&self.me.waiting, word).set(bit);
            self.me.attention.put(1);
        }
    }

    /// The vCPU, current here, wrote `value` to `ICC_SGI1R_EL1`, `ICC_SGI0R_EL1` or
    /// `ICC_ASGI1R_EL1` (IHI 0069): the SGI goes out in the group that the receiver gave it.
    #[inline(always)]
    pub fn sgi1r<H: Hardware>(&self, hw: &'a H, value: u64) {
        /// Aff3, RS, Aff2 and Aff1 of the targets: all vCPUs have 0 there.
        const AFFINITY: u64 = 0x00ff_f0ff_00ff_0000;
        let own = self.own();
        let targets = match value & (AFFINITY | 1 << 40) {
            0 => value as u32,
            all if all & (1 << 40) != 0 => !own,
            _ => 0,
        };
        self.send_sgi(hw, own, targets, (value >> 24) as u32 & 0xf);
    }

    /// The vCPU, current here, wrote `value` to `GICD_SGIR` (IHI 0048, 4.3.15).
    #[inline(always)]
    pub fn sgir<H: Hardware>(&self, hw: &'a H, value: u32) {
        let own = self.own();
        let targets = match (value >> 24) & 3 {
            0 => value >> 16,
            1 => !own,
            2 => own,
            _ => 0,
        };
        self.send_sgi(hw, own, targets, value & 0xf);
    }

    fn own(&self) -> u32 {
        1 << (self.vcpu % VCPUS)
    }

    /// Sends SGI `id` to the vCPUs in the lower bits of `targets`; `own` is this vCPU's.
    #[inline(always)]
    fn send_sgi<H: Hardware>(&self, hw: &'a H, own: u32, targets: u32, id: u32) {
        for target in bits(targets & !own & mask(VCPUS)) {
            if let Some(interface) = self.all.get(target as usize)
                && interface.inbox.post(hw.cpu() as usize, 1 << (SGI_SHIFT + id))
                && interface.is_current()
            {
                hw.post(self.distributor.cpu(target as usize));
            }
        }
        if targets & own != 0 {
            self.sgi_to_self(hw, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn sgi_to_self<H: Hardware>(&self, hw: &'a H, id: u32) {
        let cpu = self.on(hw);
        self.distributor.lock.with(|| {
            cpu.latch(1 << id, if hw.is_v3() { 0 } else { self.vcpu });
            if !cpu.can_wait(id) {
                cpu.refill();
            }
        });
    }

    /// Hot path: physical CPU `source` has posted something to the vCPU, current here. One SGI goes straight
    /// into a free list register, if it may. Word 0 is this CPU's alone, so there is no lock.
    /// Whether what was posted has found such a way; if not, [`Seat::take`] follows.
    #[inline(always)]
    #[must_use]
    pub fn on_post<H: Hardware>(&self, hw: &'a H, source: usize) -> bool {
        let (me, bank) = (self.me, &self.me.bank);
        let (events, sent) = me.inbox.peek(source);
        let id = (events >> SGI_SHIFT).trailing_zeros() & 31;
        let is_sgi = events == 1 << SGI_SHIFT << id;
        if is_sgi && (bank.active.get() | bank.pending.get() | !bank.enable.get()) >> id & 1 == 0 {
            let (priority, group1) = me.traits[id as usize].get();
            // GICv2 names the sender's vCPU.
            let sender = if hw.is_v3() { 0 } else { self.distributor.vcpu_on(source) };
            if self.offer(hw, Lr::software(id, priority, group1, false, sender), 0) {
                me.inbox.accept(source, sent);
                return true;
            }
        }
        false
    }

    /// Delivers what physical CPU `source` has posted and [`Seat::on_post`] could not.
    #[inline(always)]
    pub fn take<H: Hardware>(&self, hw: &'a H, source: usize) {
        let (events, more) = self.me.inbox.take_some(source, true);
        if more {
            hw.kick(self.distributor.cpu(self.vcpu));
        }
        let is_one = events & events.wrapping_sub(1) == 0 && events as u32 != 0;
        // Where other vCPUs may have it, that is found out under the lock.
        if is_one && self.all.len() == 1 && self.place(hw, self.distributor.doorbell(events.trailing_zeros()))
        {
            return;
        }
        if events != 0 {
            self.take_late(hw, source, events);
        }
    }

    /// SPI `intid` of software goes straight into a free list register, if it may: under the lock, or for the
    /// only vCPU of its partition, whose state of SPIs none but itself changes.
    #[inline(never)]
    fn place<H: Hardware>(&self, hw: &'a H, intid: u32) -> bool {
        let (me, (word, bit)) = (self.me, place_of(intid));
        let bank = self.distributor.bank(me, word);
        let (priority, group1) = self.distributor.traits(me, intid).get();
        let deliverable = bank.enable.get() & self.distributor.routed(self.vcpu, word);
        let blocked = bank.active.get() | bank.pending.get() | !deliverable;
        if blocked & bit != 0 || intid == 0 || self.is_elsewhere() {
            return false;
        }
        let lr = Lr::software(intid, priority, group1, !bank.edge.has(bit), 0);
        self.offer(hw, lr, me.shared.get())
    }

    /// Puts `lr`, of a software interrupt that is pending nowhere, into a free list register if the guest
    /// may have it and there is one. `shared`: list registers to be looked at although they are empty.
    #[inline(always)]
    fn offer<H: Hardware>(&self, hw: &'a H, lr: Lr, shared: u32) -> bool {
        let (me, intid) = (self.me, lr.intid());
        let is_on = self.distributor.groups.get() >> u32::from(lr.is_group1()) & 1 != 0;
        // Control bits: something waits, or is spilled.
        if me.control.get() != 0 || !is_on {
            return false;
        }
        let empty = hw.empty_lists();
        let free = empty & !me.shared.get();
        let mut choice = free;
        for n in bits(me.lists.get() & (!empty | shared)) {
            if me.tags[n as usize % LIST_REGISTERS_MAX].get() & TAG_INTID == intid {
                // Its own one: the end of the last one concerns nobody, as it is routed here.
                choice = empty & 1 << n;
            }
        }
        let n = choice.trailing_zeros();
        if choice != 0 {
            if intid >= 32 && self.all.len() > 1 {
                me.shared.set(1 << n);
            }
            me.tags[n as usize % LIST_REGISTERS_MAX].put(intid | TAG_SOFTWARE | TAG_LATCHED);
            me.free.publish(free & !(1 << n));
            hw.write_list(n as usize, lr);
        }
        choice != 0
    }

    /// Whether another vCPU may have an SPI of software in a list register, or something spilled.
    #[inline(always)]
    fn is_elsewhere(&self) -> bool {
        let mut held = 0;
        for (vcpu, other) in self.all.iter().enumerate() {
            if vcpu != self.vcpu {
                held |= other.shared.get() | other.spilled.depth() as u32;
            }
        }
        held != 0
    }

    #[cold]
    #[inline(never)]
    fn take_late<H: Hardware>(&self, hw: &'a H, source: usize, events: u64) {
        let cpu = self.on(hw);
        let sgis = cpu.latch_post(source, events);
        cpu.take_events(events as u32, sgis);
    }
}

impl<'a> Vgic<'a> {
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
            let concerned = cpu.distributor.routed(cpu.vcpu, word) | cpu.me.holds(word);
            if here.is_some() {
                cpu.refill();
            } else if concerned & bit != 0 {
                cpu.nudge(cpu.vcpu);
            }
        });
    }

    /// Another partition, on physical CPU `source_cpu`, rings doorbell `bit` (below 32) of `vcpu`.
    /// Returns whether the caller is to have the vCPU's CPU call [`Seat::on_post`]: false if an earlier
    /// ring is still on its way or the vCPU is not current.
    #[inline(always)]
    pub fn ring(&self, vcpu: usize, source_cpu: usize, bit: u32) -> bool {
        self.interfaces.get(vcpu).is_some_and(|interface| {
            interface.inbox.post(source_cpu, 1 << (bit as usize % DOORBELLS)) && interface.is_current()
        })
    }

    /// Another CPU has kicked this one, where `vcpu` is current: what others have changed or posted
    /// goes to the list registers.
    pub fn on_kick<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        let (doorbells, sgis) = cpu.take_inbox();
        cpu.take_events(doorbells, sgis);
    }

    /// A maintenance interrupt on this CPU, where `vcpu` is current.
    pub fn on_maintenance<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.refill());
        }
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Delivers doorbells, and looks at the list registers if SGIs have come or others changed something.
    pub(crate) fn take_events(&self, doorbells: u32, sgis: u32) {
        self.distributor.lock.with(|| {
            // Several at once are rare.
            let one = sgis & sgis.wrapping_sub(1) == 0;
            let mut refill = sgis != 0 && !(one && self.can_wait(sgis.trailing_zeros()));
            if self.me.attention.get() != 0 {
                self.me.attention.put(0);
                self.mirror_ppis();
                refill = true;
            }
            refill |= self.take_doorbells(doorbells);
            if refill {
                self.refill();
            }
        });
    }

    /// Delivers `doorbells`, or makes them pending. Whether the list registers are to be looked at.
    fn take_doorbells(&self, doorbells: u32) -> bool {
        if doorbells & doorbells.wrapping_sub(1) == 0 {
            let intid = self.distributor.doorbell(doorbells.trailing_zeros());
            if doorbells == 0 || intid == 0 || self.seat().place(self.hw, intid) {
                return false;
            }
            let (word, bit) = place_of(intid);
            self.raise(word, bit);
            return !self.can_wait(intid);
        }
        // Neighbours stand in one word, as a rule.
        let mut run = (0, 0);
        for bell in bits(doorbells) {
            let (word, bit) = place_of(self.distributor.doorbell(bell));
            if word != run.0 {
                self.raise(run.0, run.1);
                run = (word, 0);
            }
            run.1 |= bit;
        }
        self.raise(run.0, run.1);
        true
    }

    /// SPIs `bits` of `word` are pending now; word 0 stands for doorbells that lead nowhere.
    fn raise(&self, word: usize, bits: u32) {
        if word != 0 {
            self.bank(word).pending.set(bits);
            self.tell_others(word, bits);
        }
    }

    /// Makes `sgis` (by bit) from `source` pending outside the list registers.
    pub(crate) fn latch(&self, sgis: u32, source: usize) {
        self.me.sources[source % VCPUS].set(sgis);
        self.me.bank.pending.set(sgis);
    }

    /// Takes the inbox: returns the doorbells, and the SGIs. Of more doorbells than a visit has time for, the rest
    /// comes with a kick of its own.
    pub(crate) fn take_inbox(&self) -> (u32, u32) {
        let (mut doorbells, mut sgis, mut more) = (0, 0, false);
        if !self.me.inbox.waits() {
            return (0, 0);
        }
        for source in 0..SOURCES {
            let (events, left) = self.me.inbox.take_some(source, doorbells == 0);
            if events != 0 {
                doorbells |= events as u32;
                sgis |= self.latch_post(source, events);
            }
            more |= left;
        }
        if more {
            self.hw.kick(self.distributor.cpu(self.vcpu));
        }
        (doorbells, sgis)
    }

    /// The SGIs among `events` of physical CPU `source` are pending now. Which they are.
    fn latch_post(&self, source: usize, events: u64) -> u32 {
        let sgis = (events >> SGI_SHIFT) as u32;
        if sgis != 0 {
            self.latch(sgis, if self.hw.is_v3() { 0 } else { self.distributor.vcpu_on(source) as usize });
        }
        sgis
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
        if word == 0 {
            return;
        }
        let raised = self.bank(word).raised();
        for (vcpu, interface) in self.all.iter().enumerate() {
            if vcpu != self.vcpu {
                let wanted =
                    raised & self.distributor.routed(vcpu, word) | at(&interface.waiting, word).get();
                if wanted & bits != 0 || interface.holds(word) & bits != 0 {
                    self.nudge(vcpu);
                }
            }
        }
    }

    /// Makes the CPU of `vcpu` look at the shared state: at once if the vCPU is current there, else when
    /// it becomes so. Not for the calling CPU's current vCPU. Under the lock.
    pub(crate) fn nudge(&self, vcpu: usize) {
        if let Some(interface) = self.all.get(vcpu) {
            interface.attention.put(1);
            // [`Seat::restore`] has the other half.
            fence(Ordering::SeqCst);
            if interface.is_current() {
                self.hw.kick(self.distributor.cpu(vcpu));
            }
        }
    }
}
