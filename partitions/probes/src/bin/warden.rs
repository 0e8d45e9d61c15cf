//! Takes `direct` back from each of its attacks, by restart, then halts it and starts it once more.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::state;
use bulkhead_sdk::hypercall::{PartitionStatus, partition_control, partition_status};
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, println, time};
use probes::{Report, report};

bulkhead_sdk::entry!(main);

/// Attacks of `direct`.
const ATTACKS: u64 = 10;
/// The attack on which it is suspended and resumed first.
const SUSPENDED: u64 = 9;
const PATIENCE_NS: u64 = 30_000_000_000;
/// Between an attack's announcement and the restart.
const LEAD_NS: u64 = 50_000_000;

/// Whether `condition` comes true in time.
fn wait(condition: impl FnMut() -> bool) -> bool {
    report::wait(PATIENCE_NS, condition)
}

fn is(target: u64, wanted: impl Fn(&PartitionStatus) -> bool) -> bool {
    partition_status(target).is_ok_and(|status| wanted(&status))
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("warden needs the hypervisor");
    let mut report = Report::new("warden");
    let mut port = SamplingDestination::open(Some(info), "attack").expect("port attack");
    let target = info.authority("direct").map_or(u64::MAX >> 1, |(index, _)| index);
    report::normal();
    for attack in 1..=ATTACKS {
        let mut message = [0; 8];
        let begun = wait(|| port.read(&mut message).is_ok_and(|_| u64::from_le_bytes(message) == attack));
        report.equal("attack begun", begun, true);
        let lead = time::now_ticks() + time::ticks_from_ns(LEAD_NS);
        wait(|| time::now_ticks() > lead);
        if attack == SUSPENDED {
            report.equal("suspend", partition_control(target, control::SUSPEND), Ok(()));
            report.equal("suspended", wait(|| is(target, |s| s.state == state::SUSPENDED)), true);
            report.equal("resume", partition_control(target, control::RESUME), Ok(()));
            report.equal("resumed", wait(|| is(target, |s| s.state == state::RUNNING)), true);
        }
        report.equal("restart", partition_control(target, control::RESTART), Ok(()));
        let asked = time::now_ticks();
        let left = wait(|| is(target, |s| s.state != state::RESTARTING));
        println!("warden attack {attack}: left after {} ns", time::ns_from_ticks(time::now_ticks() - asked));
        report.equal("its CPUs are taken back", left, true);
        let again = wait(|| is(target, |s| s.state == state::RUNNING && u64::from(s.starts) == attack + 1));
        report.equal("runs anew", again, true);
    }
    report.equal("halt", partition_control(target, control::HALT), Ok(()));
    report.equal("halted", wait(|| is(target, |s| s.state == state::HALTED)), true);
    report.equal("started again", partition_control(target, control::RESTART), Ok(()));
    let again = wait(|| is(target, |s| s.state == state::RUNNING && u64::from(s.starts) == ATTACKS + 2));
    report.equal("runs anew", again, true);
    report.finish()
}
