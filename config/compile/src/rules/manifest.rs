//! PRT-003: what a payload's manifest asks for, held against what the configuration gives.
//!
//! The SDK writes the manifest as an ELF note (System V ABI, "Note Section"): name `Bulkhead`, type 1, one entry of 48
//! bytes for each port (`partitions/sdk/src/manifest.rs`). A payload without a note states nothing.

use super::{Check, rule};
use crate::build::elf;
use crate::diag::Finding;
use crate::model::{Partition, Port, PortEnd, PortKind, System};
use bulkhead_abi::port::{direction, kind};

rule!(PRT_003, "PRT-003", Error, Check::Payloads(manifests),
    "A payload's manifest and the configuration differ: a port, its direction, kind or size.",
    why: "The payload would find it out at run time, in the one mode of operation that opens the port.",
    example: "/* manifest! { \"state\": sampling source 64 }; and no port `state` from this partition */",
    fix: "make `from`, `to`, names, kind and message-bytes those of the payload's manifest!");

const NAME: &[u8] = b"Bulkhead\0";
const NOTE_TYPE: u32 = 1;
const ENTRY_BYTES: usize = 48;
const NAME_BYTES: usize = 32;

/// One port that a payload asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    name: String,
    kind: u32,
    direction: u32,
    message_bytes: u32,
}

impl std::fmt::Display for Wanted {
    /// `sampling source of 64 bytes`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            kind::SAMPLING => "sampling".to_owned(),
            kind::QUEUING => "queuing".to_owned(),
            other => format!("kind {other}"),
        };
        let direction = match self.direction {
            direction::SOURCE => "source".to_owned(),
            direction::DESTINATION => "destination".to_owned(),
            other => format!("direction {other}"),
        };
        write!(f, "{kind} {direction} of {} bytes", self.message_bytes)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The entries of every manifest among the notes of a segment; `None` if there is no manifest.
fn entries(notes: &[u8]) -> Option<Vec<Wanted>> {
    let (mut at, mut out) = (0usize, None);
    while let (Some(name_bytes), Some(bytes), Some(number)) =
        (word(notes, at), word(notes, at + 4), word(notes, at + 8))
    {
        let name = at + 12;
        let content = name.checked_add((name_bytes as usize).next_multiple_of(4))?;
        let end = content.checked_add(bytes as usize)?;
        let ours = notes.get(name..)?.starts_with(NAME) && name_bytes as usize == NAME.len();
        if ours && number == NOTE_TYPE {
            let list: &mut Vec<Wanted> = out.get_or_insert_default();
            list.extend(notes.get(content..end)?.chunks_exact(ENTRY_BYTES).filter_map(wanted));
        }
        at = end.next_multiple_of(4);
    }
    out
}

fn wanted(entry: &[u8]) -> Option<Wanted> {
    let name = entry[..NAME_BYTES].split(|b| *b == 0).next()?;
    Some(Wanted {
        name: String::from_utf8_lossy(name).into_owned(),
        kind: word(entry, NAME_BYTES)?,
        direction: word(entry, NAME_BYTES + 4)?,
        message_bytes: word(entry, NAME_BYTES + 8)?,
    })
}

/// Every end of the partition with what the configuration gives it.
fn given(system: &System, index: usize) -> impl Iterator<Item = (&Port, &PortEnd, Wanted)> {
    system.ports.iter().flat_map(move |port| {
        let sides = [(&port.from, direction::SOURCE), (&port.to, direction::DESTINATION)];
        sides.into_iter().flat_map(move |(ends, direction)| {
            ends.iter().filter(move |e| e.partition == index).map(move |end| {
                let kind = match port.kind {
                    PortKind::Sampling { .. } => kind::SAMPLING,
                    PortKind::Queuing { .. } => kind::QUEUING,
                };
                let name = end.name.value.clone();
                (port, end, Wanted { name, kind, direction, message_bytes: port.message_bytes.value })
            })
        })
    })
}

fn manifests(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        let path = partition.image.as_ref().and_then(|image| image.path.as_ref());
        let notes = path.and_then(|path| std::fs::read(path).ok()).and_then(|bytes| elf::notes(&bytes));
        if let Some(list) = notes.as_deref().and_then(entries) {
            compare(system, index, partition, &list, out);
        }
    }
}

fn compare(system: &System, index: usize, partition: &Partition, list: &[Wanted], out: &mut Vec<Finding>) {
    let (name, file) = (&partition.name.value, partition.image.as_ref().map_or(partition.span, |i| i.span));
    for wanted in list {
        let same = given(system, index).find(|(.., g)| g.name == wanted.name);
        let finding = match same {
            Some((.., given)) if given == *wanted => continue,
            Some((port, end, given)) => {
                let message = format!("{name} and the configuration differ about port {}", wanted.name);
                Finding::new(&PRT_003, message, end.span, given.to_string())
                    .also(file, wanted.to_string())
                    .also(port.span, "the port")
                    .found(format!("configuration: {given}; payload: {wanted}"))
                    .expected("the same on both sides")
            }
            None => {
                let message =
                    format!("{name} opens port {}, which the configuration does not give it", wanted.name);
                Finding::new(&PRT_003, message, file, wanted.to_string())
                    .found(format!("{}: {wanted}", wanted.name))
                    .expected("a port of that name with this partition in `from` or `to`")
            }
        };
        out.push(finding);
    }
    for (port, end, given) in given(system, index).filter(|(.., g)| !list.iter().any(|w| w.name == g.name)) {
        let message = format!("{name} never opens port {}", given.name);
        let finding = Finding::new(&PRT_003, message, end.span, given.to_string())
            .also(file, "its manifest does not list it")
            .also(port.span, "the port")
            .found(format!("{}: {given}", given.name))
            .expected("a port that the payload's manifest lists");
        out.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_notes_give_nothing_and_never_panic() {
        let mut note = Vec::new();
        for number in [9u32, 48, 1] {
            note.extend(number.to_le_bytes());
        }
        note.extend(b"Bulkhead\0\0\0\0");
        note.extend(b"state");
        note.resize(24 + NAME_BYTES, 0);
        for number in [1u32, 2, 64, 0] {
            note.extend(number.to_le_bytes());
        }
        let list = entries(&note).expect("a manifest");
        assert_eq!(list[0].to_string(), "sampling destination of 64 bytes");
        for length in 0..note.len() {
            assert!(entries(&note[..length]).is_none_or(|l| l.is_empty()), "{length}");
        }
        for at in 0..12 {
            let mut damaged = note.clone();
            damaged[at] = 0xff;
            entries(&damaged);
        }
    }
}
