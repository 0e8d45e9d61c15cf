//! Has authority over `lives` and reads the health log: waits for its self-inflicted restarts, holds
//! the records against them, then suspends, resumes, halts and restarts it, and is refused what its
//! configuration does not grant. Ends with restarts in a row, for as long as it runs.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::health::action;
use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::{event, start_condition, state};
use bulkhead_sdk::health::HealthLog;
use bulkhead_sdk::hypercall::{Error, PartitionStatus, partition_control, partition_status};
use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, interrupt, println, time};
use core::sync::atomic::{AtomicU32, Ordering};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Event interrupts taken.
static TOLD: AtomicU32 = AtomicU32::new(0);

fn told(_: u32) {
    TOLD.fetch_add(1, Ordering::Relaxed);
}

/// Waits until the target is as `wanted`, a minute at most; its last status.
fn wait(target: u64, wanted: impl Fn(&PartitionStatus) -> bool) -> Result<PartitionStatus, Error> {
    let end = time::now_ticks() + time::ticks_from_ns(60_000_000_000);
    loop {
        let status = partition_status(target)?;
        if wanted(&status) || time::now_ticks() > end {
            return Ok(status);
        }
        core::hint::spin_loop();
    }
}

/// Holds the health log against what `lives` does in its first five starts.
fn records(report: &mut Report, info: &Info) {
    let Some(log) = HealthLog::open(info) else {
        return report.check(false, format_args!("health log"), format_args!("no right to read it"));
    };
    let expected = [
        ("init-timeout", event::INIT_TIMEOUT, action::COLD_RESTART, None),
        ("watchdog", event::WATCHDOG, action::WARM_RESTART, None),
        ("deadline miss", event::DEADLINE_MISS, action::NOTIFY, Some(0x1234_5678_9abc)),
    ];
    for (name, event, action, code) in expected {
        let is_it = |r: &bulkhead_sdk::health::Record| {
            u32::from(r.event) == event
                && u32::from(r.action) == action
                && code.is_none_or(|code| code == r.code)
                && info.partition_name(u32::from(r.partition)).is_some_and(|n| n.as_str() == "lives")
        };
        let found = log.records().filter(is_it).count();
        report.equal(name, found, 1);
    }
    let all = log.records();
    let newest = all.max_by_key(|record| record.ticks);
    report.check(
        newest.is_some_and(|r| r.ticks <= time::now_ticks()),
        format_args!("times"),
        format_args!("{newest:?}"),
    );
}

/// Every operation that the configuration grants, and refusals of those it does not.
fn rule(report: &mut Report, target: u64, other: u64) {
    let running = |s: &PartitionStatus| s.state == state::RUNNING;
    let starts = partition_status(target).map_or(0, |status| status.starts);
    report.equal("resume what runs", partition_control(target, control::RESUME), Err(Error::NoAction));
    report.equal("suspend", partition_control(target, control::SUSPEND), Ok(()));
    report.equal("suspended", partition_status(target).map(|s| s.state), Ok(state::SUSPENDED));
    report.equal("suspend again", partition_control(target, control::SUSPEND), Err(Error::NoAction));
    report.equal("resume", partition_control(target, control::RESUME), Ok(()));
    report.equal(
        "runs on",
        partition_status(target).map(|s| (s.state, s.starts)),
        Ok((state::RUNNING, starts)),
    );
    report.equal("ask to shut down", partition_control(target, control::SHUTDOWN), Ok(()));
    report.equal("halt", partition_control(target, control::HALT), Ok(()));
    report.equal("halted", partition_status(target).map(|s| s.state), Ok(state::HALTED));
    report.equal("warm restart", partition_control(target, control::WARM_RESTART), Ok(()));
    let status = wait(target, running).map(|s| (s.starts, s.condition));
    report.equal("started anew", status, Ok((starts + 1, start_condition::AUTHORITY)));
    let refused = partition_control(other, control::WARM_RESTART);
    report.equal("warm restart without a region", refused, Err(Error::NoPersistentRegion));
    report.equal("halt without the right", partition_control(other, control::HALT), Err(Error::Denied));
    report.equal("no such target", partition_control(99, control::HALT), Err(Error::InvalidParameter));
    report.equal("no such operation", partition_control(target, 77), Err(Error::InvalidParameter));
}

/// The start that `patient` says it is in, once its port has the epoch `start`; a minute at most.
fn pulse(port: &mut SamplingDestination, start: u32) -> Option<u32> {
    let end = time::now_ticks() + time::ticks_from_ns(60_000_000_000);
    while time::now_ticks() < end {
        let mut message = [0; 8];
        match port.read(&mut message) {
            Ok(sample) if sample.epoch == start => return u32::try_from(u64::from_le_bytes(message)).ok(),
            _ => core::hint::spin_loop(),
        }
    }
    None
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("governor needs the hypervisor");
    let mut report = Report::new("governor");
    let mut port = SamplingDestination::open(Some(info), "pulse").expect("port pulse");
    let enabled = info.event_intid().map(|intid| interrupt::enable(intid, 0x90, told));
    report.check(matches!(enabled, Some(Ok(()))), format_args!("event interrupt"), format_args!("none"));
    report::normal();
    let index = |name| info.authority(name).map_or(u64::MAX >> 1, |(index, _)| index);
    let (lives, patient) = (index("lives"), index("patient"));
    let sixth = wait(lives, |s| s.starts == 6 && s.state == state::RUNNING).map(|s| s.starts);
    report.equal("starts of lives", sixth, Ok(6));
    report.equal("told of the deadline miss", TOLD.load(Ordering::Relaxed), 1);
    records(&mut report, &info);
    rule(&mut report, lives, patient);
    report.end();
    let mut failed = 0;
    for round in 1u32.. {
        let before = partition_status(patient).map_or(0, |s| s.starts);
        let done = partition_control(patient, control::RESTART);
        let after = wait(patient, |s| s.starts == before + 1 && s.state == state::RUNNING);
        let beat = pulse(&mut port, before + 1);
        if done.is_err() || after.is_ok_and(|s| s.starts != before + 1) || beat != Some(before + 1) {
            failed += 1;
            println!("FAIL restart {round}: {done:?}, then {after:?}, message of start {beat:?}");
        }
        if round % 50 == 0 {
            println!("governor restarts {round} failed {failed}");
        }
    }
    report::sleep()
}
