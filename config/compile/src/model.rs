//! The typed model of a whole system, as one configuration file describes it.
//!
//! The reader builds it from the device tree, the rules judge it, and the back end (allocation, stage-2 tables,
//! guest device trees, packing) turns it into an image. It is plain owned data. Every element carries the [`Span`]
//! of the text it came from, so that whoever refuses it later can point at that text.
//!
//! Cross references are indices into the vectors of [`System`]; the reader resolves them, so an index is always in
//! range. Source order is kept everywhere: identity is `id` or name, never position.
//!
//! Units: bytes, nanoseconds (`_ns`), physical addresses (`pa`), a partition's intermediate addresses (`ipa`).

pub use crate::board::{Board, BoardFacts, BootMethod, CanonicalView, Cpu, Gic, GicVersion, Reservation};
pub use crate::device::{Device, Interrupt, Oddity, Trigger};
pub use crate::health::{Action, Escalation, Event, HealthEntry, HealthTable, RestartLimit, Step};
pub use crate::node::{BoardNode, BoardNodeIndex, Entry, Reference, Target};
pub use crate::plan::{Clean, Plan, PlanCpu, Window};
pub use crate::span::{AddressRange, Span, Spanned};

/// Granule of every stage-1 and stage-2 table, bytes; ownership of memory and registers is decided per page.
pub const PAGE_BYTES: u64 = 4096;

/// Width of a partition's intermediate physical addresses in bits (VTCR_EL2.T0SZ = 25: one level-1 root table).
pub const IPA_BITS: u32 = 39;

/// Index into [`System::partitions`].
pub type PartitionIndex = usize;
/// Index into [`System::devices`].
pub type DeviceIndex = usize;
/// Index into [`Board::cpus`]; CPUs stand in ascending order of their MPIDR.
pub type CpuIndex = usize;
/// Index into [`System::plans`].
pub type PlanIndex = usize;
/// Index into [`System::health_tables`].
pub type HealthTableIndex = usize;

/// A whole system: the board, what the hypervisor keeps for itself, and everything that partitions get.
#[derive(Debug, Clone)]
pub struct System {
    /// The board the configuration includes, from its device tree and its `board.toml`.
    pub board: Board,
    /// What the reader could not take as it is written.
    pub doubts: crate::doubts::Doubts,
    /// Node `/hypervisor`.
    pub hypervisor: Hypervisor,
    /// Every device of the board's tree that has registers or interrupts, whether granted or not.
    pub devices: Vec<Device>,
    /// Every node of the board's tree that describes hardware.
    pub nodes: Vec<BoardNode>,
    /// Nodes of `/domains`.
    pub partitions: Vec<Partition>,
    /// Nodes of `/segments`.
    pub segments: Vec<Segment>,
    /// Nodes of `/ports`.
    pub ports: Vec<Port>,
    /// Nodes of `/plans`; empty if no CPU is shared.
    pub plans: Vec<Plan>,
    /// Node `/plans` itself.
    pub plans_span: Option<Span>,
    /// Property `initial` of `/plans`.
    pub initial_plan: Option<Spanned<PlanIndex>>,
    /// Nodes of `/health` but `module`.
    pub health_tables: Vec<HealthTable>,
    /// Node `/health/module`: events that no partition can be blamed for.
    pub module_health: Option<HealthTable>,
}

/// What the hypervisor keeps for itself: node `/hypervisor`.
#[derive(Debug, Clone)]
pub struct Hypervisor {
    /// The node; the root node where it is missing.
    pub span: Span,
    /// Part number shown by banner, info page and report.
    pub part_number: Spanned<String>,
    /// Physical memory pinned for EL2 (text, data, tables, rings). Absent: the compiler chooses.
    pub memory: Option<Spanned<AddressRange>>,
    /// The UART that EL2 drives; `None` only beside LNG-004 or LNG-002.
    pub console: Option<Spanned<DeviceIndex>>,
    /// The CPU whose EL2 drains the console rings.
    pub console_cpu: Spanned<CpuIndex>,
    /// Size of the trace ring of each CPU, bytes.
    pub trace_bytes_per_cpu: Spanned<u32>,
    /// Capacity of the health log, records.
    pub health_log_records: Spanned<u32>,
    /// Requirement: plan switch request to first window of the new plan.
    pub plan_switch_latency_ns: Option<Spanned<u64>>,
    /// `spectre-bhb`: EL2 overwrites the branch history at every entry from a guest.
    pub spectre_bhb: Option<Span>,
    /// Requirement: planned start of a window to its first instruction, watched at run time.
    pub window_latency_ns: Option<Spanned<u64>>,
    /// Time after which the board's own watchdog resets it unless EL2 kicks it; absent: it is not used.
    pub watchdog_ns: Option<Spanned<u64>>,
}

/// One partition: a node of `/domains`.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The node.
    pub span: Span,
    /// Node name: what banner, console prefix and report call it.
    pub name: Spanned<String>,
    /// Device-tree label, if it has one.
    pub label: Option<String>,
    /// Stable identity, 1 or more.
    pub id: Spanned<u32>,
    /// `os,type`, as written.
    pub os_type: Option<Spanned<String>>,
    /// `bulkhead,criticality`.
    pub criticality: Option<Spanned<Criticality>>,
    /// Physical CPU of vCPU 0, 1, ... in ascending order, those of the mask that the board has.
    pub vcpus: Spanned<Vec<CpuIndex>>,
    /// The CPU mask as written; bits without a CPU are what CPU-002 names.
    pub cpu_mask: u32,
    /// `memory`, each range with its pinned physical start.
    pub memory: Vec<MemoryRange>,
    /// `bulkhead,direct-map`: every range has IPA = PA.
    pub direct_map: Option<Span>,
    /// `access`: devices passed through.
    pub access: Vec<Spanned<DeviceIndex>>,
    /// `grants`: what there is to say about one device of `access`.
    pub grants: Vec<Grant>,
    /// `regions`: memory beyond `memory` that is this partition's alone.
    pub regions: Vec<Region>,
    /// `bulkhead,image` with `bulkhead,load` and `bulkhead,entry`.
    pub image: Option<Payload>,
    /// `bulkhead,initrd`.
    pub initrd: Option<Payload>,
    /// `bulkhead,dtb`: a device tree that the user supplies. Absent: generated.
    pub dtb: Option<Payload>,
    /// `bulkhead,bootargs`.
    pub bootargs: Option<Spanned<String>>,
    /// `bulkhead,console`.
    pub console: Spanned<ConsoleKind>,
    /// Ring of the console, bytes.
    pub console_bytes: Spanned<u32>,
    /// `bulkhead,health`.
    pub health: Option<Spanned<HealthTableIndex>>,
    /// Cold start to mode NORMAL, at most.
    pub init_timeout_ns: Option<Spanned<u64>>,
    /// Watchdog period, armed at NORMAL.
    pub watchdog_ns: Option<Spanned<u64>>,
    /// `bulkhead,direct-interrupts`: its physical interrupts reach it without EL2.
    pub direct_interrupts: Option<Span>,
    /// `bulkhead,pv-time`: stolen time (DEN0057) is offered.
    pub pv_time: Option<Span>,
    /// `bulkhead,clock`: what CNTVCT counts.
    pub clock: Spanned<GuestClock>,
    /// `bulkhead,cache-colours`: colours of the last-level cache, by bit.
    pub cache_colours: Option<Spanned<u32>>,
    /// `timing`: the temporal requirement.
    pub timing: Option<Timing>,
    /// `authority`: what this partition may do to others.
    pub authority: Vec<Authority>,
    /// Where the partition sees the emulated platform: the board's canonical view with the overrides of node `view`.
    pub view: View,
}

impl Partition {
    /// Its criticality, if it states one.
    pub fn level(&self) -> Option<Criticality> {
        self.criticality.as_ref().map(|c| c.value)
    }

    /// vCPU number of this partition on physical CPU `cpu`.
    pub fn vcpu_on(&self, cpu: CpuIndex) -> Option<usize> {
        self.vcpus.iter().position(|&c| c == cpu)
    }

    /// Rights to device `device`: read-write unless a grant says less.
    pub fn rights_to(&self, device: DeviceIndex) -> Rights {
        self.grants
            .iter()
            .find(|g| *g.device == device)
            .and_then(|g| g.rights.as_ref())
            .map_or(Rights::ReadWrite, |r| **r)
    }

    /// How device `device`, a bus master, is stopped before the partition is loaded anew, if that is said.
    pub fn quiesce_of(&self, device: DeviceIndex) -> Option<&Spanned<String>> {
        self.grants.iter().find(|g| *g.device == device)?.quiesce.as_ref()
    }

    /// Whether the partition holds `right` over the module itself.
    pub fn holds_over_module(&self, right: Right) -> bool {
        self.authority.iter().any(|a| a.over.is_empty() && a.allow.iter().any(|r| **r == right))
    }

    /// Whether its CNTVCT counts execution time.
    pub fn counts_execution(&self) -> bool {
        self.clock.value == GuestClock::Execution
    }

    /// Whether some region is kept over a warm restart; without one there is no warm restart.
    pub fn has_warm_restart(&self) -> bool {
        self.regions.iter().any(|r| r.keep_over.is_some())
    }
}

/// One range of a partition's own memory.
#[derive(Debug, Clone)]
pub struct MemoryRange {
    /// Property `memory`.
    pub span: Span,
    /// Where the partition sees it, and its size.
    pub ipa: AddressRange,
    /// Physical start where the user or the direct map fixes it. Absent: the compiler chooses.
    pub pa: Option<Spanned<u64>>,
}

impl MemoryRange {
    /// The physical range, where it is fixed.
    pub fn physical(&self) -> Option<AddressRange> {
        self.pa.as_ref().map(|pa| AddressRange { base: **pa, size: self.ipa.size })
    }
}

/// Extra memory of one partition, with its own rights, content and persistence.
#[derive(Debug, Clone)]
pub struct Region {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: Spanned<String>,
    /// Bytes.
    pub size: Spanned<u64>,
    /// Intermediate address. Absent: chosen.
    pub at: Option<Spanned<u64>>,
    /// Physical address. Absent: chosen.
    pub pa: Option<Spanned<u64>>,
    /// What the partition may do.
    pub rights: Spanned<Rights>,
    /// Initial content. Absent: zero. Few regions have one, so it lies apart.
    pub file: Option<Box<Payload>>,
    /// The strongest restart that leaves the content alone; each keeps over the weaker ones too.
    pub keep_over: Option<Spanned<KeepOver>>,
}

/// Memory shared by several partitions that is not a port: loaded once.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: Spanned<String>,
    /// Bytes.
    pub size: Spanned<u64>,
    /// Initial content. Absent: zero.
    pub file: Option<Payload>,
    /// Partitions that may read.
    pub readers: Vec<Spanned<PartitionIndex>>,
    /// The one that may also write.
    pub writer: Option<Spanned<PartitionIndex>>,
    /// Intermediate address, the same in each partition. Absent: chosen.
    pub at: Option<Spanned<u64>>,
    /// Physical address. Absent: chosen.
    pub pa: Option<Spanned<u64>>,
}

/// How much of a region survives what, weakest first: each value includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepOver {
    /// Kept over a warm restart of the partition.
    WarmRestart,
    /// Kept over a cold restart as well.
    ColdRestart,
    /// Kept over a warm reset of the board as well.
    BoardReset,
}

/// Rights of a partition to memory or registers. Never execution: only the payload's own code is executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// What there is to say about one passed-through device.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: String,
    /// The device; one of `access`.
    pub device: Spanned<DeviceIndex>,
    /// Rights to its registers. Absent: read-write.
    pub rights: Option<Spanned<Rights>>,
    /// Most interrupts that the device may raise, beyond which it is an interrupt-storm event.
    pub interrupt_limit: Option<InterruptLimit>,
    /// `quiesce`: how a bus master is stopped before its partition is loaded anew.
    pub quiesce: Option<Spanned<String>>,
}

/// At most `count` interrupts in any `per_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptLimit {
    /// Interrupts.
    pub count: u32,
    /// Nanoseconds.
    pub per_ns: u64,
}

/// A file that goes into the image.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The property that names it.
    pub span: Span,
    /// The path as written, relative to the configuration file.
    pub written: String,
    /// The file found, beside the configuration or in a search directory.
    pub path: Option<std::path::PathBuf>,
    /// Load address (IPA), given for raw binaries.
    pub load: Option<Spanned<u64>>,
    /// Entry address (IPA), given for raw binaries.
    pub entry: Option<Spanned<u64>>,
}

/// How a partition prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleKind {
    /// Not at all.
    None,
    /// An emulated PL011; the hypercall works too.
    Pl011,
    /// The console hypercall only.
    Hypercall,
}

/// What a partition's CNTVCT counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestClock {
    /// System time, which runs on outside the partition's windows.
    System,
    /// Execution time, which stands still outside them.
    Execution,
}

/// Criticality of a partition: the scheme and the level in it.
///
/// ISO 26262 (`QM`, `ASIL-A` to `ASIL-D`), DO-178C (`DAL-E` to `DAL-A`), IEC 61508 (`SIL-0` to `SIL-4`). Levels of
/// different schemes have no order: comparing them answers `None`, which the rules treat as an upward flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Criticality {
    /// The standard.
    pub scheme: CriticalityScheme,
    /// 0 is the lowest level of the scheme (QM, DAL-E, SIL-0); higher is more critical.
    pub level: u8,
}

/// The standard whose levels a configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CriticalityScheme {
    /// ISO 26262.
    Asil,
    /// DO-178C.
    Dal,
    /// IEC 61508.
    Sil,
}

impl PartialOrd for Criticality {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.scheme == other.scheme).then(|| self.level.cmp(&other.level))
    }
}

/// Temporal requirement of a partition.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The node.
    pub span: Span,
    /// Distance of releases.
    pub period_ns: Spanned<u64>,
    /// First release after the start of the major frame.
    pub offset_ns: Spanned<u64>,
    /// Net processor time per release, one per vCPU or one for all.
    pub duration_ns: Spanned<Vec<u64>>,
    /// Release to completion. Absent: the period.
    pub deadline_ns: Option<Spanned<u64>>,
    /// Longest time without the CPU.
    pub max_blackout_ns: Option<Spanned<u64>>,
    /// Plans under which the requirement does not hold.
    pub not_required_in: Vec<Spanned<PlanIndex>>,
}

/// One authority of a partition over others or over the module.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: String,
    /// Partitions it is about; empty: the module itself.
    pub over: Vec<Spanned<PartitionIndex>>,
    /// What is allowed.
    pub allow: Vec<Spanned<Right>>,
    /// Plans that the holder may switch to.
    pub plans: Vec<Spanned<PlanIndex>>,
}

/// Something an authority allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read a partition's state.
    Status,
    /// Suspend a partition.
    Suspend,
    /// Resume it.
    Resume,
    /// Restart it, warm or cold.
    Restart,
    /// Halt it for good.
    Halt,
    /// Read the health log (module).
    ReadHealth,
    /// Read the trace rings (module).
    ReadTrace,
    /// Reset the board (module).
    ResetBoard,
}

/// Where a partition sees the emulated platform; all addresses intermediate.
#[derive(Debug, Clone)]
pub struct View {
    /// Node `view`, or the partition where it has none.
    pub span: Span,
    /// Distributor, 64 KiB.
    pub gicd: u64,
    /// GICv2 CPU interface, 8 KiB.
    pub gicc: u64,
    /// GICv3 redistributors, 128 KiB per vCPU.
    pub gicr: u64,
    /// Emulated PL011, 4 KiB.
    pub uart: u64,
    /// Interrupt of the emulated PL011.
    pub uart_intid: u32,
}

/// A port: one writer, one or more readers.
#[derive(Debug, Clone)]
pub struct Port {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: Spanned<String>,
    /// Sampling or queuing, with what only that kind has.
    pub kind: PortKind,
    /// Partitions in `from`; PRT-001 and PRT-002 see to it that there is exactly one.
    pub from: Vec<PortEnd>,
    /// Partitions in `to`.
    pub to: Vec<PortEnd>,
    /// Largest message, bytes.
    pub message_bytes: Spanned<u32>,
    /// A virtual interrupt at each receiver.
    pub doorbell: Option<Doorbell>,
}

/// One end of a port.
#[derive(Debug, Clone)]
pub struct PortEnd {
    /// The reference in `from` or `to`.
    pub span: Span,
    /// The partition.
    pub partition: PartitionIndex,
    /// What that partition calls the port.
    pub name: Spanned<String>,
    /// Sampling readers: oldest age proven before boot. Absent: none required.
    pub max_age_ns: Option<Spanned<u64>>,
}

/// Doorbell of a port.
#[derive(Debug, Clone)]
pub struct Doorbell {
    /// Property `doorbell`.
    pub span: Span,
    /// Least time between two rings, enforced at the sender. Absent: the version's default.
    pub min_interval_ns: Option<Spanned<u64>>,
}

/// Kind of a port.
#[derive(Debug, Clone)]
pub enum PortKind {
    /// The newest message, read any number of times.
    Sampling {
        /// Older than this is invalid at the reader. Absent: never.
        refresh_ns: Option<Spanned<u64>>,
    },
    /// Messages in order, each read once.
    Queuing {
        /// Capacity, messages.
        depth: Spanned<u32>,
        /// Send to receivable, worst case. Absent: none required.
        max_latency_ns: Option<Spanned<u64>>,
        /// Messages that the writer sends in each of its periods, at most.
        per_period: Spanned<u32>,
    },
}

impl std::fmt::Display for Criticality {
    /// As a configuration writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = |from: u8, level: u8| char::from(from.saturating_add(level));
        match (self.scheme, self.level) {
            (CriticalityScheme::Asil, 0) => f.write_str("QM"),
            (CriticalityScheme::Asil, level) => write!(f, "ASIL-{}", letter(b'A' - 1, level)),
            (CriticalityScheme::Dal, level) => {
                write!(f, "DAL-{}", char::from(b'E'.saturating_sub(level)))
            }
            (CriticalityScheme::Sil, level) => write!(f, "SIL-{level}"),
        }
    }
}
