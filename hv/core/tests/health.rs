//! Health log, reports in words, and the monitor's table machine.

use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::{HealthRow, HealthStep, NONE, action};
use bulkhead_core::health_log::{RECORD_WORDS, Reader, Record, Writer, share};
use bulkhead_core::health_monitor::{Action, Monitor, STAMPS_MAX, stamps_needed};
use bulkhead_core::report::{Context, line, lines};
use bulkhead_core::text::Text;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn memory(records: usize) -> Vec<AtomicU64> {
    (0..records * RECORD_WORDS).map(|_| AtomicU64::new(0)).collect()
}

fn record(ticks: u64) -> Record {
    Record {
        ticks,
        partition: 1,
        vcpu: 2,
        cpu: 3,
        event: event::MEMORY_VIOLATION as u8,
        action: action::HALT as u8,
        has_registers: true,
        esr: ticks ^ 1,
        far: ticks ^ 2,
        hpfar: ticks ^ 3,
        elr: ticks ^ 4,
        spsr: ticks ^ 5,
        x: std::array::from_fn(|n| ticks ^ (n as u64) << 8),
    }
}

#[test]
fn records_come_back_in_order_of_time() {
    let memory = memory(16);
    let writers = [Writer::new(), Writer::new()];
    let mut reader = Reader::new();
    assert!(!reader.waits(&writers));
    for ticks in [1, 4, 5] {
        writers[0].append(share(&memory, 0, 2), &record(ticks));
    }
    for ticks in [2, 3, 6] {
        writers[1].append(share(&memory, 1, 2), &record(ticks));
    }
    assert!(reader.waits(&writers));
    let back: Vec<_> = std::iter::from_fn(|| reader.take(&writers, &memory)).collect();
    let numbers: Vec<u64> = back.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
    for (index, (_, got)) in back.iter().enumerate() {
        assert_eq!(*got, record(index as u64 + 1));
    }
    assert!(!reader.waits(&writers));
    assert_eq!(reader.lost(), 0);
}

#[test]
fn the_oldest_are_overwritten_and_counted() {
    let memory = memory(7);
    let writers = [Writer::new()];
    let mut reader = Reader::new();
    for ticks in 0..10 {
        writers[0].append(share(&memory, 0, 1), &record(ticks));
    }
    let back: Vec<u64> =
        std::iter::from_fn(|| reader.take(&writers, &memory)).map(|(_, record)| record.ticks).collect();
    assert_eq!(back, [6, 7, 8, 9], "four of seven: a power of two");
    assert_eq!(reader.lost(), 6);
}

#[test]
fn without_memory_all_is_lost() {
    let writers = [Writer::new()];
    let mut reader = Reader::new();
    writers[0].append(&[], &record(1));
    assert_eq!(reader.take(&writers, &[]), None);
    assert_eq!(reader.lost(), 1);
    assert!(!reader.waits(&writers));
}

#[test]
fn a_reader_never_sees_half_a_record() {
    let memory = memory(2);
    let writers = [Writer::new()];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for ticks in 0..30_000 {
                writers[0].append(share(&memory, 0, 1), &record(ticks));
            }
            stop.store(true, Ordering::Release);
        });
        let mut reader = Reader::new();
        let mut seen = 0;
        while !stop.load(Ordering::Acquire) || reader.waits(&writers) {
            if let Some((number, got)) = reader.take(&writers, &memory) {
                assert_eq!(got, record(number));
                seen += 1;
            }
        }
        assert_eq!(seen + reader.lost(), 30_000);
    });
}

fn report(record: &Record) -> Vec<String> {
    let context = Context { number: 12, partition: b"linux\0\0", hz: 62_500_000 };
    (0..lines(record))
        .map(|n| {
            let mut buffer = [0; 100];
            let mut text = Text::new(&mut buffer);
            line(record, context, n, &mut text);
            String::from_utf8(text.as_bytes().to_vec()).unwrap()
        })
        .collect()
}

#[test]
fn a_whole_report() {
    let fault = Record {
        ticks: 62_500_000 + 93_750,
        vcpu: 1,
        cpu: 1,
        action: action::COLD_RESTART as u8,
        esr: 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 1 << 6 | 0x07,
        far: 0xFFFF_8000_1234_5678,
        hpfar: 0x80_0000,
        elr: 0xFFFF_8000_0000_1000,
        spsr: 0x6000_03C5,
        x: std::array::from_fn(|n| n as u64),
        ..record(0)
    };
    let text = report(&fault);
    assert_eq!(text.len(), 12);
    assert_eq!(text[0], "health 12: linux vCPU 1 on CPU 1: memory-violation -> cold-restart");
    assert_eq!(text[1], "write of 4 bytes to unmapped address 0x80000678");
    assert_eq!(text[2], "at 1001.500 ms ELR 0xffff800000001000 SPSR 0x600003c5");
    assert_eq!(text[3], "ESR 0x93800047 FAR 0xffff800012345678 HPFAR 0x800000");
    assert_eq!(
        text[4],
        "x0  0000000000000000 x1  0000000000000001 x2  0000000000000002 x3  0000000000000003"
    );
    assert_eq!(text[11], "x28 000000000000001c x29 000000000000001d x30 000000000000001e");
    let short = Record { has_registers: false, ..fault };
    assert_eq!(report(&short).len(), 3);
    assert_eq!(report(&short)[2], "at 1001.500 ms");
}

const DATA: u64 = 0x24 << 26 | 1 << 25;
const WORD: u64 = DATA | 1 << 24 | 2 << 22;
const MSR: u64 = 0x18 << 26 | 1 << 25 | 3 << 20 | 15 << 10 | 2 << 1;

/// Event, syndrome, and what the report says.
const CAUSES: [(u32, u64, &str); 20] = [
    (0, WORD | 0x07, "read of 4 bytes from unmapped address 0x80000678"),
    (0, DATA | 1 << 24 | 0x07, "read of 1 byte from unmapped address 0x80000678"),
    (0, DATA | 1 << 6 | 0x06, "write to unmapped address 0x80000678"),
    (0, DATA | 1 << 8 | 1 << 6 | 0x06, "read from unmapped address 0x80000678"),
    (0, WORD | 1 << 6 | 0x0F, "write of 4 bytes to read-only virtual address 0x12345678"),
    (0, WORD | 0x0F, "read of 4 bytes from unreadable virtual address"),
    (0, DATA | 1 << 7 | 0x07, "table walk from unmapped address 0x80000000"),
    (0, 0x20 << 26 | 0x07, "execution from unmapped address 0x80000678"),
    (0, 0x20 << 26 | 0x0F, "execution from non-executable virtual address 0x12345678"),
    (3, WORD | 0x10, "read of 4 bytes from virtual address 0x12345678: external abort"),
    (0, WORD | 0x21, "read of 4 bytes from virtual address 0x12345678: misaligned"),
    (4, DATA | 0x07, "unmapped address 0x80000678: no syndrome (pair, write-back)"),
    (5, WORD | 0x07, "unmapped address 0x80000678: illegal width"),
    (2, MSR, "write of undefined system register S3_0_C15_C2_0"),
    (2, MSR | 1, "read of undefined system register S3_0_C15_C2_0"),
    (1, 0x16 << 26, "HVC of function 0xc6000002"),
    (1, 0x17 << 26, "SMC of function 0xc6000002"),
    (14, 0x16 << 26, "application raised code 0x7b"),
    (6, 0, "watchdog not kicked in time"),
    (3, 0x2F << 26, "SError"),
];

#[test]
fn causes_in_words() {
    for (event, esr, expected) in CAUSES {
        let mut fault = Record { event: event as u8, esr, far: 0x1234_5678, hpfar: 0x80_0000, ..record(0) };
        fault.x[0] = 0xC600_0002;
        fault.x[1] = 123;
        let text = &report(&fault)[1];
        assert!(text.contains(expected), "{event} {esr:#x}: {text}");
    }
    // A syndrome of any class, a record of any event: some words, never none.
    for class in 0..64u64 {
        for status in 0..64 {
            let fault =
                Record { esr: class << 26 | status, event: class as u8, action: class as u8, ..record(0) };
            assert!(report(&fault)[1].len() > 10);
        }
    }
}

fn step(count: u32, within_ticks: u64, action: u32) -> HealthStep {
    HealthStep { count, action, within_ticks }
}

const NO_STEP: HealthStep = HealthStep { count: 0, action: 0, within_ticks: 0 };

fn row(normal: u32, init: u32, steps: [HealthStep; 3]) -> HealthRow {
    HealthRow { normal, init, notify: NONE, reserved: 0, steps }
}

/// The demo's table of the RTOS, in milliseconds.
fn demo() -> (Vec<HealthRow>, HealthStep) {
    let mut rows = vec![row(action::COLD_RESTART, action::COLD_RESTART, [NO_STEP; 3]); event::COUNT];
    rows[event::MEMORY_VIOLATION as usize] = row(
        action::WARM_RESTART,
        action::WARM_RESTART,
        [step(3, 1000, action::COLD_RESTART), step(3, 60_000, action::HALT), NO_STEP],
    );
    rows[event::WATCHDOG as usize] = row(action::COLD_RESTART, action::HALT, [NO_STEP; 3]);
    rows[event::DENIED_HYPERCALL as usize] = row(action::LOG, action::LOG, [NO_STEP; 3]);
    (rows, step(5, 60_000, action::HALT))
}

#[test]
fn escalation_of_the_demo() {
    let (rows, limit) = demo();
    let monitor = Monitor::new();
    monitor.init(&rows, &limit);
    let violation = |now| monitor.decide(&rows, &limit, event::MEMORY_VIOLATION, false, now);
    assert_eq!(violation(10), Action::WarmRestart);
    assert_eq!(violation(20), Action::WarmRestart);
    assert_eq!(violation(30), Action::WarmRestart);
    assert_eq!(violation(40), Action::ColdRestart, "three acts within a second");
    assert_eq!(violation(1010), Action::ColdRestart, "the first is a second old");
    assert_eq!(violation(1011), Action::Halt, "restart limit: five within a minute");
    assert_eq!(violation(60_011), Action::WarmRestart);
    let watchdog = |init, now| monitor.decide(&rows, &limit, event::WATCHDOG, init, now);
    assert_eq!(watchdog(true, 60_012), Action::Halt);
    assert_eq!(watchdog(false, 200_000), Action::ColdRestart);
    let denied = monitor.decide(&rows, &limit, event::DENIED_HYPERCALL, false, 200_001);
    assert_eq!(denied, Action::Log);
    assert_eq!(
        monitor.decide(&rows, &limit, event::COUNT as u32, false, 0),
        Action::Halt,
        "an event without a row"
    );
}

/// Counts with unbounded lists, by the words of the vocabulary.
struct Model {
    acts: Vec<[VecDeque<u64>; 3]>,
    restarts: VecDeque<u64>,
}

impl Model {
    fn within(list: &VecDeque<u64>, step: &HealthStep, now: u64) -> bool {
        let recent = list.iter().filter(|at| now - **at <= step.within_ticks);
        recent.count() >= step.count as usize
    }

    fn decide(&mut self, rows: &[HealthRow], limit: &HealthStep, event: u32, now: u64) -> u32 {
        let row = &rows[event as usize];
        let acts = &mut self.acts[event as usize];
        let (mut due, mut level) = (row.normal, 0);
        while level < 3 && row.steps[level].count != 0 && Self::within(&acts[level], &row.steps[level], now) {
            due = row.steps[level].action;
            level += 1;
        }
        if matches!(due, action::WARM_RESTART | action::COLD_RESTART) && limit.count != 0 {
            if Self::within(&self.restarts, limit, now) {
                return limit.action;
            }
            self.restarts.push_back(now);
        }
        if level < 3 {
            acts[level].push_back(now);
        }
        due
    }
}

#[test]
fn counting_is_exact() {
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..200 {
        let mut steps = || {
            let mut open = true;
            std::array::from_fn(|_| {
                open &= random(4) != 0;
                let count = if open { 1 + random(4) as u32 } else { 0 };
                step(count, random(60), random(11) as u32)
            })
        };
        let mut rows: Vec<HealthRow> = (0..3).map(|n| row(6 + n, 0, steps())).collect();
        rows.resize(event::COUNT, row(action::LOG, action::LOG, [NO_STEP; 3]));
        let limit = step(random(5) as u32, random(100), action::HALT);
        assert!(stamps_needed(&rows, &limit) <= STAMPS_MAX as u64);
        let monitor = Monitor::new();
        monitor.init(&rows, &limit);
        let mut model = Model {
            acts: (0..event::COUNT).map(|_| Default::default()).collect(),
            restarts: VecDeque::new(),
        };
        let mut now = 0;
        for _ in 0..300 {
            now += random(20);
            let event = random(4) as u32;
            let expected = model.decide(&rows, &limit, event, now);
            let got = monitor.decide(&rows, &limit, event, false, now);
            assert_eq!(got as u32, expected, "event {event} at {now}: {rows:?}");
        }
    }
}

#[test]
fn a_pool_that_is_too_small_escalates_early() {
    let mut rows = vec![row(action::LOG, action::LOG, [NO_STEP; 3]); event::COUNT];
    for row in &mut rows[..2] {
        row.steps[0] = step(100, 1000, action::HALT);
    }
    assert_eq!(stamps_needed(&rows, &NO_STEP), 200);
    let monitor = Monitor::new();
    monitor.init(&rows, &NO_STEP);
    let acted = |event| {
        (0..200).take_while(|_| monitor.decide(&rows, &NO_STEP, event, false, 5) == Action::Log).count()
    };
    assert_eq!(acted(0), 100);
    assert_eq!(acted(1), 28);
}
