//! The trace rings, read as memory by a partition with the right `read-trace` ([`bulkhead_abi::trace`]).

use crate::info::Info;
use crate::mmu;
use bulkhead_abi::trace::{CAUSES, HEADER_BYTES, RECORD_BYTES, WRITTEN};
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The rings, mapped.
#[derive(Clone, Copy)]
pub struct TraceRings {
    base: u64,
    ring_bytes: u64,
    cpus: u64,
}

impl TraceRings {
    /// Maps the rings of a board with `cpus` CPUs; `None` without the right to read them.
    pub fn open(info: &Info, cpus: u64) -> Option<Self> {
        let (base, bytes) = info.trace_region()?;
        mmu::map(base, bytes, mmu::Attributes::READ_ONLY).ok()?;
        Some(Self { base, ring_bytes: bytes.checked_div(cpus)?, cpus })
    }

    /// Visits of EL2 on physical CPU `cpu` since the vCPU that runs there got it, by
    /// [`bulkhead_abi::trace::cause`]. 0 for a CPU or cause that there is not.
    pub fn visits(&self, cpu: u64, cause: usize) -> u32 {
        if cpu >= self.cpus || cause >= bulkhead_abi::trace::cause::COUNT {
            return 0;
        }
        let address = self.base + cpu * self.ring_bytes + (CAUSES + 4 * cause) as u64;
        // SAFETY: within the region, which stays mapped read-only; EL2 writes it by single stores.
        unsafe { AtomicU32::from_ptr(ptr::with_exposed_provenance_mut(address as usize)) }
            .load(Ordering::Relaxed)
    }

    /// Records that CPU `cpu` has written since boot; 0 for a CPU that there is not.
    pub fn written(&self, cpu: u64) -> u64 {
        if cpu < self.cpus { self.word(cpu, WRITTEN as u64) } else { 0 }
    }

    /// Record `number` of CPU `cpu`, its two words; `None` if it is not written yet, or was overwritten.
    pub fn record(&self, cpu: u64, number: u64) -> Option<[u64; 2]> {
        let slots = self.ring_bytes.checked_sub(HEADER_BYTES as u64)? / RECORD_BYTES as u64;
        let at = HEADER_BYTES as u64 + number.checked_rem(slots)? * RECORD_BYTES as u64;
        // The one that is being written overwrites the oldest.
        let is_there = || (number..number + slots - 1).contains(&self.written(cpu).wrapping_sub(1));
        is_there().then(|| [self.word(cpu, at), self.word(cpu, at + 8)]).filter(|_| is_there())
    }

    /// A word of a CPU's ring; `at` lies within it.
    fn word(&self, cpu: u64, at: u64) -> u64 {
        let address = self.base + cpu * self.ring_bytes + at;
        // SAFETY: within the region (the callers have seen to it), as in `visits`.
        unsafe { AtomicU64::from_ptr(ptr::with_exposed_provenance_mut(address as usize)) }
            .load(Ordering::Acquire)
    }
}
