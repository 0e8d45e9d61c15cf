//! Reset of a partition's GIC, and the way of a vCPU's interface onto the hardware and off it.

use core::sync::atomic::{Ordering, fence};

use crate::hw::{Control, File, Hardware, Lr};
use crate::inbox::SOURCES;
use crate::state::{IRQ_WORDS, SGIS, STALE};
use crate::words::{bits, mask};
use crate::{Cpu, Vgic};

impl<'a> Vgic<'a> {
    /// Puts the distributor into reset state: once for each (re)start of the partition, by one CPU
    /// while no vCPU of it runs, before [`Vgic::reset_vcpu`]. Owned SPIs are disabled, cleared and
    /// routed to vCPU 0; lines of emulated devices count as low.
    pub fn reset_shared<H: Hardware>(&self, hw: &'a H) {
        let Some(cpu) = self.on(hw, 0) else { return };
        let distributor = self.distributor;
        distributor.lock.with(|| {
            distributor.reset();
            for word in 1..IRQ_WORDS {
                // A doorbell is an edge, also to a guest that does not say so: its end needs no visit.
                cpu.bank(word).reset(distributor.doorbells(word), 0);
                cpu.silence(word);
                for n in bits(distributor.present(word)) {
                    let intid = 32 * word as u32 + n;
                    distributor.set_target(intid, u8::from(!hw.is_v3()), Some(0));
                    if distributor.owned(word) & (1 << n) != 0 {
                        hw.route(intid, distributor.cpu(0));
                    }
                }
            }
        });
    }

    /// Puts the interface of `vcpu`, which is not current, into reset state, on its own CPU. Owned PPIs
    /// are disabled and cleared in the hardware, the inbox is emptied.
    pub fn reset_vcpu<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.reset());
        }
    }

    /// Takes the interface of `vcpu` off the hardware of its CPU, where it is current: what the list
    /// registers hold, `VMCR` and active priorities are kept; what is physical and could only interrupt
    /// this CPU in vain is disabled.
    #[inline(never)]
    pub fn save<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            self.distributor.lock.with(|| cpu.save());
        }
    }

    /// Puts the interface of `vcpu` back onto the hardware of its CPU, with everything that has
    /// happened since [`Vgic::save`] or [`Vgic::reset_vcpu`].
    #[inline(never)]
    pub fn restore<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        let Some(cpu) = self.on(hw, vcpu) else { return };
        self.distributor.lock.with(|| cpu.restore());
        let (doorbells, _) = cpu.take_inbox();
        cpu.take_events(doorbells, true);
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Disables and clears the owned interrupts of `word` in the hardware.
    fn silence(&self, word: usize) {
        let owned = self.distributor.owned(word);
        if owned != 0 {
            for file in [File::ClearEnable, File::ClearPending, File::ClearActive] {
                self.hw.write(file, word, owned);
            }
        }
    }

    fn reset(&self) {
        let me = self.me;
        me.bank.reset(SGIS, if self.hw.is_v3() { 0 } else { SGIS });
        me.spilled.clear();
        me.traits.iter().for_each(|traits| traits.put(0, false));
        // `saved`: the priorities that were active must not come back.
        let flags = [&me.attention, &me.mirrored, &me.free];
        for word in me.waiting.iter().chain(&me.sources).chain(&me.saved).chain(flags) {
            word.put(0);
        }
        for source in 0..SOURCES {
            me.inbox.take(source);
        }
        me.control.put(STALE);
        me.asleep.put(u32::from(self.hw.is_v3()));
        self.silence(0);
    }

    fn save(&self) {
        let me = self.me;
        for n in bits(self.collect()) {
            self.put(n as usize, Lr::EMPTY);
        }
        let [vmcr, group0, group1] = &me.saved;
        let [active0, active1] = self.hw.active_priorities();
        vmcr.put(self.hw.vmcr());
        group0.put(active0);
        group1.put(active1);
        self.hw.set_control(Control::default());
        me.control.put(STALE);
        me.free.put(0);
        me.current.put(0);
        self.set_ppis(0);
        self.mirror_routed();
    }

    fn restore(&self) {
        let me = self.me;
        let [vmcr, group0, group1] = &me.saved;
        self.hw.set_vmcr(vmcr.get());
        self.hw.set_active_priorities([group0.get(), group1.get()]);
        me.shared.put(0);
        me.lists.put(mask(self.hw.list_registers()));
        me.free.put(me.lists.get());
        me.current.put(1);
        // Whoever posts from here on sees the vCPU as current; what was posted before is taken next.
        fence(Ordering::SeqCst);
        me.attention.put(0);
        self.mirror_ppis();
        self.mirror_routed();
    }

    /// Enables of the owned SPIs that are routed to this vCPU, to the hardware.
    fn mirror_routed(&self) {
        for word in 1..self.distributor.words() {
            self.mirror_spis(word, self.distributor.routed(self.vcpu, word));
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
        let current = self.all.iter().enumerate().filter(|(_, interface)| interface.is_current());
        let live = current.fold(0, |live, (vcpu, _)| live | self.distributor.routed(vcpu, word));
        let on = self.bank(word).enabled(self.distributor.groups.get()) & owned & live;
        self.switch(word, on, owned & !on);
    }

    /// The same for this vCPU's owned PPIs.
    pub(crate) fn mirror_ppis(&self) {
        let owned = self.distributor.owned(0);
        self.set_ppis(self.me.bank.enabled(self.distributor.groups.get()) & owned);
    }

    /// Enables PPIs `on` of this vCPU in the hardware, and no others.
    fn set_ppis(&self, on: u32) {
        let before = self.me.mirrored.get();
        self.me.mirrored.put(on);
        self.switch(0, on & !before, before & !on);
    }

    #[inline(never)]
    fn switch(&self, word: usize, on: u32, off: u32) {
        if on != 0 {
            self.hw.write(File::SetEnable, word, on);
        }
        if off != 0 {
            self.hw.write(File::ClearEnable, word, off);
        }
    }
}
