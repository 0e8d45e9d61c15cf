//! Health records: binary, fixed size, written where the fault happens, formatted elsewhere
//! ([`crate::report`], or a partition that reads the same memory; layout in [`bulkhead_abi::health`]).
//!
//! Each CPU writes a ring of its own, so no CPU waits for another. The oldest records are
//! overwritten; a record tells its number, so a reader knows what it lost. Where memory outlives a
//! reset, [`Writer::resume`] goes on behind the records found there.

use bulkhead_abi::health::{RECORD_BYTES, flags};
use bulkhead_blueprint::layout::action;
use bulkhead_blueprint::limits::CPUS_MAX;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// 64-bit words of a record.
pub const RECORD_WORDS: usize = RECORD_BYTES / 8;

/// A record in memory.
pub type Words = [AtomicU64; RECORD_WORDS];

/// What happened, to whom, and what was done.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// CNTVCT.
    pub ticks: u64,
    /// Index of the partition, [`bulkhead_abi::health::NO_PARTITION`] for none.
    pub partition: u8,
    /// Number of the vCPU in its partition.
    pub vcpu: u8,
    /// Physical CPU.
    pub cpu: u8,
    /// One of [`bulkhead_abi::info::event`].
    pub event: u8,
    /// One of [`action`].
    pub action: u8,
    /// What it is about.
    pub code: u64,
    /// ESR, FAR, HPFAR, ELR, SPSR, and x0 to x30, if they were recorded.
    pub registers: Option<([u64; 5], &'a [u64; 31])>,
}

/// One CPU's part of the log's memory.
#[must_use]
pub fn share(memory: &[AtomicU64], cpu: usize, cpus: usize) -> &[Words] {
    let records = memory.as_chunks::<RECORD_WORDS>().0;
    let count = (records.len() / cpus.max(1)).checked_ilog2().map_or(0, |power| 1 << power);
    let first = cpu.wrapping_mul(records.len() / cpus.max(1));
    records.get(first..first.wrapping_add(count)).unwrap_or(&[])
}

/// Words behind the log by which an image knows the memory that it ran in ([`outlived`]).
pub const MARK_WORDS: usize = 8;

/// At the board's reset: whether memory is as an earlier run of `image` (its ID) left it. If not, the log is cleared;
/// from now on `mark` says so.
#[must_use]
pub fn outlived(log: &[AtomicU64], mark: &[AtomicU64], image: &[u8; 32]) -> bool {
    let words = || mark.iter().zip(image.as_chunks::<8>().0);
    let same = words().count() == 4
        && words().all(|(word, id)| word.load(Ordering::Relaxed) == u64::from_le_bytes(*id));
    if !same {
        log.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        words().for_each(|(word, id)| word.store(u64::from_le_bytes(*id), Ordering::Relaxed));
    }
    same
}

/// The words of record `number`; a share has none or a power of two of them.
fn slot(share: &[Words], number: u64) -> Option<&Words> {
    share.get((number & (share.len() as u64).wrapping_sub(1)) as usize)
}

/// Writing end of one CPU's ring. Written by that CPU alone.
#[derive(Debug, Default)]
pub struct Writer {
    /// Number of the next record.
    next: AtomicU64,
    /// Number of the first record of this run.
    first: AtomicU64,
}

impl Writer {
    /// No records yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), first: AtomicU64::new(0) }
    }

    /// At the board's reset: keeps the records of earlier runs that stand where they would have been
    /// written, clears the rest, and goes on behind them.
    pub fn resume(&self, share: &[Words]) {
        let mut next = 0;
        for (index, words) in share.iter().enumerate() {
            let [tag, ..] = words;
            let number = tag.load(Ordering::Relaxed);
            if number != 0 && (number - 1) & (share.len() as u64 - 1) == index as u64 && number < 1 << 32 {
                next = number.max(next);
            } else {
                words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
        }
        self.next.store(next, Ordering::Relaxed);
        self.first.store(next, Ordering::Relaxed);
    }

    /// Appends a record over the oldest. `share` is always the same memory.
    pub fn append(&self, share: &[Words], record: &Record<'_>) {
        let number = self.next.load(Ordering::Relaxed);
        let who = [record.partition, record.vcpu, record.cpu, record.event, record.action];
        let [partition, vcpu, cpu, event, action] = who;
        let present = if record.registers.is_some() { flags::REGISTERS } else { 0 };
        if let Some([tag, ticks, who, esr, far, hpfar, elr, spsr, rest @ .., code]) = slot(share, number) {
            tag.store(0, Ordering::Relaxed);
            fence(Ordering::Release);
            ticks.store(record.ticks, Ordering::Relaxed);
            let bytes = [partition, vcpu, cpu, event, action, present, 0, 0];
            who.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            let (state, x) = record.registers.unwrap_or(([0; 5], &[0; 31]));
            for (word, value) in [esr, far, hpfar, elr, spsr].into_iter().zip(state) {
                word.store(value, Ordering::Relaxed);
            }
            let registers: &[AtomicU64; 31] = rest;
            for (word, value) in registers.iter().zip(x) {
                word.store(*value, Ordering::Relaxed);
            }
            code.store(record.code, Ordering::Relaxed);
            tag.store(number.wrapping_add(1), Ordering::Release);
        }
        self.next.store(number.wrapping_add(1), Ordering::Release);
    }
}

/// A record in memory that was found whole; it may be overwritten at any time.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    words: &'a Words,
    /// Its number on its CPU.
    pub number: u64,
}

impl View<'_> {
    /// The 64-bit word at byte `offset`, which is one of [`bulkhead_abi::health`].
    #[must_use]
    pub fn word(&self, offset: usize) -> u64 {
        self.words.get(offset / 8).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The byte at `offset`.
    #[must_use]
    pub fn byte(&self, offset: usize) -> u8 {
        self.word(offset).to_le_bytes().get(offset % 8).copied().unwrap_or(0)
    }

    /// Whether it is still the record that was found.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        fence(Ordering::Acquire);
        self.word(0) == self.number.wrapping_add(1)
    }
}

/// Reading end over all CPUs' rings, for the console. Owned by the console's CPU.
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

    /// Records of this run that were overwritten before they were read.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether a record waits.
    #[must_use]
    pub fn waits(&self, writers: &[Writer]) -> bool {
        let mut ends = writers.iter().zip(&self.next);
        ends.any(|(writer, next)| writer.next.load(Ordering::Relaxed).max(*next) != *next)
    }

    /// The next record of the first CPU that has one. One CPU's records come in order.
    pub fn take<'a>(&mut self, writers: &[Writer], memory: &'a [AtomicU64]) -> Option<View<'a>> {
        let cpus = writers.len();
        for (cpu, (writer, next)) in writers.iter().zip(&mut self.next).enumerate() {
            let written = writer.next.load(Ordering::Acquire);
            let share = share(memory, cpu, cpus);
            let oldest = written.saturating_sub(share.len() as u64);
            *next = writer.first.load(Ordering::Relaxed).max(*next);
            if *next < oldest {
                self.lost += oldest - *next;
                *next = oldest;
            }
            if *next < written {
                let number = *next;
                *next += 1;
                let view = slot(share, number).map(|words| View { words, number });
                return view.filter(View::is_whole);
            }
        }
        None
    }
}

/// Whether the console tells of an action. What a guest can provoke without end is in the log alone.
#[must_use]
pub fn is_told(action: u8) -> bool {
    u32::from(action) >= action::SUSPEND
}
