//! Ports as each partition gets them: sizes of their memory, addresses, and interrupts of their doorbells.

use super::space::Space;
use super::tables::BLOCK_BYTES;
use crate::diag::Finding;
use crate::model::{ConsoleKind, PAGE_BYTES, PartitionIndex, Port, PortKind, Right, Rights, Segment, System};
use crate::rules::layout::{Layout, Owner, Placement};
use crate::rules::limits::LIM_001;
use crate::span::{AddressRange, Span};
use bulkhead_abi::health::RECORD_BYTES;
use bulkhead_abi::{info, loader, port};
use bulkhead_blueprint::limits::IRQ_WORDS;
use bulkhead_core::health_log::MARK_WORDS;
use std::collections::BTreeSet;

/// Where the information region is put unless something of the partition's own is there.
const INFO_IPA: u64 = 0x0c00_0000;
/// From where on port memory is put.
const PORTS_IPA: u64 = 0x0c10_0000;
/// First INTID that a doorbell gets: above what the canonical platform's devices use.
const FIRST_DOORBELL_INTID: u32 = 64;

/// Memory of a port, whole pages.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes that the writer writes.
    pub writer_bytes: u64,
    /// Bytes that the reader of a queuing port writes.
    pub consumer_bytes: Option<u64>,
    /// Slots of a sampling port, depth of a queuing port.
    pub slots: u32,
}

/// One partition's end of one port.
#[derive(Debug, Clone)]
pub struct End {
    /// Index into [`System::ports`].
    pub port: usize,
    /// What the partition calls it.
    pub name: String,
    /// Whether the partition is the port's writer.
    pub writes: bool,
    /// At a receiver with a doorbell: its INTID.
    pub doorbell_intid: Option<u32>,
    /// Where the partition sees the writer's region.
    pub writer_ipa: u64,
    /// Where it sees the consumer's region.
    pub consumer_ipa: Option<u64>,
}

/// Memory of a partition beyond `memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraKind {
    /// Index into its `regions`.
    Region(usize),
    /// Index into [`System::segments`].
    Segment(usize),
    /// The trace rings of all CPUs.
    Trace,
    /// The health log.
    Health,
}

/// A region or segment as a partition sees it.
#[derive(Debug, Clone, Copy)]
pub struct Extra {
    /// Which one.
    pub kind: ExtraKind,
    /// Where.
    pub ipa: AddressRange,
    /// What the partition may do at run time.
    pub rights: Rights,
    /// Whether this partition's loader fills it.
    pub loaded: bool,
}

/// What a partition sees beside its own memory and devices.
#[derive(Debug, Clone)]
pub struct View {
    /// Its regions and segments.
    pub extras: Vec<Extra>,
    /// The information region, dynamic page included.
    pub info: AddressRange,
    /// Its ends, in the order of its port table.
    pub ends: Vec<End>,
    /// INTID of the interrupt that tells it of health events and requests. Its doorbell bit follows those of ports.
    pub event_intid: Option<u32>,
    /// Addresses chosen, for the rules.
    pub placements: Vec<Placement>,
}

impl View {
    /// Where the partition sees an extra memory that it has.
    pub fn extra(&self, kind: ExtraKind) -> AddressRange {
        let found = self.extras.iter().find(|e| e.kind == kind);
        found.map_or(AddressRange::new(0, 0), |e| e.ipa)
    }

    /// INTIDs of the doorbells, by doorbell bit.
    pub fn doorbells(&self) -> impl Iterator<Item = (&End, u32)> {
        self.ends.iter().filter_map(|e| Some((e, e.doorbell_intid?)))
    }
}

/// Sizes of a port's memory.
pub fn memory(port: &Port) -> Memory {
    let page = |bytes: usize| (bytes as u64).next_multiple_of(PAGE_BYTES);
    let message = port.message_bytes.value;
    match &port.kind {
        PortKind::Sampling { .. } => {
            let slots = port::SAMPLING_SLOTS_DEFAULT;
            Memory { writer_bytes: page(port::sampling_bytes(message, slots)), consumer_bytes: None, slots }
        }
        PortKind::Queuing { depth, .. } => Memory {
            writer_bytes: page(port::producer_bytes(message, depth.value)),
            consumer_bytes: Some(page(port::consumer::BYTES)),
            slots: depth.value,
        },
    }
}

/// The writer of a port. PRT-001 and PRT-002 see to it that there is exactly one.
pub fn writer(port: &Port) -> PartitionIndex {
    port.from.first().map_or(0, |end| end.partition)
}

/// Gives every partition's ports addresses and interrupts.
///
/// # Errors
/// No address or interrupt is left.
pub fn views(system: &System) -> Result<Vec<View>, Vec<Finding>> {
    let fixed = Layout::fixed(system);
    let segments = segment_addresses(system, &fixed).map_err(|finding| vec![finding])?;
    let views: Vec<Result<View, Finding>> = (0..system.partitions.len())
        .map(|index| view(system, index, &fixed.intermediate[index], &segments))
        .collect();
    let (good, bad): (Vec<_>, Vec<_>) = views.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        Ok(good.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(bad.into_iter().filter_map(Result::err).collect())
    }
}

fn full(what: &str, name: &str, span: Span) -> Finding {
    Finding::new(&LIM_001, format!("no {what} is left in {name}"), span, "needed here")
        .found(format!("every {what} of {name} is taken"))
        .expected(format!("a free {what}"))
}

/// All addresses below the loader's window, without what lies at a fixed one.
fn space(fixed: &[Placement]) -> Space {
    let mut space = Space::new(vec![AddressRange::new(0, loader::WINDOW_IPA)]);
    fixed.iter().for_each(|p| space.reserve(p.range));
    space
}

fn takes(segment: &Segment, index: PartitionIndex) -> bool {
    let mut takers = segment.readers.iter().chain(&segment.writer);
    takers.any(|p| p.value == index)
}

/// Where each segment is seen: the same address in each partition that has it.
fn segment_addresses(system: &System, fixed: &Layout) -> Result<Vec<AddressRange>, Finding> {
    let mut out: Vec<AddressRange> = Vec::new();
    for (index, segment) in system.segments.iter().enumerate() {
        let size = segment.size.value;
        if let Some(at) = &segment.at {
            out.push(AddressRange::new(at.value, size));
            continue;
        }
        let takers = (0..system.partitions.len()).filter(|p| takes(segment, *p));
        let mut free = space(&[]);
        for placement in takers.flat_map(|p| &fixed.intermediate[p]) {
            free.reserve(placement.range);
        }
        out[..index].iter().for_each(|other| free.reserve(*other));
        let range = free.allocate(PORTS_IPA, size, granule(size), 0);
        let name = &segment.name.value;
        out.push(range.ok_or_else(|| full("address", name, segment.span))?);
    }
    Ok(out)
}

/// Bytes of the trace rings of all CPUs together.
pub fn trace_bytes(system: &System) -> u64 {
    let ring = u64::from(system.hypervisor.trace_bytes_per_cpu.value).next_power_of_two().max(PAGE_BYTES);
    ring * system.board.cpus.len() as u64
}

/// Bytes of the health log and the mark of its image behind it, whole pages.
pub fn health_bytes(system: &System) -> u64 {
    let records = u64::from(system.hypervisor.health_log_records.value);
    (records * RECORD_BYTES as u64 + 8 * MARK_WORDS as u64).max(PAGE_BYTES).next_multiple_of(PAGE_BYTES)
}

/// Whether a partition has an event interrupt: it reads the health log, or somebody may ask it to shut down.
pub fn is_told_of_events(system: &System, index: PartitionIndex) -> bool {
    told_of_events(system).get(index).is_some_and(|told| *told)
}

/// The same for every partition.
pub fn told_of_events(system: &System) -> Vec<bool> {
    let mut told: Vec<bool> =
        system.partitions.iter().map(|p| p.holds_over_module(Right::ReadHealth)).collect();
    for authority in system.partitions.iter().flat_map(|p| &p.authority) {
        if authority.allow.iter().any(|right| right.value == Right::Halt) {
            authority.over.iter().for_each(|over| told[over.value] = true);
        }
    }
    // It has no virtual interrupts: it polls.
    let direct = system.partitions.iter().map(|p| p.direct_interrupts.is_some());
    told.iter_mut().zip(direct).for_each(|(told, direct)| *told &= !direct);
    told
}

/// Alignment that lets stage 2 use blocks.
fn granule(bytes: u64) -> u64 {
    if bytes >= BLOCK_BYTES { BLOCK_BYTES } else { PAGE_BYTES }
}

fn view(
    system: &System,
    index: PartitionIndex,
    fixed: &[Placement],
    segments: &[AddressRange],
) -> Result<View, Finding> {
    let mut builder = Builder { system, index, space: space(fixed), placements: Vec::new() };
    let mut extras = builder.segments(segments);
    let mine = ends(system, index);
    let entries = authorities(system, index) + super::info_page::listed(system, index);
    let info_bytes = super::info_page::region_bytes(mine.len(), entries);
    let span = system.partitions[index].span;
    let what = "the information region".to_owned();
    let info = builder.take(what, INFO_IPA, info_bytes, span)?;
    extras.extend(builder.regions()?);
    let mut intids = free_intids(system, index);
    if system.partitions[index].holds_over_module(Right::ReadTrace) {
        let ipa = builder.take("the trace".to_owned(), PORTS_IPA, trace_bytes(system), span)?;
        extras.push(Extra { kind: ExtraKind::Trace, ipa, rights: Rights::Read, loaded: false });
    }
    if system.partitions[index].holds_over_module(Right::ReadHealth) {
        let ipa = builder.take("the health log".to_owned(), PORTS_IPA, health_bytes(system), span)?;
        extras.push(Extra { kind: ExtraKind::Health, ipa, rights: Rights::Read, loaded: false });
    }
    let ends = mine
        .into_iter()
        .map(|(port, writes, name)| builder.end(port, writes, name, &mut intids))
        .collect::<Result<_, _>>()?;
    let event_intid = match is_told_of_events(system, index) {
        true => Some(intids.next().ok_or_else(|| full("interrupt", builder.name(), span))?),
        false => None,
    };
    Ok(View { extras, info, ends, event_intid, placements: builder.placements })
}

/// Chooses the addresses of one partition.
struct Builder<'a> {
    system: &'a System,
    index: PartitionIndex,
    space: Space,
    placements: Vec<Placement>,
}

impl Builder<'_> {
    fn name(&self) -> &str {
        &self.system.partitions[self.index].name.value
    }

    fn record(&mut self, what: String, range: AddressRange, span: Span) {
        self.placements.push(Placement { owner: Owner::Partition(self.index), what, range, span });
    }

    fn take(&mut self, what: String, from: u64, bytes: u64, span: Span) -> Result<AddressRange, Finding> {
        let range = self.space.allocate(from, bytes, granule(bytes), 0);
        let range = range.ok_or_else(|| full("address", self.name(), span))?;
        self.record(what, range, span);
        Ok(range)
    }

    /// Segments, at the addresses that were chosen for all who have them.
    fn segments(&mut self, addresses: &[AddressRange]) -> Vec<Extra> {
        let (system, index) = (self.system, self.index);
        let all = system.segments.iter().zip(addresses).enumerate();
        let mut out = Vec::new();
        for (number, (segment, ipa)) in all.filter(|(_, (s, _))| takes(s, index)) {
            if segment.at.is_none() {
                let what = format!("segment {}", segment.name.value);
                self.record(what, *ipa, segment.span);
                self.space.reserve(*ipa);
            }
            let writes = segment.writer.as_ref().is_some_and(|w| w.value == index);
            let rights = if writes { Rights::ReadWrite } else { Rights::Read };
            out.push(Extra { kind: ExtraKind::Segment(number), ipa: *ipa, rights, loaded: writes });
        }
        out
    }

    fn regions(&mut self) -> Result<Vec<Extra>, Finding> {
        let mut out = Vec::new();
        let regions = &self.system.partitions[self.index].regions;
        for (number, region) in regions.iter().enumerate() {
            let size = region.size.value;
            let what = format!("region {}", region.name.value);
            let ipa = match &region.at {
                Some(at) => AddressRange::new(at.value, size),
                None => self.take(what, PORTS_IPA, size, region.span)?,
            };
            out.push(Extra {
                kind: ExtraKind::Region(number),
                ipa,
                rights: region.rights.value,
                loaded: true,
            });
        }
        Ok(out)
    }

    fn end(
        &mut self,
        number: usize,
        writes: bool,
        name: String,
        intids: &mut impl Iterator<Item = u32>,
    ) -> Result<End, Finding> {
        let port = &self.system.ports[number];
        let memory = memory(port);
        let what = format!("memory of port {name}");
        let writer = self.take(what.clone(), PORTS_IPA, memory.writer_bytes, port.span)?;
        let consumer =
            memory.consumer_bytes.map(|bytes| self.take(what, PORTS_IPA, bytes, port.span)).transpose()?;
        let doorbell_intid = match &port.doorbell {
            Some(doorbell) if !writes => {
                let free = intids.next();
                Some(free.ok_or_else(|| full("interrupt", self.name(), doorbell.span))?)
            }
            _ => None,
        };
        Ok(End {
            port: number,
            name,
            writes,
            doorbell_intid,
            writer_ipa: writer.base,
            consumer_ipa: consumer.map(|c| c.base),
        })
    }
}

/// The ends of a partition in the order of `/ports`: port, whether it writes, name.
fn ends(system: &System, index: PartitionIndex) -> Vec<(usize, bool, String)> {
    let mut out = Vec::new();
    for (number, port) in system.ports.iter().enumerate() {
        let sides = [(&port.from, true), (&port.to, false)];
        for (list, writes) in sides {
            let mine = list.iter().filter(|e| e.partition == index);
            out.extend(mine.map(|e| (number, writes, e.name.value.clone())));
        }
    }
    out
}

/// Shared INTIDs that nothing else in the partition uses.
fn free_intids(system: &System, index: PartitionIndex) -> impl Iterator<Item = u32> + use<> {
    let partition = &system.partitions[index];
    let devices = partition.access.iter().map(|a| &system.devices[a.value]);
    let mut used: BTreeSet<u32> = devices.flat_map(|d| &d.interrupts).map(|i| i.intid).collect();
    if partition.console.value == ConsoleKind::Pl011 {
        used.insert(partition.view.uart_intid);
    }
    (FIRST_DOORBELL_INTID..IRQ_WORDS as u32 * 32).filter(move |intid| !used.contains(intid))
}

/// What a partition may do to others: target and rights (bits of `bulkhead_abi::hypercall::control`), in the order
/// of its first mention.
pub fn authority_list(system: &System, index: PartitionIndex) -> Vec<(PartitionIndex, u32)> {
    let mut out: Vec<(PartitionIndex, u32)> = Vec::new();
    for authority in &system.partitions[index].authority {
        let rights =
            authority.allow.iter().filter_map(|right| control_bit(right.value)).fold(0, |all, bit| all | bit);
        for over in &authority.over {
            match out.iter_mut().find(|(target, _)| *target == over.value) {
                Some((_, known)) => *known |= rights,
                None => out.push((over.value, rights)),
            }
        }
    }
    out
}

fn authorities(system: &System, index: PartitionIndex) -> usize {
    authority_list(system, index).len()
}

/// The bit of a right over a partition; rights over the module have none.
fn control_bit(right: crate::model::Right) -> Option<u32> {
    use crate::model::Right;
    use bulkhead_abi::hypercall::control;
    let operation = match right {
        Right::Status => control::STATUS,
        Right::Suspend => control::SUSPEND,
        Right::Resume => control::RESUME,
        Right::Halt => control::HALT,
        Right::Restart => control::RESTART,
        Right::ReadHealth | Right::ReadTrace | Right::ResetBoard => return None,
    };
    Some(1 << operation)
}

const _: () = assert!(info::fixed::START as u64 == PAGE_BYTES);
