//! Stolen time (DEN0057): discoverable where the configuration offers it, in nanoseconds, what the counter
//! counted and the vCPU did not run, less what it gave back. The partition `plain` has none.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::{INFO_REGION, PV_TIME_FEATURES, PV_TIME_ST};
use bulkhead_sdk::{Partition, hypercall, info::Info, registers, time};
use probes::smccc::{Conduit, NOT_SUPPORTED, call, function, status};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Major frame of the configuration, and the window in it.
const FRAME_NS: u64 = 10_000_000;
const WINDOW_NS: u64 = 3_000_000;
/// Frames that each measurement takes.
const FRAMES: u64 = 20;
/// What an emulator's own host may add to each of them.
const HOST_NS: u64 = 5_000_000;

/// Counter, execution offset and stolen time, of one window.
fn sample(info: Info) -> (u64, u64, u64) {
    loop {
        let before = info.execution_offset_ticks();
        let found = (registers::counter(), before, info.stolen_ns());
        if info.execution_offset_ticks() == before {
            return found;
        }
    }
}

fn spin(ns: u64) {
    let end = registers::counter() + time::ticks_from_ns(ns);
    while registers::counter() < end {
        core::hint::spin_loop();
    }
}

fn answers(report: &mut Report, info: Info) {
    let [_, region, bytes, _] = call(Conduit::Hvc, INFO_REGION, [0; 3]);
    for conduit in Conduit::ALL {
        let ask = |function, first| status(conduit, function, [first, 0, 0]);
        report.equal("SMCCC_ARCH_FEATURES", ask(function::SMCCC_ARCH_FEATURES, PV_TIME_FEATURES), 0);
        report.equal("PV_TIME_FEATURES of itself", ask(PV_TIME_FEATURES, PV_TIME_FEATURES), 0);
        report.equal("PV_TIME_FEATURES of PV_TIME_ST", ask(PV_TIME_FEATURES, PV_TIME_ST), 0);
        let other = ask(PV_TIME_FEATURES, function::PSCI_VERSION);
        report.equal("PV_TIME_FEATURES of another call", other, NOT_SUPPORTED);
        let structure = ask(PV_TIME_ST, 0) as u64;
        report.within("PV_TIME_ST lies in the information region", structure, region, region + bytes - 64);
        report.equal("PV_TIME_ST is aligned to 64 bytes", structure % 64, 0);
        report.equal("PV_TIME_ST is what the library reads", info.stolen_time_ipa(), structure);
    }
    report.equal("revision and attributes", info.stolen_time_head(), 0);
}

/// Runs into its neighbour's windows: what the counter counts more than the execution time is stolen.
fn taken_away(report: &mut Report, info: Info) {
    let (counter, offset, stolen) = sample(info);
    spin(FRAMES * FRAME_NS);
    let (counter_after, offset_after, stolen_after) = sample(info);
    let ticks = offset_after - offset;
    report.equal("stolen is what did not run", stolen_after - stolen, time::ns_from_ticks(ticks));
    let elapsed = time::ns_from_ticks(counter_after - counter);
    let share = FRAMES * (FRAME_NS - WINDOW_NS);
    report.within("the neighbour's share of it", stolen_after - stolen, share - FRAME_NS, elapsed);
    report.within("elapsed", elapsed, FRAMES * FRAME_NS, FRAMES * (FRAME_NS + HOST_NS));
}

/// Gives its windows back: nothing of that is stolen, and none of it is execution time.
fn given_back(report: &mut Report, info: Info) {
    // From the start of a window on, so that nothing is taken away in between.
    report.equal("IDLE", hypercall::idle(), Ok(()));
    let (_, offset, stolen) = sample(info);
    for _ in 0..FRAMES {
        report.equal("IDLE", hypercall::idle(), Ok(()));
    }
    let (_, offset_after, stolen_after) = sample(info);
    report.equal("what is given back is not stolen", stolen_after - stolen, 0);
    let away = time::ns_from_ticks(offset_after - offset);
    report.within("it is no execution time", away, (FRAMES - 1) * FRAME_NS, FRAMES * (FRAME_NS + HOST_NS));
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("stolen needs the hypervisor");
    let mut report = Report::new("stolen");
    report::normal();
    if info.name().as_str() == "plain" {
        for conduit in Conduit::ALL {
            let ask = |function, first| status(conduit, function, [first, 0, 0]);
            let features = ask(function::SMCCC_ARCH_FEATURES, PV_TIME_FEATURES);
            report.equal("SMCCC_ARCH_FEATURES, not offered", features, NOT_SUPPORTED);
            report.equal("PV_TIME_FEATURES, not offered", ask(PV_TIME_FEATURES, PV_TIME_ST), NOT_SUPPORTED);
            report.equal("PV_TIME_ST, not offered", ask(PV_TIME_ST, 0), NOT_SUPPORTED);
        }
        report.finish()
    }
    answers(&mut report, info);
    taken_away(&mut report, info);
    given_back(&mut report, info);
    report.finish()
}
