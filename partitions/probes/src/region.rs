//! A partition's own port regions as plain memory, so that a probe can break every protocol in them.

use bulkhead_sdk::abi::port::{consumer, producer_bytes, sampling_bytes};
use bulkhead_sdk::info::{Direction, Info, Kind};
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release};

/// Memory that this partition may write and its peer reads.
#[derive(Clone, Copy)]
pub struct Region {
    base: u64,
    bytes: u64,
}

impl Region {
    /// The region that this partition writes of the port it calls `name`. The runtime has opened,
    /// and so mapped, the port.
    pub fn writable(info: &Info, name: &str) -> Option<Self> {
        let port = info.port(name)?;
        let (base, bytes) = match (port.kind, port.direction) {
            (Kind::Sampling, Direction::Source) => {
                (port.writer_ipa, sampling_bytes(port.message_bytes, port.slots))
            }
            (Kind::Queuing, Direction::Source) => {
                (port.writer_ipa, producer_bytes(port.message_bytes, port.slots))
            }
            (Kind::Queuing, Direction::Destination) => (port.consumer_ipa, consumer::BYTES),
            (Kind::Sampling, Direction::Destination) => return None,
        };
        Some(Self { base, bytes: bytes as u64 })
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        let size = size_of::<T>() as u64;
        assert!(offset.is_multiple_of(size) && offset + size <= self.bytes);
        ptr::with_exposed_provenance_mut((self.base + offset) as usize)
    }

    /// Stores a 32-bit word.
    pub fn store_u32(&self, offset: u64, value: u32) {
        // SAFETY: aligned and within a region that the runtime mapped read-write; it lies outside
        // the image, so that no Rust object is there.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }.store(value, Release);
    }

    /// Stores a 64-bit word.
    pub fn store_u64(&self, offset: u64, value: u64) {
        // SAFETY: as in `store_u32`.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }.store(value, Release);
    }

    /// Loads a 64-bit word.
    pub fn load_u64(&self, offset: u64) -> u64 {
        // SAFETY: as in `store_u32`.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }.load(Acquire)
    }
}
