//! What EL2's own writer wrote is what the reader reads.

use bulkhead_abi::trace::{HEADER_BYTES, RECORD_BYTES, cause, kind};
use bulkhead_core::trace::Trace;
use bulkhead_trace::{Event, Layout, Plan, Record, Vcpu, Window, decode, perfetto, report};
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 20;
const RING_WORDS: usize = (HEADER_BYTES + SLOTS * RECORD_BYTES) / 8;

fn layout() -> Layout {
    let windows = vec![Window { start: 0, vcpu: 0 }, Window { start: 400, vcpu: 1 }];
    Layout {
        hz: 1_000_000,
        cpus: 2,
        partitions: vec!["fcs".into(), "nav".into()],
        vcpus: vec![Vcpu { partition: 0, index: 0 }, Vcpu { partition: 1, index: 0 }],
        plans: vec![Plan { id: 7, frame: 1000, cpus: vec![windows, vec![]] }],
        base: 0,
        bytes: 2 * RING_WORDS * 8,
    }
}

fn dump(rings: &[Vec<AtomicU64>]) -> Vec<u8> {
    rings.iter().flatten().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
}

fn rings() -> Vec<Vec<AtomicU64>> {
    (0..2).map(|_| (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect()).collect()
}

/// Two windows and a health event.
fn story(trace: &Trace<'_>, from: u64) {
    trace.put(from + 2, kind::START, 1, 2);
    trace.count(cause::CALL);
    trace.count(cause::CALL);
    trace.count(cause::TIMER);
    trace.put(from + 50, kind::HEALTH, 3, 1);
    trace.flush(from + 390);
    trace.put(from + 390, kind::END, 1, 10);
    trace.put(from + 400, kind::DEFERRED, 0, 2 | 300 << 32);
    trace.put(from + 401, kind::START, 1, 1 | 1 << 32);
    trace.flush(from + 690);
    trace.put(from + 690, kind::END, 1, 10 | 1 << 32);
}

#[test]
fn a_story_comes_back() {
    let rings = rings();
    let trace = Trace::new(&rings[0]);
    let _empty = Trace::new(&rings[1]);
    trace.put(5000, kind::PLAN, 0, 5000);
    story(&trace, 5000);
    let layout = layout();
    let cpus = decode(&layout, &dump(&rings)).unwrap();
    assert_eq!((cpus[0].records.len(), cpus[0].overwritten, cpus[1].records.len()), (9, 0, 0));
    let start = Record { ticks: 5002, event: Event::Start { vcpu: 0, window: true, late: 2 } };
    assert_eq!(cpus[0].records[1], start);
    let calls = Event::Visits { first: cause::CALL, counts: [2, 0] };
    assert_eq!(cpus[0].records[3].event, calls);

    let [fcs, nav] = &report::summarise(&layout, &cpus)[..] else { panic!("two partitions") };
    assert_eq!((fcs.windows, fcs.latest, fcs.off_plan, fcs.ticks, fcs.health), (1, 2, 0, 388, 1));
    assert_eq!((fcs.visits[cause::CALL], fcs.visits[cause::TIMER]), (2, 1));
    assert_eq!((nav.windows, nav.latest, nav.visits), (1, 1, [0; cause::COUNT]));
    assert_eq!((fcs.deferred, nav.deferred, nav.longest_wait), (0, 2, 300));
    let text = report::text(&layout, &cpus);
    assert!(text.contains("visits to EL2: calls 2, timer 1"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&perfetto::json(&layout, &cpus)).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let planned = events.iter().find(|e| e["ph"] == "X" && e["pid"] == 1).unwrap();
    assert_eq!((planned["ts"].as_f64(), planned["dur"].as_f64()), (Some(5000.0), Some(400.0)));
    let measured = events.iter().find(|e| e["ph"] == "X" && e["pid"] == 2).unwrap();
    assert_eq!((measured["ts"].as_f64(), measured["dur"].as_f64()), (Some(5002.0), Some(388.0)));
    assert_eq!(measured["args"]["calls"], 2);
}

#[test]
fn a_window_off_its_plan_is_seen() {
    let rings = rings();
    let trace = Trace::new(&rings[0]);
    let _empty = Trace::new(&rings[1]);
    trace.put(5000, kind::PLAN, 0, 5000);
    story(&trace, 5003);
    let cpus = decode(&layout(), &dump(&rings)).unwrap();
    let summaries = report::summarise(&layout(), &cpus);
    assert_eq!((summaries[0].off_plan, summaries[1].off_plan), (1, 1));
}

#[test]
fn a_full_ring_keeps_the_latest_records_in_order() {
    let rings = rings();
    let trace = Trace::new(&rings[0]);
    let _empty = Trace::new(&rings[1]);
    for number in 0..3 * SLOTS as u64 + 5 {
        trace.put(number, kind::PLAN_ASKED, 0, number);
    }
    let cpus = decode(&layout(), &dump(&rings)).unwrap();
    let ticks: Vec<u64> = cpus[0].records.iter().map(|r| r.ticks).collect();
    let written = 3 * SLOTS as u64 + 5;
    assert_eq!(ticks, (written - SLOTS as u64..written).collect::<Vec<_>>());
    assert_eq!(cpus[0].overwritten, written - SLOTS as u64);
}

#[test]
fn visits_that_go_on_are_counted_where_no_window_ends() {
    let rings = rings();
    let trace = Trace::new(&rings[0]);
    let _empty = Trace::new(&rings[1]);
    trace.put(1, kind::START, 1, 0);
    trace.count(cause::INJECTION);
    let cpus = decode(&layout(), &dump(&rings)).unwrap();
    assert_eq!(report::summarise(&layout(), &cpus)[0].visits[cause::INJECTION], 1);
}

#[test]
fn what_is_no_copy_of_the_rings_is_refused() {
    assert!(decode(&layout(), &[0; 16]).unwrap_err().contains("16 bytes"));
    assert!(decode(&layout(), &vec![0; layout().bytes]).unwrap_err().contains("CPU 0"));
    assert!(Layout::of(&[0; 8192]).unwrap_err().contains("no packed image"));
}
