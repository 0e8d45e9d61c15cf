//! List registers: what goes into them, what comes back.
//!
//! Rules that hold between two visits of EL2 on a vCPU's CPU:
//! 1. An INTID is in one list register of the partition at most. A linked (physical) interrupt
//!    stays active in the hardware until its end, so it cannot be taken twice; a software interrupt
//!    has its `resident` bit set from placement to end.
//! 2. If something deliverable waits, no list register is known to be free, at least one is in the
//!    pending state, none in the pending state has a lower priority than what waits, and `NPIE`
//!    reports when the last pending one is acknowledged. So the highest priority is always offered.
//! 3. An active interrupt may be moved out of its list register (spilled) to keep rule 2. Its end
//!    counts in `EOIcount`, reported by `LRENPIE`; with EOImode = 1 GICv3 traps `DIR`, and GICv2,
//!    which cannot say which one was deactivated, takes the one spilled last.

use crate::Cpu;
use crate::hw::{Control, Hardware, LIST_REGISTERS_MAX, Lr};
use crate::registers::VMCR_EOI_MODE;
use crate::state::{CpuInterface, IRQ_WORDS, TAG_HARDWARE, TAG_INTID, TAG_LATCHED, VCPUS, place_of};
use crate::words::Bank;

/// The contents of the list registers, read once in a visit; free ones are empty.
type Lists = [Lr; LIST_REGISTERS_MAX];

impl CpuInterface {
    /// Looks for list registers that the hardware has emptied, one look for all. Those with a
    /// software interrupt are left to [`Cpu::sync`]. None while something waits (rule 2).
    #[inline]
    pub(crate) fn reclaim<H: Hardware>(&self, hw: &H) -> u32 {
        let free = self.free.get();
        if self.control.has(Control::NO_PENDING.bits()) {
            return free;
        }
        let all = (1u32 << hw.list_registers()).wrapping_sub(1);
        let free = free | (hw.empty_lists() & all & !self.software.get());
        self.free.put(free);
        free
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Interrupts of `word` that are to be put into list registers, best first.
    #[inline(never)]
    fn candidates(&self, word: usize) -> u32 {
        let bank = self.bank(word);
        let software =
            bank.raised() & self.distributor.routed(self.vcpu, word) & !self.distributor.owned(word);
        let waiting = self.me.waiting.get(word).map_or(0, |w| w.get());
        let candidates = (software | waiting) & bank.enabled(self.distributor.groups.get());
        if candidates == 0 {
            return 0;
        }
        candidates & !bank.active.get() & !self.resident(word)
    }

    /// The deliverable interrupt of highest priority, lowest INTID first, and its priority.
    #[inline(never)]
    fn pick(&self) -> Option<(u32, u8)> {
        let mut left = [0u32; IRQ_WORDS];
        let mut any = 0;
        for (word, bits) in left.iter_mut().enumerate() {
            *bits = self.candidates(word);
            any |= *bits;
        }
        if any == 0 {
            return None;
        }
        for plane in 0..Bank::PLANES {
            let mut better = [0u32; IRQ_WORDS];
            let mut any = 0;
            for (word, (bits, better)) in left.iter().zip(&mut better).enumerate() {
                if *bits != 0 {
                    *better = bits & !self.bank(word).plane(plane);
                    any |= *better;
                }
            }
            if any != 0 {
                left = better;
            }
        }
        let (word, bits) = left.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let intid = 32 * word as u32 + bits.trailing_zeros();
        Some((intid, self.bank(word).priority(intid)))
    }

    /// Puts `intid` into free list register `n`.
    #[inline(never)]
    fn place(&self, n: usize, intid: u32) -> Lr {
        let (word, bit) = place_of(intid);
        let bank = self.bank(word);
        let (priority, group1) = (bank.priority(intid), bank.is_group1(intid));
        if self.waiting_has(word, bit) {
            self.me.waiting[word % IRQ_WORDS].clear(bit);
            return self.write(n, intid | TAG_HARDWARE, Lr::hardware(intid, priority, group1));
        }
        if intid < 16 {
            let source = self.take_sgi(intid);
            let more = bank.pending.has(bit);
            return self.place_software(
                n,
                intid | TAG_LATCHED,
                Lr::software(intid, priority, group1, more, source),
            );
        }
        let latched = if bank.pending.has(bit) { TAG_LATCHED } else { 0 };
        bank.pending.clear(bit);
        let eoi = !bank.edge.has(bit);
        self.place_software(n, intid | latched, Lr::software(intid, priority, group1, eoi, 0))
    }

    fn write(&self, n: usize, tag: u32, lr: Lr) -> Lr {
        self.me.software.clear(1 << n);
        self.me.free.clear(1 << n);
        self.me.lists[n % LIST_REGISTERS_MAX].put(tag);
        self.store(n, lr);
        lr
    }

    fn waiting_has(&self, word: usize, bit: u32) -> bool {
        self.me.waiting[word % IRQ_WORDS].has(bit)
    }

    /// Takes SGI `id` from its first sender; the latch stays while there are more.
    fn take_sgi(&self, id: u32) -> u32 {
        let (mut first, mut left) = (None, false);
        for (source, sgis) in self.me.sources.iter().enumerate() {
            if sgis.has(1 << id) {
                left |= first.is_some();
                first = first.or(Some(source));
            }
        }
        let source = first.unwrap_or(0);
        self.me.sources[source % VCPUS].clear(1 << id);
        if !left {
            self.me.bank.pending.clear(1 << id);
        }
        source as u32
    }

    /// Writes list register `n`: one copy of the access for all paths that are not hot.
    #[inline(never)]
    pub(crate) fn store(&self, n: usize, lr: Lr) {
        self.hw.write_list(n, lr);
    }

    /// Reads list register `n`, likewise.
    #[inline(never)]
    pub(crate) fn load(&self, n: usize) -> Lr {
        self.hw.read_list(n)
    }

    /// Brings software state and list registers into line: ends are taken note of, pending ones
    /// that may no longer be delivered are taken back, new events merge into active ones.
    #[inline(never)]
    pub(crate) fn sync(&self) -> Lists {
        if self.me.spilled.depth() != 0 {
            self.end_spilled();
        }
        let mut lists = [Lr::EMPTY; LIST_REGISTERS_MAX];
        let mut used = self.all_lists() & !self.me.free.get();
        while used != 0 {
            let n = used.trailing_zeros() as usize % LIST_REGISTERS_MAX;
            used &= used - 1;
            lists[n] = self.reconcile(n);
        }
        lists
    }

    fn reconcile(&self, n: usize) -> Lr {
        let tag = self.me.lists[n % LIST_REGISTERS_MAX].get();
        let lr = self.load(n);
        if lr.is_empty() {
            self.store(n, Lr::EMPTY);
            self.release(n, tag);
            return Lr::EMPTY;
        }
        if !lr.is_active() && self.is_misplaced(lr, tag) {
            self.retract(n, lr);
            return Lr::EMPTY;
        }
        if lr.is_hardware() {
            return lr;
        }
        let updated = self.merged(n, lr);
        if updated != lr {
            self.store(n, updated);
        }
        updated
    }

    /// Whether a pending interrupt may not stay as it is in its list register.
    fn is_misplaced(&self, lr: Lr, tag: u32) -> bool {
        let (word, bit) = place_of(tag & TAG_INTID);
        let (intid, bank) = (lr.intid(), self.bank(word));
        if bank.enabled(self.distributor.groups.get()) & bit == 0
            || lr.priority() != bank.priority(intid)
            || lr.is_group1() != bank.is_group1(intid)
        {
            return true;
        }
        if lr.is_hardware() {
            return false;
        }
        let held_by_line = tag & TAG_LATCHED == 0;
        self.distributor.routed(self.vcpu, word) & bit == 0 || (held_by_line && bank.raised() & bit == 0)
    }

    /// A software interrupt in list register `n` with what has happened since merged in.
    #[inline(never)]
    fn merged(&self, n: usize, lr: Lr) -> Lr {
        let (word, bit) = place_of(lr.intid());
        let bank = self.bank(word);
        let may_follow = self.distributor.routed(self.vcpu, word) & bit != 0
            && bank.enabled(self.distributor.groups.get()) & bit != 0
            && lr.priority() == bank.priority(lr.intid())
            && lr.is_group1() == bank.is_group1(lr.intid());
        let mut lr = lr;
        if lr.is_pending() && !may_follow {
            self.put_back(lr);
            lr = lr.with_pending(false);
        } else if may_follow && bank.pending.has(bit) && self.take_again(lr, bank, bit) {
            let tag = &self.me.lists[n % LIST_REGISTERS_MAX];
            tag.set(TAG_LATCHED);
            lr = lr.with_pending(true);
        }
        if !bank.edge.has(bit) || bank.pending.has(bit) {
            lr = lr.with_eoi();
        }
        lr
    }

    /// Takes the latch for an interrupt that is in a list register already; not for an SGI from
    /// another sender than that one's.
    fn take_again(&self, lr: Lr, bank: &Bank, bit: u32) -> bool {
        if lr.intid() >= 16 {
            bank.pending.clear(bit);
            return true;
        }
        let sender = &self.me.sources[lr.source() as usize % VCPUS];
        let again = sender.has(bit);
        sender.clear(bit);
        if self.me.sources.iter().all(|sgis| !sgis.has(bit)) {
            bank.pending.clear(bit);
        }
        again
    }

    /// The pending state of a software interrupt, back into software.
    #[inline(never)]
    fn put_back(&self, lr: Lr) {
        let (word, bit) = place_of(lr.intid());
        if lr.intid() < 16 {
            self.latch(bit, lr.source() as usize);
        } else {
            self.bank(word).pending.set(bit);
        }
    }

    /// Takes a pending interrupt out of list register `n`; it stays pending in software, unless
    /// only its line held it.
    #[inline(never)]
    pub(crate) fn retract(&self, n: usize, lr: Lr) {
        let tag = self.me.lists[n % LIST_REGISTERS_MAX].get();
        let (word, bit) = place_of(lr.intid());
        if lr.is_hardware() {
            self.me.waiting[word % IRQ_WORDS].set(bit);
        } else if tag & TAG_LATCHED != 0 {
            self.put_back(lr);
        }
        self.store(n, Lr::EMPTY);
        self.release(n, tag);
    }

    /// Frees list register `n`, whose interrupt has left it.
    #[inline(never)]
    pub(crate) fn release(&self, n: usize, tag: u32) {
        self.me.free.set(1 << n);
        self.me.software.clear(1 << n);
        if tag & TAG_HARDWARE == 0 {
            self.depart(tag & TAG_INTID);
        }
    }

    /// A software interrupt has left this CPU: if it was routed elsewhere meanwhile, that CPU looks.
    #[inline(never)]
    fn depart(&self, intid: u32) {
        let (word, bit) = place_of(intid);
        self.me.resident[word % IRQ_WORDS].clear(bit);
        if self.distributor.routed(self.vcpu, word) & bit == 0
            && let Some(target) = self.distributor.target_vcpu(intid, self.all.len())
        {
            self.nudge(target);
        }
    }

    /// Makes the CPU of `vcpu`, another one, look at the shared state.
    #[inline(never)]
    pub(crate) fn nudge(&self, vcpu: usize) {
        crate::nudge(self.hw, self.distributor, self.all, vcpu);
    }

    /// Moves the active interrupt in list register `n` out of it.
    fn spill(&self, n: usize, lr: Lr) {
        if lr.is_pending() {
            self.put_back(lr);
        }
        self.me.spilled.push(lr.intid());
        self.me.software.clear(1 << n);
        self.me.free.set(1 << n);
        self.store(n, Lr::EMPTY);
    }

    /// Ends as many spilled interrupts as the hardware counted.
    #[inline(never)]
    fn end_spilled(&self) {
        let count = self.hw.eoi_count();
        if count == 0 {
            return;
        }
        self.hw.clear_eoi_count();
        if self.distributor.is_v3() && self.hw.vmcr() & VMCR_EOI_MODE != 0 {
            return;
        }
        for _ in 0..count.min(31) {
            let Some(intid) = self.me.spilled.top() else {
                break;
            };
            self.end_one_spilled(intid);
            let (word, bit) = place_of(intid);
            if self.distributor.owned(word) & bit != 0 {
                self.hw.deactivate(intid);
            }
        }
    }

    /// Forgets spilled interrupt `intid`; the caller deactivates it in the hardware.
    pub(crate) fn end_one_spilled(&self, intid: u32) {
        let (word, bit) = place_of(intid);
        self.me.spilled.remove(intid);
        if self.distributor.owned(word) & bit == 0 {
            self.depart(intid);
        }
    }

    /// A list register for an interrupt of `priority`, made free if need be (rule 2).
    #[inline(never)]
    fn room(&self, lists: &mut Lists, priority: u8) -> Option<usize> {
        let free = self.me.free.get() & self.all_lists();
        if free != 0 {
            return Some(free.trailing_zeros() as usize);
        }
        let (mut worst_pending, mut worst_active) = (None, None);
        for (n, lr) in lists.iter().enumerate().take(self.hw.list_registers()) {
            let worst = if lr.is_active() { &mut worst_active } else { &mut worst_pending };
            if worst.is_none_or(|(_, lowest)| lr.priority() > lowest) {
                *worst = Some((n, lr.priority()));
            }
        }
        let n = match (worst_pending, worst_active) {
            (Some((n, lowest)), _) if lowest > priority => {
                self.retract(n, lists[n % LIST_REGISTERS_MAX]);
                n
            }
            (None, Some((n, _))) if !self.me.spilled.is_full() => {
                self.spill(n, lists[n % LIST_REGISTERS_MAX]);
                n
            }
            _ => return None,
        };
        lists[n % LIST_REGISTERS_MAX] = Lr::EMPTY;
        Some(n)
    }

    /// Fills the list registers with the best of what is deliverable. Under the lock.
    #[inline(never)]
    pub(crate) fn refill(&self) {
        let mut lists = self.sync();
        let mut backlog = false;
        for _ in 0..2 * LIST_REGISTERS_MAX {
            let Some((intid, priority)) = self.pick() else {
                backlog = false;
                break;
            };
            backlog = true;
            let Some(n) = self.room(&mut lists, priority) else {
                break;
            };
            lists[n % LIST_REGISTERS_MAX] = self.place(n, intid);
        }
        if backlog {
            self.part(&lists);
        }
        // With EOImode = 1 a guest can keep more active than the stack holds; then nothing is in the
        // pending state, and the next deactivation comes here.
        self.control(backlog && !self.me.spilled.is_full());
    }

    /// Something waits: what is pending behind its own active state would become pending in its list
    /// register unseen, so it goes back into software until that state has ended.
    #[inline(never)]
    fn part(&self, lists: &Lists) {
        for (n, lr) in lists.iter().enumerate() {
            if lr.is_pending() && lr.is_active() {
                self.put_back(*lr);
                self.store(n, lr.with_pending(false).with_eoi());
            }
        }
    }

    /// Asks for the maintenance interrupts that the state calls for.
    fn control(&self, backlog: bool) {
        let mut control = if backlog { Control::NO_PENDING } else { Control::default() };
        if self.me.spilled.depth() != 0 {
            control = control.with(Control::NOT_PRESENT).with(Control::TRAP_DIR);
        }
        if control.bits() != self.me.control.get() {
            self.me.control.put(control.bits());
            self.hw.set_control(control);
        }
    }

    /// Takes note of the list registers that the hardware has emptied, without reading them.
    pub(crate) fn fold(&self) {
        self.fold_banked();
        if self.me.control.has(Control::NO_PENDING.bits()) {
            return;
        }
        let mut ended = self.hw.empty_lists() & self.me.software.get();
        while ended != 0 {
            let n = ended.trailing_zeros() as usize % LIST_REGISTERS_MAX;
            ended &= ended - 1;
            self.release(n, self.me.lists[n].get());
        }
    }
}

impl<H: Hardware> Cpu<'_, H> {
    /// Takes note of the list registers that the hardware has emptied, without reading them: of
    /// SGIs, PPIs and linked interrupts, and no lock is needed.
    #[inline]
    pub(crate) fn fold_banked(&self) {
        if self.me.control.has(Control::NO_PENDING.bits()) {
            return;
        }
        let empty = self.hw.empty_lists() & self.all_lists();
        let software = self.me.software.get();
        self.me.free.set(empty & !software);
        let mut ended = empty & software;
        while ended != 0 {
            let n = ended.trailing_zeros();
            ended &= ended - 1;
            let intid = self.me.lists[n as usize % LIST_REGISTERS_MAX].get() & TAG_INTID;
            if intid < 32 {
                self.me.resident[0].clear(1 << intid);
                self.me.software.clear(1 << n);
                self.me.free.set(1 << n);
            }
        }
    }

    /// Software interrupts of `word` that some vCPU has in its list registers; of word 0, this one.
    pub(crate) fn resident(&self, word: usize) -> u32 {
        if word == 0 {
            return self.me.resident[0].get();
        }
        let residents = self.all.iter().map(|i| i.resident.get(word).map_or(0, |w| w.get()));
        residents.fold(0, |all, one| all | one)
    }

    /// The list registers that the CPU has, as a mask.
    #[inline]
    pub(crate) fn all_lists(&self) -> u32 {
        (1u32 << self.hw.list_registers().min(LIST_REGISTERS_MAX)).wrapping_sub(1)
    }

    #[inline]
    pub(crate) fn place_software(&self, n: usize, tag: u32, lr: Lr) -> Lr {
        let (word, bit) = place_of(tag & TAG_INTID);
        self.me.resident[word % IRQ_WORDS].set(bit);
        self.me.software.set(1 << n);
        self.me.free.clear(1 << n);
        self.me.lists[n % LIST_REGISTERS_MAX].put(tag);
        self.hw.write_list(n, lr);
        lr
    }

    /// A software interrupt without detours: deliverable, in no list register, and one is free.
    /// Under the lock, but for word 0.
    #[inline]
    pub(crate) fn try_place(&self, intid: u32, source: u32) -> bool {
        let (word, bit) = place_of(intid);
        let bank = self.bank(word);
        let free = self.me.free.get();
        if free == 0
            || bank.enabled(self.distributor.groups.get()) & bit == 0
            || self.distributor.routed(self.vcpu, word) & bit == 0
            || (bank.active.get() | bank.pending.get() | self.resident(word)) & bit != 0
        {
            return false;
        }
        let eoi = !bank.edge.has(bit);
        let lr = Lr::software(intid, bank.priority(intid), bank.is_group1(intid), eoi, source);
        self.place_software(free.trailing_zeros() as usize, intid | TAG_LATCHED, lr);
        true
    }
}
