//! An event becomes a record in the health log and an action of the partition's table; deadlines of
//! partitions (watchdog, time-out until mode NORMAL) become events.

use crate::console;
use crate::dispatch::{must_leave, request};
use crate::switch;
use crate::system::{HEALTH, Local, SYSTEM, System, may_restart};
use bulkhead_abi::health::NO_PARTITION;
use bulkhead_abi::info::{dynamic, event, start_condition};
use bulkhead_abi::trace::kind;
use bulkhead_arch::boot;
use bulkhead_arch::frame::{Frame, Injection, Syndrome, inject};
use bulkhead_arch::gic::Physical;
use bulkhead_arch::{gic, timer};
use bulkhead_blueprint::layout::{self, HEALTH_ROWS, NONE, step};
use bulkhead_blueprint::{Blueprint, span};
use bulkhead_core::health_log::{self, Record, is_told};
use bulkhead_core::health_monitor::Action;
use bulkhead_core::lifecycle::{Request, State};
use bulkhead_core::watchdog::Beats;
use core::sync::atomic::Ordering;

/// What keeps the board's watchdog from biting.
static BEATS: Beats = Beats::new();

/// What an event was found by.
pub struct Cause<'a> {
    /// What it is about ([`bulkhead_abi::health::CODE`]).
    pub code: u64,
    /// ESR_EL2 of the trap.
    pub esr: u64,
    /// All registers of the guest, where the trap saved them.
    pub frame: Option<&'a Frame>,
    /// For events that a trapped instruction caused and that the guest cannot simply go on from:
    /// what it gets if the table says nothing stronger.
    pub fault: Option<Injection>,
}

impl Cause<'_> {
    /// A call or something else that needs no more than a number.
    pub const fn code(code: u64) -> Self {
        Self { code, esr: 0, frame: None, fault: None }
    }
}

/// Reports `event` of the vCPU that runs, and does what its table says. The handler's result.
pub fn report(local: &Local, system: &System, event: u32, cause: &Cause<'_>) -> u64 {
    report_of(local, system, local.partition, event, cause)
}

/// Reports `event` of a partition, on one of its CPUs.
#[inline(never)]
pub fn report_of(local: &Local, system: &System, index: u32, event: u32, cause: &Cause<'_>) -> u64 {
    let Some((partition, machines)) = system.partition(index) else {
        return 0;
    };
    let now = timer::now();
    let rows = rows(&system.blueprint, partition);
    let step =
        machines.monitor.decide(rows, &partition.restart_limit, event, system.initialising(index), now);
    let mut action = Action::of(step);
    if action.is_restart() && !may_restart(partition) {
        action = Action::Halt;
    }
    if action != Action::Ignore {
        let value = action as u64 | u64::from(index) << 32;
        local.trace.put(now, kind::HEALTH, event as u8, value);
        let registers = cause.frame.map(|frame| {
            let syndrome = Syndrome::read();
            ([cause.esr, syndrome.far, syndrome.hpfar, syndrome.elr, syndrome.spsr], &frame.x)
        });
        let record = Record {
            ticks: now,
            partition: if event == event::WINDOW_OVERRUN { NO_PARTITION } else { index as u8 },
            vcpu: if index == local.partition { local.index as u8 } else { 0 },
            cpu: local.cpu as u8,
            event: event as u8,
            action: action as u8,
            code: cause.code,
            registers,
        };
        if let Some(writer) = HEALTH.get(local.cpu) {
            writer.append(health_log::share(system.health, local.cpu, system.blueprint.cpus.len()), &record);
        }
        if is_told(action as u8) {
            console::wake(local, system);
        }
        let told = step >> step::NOTIFY_SHIFT & 0xFF;
        if told != 0 {
            notify(local, system, told - 1);
        }
    }
    act(local, system, index, action, step, cause)
}

/// Rings the event interrupt of a partition.
pub fn notify(local: &Local, system: &System, index: u32) {
    if let Some((partition, _)) = system.partition(index)
        && partition.event_bit != NONE
        && let Some(vcpu) = system.vcpus_of(partition).first()
        && system.vgic(index).ring(0, local.cpu, partition.event_bit)
    {
        local.gic.send_sgi(vcpu.cpu, gic::KICK_INTID);
    }
}

/// Carries out an action on a partition.
fn act(local: &Local, system: &System, index: u32, action: Action, step: u32, cause: &Cause<'_>) -> u64 {
    let wish = match action {
        Action::MaskInterrupt => {
            // Of an interrupt storm alone (HLT-002), which says the INTID.
            system.vgic(index).mask(&local.gic, cause.code as u32);
            return 0;
        }
        Action::Ignore | Action::Log | Action::Notify | Action::SwitchPlan => {
            if let Some(fault) = cause.fault {
                inject(fault);
            }
            if action == Action::SwitchPlan {
                switch::request_plan(local, system, (step >> step::PLAN_SHIFT) as u16, true);
            }
            return 0;
        }
        Action::InjectAbort => {
            inject(match cause.fault {
                Some(Injection::InstructionAbort) => Injection::InstructionAbort,
                _ => Injection::DataAbort,
            });
            return 0;
        }
        Action::InjectUndef => {
            inject(Injection::Undefined);
            return 0;
        }
        Action::Suspend => Request::Suspend,
        Action::Halt => Request::Halt,
        Action::WarmRestart | Action::ColdRestart => Request::Restart {
            warm: action == Action::WarmRestart,
            condition: start_condition::HEALTH_MONITOR,
        },
        Action::ResetBoard => boot::reset(&system.blueprint),
    };
    request(local, system, index, wish);
    u64::from(must_leave(local, system))
}

/// At boot: gives each partition's monitor its counters, and each CPU's log what it finds of earlier
/// runs.
pub fn init(blueprint: &Blueprint<'static>, system: &System) {
    for (index, partition) in (0..).zip(blueprint.partitions) {
        system.estates.get(index).machines.monitor.init(rows(blueprint, partition), &partition.restart_limit);
    }
    let cpus = blueprint.cpus.len();
    for (cpu, writer) in HEALTH.iter().enumerate().take(cpus) {
        writer.resume(health_log::share(system.health, cpu, cpus));
    }
}

fn rows(blueprint: &Blueprint<'static>, partition: &layout::Partition) -> &'static [layout::HealthRow] {
    span(blueprint.health_rows, partition.health_first, HEALTH_ROWS)
}

/// An error of EL2 itself: what the module's table says, if the system is up.
pub fn own_error() {
    if let Some(system) = SYSTEM.get()
        && let Some(partition) = system.blueprint.partitions.first()
        && let Some(row) = rows(&system.blueprint, partition).get(event::EL2_ERROR as usize)
        && Action::of(row.normal) == Action::ResetBoard
    {
        boot::reset(&system.blueprint);
    }
}

/// Starts the time until mode NORMAL, or the watchdog's in mode NORMAL, anew. EL2's timer of vCPU 0's
/// CPU is armed; from another CPU that is not needed: it looks at least once in a watchdog period.
pub fn arm(local: &Local, system: &System, index: u32) {
    let Some((partition, machines)) = system.partition(index) else {
        return;
    };
    let ticks = match system.initialising(index) {
        true => partition.init_timeout_ticks,
        false => partition.watchdog_ticks,
    };
    let now = timer::now();
    machines.deadline.store(after(now, ticks), Ordering::Relaxed);
    local.watch_at.set(local.watch_at.get().min(after(now, ticks)).min(after(now, partition.watchdog_ticks)));
    local.arm_timer();
}

/// So many ticks after `now`; never, if there are none.
fn after(now: u64, ticks: u64) -> u64 {
    if ticks == 0 { u64::MAX } else { now.saturating_add(ticks) }
}

/// Kicks the watchdog: it runs from mode NORMAL on. EL2's timer stays armed for the older deadline
/// and is armed anew when that comes.
#[inline]
pub fn kick(partition: &layout::Partition, deadline: &core::sync::atomic::AtomicU64) {
    if deadline.load(Ordering::Relaxed) != u64::MAX {
        deadline.store(timer::now().saturating_add(partition.watchdog_ticks), Ordering::Relaxed);
    }
}

/// EL2's timer: reports the deadlines that have passed of partitions whose vCPU 0 is bound to this
/// CPU, and finds the next. A CPU that is shared looks at the end of each window, so that nobody's
/// deadline costs another's window a visit. Whether the vCPU that runs must give way.
pub fn watch(local: &Local, system: &System, now: u64) -> u64 {
    let (mut next, mut leave) = (beat(local, system, now), 0);
    let Some(cpu) = system.blueprint.cpus.get(local.cpu) else {
        return 0;
    };
    for &slot in span(system.blueprint.slots, cpu.slot_first, cpu.slot_count) {
        let Some(vcpu) = system.blueprint.vcpus.get(slot as usize) else {
            continue;
        };
        if let Some((partition, machines)) = system.partition(vcpu.partition)
            && vcpu.index == 0
        {
            if machines.deadline.load(Ordering::Relaxed) <= now {
                leave |= overdue(local, system, vcpu.partition, now);
            }
            let poll = after(now, partition.watchdog_ticks);
            next = next.min(machines.deadline.load(Ordering::Relaxed)).min(poll);
        }
    }
    local.watch_at.set(next);
    leave
}

/// Shows the board's watchdog, if it is used, that this CPU goes on. When to do so again.
fn beat(local: &Local, system: &System, now: u64) -> u64 {
    let header = &system.blueprint.header;
    if header.watchdog_cpus >> local.cpu & 1 == 0 {
        return u64::MAX;
    }
    if BEATS.beat(local.cpu, header.watchdog_cpus) {
        boot::kick(&system.blueprint);
    }
    now.saturating_add(header.beat_ticks)
}

/// A partition's deadline has passed. It is an event unless the plan gives it no window, or it is
/// suspended: both stand still then.
#[cold]
fn overdue(local: &Local, system: &System, index: u32, now: u64) -> u64 {
    let Some((partition, machines)) = system.partition(index) else {
        return 0;
    };
    let (ticks, event) = match system.initialising(index) {
        true => (partition.init_timeout_ticks, event::INIT_TIMEOUT),
        false => (partition.watchdog_ticks, event::WATCHDOG),
    };
    machines.deadline.store(after(now, ticks), Ordering::Relaxed);
    let plan = switch::PLAN.load().current(now).0;
    let runs = matches!(machines.life.state(), State::Loading | State::Running);
    if runs && ticks != 0 && partition.plans_present >> plan & 1 != 0 {
        return report_of(local, system, index, event, &Cause::code(ticks));
    }
    0
}

/// Leaves a request at a partition and tells it.
pub fn ask(local: &Local, system: &System, index: u32, request: u32) {
    if let Some(word) = system.info(index, dynamic::REQUESTS) {
        word.store(request, Ordering::Release);
    }
    notify(local, system, index);
}
