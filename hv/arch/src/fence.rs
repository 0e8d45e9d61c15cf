//! A way to a CPU that needs no interrupt: its guest's stage-2 translations are taken away, so that its next
//! instruction comes to EL2 (docs/adr/0026).
//!
//! The guest runs on a copy of its sealed level-1 table. Closing the fence empties the copy and invalidates
//! what any CPU holds of it; opening fills it again. What the entries point to stays sealed.

use crate::gic::turn::Turn;
use crate::regs::{execute, read, write};
use bulkhead_blueprint::layout::Partition;
use bulkhead_blueprint::limits::DIRECT_PARTITIONS_MAX;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Entries of a level-1 table: 39-bit addresses, 1 GiB each.
const ENTRIES: usize = 512;

#[repr(C, align(4096))]
struct Root([AtomicU64; ENTRIES]);

static ROOTS: [Root; DIRECT_PARTITIONS_MAX] =
    [const { Root([const { AtomicU64::new(0) }; ENTRIES]) }; DIRECT_PARTITIONS_MAX];
static OPEN: [AtomicBool; DIRECT_PARTITIONS_MAX] = [const { AtomicBool::new(false) }; DIRECT_PARTITIONS_MAX];
static CLOSED: [AtomicU32; DIRECT_PARTITIONS_MAX] = [const { AtomicU32::new(0) }; DIRECT_PARTITIONS_MAX];
/// Opening and closing, one at a time.
static TURN: Turn = Turn::new();

/// The fence of a partition; closed at first.
#[derive(Clone, Copy)]
pub struct Fence {
    slot: usize,
    vmid: u64,
    /// The sealed table, up to its last entry in use.
    entries: &'static [[u8; 8]],
}

impl Fence {
    /// Its place in the tables.
    fn place(&self) -> usize {
        self.slot % DIRECT_PARTITIONS_MAX
    }

    /// Fence number `slot` (below [`DIRECT_PARTITIONS_MAX`]) around a partition. `sealed`: the sealed part of the
    /// image, whose first byte is at `base`. None if the partition's table is not in it.
    #[must_use]
    pub fn new(slot: usize, partition: &Partition, sealed: &'static [u8], base: u64) -> Option<Self> {
        let from = usize::try_from(partition.stage2_root.checked_sub(base)?).ok()?;
        let table = sealed.get(from..)?.as_chunks::<8>().0.get(..ENTRIES)?;
        let used = table.iter().rposition(|entry| *entry != [0; 8]).map_or(0, |last| last + 1);
        let entries = table.get(..used)?;
        Some(Self { slot, vmid: u64::from(partition.vmid & 0xFF), entries })
    }

    /// VTTBR_EL2 for the guest: EL2's addresses are physical ones.
    #[must_use]
    pub fn vttbr(&self) -> u64 {
        self.vmid << 48 | (&raw const ROOTS[self.place()]) as u64
    }

    /// How often it was closed, modulo 2^32.
    #[must_use]
    pub fn closings(&self) -> u32 {
        CLOSED[self.place()].load(Ordering::Relaxed)
    }

    /// Whether the guest translates.
    #[must_use]
    pub fn is_open(&self) -> bool {
        OPEN[self.place()].load(Ordering::Relaxed)
    }

    /// On CPU `cpu`: lets the guest translate again if `may` says so. Whoever closes has changed what `may`
    /// looks at before.
    pub fn open(&self, cpu: usize, may: impl FnOnce() -> bool) {
        TURN.with(cpu, || {
            if self.is_open() || !may() {
                return;
            }
            for (entry, sealed) in ROOTS[self.place()].0.iter().zip(self.entries) {
                entry.store(u64::from_le_bytes(*sealed), Ordering::Relaxed);
            }
            OPEN[self.place()].store(true, Ordering::Relaxed);
            // Walks of this CPU and the others see it.
            execute!("dsb ishst");
        });
    }

    /// On CPU `cpu`: the guest translates no longer, on no CPU, from the return of this call on.
    pub fn close(&self, cpu: usize) {
        TURN.with(cpu, || {
            if !self.is_open() {
                return;
            }
            OPEN[self.place()].store(false, Ordering::Relaxed);
            CLOSED[self.place()].store(self.closings().wrapping_add(1), Ordering::Relaxed);
            // A CPU that walks into an empty entry finds the fence closed, whenever it looks.
            execute!("dsb ishst");
            for (entry, _) in ROOTS[self.place()].0.iter().zip(self.entries) {
                entry.store(0, Ordering::Relaxed);
            }
            execute!("dsb ishst");
            // The invalidation is for the VMID in VTTBR_EL2. What this CPU speculates meanwhile finds the
            // empty table.
            let own = read!("vttbr_el2");
            write!("vttbr_el2", self.vttbr());
            execute!("isb");
            execute!("tlbi vmalls12e1is");
            execute!("dsb ish");
            // Who waits for an event fetches its next instruction now.
            execute!("sev");
            write!("vttbr_el2", own);
            execute!("isb");
        });
    }
}
