//! The static part of a partition's information region ([`bulkhead_abi::info::fixed`]).

use super::emit::first_vcpu;
use super::ports::{End, ExtraKind, View, authority_list, memory, writer};
use crate::model::{PAGE_BYTES, PartitionIndex, PortKind, Right, System};
use bulkhead_abi::info::{clock, fixed};
use bulkhead_abi::port;

/// Offset of the authority table from the start of the region.
fn authorities_at(ports: usize) -> usize {
    (fixed::PORTS + ports * fixed::PORT_STRIDE).next_multiple_of(fixed::AUTHORITIES_ALIGN)
}

/// Bytes of a region, dynamic page included, whole pages.
pub fn region_bytes(ports: usize, authorities: usize) -> u64 {
    let end = authorities_at(ports) + authorities * fixed::AUTHORITY_STRIDE;
    (end as u64).next_multiple_of(PAGE_BYTES)
}

/// Entries of the partition table: all, for who reads the health log or the trace.
pub fn listed(system: &System, index: PartitionIndex) -> usize {
    let holder = &system.partitions[index];
    let reads = [Right::ReadHealth, Right::ReadTrace].into_iter().any(|r| holder.holds_over_module(r));
    if reads { system.partitions.len() } else { 0 }
}

/// Little-endian fields of a page under construction, addressed from the start of the region.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let start = at - fixed::START;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn long(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// NUL-padded text of at most `field - 1` bytes.
    fn text(&mut self, at: usize, text: &str, field: usize) {
        self.put(at, &text.as_bytes()[..text.len().min(field - 1)]);
    }
}

/// The static pages of partition `index`.
pub fn build(system: &System, index: PartitionIndex, view: &View) -> Vec<u8> {
    let partition = &system.partitions[index];
    let authorities = authority_list(system, index);
    let mut page = Page(vec![0; view.info.size as usize - fixed::START]);
    page.text(fixed::NAME, &partition.name.value, fixed::NAME_BYTES);
    page.word(fixed::ID, partition.id.value);
    page.word(fixed::VCPU_COUNT, partition.vcpus.len() as u32);
    page.word(fixed::PORT_COUNT, view.ends.len() as u32);
    page.word(fixed::AUTHORITY_COUNT, authorities.len() as u32);
    page.word(fixed::CNTFRQ_HZ, system.board.facts.counter_hz);
    page.word(fixed::CLOCK, if partition.counts_execution() { clock::EXECUTION } else { clock::SYSTEM });
    let part_number = &system.hypervisor.part_number.value;
    page.text(fixed::PART_NUMBER, part_number, fixed::PART_NUMBER_BYTES);
    let trace = view.extra(ExtraKind::Trace);
    page.long(fixed::TRACE_IPA, trace.base);
    page.long(fixed::TRACE_BYTES, trace.size);
    let health = view.extra(ExtraKind::Health);
    page.long(fixed::HEALTH_IPA, health.base);
    page.long(fixed::HEALTH_BYTES, health.size);
    page.word(fixed::EVENT_INTID, view.event_intid.unwrap_or(fixed::NO_DOORBELL));
    page.word(fixed::PARTITION_COUNT, listed(system, index) as u32);
    page.long(fixed::WATCHDOG_NS, partition.watchdog_ns.as_ref().map_or(0, |ns| ns.value));
    for (number, end) in view.ends.iter().enumerate() {
        port_entry(system, &mut page, fixed::PORTS + number * fixed::PORT_STRIDE, end);
    }
    for (number, (target, rights)) in authorities.iter().enumerate() {
        let at = authorities_at(view.ends.len()) + number * fixed::AUTHORITY_STRIDE;
        let target = &system.partitions[*target];
        page.text(at, &target.name.value, fixed::NAME_BYTES);
        page.word(at + fixed::AUTHORITY_ID, target.id.value);
        page.word(at + fixed::AUTHORITY_RIGHTS, *rights);
    }
    for (place, listed) in system.partitions.iter().take(listed(system, index)).enumerate() {
        let number = authorities.len() + place;
        let at = authorities_at(view.ends.len()) + number * fixed::AUTHORITY_STRIDE;
        page.word(at + fixed::PARTITION_VCPU_FIRST, first_vcpu(system, place));
        page.word(at + fixed::PARTITION_VCPU_COUNT, listed.vcpus.len() as u32);
        page.text(at, &listed.name.value, fixed::NAME_BYTES);
        page.word(at + fixed::AUTHORITY_ID, listed.id.value);
    }
    page.0
}

fn port_entry(system: &System, page: &mut Page, at: usize, end: &End) {
    let port = &system.ports[end.port];
    let (kind, refresh_ns) = match &port.kind {
        PortKind::Sampling { refresh_ns } => {
            (port::kind::SAMPLING, refresh_ns.as_ref().map_or(0, |r| r.value))
        }
        PortKind::Queuing { .. } => (port::kind::QUEUING, 0),
    };
    let (direction, peer) = if end.writes {
        let reader = port.to.first().map_or(0, |e| e.partition);
        (port::direction::SOURCE, reader)
    } else {
        (port::direction::DESTINATION, writer(port))
    };
    let doorbell = match (&port.doorbell, end.writes) {
        (Some(_), true) => 0,
        _ => end.doorbell_intid.unwrap_or(fixed::NO_DOORBELL),
    };
    page.text(at + fixed::PORT_NAME, &end.name, fixed::NAME_BYTES);
    page.word(at + fixed::PORT_KIND, kind);
    page.word(at + fixed::PORT_DIRECTION, direction);
    page.word(at + fixed::PORT_MESSAGE_BYTES, port.message_bytes.value);
    page.word(at + fixed::PORT_SLOTS, memory(port).slots);
    page.long(at + fixed::PORT_WRITER_IPA, end.writer_ipa);
    page.long(at + fixed::PORT_CONSUMER_IPA, end.consumer_ipa.unwrap_or(0));
    page.long(at + fixed::PORT_REFRESH_NS, refresh_ns);
    page.word(at + fixed::PORT_DOORBELL_INTID, doorbell);
    page.word(at + fixed::PORT_PEER_ID, system.partitions[peer].id.value);
}
