//! PRT: shapes of ports, and shared memory as a way for data.

use super::port::{describe, is_lower};
use super::{Check, rule};
use crate::build::ports::memory;
use crate::diag::Finding;
use crate::model::{PortKind, System};
use crate::span::Bytes;

rule!(PRT_005, "PRT-005", Finding, Check::System(segment_upward),
    "A segment lets data flow from lower to higher criticality.",
    why: "Shared memory has no message boundary and no sequence number: the reader must expect any byte at any time.",
    example: "map { writer = <&linux>; readers = <&rtos>; }; /* QM to ASIL-D */",
    fix: "use a port, turn the flow round, or say how the reader checks what it reads");

rule!(PRT_006, "PRT-006", Error, Check::System(too_large),
    "A port takes more memory than a port may.",
    why: "A message is copied by the CPU on both sides; one of many megabytes is a mistyped size or work for a segment.",
    example: "video { message-bytes = <0x10000000>; };",
    fix: "use smaller messages, a shorter queue, or a segment with a port for the hand-over");

rule!(PRT_007, "PRT-007", Warning, Check::System(never_stale),
    "A sampling port has no `refresh`: no reader can tell that its writer has stopped.",
    why: "Validity is what a sampling port has over plain memory (ARINC 653 part 1, 3.6.2.1).",
    example: "state { compatible = \"bulkhead,sampling-port\"; from = <&a>; to = <&b>; message-bytes = <64>; };",
    fix: "add refresh-us with the longest time that a message is good for");

rule!(PRT_008, "PRT-008", Warning, Check::System(no_overlap),
    "A queuing port holds one message.",
    why: "The writer is refused from sending until the reader has taken it: the queue adds nothing to a sampling port but \
          refusals.",
    example: "commands { compatible = \"bulkhead,queuing-port\"; depth = <1>; };",
    fix: "make it at least two deep");

/// Most memory of one port, bytes.
const PORT_BYTES_MAX: u64 = 64 << 20;

fn segment_upward(system: &System, out: &mut Vec<Finding>) {
    for segment in &system.segments {
        let Some(writer) = &segment.writer else { continue };
        for reader in &segment.readers {
            if reader.value == writer.value || !is_lower(system, writer.value, reader.value) {
                continue;
            }
            let (from, to) = (describe(system, writer.value), describe(system, reader.value));
            let message =
                format!("segment {}: data flows from lower to higher criticality", segment.name.value);
            let finding = Finding::new(&PRT_005, message, writer.span, from.clone())
                .also(reader.span, to.clone())
                .found(format!("{from}; {to}"))
                .expected("a writer that is at least as critical as its readers");
            out.push(finding);
        }
    }
}

fn too_large(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        let bytes = memory(port).writer_bytes;
        if bytes > PORT_BYTES_MAX {
            let message = format!("port {} takes {}", port.name.value, Bytes(bytes));
            let finding = Finding::new(&PRT_006, message, port.message_bytes.span, "of each message");
            let finding = match &port.kind {
                PortKind::Queuing { depth, .. } => {
                    finding.also(depth.span, format!("{} messages", depth.value))
                }
                PortKind::Sampling { .. } => finding,
            };
            out.push(
                finding
                    .found(Bytes(bytes).to_string())
                    .expected(format!("at most {}", Bytes(PORT_BYTES_MAX))),
            );
        }
    }
}

fn never_stale(system: &System, out: &mut Vec<Finding>) {
    for port in system.ports.iter().filter(|p| matches!(p.kind, PortKind::Sampling { refresh_ns: None })) {
        if system.doubts.about(port.span, "refresh") {
            continue;
        }
        let message = format!("messages of port {} never expire", port.name.value);
        let finding = Finding::new(&PRT_007, message, port.span, "needs `refresh-us`")
            .found("no `refresh`")
            .expected("refresh-us = <TIME>;");
        out.push(finding);
    }
}

fn no_overlap(system: &System, out: &mut Vec<Finding>) {
    for port in &system.ports {
        let PortKind::Queuing { depth, .. } = &port.kind else { continue };
        if depth.value == 1 && !system.doubts.about(port.span, "depth") {
            let message = format!("port {} holds one message", port.name.value);
            let finding =
                Finding::new(&PRT_008, message, depth.span, "one deep").found("1").expected("2 or more");
            out.push(finding);
        }
    }
}
