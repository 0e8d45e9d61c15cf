//! List registers: what goes into them, what comes back.
//!
//! Rules that hold between two visits of EL2 on a vCPU's CPU:
//! 1. An INTID is in one list register of the partition at most. A linked (physical) interrupt
//!    stays active in the hardware until its end, so it cannot be taken twice; a software interrupt
//!    is looked for in the tags of all list registers before it is put into one.
//! 2. If something deliverable waits, no list register is known to be free, at least one is in the
//!    pending state, none in the pending state has a lower priority than what waits, and `NPIE`
//!    reports when the last pending one is acknowledged. So the highest priority is always offered.
//! 3. An active interrupt may be moved out of its list register (spilled) to keep rule 2. Its end
//!    counts in `EOIcount`, reported by `LRENPIE`; with EOImode = 1 GICv3 traps `DIR`, and GICv2,
//!    which cannot say which one was deactivated, takes the one of highest priority.
//!
//! What is not said by a free list register goes one way: [`Cpu::collect`] brings all state back into
//! software, where it is simple to change, and [`Cpu::deal`] gives the best of it out again. What is
//! pending behind its own active state waits in software for a maintenance interrupt at that one's end.

use crate::Cpu;
use crate::hw::{Control, Hardware, LIST_REGISTERS_MAX, Lr};
use crate::registers::VMCR_EOI_MODE;
use crate::spill::SPILLED_MAX;
use crate::state::{IRQ_WORDS, STALE, TAG_INTID, TAG_LATCHED, TAG_SOFTWARE, VCPUS, at, place_of};
use crate::words::{bits, mask};

/// Interrupts by word.
struct Words {
    words: [u32; IRQ_WORDS],
    /// The words that are not 0: mostly none or one, so that nobody looks at the others.
    some: u32,
}

impl Words {
    fn put(&mut self, word: usize, interrupts: u32) {
        self.words[word % IRQ_WORDS] = interrupts;
        self.some |= u32::from(interrupts != 0) << word;
    }

    fn remove(&mut self, intid: u32) {
        let (word, bit) = place_of(intid);
        let left = &mut self.words[word % IRQ_WORDS];
        *left &= !bit;
        self.some &= !(u32::from(*left == 0) << word);
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Takes note of the list registers that the hardware has emptied, without reading them, but for those
    /// with an SPI of software: its end may concern others. None is free while something waits (rule 2).
    #[inline(always)]
    pub(crate) fn fold(&self) {
        let me = self.me;
        if !me.control.has(Control::NO_PENDING.bits()) {
            me.free.put(self.hw.empty_lists() & !me.shared.get());
        }
    }

    fn tag(&self, n: usize) -> u32 {
        self.me.tags[n % LIST_REGISTERS_MAX].get()
    }

    /// Interrupts of `word` that other vCPUs have in list registers or spilled; of word 0, `owner` if
    /// that is another.
    #[inline(never)]
    pub(crate) fn elsewhere(&self, word: usize, owner: usize) -> u32 {
        let others = self.all.iter().enumerate().filter(|(vcpu, _)| *vcpu != self.vcpu);
        others
            .filter(|(vcpu, _)| word != 0 || *vcpu == owner)
            .fold(0, |held, (_, interface)| held | interface.holds(word))
    }

    /// Takes everything out of the list registers into software. Returns those that have to be
    /// written. Under the lock; [`Cpu::deal`] follows.
    #[inline(never)]
    pub(crate) fn collect(&self) -> u32 {
        let me = self.me;
        self.end_spilled();
        let used = me.lists.get() & !me.free.get();
        me.free.put(u32::MAX);
        for n in bits(used) {
            let (lr, tag) = (self.hw.read_list(n as usize), self.tag(n as usize));
            let intid = tag & TAG_INTID;
            let (word, bit) = place_of(intid);
            if lr.is_pending() {
                if tag & TAG_SOFTWARE == 0 {
                    at(&me.waiting, word).set(bit);
                } else if intid < 16 {
                    self.latch(bit, lr.source() as usize);
                } else if tag & TAG_LATCHED != 0 {
                    self.bank(word).pending.set(bit);
                }
            }
            if lr.is_active() {
                me.spilled.push(lr.with_pending(false));
            } else if tag & TAG_SOFTWARE != 0 {
                self.depart(intid);
            }
        }
        used
    }

    /// Gives the list registers out anew, `used` of which hold something. Under the lock, after
    /// [`Cpu::collect`].
    #[inline(never)]
    pub(crate) fn deal(&self, used: u32) {
        let me = self.me;
        let lists = self.hw.list_registers();
        let mut ready = Words { words: [0; IRQ_WORDS], some: 0 };
        self.find_ready(&mut ready);
        let mut next = self.pick(&ready);
        // One list register is for what is pending. With EOImode = 1 a guest can keep more active than
        // may stay out; then nothing is in the pending state, and the next deactivation comes here.
        let mut room = lists - usize::from(next.is_some());
        if me.spilled.depth() > room + SPILLED_MAX {
            room = lists;
        }
        me.shared.put(0);
        let mut n = 0;
        while n < room
            && let Some(lr) = me.spilled.pop()
        {
            self.give_active(n, lr);
            n += 1;
        }
        let active = n;
        while n < lists
            && let Some(intid) = next
        {
            self.give_pending(n, intid);
            ready.remove(intid);
            next = self.pick(&ready);
            n += 1;
        }
        for rest in bits(used & !mask(n)) {
            self.put(rest as usize, Lr::EMPTY);
        }
        me.free.publish(if next.is_some() { 0 } else { me.lists.get() & !mask(n) });
        let mut control = Control::default();
        if next.is_some() && n > active {
            control = control.with(Control::NO_PENDING);
        }
        if me.spilled.depth() != 0 {
            control = control.with(Control::NOT_PRESENT).with(Control::TRAP_DIR);
        }
        if control.bits() != me.control.get() {
            me.control.put(control.bits());
            self.hw.set_control(control);
        }
    }

    /// Brings software state and list registers into line. Under the lock.
    #[inline(never)]
    pub(crate) fn refill(&self) {
        let used = self.collect();
        self.deal(used);
    }

    /// Writes list register `n`, which is free.
    pub(crate) fn write(&self, n: usize, tag: u32, lr: Lr) {
        if tag & TAG_SOFTWARE != 0 && tag & TAG_INTID >= 32 && self.all.len() > 1 {
            self.me.shared.set(1 << n);
        }
        self.me.tags[n % LIST_REGISTERS_MAX].put(tag);
        self.put(n, lr);
    }

    /// Writes list register `n`: one copy for all paths that are not hot.
    #[inline(never)]
    pub(crate) fn put(&self, n: usize, lr: Lr) {
        self.hw.write_list(n, lr);
    }

    /// Puts an active interrupt into list register `n`. One of software comes back at its end if its
    /// line may be high still, or it is pending again.
    fn give_active(&self, n: usize, lr: Lr) {
        let (word, bit) = place_of(lr.intid());
        let bank = self.bank(word);
        match lr.is_hardware() {
            true => self.write(n, lr.intid(), lr),
            false if (!bank.edge.get() | bank.pending.get()) & bit != 0 => {
                self.write(n, lr.intid() | TAG_SOFTWARE, lr.with_eoi());
            }
            false => self.write(n, lr.intid() | TAG_SOFTWARE, lr),
        }
    }

    /// Puts pending interrupt `intid` into list register `n`.
    fn give_pending(&self, n: usize, intid: u32) {
        let (word, bit) = place_of(intid);
        let bank = self.bank(word);
        let (priority, group1) = self.distributor.traits(self.me, intid).get();
        if at(&self.me.waiting, word).has(bit) {
            at(&self.me.waiting, word).clear(bit);
            return self.write(n, intid, Lr::hardware(intid, priority, group1));
        }
        let mut tag = intid | TAG_SOFTWARE;
        if bank.pending.has(bit) {
            bank.pending.clear(bit);
            tag |= TAG_LATCHED;
        }
        let source = if intid < 16 { self.take_sgi(bit) } else { 0 };
        let eoi = (!bank.edge.get() | bank.pending.get()) & bit != 0;
        self.write(n, tag, Lr::software(intid, priority, group1, eoi, source));
    }

    /// Takes SGI `bit` from its first sender; pending again while there are more.
    fn take_sgi(&self, bit: u32) -> u32 {
        if self.hw.is_v3() {
            self.me.sources[0].clear(bit);
            self.me.bank.pending.clear(bit);
            return 0;
        }
        let senders = self.senders(bit);
        let first = senders.trailing_zeros() as usize % VCPUS;
        self.me.sources[first].clear(bit);
        self.me.bank.pending.assign(bit, senders & senders.wrapping_sub(1) != 0);
        first as u32
    }

    /// Senders of which SGI `bit` is pending in software.
    pub(crate) fn senders(&self, bit: u32) -> u32 {
        let sources = self.me.sources.iter().take(self.all.len()).enumerate();
        sources.fold(0, |senders, (n, sgis)| senders | u32::from(sgis.has(bit)) << n)
    }

    /// What is to be put into list registers. In place: it has one caller.
    #[inline(always)]
    fn find_ready(&self, ready: &mut Words) {
        let (me, groups) = (self.me, self.distributor.groups.get());
        for word in 0..self.distributor.words() {
            let bank = self.bank(word);
            let (raised, waiting) = (bank.raised(), at(&me.waiting, word).get());
            if raised | waiting == 0 {
                continue;
            }
            let pending = raised & self.distributor.routed(self.vcpu, word);
            let deliverable = bank.enabled(groups) & !bank.active.get();
            let mut software = pending & deliverable;
            if software != 0 {
                // Who has it elsewhere has been told, and says so when it departs.
                software &= !(me.spilled.bits(word) | self.elsewhere(word, self.vcpu));
            }
            ready.put(word, software | (waiting & deliverable));
        }
    }

    /// The INTID of highest priority in `ready`, the lowest of several.
    #[inline(always)]
    fn pick(&self, ready: &Words) -> Option<u32> {
        if ready.some == 0 { None } else { self.pick_of(ready) }
    }

    #[inline(never)]
    fn pick_of(&self, ready: &Words) -> Option<u32> {
        let mut best = None;
        let mut lowest = u32::MAX;
        for word in bits(ready.some) {
            let bank = self.bank(word as usize);
            let intid = 32 * word + bank.best(ready.words[word as usize % IRQ_WORDS]).trailing_zeros();
            let priority = u32::from(self.distributor.traits(self.me, intid).get().0);
            if priority < lowest {
                (best, lowest) = (Some(intid), priority);
            }
        }
        best
    }

    /// A software interrupt is in no list register any more: if it was routed elsewhere meanwhile, that
    /// CPU looks.
    #[inline(never)]
    pub(crate) fn depart(&self, intid: u32) {
        let (word, bit) = place_of(intid);
        if self.distributor.routed(self.vcpu, word) & bit == 0
            && let Some(target) = self.target_vcpu(self.distributor.target(intid))
        {
            self.nudge(target);
        }
    }

    /// Ends as many spilled interrupts as the hardware counted.
    fn end_spilled(&self) {
        let count = if self.me.spilled.depth() == 0 { 0 } else { self.hw.eoi_count() };
        if count == 0 {
            return;
        }
        // Written anew, it counts from 0.
        self.me.control.put(STALE);
        if self.hw.is_v3() && self.hw.vmcr() & VMCR_EOI_MODE != 0 {
            return;
        }
        for _ in 0..count {
            match self.me.spilled.pop() {
                Some(lr) if lr.is_hardware() => self.hw.deactivate(lr.intid()),
                Some(lr) => self.depart(lr.intid()),
                None => return,
            }
        }
    }
}
