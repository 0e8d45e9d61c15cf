//! Rows that need no peer.

use super::{Row, sgi};
use bulkhead_sdk::abi::hypercall;
use bulkhead_sdk::registers::counter;
use probes::gic::{self, offset};
use probes::meter::{self, Wait};
use probes::smccc::function;

/// GICD_IIDR.
const IIDR: u64 = 0x008;
/// GICD_ISENABLER of the first SPIs.
const ISENABLER1: u64 = offset::ISENABLER + 4;
/// From setting the timer to its deadline, in ticks.
const AHEAD_TICKS: u64 = 5_000;
/// A function of a service range that nobody offers (SMCCC: trusted application calls).
const UNKNOWN_FUNCTION: u64 = 0xB000_0001;
/// Words of the copy that a sampling port of 128 bytes cannot do without.
const COPY_WORDS: usize = 16;

/// Rows that mean something with and without a hypervisor.
pub fn common() -> [Row; 6] {
    let register = |offset| move || meter::load(gic::DISTRIBUTOR + offset);
    [
        Row::take::<68>("gicd-typer", register(offset::TYPER)),
        Row::take::<69>("gicd-iidr", register(IIDR)),
        Row::take::<70>("gicd-isenabler", register(ISENABLER1)),
        Row::take::<71>("timer", timer),
        Row::take::<72>("sgi", sgi),
        Row::take::<73>("copy-128", copy()),
    ]
}

/// Rows that a hypervisor answers.
pub fn hosted() -> [Row; 4] {
    [
        Row::take::<65>("null-hypercall", || meter::hvc(hypercall::FEATURES, 0)),
        Row::take::<66>("smc-psci-version", || meter::smc(function::PSCI_VERSION)),
        Row::take::<67>("unknown-hypercall", || meter::hvc(UNKNOWN_FUNCTION, 0)),
        Row::take::<78>("hvc-psci-version", || meter::hvc(function::PSCI_VERSION, 0)),
    ]
}

/// From a deadline of the virtual timer to the first instruction of its handler.
fn timer() -> u64 {
    let deadline = counter() + AHEAD_TICKS;
    meter::set_deadline(deadline);
    meter::await_interrupt(Wait::Spinning).ticks - deadline
}

/// What it costs to copy a message between two buffers of one's own.
fn copy() -> impl FnMut() -> u64 {
    let (from, mut to) = ([0x5a5a_u64; COPY_WORDS], [0; COPY_WORDS]);
    move || {
        let before = counter();
        core::hint::black_box(&mut to).copy_from_slice(core::hint::black_box(&from));
        core::hint::black_box(&mut to);
        counter() - before
    }
}
