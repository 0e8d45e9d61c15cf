//! Measures what events cost a guest, in ticks of its counter: alone on its CPU, with a second vCPU
//! for SGIs and a peer for doorbells, all others asleep. Runs bare at EL1 too, where what needs a
//! hypervisor is left out: the floor.
//!
//! Prints `row NAME phase=N min=.. median=.. max=.. values=VALUE*TIMES,..` for each row, and `bench end`. The phases tell
//! an observer outside of the machine which row an event belongs to.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod ports;
mod rows;

use bulkhead_sdk::registers::{counter, wait_for_interrupt};
use bulkhead_sdk::{Partition, hypercall, println};
use core::fmt::{self, Display, Formatter};
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use probes::meter::{self, Wait};
use probes::smccc::{Conduit, function, status};
use probes::{cpu, gic};

bulkhead_sdk::entry!(main);

/// Measurements of each row.
const SAMPLES: usize = 32;
/// The phase between rows.
const BETWEEN: u32 = 64;
/// Time in which everything that an event has set off comes to rest, in ticks.
const REST_TICKS: u64 = 200_000;
/// Time in which the consoles drain what the start printed, in ticks of 1 GHz.
const DRAIN_TICKS: u64 = 500_000_000;

/// When the second vCPU took its last SGI.
static RECEIVED: AtomicU64 = AtomicU64::new(0);
static SECOND_UP: AtomicU64 = AtomicU64::new(0);

/// Measurements of one row, in ticks.
pub struct Row {
    name: &'static str,
    phase: u32,
    ticks: [u64; SAMPLES],
}

impl Row {
    /// Measures an event `SAMPLES` times, after once to warm up.
    fn take<const PHASE: u32>(name: &'static str, mut event: impl FnMut() -> u64) -> Self {
        let mut row = Self { name, phase: PHASE, ticks: [0; SAMPLES] };
        event();
        rest();
        for ticks in &mut row.ticks {
            meter::mark::<PHASE>();
            *ticks = event();
            meter::mark::<BETWEEN>();
        }
        row
    }

    fn print(&mut self) {
        self.ticks.sort_unstable();
        println!(
            "row {} phase={} min={} median={} max={} values={}",
            self.name,
            self.phase,
            self.ticks[0],
            self.ticks[SAMPLES / 2],
            self.ticks[SAMPLES - 1],
            Values(&self.ticks)
        );
    }
}

/// Sorted measurements as `VALUE*TIMES`, divided by commas.
struct Values<'a>(&'a [u64]);

impl Display for Values<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (n, equal) in self.0.chunk_by(|a, b| a == b).enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}*{}", equal[0], equal.len())?;
        }
        Ok(())
    }
}

/// Sleeps until everything has come to rest.
pub fn rest() {
    sleep_until(counter() + REST_TICKS);
}

fn sleep_until(ticks: u64) {
    meter::set_deadline(ticks);
    while counter() < ticks {
        meter::await_interrupt(Wait::Asleep);
    }
}

/// The second vCPU: notes when an SGI came, and sleeps.
extern "C" fn second() -> ! {
    gic::init_second(1);
    meter::install();
    SECOND_UP.store(1, Release);
    loop {
        let stamp = meter::await_interrupt(Wait::Asleep);
        if stamp.intid() < gic::SPECIAL {
            RECEIVED.store(stamp.ticks, Release);
        }
    }
}

fn start_second() {
    let (entry, context) = cpu::prepare(second);
    let code = status(Conduit::Hvc, function::CPU_ON, [1, entry, context]);
    assert!(code == 0, "CPU_ON: {code}");
    while SECOND_UP.load(Acquire) == 0 {
        rest();
    }
}

/// Sends an SGI and waits until it has come; returns the time it took.
fn sgi() -> u64 {
    let sent = meter::send_sgi();
    rest();
    RECEIVED.load(Acquire).saturating_sub(sent)
}

fn main(partition: Partition) -> ! {
    meter::install();
    start_second();
    sleep_until(counter() + DRAIN_TICKS);
    let hosted = hypercall::present();
    let mut ends = partition.info.and_then(ports::Ends::open);
    meter::mark::<BETWEEN>();
    let mut common = rows::common();
    let mut hosted_rows = hosted.then(rows::hosted);
    let mut port_rows = ends.as_mut().map(ports::Ends::measure);
    println!("bench GICv{} {}", if gic::is_v3() { 3 } else { 2 }, if hosted { "hosted" } else { "bare" });
    common.iter_mut().for_each(Row::print);
    hosted_rows.iter_mut().flatten().for_each(Row::print);
    port_rows.iter_mut().flatten().for_each(Row::print);
    println!("bench end");
    loop {
        wait_for_interrupt();
    }
}
