//! CLO: what granted devices need, judged on their [`crate::closure`].

use super::device::{Holder, grant_span, holder, hypervisor_reason, owners};
use super::{Check, rule};
use crate::closure::{self, Closure, NOTHING, Need, Stated};
use crate::diag::Finding;
use crate::model::{DeviceIndex, PartitionIndex, System};

rule!(CLO_001, "CLO-001", Error, Check::System(missing),
    "A granted device needs another node that is neither granted nor replaceable by a fixed one.",
    why: "A driver without its clock, reset, power domain, regulator or pin control fails at run time, without a word.",
    example: "a { access = <&spi>; }; /* its clock comes from the clock manager */",
    fix: "grant the node it needs, fix the clock in the board's tree (compatible = \"fixed-clock\"), or take out what the \
          driver can do without (&device { /delete-property/ dmas; };)");

rule!(CLO_002, "CLO-002", Finding, Check::System(shared_parent),
    "A node that a granted device needs also serves a device of somebody else.",
    why: "Its owner can stop, slow or reset the other's device (clock managers, reset controllers, regulators).",
    example: "a { access = <&spi &clocks>; }; b { access = <&i2c>; }; /* i2c has its clock from &clocks too */",
    fix: "fix the clock in the board's tree, grant both devices to one partition, or say why its owner can be trusted");

rule!(CLO_005, "CLO-005", Error, Check::System(silent_clock),
    "A granted device has a fixed clock without a frequency.",
    why: "A driver computes baud rates and dividers from it: zero divides, or gives a rate that nobody asked for.",
    example: "osc: osc { compatible = \"fixed-clock\"; #clock-cells = <0>; };",
    fix: "add clock-frequency = <HZ>; to the clock");

rule!(CLO_007, "CLO-007", Error, Check::System(cyclic),
    "What a granted device needs leads back to the device.",
    why: "Neither can be brought up before the other; a guest that follows the references defers both for ever.",
    example: "x { clocks = <&y 0>; }; y { power-domains = <&x>; }; a { access = <&x &y>; };",
    fix: "break the circle in the board's tree, for example by a fixed clock");

rule!(CLO_008, "CLO-008", Finding, Check::System(counted_on),
    "A granted device's clock or supply hangs on a device that is not granted, and is taken for fixed.",
    why: "The board's data say how firmware leaves it; if firmware leaves it off or at another rate or voltage, the device \
          is dead or worse, and nobody can mend it at run time.",
    example: "emmc2 { clocks = <&clocks 51>; }; a { access = <&emmc2>; };",
    fix: "make firmware set it (the line of its configuration that the board's data name), and say so");

rule!(CLO_009, "CLO-009", Error, Check::System(a_bus),
    "A granted device is a bus whose addresses or interrupts a generated device tree cannot repeat.",
    why: "`ranges`, `dma-ranges` and interrupt maps speak of the board's buses and of devices that nobody granted.",
    example: "a { access = <&pcie0>; }; /* ranges, dma-ranges, interrupt-map */",
    fix: "grant devices behind it that have registers of their own, or give the partition a tree: bulkhead,dtb");

/// The closure of a device that `partition` has.
fn of(system: &System, partition: PartitionIndex, device: DeviceIndex) -> Closure {
    let access = &system.partitions[partition].access;
    closure::of(system, device, &|wanted| access.iter().any(|a| a.value == wanted))
}

/// `its PROPERTY names PATH`, or how it leads there.
fn reached(need: &Need) -> String {
    match need.via.as_slice() {
        [] if need.path == NOTHING => format!("its `{}` names no device", need.property),
        [] => format!("its `{}` names {}", need.property, need.path),
        via => format!("its `{}` leads to {} by {}", need.property, need.path, via.join(", ")),
    }
}

fn missing(system: &System, out: &mut Vec<Finding>) {
    // What the hypervisor drives is refused as such (DEV-002).
    for (partition, index) in owners(system).filter(|(_, d)| hypervisor_reason(system, *d).is_none()) {
        let device = &system.devices[index];
        for need in of(system, partition, index).needs.iter().filter(|need| !need.met && !need.stated) {
            let who = match need.device.map(|device| holder(system, device)) {
                _ if need.disabled => "disabled".to_owned(),
                None if need.path == NOTHING => "no device has that phandle".to_owned(),
                None => "nothing that a partition's tree can repeat".to_owned(),
                Some(Holder::Nobody) => "granted to nobody".to_owned(),
                Some(Holder::Hypervisor) => "the hypervisor's".to_owned(),
                Some(Holder::Partition(other)) => {
                    format!("granted to {}", system.partitions[other].name.value)
                }
            };
            let finding = Finding::new(
                &CLO_001,
                match need.path.as_str() {
                    NOTHING => format!("`{}` of {} names no device", need.property, device.display_name()),
                    path => format!("{} needs {path}", device.display_name()),
                },
                grant_span(system, partition, index),
                "granted here",
            )
            .also(device.span, reached(need))
            .found(format!("{}: {}, {who}", need.property, need.path))
            .expected("every node it needs granted too, or a fixed clock");
            out.push(finding);
        }
    }
}

fn counted_on(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        for stated in of(system, partition, index).stated {
            let (node, what, set_by) = match &stated {
                Stated::Clock(node, clock) => {
                    (*node, format!("{} Hz of output {}", clock.hz, clock.output), &clock.set_by)
                }
                Stated::Supply(node, supply) => {
                    (*node, format!("{} microvolts", supply.microvolt), &supply.set_by)
                }
            };
            let provider = &system.nodes[node];
            let message = format!("{} counts on {what} from {}", device.display_name(), provider.path);
            let finding =
                Finding::new(&CLO_008, message, grant_span(system, partition, index), "granted here")
                    .also(provider.span, "nobody who could mend it has what it hangs on")
                    .found(format!("{what}, set by {set_by}"))
                    .expected("a fixed clock or supply of the board");
            out.push(finding);
        }
    }
}

fn a_bus(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let has_tree = system.partitions[partition].dtb.is_some();
        let nodes = of(system, partition, index).nodes;
        for node in nodes.iter().map(|node| &system.nodes[*node]).filter(|_| !has_tree) {
            let Some(property) = node.untranslatable.first() else { continue };
            let message = format!("{} is a bus of the board", device.display_name());
            let finding =
                Finding::new(&CLO_009, message, grant_span(system, partition, index), "granted here")
                    .also(node.span, format!("has `{property}`"))
                    .found(format!("{}: {}", node.path, node.untranslatable.join(", ")))
                    .expected("a device without a map of addresses or interrupts");
            out.push(finding);
        }
    }
}

fn shared_parent(system: &System, out: &mut Vec<Finding>) {
    // What each device that somebody has needs if nobody gives it anything.
    let alone = |device: DeviceIndex| closure::of(system, device, &|_| false).needs;
    let held =
        |device: &DeviceIndex| system.devices[*device].enabled && holder(system, *device) != Holder::Nobody;
    let all: Vec<(DeviceIndex, Vec<Need>)> =
        (0..system.devices.len()).filter(held).map(|device| (device, alone(device))).collect();
    for (partition, index) in owners(system) {
        let needs = of(system, partition, index).needs;
        let mut told: Vec<(DeviceIndex, DeviceIndex)> = Vec::new();
        for (need, provider) in needs.iter().filter_map(|need| Some((need, need.device?))) {
            let mine = |device: DeviceIndex| holder(system, device) == Holder::Partition(partition);
            let users = all.iter().filter(|(other, needs)| {
                need.met && !mine(*other) && needs.iter().any(|theirs| theirs.device == need.device)
            });
            // What is counted on can be changed by who has it.
            let owner = (need.stated && holder(system, provider) != Holder::Nobody).then_some(provider);
            for other in users.map(|(other, _)| *other).chain(owner) {
                if !told.contains(&(other, provider)) {
                    told.push((other, provider));
                    out.push(shared(system, (partition, index), need, other));
                }
            }
        }
    }
}

/// CLO-002 about a device, what it needs, and `other`, which needs it too or is it and somebody else's.
fn shared(system: &System, at: (PartitionIndex, DeviceIndex), need: &Need, other: DeviceIndex) -> Finding {
    let (device, other_device) = (&system.devices[at.1], &system.devices[other]);
    let (message, label) = if need.device == Some(other) {
        (format!("{} serves {} and is somebody else's", need.path, device.display_name()), "can change it")
    } else {
        let names = (device.display_name(), other_device.display_name());
        (format!("{} serves {} and {}", need.path, names.0, names.1), "somebody else's, needs it too")
    };
    Finding::new(&CLO_002, message, grant_span(system, at.0, at.1), "granted here")
        .also(other_device.span, label)
        .found(format!("{}: {}", need.property, need.path))
        .expected("a provider that serves one owner alone")
}

fn silent_clock(system: &System, out: &mut Vec<Finding>) {
    for (partition, index) in owners(system) {
        let device = &system.devices[index];
        let closure = of(system, partition, index);
        let clocks = closure.nodes.iter().map(|node| &system.nodes[*node]);
        let silent = |hz: Option<u32>| hz.is_none_or(|hz| hz == 0);
        for clock in clocks.filter(|n| n.is_compatible("fixed-clock") && silent(n.cell("clock-frequency"))) {
            let message = format!("{} has a clock without a frequency", device.display_name());
            let finding =
                Finding::new(&CLO_005, message, grant_span(system, partition, index), "granted here")
                    .also(device.span, format!("its clock is {}", clock.path))
                    .found(format!("no clock-frequency at {}", clock.path))
                    .expected("clock-frequency = <HZ>;");
            out.push(finding);
        }
    }
}

fn cyclic(system: &System, out: &mut Vec<Finding>) {
    let needs = |device: DeviceIndex| {
        let closure = closure::of(system, device, &|_| true);
        closure.needs.iter().filter_map(|need| need.device).collect::<Vec<_>>()
    };
    for (partition, index) in owners(system) {
        let mut reached = vec![index];
        let mut at = 0;
        let mut back = None;
        while let Some(device) = reached.get(at).copied().filter(|_| back.is_none()) {
            let next = needs(device);
            back = next.contains(&index).then_some(device);
            reached.extend(next.into_iter().filter(|n| !reached.contains(n)).collect::<Vec<_>>());
            at += 1;
        }
        if let Some(last) = back {
            let device = &system.devices[index];
            let message = format!("{} needs itself", device.display_name());
            let finding =
                Finding::new(&CLO_007, message, grant_span(system, partition, index), "granted here")
                    .also(system.devices[last].span, "leads back to it")
                    .found(format!("{} needs {}", system.devices[last].path, device.path))
                    .expected("references without a circle");
            out.push(finding);
        }
    }
}
