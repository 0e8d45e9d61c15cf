//! The information region: what EL2 and the compiler say about this partition, read without a trap
//! (layout in [`bulkhead_abi::info`]).

use crate::{hypercall, mmu};
use bulkhead_abi::info::{dynamic, fixed};
use bulkhead_abi::port::{direction, kind};
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The partition's information region, mapped.
#[derive(Clone, Copy)]
pub struct Info {
    base: u64,
    bytes: u64,
}

/// Asks for the region and maps it Normal write-back; `None` without a hypervisor.
pub(crate) fn map() -> Option<Info> {
    let (base, bytes) = hypercall::info_region().ok()?;
    let usable = base.is_multiple_of(4096) && bytes >= 2 * 4096;
    if !usable || mmu::map(base, bytes, mmu::Attributes::READ_ONLY).is_err() {
        panic!("information region {base:#x}, {bytes:#x} bytes cannot be mapped");
    }
    let info = Info { base, bytes };
    let version = info.word(dynamic::ABI_VERSION);
    if version >> 16 != bulkhead_abi::ABI_VERSION >> 16 {
        panic!(
            "hypervisor speaks ABI {version:#x}, this partition was built for {:#x}",
            bulkhead_abi::ABI_VERSION
        );
    }
    Some(info)
}

/// An entry of the port table.
#[derive(Clone, Copy, Debug)]
pub struct PortEntry {
    /// Index in the table; doorbell and peer epoch go by it.
    pub index: u32,
    /// Sampling or queuing.
    pub kind: Kind,
    /// Whether this partition writes or reads.
    pub direction: Direction,
    /// Longest message in bytes.
    pub message_bytes: u32,
    /// Slots of a sampling port, depth of a queuing port.
    pub slots: u32,
    /// Address of the writer's region.
    pub writer_ipa: u64,
    /// Address of the consumer's region, 0 for sampling ports.
    pub consumer_ipa: u64,
    /// Refresh period in nanoseconds, 0 for queuing ports.
    pub refresh_ns: u64,
    /// At the receiver the doorbell's INTID, at the writer 0; `None` without a doorbell.
    pub doorbell_intid: Option<u32>,
    /// Identifier of the peer partition.
    pub peer_id: u32,
}

/// Kind of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Last value, with age.
    Sampling,
    /// First-in first-out.
    Queuing,
}

/// Direction of a port, seen from this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// This partition writes.
    Source,
    /// This partition reads.
    Destination,
}

/// A name in the region: up to 32 bytes of UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; fixed::NAME_BYTES],
    length: usize,
}

impl Name {
    /// The name; empty if the region holds no UTF-8.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl Info {
    fn word(&self, offset: usize) -> u32 {
        self.word_at(offset).load(Relaxed)
    }

    /// A word of the region, to be loaded only.
    fn word_at(&self, offset: usize) -> &'static AtomicU32 {
        assert!(offset as u64 + 4 <= self.bytes && offset.is_multiple_of(4));
        let pointer = ptr::with_exposed_provenance_mut((self.base + offset as u64) as usize);
        // SAFETY: aligned and within the region, which stays mapped; EL2 writes it by single stores,
        // and a load is all that this crate does, so that the page may be read-only.
        unsafe { AtomicU32::from_ptr(pointer) }
    }

    fn long(&self, offset: usize) -> u64 {
        assert!(offset as u64 + 8 <= self.bytes && offset.is_multiple_of(8));
        let pointer = ptr::with_exposed_provenance_mut((self.base + offset as u64) as usize);
        // SAFETY: as in `word_at`.
        unsafe { AtomicU64::from_ptr(pointer) }.load(Relaxed)
    }

    fn name_at(&self, offset: usize) -> Name {
        let mut bytes = [0; fixed::NAME_BYTES];
        for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
            chunk.copy_from_slice(&self.word(offset + 4 * index).to_le_bytes());
        }
        let length = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        Name { bytes, length }
    }

    /// The partition's name.
    pub fn name(&self) -> Name {
        self.name_at(fixed::NAME)
    }

    /// The partition's identifier from the configuration.
    pub fn id(&self) -> u32 {
        self.word(fixed::ID)
    }

    /// How often the partition was started, this start included: its epoch in port protocols.
    pub fn start_count(&self) -> u32 {
        self.word(dynamic::START_COUNT)
    }

    /// Why it was started ([`bulkhead_abi::info::start_condition`]).
    pub fn start_condition(&self) -> u32 {
        self.word(dynamic::START_CONDITION)
    }

    /// Operating mode ([`bulkhead_abi::info::mode`]).
    pub fn mode(&self) -> u32 {
        self.word(dynamic::MODE)
    }

    /// Current plan, `None` where the partition owns its CPUs.
    pub fn plan(&self) -> Option<u32> {
        Some(self.word(dynamic::PLAN_ID)).filter(|&plan| plan != dynamic::NO_PLAN)
    }

    /// Start and end of the current window and start of the next, of the first vCPU, in ticks of system time.
    pub fn window_ticks(&self) -> [u64; 3] {
        [dynamic::VCPU_WINDOW_START_TICKS, dynamic::VCPU_WINDOW_END_TICKS, dynamic::VCPU_NEXT_WINDOW_TICKS]
            .map(|offset| self.long(dynamic::VCPUS + offset))
    }

    /// System time since which the current plan runs. Meaningless where [`Info::plan`] is `None`.
    pub fn plan_since_ticks(&self) -> u64 {
        self.long(dynamic::PLAN_SINCE_TICKS)
    }

    /// T0, the origin of all plans, in ticks of system time.
    pub fn t0_ticks(&self) -> u64 {
        self.long(dynamic::T0_TICKS)
    }

    /// What CNTVCT counts: one of [`bulkhead_abi::info::clock`].
    pub fn clock(&self) -> u32 {
        self.word(fixed::CLOCK)
    }

    /// System time (CNTPCT) minus this is the execution time of the first vCPU: asking for it costs no trap.
    pub fn execution_offset_ticks(&self) -> u64 {
        self.long(dynamic::VCPUS + dynamic::VCPU_EXEC_OFFSET_TICKS)
    }

    /// Nanoseconds since its start in which the first vCPU did not run although it would have (DEN0057). 0 for
    /// a partition without stolen time.
    pub fn stolen_ns(&self) -> u64 {
        self.long(dynamic::STOLEN_TIMES + dynamic::STOLEN_NS)
    }

    /// Where the structure of [`stolen_ns`](Self::stolen_ns) begins.
    pub fn stolen_time_ipa(&self) -> u64 {
        self.base + dynamic::STOLEN_TIMES as u64
    }

    /// The first eight bytes of that structure: revision and attributes.
    pub fn stolen_time_head(&self) -> u64 {
        self.long(dynamic::STOLEN_TIMES)
    }

    /// The word that holds the start count of the peer of port `index`, 0 while it is not running.
    pub(crate) fn peer_epoch(&self, index: u32) -> &'static AtomicU32 {
        self.word_at(dynamic::PEER_EPOCHS + 4 * index as usize)
    }

    /// What others ask of the partition ([`bulkhead_abi::info::request`]); it is told by
    /// [`event_intid`](Self::event_intid).
    pub fn requests(&self) -> u32 {
        self.word(dynamic::REQUESTS)
    }

    /// INTID of the interrupt that tells of health events and of requests.
    pub fn event_intid(&self) -> Option<u32> {
        Some(self.word(fixed::EVENT_INTID)).filter(|&intid| intid != fixed::NO_DOORBELL)
    }

    /// Watchdog period in nanoseconds, `None` without a watchdog.
    pub fn watchdog_ns(&self) -> Option<u64> {
        Some(self.long(fixed::WATCHDOG_NS)).filter(|&ns| ns != 0)
    }

    /// Address and bytes of the health log, `None` without the right to read it.
    pub(crate) fn health_region(&self) -> Option<(u64, u64)> {
        Some((self.long(fixed::HEALTH_IPA), self.long(fixed::HEALTH_BYTES))).filter(|(base, _)| *base != 0)
    }

    /// Address and bytes of the trace rings, `None` without the right to read them.
    pub(crate) fn trace_region(&self) -> Option<(u64, u64)> {
        Some((self.long(fixed::TRACE_IPA), self.long(fixed::TRACE_BYTES))).filter(|(base, _)| *base != 0)
    }

    /// First entry of the authority table.
    fn authorities(&self) -> usize {
        let end = fixed::PORTS + fixed::PORT_STRIDE * self.port_count() as usize;
        end.next_multiple_of(fixed::AUTHORITIES_ALIGN)
    }

    /// Index in the authority table, and rights (bits of [`bulkhead_abi::hypercall::control`]), of the
    /// partition called `name`.
    pub fn authority(&self, name: &str) -> Option<(u64, u32)> {
        (0..self.word(fixed::AUTHORITY_COUNT)).find_map(|index| {
            let at = self.authorities() + fixed::AUTHORITY_STRIDE * index as usize;
            let found = self.name_at(at).as_str() == name;
            found.then(|| (u64::from(index), self.word(at + fixed::AUTHORITY_RIGHTS)))
        })
    }

    /// Name of the partition with this index, for readers of the health log and the trace.
    pub fn partition_name(&self, index: u32) -> Option<Name> {
        let number = self.word(fixed::AUTHORITY_COUNT) as usize + index as usize;
        let known = index < self.word(fixed::PARTITION_COUNT);
        known.then(|| self.name_at(self.authorities() + fixed::AUTHORITY_STRIDE * number))
    }

    /// Entries of the port table.
    pub fn port_count(&self) -> u32 {
        self.word(fixed::PORT_COUNT).min(dynamic::PORT_COUNT_MAX as u32)
    }

    /// The port that this partition calls `name`.
    pub fn port(&self, name: &str) -> Option<PortEntry> {
        (0..self.port_count())
            .find(|&index| self.port_name(index).as_str() == name)
            .and_then(|index| self.port_entry(index))
    }

    fn port_offset(index: u32) -> usize {
        fixed::PORTS + fixed::PORT_STRIDE * index as usize
    }

    /// What this partition calls the port with index `index`, which is below the port count.
    pub fn port_name(&self, index: u32) -> Name {
        self.name_at(Self::port_offset(index) + fixed::PORT_NAME)
    }

    fn port_entry(&self, index: u32) -> Option<PortEntry> {
        let at = Self::port_offset(index);
        let doorbell = self.word(at + fixed::PORT_DOORBELL_INTID);
        Some(PortEntry {
            index,
            kind: match self.word(at + fixed::PORT_KIND) {
                kind::SAMPLING => Kind::Sampling,
                kind::QUEUING => Kind::Queuing,
                _ => return None,
            },
            direction: match self.word(at + fixed::PORT_DIRECTION) {
                direction::SOURCE => Direction::Source,
                direction::DESTINATION => Direction::Destination,
                _ => return None,
            },
            message_bytes: self.word(at + fixed::PORT_MESSAGE_BYTES),
            slots: self.word(at + fixed::PORT_SLOTS),
            writer_ipa: self.long(at + fixed::PORT_WRITER_IPA),
            consumer_ipa: self.long(at + fixed::PORT_CONSUMER_IPA),
            refresh_ns: self.long(at + fixed::PORT_REFRESH_NS),
            doorbell_intid: Some(doorbell).filter(|&intid| intid != fixed::NO_DOORBELL),
            peer_id: self.word(at + fixed::PORT_PEER_ID),
        })
    }
}
