//! IRQ: partitions whose interrupts reach them without EL2 (docs/adr/0026), and when that is sound.

use super::cpu::is_shared;
use super::device::grant_span;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Action, ConsoleKind, GicVersion, Partition, System};
use crate::span::Span;

rule!(IRQ_009, "IRQ-009", Error, Check::System(controller),
    "Direct interrupts are asked for on a board whose interrupt controller has no group of EL2's own.",
    why: "EL2 stays reachable by Group 0: that takes a GICv3 with one security state (GICD_CTLR.DS = 1). A GICv2 and a GICv3 with two have none for it (docs/adr/0026).",
    example: "/include/ \"board/rpi4.dtsi\" a { bulkhead,direct-interrupts; };",
    fix: "drop bulkhead,direct-interrupts, or use a board with such a controller");

rule!(IRQ_010, "IRQ-010", Error, Check::System(not_its_own),
    "A partition with direct interrupts does not have its CPUs to itself.",
    why: "What comes on the CPU goes to whoever runs: another's interrupts, or the console's, would be its own.",
    example: "a { bulkhead,direct-interrupts; }; plans { ... cpu@2 { background = <&a>; }; };",
    fix: "give the partition CPUs without windows, and let another CPU drain the console");

rule!(IRQ_011, "IRQ-011", Error, Check::System(virtual_interrupts),
    "A partition with direct interrupts would get one that is not physical, or that EL2 has to see.",
    why: "Its CPU interface is the physical one (HCR_EL2.IMO = 0): EL2 can neither inject into it nor count what comes.",
    example: "a { bulkhead,direct-interrupts; bulkhead,console = \"pl011\"; };",
    fix: "console by calls, ports without doorbells, events by polling, no limits; or drop bulkhead,direct-interrupts");

rule!(IRQ_012, "IRQ-012", Error, Check::System(others_lines),
    "A device's interrupt is granted beside a partition with direct interrupts that does not have it.",
    why: "Whoever writes ICC_EOIR1_EL1 himself can end any shared interrupt, also another's that is being handled: a level line would then interrupt its owner again and again.",
    example: "a { bulkhead,direct-interrupts; }; b { access = <&rtc>; };",
    fix: "grant the device to the partition with direct interrupts, or drop bulkhead,direct-interrupts");

/// Partitions with direct interrupts, and where they ask for them.
fn direct(system: &System) -> impl Iterator<Item = (usize, &Partition, Span)> {
    let all = system.partitions.iter().enumerate();
    all.filter_map(|(index, partition)| Some((index, partition, partition.direct_interrupts?)))
}

fn controller(system: &System, out: &mut Vec<Finding>) {
    let (gic, states) = (&system.board.gic, system.board.facts.gic_security_states);
    let found = match gic.version {
        GicVersion::V3 if states == 1 => return,
        GicVersion::V3 => format!("a GICv3 with {states} security states"),
        GicVersion::V2 => "a GICv2".to_owned(),
    };
    for (_, partition, span) in direct(system) {
        let message = format!("the board has no direct interrupts for {}", partition.name.value);
        let finding = Finding::new(&IRQ_009, message, span, "asked for here")
            .also(gic.span, "the interrupt controller")
            .found(found.clone())
            .expected("a GICv3 with one security state: gic-security-states = 1 in board.toml");
        out.push(finding);
    }
}

fn not_its_own(system: &System, out: &mut Vec<Finding>) {
    for (_, partition, span) in direct(system) {
        let name = &partition.name.value;
        let refuse = |message: String, what: &'static str| {
            Finding::new(&IRQ_010, message, span, "asked for here").also(partition.vcpus.span, what)
        };
        for cpu in partition.vcpus.iter() {
            let cpu_name = &system.board.cpus[*cpu].name;
            if is_shared(system, *cpu) {
                let message = format!("{name} shares {cpu_name}");
                out.push(
                    refuse(message, "its CPUs").found(format!("a plan for {cpu_name}")).expected("no plan"),
                );
            }
            let console = &system.hypervisor.console_cpu;
            if console.value == *cpu {
                let message = format!("{cpu_name} of {name} drains the console");
                let finding = refuse(message, "its CPUs").also(console.span, "drains the console");
                out.push(finding.found(format!("console-cpu {cpu_name}")).expected("another CPU"));
            }
        }
    }
}

/// What of the configuration would have to interrupt the partition by EL2's hand: what it is, and where.
fn injected(system: &System, index: usize, partition: &Partition) -> Vec<(String, Span)> {
    let mut out = Vec::new();
    if *partition.console == ConsoleKind::Pl011 {
        out.push(("an emulated PL011".to_owned(), partition.console.span));
    }
    for port in &system.ports {
        if let Some(doorbell) =
            port.doorbell.as_ref().filter(|_| port.to.iter().any(|e| e.partition == index))
        {
            out.push((format!("the doorbell of port {}", port.name.value), doorbell.span));
        }
    }
    let limits = partition.grants.iter().filter(|grant| grant.interrupt_limit.is_some());
    out.extend(limits.map(|grant| (format!("the interrupt limit of grant {}", grant.name), grant.span)));
    let tables = system.health_tables.iter().chain(&system.module_health);
    for (_, step) in tables.clone().flat_map(|table| table.steps()) {
        if let Some(told) = step.notify.iter().find(|told| told.value == index) {
            out.push(("an event's notification".to_owned(), told.span));
        }
    }
    let own = partition.health.as_ref().and_then(|table| system.health_tables.get(table.value));
    for (_, step) in own.into_iter().flat_map(|table| table.steps()) {
        if step.action.value == Action::MaskInterrupt {
            out.push(("a health action that counts its interrupts".to_owned(), step.action.span));
        }
    }
    out
}

fn virtual_interrupts(system: &System, out: &mut Vec<Finding>) {
    for (index, partition, span) in direct(system) {
        for (what, place) in injected(system, index, partition) {
            let message = format!("{} has direct interrupts and {what}", partition.name.value);
            let finding = Finding::new(&IRQ_011, message, span, "asked for here")
                .also(place, "needs EL2 in between")
                .found(what)
                .expected("physical interrupts alone");
            out.push(finding);
        }
    }
}

fn others_lines(system: &System, out: &mut Vec<Finding>) {
    for (index, partition, span) in direct(system) {
        for (other, owner) in system.partitions.iter().enumerate().filter(|(other, _)| *other != index) {
            for access in &owner.access {
                let device = &system.devices[access.value];
                let Some(line) = device.interrupts.iter().find(|line| line.intid >= 32) else { continue };
                let (name, theirs) = (&partition.name.value, &owner.name.value);
                let message = format!("{name} could end interrupt {} of {theirs}", line.intid);
                let place = grant_span(system, other, access.value);
                let finding = Finding::new(&IRQ_012, message, place, device.display_name())
                    .also(span, format!("{name} writes the physical ICC_EOIR1_EL1"))
                    .found(format!("INTID {} of {theirs}", line.intid))
                    .expected("shared interrupts of the partition with direct interrupts alone");
                out.push(finding);
            }
        }
    }
}
