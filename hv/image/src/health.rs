//! An event of a partition becomes a record in the health log and an action of its table.

use crate::console;
use crate::dispatch::{must_leave, request};
use crate::system::{HEALTH, Local, PARTITIONS, System};
use bulkhead_abi::info::start_condition;
use bulkhead_arch::boot;
use bulkhead_arch::frame::{Frame, Injection, Syndrome, inject};
use bulkhead_arch::timer;
use bulkhead_blueprint::layout::{self, HEALTH_ROWS};
use bulkhead_blueprint::{Blueprint, span};
use bulkhead_core::health_log::{self, Record};
use bulkhead_core::health_monitor::Action;
use bulkhead_core::lifecycle::Request;

/// What an event was found by.
pub struct Cause<'a> {
    /// ESR_EL2 of the trap.
    pub esr: u64,
    /// All registers of the guest, where the trap saved them.
    pub frame: Option<&'a Frame>,
    /// For events that a trapped instruction caused and that the guest cannot simply go on from:
    /// what it gets if the table says nothing stronger.
    pub fault: Option<Injection>,
}

impl Cause<'_> {
    /// A call or something else that needs no more than the event's name.
    pub const NONE: Self = Self { esr: 0, frame: None, fault: None };
}

/// Reports `event` of the vCPU that runs, and does what its table says. The handler's result.
pub fn report(local: &Local, system: &System, event: u32, cause: &Cause<'_>) -> u64 {
    let Some((partition, machines)) = system.partition(local.partition) else {
        return 0;
    };
    let now = timer::now();
    let rows = rows(&system.blueprint, partition);
    let initialising = system.initialising(local.partition);
    let action = machines.monitor.decide(rows, &partition.restart_limit, event, initialising, now);
    if action != Action::Ignore {
        let record = record(local, event, action, cause, now);
        if let Some(writer) = HEALTH.get(local.cpu) {
            writer.append(health_log::share(system.health, local.cpu, system.blueprint.cpus.len()), &record);
        }
        console::wake(local, system);
    }
    act(local, system, action, cause.fault)
}

fn record(local: &Local, event: u32, action: Action, cause: &Cause<'_>, now: u64) -> Record {
    let mut record = Record {
        ticks: now,
        partition: local.partition as u8,
        vcpu: local.index as u8,
        cpu: local.cpu as u8,
        event: event as u8,
        action: action as u8,
        ..Record::EMPTY
    };
    if let Some(frame) = cause.frame {
        let syndrome = Syndrome::read();
        record.has_registers = true;
        record.esr = cause.esr;
        record.far = syndrome.far;
        record.hpfar = syndrome.hpfar;
        record.elr = syndrome.elr;
        record.spsr = syndrome.spsr;
        record.x = frame.x;
    }
    record
}

/// Carries out an action on the partition that runs.
fn act(local: &Local, system: &System, action: Action, fault: Option<Injection>) -> u64 {
    let wish = match action {
        Action::Ignore | Action::Log | Action::Notify => {
            if let Some(fault) = fault {
                inject(fault);
            }
            return 0;
        }
        Action::InjectAbort => {
            inject(match fault {
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
        // The compiler refuses plan switches by the health monitor: one that came here stops.
        Action::Halt | Action::SwitchPlan => Request::Halt,
        Action::WarmRestart | Action::ColdRestart => Request::Restart {
            warm: action == Action::WarmRestart,
            condition: start_condition::HEALTH_MONITOR,
        },
        Action::ResetBoard => boot::reset(&system.blueprint),
    };
    request(local, system, local.partition, wish);
    u64::from(must_leave(local))
}

/// At boot: gives each partition's monitor its counters.
pub fn init(blueprint: &Blueprint<'static>) {
    for (partition, machines) in blueprint.partitions.iter().zip(&PARTITIONS) {
        machines.monitor.init(rows(blueprint, partition), &partition.restart_limit);
    }
}

fn rows(blueprint: &Blueprint<'static>, partition: &layout::Partition) -> &'static [layout::HealthRow] {
    span(blueprint.health_rows, partition.health_first, HEALTH_ROWS)
}
