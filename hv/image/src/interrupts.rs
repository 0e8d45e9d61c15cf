//! Physical interrupts: to the vCPU that runs, or to EL2 itself.

use crate::dispatch::must_leave;
use crate::switch::PLAN;
use crate::system::{Local, SYSTEM, System};
use crate::{console, health, limited};
use bulkhead_abi::trace::{cause, kind};
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::gic::Physical;
use bulkhead_arch::{gic, timer};
use bulkhead_blueprint::layout::{NONE, route};
use bulkhead_blueprint::limits::{CPUS_MAX, ROUTES};

/// The interrupt handler: takes one interrupt.
#[inline(always)]
pub fn interrupt(cpu: &mut Cpu) -> u64 {
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    let raw = local.gic.acknowledge();
    let intid = gic::intid(raw);
    let owner = local.routes[intid as usize & (ROUTES - 1)].owner;
    if let Some(seat) = &local.seat
        && (owner == local.partition || owner == route::CURRENT)
    {
        local.gic.end(raw);
        local.trace.count(cause::INJECTION);
        return if seat.inject_hw(&local.gic, intid) { 0 } else { late(local, intid) };
    }
    match intid.wrapping_sub(gic::POST_INTID) as usize {
        source @ 0..CPUS_MAX => posted(local, raw, source),
        _ if intid == local.gic.timer_intid() => {
            local.gic.retire(raw);
            // Mostly a slot ends. The next one arms the timer, for the console too: the guard has no time for that.
            let now = timer::now();
            let ends = now + local.guard >= local.slot.end && now < local.watch_at.get();
            if ends { 1 } else { tick(cpu, now) }
        }
        _ => other(cpu, raw, owner),
    }
}

/// CPU `source` has posted something to the vCPU that runs. What comes when it has left meanwhile stays in
/// its inbox until it returns.
#[inline(never)]
fn posted(local: &Local, raw: u32, source: usize) -> u64 {
    local.gic.retire(raw);
    local.trace.count(cause::KICK);
    let Some(seat) = &local.seat else { return 0 };
    if seat.on_post(&local.gic, source) { 0 } else { posted_late(local, source) }
}

/// What the shortest way does not serve: doorbells, several SGIs.
#[inline(never)]
fn posted_late(local: &Local, source: usize) -> u64 {
    if let Some(seat) = &local.seat {
        seat.take(&local.gic, source);
    }
    0
}

/// A guest's interrupt for which no list register is known to be free.
#[cold]
#[inline(never)]
fn late(local: &Local, intid: u32) -> u64 {
    if let Some(seat) = &local.seat {
        seat.inject_late(&local.gic, intid);
    }
    0
}

/// Interrupts that are not for the vCPU that runs.
#[cold]
#[inline(never)]
fn other(cpu: &mut Cpu, raw: u32, owner: u32) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    let intid = gic::intid(raw);
    let header = system.blueprint.header;
    if intid >= gic::SPECIAL_INTID {
        return 0;
    }
    match owner {
        route::HYPERVISOR => {
            if intid == gic::KICK_INTID {
                local.trace.count(cause::KICK);
                local.gic.retire(raw);
                return kicked(cpu, system);
            }
            if intid == header.gic.maintenance_intid {
                local.trace.count(cause::MAINTENANCE);
                if local.current != NONE {
                    system.vgic(local.partition).on_maintenance(&local.gic, local.index);
                }
                local.gic.retire(raw);
                return 0;
            }
            if intid == header.uart_intid {
                local.trace.count(cause::CONSOLE);
                console::receive(cpu, system);
            }
            if let Some(local) = Local::of(cpu) {
                local.gic.retire(raw);
            }
            0
        }
        route::NOBODY | route::CURRENT => {
            local.trace.count(cause::STRAGGLER);
            local.gic.retire(raw);
            0
        }
        limited @ route::LIMITED.. => limited::take(local, system, raw, (limited - route::LIMITED) as usize),
        partition => absent(local, system, raw, partition),
    }
}

/// An interrupt of a partition whose vCPU on this CPU does not run: it waits in the model until it
/// does.
pub fn absent(local: &Local, system: &System, raw: u32, partition: u32) -> u64 {
    local.gic.end(raw);
    local.trace.count(cause::STRAGGLER);
    let value = u64::from(gic::intid(raw)) | u64::from(partition) << 32;
    local.trace.put(timer::now(), kind::STRAGGLER, 0, value);
    let own = local.cpu as u32;
    let vcpu = system
        .partition(partition)
        .and_then(|(record, _)| system.vcpus_of(record).iter().find(|vcpu| vcpu.cpu == own));
    match vcpu {
        Some(vcpu) => {
            if let Some(seat) = system.vgic(partition).seat(vcpu.index as usize) {
                seat.inject_late(&local.gic, gic::intid(raw));
            }
        }
        None => local.gic.retire(raw),
    }
    0
}

/// Another CPU has left something: interrupts, a change of life, or output to drain.
pub fn kicked(cpu: &mut Cpu, system: &System) -> u64 {
    console::kicked(cpu, system);
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    let switch = PLAN.load();
    if switch.tick < local.slot.end && local.timeline.as_ref().is_some_and(|t| t.switches() != switch.number)
    {
        // A plan that is entered at once cuts the slot short.
        local.slot.end = switch.tick;
        local.arm_timer();
    }
    if local.current == NONE {
        return 0;
    }
    system.vgic(local.partition).on_kick(&local.gic, local.index);
    // What woke the slot's own vCPU ends the background's turn.
    u64::from(must_leave(local, system) || !local.is_owner)
}

/// EL2's timer: the console's turn, or a deadline, and perhaps the slot's end, too.
#[cold]
#[inline(never)]
pub fn tick(cpu: &mut Cpu, now: u64) -> u64 {
    let (Some(system), Some(local)) = (SYSTEM.get(), Local::of(cpu)) else {
        return 0;
    };
    let ends = now + local.guard >= local.slot.end;
    let leave =
        u64::from(ends) | if now < local.watch_at.get() { 0 } else { health::watch(local, system, now) };
    if !ends {
        local.trace.count(cause::TIMER);
        console::tick(cpu, system, now);
        if let Some(local) = Local::of(cpu) {
            local.arm_timer();
        }
    }
    leave
}

/// The FIQ handler, and the one for a CPU that idles: EL2's own interrupts where IRQs are a guest's.
#[inline(never)]
pub fn fast_interrupt(cpu: &mut Cpu) -> u64 {
    #[cfg(not(feature = "gicv2"))]
    if Local::of(cpu).is_some_and(|local| local.gic.is_direct()) {
        return crate::direct::interrupt(cpu);
    }
    crate::entries::bulkhead_interrupt(cpu)
}
