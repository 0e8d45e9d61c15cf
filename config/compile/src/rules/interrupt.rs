//! IRQ: interrupts and their owners.

use super::device::{grant_span, hypervisor_reason, owners};
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{ConsoleKind, Oddity, System};
use bulkhead_blueprint::limits::IRQ_WORDS;
use std::collections::BTreeMap;

rule!(IRQ_001, "IRQ-001", Error, Check::System(granted_twice),
    "An interrupt is granted to two partitions.",
    why: "A line has one target and one end-of-interrupt: one partition could mask or keep the other's.",
    example: "a { access = <&uart2>; }; b { access = <&uart3>; }; /* one line for both on BCM2711 */",
    fix: "grant both devices to one partition, or only one of them");

rule!(IRQ_002, "IRQ-002", Error, Check::System(hypervisor_uses),
    "An interrupt that the hypervisor uses is granted.",
    why: "Maintenance, EL2 timer and console interrupts drive the hypervisor itself.",
    example: "a { access = <&sensor>; }; /* on the console's line */",
    fix: "grant another device, or let the hypervisor's console use another UART");

rule!(IRQ_003, "IRQ-003", Error, Check::System(same_inside),
    "Two sources have one INTID inside a partition.",
    why: "The guest could not tell the two apart, and a level line would follow only one of them.",
    example: "a { bulkhead,console = \"pl011\"; access = <&dev33>; }; /* passed through as 33, the emulated PL011's */",
    fix: "move the emulated PL011's interrupt (view { uart-interrupt }), or drop one of the two");

rule!(IRQ_004, "IRQ-004", Finding, Check::System(line_shared),
    "One physical line serves devices of several owners.",
    why: "A device that nobody was granted can raise the line for ever (BCM2711: UART0, 2, 3, 4, 5 on one line).",
    example: "a { access = <&uart2>; }; /* uart3 shares its line and nobody has it */",
    fix: "disable the other devices in the board's tree, or say why they stay silent");

rule!(IRQ_005, "IRQ-005", Error, Check::System(malformed),
    "An interrupt specifier of a granted device or of the console means nothing.",
    why: "It would be dropped, and the device's driver would wait for ever.",
    example: "sensor { interrupts = <0 2000 4>; }; a { access = <&sensor>; };",
    fix: "write type, number and flags (binding arm,gic): <0 N 4> for a level-sensitive shared interrupt");

rule!(IRQ_006, "IRQ-006", Error, Check::System(private),
    "A granted device raises a private interrupt.",
    why: "A PPI has one line for each CPU; EL2 switches the timers' alone, so another's would reach whoever runs.",
    example: "pmu { interrupts = <1 7 4>; }; a { access = <&pmu>; };",
    fix: "do not grant the device");

rule!(IRQ_007, "IRQ-007", Error, Check::System(uart_line),
    "The emulated PL011's interrupt is no shared interrupt of the emulated controller.",
    why: "The guest's device tree would name an interrupt that cannot be raised.",
    example: "a { bulkhead,console = \"pl011\"; view { uart-interrupt = <20>; }; };",
    fix: "choose an INTID in the range shown");

rule!(IRQ_008, "IRQ-008", Warning, Check::System(untold),
    "An interrupt specifier of a granted device does not say its trigger.",
    why: "It is taken for level-sensitive: an edge of such a line is lost or seen twice.",
    example: "sensor { interrupts = <0 40 0>; };",
    fix: "write flags 1 or 2 for edges, 4 or 8 for levels");

fn granted_twice(system: &System, out: &mut Vec<Finding>) {
    let mut seen: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (partition, device) in owners(system) {
        for line in system.devices[device].interrupts.iter().filter(|i| i.intid >= 32) {
            match seen.get(&line.intid) {
                Some((other, first)) if *other != partition && *first != device => {
                    let (a, b) =
                        (&system.partitions[*other].name.value, &system.partitions[partition].name.value);
                    let message = format!("interrupt {} is granted to {a} and {b}", line.intid);
                    let finding = Finding::new(
                        &IRQ_001,
                        message,
                        grant_span(system, partition, device),
                        system.devices[device].display_name(),
                    )
                    .also(grant_span(system, *other, *first), system.devices[*first].display_name())
                    .found(format!("INTID {} of both devices", line.intid))
                    .expected("one owner for each interrupt");
                    out.push(finding);
                }
                Some(_) => {}
                None => drop(seen.insert(line.intid, (partition, device))),
            }
        }
    }
}

fn hypervisor_uses(system: &System, out: &mut Vec<Finding>) {
    let facts = &system.board.facts;
    let mut used: Vec<(u32, String, crate::span::Span)> = vec![
        (facts.maintenance_intid, "the GIC's maintenance interrupt".to_owned(), system.board.gic.span),
        (facts.hypervisor_timer_intid, "the EL2 timer".to_owned(), system.board.span),
    ];
    if let Some(console) = &system.hypervisor.console {
        let device = &system.devices[console.value];
        used.extend(
            device.interrupts.iter().map(|i| (i.intid, "the hypervisor's console".to_owned(), console.span)),
        );
    }
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        // The device itself is DEV-002's matter.
        if hypervisor_reason(system, index).is_some() {
            continue;
        }
        for (intid, what, span) in
            used.iter().filter(|(n, ..)| device.interrupts.iter().any(|i| i.intid == *n))
        {
            let message = format!("interrupt {intid} of {} is {what}", device.display_name());
            let finding =
                Finding::new(&IRQ_002, message, grant_span(system, partition, index), "granted here")
                    .also(*span, format!("used for {what}"))
                    .found(format!("INTID {intid}"))
                    .expected("an interrupt that the hypervisor does not use");
            out.push(finding);
        }
    }
}

fn same_inside(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let mut seen: BTreeMap<u32, (String, crate::span::Span)> = BTreeMap::new();
        if *partition.console == ConsoleKind::Pl011 {
            seen.insert(partition.view.uart_intid, ("the emulated PL011".to_owned(), partition.console.span));
        }
        // A device that stands twice is DEV-001's matter, one that the hypervisor drives DEV-002's.
        let first = |at: usize| !partition.access[..at].iter().any(|a| a.value == partition.access[at].value);
        let list = partition.access.iter().enumerate().filter(|(at, _)| first(*at)).map(|(_, access)| access);
        for access in list.filter(|a| hypervisor_reason(system, a.value).is_none()) {
            let device = &system.devices[access.value];
            for line in device.lines() {
                let span = grant_span(system, index, access.value);
                if let Some((other, other_span)) = seen.get(&line.intid) {
                    let message = format!(
                        "in {}, interrupt {} is {} and {other}",
                        partition.name.value,
                        line.intid,
                        device.display_name()
                    );
                    let finding = Finding::new(&IRQ_003, message, span, device.display_name())
                        .also(*other_span, other.clone())
                        .found(format!("INTID {} twice", line.intid))
                        .expected("one source for each INTID");
                    out.push(finding);
                } else {
                    seen.insert(line.intid, (device.display_name(), span));
                }
            }
        }
    }
}

fn line_shared(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        for line in device.interrupts.iter().filter(|i| i.intid >= 32) {
            let others = system.devices.iter().enumerate().filter(|(other, d)| {
                let granted = system.partitions.iter().any(|p| p.access.iter().any(|a| a.value == *other));
                *other != index
                    && !granted
                    && d.enabled
                    && d.interrupts.iter().any(|i| i.intid == line.intid)
                    && hypervisor_reason(system, *other).is_none()
            });
            for (_, other) in others {
                let message = format!(
                    "interrupt {} of {} is also that of {}",
                    line.intid,
                    device.display_name(),
                    other.display_name()
                );
                let finding =
                    Finding::new(&IRQ_004, message, grant_span(system, partition, index), "granted here")
                        .also(other.span, "granted to nobody")
                        .found(format!("INTID {} of both", line.intid))
                        .expected("a line of its own");
                out.push(finding);
            }
        }
    }
}

/// Oddities of granted devices and of the console, with the place that asks for the device.
fn oddities(system: &System) -> impl Iterator<Item = (usize, crate::span::Span, &Oddity)> {
    let granted = owners(system).map(|(p, d)| (d, grant_span(system, p, d)));
    let console = system.hypervisor.console.iter().map(|c| (c.value, c.span));
    granted.chain(console).flat_map(|(device, span)| {
        system.devices[device].oddities.iter().map(move |oddity| (device, span, oddity))
    })
}

fn malformed(system: &System, out: &mut Vec<Finding>) {
    for (device, span, oddity) in oddities(system).filter(|(.., o)| o.fatal) {
        let device = &system.devices[device];
        let message = format!("an interrupt of {} means nothing", device.display_name());
        let finding = Finding::new(&IRQ_005, message, span, "needs the device")
            .also(device.span, "its `interrupts`")
            .found(oddity.found.clone())
            .expected("<TYPE NUMBER FLAGS> for each interrupt");
        out.push(finding);
    }
}

fn untold(system: &System, out: &mut Vec<Finding>) {
    for (device, span, oddity) in oddities(system).filter(|(.., o)| !o.fatal) {
        let device = &system.devices[device];
        let message = format!("the trigger of an interrupt of {} is not said", device.display_name());
        let finding = Finding::new(&IRQ_008, message, span, "needs the device")
            .also(device.span, "its `interrupts`")
            .found(oddity.found.clone())
            .expected("flags 1, 2, 4 or 8");
        out.push(finding);
    }
}

fn private(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let line = device.interrupts.iter().find(|i| i.intid < 32);
        if let Some(line) = line.filter(|_| hypervisor_reason(system, index).is_none()) {
            let message = format!("{} raises a private interrupt", device.display_name());
            let finding =
                Finding::new(&IRQ_006, message, grant_span(system, partition, index), "granted here")
                    .also(device.span, format!("INTID {}", line.intid))
                    .found(format!("INTID {}", line.intid))
                    .expected("shared interrupts (32 and above) alone");
            out.push(finding);
        }
    }
}

fn uart_line(system: &System, out: &mut Vec<Finding>) {
    let end = IRQ_WORDS as u32 * 32;
    for partition in system.partitions.iter().filter(|p| *p.console == ConsoleKind::Pl011) {
        let intid = partition.view.uart_intid;
        if !(32..end).contains(&intid) {
            let message =
                format!("the emulated PL011 of {} cannot raise INTID {intid}", partition.name.value);
            let finding = Finding::new(&IRQ_007, message, partition.view.span, "its place in the partition")
                .also(partition.console.span, "the emulated PL011")
                .found(format!("INTID {intid}"))
                .expected(format!("32 to {}", end - 1));
            out.push(finding);
        }
    }
}
