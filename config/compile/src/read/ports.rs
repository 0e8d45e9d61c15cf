//! Ports and shared segments.

use super::Context;
use super::cursor::Cursor;
use super::partition::read_payload;
use super::spelling::nearest;
use crate::diag::Finding;
use crate::dts::NodeIndex;
use crate::model::{Doorbell, Port, PortEnd, PortKind, Segment};
use crate::rules::language::{LNG_001, LNG_003};
use crate::span::{Span, Spanned};

/// Reads a node of `/ports`; `None` if it does not say which kind of port it is.
pub fn read_port(context: &mut Context<'_>, node: NodeIndex) -> Option<Port> {
    const KINDS: [&str; 2] = ["bulkhead,sampling-port", "bulkhead,queuing-port"];
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let compatible = cursor.texts("compatible");
    cursor.need(
        compatible.is_some(),
        "compatible",
        "compatible = \"bulkhead,sampling-port\" or \"bulkhead,queuing-port\";",
    );
    let compatible = compatible?;
    let kind = KINDS.iter().position(|k| compatible.value.iter().any(|c| c == k));
    if kind.is_none() {
        let finding = Finding::new(&LNG_001, "the kind of this port is unknown", compatible.span, "here")
            .found(compatible.value.join(", "))
            .expected(KINDS.join(" or "));
        let words = compatible.value.iter();
        let finding = match words.filter_map(|w| nearest(w, KINDS.into_iter())).next() {
            Some(kind) => finding.fix(format!("write \"{kind}\"")),
            None => finding.fix("write one of the two"),
        };
        cursor.context.report(finding);
    }
    let kind = match kind? {
        0 => PortKind::Sampling { refresh_ns: cursor.duration("refresh") },
        _ => PortKind::Queuing {
            depth: cursor.need_positive("depth"),
            max_latency_ns: cursor.duration("max-latency"),
            per_period: cursor.positive("messages-per-period").unwrap_or(Spanned::new(1, span)),
        },
    };
    let ages = match kind {
        PortKind::Sampling { .. } => cursor.durations("max-age"),
        PortKind::Queuing { .. } => None,
    };
    let from = read_ends(&mut cursor, "from", "from-names", None);
    let to = read_ends(&mut cursor, "to", "to-names", ages);
    let message_bytes = cursor.need_positive("message-bytes");
    let rung = cursor.flag("doorbell");
    let min_interval_ns = cursor.duration("doorbell-interval");
    if let Some(interval) = min_interval_ns.as_ref().filter(|_| rung.is_none()) {
        cursor.without_companion("doorbell-interval", interval.span, "doorbell");
    }
    let doorbell = rung.map(|span| Doorbell { span, min_interval_ns });
    let port = Port { span, name: cursor.name(), kind, from, to, message_bytes, doorbell };
    cursor.finish();
    Some(port)
}

fn read_ends(
    cursor: &mut Cursor<'_, '_>,
    property: &str,
    names: &str,
    ages: Option<Spanned<Vec<u64>>>,
) -> Vec<PortEnd> {
    let written = cursor.references(property);
    let names = cursor.texts(names);
    let own_name = cursor.name();
    if let Some(list) = &names {
        let what = format!("{property}-names");
        check_parallel(cursor, property, written.len(), &what, list.value.len(), list.span);
    }
    if let Some(list) = &ages {
        check_parallel(cursor, property, written.len(), "max-age", list.value.len(), list.span);
    }
    let mut ends = Vec::new();
    for (at, reference) in written.into_iter().enumerate() {
        let given = names.as_ref().and_then(|n| Some(Spanned::new(n.value.get(at)?.clone(), n.span)));
        let age = ages.as_ref().and_then(|a| Some(Spanned::new(*a.value.get(at)?, a.span)));
        let partition = cursor.resolve(property, vec![reference], "a partition", super::partition);
        ends.extend(partition.into_iter().map(|end| PortEnd {
            span: end.span,
            partition: end.value,
            name: given.clone().unwrap_or_else(|| own_name.clone()),
            max_age_ns: age.clone().filter(|age| age.value != 0),
        }));
    }
    ends
}

/// LNG-003 if the list `what` has not one entry for each of the `count` references of `property`.
fn check_parallel(
    cursor: &mut Cursor<'_, '_>,
    property: &str,
    count: usize,
    what: &str,
    length: usize,
    span: Span,
) {
    // Nothing at all to be parallel to is PRT-001's matter.
    if length != count && count != 0 {
        let message = format!("`{property}` and `{what}` differ in length");
        let finding = Finding::new(&LNG_003, message, span, "this list")
            .found(format!("{length} for {count} partitions"))
            .expected("one for each partition, in the same order")
            .fix(format!("write {count} of them, in the order of `{property}`"));
        cursor.context.report(finding);
    }
}

/// Reads a node of `/segments`.
pub fn read_segment(context: &mut Context<'_>, node: NodeIndex) -> Segment {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    cursor.need_compatible("bulkhead,segment");
    let size = cursor.wide("size");
    cursor.need(size.is_some(), "size", "size = <HIGH LOW>;");
    let readers = cursor.partitions("readers");
    cursor.need(!readers.is_empty(), "readers", "readers = <&PARTITION ...>;");
    let segment = Segment {
        span,
        name: cursor.name(),
        size: size.unwrap_or(Spanned::new(crate::model::PAGE_BYTES, span)),
        file: read_payload(&mut cursor, "file"),
        readers,
        writer: cursor.partition("writer"),
        at: cursor.wide("at"),
        pa: cursor.wide("pa"),
    };
    cursor.finish();
    segment
}
