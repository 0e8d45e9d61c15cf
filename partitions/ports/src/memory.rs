//! The two things a port needs from its surroundings: shared memory, and EL2's word about the peer.

use core::sync::atomic::Ordering;

/// A region of memory shared with a peer. Offsets are in bytes from the region's start and aligned
/// to the access. Each word access is a single copy-atomic load or store (Arm ARM B2.2.1).
///
/// An implementation bounds every access by [`bytes`](Self::bytes).
pub trait Memory {
    /// Size of the region in bytes.
    fn bytes(&self) -> usize;
    /// Loads a 32-bit word with `Relaxed` or `Acquire` ordering.
    fn load_u32(&self, offset: usize, order: Ordering) -> u32;
    /// Loads a 64-bit word with `Relaxed` or `Acquire` ordering.
    fn load_u64(&self, offset: usize, order: Ordering) -> u64;
    /// Stores a 32-bit word with `Relaxed` or `Release` ordering.
    fn store_u32(&self, offset: usize, value: u32, order: Ordering);
    /// Stores a 64-bit word with `Relaxed` or `Release` ordering.
    fn store_u64(&self, offset: usize, value: u64, order: Ordering);
    /// Copies `to.len()` bytes out of the region, in relaxed accesses of any size. `offset` is a
    /// multiple of 8.
    fn copy_out(&self, offset: usize, to: &mut [u8]);
    /// Copies `from` into the region, in relaxed accesses of any size. `offset` is a multiple of 8;
    /// bytes up to the next multiple of 8 after the message may be overwritten.
    fn copy_in(&self, offset: usize, from: &[u8]);
    /// A fence of the given ordering (`Acquire` or `Release`) over accesses of all regions.
    fn fence(&self, order: Ordering);
}

/// What EL2 tells this partition without being asked.
pub trait Host {
    /// System time: CNTPCT in ticks, read no earlier than the caller's preceding loads.
    fn now_ticks(&self) -> u64;
    /// Start count of the port's peer, 0 while it is not running
    /// ([`bulkhead_abi::info::dynamic::PEER_EPOCHS`]).
    fn peer_epoch(&self) -> u32;
}

/// What both ends know of a port from the information region's port table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Longest message in bytes.
    pub message_bytes: u32,
    /// Slots of a sampling port, depth of a queuing port.
    pub slots: u32,
}

impl Geometry {
    /// Whether a message of `length` bytes may be sent or believed.
    pub(crate) const fn admits(&self, length: usize) -> bool {
        length != 0 && length <= self.message_bytes as usize
    }
}
