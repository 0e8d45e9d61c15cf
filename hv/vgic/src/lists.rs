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
//!    which cannot say which one was deactivated, takes the one that was spilled last.
//!
//! What is not said by a free list register goes one way: [`Cpu::collect`] brings all state back into
//! software, where it is simple to change, and [`Cpu::deal`] gives the best of it out again. What is
//! pending behind its own active state waits in software for a maintenance interrupt at that one's end.

use crate::Cpu;
use crate::hw::{Control, Hardware, LIST_REGISTERS_MAX, Lr};
use crate::registers::VMCR_EOI_MODE;
use crate::spill::SPILLED_MAX;
use crate::state::{IRQ_WORDS, STALE, TAG_INTID, TAG_LATCHED, TAG_NONE, TAG_SOFTWARE, VCPUS, at, place_of};
use crate::words::{Bank, Word, bits, mask};

/// Most pending interrupts that are dealt out at once: the visit is short, and the next maintenance interrupt
/// brings the next ones.
const DEALT: usize = 2;

/// [`IRQ_WORDS`], as a mask of an index wants it.
const WORDS: usize = IRQ_WORDS.next_power_of_two();

/// Interrupts by word.
struct Words {
    words: [u32; WORDS],
    /// The words that are not 0: mostly none or one, so that nobody looks at the others.
    some: u32,
}

impl Words {
    fn put(&mut self, word: usize, interrupts: u32) {
        self.words[word % WORDS] = interrupts;
        self.some |= u32::from(interrupts != 0) << word;
    }

    fn remove(&mut self, intid: u32) {
        let (word, bit) = place_of(intid);
        let left = &mut self.words[word % WORDS];
        *left &= !bit;
        self.some &= !(u32::from(*left == 0) << word);
    }
}

/// Writes list register `n`: one copy for all paths that are not hot.
#[inline(never)]
pub(crate) fn put<H: Hardware>(hw: &H, n: usize, lr: Lr) {
    hw.write_list(n, lr);
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
        let mut used = me.lists.get() & !me.free.get();
        // What was active before is below all that has become so since (EOImode = 0).
        let floor = me.spilled.depth();
        me.free.put(u32::MAX);
        for n in bits(used) {
            let tag = self.tag(n as usize);
            if tag == TAG_NONE {
                used &= !(1 << n);
                continue;
            }
            let lr = self.hw.read_list(n as usize);
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
                me.spilled.push(lr.with_pending(false), floor);
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
        let mut ready = Words { words: [0; WORDS], some: 0 };
        self.find_ready(&mut ready);
        // One list register is for what is pending. With EOImode = 1 a guest can keep more active than
        // may stay out; then nothing is in the pending state, and the next deactivation comes here.
        let mut room = lists - usize::from(ready.some != 0);
        if me.spilled.depth() > room + SPILLED_MAX {
            room = lists;
        }
        me.shared.put(0);
        // The highest priority last: in that order they come back ([`crate::spill::Spilled::push`]).
        let active = room.min(me.spilled.depth());
        for n in (0..active).rev() {
            if let Some(lr) = me.spilled.pop() {
                self.give_active(n, lr);
            }
        }
        let mut n = active;
        while n < lists.min(active + DEALT)
            && let Some(intid) = self.pick(&ready)
        {
            me.worst.put(self.give_pending(n, intid));
            ready.remove(intid);
            n += 1;
        }
        let waits = ready.some != 0;
        let rest = me.lists.get() & !mask(n);
        for n in bits(rest) {
            me.tags[n as usize % LIST_REGISTERS_MAX].put(TAG_NONE);
            if used & 1 << n != 0 {
                put(self.hw, n as usize, Lr::EMPTY);
            }
        }
        me.free.publish(if waits { 0 } else { rest });
        let mut control = Control::default();
        if waits && n > active {
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
    #[inline(always)]
    pub(crate) fn write(&self, n: usize, tag: u32, lr: Lr) {
        if tag & TAG_SOFTWARE != 0 && tag & TAG_INTID >= 32 && self.all.len() > 1 {
            self.me.shared.set(1 << n);
        }
        self.me.tags[n % LIST_REGISTERS_MAX].put(tag);
        put(self.hw, n, lr);
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

    /// Puts pending interrupt `intid` into list register `n`. Its priority.
    fn give_pending(&self, n: usize, intid: u32) -> u32 {
        let (word, bit) = place_of(intid);
        let bank = self.bank(word);
        let (priority, group1) = self.distributor.traits(self.me, intid).get();
        if at(&self.me.waiting, word).has(bit) {
            at(&self.me.waiting, word).clear(bit);
            self.write(n, intid, Lr::hardware(intid, priority, group1));
            return u32::from(priority);
        }
        let mut tag = intid | TAG_SOFTWARE;
        if bank.pending.has(bit) {
            bank.pending.clear(bit);
            tag |= TAG_LATCHED;
        }
        let source = if intid < 16 { self.take_sgi(bit) } else { 0 };
        let eoi = (!bank.edge.get() | bank.pending.get()) & bit != 0;
        self.write(n, tag, Lr::software(intid, priority, group1, eoi, source));
        u32::from(priority)
    }

    /// Whether `intid`, which has become pending, can wait with what waits already: nothing in the pending
    /// state has a lower priority, and the maintenance interrupt comes (rule 2). It is in no list register,
    /// where it would become one with what is pending there.
    pub(crate) fn can_wait(&self, intid: u32) -> bool {
        let (word, bit) = place_of(intid);
        self.me.control.has(Control::NO_PENDING.bits())
            && u32::from(self.distributor.traits(self.me, intid).get().0) >= self.me.worst.get()
            && self.me.holds(word) & bit == 0
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
        let (own, shared) = self.me.waiting.split_at(1);
        let banks = self.distributor.shared_banks();
        self.note_ready(ready, 0, &self.me.bank, &own[0]);
        for (n, (bank, waiting)) in banks.iter().zip(shared).enumerate() {
            self.note_ready(ready, n + 1, bank, waiting);
        }
    }

    /// The same of the interrupts of `word`: mostly nothing, which is found out at once.
    #[inline(always)]
    fn note_ready(&self, ready: &mut Words, word: usize, bank: &Bank, waiting: &Word) {
        if bank.raised() | waiting.get() != 0 {
            ready.put(word, self.ready_of(word, bank, waiting.get()));
        }
    }

    #[inline(never)]
    fn ready_of(&self, word: usize, bank: &Bank, waiting: u32) -> u32 {
        let deliverable = bank.enabled(self.distributor.groups.get()) & !bank.active.get();
        let mut software = bank.raised() & self.distributor.routed(self.vcpu, word) & deliverable;
        if software != 0 {
            software &= !self.me.spilled.bits(word);
            if word != 0 {
                // Who has it elsewhere has been told, and says so when it departs.
                software &= !self.elsewhere(word, self.vcpu);
            }
        }
        software | (waiting & deliverable)
    }

    /// The INTID of highest priority in `ready`, the lowest of several.
    #[inline(always)]
    fn pick(&self, ready: &Words) -> Option<u32> {
        if ready.some == 0 { None } else { self.pick_of(ready) }
    }

    #[inline(never)]
    fn pick_of(&self, ready: &Words) -> Option<u32> {
        let best_of = |word: u32| {
            32 * word + self.bank(word as usize).best(ready.words[word as usize % WORDS]).trailing_zeros()
        };
        let priority = |intid| self.distributor.traits(self.me, intid).get().0;
        let mut words = bits(ready.some);
        let mut best = best_of(words.next()?);
        for word in words {
            let other = best_of(word);
            if priority(other) < priority(best) {
                best = other;
            }
        }
        Some(best)
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
