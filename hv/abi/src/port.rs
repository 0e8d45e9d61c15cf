//! Shared-memory layouts of ports. ARINC 653 names; `bulkhead-ports` implements the protocols.
//!
//! Every parameter (message size, slots, depth) comes from the information region's static part,
//! never from the peer's memory. An *epoch* is a partition's start count; a side believes the
//! peer's words only while the epoch in the peer's region equals the one that EL2 publishes in the
//! information page ([`crate::info::dynamic::PEER_EPOCHS`]). Regions are zeroed by the loader of the
//! partition that may write them, before it starts.
//!
//! # Sampling port
//! One region: the writer has it read-write, each reader read-only. Message n (counted from 1) lies
//! in slot n % slots. The writer is wait-free; a reader validates the slot's sequence after copying
//! and retries at most a fixed number of times.
//!
//! # Queuing port
//! Two regions. The *producer* region (producer read-write, consumer read-only) carries head and
//! the slots, the *consumer* region (the reverse) carries tail. Message n (counted from 0) lies in
//! slot n % depth. `head - tail` above depth is the peer's violation.
//!
//! The consumer's tail counts only while its `EPOCH` equals what EL2 publishes and its
//! `PEER_EPOCH` equals the producer's own epoch; otherwise the producer uses the last tail it
//! believed. A consumer that sees a new producer epoch sets tail = 0, then `PEER_EPOCH`; one that
//! starts itself sets tail = head (an empty queue), then `PEER_EPOCH`, then `EPOCH`.

/// Kinds of port.
pub mod kind {
    /// Last value, with age.
    pub const SAMPLING: u32 = 1;
    /// Bounded first-in first-out queue.
    pub const QUEUING: u32 = 2;
}

/// Directions, seen from the partition that reads the table.
pub mod direction {
    /// This partition writes.
    pub const SOURCE: u32 = 1;
    /// This partition reads.
    pub const DESTINATION: u32 = 2;
}

/// Sampling region.
pub mod sampling {
    /// u64: number of the newest complete message, 0 before the first.
    pub const LATEST: usize = 0x00;
    /// u32: the writer's epoch, stored after its `LATEST` was reset.
    pub const EPOCH: usize = 0x08;
    /// First slot.
    pub const SLOTS: usize = 0x40;
    /// In a slot, u64: number of the message that it holds; 0 while it is being written.
    pub const SLOT_SEQUENCE: usize = 0x00;
    /// In a slot, u64: system time (CNTPCT) when it was written.
    pub const SLOT_TIMESTAMP_TICKS: usize = 0x08;
    /// In a slot, u32: length in bytes.
    pub const SLOT_LENGTH: usize = 0x10;
    /// In a slot: the message.
    pub const SLOT_DATA: usize = 0x18;
}

/// Producer region of a queuing port.
pub mod producer {
    /// u64: messages sent since the producer's start.
    pub const HEAD: usize = 0x00;
    /// u32: the producer's epoch.
    pub const EPOCH: usize = 0x08;
    /// u64: messages refused because the queue was full.
    pub const REFUSED: usize = 0x10;
    /// First slot.
    pub const SLOTS: usize = 0x40;
    /// In a slot, u32: length in bytes.
    pub const SLOT_LENGTH: usize = 0x00;
    /// In a slot, u64: system time (CNTPCT) when it was sent.
    pub const SLOT_TIMESTAMP_TICKS: usize = 0x08;
    /// In a slot: the message.
    pub const SLOT_DATA: usize = 0x10;
}

/// Consumer region of a queuing port.
pub mod consumer {
    /// u64: messages received, relative to the producer epoch in [`PEER_EPOCH`].
    pub const TAIL: usize = 0x00;
    /// u32: the consumer's epoch.
    pub const EPOCH: usize = 0x08;
    /// u32: the producer epoch that [`TAIL`] belongs to.
    pub const PEER_EPOCH: usize = 0x0C;
    /// Bytes of the region in use.
    pub const BYTES: usize = 0x10;
}

/// Slots that the compiler gives a sampling port when nothing says otherwise.
pub const SAMPLING_SLOTS_DEFAULT: u32 = 4;

/// Bytes from one sampling slot to the next, for messages of `message_bytes`.
pub const fn sampling_stride(message_bytes: u32) -> usize {
    sampling::SLOT_DATA + (message_bytes as usize).next_multiple_of(8)
}

/// Bytes of a sampling region.
pub const fn sampling_bytes(message_bytes: u32, slots: u32) -> usize {
    sampling::SLOTS + sampling_stride(message_bytes) * slots as usize
}

/// Bytes from one queuing slot to the next, for messages of `message_bytes`.
pub const fn queuing_stride(message_bytes: u32) -> usize {
    producer::SLOT_DATA + (message_bytes as usize).next_multiple_of(8)
}

/// Bytes of a producer region.
pub const fn producer_bytes(message_bytes: u32, depth: u32) -> usize {
    producer::SLOTS + queuing_stride(message_bytes) * depth as usize
}
