//! Physical addresses of everything: the image section by section, then the memory of partitions.

use super::guest::Guest;
use super::ports::{self, ExtraKind, View};
use super::space::Space;
use super::tables::BLOCK_BYTES;
use crate::diag::Finding;
use crate::model::{KeepOver, PAGE_BYTES, System};
use crate::rules::image::IMG_003;
use crate::rules::layout::{Layout, Owner, Placement};
use crate::rules::memory::MEM_009;
use crate::span::{AddressRange, Bytes, Span};
use bulkhead_blueprint::limits::STACK_STRIDE;

/// Sizes that decide where things lie; all but the last two follow from the configuration at once.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// EL2's own sections, from the image's first byte on.
    pub el2: u64,
    /// What EL2 keeps of partitions and vCPUs.
    pub state: u64,
    /// The loader's flat bytes.
    pub loader: u64,
    /// The blueprint.
    pub blueprint: u64,
    /// Translation tables.
    pub table_pages: u64,
}

/// Physical addresses.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The image's first byte.
    pub image_base: u64,
    /// The blueprint.
    pub blueprint: u64,
    /// Static information pages, by partition.
    pub info: Vec<u64>,
    /// Load lists, by partition.
    pub lists: Vec<u64>,
    /// The loader.
    pub loader: u64,
    /// First translation table.
    pub tables: u64,
    /// End of the sealed part: blueprint, pages, lists, loader, tables.
    pub sealed_end: u64,
    /// End of what the digest covers: behind the sealed part lie segments that nobody writes.
    pub hashed_end: u64,
    /// Pristine copies, by partition, in the order of [`Guest::copies`].
    pub copies: Vec<Vec<u64>>,
    /// End of the file.
    pub file_end: u64,
    /// Memory that EL2 alone writes.
    pub work: AddressRange,
    /// Dynamic information pages, by partition.
    pub dynamic: Vec<u64>,
    /// Console output rings, by partition.
    pub console_out: Vec<AddressRange>,
    /// Console input rings, by partition.
    pub console_in: Vec<AddressRange>,
    /// Ring of health records.
    pub health: AddressRange,
    /// Trace rings of all CPUs.
    pub trace: AddressRange,
    /// What EL2 keeps of partitions and vCPUs.
    pub state: AddressRange,
    /// EL2's stacks, one for each CPU.
    pub stacks: AddressRange,
    /// Memory of each port: the writer's and the consumer's.
    pub ports: Vec<(AddressRange, Option<AddressRange>)>,
    /// End of the image, which is beyond the file's.
    pub image_end: u64,
    /// Memory of partitions, range by range.
    pub memory: Vec<Vec<AddressRange>>,
    /// Regions of partitions.
    pub regions: Vec<Vec<AddressRange>>,
    /// Segments; one without a writer lies in the file.
    pub segments: Vec<AddressRange>,
}

impl Addresses {
    /// Where the compiler puts an extra memory.
    pub fn extra(&self, partition: usize, kind: ExtraKind) -> AddressRange {
        match kind {
            ExtraKind::Region(index) => self.regions[partition][index],
            ExtraKind::Segment(index) => self.segments[index],
            ExtraKind::Trace => self.trace,
            ExtraKind::Health => self.health,
        }
    }

    /// Physical memory that the system uses, in ascending order, ranges that touch made one.
    pub fn required(&self) -> Vec<AddressRange> {
        let image = AddressRange::new(self.image_base, self.image_end - self.image_base);
        let lists = self.memory.iter().chain(&self.regions).flatten();
        let mut all: Vec<AddressRange> = lists.chain(&self.segments).copied().collect();
        all.push(image);
        all.sort();
        let mut out: Vec<AddressRange> = Vec::new();
        for range in all {
            match out.last_mut() {
                Some(last) if range.base <= last.end_saturating() => {
                    let end = last.end_saturating().max(range.end_saturating());
                    last.size = end - last.base;
                }
                _ => out.push(range),
            }
        }
        out
    }
}

/// Hands out page-aligned addresses one after another.
struct Cursor(u64);

impl Cursor {
    fn take(&mut self, bytes: u64) -> AddressRange {
        let range = AddressRange::new(self.0, bytes.next_multiple_of(PAGE_BYTES));
        self.0 = range.end_saturating();
        range
    }
}

/// Places everything for these sizes.
///
/// # Errors
/// IMG-003 and MEM-009.
pub fn place(
    system: &System,
    views: &[View],
    guests: &[Guest],
    sizes: &Sizes,
) -> Result<Addresses, Vec<Finding>> {
    let mut addresses = image(system, views, guests, sizes);
    fits_where_loaded(system, &addresses)?;
    let mut space = Space::new(system.board.ram.iter().map(|(r, _)| *r).collect());
    let image = AddressRange::new(addresses.image_base, addresses.image_end - addresses.image_base);
    space.reserve(image);
    let reserved = system.board.reserved.iter().map(|r| r.range);
    reserved.for_each(|r| space.reserve(r));
    let fixed = Layout::fixed(system).physical;
    fixed.iter().for_each(|p| space.reserve(p.range));
    // What outlives a reset lies above what is written at one.
    let scratch = system.board.facts.reset_scratch.iter();
    let scratch_end = scratch.map(|s| s.base.saturating_add(s.size)).max().unwrap_or(0);
    let mut take = |what: &str, ipa: AddressRange, pa: Option<u64>, from: u64, span: Span| {
        let fixed = pa.map(|base| AddressRange::new(base, ipa.size));
        let granule = if ipa.size >= BLOCK_BYTES { BLOCK_BYTES } else { PAGE_BYTES };
        fixed
            .or_else(|| space.allocate(from, ipa.size, granule, ipa.base & (granule - 1)))
            .ok_or_else(|| vec![no_room(system, what, ipa.size, span)])
    };
    for (partition, view) in system.partitions.iter().zip(views) {
        let name = &partition.name.value;
        let ranges =
            partition.memory.iter().map(|m| take(name, m.ipa, m.pa.as_ref().map(|pa| pa.value), 0, m.span));
        addresses.memory.push(ranges.collect::<Result<_, _>>()?);
        let regions = partition.regions.iter().enumerate().map(|(index, region)| {
            let ipa = view.extra(ExtraKind::Region(index));
            let pa = region.pa.as_ref().map(|pa| pa.value);
            let outlives = region.keep_over.as_ref().is_some_and(|k| k.value == KeepOver::BoardReset);
            take(name, ipa, pa, if outlives { scratch_end } else { 0 }, region.span)
        });
        addresses.regions.push(regions.collect::<Result<_, _>>()?);
    }
    for (index, segment) in system.segments.iter().enumerate() {
        if segment.writer.is_some() {
            let ipa = AddressRange::new(0, segment.size.value);
            let pa = segment.pa.as_ref().map(|pa| pa.value);
            addresses.segments[index] = take(&segment.name.value, ipa, pa, 0, segment.span)?;
        }
    }
    Ok(addresses)
}

/// The image: sealed part, pristine payloads, and what lies beyond the file's end.
fn image(system: &System, views: &[View], guests: &[Guest], sizes: &Sizes) -> Addresses {
    let image_base = system.board.facts.image_base;
    let mut at = Cursor(image_base);
    at.take(sizes.el2);
    let blueprint = at.take(sizes.blueprint).base;
    let info: Vec<u64> = views.iter().map(|v| at.take(v.info.size - PAGE_BYTES).base).collect();
    let lists: Vec<u64> = views.iter().map(|_| at.take(PAGE_BYTES).base).collect();
    let loader = at.take(sizes.loader).base;
    let tables = at.take(sizes.table_pages * PAGE_BYTES).base;
    let sealed_end = at.0;
    // No loader looks at them before they are read: they are under the digest.
    let segments = system.segments.iter().map(|s| match s.writer {
        Some(_) => AddressRange::new(0, 0),
        None => at.take(s.size.value),
    });
    let segments: Vec<AddressRange> = segments.collect();
    let hashed_end = at.0;
    let pristine = |g: &Guest, at: &mut Cursor| {
        let copies = g.copies.iter();
        copies.map(|c| at.take(c.bytes.len() as u64).base).collect()
    };
    let copies: Vec<Vec<u64>> = guests.iter().map(|g| pristine(g, &mut at)).collect();
    let file_end = at.0;
    let (dynamic, console_out, console_in, health) = work_area(system, &mut at);
    let trace = at.take(ports::trace_bytes(system));
    let state = at.take(sizes.state);
    let work = AddressRange::new(file_end, at.0 - file_end);
    let stacks = at.take(STACK_STRIDE * system.board.cpus.len() as u64);
    let port_memory = system.ports.iter().map(|port| {
        let memory = ports::memory(port);
        let writer = at.take(memory.writer_bytes);
        (writer, memory.consumer_bytes.map(|bytes| at.take(bytes)))
    });
    let port_memory: Vec<_> = port_memory.collect();
    Addresses {
        image_base,
        blueprint,
        info,
        lists,
        loader,
        tables,
        sealed_end,
        hashed_end,
        copies,
        file_end,
        work,
        dynamic,
        console_out,
        console_in,
        health,
        trace,
        state,
        stacks,
        ports: port_memory,
        image_end: at.0,
        memory: Vec::new(),
        regions: Vec::new(),
        segments,
    }
}

/// The work area: dynamic pages, console rings out and in, the ring of health records.
fn work_area(
    system: &System,
    at: &mut Cursor,
) -> (Vec<u64>, Vec<AddressRange>, Vec<AddressRange>, AddressRange) {
    let partitions = &system.partitions;
    let dynamic = partitions.iter().map(|_| at.take(PAGE_BYTES).base);
    let dynamic = dynamic.collect();
    let ring = |bytes: u32| u64::from(bytes).next_power_of_two().max(PAGE_BYTES);
    let console_out = partitions.iter().map(|p| at.take(ring(p.console_bytes.value))).collect();
    let console_in = partitions.iter().map(|_| at.take(PAGE_BYTES)).collect();
    let health = at.take(ports::health_bytes(system));
    (dynamic, console_out, console_in, health)
}

/// IMG-003: the image, where the boot method puts it, lies in RAM, on nothing that firmware keeps, and inside what
/// the configuration pins for the hypervisor.
fn fits_where_loaded(system: &System, addresses: &Addresses) -> Result<(), Vec<Finding>> {
    let image = AddressRange::new(addresses.image_base, addresses.image_end - addresses.image_base);
    let mut out = Vec::new();
    let refuse = |message: &str, other: Option<Span>, what: String, expected: String| {
        let span = system.hypervisor.span;
        let finding = Finding::new(&IMG_003, message, span, format!("the image: {image}"))
            .found(what)
            .expected(expected);
        other.into_iter().fold(finding, |f, s| f.also(s, "in the way"))
    };
    if !system.board.ram.iter().any(|(ram, _)| ram.contains(&image)) {
        let ram: Vec<String> = system.board.ram.iter().map(|(r, _)| r.to_string()).collect();
        let expected = format!("inside {}", ram.join(", "));
        out.push(refuse("the image is not in RAM", None, image.to_string(), expected));
    }
    for reserved in system.board.reserved.iter().filter(|r| r.range.overlaps(&image)) {
        let message = format!("the image lies on {}", reserved.what);
        let expected = format!("an end at or below {:#x}", reserved.range.base);
        out.push(refuse(&message, reserved.span, format!("{image} and {}", reserved.range), expected));
    }
    if let Some(pinned) = &system.hypervisor.memory
        && !pinned.value.contains(&image)
    {
        let expected = format!("inside {}", pinned.value);
        let message = "the image leaves the hypervisor's memory";
        out.push(refuse(message, Some(pinned.span), image.to_string(), expected));
    }
    if out.is_empty() { Ok(()) } else { Err(out) }
}

fn no_room(system: &System, what: &str, bytes: u64, span: Span) -> Finding {
    let ram: Vec<String> = system.board.ram.iter().map(|(r, _)| r.to_string()).collect();
    Finding::new(
        &MEM_009,
        format!("no stretch of RAM is left for {what}"),
        span,
        format!("{} in one piece", Bytes(bytes)),
    )
    .found(format!("RAM {}, partly taken by image, firmware and others", ram.join(", ")))
    .expected(format!("{} free in one piece", Bytes(bytes)))
}

/// The complete layout as the rules judge it.
pub fn judged(system: &System, views: &[View], addresses: &Addresses) -> Layout {
    let mut layout = Layout::fixed(system);
    layout.physical.clear();
    let mut put = |owner, what: String, range, span| {
        layout.physical.push(Placement { owner, what, range, span });
    };
    let own = addresses.ports.first().map_or(addresses.image_end, |(w, _)| w.base);
    let span = system.hypervisor.span;
    let image = AddressRange::new(addresses.image_base, own - addresses.image_base);
    put(Owner::Hypervisor, "the image".to_owned(), image, span);
    for (port, (writer, consumer)) in system.ports.iter().zip(&addresses.ports) {
        let what = format!("memory of port {}", port.name.value);
        put(Owner::Shared, what.clone(), *writer, port.span);
        if let Some(consumer) = consumer {
            put(Owner::Shared, what, *consumer, port.span);
        }
    }
    for (index, partition) in system.partitions.iter().enumerate() {
        let name = &partition.name.value;
        for (memory, range) in partition.memory.iter().zip(&addresses.memory[index]) {
            let what = format!("memory of {name}");
            put(Owner::Partition(index), what, *range, memory.span);
        }
        for (region, range) in partition.regions.iter().zip(&addresses.regions[index]) {
            let what = format!("region {} of {name}", region.name.value);
            put(Owner::Partition(index), what, *range, region.span);
        }
    }
    let written = system.segments.iter().zip(&addresses.segments);
    for (segment, range) in written.filter(|(s, _)| s.writer.is_some()) {
        let what = format!("segment {}", segment.name.value);
        put(Owner::Shared, what, *range, segment.span);
    }
    for (placements, view) in layout.intermediate.iter_mut().zip(views) {
        placements.extend(view.placements.iter().cloned());
    }
    layout
}
