//! CNTVCT of the partition `stopped` counts its execution time: it stands still in the windows of `peer`, while it
//! is suspended and in a plan without a window of it; its virtual timer goes by it, its physical one and the ports by
//! system time. `peer`, on the same CPU, sees to all that and finds its own counter as ever.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::{TARGET_SELF, control};
use bulkhead_sdk::abi::info::clock;
use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::{SamplingDestination, SamplingSource, Validity};
use bulkhead_sdk::registers::{counter, system_counter, wait_for_interrupt};
use bulkhead_sdk::{Partition, hypercall, interrupt, println, time};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use probes::{Report, report, timer};

bulkhead_sdk::entry!(main);

/// Major frame of the configuration, and the window of `stopped` in it.
const FRAME_NS: u64 = 10_000_000;
const WINDOW_NS: u64 = 3_000_000;
/// Frames that the counter is watched for.
const FRAMES: u64 = 20;
/// For how long `peer` keeps `stopped` from running.
const AWAY_NS: u64 = 95_000_000;
/// Visits to EL2, and a switch on either side of a window.
const VISIT_NS: u64 = 50_000;
/// More than anything here takes.
const PATIENCE_NS: u64 = 20_000_000_000;

/// What `stopped` asks of `peer`.
const SUSPEND: u64 = 1;
const CHANGE_PLAN: u64 = 2;
const END: u64 = 3;

/// System time at which the physical timer's handler ran.
static PHYSICAL_AT: AtomicU64 = AtomicU64::new(0);

fn on_physical(_: u32) {
    PHYSICAL_AT.store(system_counter(), Relaxed);
    timer::disarm();
}

/// Longest steps of the execution clock and of system time, in nanoseconds, until `done`.
fn steps(mut done: impl FnMut(u64) -> bool) -> [u64; 2] {
    let mut longest = [0; 2];
    let mut last = [counter(), system_counter()];
    while !done(longest[1]) {
        let now = [counter(), system_counter()];
        for (longest, (now, last)) in longest.iter_mut().zip(now.into_iter().zip(last)) {
            *longest = (*longest).max(time::ns_from_ticks(now - last));
        }
        last = now;
    }
    longest
}

/// Execution time and system time that `work` takes, in nanoseconds.
fn took(work: impl FnOnce()) -> [u64; 2] {
    let begin = [counter(), system_counter()];
    work();
    let end = [counter(), system_counter()];
    [0, 1].map(|n| time::ns_from_ticks(end[n] - begin[n]))
}

/// Both clocks and the information page agree.
fn agree(report: &mut Report, info: Info) {
    report.equal("the page says what CNTVCT counts", info.clock(), clock::EXECUTION);
    let (executed, offset, system) = loop {
        let offset = info.execution_offset_ticks();
        let found = (counter(), offset, system_counter());
        if info.execution_offset_ticks() == offset {
            break found;
        }
    };
    let apart = time::ns_from_ticks(system.wrapping_sub(executed).wrapping_sub(offset));
    report.within("system time is execution time and the page's offset", apart, 0, VISIT_NS);
    let [begin, end, _] = info.window_ticks();
    report.check(
        begin < end && executed < begin,
        format_args!("windows are system time"),
        format_args!("{begin}"),
    );
}

/// The windows of another leave no trace in the counter.
fn stands_still(report: &mut Report) {
    let end = system_counter() + time::ticks_from_ns(FRAMES * FRAME_NS);
    let mut longest = [0; 2];
    let [executed, _] = took(|| longest = steps(|_| system_counter() >= end));
    report.within("longest step of execution time", longest[0], 0, VISIT_NS);
    report.within("longest step of system time", longest[1], FRAME_NS - WINDOW_NS, FRAME_NS);
    report.within("what was executed", executed, (FRAMES - 1) * (WINDOW_NS - VISIT_NS), FRAMES * WINDOW_NS);
}

/// The virtual timer fires after so much execution, never earlier; the physical one by system time.
fn timers(report: &mut Report) {
    for ns in [500_000, 1_500_000, 2_500_000, 4_000_000, 5_000_000, 10_000_000] {
        let [executed, _] = took(|| {
            timer::arm_virtual_in(ns);
            while !timer::virtual_fired() {
                wait_for_interrupt();
            }
        });
        report.within("the virtual timer's interrupt", executed, ns, ns + VISIT_NS);
    }
    let mut given_back = Ok(());
    let [executed, passed] = took(|| {
        timer::arm_virtual_in(2_000_000);
        for _ in 0..10 {
            given_back = given_back.and(hypercall::idle());
        }
    });
    report.equal("IDLE", given_back, Ok(()));
    report.within("system time that was given back", passed, 9 * FRAME_NS, 10 * FRAME_NS);
    report.within("execution time meanwhile", executed, 0, 1_000_000);
    report.equal("its deadline has not passed", timer::virtual_fired(), false);
    timer::disarm_virtual();
    let enabled = interrupt::enable(timer::INTID, interrupt::priority::TIMER, on_physical);
    report.equal("physical timer", enabled.is_ok(), true);
    // From the start of a window: the deadline lies in another's, and comes with the next.
    report.equal("IDLE", hypercall::idle(), Ok(()));
    let begin = system_counter();
    timer::arm_in(FRAME_NS / 2);
    let fired = report::wait(PATIENCE_NS, || PHYSICAL_AT.load(Relaxed) != 0);
    report.equal("the physical timer's interrupt", fired, true);
    let after = time::ns_from_ticks(PHYSICAL_AT.load(Relaxed) - begin);
    report.within("it goes by system time", after, FRAME_NS - VISIT_NS, FRAME_NS + VISIT_NS);
}

/// `peer` keeps this partition from running.
fn kept_away(report: &mut Report, ask: &mut SamplingSource, what: u64) {
    let end = system_counter() + time::ticks_from_ns(PATIENCE_NS);
    report.equal("asked", ask.write(&what.to_le_bytes()), Ok(()));
    let longest = steps(|step| step >= AWAY_NS || system_counter() > end);
    report.within("away", longest[1], AWAY_NS, PATIENCE_NS);
    report.within("execution time stood still", longest[0], 0, VISIT_NS);
}

fn stopped(info: Info, mut report: Report) -> ! {
    let executed = time::ns_from_ticks(counter());
    report.within("execution time begins with the start", executed, 0, WINDOW_NS);
    agree(&mut report, info);
    let mut ask = SamplingSource::open(Some(info), "mine").expect("port");
    let mut beat = SamplingDestination::open(Some(info), "theirs").expect("port");
    if info.start_count() == 1 {
        stands_still(&mut report);
        timers(&mut report);
        let mut message = [0; 8];
        let valid = || beat.read(&mut message).is_ok_and(|sample| sample.validity == Validity::Valid);
        report.equal("the peer's messages are of now", report::wait(PATIENCE_NS, valid), true);
        kept_away(&mut report, &mut ask, SUSPEND);
        kept_away(&mut report, &mut ask, CHANGE_PLAN);
        report.end();
        let error = hypercall::partition_control(TARGET_SELF, control::RESTART);
        println!("FAIL restart: {error:?}");
        report::sleep()
    }
    report.equal("asked", ask.write(&END.to_le_bytes()), Ok(()));
    report.finish()
}

fn pause() {
    let end = system_counter() + time::ticks_from_ns(AWAY_NS + 2 * FRAME_NS);
    while system_counter() < end {
        core::hint::spin_loop();
    }
}

fn peer(info: Info, mut report: Report) -> ! {
    report.equal("the page says what CNTVCT counts", info.clock(), clock::SYSTEM);
    let mut beat = SamplingSource::open(Some(info), "mine").expect("port");
    let mut asked = SamplingDestination::open(Some(info), "theirs").expect("port");
    let target = info.authority("stopped").map_or(u64::MAX >> 1, |(index, _)| index);
    let (mut apart, mut from_the_future, mut done) = (0, 0, 0);
    while done != END {
        let [before, found, after] = [system_counter(), counter(), system_counter()];
        apart += u64::from(found < before || found > after);
        report::wait(VISIT_NS, || false);
        let mut message = [0; 8];
        let sample = asked.read(&mut message);
        from_the_future += u64::from(sample.is_ok_and(|s| s.timestamp_ticks > system_counter()));
        if beat.write(&found.to_le_bytes()).is_err() {
            report.equal("beat", false, true);
        }
        let wanted = u64::from_le_bytes(message);
        if sample.is_err() || wanted == done {
            continue;
        }
        done = wanted;
        if wanted == SUSPEND {
            report.equal("suspend", hypercall::partition_control(target, control::SUSPEND), Ok(()));
            pause();
            report.equal("resume", hypercall::partition_control(target, control::RESUME), Ok(()));
        } else if wanted == CHANGE_PLAN {
            report.equal("plan without it", hypercall::plan_set(1), Ok(()));
            pause();
            report.equal("plan with it", hypercall::plan_set(0), Ok(()));
        }
    }
    report.equal("CNTVCT other than CNTPCT", apart, 0);
    report.equal("messages from the future", from_the_future, 0);
    report.equal("IDLE", hypercall::idle(), Ok(()));
    let [_, passed] = took(|| {
        timer::arm_virtual_in(FRAME_NS / 2);
        while !timer::virtual_fired() {
            wait_for_interrupt();
        }
    });
    report.within("its virtual timer goes by system time", passed, FRAME_NS / 2, FRAME_NS / 2 + VISIT_NS);
    report.finish()
}

fn main(partition: Partition) -> ! {
    let info = report::information(&partition);
    report::normal();
    match info.name().as_str() {
        "stopped" => stopped(info, Report::new("execution-clock")),
        _ => peer(info, Report::new("execution-clock-peer")),
    }
}
