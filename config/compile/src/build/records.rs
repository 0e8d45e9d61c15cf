//! Records of the blueprint that need more than an index: partitions, interrupt routes, health-monitor rows.

use super::emit::{Input, range, text, ticks_up};
use crate::health::{Action, Event, HealthTable, Step};
use crate::model::{self, ConsoleKind, GicVersion, PartitionIndex, System};
use crate::rules::device_use::restarted_by;
use bulkhead_abi::{hypercall, info::event};
use bulkhead_blueprint::layout::{
    HealthRow, HealthStep, InterruptLimit, NONE, Partition, Route, action, partition_flags, route, step,
};
use bulkhead_blueprint::limits::{DOORBELLS_MAX, IRQ_WORDS, ROUTES};
use zerocopy::FromZeros;

/// PPIs of the virtual and the physical EL1 timer (BSA, table "PPI assignments").
const TIMER_INTIDS: [u32; 2] = [27, 30];
/// Software-generated interrupts, INTIDs 0 to 15.
const SGIS: u32 = 16;

/// What every partition may call.
const GRANTS_ALWAYS: [u64; 5] = [
    hypercall::FEATURES,
    hypercall::INFO_REGION,
    hypercall::SET_MODE,
    hypercall::RAISE_EVENT,
    hypercall::PARTITION_CONTROL,
];

/// A partition's record but for its indices into other tables.
pub fn partition(input: &Input<'_>, index: PartitionIndex) -> Partition {
    let (system, addresses) = (input.system, input.addresses);
    let (partition, view, guest) = (&system.partitions[index], &input.views[index], &input.guests[index]);
    let mut record = Partition::new_zeroed();
    record.name = text(&partition.name.value);
    record.id = partition.id.value;
    record.vmid = index as u32 + 1;
    record.flags = flags(system, index);
    record.plans_present = plans_present(system, index);
    record.event_bit = view.event_intid.map_or(NONE, |_| view.doorbells().count() as u32);
    let plans = partition.authority.iter().flat_map(|a| &a.plans);
    record.plans = plans.fold(0, |bits, plan| bits | 1 << plan.value);
    record.grants = grants(input, index);
    record.stage2_root = input.roots.run_time.get(index).copied().unwrap_or(0);
    record.loader_root = input.roots.loading.get(index).copied().unwrap_or(0);
    record.loader_stack = guest.stack_end;
    record.entry = guest.entry;
    record.entry_x0 = guest.dtb;
    record.info_ipa = view.info.base;
    record.info_bytes = view.info.size;
    record.info_dynamic = addresses.dynamic[index];
    record.gicd_ipa = partition.view.gicd;
    if system.board.gic.version == GicVersion::V3 {
        record.gicr_ipa = partition.view.gicr;
    }
    record.console_out = range(addresses.console_out[index]);
    record.console_in = range(addresses.console_in[index]);
    let ticks = |ns: Option<u64>| ns.map_or(0, |ns| ticks_up(system, ns));
    record.init_timeout_ticks = ticks(partition.init_timeout_ns.as_ref().map(|t| t.value));
    record.watchdog_ticks = ticks(partition.watchdog_ns.as_ref().map(|t| t.value));
    let table = health_table(system, index);
    if let Some(limit) = table.and_then(|t| t.restart_limit.as_ref()) {
        record.restart_limit = HealthStep {
            count: limit.count.value,
            action: step_word(&limit.step),
            within_ticks: ticks_up(system, limit.within_ns.value),
        };
    }
    interrupts(input, index, &mut record);
    record
}

/// A partition with a bus master restarts only where the configuration says how the device is stopped: by `quiesce` of
/// its grant, or by the acceptance of the finding that something restarts the partition (DMA-004).
fn flags(system: &System, index: PartitionIndex) -> u32 {
    let partition = &system.partitions[index];
    let mut masters = partition.access.iter().filter(|a| system.devices[a.value].bus_master);
    let are_quiet = masters.all(|a| partition.quiesce_of(a.value).is_some());
    let restartable = match are_quiet || restarted_by(system, index).is_some() {
        true => partition_flags::RESTARTABLE,
        false => 0,
    };
    let time = if partition.pv_time.is_some() { partition_flags::PV_TIME } else { 0 }
        | if partition.counts_execution() { partition_flags::EXECUTION_CLOCK } else { 0 };
    restartable
        | time
        | if partition.direct_interrupts.is_some() { partition_flags::DIRECT_INTERRUPTS } else { 0 }
        | if partition.has_warm_restart() { partition_flags::WARM } else { 0 }
        | match partition.console.value {
            ConsoleKind::None => 0,
            ConsoleKind::Pl011 => partition_flags::PL011 | partition_flags::CONSOLE_HYPERCALL,
            ConsoleKind::Hypercall => partition_flags::CONSOLE_HYPERCALL,
        }
}

fn grants(input: &Input<'_>, index: PartitionIndex) -> u64 {
    let mut calls = GRANTS_ALWAYS.to_vec();
    if input.system.partitions[index].console.value != ConsoleKind::None {
        calls.extend([hypercall::CONSOLE_WRITE, hypercall::CONSOLE_READ]);
    }
    if input.system.partitions[index].watchdog_ns.is_some() {
        calls.push(hypercall::WATCHDOG_KICK);
    }
    if input.system.partitions[index].holds_over_module(model::Right::ResetBoard) {
        calls.push(hypercall::SYSTEM_RESET);
    }
    if partition_shares_a_cpu(input.system, index) {
        calls.push(hypercall::IDLE);
    }
    if !input.system.plans.is_empty() {
        calls.push(hypercall::PLAN_STATUS);
    }
    if input.system.partitions[index].authority.iter().any(|a| !a.plans.is_empty()) {
        calls.push(hypercall::PLAN_SET);
    }
    let mut written = input.views[index].ends.iter().filter(|e| e.writes);
    if written.any(|e| input.system.ports[e.port].doorbell.is_some()) {
        calls.push(hypercall::DOORBELL);
    }
    calls.into_iter().fold(0, |bits, call| bits | 1 << (call - hypercall::BASE))
}

/// Plans in which a partition runs: those with a window or background time of it; all, if it shares no CPU.
fn plans_present(system: &System, index: PartitionIndex) -> u32 {
    if !partition_shares_a_cpu(system, index) {
        return u32::MAX;
    }
    let plans = system.plans.iter().enumerate().filter(|(_, plan)| has_time_in(plan, index));
    plans.fold(0, |bits, (number, _)| bits | 1 << number)
}

/// Whether some plan has a window or background time of the partition.
pub fn partition_shares_a_cpu(system: &System, index: PartitionIndex) -> bool {
    system.plans.iter().any(|plan| has_time_in(plan, index))
}

fn has_time_in(plan: &model::Plan, index: PartitionIndex) -> bool {
    plan.cpus.iter().any(|c| {
        let mut windows = c.windows.iter().map(|w| w.partition.value);
        windows.any(|p| p == index) || c.background.as_ref().is_some_and(|b| b.value == index)
    })
}

fn set(words: &mut [u32; IRQ_WORDS], intid: u32) {
    if let Some(word) = words.get_mut(intid as usize / 32) {
        *word |= 1 << (intid % 32);
    }
}

/// Interrupts that are the partition's own, those that exist for it, and its doorbells.
fn interrupts(input: &Input<'_>, index: PartitionIndex, record: &mut Partition) {
    let partition = &input.system.partitions[index];
    for intid in TIMER_INTIDS.into_iter().chain(owned(input.system, index)) {
        set(&mut record.irq_owned, intid);
    }
    record.irq_present = record.irq_owned;
    (0..SGIS).for_each(|intid| set(&mut record.irq_present, intid));
    if partition.console.value == ConsoleKind::Pl011 {
        record.pl011_ipa = partition.view.uart;
        record.pl011_intid = partition.view.uart_intid;
        set(&mut record.irq_present, partition.view.uart_intid);
    }
    let view = &input.views[index];
    let doorbells = view.doorbells().map(|(_, intid)| intid).chain(view.event_intid);
    for (bit, intid) in doorbells.take(DOORBELLS_MAX).enumerate() {
        record.doorbell_intids[bit] = intid as u16;
        set(&mut record.irq_present, intid);
    }
}

/// Interrupts of passed-through devices.
fn owned(system: &System, index: PartitionIndex) -> impl Iterator<Item = u32> + '_ {
    let access = system.partitions[index].access.iter();
    let devices = access.map(|a| &system.devices[a.value]);
    devices.flat_map(|d| &d.interrupts).map(|i| i.intid)
}

/// Who gets each physical interrupt.
pub fn routes(system: &System) -> Vec<Route> {
    let mut owners = vec![route::NOBODY; ROUTES];
    let mut put = |intid: u32, owner: u32| {
        if let Some(slot) = owners.get_mut(intid as usize) {
            *slot = owner;
        }
    };
    for index in 0..system.partitions.len() {
        owned(system, index).for_each(|intid| put(intid, index as u32));
    }
    for (index, limit) in (0u32..).zip(interrupt_limits(system)) {
        put(limit.intid, route::LIMITED + index);
    }
    TIMER_INTIDS.into_iter().for_each(|intid| put(intid, route::CURRENT));
    let facts = &system.board.facts;
    let console = system.hypervisor.console.iter();
    let console = console.flat_map(|c| &system.devices[c.value].interrupts);
    let own = [facts.maintenance_intid, facts.hypervisor_timer_intid];
    (0..SGIS).chain(own).chain(console.map(|i| i.intid)).for_each(|intid| put(intid, route::HYPERVISOR));
    owners.into_iter().map(|owner| Route { owner }).collect()
}

/// How often interrupts may come whose grant says so.
pub fn interrupt_limits(system: &System) -> Vec<InterruptLimit> {
    let mut limits = Vec::new();
    for (owner, partition) in (0u32..).zip(&system.partitions) {
        for grant in &partition.grants {
            let Some(limit) = grant.interrupt_limit else { continue };
            let lines = system.devices[grant.device.value].lines();
            limits.extend(lines.map(|line| InterruptLimit {
                intid: line.intid,
                owner,
                count: limit.count,
                reserved: 0,
                per_ticks: ticks_up(system, limit.per_ns),
            }));
        }
    }
    limits
}

fn health_table(system: &System, index: PartitionIndex) -> Option<&HealthTable> {
    let table = system.partitions[index].health.as_ref()?;
    system.health_tables.get(table.value)
}

/// The configuration's word for an event of the ABI.
fn event_of(number: u32) -> Option<Event> {
    Some(match number {
        event::MEMORY_VIOLATION => Event::MemoryViolation,
        event::DENIED_HYPERCALL => Event::DeniedHypercall,
        event::UNDEFINED_SYSREG => Event::UndefinedSysreg,
        event::EXTERNAL_ABORT => Event::ExternalAbort,
        event::UNDECODABLE_ACCESS => Event::UndecodableAccess,
        event::ILLEGAL_DEVICE_ACCESS => Event::IllegalDeviceAccess,
        event::WATCHDOG => Event::Watchdog,
        event::INIT_TIMEOUT => Event::InitTimeout,
        event::DEADLINE_MISS => Event::DeadlineMiss,
        event::PORT_VIOLATION => Event::PortViolation,
        event::CONSOLE_OVERFLOW => Event::ConsoleOverflow,
        event::INTERRUPT_STORM => Event::InterruptStorm,
        event::INTEGRITY => Event::Integrity,
        event::EL2_ERROR => Event::HypervisorFault,
        event::APPLICATION_ERROR => Event::ApplicationError,
        event::WINDOW_OVERRUN => Event::WindowOverrun,
        _ => return None,
    })
}

/// The blueprint's number of an action.
fn number(word: Action) -> u32 {
    match word {
        Action::Ignore => action::IGNORE,
        Action::Log => action::LOG,
        Action::Notify => action::NOTIFY,
        Action::InjectAbort => action::INJECT_ABORT,
        Action::InjectUndef => action::INJECT_UNDEF,
        Action::Suspend => action::SUSPEND,
        Action::Halt => action::HALT,
        Action::MaskInterrupt => action::MASK_INTERRUPT,
        Action::WarmRestart => action::WARM_RESTART,
        Action::ColdRestart => action::COLD_RESTART,
        Action::SwitchPlan => action::SWITCH_PLAN,
        Action::ResetBoard => action::RESET_BOARD,
    }
}

/// The blueprint's word for a step.
fn step_word(step: &Step) -> u32 {
    let told = step.notify.first().map_or(0, |p| p.value as u32 + 1);
    let plan = step.plan.as_ref().map_or(0, |p| p.value as u32);
    number(step.action.value) | told << step::NOTIFY_SHIFT | plan << step::PLAN_SHIFT
}

/// One row for each event: from the partition's table, or from the module's for what no partition is blamed for.
pub fn health_rows(system: &System, index: PartitionIndex) -> Vec<HealthRow> {
    let rows = 0..event::COUNT as u32;
    rows.map(|number| {
        let event = event_of(number);
        let table = match event {
            Some(event) if !event.blames_partition() => system.module_health.as_ref(),
            _ => health_table(system, index),
        };
        row(system, table, event)
    })
    .collect()
}

fn row(system: &System, table: Option<&HealthTable>, event: Option<Event>) -> HealthRow {
    let mut row = HealthRow::new_zeroed();
    let entries = table.map_or(&[][..], |t| t.entries.as_slice());
    let Some(entry) = entries.iter().find(|e| Some(e.event.value) == event) else {
        // HLT-001 sees to it that there is a default.
        let default = table.and_then(|t| t.default_action.as_ref());
        row.normal = number(default.map_or(Action::Halt, |a| a.value));
        row.init = row.normal;
        return row;
    };
    row.normal = step_word(&entry.step);
    row.init = step_word(entry.in_init.as_ref().unwrap_or(&entry.step));
    for (slot, step) in row.steps.iter_mut().zip(&entry.escalation) {
        *slot = HealthStep {
            count: step.count.value,
            action: step_word(&step.step),
            within_ticks: ticks_up(system, step.within_ns.value),
        };
    }
    row
}
