//! Conformance of PSCI 1.1 (Arm DEN0022) by HVC and by SMC, on two vCPUs. Resets itself twice and
//! switches itself off at the end: `SYSTEM_RESET` and `SYSTEM_OFF` act on the partition alone.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::info::start_condition;
use bulkhead_sdk::{Partition, println};
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use probes::smccc::{Conduit, NOT_SUPPORTED, function, status};
use probes::{Report, canary, cpu, fault, report, timer};

bulkhead_sdk::entry!(main);

const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INVALID_ADDRESS: i64 = -9;
const ON: i64 = 0;
const OFF: i64 = 1;
/// How long the other CPU may take, in nanoseconds.
const PATIENCE_NS: u64 = 10_000_000_000;
/// MPIDR of the second vCPU.
const SECOND: u64 = 1;

/// Times that the second vCPU came up.
static ARRIVALS: AtomicU64 = AtomicU64::new(0);
/// The second vCPU leaves when this reaches its number of arrivals.
static LEAVE: AtomicU64 = AtomicU64::new(0);
/// In .data, so that only a reload of the payload brings it back.
static LOADED: AtomicU64 = AtomicU64::new(0x600d);

extern "C" fn second() -> ! {
    let arrivals = ARRIVALS.load(Relaxed) + 1;
    ARRIVALS.store(arrivals, Release);
    while LEAVE.load(Acquire) < arrivals {
        core::hint::spin_loop();
    }
    let conduit = Conduit::ALL[arrivals as usize % 2];
    status(conduit, function::CPU_OFF, [0; 3]);
    panic!("CPU_OFF came back");
}

/// Waits until `condition` holds; whether it did in time.
fn wait(condition: impl Fn() -> bool) -> bool {
    report::wait(PATIENCE_NS, condition)
}

fn discovery(report: &mut Report, conduit: Conduit) {
    let ask = |function, argument| status(conduit, function, [argument, 0, 0]);
    report.equal_hex("PSCI_VERSION is 1.1", ask(function::PSCI_VERSION, 0), 0x1_0001);
    for served in [
        function::PSCI_VERSION,
        function::CPU_SUSPEND,
        function::CPU_OFF,
        function::CPU_ON,
        function::CPU_ON_32,
        function::AFFINITY_INFO,
        function::AFFINITY_INFO_32,
        function::MIGRATE_INFO_TYPE,
        function::SYSTEM_OFF,
        function::SYSTEM_RESET,
        function::PSCI_FEATURES,
        function::SMCCC_VERSION,
    ] {
        let answer = ask(function::PSCI_FEATURES, served);
        report.check(
            answer == 0,
            format_args!("PSCI_FEATURES of {served:#x} by {conduit:?}"),
            format_args!("found {answer}, expected 0"),
        );
    }
    for absent in [function::MIGRATE, 0x8400_001f, 0xc600_0000, 0x4200] {
        let answer = ask(function::PSCI_FEATURES, absent);
        report.check(
            answer == NOT_SUPPORTED,
            format_args!("PSCI_FEATURES denies {absent:#x} by {conduit:?}"),
            format_args!("found {answer}, expected -1"),
        );
    }
    report.equal("MIGRATE_INFO_TYPE: no trusted OS", ask(function::MIGRATE_INFO_TYPE, 0), 2);
    report.equal("MIGRATE", ask(function::MIGRATE, 0), NOT_SUPPORTED);
    report.equal("an unknown PSCI number", ask(0x8400_001f, 0), NOT_SUPPORTED);
    report.equal_hex("SMCCC_VERSION", ask(function::SMCCC_VERSION, 0), 0x1_0002);
    let features = ask(function::SMCCC_ARCH_FEATURES, function::SMCCC_ARCH_FEATURES);
    report.equal("SMCCC_ARCH_FEATURES of itself", features, 0);
    report.equal("x4 to x30 are kept", canary::call_keeps_registers(conduit, function::PSCI_VERSION), true);
    // The upper half of x0 is ignored (SMCCC 2.7).
    report.equal_hex(
        "PSCI_VERSION with a dirty upper half",
        ask(function::PSCI_VERSION | 0xdead_beef << 32, 0),
        0x1_0001,
    );
}

fn refusals(report: &mut Report, conduit: Conduit) {
    let (entry, context) = cpu::prepare(second);
    let on = |target, address| status(conduit, function::CPU_ON, [target, address, context]);
    report.equal("CPU_ON of oneself", on(0, entry), ALREADY_ON);
    report.equal("CPU_ON beyond the last vCPU", on(2, entry), INVALID_PARAMETERS);
    report.equal("CPU_ON with Aff1", on(0x100, entry), INVALID_PARAMETERS);
    report.equal("CPU_ON with Aff3", on(1 << 32, entry), INVALID_PARAMETERS);
    report.equal("CPU_ON with a reserved bit", on(1 << 31 | SECOND, entry), INVALID_PARAMETERS);
    report.equal("CPU_ON at a foreign address", on(SECOND, 0x5800_0000), INVALID_ADDRESS);
    report.equal("CPU_ON at a device", on(SECOND, 0x0800_0000), INVALID_ADDRESS);
    report.equal("CPU_ON at a misaligned address", on(SECOND, entry + 2), INVALID_ADDRESS);
    let info = |target, level| status(conduit, function::AFFINITY_INFO, [target, level, 0]);
    report.equal("AFFINITY_INFO of oneself", info(0, 0), ON);
    report.equal("AFFINITY_INFO of the other", info(SECOND, 0), OFF);
    report.equal("AFFINITY_INFO beyond the last", info(2, 0), INVALID_PARAMETERS);
    report.equal("AFFINITY_INFO of level 4", info(0, 4), INVALID_PARAMETERS);
    let suspend = status(conduit, function::CPU_SUSPEND, [1 << 16, entry, context]);
    report.equal("CPU_SUSPEND to power-down", suspend, INVALID_PARAMETERS);
    timer::arm_in(2_000_000);
    report.equal("CPU_SUSPEND to standby", status(conduit, function::CPU_SUSPEND, [0; 3]), 0);
    report.equal("standby ends with the timer", wait(timer::condition), true);
    timer::disarm();
}

/// On and off once; `cycle` counts from 1.
fn cycle(report: &mut Report, conduit: Conduit, on: u64, info: u64, cycle: u64) {
    let (entry, context) = cpu::prepare(second);
    let turn_on = || status(conduit, on, [SECOND, entry, context]);
    let state = || status(conduit, info, [SECOND, 0, 0]);
    report.equal("off before CPU_ON", state(), OFF);
    report.equal("CPU_ON", turn_on(), 0);
    let again = turn_on();
    report.check(
        again == ALREADY_ON || again == ON_PENDING,
        format_args!("CPU_ON again"),
        format_args!("found {again}, expected -4 or -5"),
    );
    report.equal("it arrives", wait(|| ARRIVALS.load(Acquire) == cycle), true);
    report.equal("on after its arrival", state(), ON);
    report.equal("CPU_ON while on", turn_on(), ALREADY_ON);
    LEAVE.store(cycle, Release);
    report.equal("off after CPU_OFF", wait(|| state() == OFF), true);
}

fn first_start(report: &mut Report) {
    let mut cycles = 0;
    for conduit in Conduit::ALL {
        println!("by {conduit:?}");
        discovery(report, conduit);
        refusals(report, conduit);
        for (on, info) in
            [(function::CPU_ON, function::AFFINITY_INFO), (function::CPU_ON_32, function::AFFINITY_INFO_32)]
        {
            cycles += 1;
            cycle(report, conduit, on, info, cycles);
        }
    }
    // Left on over the reset.
    let (entry, context) = cpu::prepare(second);
    let on = status(Conduit::Hvc, function::CPU_ON, [SECOND, entry, context]);
    report.equal("CPU_ON before the reset", on, 0);
    LOADED.store(0xbad, Relaxed);
}

fn later_start(report: &mut Report, condition: u32) {
    report.equal("start condition", condition, start_condition::OWN_REQUEST);
    report.equal_hex("the payload was loaded anew", LOADED.load(Relaxed), 0x600d);
    report.equal("zeroed data is zero", ARRIVALS.load(Relaxed), 0);
    let state = status(Conduit::Hvc, function::AFFINITY_INFO, [SECOND, 0, 0]);
    report.equal("the other vCPU is off", state, OFF);
    LOADED.store(0xbad, Relaxed);
}

fn main(partition: Partition) -> ! {
    fault::install();
    let mut report = Report::new("psci");
    let Some(info) = partition.info else {
        println!("psci needs the hypervisor");
        report.finish()
    };
    report::normal();
    println!("psci start {}", info.start_count());
    match info.start_count() {
        1 => first_start(&mut report),
        _ => later_start(&mut report, info.start_condition()),
    }
    report.end();
    match info.start_count() {
        1 => status(Conduit::Hvc, function::SYSTEM_RESET, [0; 3]),
        2 => status(Conduit::Smc, function::SYSTEM_RESET, [0; 3]),
        _ => status(Conduit::Smc, function::SYSTEM_OFF, [0; 3]),
    };
    println!("FAIL the partition's own reset or end came back");
    report.finish()
}
