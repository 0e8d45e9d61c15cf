//! Health log, reports in words, and the monitor's table machine.

use bulkhead_abi::health::{ESR, TICKS, X0};
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::{HealthRow, HealthStep, action, step as word};
use bulkhead_core::health_log::{RECORD_WORDS, Reader, Record, Writer, is_told, share};
use bulkhead_core::health_monitor::{Action, Monitor, STAMPS_MAX, stamps_needed};
use bulkhead_core::report::{Context, line, lines};
use bulkhead_core::text::Text;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerocopy::FromZeros;

fn memory(records: usize) -> Vec<AtomicU64> {
    (0..records * RECORD_WORDS).map(|_| AtomicU64::new(0)).collect()
}

/// Registers that tell the record.
fn x(ticks: u64) -> [u64; 31] {
    std::array::from_fn(|n| ticks ^ (n as u64) << 8)
}

fn record(ticks: u64, x: &[u64; 31]) -> Record<'_> {
    Record {
        ticks,
        partition: 1,
        vcpu: 2,
        cpu: 3,
        event: event::MEMORY_VIOLATION as u8,
        action: action::HALT as u8,
        code: 0,
        registers: Some(([ticks ^ 1, ticks ^ 2, ticks ^ 3, ticks ^ 4, ticks ^ 5], x)),
    }
}

fn append(writer: &Writer, memory: &[AtomicU64], cpu: usize, cpus: usize, ticks: u64) {
    writer.append(share(memory, cpu, cpus), &record(ticks, &x(ticks)));
}

#[test]
fn records_of_a_cpu_come_back_in_order() {
    let memory = memory(16);
    let writers = [Writer::new(), Writer::new()];
    let mut reader = Reader::new();
    assert!(!reader.waits(&writers));
    for ticks in [1, 4, 5] {
        append(&writers[0], &memory, 0, 2, ticks);
    }
    for ticks in [2, 3, 6] {
        append(&writers[1], &memory, 1, 2, ticks);
    }
    assert!(reader.waits(&writers));
    let back = std::iter::from_fn(|| reader.take(&writers, &memory));
    let back: Vec<_> = back.map(|view| (view.number, view.word(TICKS), view.word(X0 + 8))).collect();
    let expected = [(0, 1), (1, 4), (2, 5), (0, 2), (1, 3), (2, 6)];
    assert_eq!(back, expected.map(|(number, ticks)| (number, ticks, ticks ^ 1 << 8)));
    assert!(!reader.waits(&writers));
    assert_eq!(reader.lost(), 0);
}

#[test]
fn the_oldest_are_overwritten_and_counted() {
    let memory = memory(7);
    let writers = [Writer::new()];
    let mut reader = Reader::new();
    (0..10).for_each(|ticks| append(&writers[0], &memory, 0, 1, ticks));
    let back: Vec<u64> =
        std::iter::from_fn(|| reader.take(&writers, &memory)).map(|view| view.word(TICKS)).collect();
    assert_eq!(back, [6, 7, 8, 9], "four of seven: a power of two");
    assert_eq!(reader.lost(), 6);
}

#[test]
fn without_memory_all_is_lost() {
    let writers = [Writer::new()];
    let mut reader = Reader::new();
    append(&writers[0], &[], 0, 1, 1);
    assert!(reader.take(&writers, &[]).is_none());
    assert_eq!(reader.lost(), 1);
    assert!(!reader.waits(&writers));
}

#[test]
fn records_outlive_a_reset_and_are_not_told_again() {
    let memory = memory(4);
    let before = [Writer::new()];
    (0..6).for_each(|ticks| append(&before[0], &memory, 0, 1, ticks));
    let after = [Writer::new()];
    after[0].resume(share(&memory, 0, 1));
    let mut reader = Reader::new();
    assert!(!reader.waits(&after) || reader.take(&after, &memory).is_none());
    append(&after[0], &memory, 0, 1, 100);
    let view = reader.take(&after, &memory).unwrap();
    assert_eq!((view.number, view.word(TICKS)), (6, 100));
    assert_eq!(memory[RECORD_WORDS * 3 + 1].load(Ordering::Relaxed), 3, "a record of the first run");
    // Memory that held something else is no log.
    let foreign: Vec<_> = (0..4 * RECORD_WORDS as u64)
        .map(|n| AtomicU64::new((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    after[0].resume(share(&foreign, 0, 1));
    assert!(foreign.iter().all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn memory_is_known_by_the_image_that_ran_in_it() {
    use bulkhead_core::health_log::{MARK_WORDS, outlived};
    let foreign = || (0..RECORD_WORDS + MARK_WORDS).map(|n| AtomicU64::new(!(n as u64))).collect::<Vec<_>>();
    let memory = foreign();
    let (log, mark) = memory.split_at(RECORD_WORDS);
    let image: [u8; 32] = std::array::from_fn(|n| n as u8);
    assert!(!outlived(log, mark, &image), "memory that nobody has written yet");
    assert!(log.iter().all(|word| word.load(Ordering::Relaxed) == 0), "is cleared");
    log[3].store(7, Ordering::Relaxed);
    assert!(outlived(log, mark, &image));
    assert_eq!(log[3].load(Ordering::Relaxed), 7, "kept");
    let mut other = image;
    other[31] ^= 1;
    assert!(!outlived(log, mark, &other), "another image's memory");
    assert_eq!(log[3].load(Ordering::Relaxed), 0);
    assert!(!outlived(log, &[], &image), "no place for a mark");
}

#[test]
fn a_reader_never_takes_half_a_record_for_whole() {
    let memory = memory(2);
    let writers = [Writer::new()];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..30_000).for_each(|ticks| append(&writers[0], &memory, 0, 1, ticks));
            stop.store(true, Ordering::Release);
        });
        let mut reader = Reader::new();
        let mut seen = 0;
        while !stop.load(Ordering::Acquire) || reader.waits(&writers) {
            if let Some(view) = reader.take(&writers, &memory) {
                let found = (view.word(TICKS), view.word(ESR), view.word(X0 + 8 * 30));
                if view.is_whole() {
                    let number = view.number;
                    assert_eq!(found, (number, number ^ 1, number ^ 30 << 8));
                    seen += 1;
                }
            }
        }
        assert!(seen > 0);
    });
}

/// A record's report.
fn report(record: &Record<'_>) -> Vec<String> {
    let (memory, writers, mut reader) = (memory(1), [Writer::new()], Reader::new());
    writers[0].append(share(&memory, 0, 1), record);
    let view = reader.take(&writers, &memory).unwrap();
    let context = Context { partition: b"linux\0\0", hz: 62_500_000 };
    (0..lines(view))
        .map(|n| {
            let mut buffer = [0; 100];
            let mut text = Text::new(&mut buffer);
            line(view, context, n, &mut text);
            String::from_utf8(text.as_bytes().to_vec()).unwrap()
        })
        .collect()
}

#[test]
fn a_whole_report() {
    let x: [u64; 31] = std::array::from_fn(|n| n as u64);
    let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 1 << 6 | 0x07;
    let state = [esr, 0xFFFF_8000_1234_5678, 0x80_0000, 0xFFFF_8000_0000_1000, 0x6000_03C5];
    let fault = Record {
        ticks: 62_500_000 + 93_750,
        vcpu: 1,
        cpu: 1,
        action: action::COLD_RESTART as u8,
        registers: Some((state, &x)),
        ..record(0, &x)
    };
    let text = report(&fault);
    assert_eq!(text.len(), 12);
    assert_eq!(text[0], "health 0: linux vCPU 1 on CPU 1: memory-violation -> cold-restart");
    assert_eq!(text[1], "write of 4 bytes to unmapped address 0x80000678");
    assert_eq!(text[2], "at 1001.500 ms ELR 0xffff800000001000 SPSR 0x600003c5");
    assert_eq!(text[3], "ESR 0x93800047 FAR 0xffff800012345678 HPFAR 0x800000");
    assert_eq!(
        text[4],
        "x0  0000000000000000 x1  0000000000000001 x2  0000000000000002 x3  0000000000000003"
    );
    assert_eq!(text[11], "x28 000000000000001c x29 000000000000001d x30 000000000000001e");
    let short = Record { registers: None, ..fault };
    assert_eq!(report(&short).len(), 3);
    assert_eq!(report(&short)[2], "at 1001.500 ms");
}

#[test]
fn the_console_tells_of_what_stops_somebody() {
    let told: Vec<u32> = (0..=action::RESET_BOARD).filter(|action| is_told(*action as u8)).collect();
    assert_eq!(told, (action::SUSPEND..=action::RESET_BOARD).collect::<Vec<_>>());
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
    (1, 0x16 << 26, "call of function 0x7b"),
    (14, 0x16 << 26, "application raised code 0x7b"),
    (6, 0, "watchdog not kicked for ticks 0x7b"),
    (12, 0, "digest differs, load list entry 0x7b"),
    (3, 0x2F << 26, "SError"),
];

#[test]
fn causes_in_words() {
    let x = x(0);
    for (event, esr, expected) in CAUSES {
        let state = [esr, 0x1234_5678, 0x80_0000, 0, 0];
        let fault = Record { event: event as u8, code: 123, registers: Some((state, &x)), ..record(0, &x) };
        let text = &report(&fault)[1];
        assert!(text.contains(expected), "{event} {esr:#x}: {text}");
    }
    // A syndrome of any class, a record of any event: some words, never none.
    for class in 0..64u64 {
        for status in 0..64 {
            let state = [class << 26 | status, 0, 0, 0, 0];
            let (event, action) = (class as u8, class as u8);
            let fault = Record { event, action, registers: Some((state, &x)), ..record(0, &x) };
            assert!(report(&fault)[1].len() > 10);
            assert_eq!(report(&fault)[0].contains("unknown"), class > 11);
        }
    }
}

fn step(count: u32, within_ticks: u64, action: u32) -> HealthStep {
    HealthStep { count, action, within_ticks }
}

const NO_STEP: HealthStep = HealthStep { count: 0, action: 0, within_ticks: 0 };

fn row(normal: u32, init: u32, steps: [HealthStep; 3]) -> HealthRow {
    HealthRow { normal, init, steps }
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
    let monitor = Monitor::new_zeroed();
    monitor.init(&rows, &limit);
    let violation = |now| Action::of(monitor.decide(&rows, &limit, event::MEMORY_VIOLATION, false, now));
    assert_eq!(violation(10), Action::WarmRestart);
    assert_eq!(violation(20), Action::WarmRestart);
    assert_eq!(violation(30), Action::WarmRestart);
    assert_eq!(violation(40), Action::ColdRestart, "three acts within a second");
    assert_eq!(violation(1010), Action::ColdRestart, "the first is a second old");
    assert_eq!(violation(1011), Action::Halt, "restart limit: five within a minute");
    assert_eq!(violation(60_011), Action::WarmRestart);
    let watchdog = |init, now| Action::of(monitor.decide(&rows, &limit, event::WATCHDOG, init, now));
    assert_eq!(watchdog(true, 60_012), Action::Halt);
    assert_eq!(watchdog(false, 200_000), Action::ColdRestart);
    let denied = monitor.decide(&rows, &limit, event::DENIED_HYPERCALL, false, 200_001);
    assert_eq!(denied, action::LOG);
    assert_eq!(
        monitor.decide(&rows, &limit, event::COUNT as u32, false, 0),
        action::HALT,
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
        let monitor = Monitor::new_zeroed();
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
            assert_eq!(got, expected, "event {event} at {now}: {rows:?}");
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
    let monitor = Monitor::new_zeroed();
    monitor.init(&rows, &NO_STEP);
    let acted = |event| {
        (0..200).take_while(|_| monitor.decide(&rows, &NO_STEP, event, false, 5) == action::LOG).count()
    };
    assert_eq!(acted(0), 100);
    assert_eq!(acted(1), 28);
}

#[test]
fn a_step_carries_who_is_told_and_the_plan() {
    let told = action::HALT | 3 << word::NOTIFY_SHIFT;
    let switch = action::SWITCH_PLAN | 2 << word::PLAN_SHIFT;
    let rows = vec![row(told, switch, [step(1, 100, switch), NO_STEP, NO_STEP]); event::COUNT];
    let monitor = Monitor::new_zeroed();
    monitor.init(&rows, &NO_STEP);
    let decide = |init, now| monitor.decide(&rows, &NO_STEP, event::WATCHDOG, init, now);
    assert_eq!(decide(false, 0), told);
    assert_eq!(decide(false, 1), switch, "escalated");
    assert_eq!((Action::of(told), Action::of(switch)), (Action::Halt, Action::SwitchPlan));
}

/// Every table of one event with up to two steps over four actions, every restart limit of up to two,
/// every sequence of five events in either mode: there is always an action, it is one that the table
/// names, and restarts never exceed their limit.
#[test]
fn every_event_has_an_action_and_restarts_end() {
    const ACTIONS: [u32; 4] = [action::LOG, action::COLD_RESTART, action::WARM_RESTART, action::HALT];
    let restarts = |step: u32| Action::of(step).is_restart();
    for shape in 0..4 * 4 * 3 * 4 * 3u32 {
        let pick = |divisor: u32, modulus: u32| shape / divisor % modulus;
        let (normal, init) = (ACTIONS[pick(1, 4) as usize], ACTIONS[pick(4, 4) as usize]);
        let first = step(pick(16, 3), 1000, ACTIONS[pick(48, 4) as usize]);
        let limit = step(pick(192, 3), 1000, action::HALT);
        let mut rows = vec![row(action::HALT, action::HALT, [NO_STEP; 3]); event::COUNT];
        rows[0] = row(normal, init, [first, NO_STEP, NO_STEP]);
        let named = [normal, init, first.action, limit.action];
        for modes in 0..1 << 5 {
            let monitor = Monitor::new_zeroed();
            monitor.init(&rows, &limit);
            let acts: Vec<u32> =
                (0..5u64).map(|now| monitor.decide(&rows, &limit, 0, modes >> now & 1 != 0, now)).collect();
            assert!(acts.iter().all(|act| named.contains(act)), "{acts:?} of {named:?}");
            let again = acts.iter().filter(|act| restarts(**act)).count();
            assert!(limit.count == 0 || again <= limit.count as usize, "{acts:?} with {limit:?}");
        }
    }
}
