//! Reset of a partition's GIC, and the way of a vCPU's interface onto the hardware and off it.

use core::sync::atomic::{Ordering, fence};

use crate::hw::{Control, Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::SOURCES;
use crate::state::{IRQ_WORDS, SGIS, TAG_HARDWARE};
use crate::{Cpu, Vgic};

impl<'a> Vgic<'a> {
    /// Puts the distributor into reset state: once for each (re)start of the partition, by one CPU
    /// while no vCPU of it runs, before [`Vgic::reset_vcpu`]. Owned SPIs are disabled, cleared and
    /// routed to vCPU 0; lines of emulated devices count as low.
    pub fn reset_shared<H: Hardware>(&self, hw: &H) {
        let Some(any) = self.interfaces.first() else {
            return;
        };
        let distributor = self.distributor;
        let first = u8::from(!distributor.is_v3());
        distributor.lock.with(|| {
            distributor.groups.put(0);
            for word in 1..IRQ_WORDS {
                distributor.bank(any, word).reset(0, 0);
                let owned = distributor.owned(word);
                if owned != 0 {
                    hw.disable(word, owned);
                    hw.clear_pending(word, owned);
                    hw.clear_active(word, owned);
                }
                let mut present = distributor.present(word);
                while present != 0 {
                    let intid = 32 * word as u32 + present.trailing_zeros();
                    present &= present - 1;
                    distributor.set_target(intid, first, self.interfaces.len());
                    if owned & (1 << (intid & 31)) != 0 {
                        hw.route(intid, distributor.cpu(0));
                    }
                }
            }
        });
    }

    /// Puts the interface of `vcpu`, on its own CPU, into reset state and leaves it current there.
    /// Owned PPIs are disabled and cleared in the hardware, the inbox is emptied.
    pub fn reset_vcpu<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.reset());
        }
    }

    /// Takes the interface of `vcpu` off the hardware of its CPU, where it is current: list
    /// registers, `VMCR` and active priorities are kept; what is physical and could only interrupt
    /// this CPU in vain is disabled.
    pub fn save<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.save());
        }
    }

    /// Puts the interface of `vcpu` back onto the hardware of its CPU, with everything that has
    /// happened since [`Vgic::save`].
    pub fn restore<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        self.distributor.lock.with(|| {
            cpu.restore();
            cpu.me.attention.put(1);
            let (doorbells, detour) = cpu.take_inbox();
            cpu.take_events(doorbells, detour);
        });
    }
}

impl<H: Hardware> Cpu<'_, H> {
    fn reset(&self) {
        let me = self.me;
        let enable = if self.distributor.is_v3() { 0 } else { SGIS };
        me.bank.reset(SGIS, enable);
        for n in 0..self.hw.list_registers().min(LIST_REGISTERS_MAX) {
            self.store(n, Lr::EMPTY);
        }
        for tag in &me.lists {
            tag.put(TAG_HARDWARE);
        }
        me.spilled.clear();
        for words in [&me.waiting, &me.resident] {
            for word in words {
                word.put(0);
            }
        }
        for sgis in &me.sources {
            sgis.put(0);
        }
        for source in 0..SOURCES {
            me.inbox.take(source);
        }
        for word in [&me.software, &me.control, &me.attention, &me.mirrored] {
            word.put(0);
        }
        // What `save` kept: `restore` must not bring back the priorities that were active.
        for word in &me.saved {
            word.put(0);
        }
        me.free.put(self.all_lists());
        me.asleep.put(u32::from(self.distributor.is_v3()));
        for n in 0..2 {
            self.hw.set_active_priorities(n, 0);
        }
        self.hw.set_vmcr(0);
        self.hw.clear_eoi_count();
        self.hw.set_control(Control::default());
        let owned = self.distributor.owned(0);
        if owned != 0 {
            self.hw.disable(0, owned);
            self.hw.clear_pending(0, owned);
            self.hw.clear_active(0, owned);
        }
        me.current.put(1);
    }

    fn save(&self) {
        let me = self.me;
        for (n, lr) in self.sync().into_iter().enumerate() {
            if lr.is_empty() {
                continue;
            }
            if lr.is_active() || lr.is_hardware() || lr.intid() < 32 {
                me.save_list(n, lr);
                self.store(n, Lr::EMPTY);
            } else {
                // A pending SPI: another vCPU may get it meanwhile.
                self.retract(n, lr);
            }
        }
        let [vmcr, group0, group1] = &me.saved;
        vmcr.put(self.hw.vmcr());
        group0.put(self.hw.active_priorities(0));
        group1.put(self.hw.active_priorities(1));
        self.hw.set_control(Control::default());
        me.current.put(0);
        self.set_ppis(0);
        for word in 1..IRQ_WORDS {
            let routed = self.distributor.routed(self.vcpu, word) & self.distributor.owned(word);
            if routed != 0 {
                self.mirror_spis(word, routed);
            }
        }
    }

    fn restore(&self) {
        let me = self.me;
        let mut used = self.all_lists() & !me.free.get();
        while used != 0 {
            let n = used.trailing_zeros() as usize;
            used &= used - 1;
            self.store(n, me.saved_list(n));
        }
        let [vmcr, group0, group1] = &me.saved;
        self.hw.set_vmcr(vmcr.get());
        self.hw.set_active_priorities(0, group0.get());
        self.hw.set_active_priorities(1, group1.get());
        self.hw.clear_eoi_count();
        self.hw.set_control(Control::from_bits(me.control.get()));
        me.current.put(1);
        // Whoever posts from here on sees the vCPU as current; what was posted before is taken next.
        fence(Ordering::SeqCst);
        self.mirror_ppis();
        for word in 1..IRQ_WORDS {
            let routed = self.distributor.routed(self.vcpu, word) & self.distributor.owned(word);
            if routed != 0 {
                self.mirror_spis(word, routed);
            }
        }
    }
}
