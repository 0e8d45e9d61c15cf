//! The health log, read as memory by a partition with the right `read-health`
//! ([`bulkhead_abi::health`]).

use crate::info::Info;
use crate::mmu;
use bulkhead_abi::health::{
    ACTION, CODE, CPU, ELR, EVENT, FAR, FLAGS, PARTITION, RECORD_BYTES, TAG, TICKS, VCPU, flags,
};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// The log, mapped.
#[derive(Clone, Copy)]
pub struct HealthLog {
    base: u64,
    records: usize,
}

/// A record, copied out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number on its CPU.
    pub number: u64,
    /// System time (CNTPCT).
    pub ticks: u64,
    /// Index of the partition, [`bulkhead_abi::health::NO_PARTITION`] for none.
    pub partition: u8,
    /// Number of the vCPU in its partition.
    pub vcpu: u8,
    /// Physical CPU.
    pub cpu: u8,
    /// One of [`bulkhead_abi::info::event`].
    pub event: u8,
    /// One of [`bulkhead_abi::health::action`].
    pub action: u8,
    /// What it is about.
    pub code: u64,
    /// Faulting virtual address and program counter, if registers were recorded.
    pub fault: Option<(u64, u64)>,
}

impl HealthLog {
    /// Maps the log; `None` without the right to read it.
    pub fn open(info: &Info) -> Option<Self> {
        let (base, bytes) = info.health_region()?;
        mmu::map(base, bytes, mmu::Attributes::READ_ONLY).ok()?;
        Some(Self { base, records: bytes as usize / RECORD_BYTES })
    }

    fn word(&self, slot: usize, offset: usize) -> u64 {
        let address = self.base as usize + slot * RECORD_BYTES + (offset & !7);
        // SAFETY: within the region, which stays mapped read-only; EL2 writes it by single stores.
        unsafe { AtomicU64::from_ptr(ptr::with_exposed_provenance_mut(address)) }.load(Ordering::Relaxed)
    }

    fn record(&self, slot: usize) -> Option<Record> {
        let tag = self.word(slot, TAG);
        fence(Ordering::Acquire);
        let byte = |offset: usize| self.word(slot, offset).to_le_bytes()[offset % 8];
        let record = Record {
            number: tag.wrapping_sub(1),
            ticks: self.word(slot, TICKS),
            partition: byte(PARTITION),
            vcpu: byte(VCPU),
            cpu: byte(CPU),
            event: byte(EVENT),
            action: byte(ACTION),
            code: self.word(slot, CODE),
            fault: (byte(FLAGS) & flags::REGISTERS != 0)
                .then(|| (self.word(slot, FAR), self.word(slot, ELR))),
        };
        fence(Ordering::Acquire);
        (tag != 0 && self.word(slot, TAG) == tag).then_some(record)
    }

    /// The records that are there, in no order.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        (0..self.records).filter_map(|slot| self.record(slot))
    }
}
