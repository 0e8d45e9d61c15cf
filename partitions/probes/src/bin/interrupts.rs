//! Interrupts under load: more of them pending than there are list registers, deep nesting, level
//! and edge, and storms between two vCPUs. Every one arrives, once, in the order of priorities.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, interrupt, println, registers, time};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use probes::random::Random;
use probes::smccc::{Conduit, function, status};
use probes::{Report, cpu, fault, gic, timer};

bulkhead_sdk::entry!(main);

const SGIS: u32 = 16;
/// Rounds of sixteen pending interrupts.
const ROUNDS: u32 = 200;
/// Depth of nesting, twice the list registers of QEMU's GIC.
const DEPTH: u32 = 8;
/// Exchanges between the two vCPUs.
const EXCHANGES: u64 = 5_000;
/// Interrupts of the storm that nobody waits for.
const STORM: u64 = 20_000;
/// A peripheral of the board that was granted: the real-time clock (SPI 2).
const CLOCK: u32 = 34;
const PATIENCE_NS: u64 = 20_000_000_000;

/// What an SGI's handler does.
static PHASE: AtomicU32 = AtomicU32::new(0);
const ORDER: u32 = 0;
const NEST: u32 = 1;
const EXCHANGE: u32 = 2;

/// Order of arrival in the present round.
static ARRIVED: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
static COUNT: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);
static DEPTH_NOW: AtomicU32 = AtomicU32::new(0);
static WRONG_PRIORITY: AtomicU32 = AtomicU32::new(0);
static TIMER_COUNT: AtomicU64 = AtomicU64::new(0);
static CLOCK_COUNT: AtomicU64 = AtomicU64::new(0);
static CLOCK_AGAIN: AtomicU32 = AtomicU32::new(0);
static REPLIES: AtomicU64 = AtomicU64::new(0);
/// What the second vCPU has received: exchanges, storm, end marks.
static RECEIVED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static SECOND_UP: AtomicU32 = AtomicU32::new(0);

fn nest_priority(sgi: u32) -> u8 {
    (0xe0 - 0x10 * (sgi + 1)) as u8
}

fn on_sgi(intid: u32) {
    match PHASE.load(Relaxed) {
        ORDER => {
            let place = COUNT.fetch_add(1, Relaxed) as usize;
            if let Some(slot) = ARRIVED.get(place) {
                slot.store(intid, Relaxed);
            }
        }
        NEST => nest(intid),
        _ => {
            REPLIES.fetch_add(1, Release);
        }
    }
}

/// Sends the next more urgent SGI to itself and sees it handled before it goes on.
fn nest(intid: u32) {
    let depth = DEPTH_NOW.fetch_add(1, Relaxed) + 1;
    DEEPEST.fetch_max(depth, Relaxed);
    COUNT.fetch_add(1, Relaxed);
    let check = || {
        let wrong = gic::running_priority() != u32::from(nest_priority(intid));
        WRONG_PRIORITY.fetch_add(u32::from(wrong), Relaxed);
    };
    check();
    if intid + 1 < DEPTH {
        let before = COUNT.load(Relaxed);
        gic::send(1, intid + 1);
        wait(|| COUNT.load(Relaxed) > before);
        check();
    }
    DEPTH_NOW.fetch_sub(1, Relaxed);
}

fn on_timer(_intid: u32) {
    if TIMER_COUNT.fetch_add(1, Relaxed) == 2 {
        timer::disarm();
    }
}

fn on_clock(_intid: u32) {
    CLOCK_COUNT.fetch_add(1, Relaxed);
    if CLOCK_AGAIN.swap(0, Relaxed) != 0 {
        gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
    }
}

fn wait(condition: impl Fn() -> bool) -> bool {
    probes::report::wait(PATIENCE_NS, condition)
}

/// Sleeps until `condition` holds. Masked, so that no interrupt comes between the look and the sleep, which
/// a pending one ends all the same. Spinning instead would keep an emulator's host from the other vCPU.
fn sleep_until(condition: impl Fn() -> bool) {
    loop {
        registers::mask_interrupts();
        let holds = condition();
        if !holds {
            registers::wait_for_interrupt();
        }
        registers::unmask_interrupts();
        if holds {
            return;
        }
    }
}

fn pause(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

/// Sixteen interrupts pending at once, at sixteen priorities.
fn order(report: &mut Report) {
    let mut random = Random::new(0xfeed);
    let (mut lost, mut disordered) = (0u32, 0u32);
    for _ in 0..ROUNDS {
        // A permutation: an odd multiplier modulo a power of two, shifted.
        let (factor, shift) = (random.draw() as u32 | 1, random.draw() as u32);
        let rank = |sgi: u32| (sgi.wrapping_mul(factor).wrapping_add(shift)) % SGIS;
        for sgi in 0..SGIS {
            gic::set_priority(0, sgi, (0x40 + 8 * rank(sgi)) as u8);
        }
        COUNT.store(0, Relaxed);
        registers::mask_interrupts();
        for sgi in 0..SGIS {
            gic::send(1, sgi);
        }
        registers::unmask_interrupts();
        wait(|| COUNT.load(Relaxed) >= SGIS);
        lost += COUNT.load(Relaxed).abs_diff(SGIS);
        let ranks = || ARRIVED.iter().take(16).map(|slot| rank(slot.load(Relaxed)));
        disordered += ranks().zip(0..).filter(|(found, expected)| found != expected).count() as u32;
    }
    report.equal("sixteen pending: each arrives once", lost, 0);
    report.equal("sixteen pending: in the order of priorities", disordered, 0);
}

fn nesting(report: &mut Report) {
    PHASE.store(NEST, Relaxed);
    for sgi in 0..DEPTH {
        gic::set_priority(0, sgi, nest_priority(sgi));
    }
    for _ in 0..20 {
        COUNT.store(0, Relaxed);
        gic::send(1, 0);
        wait(|| COUNT.load(Relaxed) == DEPTH && DEPTH_NOW.load(Relaxed) == 0);
    }
    report.equal("nested eight deep", DEEPEST.load(Relaxed), DEPTH);
    report.equal("running priority at each depth", WRONG_PRIORITY.load(Relaxed), 0);
    report.within("idle running priority", gic::running_priority().into(), 0xf0, 0xff);
    report.equal("nothing left pending", gic::highest_pending(), 1023);
    let active = (0..SGIS).filter(|&sgi| gic::bit(0, gic::offset::ISACTIVER, sgi)).count();
    report.equal("nothing left active", active, 0);
}

fn masks(report: &mut Report) {
    PHASE.store(ORDER, Relaxed);
    COUNT.store(0, Relaxed);
    gic::set_priority(0, 3, 0x90);
    gic::set_mask(0x80);
    gic::send(1, 3);
    pause(2_000_000);
    report.equal("held back by the priority mask", COUNT.load(Relaxed), 0);
    report.equal("pending meanwhile", gic::bit(0, gic::offset::ISPENDR, 3), true);
    gic::set_mask(0xff);
    wait(|| COUNT.load(Relaxed) == 1);
    report.equal("delivered with the mask open", COUNT.load(Relaxed), 1);
}

fn level(report: &mut Report) {
    let taken = interrupt::enable(timer::INTID, 0x60, on_timer);
    report.equal("the physical timer is free", taken, Ok(()));
    timer::arm_in(1_000_000);
    wait(|| TIMER_COUNT.load(Relaxed) >= 3);
    pause(20_000_000);
    report.equal("a level fires until it falls", TIMER_COUNT.load(Relaxed), 3);
}

fn edge(report: &mut Report) {
    let taken = interrupt::enable(CLOCK, 0x60, on_clock);
    report.equal("the clock's interrupt is free", taken, Ok(()));
    let fires = |count: u64| {
        wait(|| CLOCK_COUNT.load(Relaxed) >= count);
        pause(5_000_000);
        CLOCK_COUNT.load(Relaxed)
    };
    gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
    report.equal("pending by software fires once", fires(1), 1);
    CLOCK_AGAIN.store(1, Relaxed);
    gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
    report.equal("pending again while active fires again", fires(3), 3);
    registers::mask_interrupts();
    gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
    pause(1_000_000);
    gic::set_bit(0, gic::offset::ICPENDR, CLOCK);
    registers::unmask_interrupts();
    pause(5_000_000);
    report.equal("pending taken back does not fire", CLOCK_COUNT.load(Relaxed), 3);
    interrupt::disable(CLOCK);
    gic::set_bit(0, gic::offset::ISPENDR, CLOCK);
    pause(5_000_000);
    report.equal("disabled does not fire", CLOCK_COUNT.load(Relaxed), 3);
    gic::set_bit(0, gic::offset::ISENABLER, CLOCK);
    report.equal("enabled again, it fires", fires(4), 4);
}

/// The second vCPU: takes SGIs 8 (exchange), 9 (storm) and 10 (end mark) with interrupts masked.
extern "C" fn second() -> ! {
    gic::init_second(1);
    SECOND_UP.store(1, Release);
    loop {
        let (value, intid) = gic::acknowledge();
        if intid >= gic::SPECIAL {
            registers::wait_for_interrupt();
            continue;
        }
        if let Some(counter) = RECEIVED.get(intid.wrapping_sub(8) as usize) {
            counter.fetch_add(1, Release);
        }
        gic::end(value);
        if intid == 8 {
            gic::send(1, 5);
        }
    }
}

fn between_vcpus(report: &mut Report) {
    PHASE.store(EXCHANGE, Relaxed);
    gic::set_priority(0, 5, 0x80);
    let (entry, context) = cpu::prepare(second);
    let on = status(Conduit::Hvc, function::CPU_ON, [1, entry, context]);
    report.equal("second vCPU on", on, 0);
    report.equal("second vCPU up", wait(|| SECOND_UP.load(Acquire) == 1), true);
    let mut exchanged = 0;
    while exchanged < EXCHANGES {
        gic::send(2, 8);
        // A lost one ends the case: its deadline passes.
        sleep_until(|| REPLIES.load(Acquire) > exchanged);
        exchanged += 1;
    }
    let received = |place: usize| RECEIVED[place].load(Acquire);
    report.equal("exchanged SGIs: all answered", exchanged, EXCHANGES);
    report.equal("exchanged SGIs: sent and received", received(0), EXCHANGES);
    report.equal("exchanged SGIs: replies", REPLIES.load(Acquire), EXCHANGES);
    for _ in 0..STORM {
        gic::send(2, 9);
    }
    gic::send(2, 10);
    report.equal("the last of a storm arrives", wait(|| received(2) == 1), true);
    wait(|| received(1) > 0);
    report.within("a storm coalesces, none is made up", received(1), 1, STORM);
}

fn main(partition: Partition) -> ! {
    fault::install();
    let mut report = Report::new("interrupts");
    for sgi in 0..SGIS {
        if interrupt::enable(sgi, 0x80, on_sgi).is_err() {
            println!("FAIL SGI {sgi} has a handler already");
        }
    }
    order(&mut report);
    nesting(&mut report);
    masks(&mut report);
    level(&mut report);
    edge(&mut report);
    if partition.info.is_some() {
        between_vcpus(&mut report);
    }
    report.equal("no interrupt without a handler", interrupt::unhandled(), 0);
    report.finish()
}
