//! One screen about an image.

use super::pack::Packed;
use crate::diag::{Finding, Severity};
use crate::model::{Partition, PortKind, System};
use crate::span::Bytes;
use std::fmt::Write;

/// Bytes as people read them: KiB below 10 MiB, else MiB, rounded up.
fn size(bytes: u64) -> String {
    if bytes < 10 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

/// The text.
pub fn text(system: &System, packed: &Packed, findings: &[Finding]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, system, packed, findings);
    out
}

fn write_all(out: &mut String, system: &System, packed: &Packed, findings: &[Finding]) -> std::fmt::Result {
    let addresses = &packed.addresses;
    let part_number = &system.hypervisor.part_number.value;
    writeln!(out, "{part_number} on {}", system.board.facts.name)?;
    writeln!(out, "\npartitions")?;
    for (index, partition) in system.partitions.iter().enumerate() {
        let cpus: Vec<String> = partition.vcpus.iter().map(ToString::to_string).collect();
        let memory = partition.memory.iter().zip(&addresses.memory[index]);
        let memory =
            memory.map(|(m, pa)| format!("{} {:#x} -> {:#x}", Bytes(m.ipa.size), m.ipa.base, pa.base));
        writeln!(
            out,
            "  {:>2} {:<12} CPU {:<8} {}  {}, entry {:#x}",
            partition.id.value,
            partition.name.value,
            cpus.join(","),
            memory.collect::<Vec<_>>().join(", "),
            packed.guests[index].kind,
            packed.guests[index].entry,
        )?;
        devices(out, system, partition)?;
    }
    ports(out, system)?;
    if !system.plans.is_empty() {
        let names: Vec<&str> = system.plans.iter().map(|p| p.name.value.as_str()).collect();
        writeln!(out, "\nplans: {}", names.join(", "))?;
    }
    if system.hypervisor.spectre_bhb.is_some() {
        writeln!(out, "\nEL2 overwrites the branch history at every entry from a guest (spectre-bhb)")?;
    }
    let sealed = addresses.hashed_end - addresses.image_base;
    let in_memory = addresses.image_end - addresses.image_base;
    writeln!(
        out,
        "\nimage {} at {:#x} (sealed {}, payloads {}), {} in memory",
        size(packed.file.len() as u64),
        addresses.image_base,
        size(sealed),
        size(addresses.file_end - addresses.hashed_end),
        size(in_memory),
    )?;
    writeln!(out, "image ID {}", packed.image_id())?;
    accepted(out, findings)
}

fn devices(out: &mut String, system: &System, partition: &Partition) -> std::fmt::Result {
    let access = partition.access.iter();
    let names = access.map(|a| system.devices[a.value].display_name());
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    writeln!(out, "     {:<12} devices: {}", "", names.join(", "))
}

fn ports(out: &mut String, system: &System) -> std::fmt::Result {
    if system.ports.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nports")?;
    for port in &system.ports {
        let names = |ends: &[crate::model::PortEnd]| {
            let names = ends.iter().map(|e| system.partitions[e.partition].name.value.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let kind = match &port.kind {
            PortKind::Sampling { .. } => "sampling".to_owned(),
            PortKind::Queuing { depth, .. } => format!("queuing, {} deep", depth.value),
        };
        let doorbell = if port.doorbell.is_some() { ", doorbell" } else { "" };
        writeln!(
            out,
            "  {:<15} {} -> {}: {kind}, {} bytes{doorbell}",
            port.name.value,
            names(&port.from),
            names(&port.to),
            port.message_bytes.value,
        )?;
    }
    Ok(())
}

/// Accepted findings with their reasons, and warnings; nothing else is left when an image is built.
fn accepted(out: &mut String, findings: &[Finding]) -> std::fmt::Result {
    let warnings: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Warning).collect();
    let list: Vec<&Finding> = findings.iter().filter(|f| f.accepted.is_some()).collect();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    writeln!(
        out,
        "{} finding{} accepted, {} warning{}",
        list.len(),
        plural(list.len()),
        warnings.len(),
        plural(warnings.len())
    )?;
    for warning in warnings {
        writeln!(out, "  {}: {} (warning)", warning.rule.id, warning.message)?;
    }
    for finding in list {
        let reason = finding.accepted.as_deref().unwrap_or_default();
        writeln!(out, "  {}: {} ({reason})", finding.rule.id, finding.message)?;
    }
    Ok(())
}
