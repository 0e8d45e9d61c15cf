//! What each translation regime maps: EL2's own, a partition's at run time, and its loader's.

use super::guest::{Code, Guest};
use super::hypervisor::Hypervisor;
use super::layout::Addresses;
use super::load_list::Filled;
use super::ports::{ExtraKind, View};
use super::tables::{Access, BLOCK_BYTES, Mapping};
use crate::model::{BootMethod, GicVersion, KeepOver, PAGE_BYTES, PartitionIndex, Rights, System};
use crate::rules::layout::{GICC_BYTES, GICD_BYTES, GICR_BYTES};
use crate::span::{AddressRange, Spanned};
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::{NONE, reach};
use bulkhead_blueprint::limits::STACK_STRIDE;
use std::collections::{BTreeMap, BTreeSet};

/// GICv2 virtual interface control block in use (IHI0048, 5.3).
const GICH_BYTES: u64 = PAGE_BYTES;
/// Registers of a GICv2 distributor (IHI0048 4.1), whatever window a board gives it.
const GICV2_GICD_BYTES: u64 = PAGE_BYTES;

/// A mapping of a partition at run time, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// One of [`bulkhead_blueprint::layout::reach`].
    pub kind: u32,
    /// Of a port: its index in the partition's port table; else [`NONE`].
    pub port: u32,
    /// The mapping.
    pub mapping: Mapping,
}

impl Stretch {
    fn of(kind: u32) -> impl Fn(Mapping) -> Stretch {
        move |mapping| Stretch { kind, port: NONE, mapping }
    }
}

fn map(input: u64, range: AddressRange, access: Access) -> Mapping {
    Mapping { input, output: range.base, bytes: range.size, access }
}

fn identity(range: AddressRange, access: Access) -> Mapping {
    map(range.base, range.aligned_out(PAGE_BYTES), access)
}

/// EL2's stage 1: its own sections, what of the image is under the digest, the work area, and the devices that
/// it drives.
pub fn el2(system: &System, hypervisor: &Hypervisor, addresses: &Addresses) -> Vec<Mapping> {
    let sealed = AddressRange::new(addresses.blueprint, addresses.hashed_end - addresses.blueprint);
    let mut out = vec![
        identity(hypervisor.text, Access::ReadExecute),
        identity(hypervisor.rodata, Access::Read),
        identity(hypervisor.data, Access::ReadWrite),
        identity(sealed, Access::Read),
        identity(addresses.work, Access::ReadWrite),
    ];
    for base in (addresses.stacks.base..addresses.stacks.end_saturating()).step_by(STACK_STRIDE as usize) {
        // The first page of each stride stays unmapped: an overflow faults instead of reaching a neighbour.
        let stack = AddressRange::new(base + PAGE_BYTES, STACK_STRIDE - PAGE_BYTES);
        out.push(identity(stack, Access::ReadWrite));
    }
    let gic = &system.board.gic;
    let mut device = |base: u64, bytes: u64| {
        out.push(identity(AddressRange::new(base, bytes), Access::DeviceReadWrite));
    };
    let gicd = if gic.version == GicVersion::V2 { GICV2_GICD_BYTES } else { GICD_BYTES };
    device(gic.gicd.base, gicd.min(gic.gicd.size));
    if let Some(gicr) = gic.gicr {
        device(gicr.base, GICR_BYTES * system.board.cpus.len() as u64);
    }
    if let (Some(gicc), Some(gich)) = (gic.gicc, gic.gich) {
        device(gicc.base, GICC_BYTES.min(gicc.size));
        device(gich.base, GICH_BYTES.min(gich.size));
    }
    if let Some(console) = &system.hypervisor.console {
        let registers = system.devices[console.value].regs.first();
        registers.into_iter().for_each(|r| device(r.base, PAGE_BYTES));
    }
    let pages: BTreeSet<u64> = board_pages(system);
    out.extend(pages.into_iter().map(|base| identity(page(base), Access::DeviceReadWrite)));
    let releases: BTreeSet<u64> = releases(system);
    out.extend(releases.into_iter().map(|base| identity(page(base), Access::ReadWrite)));
    out.retain(|m| m.bytes != 0);
    out
}

fn page(base: u64) -> AddressRange {
    AddressRange::new(base & !(PAGE_BYTES - 1), PAGE_BYTES)
}

/// Pages of the registers by which EL2 leaves the board.
fn board_pages(system: &System) -> BTreeSet<u64> {
    let facts = &system.board.facts;
    let watchdog = facts.watchdog.filter(|_| system.hypervisor.watchdog_ns.is_some());
    let kick = watchdog.map_or(Vec::new(), |w| vec![w.load, w.start]);
    facts.power_off.iter().chain(&facts.reset).chain(&kick).map(|w| page(w.address).base).collect()
}

/// Pages of the spin-table's release words: memory, which the waiting CPUs read with their caches off.
fn releases(system: &System) -> BTreeSet<u64> {
    if system.board.facts.cpu_boot != BootMethod::SpinTable {
        return BTreeSet::new();
    }
    system.board.cpus.iter().filter_map(|cpu| Some(page(cpu.release_addr?).base)).collect()
}

/// A partition's stage 2 at run time.
pub fn run_time(
    system: &System,
    index: PartitionIndex,
    view: &View,
    guest: &Guest,
    addresses: &Addresses,
) -> Vec<Stretch> {
    let partition = &system.partitions[index];
    let mut out = Vec::new();
    for (range, physical) in partition.memory.iter().zip(&addresses.memory[index]) {
        let memory = match &guest.code {
            Code::Anything => vec![map(range.ipa.base, *physical, Access::ReadWriteExecute)],
            Code::Pages(pages) => split(range.ipa, physical.base, pages),
        };
        out.extend(memory.into_iter().map(Stretch::of(reach::MEMORY)));
    }
    for extra in &view.extras {
        let access = match extra.rights {
            Rights::Read => Access::Read,
            Rights::ReadWrite => Access::ReadWrite,
        };
        let kind = match extra.kind {
            ExtraKind::Region(_) => reach::REGION,
            ExtraKind::Segment(_) => reach::SEGMENT,
            ExtraKind::Trace => reach::TRACE,
            ExtraKind::Health => reach::HEALTH,
        };
        out.push(Stretch::of(kind)(map(extra.ipa.base, addresses.extra(index, extra.kind), access)));
    }
    let dynamic = AddressRange::new(addresses.dynamic[index], PAGE_BYTES);
    let fixed = AddressRange::new(addresses.info[index], view.info.size - PAGE_BYTES);
    out.push(Stretch::of(reach::INFO_DYNAMIC)(map(view.info.base, dynamic, Access::Read)));
    out.push(Stretch::of(reach::INFO_STATIC)(map(view.info.base + PAGE_BYTES, fixed, Access::Read)));
    out.extend(ports(view, addresses, true));
    out.extend(devices(system, index).into_iter().map(Stretch::of(reach::DEVICE)));
    if let (GicVersion::V2, Some(gicv)) = (system.board.gic.version, system.board.gic.gicv) {
        let range = AddressRange::new(gicv.base, GICC_BYTES.min(gicv.size));
        let mapping = map(partition.view.gicc, range, Access::DeviceReadWrite);
        out.push(Stretch::of(reach::CPU_INTERFACE)(mapping));
    }
    out
}

/// Memory of an ELF payload: code pages read-execute, the rest read-write.
fn split(ipa: AddressRange, physical: u64, code: &[AddressRange]) -> Vec<Mapping> {
    let mut out = Vec::new();
    let mut put = |from: u64, to: u64, access| {
        if from < to {
            let range = AddressRange::new(physical + (from - ipa.base), to - from);
            out.push(map(from, range, access));
        }
    };
    let mut at = ipa.base;
    for pages in code.iter().filter_map(|c| c.intersection(&ipa)) {
        put(at, pages.base, Access::ReadWrite);
        put(pages.base, pages.end_saturating(), Access::ReadExecute);
        at = pages.end_saturating();
    }
    put(at, ipa.end_saturating(), Access::ReadWrite);
    out
}

/// Memory of ports: each side's own is writable; with `peers` the other side's too, read-only.
fn ports(view: &View, addresses: &Addresses, peers: bool) -> Vec<Stretch> {
    let mut out = Vec::new();
    for (port, end) in view.ends.iter().enumerate() {
        let (writer, consumer) = &addresses.ports[end.port];
        let mut put = |ipa: u64, range: AddressRange, own: bool| {
            if own || peers {
                let access = if own { Access::ReadWrite } else { Access::Read };
                let mapping = map(ipa, range, access);
                out.push(Stretch { kind: reach::PORT, port: port as u32, mapping });
            }
        };
        put(end.writer_ipa, *writer, end.writes);
        if let (Some(ipa), Some(range)) = (end.consumer_ipa, consumer) {
            put(ipa, *range, !end.writes);
        }
    }
    out
}

/// Registers of passed-through devices, page by page at the same address.
fn devices(system: &System, index: PartitionIndex) -> Vec<Mapping> {
    let partition = &system.partitions[index];
    let mut pages: BTreeMap<u64, Access> = BTreeMap::new();
    for access in &partition.access {
        let writes = partition.rights_to(access.value) == Rights::ReadWrite;
        for range in system.devices[access.value].pages() {
            for page in (range.base..range.end_saturating()).step_by(PAGE_BYTES as usize) {
                let rights = pages.entry(page).or_insert(Access::DeviceRead);
                if writes {
                    *rights = Access::DeviceReadWrite;
                }
            }
        }
    }
    let list = pages.into_iter();
    list.map(|(base, access)| identity(page(base), access)).collect()
}

/// A partition's stage 2 while its loader runs; also the IPA of each pristine copy.
pub fn loading(
    system: &System,
    index: PartitionIndex,
    view: &View,
    guest: &Guest,
    addresses: &Addresses,
    loader_bytes: u64,
) -> (Vec<Mapping>, Vec<u64>) {
    let partition = &system.partitions[index];
    let list = AddressRange::new(addresses.lists[index], PAGE_BYTES);
    let code = AddressRange::new(addresses.loader, loader_bytes.next_multiple_of(PAGE_BYTES));
    let mut out =
        vec![map(loader::LOADER_IPA, code, Access::ReadExecute), map(loader::LIST_IPA, list, Access::Read)];
    for (range, physical) in partition.memory.iter().zip(&addresses.memory[index]) {
        out.push(map(range.ipa.base, *physical, Access::ReadWrite));
    }
    for extra in view.extras.iter().filter(|e| e.loaded) {
        let range = addresses.extra(index, extra.kind);
        out.push(map(extra.ipa.base, range, Access::ReadWrite));
    }
    out.extend(ports(view, addresses, false).into_iter().map(|s| s.mapping));
    // Congruent to the physical address modulo 2 MiB, so that blocks can be used.
    let origin = addresses.hashed_end & !(BLOCK_BYTES - 1);
    let mut sources = Vec::new();
    for (copy, at) in guest.copies.iter().zip(&addresses.copies[index]) {
        let source = loader::PAYLOAD_IPA + (at - origin);
        let bytes = (copy.bytes.len() as u64).next_multiple_of(PAGE_BYTES);
        out.push(map(source, AddressRange::new(*at, bytes), Access::Read));
        sources.push(source);
    }
    (out, sources)
}

/// Memory that the partition's loader fills: its own, its extras', and what it writes of its ports.
pub fn filled(system: &System, index: PartitionIndex, view: &View, addresses: &Addresses) -> Vec<Filled> {
    let partition = &system.partitions[index];
    let always = |range| Filled { range, kept: 0 };
    let memory = partition.memory.iter().map(|m| always(m.ipa));
    let extras = view.extras.iter().filter(|e| e.loaded).map(|e| Filled {
        range: e.ipa,
        kept: match e.kind {
            ExtraKind::Region(number) => kept_by(partition.regions[number].keep_over.as_ref()),
            _ => 0,
        },
    });
    let own = ports(view, addresses, false);
    let ports = own.iter().map(|s| always(AddressRange::new(s.mapping.input, s.mapping.bytes)));
    memory.chain(extras).chain(ports).collect()
}

/// The starts that leave a region alone.
fn kept_by(keep: Option<&Spanned<KeepOver>>) -> u64 {
    let starts: &[u64] = match keep.map(|k| k.value) {
        None => &[],
        Some(KeepOver::WarmRestart) => &[loader::start::WARM],
        Some(KeepOver::ColdRestart) => &[loader::start::WARM, loader::start::COLD],
        Some(KeepOver::BoardReset) => &[loader::start::WARM, loader::start::COLD, loader::start::KEPT],
    };
    starts.iter().fold(0, |bits, start| bits | 1 << start)
}
