//! Who gets which interrupt.

use super::{Claim, Ledger};
use crate::ports::field;
use crate::system::{Part, System, static_info, word};
use bulkhead_abi::info::fixed;
use bulkhead_blueprint::layout::{NONE, partition_flags, route};
use bulkhead_blueprint::limits::IRQ_WORDS;

/// First private and first shared peripheral interrupt (IHI0069, 2.2.1).
const FIRST_PPI: u32 = 16;
const FIRST_SPI: u32 = 32;
/// Interrupts that bitmaps can hold.
const INTIDS: u32 = IRQ_WORDS as u32 * 32;

fn has(words: &[u32; IRQ_WORDS], intid: u32) -> bool {
    words.get(intid as usize / 32).is_some_and(|word| word >> (intid % 32) & 1 == 1)
}

pub static ROUTES: Claim = Claim {
    id: "VFY-050",
    title: "every interrupt has one owner: one partition, EL2, nobody, or, of the two timers, whoever runs on the CPU; \
            EL2's timer and maintenance interrupt are PPIs of its own, its console's is neither; each limit is that of \
            an interrupt's route",
    method: "route table compared with every partition's bitmap, INTID by INTID; EL2's own by kind; limits by route",
    check: routes,
};

/// PPIs of the virtual and the physical EL1 timer (BSA, "PPI assignments"): EL2 moves the state of these with a vCPU.
const TIMERS: [u32; 2] = [27, 30];

fn routes(system: &System<'_>, ledger: &mut Ledger) {
    let header = system.view.header();
    let mut own: Vec<u32> = (0..FIRST_PPI).collect();
    own.extend([header.gic.maintenance_intid, header.gic.hyp_timer_intid]);
    if header.uart_base != 0 {
        own.push(header.uart_intid);
    }
    kinds(system, ledger);
    limits(system, ledger);
    let all: Vec<usize> = (0..system.partitions.len()).collect();
    for (intid, record) in (0u32..).zip(system.view.blueprint.routes) {
        ledger.examined(1, "interrupts");
        let owners: Vec<usize> =
            all.iter().copied().filter(|p| has(&system.partitions[*p].record.irq_owned, intid)).collect();
        let good = match record.owner {
            route::NOBODY => owners.is_empty() && !own.contains(&intid),
            route::HYPERVISOR => owners.is_empty() && own.contains(&intid),
            route::CURRENT => TIMERS.contains(&intid) && owners == all && !own.contains(&intid),
            owner => {
                let owner = limited(system, owner, intid).unwrap_or(owner);
                intid >= FIRST_SPI && owners == [owner as usize] && !own.contains(&intid)
            }
        };
        if !good {
            let names: Vec<&str> = owners.iter().map(|p| system.name(*p)).collect();
            let routed = routed(system, record.owner);
            let found = format!("routed to {routed}, in the bitmaps of [{}]", names.join(", "));
            ledger.fail(format!("owner of interrupt {intid}"), found, expected(intid, &own));
        }
    }
}

/// EL2's timer enforces windows, its maintenance interrupt keeps list registers filled: each is a PPI, on every CPU.
fn kinds(system: &System<'_>, ledger: &mut Ledger) {
    let header = system.view.header();
    let (timer, maintenance) = (header.gic.hyp_timer_intid, header.gic.maintenance_intid);
    for (what, intid) in [("EL2's timer", timer), ("the maintenance interrupt", maintenance)] {
        ledger.examined(1, "interrupts");
        if !(FIRST_PPI..FIRST_SPI).contains(&intid) || TIMERS.contains(&intid) || timer == maintenance {
            let expected =
                format!("a PPI of its own, {FIRST_PPI} to {}, and no guest's timer", FIRST_SPI - 1);
            ledger.fail(format!("interrupt of {what}"), intid, expected);
        }
    }
    if header.uart_base != 0 && !(FIRST_SPI..INTIDS).contains(&header.uart_intid) {
        let expected = format!("a shared interrupt, {FIRST_SPI} to {}", INTIDS - 1);
        ledger.fail("interrupt of EL2's console", header.uart_intid, expected);
    }
}

/// EL2 counts an interrupt only if its route says so.
fn limits(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    for (index, limit) in (0u32..).zip(blueprint.interrupt_limits) {
        ledger.examined(1, "interrupts");
        let route = blueprint.routes.get(limit.intid as usize).map_or(route::NOBODY, |route| route.owner);
        let what = format!("limit {index}, of interrupt {}", limit.intid);
        if route != route::LIMITED + index {
            ledger.fail(
                what.clone(),
                format!("routed to {}", routed(system, route)),
                format!("routed to limit {index}"),
            );
        }
        if limit.count == 0 || limit.per_ticks == 0 {
            ledger.fail(
                what,
                format!("{} in {} ticks", limit.count, limit.per_ticks),
                "at least one in at least a tick",
            );
        }
    }
}

/// The owner that the interrupt's limit names, if its route names a limit of its own.
fn limited(system: &System<'_>, route: u32, intid: u32) -> Option<u32> {
    let index = route.checked_sub(route::LIMITED)?;
    let limit = system.view.blueprint.interrupt_limits.get(index as usize)?;
    (limit.intid == intid).then_some(limit.owner)
}

fn routed(system: &System<'_>, owner: u32) -> String {
    match owner {
        route::NOBODY => "nobody".to_owned(),
        route::HYPERVISOR => "EL2".to_owned(),
        route::CURRENT => "who runs".to_owned(),
        limit @ route::LIMITED.. => format!("limit {}", limit - route::LIMITED),
        index => system.name(index as usize).to_owned(),
    }
}

fn expected(intid: u32, own: &[u32]) -> &'static str {
    match intid {
        _ if own.contains(&intid) => "EL2 alone",
        27 | 30 => "every partition, and routed to who runs",
        FIRST_PPI..FIRST_SPI => "nobody: no switch moves its state",
        _ => "one partition, or nobody",
    }
}

pub static PRESENT: Claim = Claim {
    id: "VFY-051",
    title: "what exists for a partition beside its own interrupts is SGIs, its emulated PL011 and its doorbells, each \
            at a number of its own, and that the page tells which doorbell is the health monitor's",
    method: "presence bitmaps compared with what the records name",
    check: present,
};

fn present(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        let record = part.record;
        let mut virtual_intids: Vec<u32> = (0..FIRST_PPI).collect();
        if record.flags & partition_flags::PL011 != 0 {
            virtual_intids.push(record.pl011_intid);
        } else {
            ledger.same(&format!("interrupt of a PL011 that {} has not", part.name), record.pl011_intid, 0);
        }
        let doorbells = record.doorbell_intids.iter().map(|i| u32::from(*i)).filter(|i| *i != 0);
        virtual_intids.extend(doorbells);
        for intid in 0..INTIDS {
            ledger.examined(1, "interrupts");
            let count = virtual_intids.iter().filter(|i| **i == intid).count();
            let owned = has(&record.irq_owned, intid);
            let exists = has(&record.irq_present, intid);
            if count + usize::from(owned) > 1 || exists != (owned || count == 1) {
                let found = format!("owned {owned}, emulated {count} times, present {exists}");
                let message = format!("interrupt {intid} of {}", part.name);
                ledger.fail(message, found, "one source if present, none if not");
            }
        }
        for intid in virtual_intids.iter().filter(|i| **i >= INTIDS) {
            ledger.fail(format!("interrupt {intid} of {}", part.name), intid, format!("below {INTIDS}"));
        }
        told_of_events(system, part, ledger);
    }
}

/// The doorbell by which EL2 tells of health events: the one that the information page names, and no port's.
fn told_of_events(system: &System<'_>, part: &Part<'_>, ledger: &mut Ledger) {
    let info = static_info(system.view, part.record, &part.run.mapped).unwrap_or_default();
    let page = word(info, field(fixed::EVENT_INTID)).unwrap_or(u32::MAX);
    let bit = part.record.event_bit;
    let rung = match bit {
        NONE => fixed::NO_DOORBELL,
        bit => part.record.doorbell_intids.get(bit as usize).map_or(0, |intid| u32::from(*intid)),
    };
    ledger.same(&format!("interrupt that tells {} of health events", part.name), rung, page);
    let is_ports = part.ports.iter().flatten().any(|port| port.doorbell_intid == page);
    if page != fixed::NO_DOORBELL && is_ports {
        ledger.fail(
            format!("interrupt {page} of {}", part.name),
            "a port's and the health monitor's",
            "one's",
        );
    }
}
