//! One partition: a node of `/domains` with its children.

use super::Context;
use super::cursor::Cursor;
use crate::diag::Finding;
use crate::dts::NodeIndex;
use crate::model::{
    Authority, Board, ConsoleKind, Criticality, CriticalityScheme, Grant, GuestClock, InterruptLimit,
    KeepOver, MemoryRange, Partition, Payload, Region, Right, Rights, Timing, View,
};
use crate::rules::device::DEV_005;
use crate::rules::language::{LNG_001, LNG_002, LNG_003, LNG_005};
use crate::rules::memory::MEM_008;
use crate::span::{Span, Spanned};

/// Ring of a console whose partition does not say how large, bytes.
const CONSOLE_BYTES: u32 = 0x4000;

const CRITICALITIES: [&str; 15] = [
    "QM", "ASIL-A", "ASIL-B", "ASIL-C", "ASIL-D", "DAL-E", "DAL-D", "DAL-C", "DAL-B", "DAL-A", "SIL-0",
    "SIL-1", "SIL-2", "SIL-3", "SIL-4",
];

/// Reads the node.
pub fn read(context: &mut Context<'_>, node: NodeIndex, board: &Board) -> Partition {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    cursor.need_compatible("bulkhead,partition");
    let (cpu_mask, vcpus) = read_cpus(&mut cursor, board);
    let direct_map = cursor.flag("bulkhead,direct-map");
    let memory = read_memory(&mut cursor, direct_map);
    let image = read_image(&mut cursor);
    let partition = Partition {
        span,
        name: cursor.name(),
        label: cursor.context.tree.nodes[node].labels.first().cloned(),
        id: cursor.need_number("id", 0),
        os_type: cursor.text("os,type"),
        criticality: cursor.word("bulkhead,criticality", &CRITICALITIES, criticality),
        vcpus,
        cpu_mask,
        memory,
        direct_map,
        access: read_access(&mut cursor),
        image,
        initrd: read_payload(&mut cursor, "bulkhead,initrd"),
        dtb: read_payload(&mut cursor, "bulkhead,dtb"),
        bootargs: cursor.text("bulkhead,bootargs"),
        console: read_console(&mut cursor),
        console_bytes: cursor.positive("bulkhead,console-bytes").unwrap_or(Spanned::new(CONSOLE_BYTES, span)),
        health: cursor.health_table("bulkhead,health"),
        init_timeout_ns: cursor.duration("bulkhead,init-timeout"),
        watchdog_ns: cursor.duration("bulkhead,watchdog"),
        direct_interrupts: cursor.flag("bulkhead,direct-interrupts"),
        pv_time: cursor.flag("bulkhead,pv-time"),
        clock: read_clock(&mut cursor),
        cache_colours: cursor.number("bulkhead,cache-colours"),
        timing: cursor.child("timing").map(|n| read_timing(cursor.context, n)),
        grants: children(&mut cursor, "grants", read_grant),
        regions: children(&mut cursor, "regions", |c, n| Some(read_region(c, n))),
        authority: children(&mut cursor, "authority", |c, n| Some(read_authority(c, n))),
        view: read_view(&mut cursor, board),
    };
    cursor.finish();
    check_timing(context, &partition);
    partition
}

fn read_console(cursor: &mut Cursor<'_, '_>) -> Spanned<ConsoleKind> {
    let kind = cursor.word("bulkhead,console", &["pl011", "hypercall", "none"], |w| match w {
        "pl011" => Some(ConsoleKind::Pl011),
        "hypercall" => Some(ConsoleKind::Hypercall),
        "none" => Some(ConsoleKind::None),
        _ => None,
    });
    kind.unwrap_or(Spanned::new(ConsoleKind::None, cursor.span()))
}

fn read_clock(cursor: &mut Cursor<'_, '_>) -> Spanned<GuestClock> {
    let clock = cursor.word("bulkhead,clock", &["system", "execution"], |w| match w {
        "system" => Some(GuestClock::System),
        "execution" => Some(GuestClock::Execution),
        _ => None,
    });
    clock.unwrap_or(Spanned::new(GuestClock::System, cursor.span()))
}

/// Reads the children of the child `name`, whose names are the user's.
fn children<T>(
    cursor: &mut Cursor<'_, '_>,
    name: &str,
    read: impl Fn(&mut Context<'_>, NodeIndex) -> Option<T>,
) -> Vec<T> {
    let Some(node) = cursor.child(name) else {
        return Vec::new();
    };
    let mut list = Cursor::new(cursor.context, node);
    let nodes = list.named_children();
    list.finish();
    nodes.into_iter().filter_map(|n| read(cursor.context, n)).collect()
}

fn criticality(word: &str) -> Option<Criticality> {
    let at = CRITICALITIES.iter().position(|c| *c == word)?;
    let scheme = [CriticalityScheme::Asil, CriticalityScheme::Dal, CriticalityScheme::Sil][at / 5];
    Some(Criticality { scheme, level: (at % 5) as u8 })
}

/// `cpus = <&cpus MASK 0x1>` (openamp,domain-v1): bit n of the mask is the n-th CPU in ascending order of `reg`.
fn read_cpus(cursor: &mut Cursor<'_, '_>, board: &Board) -> (u32, Spanned<Vec<usize>>) {
    const EXPECTED: &str = "cpus = <&cpus MASK 0x1>; bit n of the mask is CPU n, 0x1 is EL1";
    let cells = cursor.cells_as("cpus", EXPECTED);
    cursor.need(cells.is_some(), "cpus", EXPECTED);
    let Some(cells) = cells else {
        return (0, Spanned::new(Vec::new(), cursor.span()));
    };
    let all = cursor.context.tree.child(crate::dts::ROOT, "cpus");
    match cells.value.as_slice() {
        [cpus, mask, level] => {
            if all != cursor.context.tree.by_phandle(*cpus) {
                let named = cursor.context.tree.by_phandle(*cpus).map(|n| cursor.context.tree.path(n));
                let finding =
                    Finding::new(&LNG_002, "`cpus` must name the node /cpus", cells.span, "first cell")
                        .found(named.unwrap_or_else(|| format!("{cpus:#x}, which names nothing")))
                        .expected(EXPECTED)
                        .fix("write <&cpus ...>, and say by the mask which ones");
                cursor.context.report(finding);
            }
            if *level != 1 {
                let finding = Finding::new(&LNG_005, "a partition runs at EL1", cells.span, "third cell")
                    .found(format!("execution level {level:#x}"))
                    .expected("0x1: EL1, non-secure")
                    .fix(format!("write <&cpus {mask:#x} 0x1>"));
                cursor.context.report(finding);
            }
            let list = (0..board.cpus.len().min(32)).filter(|n| mask & (1 << n) != 0).collect();
            (*mask, Spanned::new(list, cells.span))
        }
        _ => {
            cursor.doubt("cpus");
            let finding = Finding::new(&LNG_005, "`cpus` has the wrong shape", cells.span, "this value")
                .found(format!("{} cells", cells.value.len()))
                .expected(EXPECTED);
            cursor.context.report(finding);
            (0, Spanned::new(Vec::new(), cells.span))
        }
    }
}

fn read_memory(cursor: &mut Cursor<'_, '_>, direct_map: Option<Span>) -> Vec<MemoryRange> {
    let ranges = cursor.ranges("memory");
    let starts = cursor.wides("bulkhead,memory-pa");
    cursor.need(ranges.is_some(), "memory", "memory = <ADDRESS(2 cells) SIZE(2 cells)>;");
    let Some(ranges) = ranges else {
        return Vec::new();
    };
    if let Some(starts) = &starts
        && starts.value.len() != ranges.value.len()
    {
        let finding = Finding::new(
            &LNG_003,
            "`memory` and `bulkhead,memory-pa` differ in length",
            starts.span,
            "these starts",
        )
        .also(ranges.span, "for these ranges")
        .found(format!("{} starts for {} ranges", starts.value.len(), ranges.value.len()))
        .expected("one physical start for each range")
        .fix("write two cells for each range of `memory`, in its order");
        cursor.context.report(finding);
    }
    let pinned = |at: usize, ipa: u64| match (&starts, direct_map) {
        (Some(starts), _) => starts.value.get(at).map(|pa| Spanned::new(*pa, starts.span)),
        (None, Some(span)) => Some(Spanned::new(ipa, span)),
        (None, None) => None,
    };
    let list = ranges.value.iter().enumerate();
    list.map(|(at, ipa)| MemoryRange { span: ranges.span, ipa: *ipa, pa: pinned(at, ipa.base) }).collect()
}

fn read_access(cursor: &mut Cursor<'_, '_>) -> Vec<Spanned<usize>> {
    let references = cursor.references("access");
    let tree = cursor.context.tree;
    let mut devices = Vec::new();
    for reference in references {
        let Some(node) = reference.node else { continue };
        let known = cursor.context.entities.contains_key(&node);
        let top = tree.ancestors(node).find(|n| tree.nodes[*n].parent == crate::dts::ROOT);
        let ours = top.is_some_and(|n| super::OWN_NODES.contains(&tree.nodes[n].name.as_str()));
        if known || ours {
            let found = cursor.context.resolve(vec![reference], "a device", super::device);
            devices.extend(found);
        } else {
            let message = format!("{} has neither registers nor interrupts", tree.path(node));
            let finding = Finding::new(&DEV_005, message, reference.span, "granted here")
                .also(tree.nodes[node].span, "nothing here to pass through")
                .found("no `reg`, no `interrupts`")
                .expected("a device of the board");
            cursor.context.report(finding);
        }
    }
    devices
}

fn read_image(cursor: &mut Cursor<'_, '_>) -> Option<Payload> {
    let load = cursor.wide("bulkhead,load");
    let entry = cursor.wide("bulkhead,entry");
    let payload = read_payload(cursor, "bulkhead,image");
    cursor.need(payload.is_some(), "bulkhead,image", "bulkhead,image = \"FILE\";");
    payload.map(|p| Payload { load, entry, ..p })
}

/// A property that names a file.
pub fn read_payload(cursor: &mut Cursor<'_, '_>, name: &str) -> Option<Payload> {
    let written = cursor.text(name)?;
    let path = cursor.context.search.find(&written);
    Some(Payload { span: written.span, written: written.value, path, load: None, entry: None })
}

/// `rights`: "r" or "rw"; anything executable is MEM-008.
fn read_rights(cursor: &mut Cursor<'_, '_>) -> Option<Spanned<Rights>> {
    let text = cursor.text("rights")?;
    if text.value.contains('x') {
        let finding =
            Finding::new(&MEM_008, "only a payload's own code is executable", text.span, "executable")
                .found(format!("rights = \"{}\"", text.value))
                .expected("\"r\" or \"rw\"");
        cursor.context.report(finding);
        return None;
    }
    cursor.word("rights", &["r", "rw"], |w| match w {
        "r" => Some(Rights::Read),
        "rw" => Some(Rights::ReadWrite),
        _ => None,
    })
}

fn read_grant(context: &mut Context<'_>, node: NodeIndex) -> Option<Grant> {
    let mut cursor = Cursor::new(context, node);
    let device = cursor.device("device");
    cursor.need(device.is_some(), "device", "device = <&LABEL>;");
    let rights = read_rights(&mut cursor);
    let count = cursor.positive("max-interrupts");
    let per = cursor.duration("per");
    let interrupt_limit = match (count, per) {
        (Some(count), Some(per)) => Some(InterruptLimit { count: count.value, per_ns: per.value }),
        (Some(_), None) => {
            cursor.missing("per-ms", "per-ms beside max-interrupts");
            None
        }
        (None, Some(_)) => {
            cursor.missing("max-interrupts", "max-interrupts beside per-ms");
            None
        }
        (None, None) => None,
    };
    let quiesce = cursor.text("quiesce");
    let (span, name) = (cursor.span(), cursor.name().value);
    let grant = Grant { span, name, device: device?, rights, interrupt_limit, quiesce };
    cursor.finish();
    Some(grant)
}

fn read_region(context: &mut Context<'_>, node: NodeIndex) -> Region {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let size = cursor.wide("size");
    cursor.need(size.is_some(), "size", "size = <HIGH LOW>;");
    let known = ["warm-restart", "cold-restart", "board-reset"];
    let keep = cursor.words("keep-over", &known, |w| match w {
        "warm-restart" => Some(KeepOver::WarmRestart),
        "cold-restart" => Some(KeepOver::ColdRestart),
        "board-reset" => Some(KeepOver::BoardReset),
        _ => None,
    });
    let region = Region {
        span,
        name: cursor.name(),
        size: size.unwrap_or(Spanned::new(crate::model::PAGE_BYTES, span)),
        at: cursor.wide("at"),
        pa: cursor.wide("pa"),
        rights: read_rights(&mut cursor).unwrap_or(Spanned::new(Rights::ReadWrite, span)),
        file: read_payload(&mut cursor, "file").map(Box::new),
        keep_over: keep.into_iter().max_by_key(|k| k.value),
    };
    cursor.finish();
    region
}

fn read_authority(context: &mut Context<'_>, node: NodeIndex) -> Authority {
    const PARTITION: [&str; 5] = ["status", "suspend", "resume", "restart", "halt"];
    const MODULE: [&str; 3] = ["read-health", "read-trace", "reset-board"];
    let mut cursor = Cursor::new(context, node);
    let over = cursor.partitions("over");
    let over_somebody = cursor.context.tree.nodes[node].property("over").is_some();
    let known: &[&str] = if over_somebody { &PARTITION } else { &MODULE };
    check_subject(&mut cursor, over_somebody, if over_somebody { &MODULE } else { &PARTITION });
    let allow = cursor.words("allow", known, |w| {
        let right = match w {
            "status" => Right::Status,
            "suspend" => Right::Suspend,
            "resume" => Right::Resume,
            "restart" => Right::Restart,
            "halt" => Right::Halt,
            "read-health" => Right::ReadHealth,
            "read-trace" => Right::ReadTrace,
            "reset-board" => Right::ResetBoard,
            _ => return None,
        };
        Some(right)
    });
    let plans = cursor.plans("plans");
    let authority = Authority { span: cursor.span(), name: cursor.name().value, over, allow, plans };
    cursor.finish();
    authority
}

/// LNG-001 about rights of `others`: those over partitions need `over`, those over the module must not have it.
fn check_subject(cursor: &mut Cursor<'_, '_>, over_somebody: bool, others: &[&str]) {
    let property = cursor.context.tree.nodes[cursor.node].property("allow");
    let Some((property, words)) = property.and_then(|p| Some((p, p.texts()?))) else { return };
    let strange: Vec<&str> = words.into_iter().filter(|word| others.contains(word)).collect();
    if strange.is_empty() {
        return;
    }
    let (subject, fix) = if over_somebody {
        ("the module, not partitions", "write a second authority without `over` for them")
    } else {
        ("partitions", "add over = <&PARTITION>;")
    };
    let message = format!("{} is about {subject}", strange.join(", "));
    let finding = Finding::new(&LNG_001, message, property.span, "this right")
        .also(cursor.span(), if over_somebody { "has `over`" } else { "no `over` here" })
        .found(strange.join(", "))
        .expected(if over_somebody { "rights over partitions" } else { "rights over the module" })
        .fix(fix);
    cursor.doubt("allow");
    cursor.context.report(finding);
}

fn read_timing(context: &mut Context<'_>, node: NodeIndex) -> Timing {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let duration = cursor.durations("duration");
    if duration.is_none() {
        cursor.missing("duration-us", "one of duration-ns, duration-us, duration-ms");
    }
    let timing = Timing {
        span,
        period_ns: cursor.need_duration("period"),
        offset_ns: cursor.instant("offset").unwrap_or(Spanned::new(0, span)),
        duration_ns: duration.unwrap_or(Spanned::new(vec![1_000_000], span)),
        deadline_ns: cursor.duration("deadline"),
        max_blackout_ns: cursor.duration("max-blackout"),
        not_required_in: cursor.plans("not-required-in"),
    };
    cursor.finish();
    timing
}

/// One duration for all vCPUs, or one for each; none of them zero.
fn check_timing(context: &mut Context<'_>, partition: &Partition) {
    let Some(timing) = &partition.timing else {
        return;
    };
    let durations = &timing.duration_ns;
    if durations.value.len() != 1 && durations.value.len() != partition.vcpus.value.len() {
        let finding =
            Finding::new(&LNG_003, "durations and vCPUs differ in number", durations.span, "these durations")
                .also(partition.vcpus.span, "for these CPUs")
                .found(format!("{} durations, {} vCPUs", durations.value.len(), partition.vcpus.value.len()))
                .expected("one duration for all vCPUs, or one for each")
                .fix("write one, or one for each CPU of the mask in ascending order");
        context.report(finding);
    }
    if durations.value.contains(&0) {
        let finding =
            Finding::new(&LNG_003, "`duration` is zero", durations.span, "zero has no meaning here")
                .found("0")
                .expected("a duration above zero");
        context.report(finding);
    }
}

fn read_view(cursor: &mut Cursor<'_, '_>, board: &Board) -> View {
    let canonical = &board.facts.view;
    let node = cursor.child("view");
    let mut view = View {
        span: cursor.span(),
        gicd: canonical.gicd,
        gicc: canonical.gicc,
        gicr: canonical.gicr,
        uart: canonical.uart,
        uart_intid: canonical.uart_intid,
    };
    let Some(node) = node else { return view };
    let mut cursor = Cursor::new(cursor.context, node);
    view.span = cursor.span();
    let mut place = |name: &str, field: &mut u64| {
        if let Some(address) = cursor.wide(name) {
            *field = address.value;
        }
    };
    place("distributor", &mut view.gicd);
    place("cpu-interface", &mut view.gicc);
    place("redistributors", &mut view.gicr);
    place("uart", &mut view.uart);
    if let Some(intid) = cursor.number("uart-interrupt") {
        view.uart_intid = intid.value;
    }
    cursor.finish();
    view
}
