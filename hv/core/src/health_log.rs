//! Health records: binary, fixed size, written where the fault happens, formatted elsewhere
//! ([`crate::report`]).
//!
//! Each CPU writes a ring of its own, so no CPU waits for another. The oldest records are
//! overwritten; a record tells its number, so a reader knows what it lost. Partitions with authority
//! may read the same memory: the words below are the layout.
//!
//! A record being written has number 0 in its first word; a reader checks that word before and
//! after it copies.

use bulkhead_blueprint::limits::CPUS_MAX;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// 64-bit words of a record in memory: its number plus one (0: being written), ticks,
/// who (partition, vCPU, CPU, event, action: a byte each from bit 0; flags in bits 47:40), ESR, FAR,
/// HPFAR, ELR, SPSR, x0 to x30, and one that is zero.
pub const RECORD_WORDS: usize = 40;

/// Flag: ESR, FAR, HPFAR, ELR, SPSR and registers are those of the moment.
const HAS_REGISTERS: u64 = 1 << 40;

/// What happened, to whom, and what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// CNTVCT.
    pub ticks: u64,
    /// Index of the partition.
    pub partition: u8,
    /// Number of the vCPU in its partition.
    pub vcpu: u8,
    /// Physical CPU.
    pub cpu: u8,
    /// One of [`bulkhead_abi::info::event`].
    pub event: u8,
    /// One of [`bulkhead_blueprint::layout::action`].
    pub action: u8,
    /// Whether what follows was recorded.
    pub has_registers: bool,
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
    /// ELR_EL2.
    pub elr: u64,
    /// SPSR_EL2.
    pub spsr: u64,
    /// x0 to x30.
    pub x: [u64; 31],
}

impl Record {
    /// All zero.
    pub const EMPTY: Self = Self {
        ticks: 0,
        partition: 0,
        vcpu: 0,
        cpu: 0,
        event: 0,
        action: 0,
        has_registers: false,
        esr: 0,
        far: 0,
        hpfar: 0,
        elr: 0,
        spsr: 0,
        x: [0; 31],
    };

    fn who(&self) -> u64 {
        let flags = if self.has_registers { HAS_REGISTERS } else { 0 };
        flags | u64::from_le_bytes([self.partition, self.vcpu, self.cpu, self.event, self.action, 0, 0, 0])
    }

    fn set_who(&mut self, who: u64) {
        let [partition, vcpu, cpu, event, action, ..] = who.to_le_bytes();
        self.partition = partition;
        self.vcpu = vcpu;
        self.cpu = cpu;
        self.event = event;
        self.action = action;
        self.has_registers = who & HAS_REGISTERS != 0;
    }
}

/// One CPU's part of the log's memory.
#[must_use]
pub fn share(memory: &[AtomicU64], cpu: usize, cpus: usize) -> &[AtomicU64] {
    let words = memory.len() / RECORD_WORDS / cpus.max(1) * RECORD_WORDS;
    memory.get(cpu.wrapping_mul(words)..).and_then(|rest| rest.get(..words)).unwrap_or(&[])
}

/// Records in a share: the largest power of two that fits.
fn capacity(share: &[AtomicU64]) -> u64 {
    (share.len() / RECORD_WORDS).checked_ilog2().map_or(0, |power| 1 << power)
}

/// The words of record `number`.
fn slot(share: &[AtomicU64], number: u64) -> Option<&[AtomicU64]> {
    let index = (number & capacity(share).wrapping_sub(1)) as usize;
    let start = index.checked_mul(RECORD_WORDS)?;
    share.get(start..)?.get(..RECORD_WORDS)
}

/// Writing end of one CPU's ring. Written by that CPU alone.
#[derive(Debug, Default)]
pub struct Writer {
    /// Number of the next record.
    next: AtomicU64,
}

impl Writer {
    /// No records yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0) }
    }

    /// Appends a record over the oldest. `share` is always the same memory.
    pub fn append(&self, share: &[AtomicU64], record: &Record) {
        let number = self.next.load(Ordering::Relaxed);
        if let Some([tag, ticks, who, esr, far, hpfar, elr, spsr, x @ ..]) = slot(share, number) {
            let put = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
            put(tag, 0);
            fence(Ordering::Release);
            put(ticks, record.ticks);
            put(who, record.who());
            put(esr, record.esr);
            put(far, record.far);
            put(hpfar, record.hpfar);
            put(elr, record.elr);
            put(spsr, record.spsr);
            for (word, register) in x.iter().zip(&record.x) {
                put(word, *register);
            }
            tag.store(number.wrapping_add(1), Ordering::Release);
        }
        self.next.store(number.wrapping_add(1), Ordering::Release);
    }
}

/// Reading end over all CPUs' rings. Owned by the console's CPU.
#[derive(Debug)]
pub struct Reader {
    next: [u64; CPUS_MAX],
    lost: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Nothing read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: [0; CPUS_MAX], lost: 0 }
    }

    /// Records that were overwritten before they were read, or could not be stored.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether a record waits.
    #[must_use]
    pub fn waits(&self, writers: &[Writer]) -> bool {
        writers.iter().zip(&self.next).any(|(writer, next)| writer.next.load(Ordering::Relaxed) != *next)
    }

    /// Takes the oldest record of all CPUs (by ticks), and its number on its CPU.
    pub fn take(&mut self, writers: &[Writer], memory: &[AtomicU64]) -> Option<(u64, Record)> {
        let cpus = writers.len().min(CPUS_MAX);
        let mut oldest: Option<(usize, u64)> = None;
        for cpu in 0..cpus {
            let share = share(memory, cpu, cpus);
            let Some(ticks) = self.peek(cpu, writers, share) else {
                continue;
            };
            if oldest.is_none_or(|(_, least)| ticks < least) {
                oldest = Some((cpu, ticks));
            }
        }
        let (cpu, _) = oldest?;
        let number = *self.next.get(cpu)?;
        if let Some(next) = self.next.get_mut(cpu) {
            *next += 1;
        }
        let record = read(share(memory, cpu, cpus), number);
        if record.is_none() {
            self.lost += 1;
        }
        record.map(|record| (number, record))
    }

    /// Ticks of the next record of `cpu`, after skipping what was overwritten.
    fn peek(&mut self, cpu: usize, writers: &[Writer], share: &[AtomicU64]) -> Option<u64> {
        let next = self.next.get_mut(cpu)?;
        let written = writers.get(cpu)?.next.load(Ordering::Acquire);
        let oldest = written.saturating_sub(capacity(share));
        if *next < oldest {
            self.lost += oldest - *next;
            *next = oldest;
        }
        if *next == written {
            return None;
        }
        let [_, ticks, ..] = slot(share, *next)? else {
            return None;
        };
        Some(ticks.load(Ordering::Relaxed))
    }
}

/// Copies record `number` out, `None` if it was overwritten meanwhile.
fn read(share: &[AtomicU64], number: u64) -> Option<Record> {
    let [tag, ticks, who, esr, far, hpfar, elr, spsr, x @ ..] = slot(share, number)? else {
        return None;
    };
    let expected = number.wrapping_add(1);
    if tag.load(Ordering::Acquire) != expected {
        return None;
    }
    let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let mut record = Record {
        ticks: word(ticks),
        esr: word(esr),
        far: word(far),
        hpfar: word(hpfar),
        elr: word(elr),
        spsr: word(spsr),
        ..Record::EMPTY
    };
    record.set_who(word(who));
    for (register, source) in record.x.iter_mut().zip(x) {
        *register = word(source);
    }
    fence(Ordering::Acquire);
    (tag.load(Ordering::Relaxed) == expected).then_some(record)
}
