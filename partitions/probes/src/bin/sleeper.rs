//! Is suspended by `waker` while interrupts are pending or about to be: each must come once after it is
//! resumed, however often it was raised meanwhile. In even rounds it has its interrupts masked and runs, in
//! odd ones it is asleep.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::SamplingSource;
use bulkhead_sdk::{Partition, interrupt, println, registers, time};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use probes::{gic, report, timer};

bulkhead_sdk::entry!(main);

/// Rounds that one line speaks of.
const ROUNDS_PER_LINE: u64 = 10;
/// When the timer is due, in nanoseconds: the waker has suspended this partition by then.
const TIMER_NS: u64 = 20_000_000;
/// A gap between two readings of the counter that only a suspension explains.
const SUSPENDED_NS: u64 = 30_000_000;
/// How long to wait for a suspension or an interrupt, in nanoseconds.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Time in which what is pending has come, in nanoseconds.
const SETTLE_NS: u64 = 5_000_000;
/// Software-generated interrupt.
const SGI: u32 = 5;
/// Priority of all handlers.
const PRIORITY: u8 = 0x90;

/// Interrupts taken: software-generated, timer, doorbell.
static TAKEN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// CNTVCT when the timer's handler ran last.
static TIMER_AT: AtomicU64 = AtomicU64::new(0);

fn on_sgi(_: u32) {
    TAKEN[0].fetch_add(1, Relaxed);
}

fn on_timer(_: u32) {
    timer::disarm();
    TIMER_AT.store(registers::counter(), Relaxed);
    TAKEN[1].fetch_add(1, Relaxed);
}

fn on_bell(_: u32) {
    TAKEN[2].fetch_add(1, Relaxed);
}

/// Runs until the counter jumps; whether it did.
fn run_until_suspended() -> bool {
    let gap = time::ticks_from_ns(SUSPENDED_NS);
    let mut last = registers::counter();
    let end = last + time::ticks_from_ns(PATIENCE_NS);
    while last < end {
        let now = registers::counter();
        if now - last > gap {
            return true;
        }
        last = now;
    }
    false
}

fn spin(ns: u64) {
    let end = registers::counter() + time::ticks_from_ns(ns);
    while registers::counter() < end {
        core::hint::spin_loop();
    }
}

struct Sleeper {
    ready: SamplingSource,
    round: u64,
    failed: u64,
}

impl Sleeper {
    fn expect(&mut self, good: bool, what: &str) {
        if !good {
            self.failed += 1;
            let taken = TAKEN.each_ref().map(|count| count.load(Relaxed));
            println!("FAIL round {}: {what}; taken {taken:?}", self.round);
        }
    }

    fn say_ready(&mut self) {
        let said = self.ready.write(&self.round.to_le_bytes()).is_ok();
        self.expect(said, "the port refuses");
    }

    /// Masked: all three become pending, one before the suspension, two in it.
    fn masked(&mut self) {
        registers::mask_interrupts();
        timer::arm_in(TIMER_NS);
        gic::send(1, SGI);
        self.say_ready();
        let suspended = run_until_suspended();
        self.expect(suspended, "it was not suspended");
        self.expect(timer::condition(), "the timer stood still");
        self.expect(gic::bit(0, gic::offset::ISPENDR, SGI), "the software-generated interrupt is lost");
        registers::unmask_interrupts();
    }

    /// Asleep: what comes in the suspension ends the sleep after it.
    fn asleep(&mut self) {
        let taken = TAKEN[1].load(Relaxed);
        gic::send(1, SGI);
        let from = registers::counter();
        timer::arm_in(TIMER_NS);
        self.say_ready();
        while TAKEN[1].load(Relaxed) == taken {
            registers::wait_for_interrupt();
        }
        let late = TIMER_AT.load(Relaxed) - from;
        self.expect(late > time::ticks_from_ns(SUSPENDED_NS), "the timer came in the suspension");
    }

    fn round(&mut self) {
        self.round += 1;
        if self.round.is_multiple_of(2) {
            self.masked()
        } else {
            self.asleep()
        }
        spin(SETTLE_NS);
        let once = TAKEN.each_ref().map(|count| count.load(Relaxed)) == [self.round; 3];
        self.expect(once, "not each interrupt came once");
        if self.round.is_multiple_of(ROUNDS_PER_LINE) {
            println!("sleeper rounds={} failed={}", self.round, self.failed);
        }
    }
}

/// Enables the three interrupts; whether it could.
fn enable(info: &Info) -> bool {
    let bell = info.port("bell").and_then(|port| port.doorbell_intid);
    let enable = |intid, handler| interrupt::enable(intid, PRIORITY, handler).is_ok();
    enable(SGI, on_sgi) && enable(timer::INTID, on_timer) && bell.is_some_and(|intid| enable(intid, on_bell))
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("sleeper needs the hypervisor");
    let ready = SamplingSource::open(Some(info), "ready").expect("port ready");
    let mut sleeper = Sleeper { ready, round: 0, failed: 0 };
    sleeper.expect(enable(&info), "an interrupt cannot be enabled");
    report::normal();
    while sleeper.failed == 0 {
        sleeper.round();
    }
    report::sleep()
}
