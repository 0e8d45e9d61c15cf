//! The port table of a partition's information page ([`bulkhead_abi::info::fixed`]).

use crate::image::text;
use crate::ranges::{PAGE, Range};
use crate::system::{long, word};
use bulkhead_abi::info::{dynamic, fixed};
use bulkhead_abi::port::{self, direction, kind};
use serde::Serialize;

/// One end of a port, as its partition reads it.
#[derive(Debug, Clone, Serialize)]
pub struct PortEntry {
    /// What this end calls the port.
    pub name: String,
    /// One of [`bulkhead_abi::port::kind`].
    pub kind: u32,
    /// One of [`bulkhead_abi::port::direction`].
    pub direction: u32,
    /// Longest message.
    pub message_bytes: u32,
    /// Slots or depth.
    pub slots: u32,
    /// IPA of the writer's memory.
    pub writer_ipa: u64,
    /// IPA of the consumer's memory, 0 without one.
    pub consumer_ipa: u64,
    /// Refresh period of a sampling port in nanoseconds, 0 of a queue.
    pub refresh_ns: u64,
    /// Doorbell's interrupt at the receiver.
    pub doorbell_intid: u32,
    /// Identifier of the peer.
    pub peer_id: u32,
}

impl PortEntry {
    /// Whether this end writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.direction == direction::SOURCE
    }

    /// Where the writer's memory lies in this partition; whole pages.
    #[must_use]
    pub fn writer(&self) -> Range {
        let bytes = match self.kind {
            kind::SAMPLING => sampling_bytes(self.message_bytes, self.slots),
            _ => producer_bytes(self.message_bytes, self.slots),
        };
        Range::of(self.writer_ipa, bytes.next_multiple_of(PAGE))
    }

    /// Where the consumer's memory lies, of a queuing port.
    #[must_use]
    pub fn consumer(&self) -> Option<Range> {
        (self.kind == kind::QUEUING).then(|| Range::of(self.consumer_ipa, PAGE))
    }
}

/// [`port::sampling_bytes`], in 64 bits: the counts are foreign.
fn sampling_bytes(message: u32, slots: u32) -> u64 {
    let stride = port::sampling::SLOT_DATA as u64 + u64::from(message).next_multiple_of(8);
    port::sampling::SLOTS as u64 + stride.saturating_mul(u64::from(slots)).min(1 << 48)
}

/// [`port::producer_bytes`], in 64 bits.
fn producer_bytes(message: u32, depth: u32) -> u64 {
    let stride = port::producer::SLOT_DATA as u64 + u64::from(message).next_multiple_of(8);
    port::producer::SLOTS as u64 + stride.saturating_mul(u64::from(depth)).min(1 << 48)
}

/// Offset of a field of the information region in its static pages.
#[must_use]
pub fn field(at: usize) -> usize {
    at - fixed::START
}

/// The table; `None` if it does not fit or counts more than there can be.
#[must_use]
pub fn read(info: &[u8]) -> Option<Vec<PortEntry>> {
    let count = word(info, field(fixed::PORT_COUNT))? as usize;
    if count > dynamic::PORT_COUNT_MAX {
        return None;
    }
    (0..count).map(|number| entry(info, field(fixed::PORTS) + number * fixed::PORT_STRIDE)).collect()
}

fn entry(info: &[u8], at: usize) -> Option<PortEntry> {
    let entry = info.get(at..at.checked_add(fixed::PORT_STRIDE)?)?;
    Some(PortEntry {
        name: text(&entry[fixed::PORT_NAME..fixed::PORT_NAME + fixed::NAME_BYTES]),
        kind: word(entry, fixed::PORT_KIND)?,
        direction: word(entry, fixed::PORT_DIRECTION)?,
        message_bytes: word(entry, fixed::PORT_MESSAGE_BYTES)?,
        slots: word(entry, fixed::PORT_SLOTS)?,
        writer_ipa: long(entry, fixed::PORT_WRITER_IPA)?,
        consumer_ipa: long(entry, fixed::PORT_CONSUMER_IPA)?,
        refresh_ns: long(entry, fixed::PORT_REFRESH_NS)?,
        doorbell_intid: word(entry, fixed::PORT_DOORBELL_INTID)?,
        peer_id: word(entry, fixed::PORT_PEER_ID)?,
    })
}

/// Offset of the authority table in the static pages.
#[must_use]
pub fn authorities_at(ports: usize) -> usize {
    field((fixed::PORTS + ports * fixed::PORT_STRIDE).next_multiple_of(fixed::AUTHORITIES_ALIGN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_agree_with_the_abi() {
        for (message, slots) in [(1, 1), (64, 4), (256, 32), (7, 9), (4096, 128)] {
            assert_eq!(sampling_bytes(message, slots), port::sampling_bytes(message, slots) as u64);
            assert_eq!(producer_bytes(message, slots), port::producer_bytes(message, slots) as u64);
        }
        assert!(sampling_bytes(u32::MAX, u32::MAX) <= 1 << 49);
    }
}
