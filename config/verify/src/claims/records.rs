//! The blueprint's own order: no record that nobody refers to, no byte that means nothing.

use super::{Claim, Ledger};
use crate::ranges::Range;
use crate::system::System;
use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout::{
    Authority, Cpu, Doorbell, HEALTH_ROWS, Header, HealthRow, InterruptLimit, Partition, PeerWord, Plan,
    PlanCpu, PortEnd, Range as Stretch, Reach, RegisterWrite, Route, Table, Vcpu, Window,
};
use bulkhead_blueprint::limits::PORT_ENDS_MAX;

pub static RECORDS: Claim = Claim {
    id: "VFY-005",
    title: "the records of each partition, CPU, plan and port follow those of the one before and use up their tables; \
            the tables fill the blueprint; what is reserved or behind a text's end is zero",
    method: "first record and number of each span added up; tables sorted by place; every unused field read",
    check: records,
};

fn records(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    for (what, count, spans) in spans(blueprint) {
        ledger.examined(spans.len() as u64, "spans");
        let mut next = 0u64;
        for (first, number) in spans {
            ledger.same(&format!("first record of a span of {what}"), u64::from(first), next);
            next += u64::from(number);
        }
        ledger.same(&format!("records of {what} that belong to somebody"), next, count as u64);
    }
    // Of so many ends EL2 remembers when they last rang.
    if blueprint.port_ends.len() > PORT_ENDS_MAX {
        ledger.fail("ends of ports", blueprint.port_ends.len(), format!("at most {PORT_ENDS_MAX}"));
    }
    tables(system, ledger);
    unused(blueprint, ledger);
}

/// A table whose records have owners: what they are, how many there are, first and number of each owner's.
type Owned = (&'static str, usize, Vec<(u32, u32)>);

fn spans(blueprint: &Blueprint<'_>) -> Vec<Owned> {
    let header = blueprint.header;
    let cpus = blueprint.cpus.len() as u32;
    let of = |span: fn(&Partition) -> (u32, u32)| blueprint.partitions.iter().map(span).collect();
    let mut writes = Vec::new();
    let mut first = 0u32;
    for count in [header.boot_writes, header.off_writes, header.kick_writes] {
        writes.push((first, count));
        first = first.saturating_add(count);
    }
    // The rest of the stores resets the board.
    let rest = blueprint.register_writes.len().saturating_sub(first as usize);
    writes.push((first, rest as u32));
    vec![
        (
            "slots",
            blueprint.slots.len(),
            blueprint.cpus.iter().map(|c| (c.slot_first, c.slot_count)).collect(),
        ),
        ("memory", blueprint.memory.len(), of(|p| (p.memory_first, p.memory_count))),
        ("ports", blueprint.port_ends.len(), of(|p| (p.port_first, p.port_count))),
        ("peers", blueprint.peer_words.len(), of(|p| (p.peer_first, p.peer_count))),
        ("authority", blueprint.authorities.len(), of(|p| (p.authority_first, p.authority_count))),
        ("health", blueprint.health_rows.len(), of(|p| (p.health_first, HEALTH_ROWS))),
        (
            "doorbells",
            blueprint.doorbells.len(),
            blueprint.port_ends.iter().map(|e| (e.doorbell_first, e.doorbell_count)).collect(),
        ),
        ("plans", blueprint.plan_cpus.len(), blueprint.plans.iter().map(|p| (p.cpu_first, cpus)).collect()),
        (
            "windows",
            blueprint.windows.len(),
            blueprint.plan_cpus.iter().map(|c| (c.window_first, c.window_count)).collect(),
        ),
        ("stores of the board", blueprint.register_writes.len(), writes),
    ]
}

/// Places of the tables and of the header, in bytes from the header's start.
fn places(header: &Header) -> Vec<Range> {
    let of = |table: Table, bytes: usize| {
        Range::of(u64::from(table.offset), u64::from(table.count).saturating_mul(bytes as u64))
    };
    let mut places = vec![
        Range::of(0, size_of::<Header>() as u64),
        of(header.register_writes, size_of::<RegisterWrite>()),
        of(header.cpus, size_of::<Cpu>()),
        of(header.partitions, size_of::<Partition>()),
        of(header.vcpus, size_of::<Vcpu>()),
        of(header.slots, size_of::<u32>()),
        of(header.routes, size_of::<Route>()),
        of(header.interrupt_limits, size_of::<InterruptLimit>()),
        of(header.memory, size_of::<Stretch>()),
        of(header.port_ends, size_of::<PortEnd>()),
        of(header.doorbells, size_of::<Doorbell>()),
        of(header.peer_words, size_of::<PeerWord>()),
        of(header.authorities, size_of::<Authority>()),
        of(header.health_rows, size_of::<HealthRow>()),
        of(header.plans, size_of::<Plan>()),
        of(header.plan_cpus, size_of::<PlanCpu>()),
        of(header.windows, size_of::<Window>()),
        of(header.required, size_of::<Stretch>()),
        of(header.reaches, size_of::<Reach>()),
    ];
    places.sort_unstable();
    places
}

fn tables(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let header = view.header();
    let places = places(header);
    ledger.examined(places.len() as u64, "spans");
    let mut end = 0u64;
    for place in places {
        ledger.same("start of a table", place.start, end.next_multiple_of(8));
        let gap = Range::of(view.blueprint_at + end, place.start.saturating_sub(end));
        if view.at(gap).is_some_and(|bytes| bytes.iter().any(|b| *b != 0)) {
            ledger.fail("bytes between tables", gap, "zeros");
        }
        end = place.end;
    }
    ledger.same("bytes of the blueprint", u64::from(header.total_bytes), end);
}

fn unused(blueprint: &Blueprint<'_>, ledger: &mut Ledger) {
    let header = blueprint.header;
    let mut reserved: Vec<u32> = blueprint.cpus.iter().map(|c| c.reserved).collect();
    reserved.extend(blueprint.plans.iter().map(|p| p.reserved));
    reserved.extend(blueprint.vcpus.iter().map(|v| v.reserved));
    reserved.extend(blueprint.plan_cpus.iter().map(|c| c.reserved));
    reserved.extend(blueprint.interrupt_limits.iter().map(|l| l.reserved));
    for value in &reserved {
        ledger.same("a reserved field", *value, 0);
    }
    let gic = &header.gic;
    let others = if gic.version == 3 { [gic.gicc, gic.gich] } else { [gic.gicr, 0] };
    for address in others {
        ledger.same("registers of the other kind of interrupt controller", address, 0);
    }
    let names = blueprint.partitions.iter().map(|p| &p.name[..]);
    for text in names.chain([&header.board[..], &header.part_number[..]]) {
        let end = text.iter().position(|b| *b == 0).unwrap_or(0);
        if end == 0 || text[end..].iter().any(|b| *b != 0) {
            let shown = String::from_utf8_lossy(text);
            ledger.fail("a name", format!("{shown:?}"), "some text, then zeros alone");
        }
    }
    ledger.examined(reserved.len() as u64 + 4, "spans");
}
