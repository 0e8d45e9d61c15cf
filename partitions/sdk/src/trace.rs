//! The trace rings, read as memory by a partition with the right `read-trace` ([`bulkhead_abi::trace`]).

use crate::info::Info;
use crate::mmu;
use bulkhead_abi::trace::CAUSES;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

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
}
