//! Ports, doorbells and authority: what partitions have to do with each other.

use super::{Claim, Ledger};
use crate::ports::{PortEntry, authorities_at};
use crate::ranges::Range;
use crate::system::{Part, System, static_info, word};
use crate::walk::translate;
use bulkhead_abi::hypercall as call;
use bulkhead_abi::info::fixed;
use bulkhead_abi::port::{direction, kind};
use bulkhead_blueprint::layout::{Doorbell, PeerWord, reach, rights};
use bulkhead_blueprint::span;
use std::collections::{BTreeMap, BTreeSet};

pub static PORTS: Claim = Claim {
    id: "VFY-040",
    title: "each port has one writer; its memory is writable by the side that the port table declares and read-only \
            for the other; both sides agree on kind, size and peer; it has room for a message, a sampling port for two",
    method: "port tables of the information pages, declared stretches and walks compared; ends grouped by the \
             physical memory of the writer",
    check: ports,
};

/// One end of one partition.
struct End<'a> {
    part: &'a Part<'a>,
    index: usize,
    entry: &'a PortEntry,
}

/// Ends by the physical address of the writer's memory.
type Ends<'a> = BTreeMap<u64, Vec<End<'a>>>;

fn ends<'a>(system: &'a System<'a>) -> Ends<'a> {
    let mut out: Ends<'a> = BTreeMap::new();
    for part in &system.partitions {
        for (index, entry) in part.ports.iter().flatten().enumerate() {
            let physical = translate(&part.run.mapped, entry.writer_ipa).map_or(u64::MAX, |t| t.0);
            out.entry(physical).or_default().push(End { part, index, entry });
        }
    }
    out
}

fn ports(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        let Some(table) = &part.ports else {
            ledger.fail(
                format!("{} has no port table that can be read", part.name),
                "none",
                "an information page",
            );
            continue;
        };
        let records = span(system.view.blueprint.port_ends, part.record.port_first, part.record.port_count);
        ledger.same("ports in page and blueprint", table.len(), records.len());
        for (index, (entry, record)) in table.iter().zip(records).enumerate() {
            ledger.examined(1, "port ends");
            let what = format!("direction of {} at {}", entry.name, part.name);
            ledger.same(&what, record.direction, entry.direction);
            one_end(part, index, entry, ledger);
        }
        let ports = part.reaches.iter().filter(|r| r.kind == reach::PORT);
        for reach in ports.filter(|r| r.port as usize >= table.len()) {
            ledger.fail(
                format!("port memory of {} without a port", part.name),
                reach.port,
                "an entry of its table",
            );
        }
    }
    for group in ends(system).values() {
        both_ends(group, ledger);
    }
}

/// The memory of one end: declared, and writable where this side writes.
fn one_end(part: &Part<'_>, index: usize, entry: &PortEntry, ledger: &mut Ledger) {
    let what = format!("port {} of {}", entry.name, part.name);
    let known = [kind::SAMPLING, kind::QUEUING].contains(&entry.kind);
    let ways = [direction::SOURCE, direction::DESTINATION].contains(&entry.direction);
    if !known || !ways {
        return ledger.fail(
            what,
            format!("kind {}, direction {}", entry.kind, entry.direction),
            "1 or 2 each",
        );
    }
    // With one slot alone a reader would never find one that is not being written.
    let least = if entry.kind == kind::SAMPLING { 2 } else { 1 };
    if entry.slots < least || entry.message_bytes == 0 {
        let found = format!("{} slots of {} bytes", entry.slots, entry.message_bytes);
        ledger.fail(format!("slots of {what}"), found, format!("at least {least} slots of at least 1 byte"));
    }
    let mut expected: Vec<(Range, bool)> = vec![(entry.writer(), entry.writes())];
    expected.extend(entry.consumer().map(|r| (r, !entry.writes())));
    let mut found: Vec<(Range, bool)> = part
        .reaches
        .iter()
        .filter(|r| r.kind == reach::PORT && r.port as usize == index)
        .map(|r| (Range::of(r.ipa, r.bytes), r.rights & rights::WRITE != 0))
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    if found != expected {
        let show = |list: &[(Range, bool)]| {
            let words = list.iter().map(|(r, w)| format!("{r} {}", if *w { "rw" } else { "r" }));
            words.collect::<Vec<_>>().join(", ")
        };
        ledger.fail(format!("memory of {what}"), show(&found), show(&expected));
    }
    for (range, writes) in expected {
        let access = translate(&part.run.mapped, range.start).map(|t| t.1);
        if access.is_none_or(|a| a.write != writes) {
            let found = access.map_or("unmapped".to_owned(), |a| a.to_string());
            ledger.fail(format!("rights to {what}"), found, if writes { "rw-" } else { "r--" });
        }
    }
}

/// All ends of one port.
fn both_ends(group: &[End<'_>], ledger: &mut Ledger) {
    let names: Vec<String> = group.iter().map(|e| format!("{} of {}", e.entry.name, e.part.name)).collect();
    let what = format!("port {}", names.join(", "));
    let (writers, readers): (Vec<&End<'_>>, Vec<&End<'_>>) = group.iter().partition(|e| e.entry.writes());
    let (&[writer], false) = (&writers[..], readers.is_empty()) else {
        let found = format!("{} and {}", writers.len(), readers.len());
        return ledger.fail(format!("writers and readers of {what}"), found, "1 and at least 1");
    };
    if writer.entry.kind == kind::QUEUING && readers.len() != 1 {
        ledger.fail(format!("readers of {what}"), readers.len(), 1);
    }
    let form = |e: &PortEntry| (e.kind, e.message_bytes, e.slots);
    for reader in &readers {
        if form(reader.entry) != form(writer.entry) {
            let found = format!("{:?}", form(reader.entry));
            ledger.fail(
                format!("kind, size and slots of {what}"),
                found,
                format!("{:?}", form(writer.entry)),
            );
        }
        ledger.same(&format!("peer of a reader of {what}"), reader.entry.peer_id, writer.part.record.id);
        let consumer = |e: &End<'_>| translate(&e.part.run.mapped, e.entry.consumer_ipa).map(|t| t.0);
        if writer.entry.kind == kind::QUEUING && consumer(reader) != consumer(writer) {
            let found = format!("{:x?}", consumer(reader));
            ledger.fail(format!("consumer's memory of {what}"), found, format!("{:x?}", consumer(writer)));
        }
    }
    if !readers.iter().any(|r| r.part.record.id == writer.entry.peer_id) {
        ledger.fail(format!("peer of the writer of {what}"), writer.entry.peer_id, "one of its readers");
    }
}

pub static DOORBELLS: Claim = Claim {
    id: "VFY-041",
    title: "a doorbell interrupts readers of that port alone, each that has an interrupt for it once, with the interrupt \
            that its page names; epochs are told to all peers and nobody else",
    method: "doorbell and peer records resolved and compared with the ends of the port",
    check: doorbells,
};

fn doorbells(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    let groups = ends(system);
    let mut group_of: BTreeMap<(usize, usize), &Vec<End<'_>>> = BTreeMap::new();
    for group in groups.values() {
        group_of.extend(group.iter().map(|e| ((e.part.index, e.index), group)));
    }
    let group = |part: usize, index: usize| group_of.get(&(part, index)).copied();
    let mut used = 0;
    for part in &system.partitions {
        let records = span(blueprint.port_ends, part.record.port_first, part.record.port_count);
        for (index, record) in records.iter().enumerate() {
            let rings = span(blueprint.doorbells, record.doorbell_first, record.doorbell_count);
            used += rings.len();
            if used > blueprint.doorbells.len() {
                return ledger.fail("doorbells that some port rings", used, blueprint.doorbells.len());
            }
            let writes = record.direction == direction::SOURCE;
            if !rings.is_empty() && !writes {
                ledger.fail(
                    format!("a reader's end of {} rings", part.name),
                    rings.len(),
                    "the writer alone",
                );
            }
            if writes {
                let what = format!("doorbells of port {index} of {}", part.name);
                each_is_rung(&what, group(part.index, index), rings, ledger);
            }
            for ring in rings {
                ledger.examined(1, "doorbells");
                let target = blueprint.vcpus[ring.vcpu as usize].partition as usize;
                let first = system.partitions[target].record.vcpu_first;
                ledger.same(&format!("vCPU that a doorbell of {} rings at", part.name), ring.vcpu, first);
                let intid = u32::from(system.partitions[target].record.doorbell_intids[ring.bit as usize]);
                let reads = |e: &&End<'_>| e.part.index == target && !e.entry.writes();
                let end = group(part.index, index).and_then(|g| g.iter().find(reads));
                if end.is_none_or(|e| e.entry.doorbell_intid != intid || intid == 0) {
                    let found = format!("interrupt {intid} of {}", system.name(target));
                    ledger.fail(
                        format!("a doorbell of {}", part.name),
                        found,
                        "a reader of the port and its interrupt",
                    );
                }
            }
        }
        peers(
            part,
            &groups,
            span(blueprint.peer_words, part.record.peer_first, part.record.peer_count),
            ledger,
        );
    }
    ledger.same("doorbells that some port rings", used, blueprint.doorbells.len());
}

/// Each reader of a port that has an interrupt for it is rung once: one that is not would sleep for ever.
fn each_is_rung(what: &str, group: Option<&Vec<End<'_>>>, rings: &[Doorbell], ledger: &mut Ledger) {
    let has_bell = |e: &&End<'_>| !e.entry.writes() && e.entry.doorbell_intid != fixed::NO_DOORBELL;
    let bells = group.map_or(0, |group| group.iter().filter(has_bell).count());
    let vcpus: BTreeSet<u32> = rings.iter().map(|ring| ring.vcpu).collect();
    if (vcpus.len(), rings.len()) != (bells, bells) {
        let found = format!("{} rings at {} vCPUs", rings.len(), vcpus.len());
        ledger.fail(what, found, format!("one for each of {bells} readers with an interrupt for it"));
    }
}

/// Who is told that a partition starts: each reader of what it writes, and the writer of what it alone reads.
fn peers(part: &Part<'_>, groups: &Ends<'_>, words: &[PeerWord], ledger: &mut Ledger) {
    let mut expected: Vec<(usize, usize)> = Vec::new();
    for group in groups.values() {
        for own in group.iter().filter(|e| e.part.index == part.index) {
            let others = group.iter().filter(|e| e.entry.writes() != own.entry.writes());
            if own.entry.writes() || group.len() == 2 {
                expected.extend(others.map(|e| (e.part.index, e.index)));
            }
        }
    }
    let mut found: Vec<(usize, usize)> =
        words.iter().map(|w| (w.partition as usize, w.port as usize)).collect();
    expected.sort_unstable();
    found.sort_unstable();
    ledger.examined(expected.len() as u64, "peer words");
    if found != expected {
        let message = format!("partition and port that are told the epoch of {}", part.name);
        ledger.fail(message, format!("{found:?}"), format!("{expected:?}"));
    }
}

/// Calls of guests, bit n: base + n ([`bulkhead_abi::hypercall`]).
const CALLS: u64 = ((1 << (call::SYSTEM_RESET - call::BASE + 1)) - 1)
    | (1 << (call::IDLE - call::BASE))
    | (1 << (call::PLAN_SET - call::BASE))
    | (1 << (call::PLAN_STATUS - call::BASE));

pub static AUTHORITY: Claim = Claim {
    id: "VFY-042",
    title: "authority over another partition is what its holder's information page names, and over nobody else; nobody \
            may make a call that the ABI does not know, or a loader's",
    method: "authority records compared with the authority table of each information page; bitmaps of calls taken apart",
    check: authority,
};

fn authority(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    let known_rights = 0x1f;
    for part in &system.partitions {
        ledger.examined(1, "authorities and bitmaps of calls");
        let unknown = part.record.grants & !CALLS;
        ledger.same(
            &format!("calls of {} that are nobody's", part.name),
            format!("{unknown:#x}"),
            "0x0".to_owned(),
        );
        let records = span(blueprint.authorities, part.record.authority_first, part.record.authority_count);
        let info = static_info(system.view, part.record, &part.run.mapped).unwrap_or_default();
        let table = authorities_at(part.record.port_count as usize);
        for (number, record) in records.iter().enumerate() {
            ledger.examined(1, "authorities and bitmaps of calls");
            let at = table + number * fixed::AUTHORITY_STRIDE;
            let target = system.partitions[record.partition as usize].record.id;
            let told = word(info, at + fixed::AUTHORITY_ID).unwrap_or(u32::MAX);
            ledger.same(&format!("target of authority {number} of {}", part.name), target, told);
            let told = word(info, at + fixed::AUTHORITY_RIGHTS).unwrap_or(u32::MAX);
            ledger.same(&format!("rights of authority {number} of {}", part.name), record.rights, told);
            if record.rights & !known_rights != 0 || record.rights == 0 {
                let found = format!("{:#x}", record.rights);
                ledger.fail(format!("rights of {}", part.name), found, "rights that the ABI knows");
            }
        }
    }
    let all: u32 = blueprint.partitions.iter().map(|p| p.authority_count).sum();
    ledger.same("authorities that somebody holds", all as usize, blueprint.authorities.len());
}
