//! Reset of a partition's GIC, and the way of a vCPU's interface onto the hardware and off it.

use core::sync::atomic::{Ordering, fence};

use crate::hw::{Control, File, Hardware, LIST_REGISTERS_MAX, Lr};
use crate::inbox::SOURCES;
use crate::lists::put;
use crate::state::{SGIS, place_of};
use crate::words::{bits, mask};
use crate::{Cpu, CpuInterface, Seat, Vgic};

impl<'a> Vgic<'a> {
    /// Puts the distributor into reset state, piece by piece: each is bounded, and others run in between.
    /// Piece 0 first, then the next one until it says that there is no other. Once for each (re)start of the
    /// partition, by one CPU while no vCPU of it runs, after [`Vgic::silence`] of all. Owned SPIs are
    /// disabled, cleared and routed to vCPU 0; lines of emulated devices count as low.
    #[must_use]
    pub fn reset_shared<H: Hardware>(&self, hw: &'a H, piece: usize) -> bool {
        let Some(cpu) = self.on(hw, 0) else { return false };
        let distributor = self.distributor;
        let words = distributor.words().saturating_sub(1);
        // Two pieces for each word.
        distributor.lock.with(|| {
            // A partition without SPIs has no words.
            distributor.groups.put(0);
            match piece.checked_sub(2 * words) {
                None if piece.is_multiple_of(2) => cpu.reset_word(1 + piece / 2),
                None => cpu.reset_routes(1 + piece / 2),
                // After the words, which are silent now: nobody leaves an SPI here any more.
                Some(vcpu) => {
                    self.interfaces.get(vcpu).into_iter().for_each(|interface| cpu.forget(interface))
                }
            }
        });
        piece + 1 < 2 * words + self.interfaces.len()
    }

    /// Disables and clears the owned PPIs of `vcpu`, which is not current, on its own CPU. What is kept of it
    /// goes with [`Vgic::reset_shared`].
    pub fn silence<H: Hardware>(&self, hw: &'a H, vcpu: usize) {
        if let Some(cpu) = self.on(hw, vcpu) {
            cpu.silence(0);
            let ppis = hw.ppis();
            ppis.set(ppis.get() & !self.distributor.owned(0));
        }
    }

    /// Disables the owned SPI `intid` in the hardware until [`Vgic::reset_shared`]. The guest sees it as it
    /// programmed it; what is raised stays pending there.
    pub fn mask<H: Hardware>(&self, hw: &'a H, intid: u32) {
        let (word, bit) = place_of(intid);
        if let Some(cpu) = self.on(hw, 0)
            && word > 0
        {
            self.distributor.lock.with(|| {
                self.distributor.masked(word).set(bit);
                cpu.mirror_spis(word, bit);
            });
        }
    }
}

impl<'a> Seat<'a> {
    /// Takes the vCPU's interface off the hardware of its CPU, where it is current: what the list
    /// registers hold, `VMCR` and active priorities are kept, owned SPIs that are routed to it are
    /// disabled. Its PPIs stay enabled until another vCPU, or [`set_ppis`], says which shall be.
    #[inline(always)]
    pub fn save<H: Hardware>(&self, hw: &'a H) {
        let me = self.me;
        // The list registers go with the vCPU as they are, unless something waits or is spilled, or another
        // vCPU may come to handle what they hold.
        if me.control.get() != 0 || (me.shared.get() != 0 && self.all.len() > 1) {
            self.on(hw).gather();
        }
        for n in bits(me.used()) {
            me.kept[n as usize % LIST_REGISTERS_MAX]
                .store(hw.read_list(n as usize).bits(), Ordering::Relaxed);
            put(hw, n as usize, Lr::EMPTY);
        }
        let [vmcr, group0, group1] = &me.saved;
        let [active0, active1] = hw.active_priorities();
        vmcr.put(hw.vmcr());
        group0.put(active0);
        group1.put(active1);
        me.current.put(0);
        if self.distributor.owned_words() != 0 {
            self.on(hw).mirror_routed();
        }
    }

    /// Puts the vCPU's interface back onto the hardware of its CPU, where none is current, with
    /// everything that has happened since [`Seat::save`] or [`Vgic::reset_shared`]. Returns how many of its
    /// SPIs waited in the hardware.
    #[inline(always)]
    pub fn restore<H: Hardware>(&self, hw: &'a H) -> u32 {
        let me = self.me;
        let [vmcr, group0, group1] = &me.saved;
        hw.set_vmcr(vmcr.get());
        hw.set_active_priorities([group0.get(), group1.get()]);
        for n in bits(me.used()) {
            let kept = me.kept[n as usize % LIST_REGISTERS_MAX].load(Ordering::Relaxed);
            put(hw, n as usize, Lr::from_bits(kept));
        }
        me.current.put(1);
        // Whoever posts from here on sees the vCPU as current; what was posted before is taken next.
        fence(Ordering::SeqCst);
        // Who changed them meanwhile has called for attention.
        set_ppis(hw, me.ppis.get());
        let mut waited = 0;
        if self.distributor.owned_words() != 0 {
            let cpu = self.on(hw);
            waited = cpu.waiting_spis();
            cpu.mirror_routed();
        }
        if me.attention.get() != 0 || me.inbox.waits() {
            self.on(hw).catch_up();
        }
        waited
    }
}

/// Enables guests' PPIs `on` of the calling CPU in the hardware, and no others: 0 where no vCPU runs.
#[inline(always)]
pub fn set_ppis<H: Hardware>(hw: &H, on: u32) {
    let before = hw.ppis().replace(on);
    if before != on {
        change_enables(hw, 0, on & !before, before & !on);
    }
}

#[inline(never)]
fn change_enables<H: Hardware>(hw: &H, word: usize, on: u32, off: u32) {
    if on != 0 {
        hw.write(File::SetEnable, word, on);
    }
    if off != 0 {
        hw.write(File::ClearEnable, word, off);
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

    /// Brings the SPIs of `word`, from 1 on, into reset state.
    fn reset_word(&self, word: usize) {
        self.silence(word);
        self.distributor.reset_word(self.me, word, u8::from(!self.hw.is_v3()));
    }

    fn reset_routes(&self, word: usize) {
        let distributor = self.distributor;
        for n in bits(distributor.owned(word)) {
            self.hw.route(32 * word as u32 + n, distributor.cpu(0));
        }
    }

    /// Brings what is kept of a vCPU, which is not current, into reset state.
    fn forget(&self, interface: &CpuInterface) {
        let is_v3 = self.hw.is_v3();
        interface.bank.reset(SGIS, if is_v3 { 0 } else { SGIS });
        interface.spilled.clear();
        interface.traits.iter().for_each(|traits| traits.put(0, false));
        // `saved`: the priorities that were active must not come back.
        let flags = [&interface.attention, &interface.shared, &interface.control, &interface.ppis];
        let words = interface.waiting.iter().chain(&interface.sources).chain(&interface.saved);
        words.chain(flags).for_each(|word| word.put(0));
        for source in 0..SOURCES {
            interface.inbox.take(source);
        }
        interface.lists.put(mask(self.hw.list_registers()));
        interface.free.put(interface.lists.get());
        interface.asleep.put(u32::from(is_v3));
    }

    /// Takes everything into software, and has it looked at when the vCPU returns.
    #[cold]
    #[inline(never)]
    fn gather(&self) {
        let me = self.me;
        self.distributor.lock.with(|| {
            for n in bits(self.collect()) {
                put(self.hw, n as usize, Lr::EMPTY);
            }
            me.shared.put(0);
            me.free.publish(me.lists.get());
            me.attention.put(1);
            me.control.put(0);
            self.hw.set_control(Control::default());
        });
    }

    /// How many owned SPIs are pending in the hardware that it would signal to this vCPU.
    #[inline(never)]
    fn waiting_spis(&self) -> u32 {
        bits(self.distributor.owned_words()).fold(0, |count, word| {
            let word = word as usize;
            let own = self.distributor.owned(word) & self.distributor.routed(self.vcpu, word);
            let on = self.bank(word).enabled(self.distributor.groups.get()) & own;
            let wanted = on & !self.distributor.masked(word).get();
            let pending = if wanted == 0 { 0 } else { self.hw.read(File::SetPending, word) & wanted };
            count + bits(pending).count() as u32
        })
    }

    /// What happened while the vCPU was not current.
    #[inline(never)]
    fn catch_up(&self) {
        // What others ended without a list register does not count.
        self.hw.set_control(Control::default());
        let (doorbells, sgis) = self.take_inbox();
        self.take_events(doorbells, sgis);
    }

    /// Enables of the owned SPIs that are routed to this vCPU, to the hardware.
    #[inline(never)]
    fn mirror_routed(&self) {
        self.distributor.lock.with(|| {
            for word in bits(self.distributor.owned_words()) {
                self.mirror_spis(word as usize, self.distributor.routed(self.vcpu, word as usize));
            }
        });
    }

    /// The hardware's enables of owned SPIs `bits` of `word`: guest-enabled, group enabled, not masked, and
    /// routed to a vCPU that is current.
    #[inline(never)]
    pub(crate) fn mirror_spis(&self, word: usize, bits: u32) {
        let owned = self.distributor.owned(word) & bits;
        if owned == 0 {
            return;
        }
        let current = self.all.iter().enumerate().filter(|(_, interface)| interface.is_current());
        let live = current.fold(0, |live, (vcpu, _)| live | self.distributor.routed(vcpu, word));
        let allowed = owned & live & !self.distributor.masked(word).get();
        let on = self.bank(word).enabled(self.distributor.groups.get()) & allowed;
        change_enables(self.hw, word, on, owned & !on);
    }

    /// The same for this vCPU's owned PPIs, which [`Seat::restore`] enables again.
    #[inline(never)]
    pub(crate) fn mirror_ppis(&self) {
        let on = self.me.bank.enabled(self.distributor.groups.get()) & self.distributor.owned(0);
        self.me.ppis.put(on);
        set_ppis(self.hw, on);
    }
}
