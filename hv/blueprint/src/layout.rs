//! Records of the blueprint. Every field is little-endian; padding is explicit and zero, so that
//! equal systems have equal bytes.

use crate::limits::{DOORBELLS_MAX, IRQ_WORDS};
use bulkhead_abi::info::event;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every blueprint after its digest.
pub const MAGIC: [u8; 8] = *b"BULKHEAD";
/// Version of this module's records.
pub const VERSION: u32 = 11;
/// An index that names nothing.
pub const NONE: u32 = u32::MAX;

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

record! {
    /// Where a table lies.
    Table {
        /// Bytes from the header's start, a multiple of 8.
        offset: u32,
        /// Number of records.
        count: u32,
    }
}

record! {
    /// A range of addresses.
    Range {
        /// First byte.
        base: u64,
        /// Length in bytes.
        bytes: u64,
    }
}

record! {
    /// The physical interrupt controller, as EL2 drives it.
    Gic {
        /// 2 or 3.
        version: u32,
        /// Maintenance interrupt (PPI) of the virtual CPU interface.
        maintenance_intid: u32,
        /// EL2 physical timer (CNTHP) interrupt.
        hyp_timer_intid: u32,
        /// CPUs of partitions with [`partition_flags::DIRECT_INTERRUPTS`]: bit n = CPU n. EL2's own
        /// interrupts are FIQs there.
        direct_cpus: u32,
        /// Distributor.
        gicd: u64,
        /// First redistributor (GICv3), stride 0x20000.
        gicr: u64,
        /// CPU interface (GICv2).
        gicc: u64,
        /// Virtual interface control (GICv2).
        gich: u64,
    }
}

record! {
    /// A 32-bit store that a board asks for: the register keeps its bits under `keep`, the others
    /// become those of `value`. It is read first only if `keep` is not 0.
    RegisterWrite {
        /// Physical address, a multiple of 4.
        address: u64,
        /// Bits that stay.
        keep: u32,
        /// The other bits.
        value: u32,
    }
}

record! {
    /// The system as a whole. Lies at the blueprint's first byte.
    Header {
        /// The image ID: SHA-256 over EL2's text and rodata, then the blueprint from [`Header::magic`] on, then all
        /// bytes up to [`Header::hashed_end`].
        sha256: [u8; 32],
        /// [`MAGIC`].
        magic: [u8; 8],
        /// [`VERSION`].
        version: u32,
        /// Bytes of the blueprint, header included.
        total_bytes: u32,
        /// Name of the board, NUL-padded.
        board: [u8; 32],
        /// The system's part number, NUL-padded.
        part_number: [u8; 64],
        /// Physical address at which the image must lie: its first byte.
        image_base: u64,
        /// End of EL2's instructions, which start at `image_base` (physical). For the verifier.
        text_end: u64,
        /// End of EL2's constants, which follow them (physical): so far reaches the digest's first part.
        /// For the verifier.
        rodata_end: u64,
        /// End of the sealed part (physical): blueprint, static pages, load lists, loader, tables.
        sealed_end: u64,
        /// End of the hashed bytes (physical): the sealed part, then segments that nobody writes.
        hashed_end: u64,
        /// End of everything the image occupies, payloads included (physical).
        image_end: u64,
        /// Root of EL2's own stage-1 table.
        el2_root: u64,
        /// Memory that EL2 alone reads and writes beside its own data: rings, dynamic pages, `state`.
        work: Range,
        /// End of `work`: what EL2 keeps of each partition and vCPU, as much as the system has of them.
        state: Range,
        /// EL2's stacks, one for each CPU in turn, [`crate::limits::STACK_STRIDE`] apart; behind `work`.
        stacks: u64,
        /// Frequency of CNTVCT that durations were compiled for, in hertz.
        cntfrq_hz: u32,
        /// How secondary CPUs are started, one of [`cpu_boot`].
        cpu_boot: u32,
        /// Interrupt controller.
        gic: Gic,
        /// Console UART registers (PL011).
        uart_base: u64,
        /// Console UART interrupt.
        uart_intid: u32,
        /// Index of the CPU whose EL2 drains the console rings.
        console_cpu: u32,
        /// Ticks between two visits that drain the console: one UART FIFO at its line rate.
        console_interval_ticks: u64,
        /// Index of the initial plan, [`NONE`] where no CPU is shared.
        initial_plan: u32,
        /// Longest of the CPUs' [`Cpu::guard_ticks`]: a plan is asked for at least two of it ahead.
        window_guard_ticks: u32,
        /// Latest that a window may begin after its planned tick; later is [`event::WINDOW_OVERRUN`].
        /// `u64::MAX`: never.
        window_latency_ticks: u64,
        /// Nanoseconds of one tick, times 2^32.
        tick_ns_q32: u64,
        /// Ring of health records in `work`.
        health_ring: Range,
        /// Trace rings in `work`: one for each CPU, all of one size, in the order of the CPUs
        /// ([`bulkhead_abi::trace`]).
        trace_rings: Range,
        /// Light for the user without a cable: the store that switches it on; address 0 without one.
        led_on: RegisterWrite,
        /// The store that switches it off.
        led_off: RegisterWrite,
        /// [`RegisterWrite`] records: of boot, then of power-off, then of the watchdog, then of reset. `boot.s` reads them
        /// before anything is proven.
        register_writes: Table,
        /// How many of them are made by the boot CPU's first instructions, with the MMU off.
        boot_writes: u32,
        /// How many switch the board off; 0: by PSCI, if it starts the CPUs.
        off_writes: u32,
        /// How many start the board's watchdog anew; 0: it is not used.
        kick_writes: u32,
        /// CPUs that must go on for it to be kicked (bit n: CPU n); the lowest kicks.
        watchdog_cpus: u32,
        /// Ticks after which such a CPU shows again that it goes on: a little less than a major frame.
        beat_ticks: u64,
        /// [`Cpu`] records, in the order of their MPIDR.
        cpus: Table,
        /// [`Partition`] records.
        partitions: Table,
        /// [`Vcpu`] records, those of a partition adjacent and in order.
        vcpus: Table,
        /// `u32` indices into `vcpus`: the vCPUs bound to each CPU.
        slots: Table,
        /// [`Route`] records, [`crate::limits::ROUTES`] of them, by physical INTID.
        routes: Table,
        /// [`InterruptLimit`] records.
        interrupt_limits: Table,
        /// [`Range`] records: memory of partitions, by IPA.
        memory: Table,
        /// [`PortEnd`] records, those of a partition adjacent and in the order of its port table.
        port_ends: Table,
        /// [`Doorbell`] records.
        doorbells: Table,
        /// [`PeerWord`] records: who must learn of a partition's (re)start.
        peer_words: Table,
        /// [`Authority`] records.
        authorities: Table,
        /// [`HealthRow`] records, [`event::COUNT`] for each partition.
        health_rows: Table,
        /// [`Plan`] records.
        plans: Table,
        /// [`PlanCpu`] records, one for each CPU of each plan.
        plan_cpus: Table,
        /// [`Window`] records.
        windows: Table,
        /// [`Range`] records: physical memory that the board must offer.
        required: Table,
        /// [`Reach`] records, for the verifier: EL2 does not read them.
        reaches: Table,
    }
}

impl Header {
    /// The header at the start of `bytes`, unchecked but for length and alignment: for the little that
    /// is needed before [`crate::Blueprint::parse`] can be called, and to report its refusal.
    #[must_use]
    pub fn prefix(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }
}

/// How secondary CPUs are started.
pub mod cpu_boot {
    /// PSCI CPU_ON by SMC.
    pub const PSCI_SMC: u32 = 1;
    /// Spin-table: write the entry to the release address, then SEV.
    pub const SPIN_TABLE: u32 = 2;
}

record! {
    /// A physical CPU.
    Cpu {
        /// MPIDR_EL1 affinity fields.
        mpidr: u64,
        /// Spin-table release address, 0 with PSCI.
        release: u64,
        /// First of its entries in `slots`.
        slot_first: u32,
        /// Number of vCPUs bound to it.
        slot_count: u32,
        /// So long before a window's end EL2 takes the CPU back: the longest visit, one partition switch, and the
        /// dearest cleaning of a window on this CPU (ruling 11).
        guard_ticks: u32,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// A partition.
    Partition {
        /// Name, NUL-padded.
        name: [u8; 32],
        /// Identifier from the configuration.
        id: u32,
        /// VMID, from 1.
        vmid: u32,
        /// First of its vCPUs.
        vcpu_first: u32,
        /// Number of vCPUs.
        vcpu_count: u32,
        /// Bits of [`partition_flags`].
        flags: u32,
        /// First of its `memory` ranges.
        memory_first: u32,
        /// Number of ranges.
        memory_count: u32,
        /// First of its `port_ends`.
        port_first: u32,
        /// Number of ports.
        port_count: u32,
        /// First of its `peer_words`.
        peer_first: u32,
        /// Number of peer words.
        peer_count: u32,
        /// First of its `authorities`.
        authority_first: u32,
        /// Number of authorities.
        authority_count: u32,
        /// First of its [`event::COUNT`] rows in `health_rows`.
        health_first: u32,
        /// INTID of the emulated PL011.
        pl011_intid: u32,
        /// Plans that it may switch to: bit n = plan n.
        plans: u32,
        /// Granted hypercalls: bit n = base + n.
        grants: u64,
        /// Root of its stage-2 table (level 1).
        stage2_root: u64,
        /// Root of the loader's stage-2 table.
        loader_root: u64,
        /// End of the loader's stack (IPA).
        loader_stack: u64,
        /// First instruction (IPA).
        entry: u64,
        /// x0 at entry: the guest's device tree (IPA), or 0.
        entry_x0: u64,
        /// Information region as the guest sees it.
        info_ipa: u64,
        /// Its bytes, dynamic page included.
        info_bytes: u64,
        /// Physical address of the dynamic page, in the work area.
        info_dynamic: u64,
        /// Emulated PL011 (IPA), 0 without one.
        pl011_ipa: u64,
        /// Emulated distributor (IPA).
        gicd_ipa: u64,
        /// First emulated redistributor (IPA), GICv3 only.
        gicr_ipa: u64,
        /// Console output ring, in the work area; a power of two.
        console_out: Range,
        /// Console input ring, in the work area; a power of two.
        console_in: Range,
        /// From (re)start to mode NORMAL, 0 without a limit.
        init_timeout_ticks: u64,
        /// Watchdog period, 0 without one.
        watchdog_ticks: u64,
        /// Plans in which it has windows: bit n = plan n. Its deadlines stand still in the others.
        plans_present: u32,
        /// Doorbell bit that tells it of health events and of requests, or [`NONE`].
        event_bit: u32,
        /// Restarts of any kind allowed in a trailing time.
        restart_limit: HealthStep,
        /// Physical interrupts that are the partition's own.
        irq_owned: [u32; IRQ_WORDS],
        /// Interrupts that exist for the partition, owned ones included.
        irq_present: [u32; IRQ_WORDS],
        /// INTID of each doorbell bit, 0 where unused.
        doorbell_intids: [u16; DOORBELLS_MAX],
    }
}

impl Partition {
    /// Whether it has [`partition_flags::DIRECT_INTERRUPTS`].
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.flags & partition_flags::DIRECT_INTERRUPTS != 0
    }
}

/// Bits of [`Partition::flags`].
pub mod partition_flags {
    /// An emulated PL011 is the console.
    pub const PL011: u32 = 1 << 0;
    /// The console hypercalls are granted.
    pub const CONSOLE_HYPERCALL: u32 = 1 << 1;
    /// It may be restarted: no bus master of its own could write into memory that is being loaded.
    pub const RESTARTABLE: u32 = 1 << 2;
    /// It has regions that outlive a restart: a warm restart is possible.
    pub const WARM: u32 = 1 << 3;
    /// Its physical interrupts go to it without EL2; it has no virtual ones. GICv3 only.
    pub const DIRECT_INTERRUPTS: u32 = 1 << 4;
    /// Stolen time (DEN0057) is offered.
    pub const PV_TIME: u32 = 1 << 16;
    /// CNTVCT stands still outside the partition's windows.
    pub const EXECUTION_CLOCK: u32 = 1 << 17;
}

record! {
    /// A vCPU.
    Vcpu {
        /// Its partition.
        partition: u32,
        /// Its number in the partition.
        index: u32,
        /// The CPU that it is bound to.
        cpu: u32,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// Who gets a physical interrupt.
    Route {
        /// A partition's index, or one of [`route`].
        owner: u32,
    }
}

record! {
    /// How often a partition's physical interrupt may come.
    InterruptLimit {
        /// INTID, a shared peripheral interrupt.
        intid: u32,
        /// The partition's index.
        owner: u32,
        /// So many times, not 0.
        count: u32,
        /// Zero.
        reserved: u32,
        /// In any time as long as this.
        per_ticks: u64,
    }
}

/// Special owners of a [`Route`].
pub mod route {
    /// Plus an index into the interrupt limits: the partition named there, which may have it so often.
    /// A value of its own, so that the way of all other interrupts does not pay for the question.
    pub const LIMITED: u32 = 1 << 16;
    /// Nobody: disabled and never enabled.
    pub const NOBODY: u32 = u32::MAX;
    /// EL2 itself.
    pub const HYPERVISOR: u32 = u32::MAX - 1;
    /// Banked: the partition that runs on the CPU (timer PPIs).
    pub const CURRENT: u32 = u32::MAX - 2;
}

record! {
    /// One end of a port, for the doorbell hypercall.
    PortEnd {
        /// One of [`bulkhead_abi::port::direction`].
        direction: u32,
        /// First of the doorbells it rings.
        doorbell_first: u32,
        /// Number of doorbells, 0 for none.
        doorbell_count: u32,
        /// Least ticks between two rings (ruling 15), 0 for none.
        min_interval_ticks: u32,
    }
}

record! {
    /// Whom a doorbell interrupts.
    Doorbell {
        /// The receiving vCPU (index into `vcpus`).
        vcpu: u32,
        /// The receiver's doorbell bit.
        bit: u32,
    }
}

record! {
    /// A word of a peer's information page that holds this partition's epoch.
    PeerWord {
        /// The peer.
        partition: u32,
        /// The port's index at the peer.
        port: u32,
    }
}

record! {
    /// A right over another partition.
    Authority {
        /// The target.
        partition: u32,
        /// Bits `1 << operation` of [`bulkhead_abi::hypercall::control`].
        rights: u32,
    }
}

record! {
    /// An escalation step.
    HealthStep {
        /// So many times; 0: no such step.
        count: u32,
        /// Then this step: see [`step`].
        action: u32,
        /// Within this trailing time.
        within_ticks: u64,
    }
}

record! {
    /// What happens on one event.
    HealthRow {
        /// In mode NORMAL, see [`step`].
        normal: u32,
        /// While initialising, see [`step`].
        init: u32,
        /// Escalation, in order.
        steps: [HealthStep; 3],
    }
}

pub use bulkhead_abi::health::action;

/// A step of the health monitor in one word: what is done, who is told, which plan is entered.
pub mod step {
    /// One of [`super::action`].
    pub const ACTION_MASK: u32 = 0xFF;
    /// Bits 15:8: index of the partition that is told, plus one; 0 for nobody.
    pub const NOTIFY_SHIFT: u32 = 8;
    /// Bits 31:16: index of the plan of [`super::action::SWITCH_PLAN`].
    pub const PLAN_SHIFT: u32 = 16;
}

record! {
    /// A plan.
    Plan {
        /// Identifier from the configuration.
        id: u32,
        /// First of its [`PlanCpu`] records; there is one for each CPU.
        cpu_first: u32,
        /// Major frame, at least four window guards.
        frame_ticks: u64,
        /// Bits of [`plan_flags`].
        flags: u32,
        /// Zero.
        reserved: u32,
    }
}

/// Bits of [`Plan::flags`].
pub mod plan_flags {
    /// The health monitor enters it at once, not at the end of the major frame.
    pub const IMMEDIATE: u32 = 1 << 0;
}

record! {
    /// One CPU in one plan.
    PlanCpu {
        /// First of its windows, in order of time.
        window_first: u32,
        /// Number of windows; 0 where one partition owns the CPU.
        window_count: u32,
        /// vCPU that runs when no window does, or [`NONE`].
        background: u32,
        /// Zero.
        reserved: u32,
    }
}

record! {
    /// A window.
    Window {
        /// From the frame's start.
        start_ticks: u64,
        /// From the frame's start.
        end_ticks: u64,
        /// Start of the vCPU's next window on this CPU, from the same frame's start: beyond the frame
        /// for the last one.
        next_ticks: u64,
        /// The vCPU that runs (index into `vcpus`).
        vcpu: u32,
        /// Bits of [`window_flags`].
        flags: u32,
    }
}

record! {
    /// A stretch of addresses that a partition reaches at run time, as it is meant. EL2 does not read it:
    /// the verifier holds it against the translation tables.
    Reach {
        /// The partition.
        partition: u32,
        /// What it is, one of [`reach`].
        kind: u32,
        /// Bits of [`rights`].
        rights: u32,
        /// Of [`reach::PORT`]: index in the partition's port table; else [`NONE`].
        port: u32,
        /// First address as the partition sees it, page aligned.
        ipa: u64,
        /// First physical address, page aligned.
        pa: u64,
        /// Length in bytes, whole pages.
        bytes: u64,
    }
}

/// Kinds of a [`Reach`].
pub mod reach {
    /// The partition's own memory.
    pub const MEMORY: u32 = 1;
    /// Further memory of its own.
    pub const REGION: u32 = 2;
    /// Memory that several partitions share as declared.
    pub const SEGMENT: u32 = 3;
    /// Memory of a port.
    pub const PORT: u32 = 4;
    /// The information region's page that EL2 updates, in the work area.
    pub const INFO_DYNAMIC: u32 = 5;
    /// The information region's static pages, in the sealed part of the image.
    pub const INFO_STATIC: u32 = 6;
    /// Registers of a granted device.
    pub const DEVICE: u32 = 7;
    /// The GICv2 virtual CPU interface, which the hardware banks by CPU.
    pub const CPU_INTERFACE: u32 = 8;
    /// The trace rings, in the work area.
    pub const TRACE: u32 = 9;
    /// The health log, in the work area.
    pub const HEALTH: u32 = 10;
}

/// Bits of [`Reach::rights`].
pub mod rights {
    /// Loads.
    pub const READ: u32 = 1 << 0;
    /// Stores.
    pub const WRITE: u32 = 1 << 1;
    /// Instruction fetches.
    pub const EXECUTE: u32 = 1 << 2;
}

/// Bits of [`Window::flags`].
pub mod window_flags {
    /// The L1 data cache is cleaned and invalidated before the window.
    pub const CLEAN_L1: u32 = 1 << 0;
    /// The branch predictor is cleared by firmware before the window.
    pub const CLEAN_PREDICTOR: u32 = 1 << 1;
}

/// Rows that each partition has in `health_rows`.
pub const HEALTH_ROWS: u32 = event::COUNT as u32;
