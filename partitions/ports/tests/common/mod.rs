//! A region over ordinary atomics, and a host whose words the test sets.
#![allow(dead_code, reason = "each test binary uses its part of what they share")]

use bulkhead_ports::{Host, Memory};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Memory that several ends share by clones. 32-bit accesses are parts of 64-bit ones.
#[derive(Clone)]
pub struct Shared(pub Arc<[AtomicU64]>);

impl Shared {
    pub fn new(bytes: usize) -> Self {
        Self((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn fill(&self, value: u64) {
        self.0.iter().for_each(|word| word.store(value, Ordering::Relaxed));
    }
}

impl Memory for Shared {
    fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        assert_eq!(offset % 4, 0);
        (self.0[offset / 8].load(order) >> (8 * (offset % 8))) as u32
    }

    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        assert_eq!(offset % 8, 0);
        self.0[offset / 8].load(order)
    }

    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        assert_eq!(offset % 4, 0);
        let shift = 8 * (offset % 8);
        let mask = u64::from(u32::MAX) << shift;
        self.0[offset / 8]
            .fetch_update(order, Ordering::Relaxed, |word| Some(word & !mask | u64::from(value) << shift))
            .unwrap();
    }

    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        assert_eq!(offset % 8, 0);
        self.0[offset / 8].store(value, order);
    }

    fn copy_out(&self, offset: usize, to: &mut [u8]) {
        for (index, chunk) in to.chunks_mut(8).enumerate() {
            let word = self.load_u64(offset + 8 * index, Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        for (index, chunk) in from.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store_u64(offset + 8 * index, u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

/// What EL2 would say: time and the peer's epoch.
#[derive(Clone)]
pub struct El2(Arc<(AtomicU64, AtomicU32)>);

impl El2 {
    pub fn new(now_ticks: u64, peer_epoch: u32) -> Self {
        Self(Arc::new((AtomicU64::new(now_ticks), AtomicU32::new(peer_epoch))))
    }

    pub fn set_now(&self, ticks: u64) {
        self.0.0.store(ticks, Ordering::Relaxed);
    }

    pub fn set_peer_epoch(&self, epoch: u32) {
        self.0.1.store(epoch, Ordering::Release);
    }
}

impl Host for El2 {
    fn now_ticks(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    fn peer_epoch(&self) -> u32 {
        self.0.1.load(Ordering::Acquire)
    }
}
