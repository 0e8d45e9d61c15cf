//! What EL2 keeps: of the system, of each partition, of each CPU, of each vCPU.
//!
//! Of partitions and vCPUs there are as many as the system has, in memory that the blueprint gives
//! (`Header::state`); the rest is static.

use crate::console;
use bulkhead_abi::info::dynamic;
use bulkhead_arch::context::Context;
use bulkhead_arch::cpu::{Bound, Cpu, PerCpu};
use bulkhead_arch::memory::{State, zeroed};
use bulkhead_arch::once::Once;
use bulkhead_arch::uart::Uart;
use bulkhead_arch::{timer, traps};
use bulkhead_blueprint::layout::{self, NONE, Route, partition_flags};
use bulkhead_blueprint::limits::{CPUS_MAX, PARTITIONS_MAX, ROUTES, VCPUS_MAX};
use bulkhead_blueprint::{Blueprint, span};
use bulkhead_core::health_log;
use bulkhead_core::health_monitor::Monitor;
use bulkhead_core::lifecycle::Lifecycle;
use bulkhead_core::psci::Psci;
use bulkhead_core::roster::Roster;
use bulkhead_core::schedule::{Slot, Timeline};
use bulkhead_core::serial::{self, Serial};
use bulkhead_core::trace::Trace;
use bulkhead_vgic::{CpuInterface, Distributor, Seat, Vgic};
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::FromZeros;

/// The system, fixed at boot.
pub struct System {
    /// The sealed description.
    pub blueprint: Blueprint<'static>,
    /// Console UART.
    pub uart: Uart,
    /// Health log.
    pub health: &'static [AtomicU64],
    /// Memory is as an earlier run of this image left it when the board was reset.
    pub memory_outlived: bool,
    /// Trace rings of all CPUs.
    pub traces: &'static [AtomicU64],
    /// What is fixed of each partition.
    pub estates: Roster<Estate, { PARTITIONS_MAX + 1 }>,
    /// What is fixed of each vCPU.
    pub homes: Roster<Home, { VCPUS_MAX + 1 }>,
}

const _: () = assert!(size_of::<System>() < 1024, "it passes over the boot CPU's stack");

/// What is fixed of a partition, looked up once.
pub struct Estate {
    /// Dynamic information page.
    pub info: &'static [AtomicU32],
    /// The same page as 64-bit words, for times.
    pub times: &'static [AtomicU64],
    /// Console rings.
    pub rings: serial::Memory<'static>,
    /// Virtual GIC.
    pub vgic: Vgic<'static>,
    /// Its machines.
    pub machines: &'static Partition,
}

/// What is fixed of a vCPU, looked up once.
pub struct Home {
    /// Its partition.
    pub partition: u32,
    /// Its number there.
    pub index: usize,
    /// Its place in the partition's virtual GIC.
    pub seat: Option<Seat<'static>>,
    /// The partition's machines.
    pub machines: &'static Partition,
    /// Its record in the partition's information page.
    pub times: &'static [AtomicU64; Self::TIMES],
    /// What its partition is told of its time besides.
    pub clock: Clock,
    /// Bulkhead's own calls that its partition may make: bit n is call n.
    pub calls: u64,
    /// Where its partition sees the distributor (IPA), or [`NOWHERE`].
    pub gicd: u64,
    /// VTTBR_EL2 of its guest.
    pub vttbr: u64,
    /// What can be closed around its guest, with direct interrupts.
    #[cfg(not(feature = "gicv2"))]
    pub fence: Option<&'static bulkhead_arch::fence::Fence>,
    /// HCR_EL2 of its guest.
    pub hcr: u64,
    /// VTTBR_EL2 of its loader.
    pub loader_vttbr: u64,
}

/// What a vCPU is told of its time besides its record in the information page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Nothing: CNTVCT counts system time.
    System,
    /// CNTVCT counts system time, and the partition sees its stolen time, in nanoseconds.
    Stolen,
    /// CNTVCT counts execution time.
    Execution,
}

/// The record of a vCPU that has none.
pub static NO_TIMES: [AtomicU64; Home::TIMES] = [const { AtomicU64::new(0) }; Home::TIMES];

/// Machines of no partition: whatever comes here belongs to nobody.
static NO_MACHINES: Partition = zeroed();

/// Distributor of no partition.
static NO_DISTRIBUTOR: Distributor = zeroed();

/// What an index beyond the system's partitions finds: without a page, rings or a vCPU.
pub static NO_ESTATE: Estate = Estate {
    info: &[],
    times: &[],
    rings: serial::Memory { output: &[], input: &[] },
    vgic: Vgic { distributor: &NO_DISTRIBUTOR, interfaces: &[] },
    machines: &NO_MACHINES,
};

/// What an index beyond the system's vCPUs finds: without rights, and no stage-2 table.
pub static NO_HOME: Home = Home::NONE;

impl Home {
    /// Words of a vCPU's record in the information page.
    pub const TIMES: usize = dynamic::VCPU_STRIDE / 8;

    /// Of no vCPU.
    pub const NONE: Self = Self {
        partition: NONE,
        index: 0,
        seat: None,
        machines: &NO_MACHINES,
        times: &NO_TIMES,
        clock: Clock::System,
        calls: 0,
        gicd: NOWHERE,
        vttbr: 0,
        #[cfg(not(feature = "gicv2"))]
        fence: None,
        hcr: traps::HCR,
        loader_vttbr: 0,
    };

    /// Writes a time, in ticks, into a vCPU's record in the information page ([`Home::times`]).
    #[inline(always)]
    pub fn set_time(times: &[AtomicU64; Self::TIMES], offset: usize, ticks: u64) {
        // Each is a word of its own, and the vCPU reads it on this CPU: nothing to be ordered.
        times[offset / 8 % Self::TIMES].store(ticks, core::sync::atomic::Ordering::Relaxed);
    }
}

/// A partition's machines.
#[derive(FromZeros)]
pub struct Partition {
    /// Life cycle.
    pub life: Lifecycle,
    /// PSCI server.
    pub psci: Psci,
    /// Console.
    pub serial: Serial,
    /// Health monitor.
    pub monitor: Monitor,
    /// Tick by which mode NORMAL must be reached or the watchdog kicked, `u64::MAX` for never.
    pub deadline: AtomicU64,
    /// Bytes of console output that were lost when the last overflow was reported.
    pub lost: AtomicU32,
}

/// Whether the partition may be restarted: it has no bus master (ruling 19).
pub fn may_restart(record: &layout::Partition) -> bool {
    record.flags & partition_flags::RESTARTABLE != 0
}

/// A vCPU that does not run.
#[derive(FromZeros)]
pub struct Vcpu {
    /// Its registers.
    pub context: Context,
    /// What they are of.
    pub phase: Phase,
    /// When it last stopped running, and how long it has not run since its start, in ticks.
    pub left_at: u64,
    /// System time minus this is its execution time.
    pub exec_offset: u64,
    /// `exec_offset` minus this is the time that it did not run although it would have, in ticks.
    pub stolen_offset: u64,
    /// Its timer interrupts that are physically active: it took them and has not ended them
    /// (ruling 1).
    pub active_timers: u32,
    /// Its timer interrupts that it made pending itself, by ISPENDR.
    pub latched_timers: u32,
    /// Number of the plan switch that its information page shows, from 1; 0: none.
    pub plan_shown: u64,
}

/// What a vCPU's registers are of.
#[derive(Clone, Copy, PartialEq, Eq, FromZeros)]
#[repr(u32)]
pub enum Phase {
    /// Nothing: it starts anew before it runs again.
    Dropped,
    /// The same, and its CPU resets what the vCPUs share: the piece that comes next.
    Resetting(usize),
    /// The loader.
    Loader,
    /// The guest.
    Guest,
}

/// An address that no access has, nor any near it.
pub const NOWHERE: u64 = 1 << 63;

/// What one CPU knows. Aligned so that finding it is a shift and an addition; in this order, for what is aligned more
/// than a word by its place is copied over an aligned piece of stack, whose frame has no fixed size.
#[repr(C, align(256))]
pub struct Local {
    /// This CPU's index.
    pub cpu: usize,
    /// The interrupt controller as this CPU sees it.
    pub gic: Controller,
    /// The virtual GIC of the vCPU that runs, if one does.
    pub seat: Option<&'static Seat<'static>>,
    /// The blueprint's interrupt routes.
    pub routes: &'static [Route; ROUTES],
    /// The vCPU that runs (index into the blueprint's vCPUs), or [`NONE`].
    pub current: u32,
    /// Its partition, [`NONE`] without one.
    pub partition: u32,
    /// Its number in the partition.
    pub index: usize,
    /// Bulkhead's own calls that it may make: bit n is call n.
    pub calls: u64,
    /// Where its partition sees the distributor (IPA), or [`NOWHERE`].
    pub gicd: u64,
    /// The CPU's plan, if it is shared.
    pub timeline: Option<Timeline<'static>>,
    /// Ticks before a slot's end at which EL2 takes the CPU back; 0 on a CPU that is not shared.
    pub guard: u64,
    /// Number of the plan switch that the trace speaks of last.
    pub plan_traced: u64,
    /// The present slot.
    pub slot: Slot,
    /// Latest tick at which a slot that has just begun may be entered; `u64::MAX` while one goes on.
    pub late_after: u64,
    /// Ticks that a window may begin after its planned start.
    pub latency: u64,
    /// The vCPU that runs when the slot's own does not, or [`NONE`].
    pub background: u32,
    /// The vCPU that runs is the slot's own.
    pub is_owner: bool,
    /// Who has called idle in this slot (`crate::switch`).
    pub idle: Cell<u32>,
    /// Tick at which a deadline of a partition passes next, at the earliest.
    pub watch_at: Cell<u64>,
    /// How often the fence around the guest was closed when EL2 last looked (`crate::direct`).
    #[cfg(not(feature = "gicv2"))]
    pub closings: Cell<u32>,
    /// This CPU's trace.
    pub trace: Trace<'static>,
    /// Tick of the next visit that drains the console, on the console's CPU.
    pub drain_at: u64,
}

/// The interrupt controller that this binary drives: one for each version, so that no path branches
/// on it (docs/adr/0003).
#[cfg(not(feature = "gicv2"))]
pub type Controller = bulkhead_arch::gic::v3::Gicv3;
/// The interrupt controller that this binary drives.
#[cfg(feature = "gicv2")]
pub type Controller = bulkhead_arch::gic::v2::Gicv2;

/// Version of [`Controller`].
pub const GIC_VERSION: u32 = if cfg!(feature = "gicv2") { 2 } else { 3 };

/// The controller as CPU `cpu` sees it.
pub fn controller(header: &layout::Header, cpus: &[layout::Cpu], cpu: usize) -> Controller {
    #[cfg(feature = "gicv2")]
    {
        let _ = cpus;
        Controller::new(&header.gic, cpu)
    }
    #[cfg(not(feature = "gicv2"))]
    Controller::new(&header.gic, cpus, cpu)
}

/// This CPU's own state, once it was brought up.
pub static LOCALS: PerCpu<Option<Local>> = PerCpu::new([const { UnsafeCell::new(None) }; CPUS_MAX]);

/// The system. Set before anything else runs.
pub static SYSTEM: Once<System> = Once::new();

/// vCPUs, each bound to its CPU.
pub static VCPUS: Bound<Vcpu, VCPUS_MAX> = Bound::new();

/// Bytes of EL2's state: of the system, of each partition, of each vCPU. The compiler finds room for it.
pub const STATE_BYTES: [usize; 3] = [
    State::bytes_of::<console::State>(),
    State::bytes_of::<Distributor>() + State::bytes_of::<Estate>() + State::bytes_of::<Partition>(),
    State::bytes_of::<CpuInterface>() + State::bytes_of::<Home>() + State::bytes_of::<Vcpu>(),
];

/// Each CPU's writing end of the health log.
pub static HEALTH: [health_log::Writer; CPUS_MAX] = [const { health_log::Writer::new() }; CPUS_MAX];

impl Local {
    /// This CPU's state. `None` before the CPU was brought up.
    #[inline(always)]
    pub fn of(cpu: &mut Cpu) -> Option<&mut Self> {
        LOCALS.get(cpu).as_mut()
    }

    /// Sets this CPU's state.
    pub fn set(self, cpu: &mut Cpu) {
        *LOCALS.get(cpu) = Some(self);
    }

    /// Arms EL2's timer for what comes first.
    pub fn arm_timer(&self) {
        match &self.timeline {
            Some(_) => self.arm_for_slot(),
            None => timer::arm(self.drain_at.min(self.watch_at.get())),
        }
    }

    /// The same on a shared CPU: deadlines are looked at when a slot ends, and the console drains in no window.
    #[inline(always)]
    pub fn arm_for_slot(&self) {
        let drain_at = if self.slot.window { u64::MAX } else { self.drain_at };
        timer::arm(self.slot.end.saturating_sub(self.guard).min(drain_at));
    }

    /// Of a CPU that runs nothing yet.
    pub const fn new(
        gic: Controller,
        routes: &'static [Route; ROUTES],
        cpu: usize,
        trace: Trace<'static>,
    ) -> Self {
        Self {
            gic,
            cpu,
            seat: None,
            routes,
            current: NONE,
            partition: NONE,
            index: 0,
            calls: 0,
            gicd: NOWHERE,
            timeline: None,
            guard: 0,
            plan_traced: u64::MAX,
            slot: Slot { vcpu: NONE, window: false, start: 0, end: u64::MAX, next: 0, clean: 0 },
            late_after: u64::MAX,
            latency: u64::MAX,
            background: NONE,
            is_owner: false,
            idle: Cell::new(0),
            watch_at: Cell::new(u64::MAX),
            #[cfg(not(feature = "gicv2"))]
            closings: Cell::new(0),
            trace,
            drain_at: u64::MAX,
        }
    }
}

impl System {
    /// A partition's record and machines.
    #[inline(always)]
    pub fn partition(&self, index: u32) -> Option<(&'static layout::Partition, &'static Partition)> {
        Some((self.blueprint.partitions.get(index as usize)?, self.estates.get(index).machines))
    }

    /// A partition's virtual GIC.
    #[inline]
    pub fn vgic(&self, index: u32) -> &Vgic<'static> {
        &self.estates.get(index).vgic
    }

    /// A partition's console rings.
    #[inline]
    pub fn rings(&self, index: u32) -> serial::Memory<'static> {
        self.estates.get(index).rings
    }

    /// The vCPUs of a partition.
    pub fn vcpus_of(&self, partition: &layout::Partition) -> &'static [layout::Vcpu] {
        span(self.blueprint.vcpus, partition.vcpu_first, partition.vcpu_count)
    }

    /// What is fixed of a vCPU, by its index in the blueprint.
    #[inline]
    pub fn home(&self, vcpu: u32) -> &'static Home {
        self.homes.get(vcpu)
    }

    /// Ticks in nanoseconds, rounded down.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.blueprint.header.tick_ns_q32)) >> 32) as u64
    }

    /// A word of a partition's dynamic information page, by byte offset.
    pub fn info(&self, partition: u32, offset: usize) -> Option<&'static AtomicU32> {
        self.estates.get(partition).info.get(offset / 4)
    }

    /// A time in the same page, by byte offset.
    pub fn time(&self, partition: u32, offset: usize) -> Option<&'static AtomicU64> {
        self.estates.get(partition).times.get(offset / 8)
    }

    /// Whether the partition initialises still.
    pub fn initialising(&self, partition: u32) -> bool {
        use bulkhead_abi::info::mode;
        self.info(partition, dynamic::MODE)
            .is_none_or(|word| word.load(core::sync::atomic::Ordering::Relaxed) < mode::NORMAL)
    }
}
