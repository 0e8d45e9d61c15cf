//! PRT: ports.

use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{PortKind, System};

rule!(PRT_001, "PRT-001", Error, Check::System(ends),
    "A port has no writer, no reader, or its writer among its readers.",
    why: "A port without a peer is a mistake that shows only at run time.",
    example: "state { from = <&a>; to = <&a>; };",
    fix: "name one writer in `from` and other partitions in `to`");

rule!(PRT_002, "PRT-002", Error, Check::System(too_many),
    "A port has two writers, or a queuing port two readers, or a reader stands twice.",
    why: "The protocols without locks are sound for one writer, and for a queue with one reader.",
    example: "state { from = <&a &b>; to = <&c>; };",
    fix: "make one port for each");

rule!(PRT_004, "PRT-004", Finding, Check::System(upward),
    "Data flows, or a doorbell interrupts, from lower to higher criticality.",
    why: "Freedom from interference (ISO 26262-6 annex D): the higher one must check what it takes from below.",
    example: "setpoint { from = <&linux>; to = <&rtos>; }; /* QM to ASIL-D */",
    fix: "turn the flow round, drop the doorbell, or say how the receiver checks the data");

fn ends(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        let name = &port.name.value;
        for (list, what, property) in [(&port.from, "writer", "from"), (&port.to, "reader", "to")] {
            if list.is_empty() && !system.doubts.about(port.span, property) {
                let finding = Finding::new(
                    &PRT_001,
                    format!("port {name} has no {what}"),
                    port.span,
                    format!("needs `{property}`"),
                )
                .found(format!("no partition in `{property}`"))
                .expected(format!("{property} = <&PARTITION>;"));
                out.push(finding);
            }
        }
        for writer in &port.from {
            if let Some(reader) = port.to.iter().find(|r| r.partition == writer.partition) {
                let partition = &system.partitions[writer.partition].name.value;
                let finding = Finding::new(
                    &PRT_001,
                    format!("{partition} reads its own port {name}"),
                    reader.span,
                    "reader",
                )
                .also(writer.span, "writer")
                .found(format!("{partition} in `from` and in `to`"))
                .expected("other partitions as readers");
                out.push(finding);
            }
        }
    }
}

fn too_many(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        let queue = matches!(port.kind, PortKind::Queuing { .. });
        let name = &port.name.value;
        let mut report = |ends: &[crate::model::PortEnd], what: &str| {
            let finding =
                Finding::new(&PRT_002, format!("port {name} has two {what}"), ends[1].span, "second")
                    .also(ends[0].span, "first")
                    .found(format!("{} {what}", ends.len()))
                    .expected("one");
            out.push(finding);
        };
        if port.from.len() > 1 {
            report(&port.from, "writers");
        }
        if queue && port.to.len() > 1 {
            report(&port.to, "readers");
        }
        for (at, end) in port.to.iter().enumerate().filter(|_| !queue) {
            if let Some(first) = port.to[..at].iter().find(|e| e.partition == end.partition) {
                let reader = &system.partitions[end.partition].name.value;
                let finding =
                    Finding::new(&PRT_002, format!("{reader} reads port {name} twice"), end.span, "second")
                        .also(first.span, "first")
                        .found("two entries in `to`")
                        .expected("one");
                out.push(finding);
            }
        }
    }
}

/// Whether partition `from` is certainly or possibly of lower criticality than `to`. Nothing is lower than a partition
/// that states none; one that states none is lower than any that does; levels of different standards have no order.
/// Where what is stated could not be read, nobody knows.
pub fn is_lower(system: &System, from: usize, to: usize) -> bool {
    let [from, to] = [from, to].map(|p| &system.partitions[p]);
    if [from, to].iter().any(|p| system.doubts.about(p.span, "bulkhead,criticality")) {
        return false;
    }
    match (from.level(), to.level()) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(from), Some(to)) => from.partial_cmp(&to).is_none_or(std::cmp::Ordering::is_lt),
    }
}

/// The criticality as written, for messages.
pub fn describe(system: &System, partition: usize) -> String {
    let partition = &system.partitions[partition];
    let name = &partition.name.value;
    match partition.level() {
        Some(c) => format!("{name}: {c}"),
        None => format!("{name}: no criticality"),
    }
}

fn upward(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        for (writer, reader) in port.from.iter().flat_map(|w| port.to.iter().map(move |r| (w, r))) {
            if writer.partition == reader.partition || !is_lower(system, writer.partition, reader.partition) {
                continue;
            }
            let how =
                if port.doorbell.is_some() { "data flows and a doorbell interrupts" } else { "data flows" };
            let (from, to) = (describe(system, writer.partition), describe(system, reader.partition));
            let finding = Finding::new(
                &PRT_004,
                format!("port {}: {how} from lower to higher criticality", port.name.value),
                writer.span,
                from.clone(),
            )
            .also(reader.span, to.clone())
            .found(format!("{from}; {to}"))
            .expected("a writer that is at least as critical as its readers");
            out.push(finding);
        }
    }
}
