//! A vCPU's inbox: doorbells and SGIs that other CPUs post without a lock and without
//! read-modify-write instructions.
//!
//! Each source CPU has a word `sent` that it alone writes, and the receiver a word `seen` that it
//! alone writes. An event is pending where the two differ: the sender flips a bit that does not
//! differ, the receiver copies `sent` to `seen`. An event posted while the last one is still
//! pending coalesces with it, as for any edge-triggered interrupt.
//!
//! What must not happen is that the receiver handles an older event, the sender takes it for
//! pending still, and what the sender wrote before posting is not seen by the handler. So a full
//! barrier stands between the sender's earlier stores and its load of `seen` ([`Inbox::post`]
//! begins with it), and one between the receiver's store of `seen` and the handler's loads
//! ([`Inbox::accept`] ends with it): of the two loads, at least one sees the other side's store.

use crate::atomics::{AtomicU64, FromZeros, Ordering, fence};

/// Physical CPUs that can post.
pub(crate) const SOURCES: usize = 8;

/// Where SGI 0 stands in the word of a source; doorbell 0 stands in bit 0.
pub(crate) const SGI_SHIFT: u32 = 32;

/// A pair of words for each source CPU; all zero is empty.
#[derive(Debug, FromZeros)]
pub(crate) struct Inbox {
    pub(crate) sent: [AtomicU64; SOURCES],
    pub(crate) seen: [AtomicU64; SOURCES],
}

impl Inbox {
    /// On CPU `source`: makes `events` pending. Returns whether one of them was not pending before;
    /// then, after a barrier that this includes, the caller looks whether the receiver is to be
    /// kicked.
    #[inline(always)]
    pub(crate) fn post(&self, source: usize, events: u64) -> bool {
        fence(Ordering::SeqCst);
        let source = source % SOURCES;
        let sent = self.sent[source].load(Ordering::Relaxed);
        let new = events & !(sent ^ self.seen[source].load(Ordering::Relaxed));
        if new == 0 {
            return false;
        }
        self.sent[source].store(sent ^ new, Ordering::Release);
        fence(Ordering::SeqCst);
        true
    }

    /// On the receiver's CPU: whether anything is pending. Written out: it stands in the partition switch.
    #[inline(always)]
    pub(crate) fn waits(&self) -> bool {
        let differ = |n: usize| self.sent[n].load(Ordering::Relaxed) ^ self.seen[n].load(Ordering::Relaxed);
        let [a, b, c, d] =
            [differ(0) | differ(1), differ(2) | differ(3), differ(4) | differ(5), differ(6) | differ(7)];
        a | b | c | d != 0
    }

    /// On the receiver's CPU: what is pending from `source`, and what [`Inbox::accept`] is to be told.
    #[inline(always)]
    pub(crate) fn peek(&self, source: usize) -> (u64, u64) {
        let source = source % SOURCES;
        let sent = self.sent[source].load(Ordering::Relaxed);
        (sent ^ self.seen[source].load(Ordering::Relaxed), sent)
    }

    /// On the receiver's CPU: what was pending from `source` when it had `sent` that is taken; the barrier
    /// before its handler runs is included.
    #[inline(always)]
    pub(crate) fn accept(&self, source: usize, sent: u64) {
        self.seen[source % SOURCES].store(sent, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Both, but for doorbells beyond the lowest eight that stand together, or all if they are not `wanted`: those
    /// stay pending, for a visit of their own. Returns what was taken, and whether something stayed.
    #[inline(always)]
    pub(crate) fn take_some(&self, source: usize, wanted: bool) -> (u64, bool) {
        let (new, sent) = self.peek(source);
        let doorbells = new as u32;
        let octet = if wanted { 0xFF << (doorbells.trailing_zeros() & 24) } else { 0 };
        let left = u64::from(doorbells & !octet);
        if new != left {
            self.accept(source, sent ^ left);
        }
        (new ^ left, left != 0)
    }

    /// Both: takes all that is pending from `source`.
    #[inline(always)]
    pub(crate) fn take(&self, source: usize) -> u64 {
        let (new, sent) = self.peek(source);
        if new != 0 {
            self.accept(source, sent);
        }
        new
    }
}
