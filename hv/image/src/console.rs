//! The console: rings of all partitions to one UART and back, on one CPU, one FIFO at a time.
//!
//! A console's CPU that is shared never sleeps, and visits the UART in what its plan leaves over alone.
//! Whoever adds output wakes the console's CPU unless it is awake. That CPU then visits the UART at
//! the interval in which it sends one FIFO, until nothing waits; a flood of output costs it that many
//! visits a second and no more (ruling 15).

use crate::health::{Cause, report};
use crate::system::{HEALTH, Local, System};
use bulkhead_abi::health::{ACTION, PARTITION};
use bulkhead_abi::hypercall::CONSOLE_WRITE_MAX;
use bulkhead_abi::info::event;
use bulkhead_abi::status;
use bulkhead_arch::cpu::{Bound, Cpu};
use bulkhead_arch::frame::Frame;
use bulkhead_arch::gic::Physical;
use bulkhead_arch::memory::zeroed;
use bulkhead_arch::{boot, gic, timer};
use bulkhead_blueprint::limits::CPUS_MAX;
use bulkhead_core::console::{Action, Console, FIFO_BYTES, Sources};
use bulkhead_core::health_log::{self, Reader, is_told};
use bulkhead_core::report as words;
use bulkhead_core::ring::{Ring, RingRef};
use bulkhead_core::text::Text;
use core::sync::atomic::{AtomicU32, Ordering, fence};

/// What the console's CPU keeps.
pub struct State {
    mux: Console,
    reader: Reader,
    /// The health record in report, and its next line.
    open: Option<(health_log::View<'static>, usize)>,
}

/// Bound to the console's CPU at boot.
pub static STATE: Bound<State, 1> = Bound::new();

impl State {
    /// Nothing shown yet.
    pub const fn new() -> Self {
        Self { mux: Console::new(), reader: Reader::new(), open: None }
    }
}

/// 1 while the console's CPU visits the UART. Written by that CPU alone.
static AWAKE: AtomicU32 = AtomicU32::new(0);

/// EL2 has no output ring: what it says are reports and notices.
static NO_RING: Ring = zeroed();

/// Visits for which an unfinished line is kept open before another source may break it.
const GRACE_VISITS: u64 = 200;
/// Bytes of input taken in one visit.
const INPUT_MAX: usize = 32;

/// Wakes the console's CPU after output was added.
#[inline]
pub fn wake(local: &Local, system: &System) {
    // The output is visible before AWAKE is read; the other side stores AWAKE, then looks for output.
    fence(Ordering::SeqCst);
    if AWAKE.load(Ordering::Relaxed) == 0 {
        local.gic.send_sgi(system.blueprint.header.console_cpu, gic::KICK_INTID);
    }
}

/// An access to the partition's emulated PL011.
pub fn uart_access(
    local: &Local,
    system: &System,
    offset: u64,
    bytes: u32,
    write: Option<u64>,
) -> Option<u64> {
    let (partition, machines) = system.partition(local.partition)?;
    let set_line = |level| {
        system.vgic(local.partition).set_level(&local.gic, Some(local.index), partition.pl011_intid, level);
    };
    let value = machines.serial.access(system.rings(local.partition), offset, bytes, write, set_line).ok();
    if write.is_some() {
        wake(local, system);
    }
    value
}

/// Reports output of the vCPU's partition that was lost since the last report. The handler's result.
#[inline]
pub fn overflow(local: &Local, system: &System) -> u64 {
    let Some((_, machines)) = system.partition(local.partition) else {
        return 0;
    };
    let lost = machines.serial.output(system.rings(local.partition)).lost();
    let reported = machines.lost.load(Ordering::Relaxed);
    if lost == reported {
        return 0;
    }
    machines.lost.store(lost, Ordering::Relaxed);
    report(local, system, event::CONSOLE_OVERFLOW, &Cause::code(u64::from(lost.wrapping_sub(reported))))
}

/// Hypercall CONSOLE_WRITE.
#[inline(never)]
pub fn write(local: &Local, system: &System, frame: &mut Frame) -> u64 {
    let count = frame.x[1];
    if !(1..=CONSOLE_WRITE_MAX).contains(&count) {
        frame.x[0] = status::INVALID_PARAMETER as u64;
        return 0;
    }
    let mut bytes = [0; CONSOLE_WRITE_MAX as usize];
    for (eight, register) in bytes.chunks_exact_mut(8).zip(&frame.x[2..10]) {
        eight.copy_from_slice(&register.to_le_bytes());
    }
    frame.x[0] = status::SUCCESS as u64;
    if let Some((_, machines)) = system.partition(local.partition)
        && let Some(bytes) = bytes.get(..count as usize)
    {
        machines.serial.write(system.rings(local.partition), bytes);
        wake(local, system);
    }
    overflow(local, system)
}

/// Hypercall CONSOLE_READ.
#[inline(never)]
pub fn read(local: &Local, system: &System, frame: &mut Frame) -> u64 {
    let Some((partition, machines)) = system.partition(local.partition) else {
        return 0;
    };
    let set_line = |level| {
        system.vgic(local.partition).set_level(&local.gic, Some(local.index), partition.pl011_intid, level);
    };
    let (count, words) = machines.serial.read(system.rings(local.partition), set_line);
    frame.x[0] = status::SUCCESS as u64;
    frame.x[1] = count;
    frame.x[2] = words[0];
    frame.x[3] = words[1];
    0
}

/// The console's CPU was kicked: output may wait.
pub fn kicked(cpu: &mut Cpu, system: &System) {
    let Some(local) = Local::of(cpu) else {
        return;
    };
    if local.cpu as u32 != system.blueprint.header.console_cpu || local.drain_at != u64::MAX {
        return;
    }
    AWAKE.store(1, Ordering::Relaxed);
    local.drain_at = timer::now();
    local.arm_timer();
}

/// The console's CPU is shared: nobody wakes it.
pub fn stay_awake(local: &mut Local) {
    AWAKE.store(1, Ordering::Relaxed);
    local.drain_at = timer::now();
}

/// EL2's timer: one FIFO, if it is the console's time.
#[inline(never)]
pub fn tick(cpu: &mut Cpu, system: &System, now: u64) {
    let Some(local) = Local::of(cpu) else {
        return;
    };
    if now < local.drain_at || (local.slot.window && local.timeline.is_some()) {
        return;
    }
    let shared = local.timeline.is_some();
    let interval = system.blueprint.header.console_interval_ticks;
    let next = if !system.uart.ready() || drain(cpu, system, now) || shared {
        now + interval
    } else {
        AWAKE.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if waits(cpu, system) {
            AWAKE.store(1, Ordering::Relaxed);
            now + interval
        } else {
            u64::MAX
        }
    };
    if let Some(local) = Local::of(cpu) {
        local.drain_at = next;
    }
}

/// Sends what the multiplexer says. Whether it said anything.
fn drain(cpu: &mut Cpu, system: &System, now: u64) -> bool {
    let Some(State { mux, reader, open }) = STATE.get(cpu, 0) else {
        return false;
    };
    let grace = system.blueprint.header.console_interval_ticks * GRACE_VISITS;
    let mut bytes = [0; FIFO_BYTES];
    let mut view = View { system, reader, open };
    let count = mux.drain(&mut view, now, grace, &mut bytes);
    for byte in bytes.iter().take(count) {
        system.uart.send(*byte);
    }
    count != 0
}

/// Whether output waits that the multiplexer has not seen.
fn waits(cpu: &mut Cpu, system: &System) -> bool {
    let Some(State { reader, open, .. }) = STATE.get(cpu, 0) else {
        return false;
    };
    let view = View { system, reader, open };
    view.own_waits() || (1..view.count()).any(|source| !view.output(source).is_empty())
}

/// The UART has input. Its interrupt ends when nothing is left to read (ARM DDI 0183, 2.8): acknowledged
/// before that, it would not come again for what this visit leaves.
#[inline(never)]
pub fn receive(cpu: &mut Cpu, system: &System) {
    for _ in 0..INPUT_MAX {
        let Some(byte) = system.uart.receive() else {
            break;
        };
        let count = system.blueprint.partitions.len() + 1;
        let action = STATE.get(cpu, 0).and_then(|state| state.mux.input(byte, count));
        match action {
            Some(Action::PowerOff) => boot::power_off(&system.blueprint),
            Some(Action::Deliver { source, byte }) => {
                deliver(cpu, system, (source as u32).wrapping_sub(1), byte)
            }
            None => {}
        }
    }
    // The multiplexer may have notices to show.
    kicked(cpu, system);
}

/// Hands a byte of input to a partition.
fn deliver(cpu: &mut Cpu, system: &System, index: u32, byte: u8) {
    let Some(local) = Local::of(cpu) else {
        return;
    };
    let Some((partition, machines)) = system.partition(index) else {
        return;
    };
    let vcpu = (index == local.partition).then_some(local.index);
    let set_line = |level| system.vgic(index).set_level(&local.gic, vcpu, partition.pl011_intid, level);
    machines.serial.receive(system.rings(index), byte, set_line);
}

/// What the multiplexer sees.
struct View<'a> {
    system: &'a System,
    reader: &'a mut Reader,
    open: &'a mut Option<(health_log::View<'static>, usize)>,
}

impl View<'_> {
    fn writers(&self) -> &'static [bulkhead_core::health_log::Writer] {
        HEALTH.get(..self.system.blueprint.cpus.len().min(CPUS_MAX)).unwrap_or(&[])
    }
}

impl Sources for View<'_> {
    fn count(&self) -> usize {
        self.system.blueprint.partitions.len() + 1
    }

    fn name(&self, source: usize) -> &[u8] {
        match source.checked_sub(1).and_then(|index| self.system.blueprint.partitions.get(index)) {
            Some(partition) => &partition.name,
            None => b"bulkhead",
        }
    }

    fn output(&self, source: usize) -> RingRef<'_> {
        match source.checked_sub(1).and_then(|index| self.system.partition(index as u32)) {
            Some((_, machines)) => machines.serial.output(self.system.rings(source as u32 - 1)),
            None => NO_RING.over(&[]),
        }
    }

    fn status(&self, source: usize) -> (&'static str, u32) {
        match source.checked_sub(1).and_then(|index| self.system.partition(index as u32)) {
            Some((_, machines)) => (machines.life.state().name(), machines.life.starts()),
            None => ("", 0),
        }
    }

    fn own_waits(&self) -> bool {
        self.open.is_some() || self.reader.waits(self.writers())
    }

    fn own_line(&mut self, line: &mut Text<'_>) {
        if self.open.is_none() {
            let found = self.reader.take(self.writers(), self.system.health);
            *self.open = found.filter(|view| is_told(view.byte(ACTION))).map(|view| (view, 0));
        }
        let Some((record, next)) = self.open.as_mut() else {
            return;
        };
        let partition = self.system.blueprint.partitions.get(usize::from(record.byte(PARTITION)));
        let context = words::Context {
            partition: partition.map_or(b"module", |partition| &partition.name),
            hz: self.system.blueprint.header.cntfrq_hz,
        };
        words::line(*record, context, *next, line);
        *next += 1;
        if *next >= words::lines(*record) || !record.is_whole() {
            *self.open = None;
        }
    }
}
