//! Partitions whose interrupts reach them without EL2: whether that is sound.

use super::{Claim, Ledger};
use crate::system::{Part, System};
use bulkhead_blueprint::layout::{NONE, partition_flags, step};

pub static DIRECT: Claim = Claim {
    id: "VFY-052",
    title: "a partition with direct interrupts has its CPUs to itself, no virtual interrupt and none that EL2 counts, \
            and no other partition has a shared interrupt",
    method: "flags compared with CPUs, plans, bitmaps, doorbells, limits and health rows",
    check: direct,
};

fn direct(system: &System<'_>, ledger: &mut Ledger) {
    let (header, blueprint) = (system.view.header(), &system.view.blueprint);
    let mut cpus = 0u32;
    for part in &system.partitions {
        ledger.examined(1, "partitions");
        if !part.record.is_direct() {
            continue;
        }
        let index = part.index as u32;
        ledger.same(&format!("interrupt controller of {}", part.name), header.gic.version, 3);
        let own = blueprint.vcpus.iter().filter(|vcpu| vcpu.partition == index);
        for cpu in own.map(|vcpu| vcpu.cpu) {
            cpus |= 1 << (cpu % 32);
            alone(system, ledger, part, cpu);
        }
        none_virtual(system, ledger, part, index);
        for other in system.partitions.iter().filter(|other| other.index != part.index) {
            if other.record.irq_owned.iter().skip(1).any(|word| *word != 0) {
                let message = format!("{} could end shared interrupts of {}", part.name, other.name);
                ledger.fail(message, "shared interrupts of both kinds", "none beside direct ones");
            }
        }
    }
    ledger.same("CPUs on which EL2's interrupts are FIQs", header.gic.direct_cpus, cpus);
}

/// Nobody else, and no plan, has anything on `cpu`.
fn alone(system: &System<'_>, ledger: &mut Ledger, part: &Part<'_>, cpu: u32) {
    let blueprint = &system.view.blueprint;
    let message = |what: &str| format!("{what} on CPU {cpu} of {}", part.name);
    let bound = blueprint.vcpus.iter().filter(|vcpu| vcpu.cpu == cpu).count();
    ledger.same(&message("vCPUs"), bound, 1);
    for plan in blueprint.plans {
        let at = plan.cpu_first as usize + cpu as usize;
        let planned = blueprint.plan_cpus.get(at);
        let idle = planned.is_some_and(|planned| planned.window_count == 0 && planned.background == NONE);
        ledger.same(&message("a plan without windows and background"), idle, true);
    }
    if system.view.header().console_cpu == cpu {
        ledger.fail(message("the console"), "drained there", "drained elsewhere");
    }
}

/// Nothing would have EL2 interrupt the partition, or count its interrupts.
fn none_virtual(system: &System<'_>, ledger: &mut Ledger, part: &Part<'_>, index: u32) {
    let (blueprint, record, name) = (&system.view.blueprint, part.record, &part.name);
    let message = |what: &str| format!("{what} of {name}, which has direct interrupts");
    ledger.same(&message("emulated PL011"), record.flags & partition_flags::PL011, 0);
    ledger.same(&message("event interrupt"), record.event_bit, NONE);
    let doorbells = record.doorbell_intids.iter().filter(|intid| **intid != 0).count();
    ledger.same(&message("doorbells"), doorbells, 0);
    let vcpus = record.vcpu_first..record.vcpu_first.saturating_add(record.vcpu_count);
    let rung = blueprint.doorbells.iter().filter(|bell| vcpus.contains(&bell.vcpu)).count();
    ledger.same(&message("doorbells that others ring"), rung, 0);
    let limits = blueprint.interrupt_limits.iter().filter(|limit| limit.owner == index).count();
    ledger.same(&message("interrupt limits"), limits, 0);
    let tells = |action: u32| action >> step::NOTIFY_SHIFT & 0xFF == index + 1;
    let told = blueprint.health_rows.iter().filter(|row| {
        tells(row.normal) || tells(row.init) || row.steps.iter().any(|s| s.count != 0 && tells(s.action))
    });
    ledger.same(&message("notifications"), told.count(), 0);
}
