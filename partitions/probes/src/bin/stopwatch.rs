//! Beside the RTOS: lets it run undisturbed for a while, then restarts it several times. The phases tell
//! an observer outside of the machine when; this partition sleeps in all of them.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::state;
use bulkhead_sdk::hypercall::{partition_control, partition_status};
use bulkhead_sdk::registers::counter;
use bulkhead_sdk::{Partition, println, time};
use probes::meter::{self, Wait};
use probes::report;

bulkhead_sdk::entry!(main);

/// The phase between others.
const BETWEEN: u32 = 64;
/// The phase in which nothing but the RTOS runs.
const IDLE: u32 = 83;
/// Time in which the RTOS starts and the consoles drain.
const START_NS: u64 = 3_000_000_000;
/// How long the RTOS is left alone.
const IDLE_NS: u64 = 10_000_000_000;
/// Longer than a restart takes.
const RESTART_NS: u64 = 500_000_000;

fn sleep(duration_ns: u64) {
    let deadline = counter() + time::ticks_from_ns(duration_ns);
    meter::set_deadline(deadline);
    while counter() < deadline {
        meter::await_interrupt(Wait::Asleep);
    }
}

/// Restarts the partition in a phase of its own, and holds that it runs again afterwards.
fn restart<const PHASE: u32>(target: u64) {
    let starts = partition_status(target).map(|status| status.starts);
    meter::mark::<PHASE>();
    let asked = partition_control(target, control::RESTART);
    sleep(RESTART_NS);
    meter::mark::<BETWEEN>();
    let now = partition_status(target);
    let runs = now
        .is_ok_and(|now| now.state == state::RUNNING && starts.is_ok_and(|starts| now.starts == starts + 1));
    assert!(runs && asked.is_ok(), "restart: {asked:?}, {now:?}");
}

fn main(partition: Partition) -> ! {
    meter::install();
    let info = partition.info.expect("stopwatch needs the hypervisor");
    let rtos = info.authority("rtos").map(|(index, _)| index).expect("authority over rtos");
    sleep(START_NS);
    meter::mark::<IDLE>();
    sleep(IDLE_NS);
    meter::mark::<BETWEEN>();
    let restarts = [
        restart::<84>,
        restart::<85>,
        restart::<86>,
        restart::<87>,
        restart::<88>,
        restart::<89>,
        restart::<90>,
        restart::<91>,
    ];
    for restart in restarts {
        restart(rtos);
    }
    println!("stopwatch idle-ns={IDLE_NS} restarts={}", restarts.len());
    report::sleep()
}
