//! The rows of the tables: where each figure comes from, and what it is held against.
//!
//! Peers were measured on the same QEMU 10.0.2 with the same counting in November 2026: Bao 2.0
//! (738e3dc), Xen 4.17 and 4.21 (dom0less), PRTOS (-O1). A row names the best of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::measure::Run;
use super::meter::{Histogram, Kind, Spread};

/// CPU of the measuring partition's vCPU 0.
const OWN: usize = 1;
/// CPU of its vCPU 1.
const SECOND: usize = 2;
/// CPU of the peer.
const PEER: usize = 3;

/// Where a figure comes from.
#[derive(Clone, Copy)]
enum Source {
    /// Ticks that the measuring partition saw.
    Guest(&'static str),
    /// Instructions at EL2 of the visits of one kind on one CPU, while the row was measured.
    El2(&'static str, Kind, usize),
    /// Accesses to devices and to the virtual interface in those visits.
    Lists(&'static str, Kind, usize),
}

/// Least cost that is possible.
#[derive(Clone, Copy)]
enum Floor {
    /// The same row, measured bare at EL1.
    Bare(&'static str),
    /// Measured once, with a stub or otherwise.
    Known(u64),
    /// None known.
    None,
}

/// A row of the table.
struct Spec {
    id: &'static str,
    title: &'static str,
    source: Source,
    floor: Floor,
    peer: Option<(&'static str, u64)>,
    /// For GICv3 and GICv2.
    target: Option<[u64; 2]>,
}

const fn spec(
    id: &'static str,
    title: &'static str,
    source: Source,
    floor: Floor,
    peer: Option<(&'static str, u64)>,
    target: Option<[u64; 2]>,
) -> Spec {
    Spec { id, title, source, floor, peer, target }
}

use Floor::{Bare, Known};
use Source::{El2, Guest, Lists};

const fn bao(figure: u64) -> Option<(&'static str, u64)> {
    Some(("Bao", figure))
}

const fn both(target: u64) -> Option<[u64; 2]> {
    Some([target; 2])
}

#[rustfmt::skip]
const SPECS: &[Spec] = &[
    spec("null-hypercall-el2", "null hypercall, EL2", El2("null-hypercall", Kind::Call, OWN), Known(16), bao(146), both(60)),
    spec("null-hypercall-guest", "null hypercall, guest", Guest("null-hypercall"), Known(3), bao(154), both(66)),
    spec("hvc-psci-el2", "PSCI_VERSION by HVC, EL2", El2("hvc-psci-version", Kind::Call, OWN), Known(16), bao(188), None),
    spec("smc-psci-el2", "trapped SMC (PSCI_VERSION), EL2", El2("smc-psci-version", Kind::Call, OWN), Known(19), bao(202), both(68)),
    spec("unknown-call-el2", "unknown hypercall, EL2", El2("unknown-hypercall", Kind::Call, OWN), Known(16), Some(("Xen", 1643)), both(60)),
    spec("irq-el2", "physical IRQ to virtual IRQ pending, EL2", El2("timer", Kind::Interrupt, OWN), Known(12), bao(317), Some([70, 74])),
    spec("timer-guest", "timer deadline to guest handler, guest", Guest("timer"), Bare("timer"), bao(201), both(78)),
    spec("sgi-guest", "SGI between two vCPUs, one way, guest", Guest("sgi"), Bare("sgi"), bao(783), both(200)),
    spec("sgi-send-el2", "SGI send, EL2", El2("sgi", Kind::Access, OWN), Floor::None, bao(385), both(104)),
    spec("sgi-receive-el2", "SGI receive, EL2", El2("sgi", Kind::Interrupt, SECOND), Known(12), None, both(90)),
    spec("doorbell-guest", "doorbell to another partition, one way, guest", Guest("doorbell"), Floor::None, bao(758), both(240)),
    spec("doorbell-ring-el2", "doorbell ring, EL2", El2("doorbell", Kind::Call, OWN), Floor::None, None, both(150)),
    spec("doorbell-take-el2", "doorbell at the receiver, EL2", El2("doorbell", Kind::Interrupt, PEER), Floor::None, None, None),
    spec("doorbell-round-guest", "doorbell round trip, guest", Guest("doorbell-round-trip"), Floor::None, bao(2122), both(500)),
    spec("gicd-typer-guest", "GICD_TYPER read, guest", Guest("gicd-typer"), Bare("gicd-typer"), bao(233), both(116)),
    spec("gicd-iidr-guest", "GICD_IIDR read, guest", Guest("gicd-iidr"), Bare("gicd-iidr"), bao(233), both(116)),
    spec("gicd-isenabler-guest", "GICD_ISENABLER read, guest", Guest("gicd-isenabler"), Bare("gicd-isenabler"), bao(1294), both(116)),
    spec("gicd-isenabler-el2", "GICD_ISENABLER read, EL2", El2("gicd-isenabler", Kind::Access, OWN), Floor::None, None, both(110)),
    spec("sampling-write", "sampling port, write 128 bytes", Guest("sampling-write-128"), Bare("copy-128"), Some(("PRTOS", 763)), both(120)),
    spec("sampling-read", "sampling port, read 128 bytes", Guest("sampling-read-128"), Bare("copy-128"), Some(("PRTOS", 779)), both(120)),
    spec("queuing-send", "queuing port, send 32 bytes", Guest("queuing-send-32"), Floor::None, Some(("PRTOS", 749)), both(120)),
    spec("queuing-receive", "queuing port, receive 32 bytes", Guest("queuing-receive-32"), Floor::None, Some(("PRTOS", 766)), both(120)),
    spec("irq-accesses", "interrupt: accesses to GIC and virtual interface", Lists("timer", Kind::Interrupt, OWN), Floor::None, None, None),
    spec("sgi-send-accesses", "SGI send: the same", Lists("sgi", Kind::Access, OWN), Floor::None, None, None),
    spec("sgi-receive-accesses", "SGI receive: the same", Lists("sgi", Kind::Interrupt, SECOND), Floor::None, None, None),
    spec("doorbell-take-accesses", "doorbell at the receiver: the same", Lists("doorbell", Kind::Interrupt, PEER), Floor::None, None, None),
];

/// A row with its figures.
#[derive(Clone, Debug)]
pub struct Row {
    /// What programs and the baseline call it.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Least that is possible.
    pub floor: Option<u64>,
    /// The best peer.
    pub peer: Option<(&'static str, u64)>,
    /// What must not be exceeded.
    pub target: Option<u64>,
    /// What was measured; none if the row's event did not occur.
    pub ours: Option<Histogram>,
}

impl Row {
    /// Whether it misses its target.
    pub fn is_over(&self) -> bool {
        self.target.zip(self.spread()).is_some_and(|(target, ours)| ours.median > target)
    }

    /// Least, middle and greatest of what was measured.
    pub fn spread(&self) -> Option<Spread> {
        self.ours.as_ref().map(Histogram::spread)
    }
}

/// Fills the table from a hosted and a bare run.
pub fn evaluate(gic: u8, hosted: &Run, bare: &Run) -> Vec<Row> {
    SPECS
        .iter()
        .map(|spec| Row {
            id: spec.id.into(),
            title: spec.title.into(),
            peer: spec.peer,
            floor: match spec.floor {
                Bare(row) => bare.rows.get(row).map(|(_, ticks)| ticks.spread().median),
                Known(figure) => Some(figure),
                Floor::None => None,
            },
            target: spec.target.map(|[v3, v2]| if gic == 3 { v3 } else { v2 }),
            ours: match spec.source {
                Guest(row) => hosted.rows.get(row).map(|(_, ticks)| ticks.clone()),
                El2(row, kind, cpu) => {
                    hosted.rows.get(row).and_then(|(phase, _)| hosted.metered.lengths(*phase, kind, cpu))
                }
                Lists(row, kind, cpu) => hosted
                    .rows
                    .get(row)
                    .and_then(|(phase, _)| hosted.metered.interface_accesses(*phase, kind, cpu)),
            },
        })
        .collect()
}

/// The rows of events at EL2 that have a target, of another run of the measuring partition, named by
/// `name`; whether the target holds there, too.
pub fn variant(gic: u8, hosted: &Run, name: &str, with_targets: bool) -> Vec<Row> {
    let rows = evaluate(gic, hosted, &Run::default());
    let is_port = |row: &Row| row.id.starts_with("sampling-") || row.id.starts_with("queuing-");
    let renamed = |row: Row| Row {
        id: format!("{name}-{}", row.id),
        title: format!("{name}: {}", row.title),
        floor: None,
        target: row.target.filter(|_| with_targets),
        ..row
    };
    rows.into_iter().filter(|row| row.target.is_some() && !is_port(row)).map(renamed).collect()
}

/// Names of the measuring partition's rows that the table is made of.
pub fn measured() -> Vec<&'static str> {
    let mut names: Vec<&str> = SPECS
        .iter()
        .map(|spec| match spec.source {
            Guest(row) | El2(row, ..) | Lists(row, ..) => row,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_string(), |value| value.to_string())
}

/// The table for people.
pub fn text(gic: u8, rows: &[Row]) -> String {
    let mut out = format!(
        "\nGICv{gic}: instructions, unless a row says otherwise\n{:<60} {:>5} {:>12} {:>8} {:>8} {:>8} {:>8} {:>6}\n",
        "event", "floor", "best peer", "target", "min", "median", "max", "peer/x"
    );
    for row in rows {
        let peer = row.peer.map(|(name, figure)| format!("{name} {figure}"));
        let ours = |part: fn(Spread) -> u64| cell(row.spread().map(part));
        let _ = writeln!(
            out,
            "{:<60} {:>5} {:>12} {:>8} {:>8} {:>8} {:>8} {:>6}{}",
            row.title,
            cell(row.floor),
            cell(peer),
            cell(row.target),
            ours(|spread| spread.min),
            ours(|spread| spread.median),
            ours(|spread| spread.max),
            cell(ratio(row)),
            if row.is_over() { "  over" } else { "" }
        );
    }
    out
}

/// How many times as much the best peer takes.
pub fn ratio(row: &Row) -> Option<String> {
    let (_, peer) = row.peer?;
    Some(format!("{:.1}", peer as f64 / row.spread()?.median.max(1) as f64))
}

/// All figures, for programs.
pub fn json(results: &[(u8, Vec<Row>)]) -> String {
    let mut all = BTreeMap::new();
    for (gic, rows) in results {
        for row in rows {
            let value = serde_json::json!({
                "title": row.title,
                "floor": row.floor,
                "peer": row.peer.map(|(name, figure)| serde_json::json!({ "name": name, "figure": figure })),
                "target": row.target,
                "min-median-max": row.spread().map(|ours| [ours.min, ours.median, ours.max]),
                "histogram": row.ours.as_ref().map(|ours| ours.values().collect::<Vec<_>>()),
            });
            all.insert(format!("gicv{gic}.{}", row.id), value);
        }
    }
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

/// The values of a row, each with how often it occurred; none if there is no such row.
pub fn histogram(gic: u8, rows: &[Row], id: &str) -> Option<String> {
    const WIDTH: u64 = 50;
    let row = rows.iter().find(|row| row.id == id)?;
    let ours = row.ours.as_ref()?;
    let most = ours.values().map(|(_, count)| count).max()?;
    let mut out = format!("\nGICv{gic}, {}: value, times\n", row.title);
    for (value, count) in ours.values() {
        let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
        let _ = writeln!(out, "{value:>10} {count:>8}  {bar}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_every_value() {
        let row = Row {
            id: "a".into(),
            title: "an event".into(),
            floor: None,
            peer: None,
            target: None,
            ours: Histogram::of([(53, 31), (60, 1)]),
        };
        let text = histogram(3, std::slice::from_ref(&row), "a").unwrap();
        assert!(text.contains("an event: value, times\n        53       31  ####"), "{text}");
        assert!(text.ends_with("        60        1  ##\n"), "{text}");
        assert_eq!(histogram(3, &[row], "b"), None);
    }
}
