//! Suspends, resumes and restarts a partition of another CPU, switches its own second vCPU there on as often as
//! it goes off, and prints: none of it may cost a third partition on that CPU a visit.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::hypercall::partition_control;
use bulkhead_sdk::{Partition, println, registers, time};
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use probes::random::Random;
use probes::smccc::{Conduit, function, status};
use probes::{cpu, report};

bulkhead_sdk::entry!(main);

const ROUNDS_PER_LINE: u64 = 500;
/// Longest pause between two rounds, in nanoseconds.
const PAUSE_NS: u64 = 500_000;
/// Every so many rounds the other partition is restarted.
const RESTART_EVERY: u64 = 200;

/// Times that the second vCPU came up.
static ARRIVALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn second() -> ! {
    ARRIVALS.store(ARRIVALS.load(Acquire) + 1, Release);
    status(Conduit::Hvc, function::CPU_OFF, [0; 3]);
    panic!("CPU_OFF came back");
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("meddler needs the hypervisor");
    let (target, _) = info.authority("patient").expect("authority over patient");
    report::normal();
    let (entry, context) = cpu::prepare(second);
    let mut random = Random::new(0xb0b);
    let mut done = [0u64; 4];
    for round in 1u64.. {
        let operation = match round {
            _ if round.is_multiple_of(RESTART_EVERY) => control::RESTART,
            _ if round.is_multiple_of(2) => control::RESUME,
            _ => control::SUSPEND,
        };
        if partition_control(target, operation).is_ok() {
            done[match operation {
                control::SUSPEND => 0,
                control::RESUME => 1,
                _ => 2,
            }] += 1;
        }
        done[3] += u64::from(status(Conduit::Hvc, function::CPU_ON, [1, entry, context]) == 0);
        if round.is_multiple_of(ROUNDS_PER_LINE) {
            let [suspended, resumed, restarted, on] = done;
            let arrivals = ARRIVALS.load(Acquire);
            println!(
                "meddler rounds={round} suspended={suspended} resumed={resumed} restarted={restarted} on={on} \
                 arrivals={arrivals}"
            );
        }
        let end = registers::counter() + time::ticks_from_ns(random.draw() % PAUSE_NS);
        while registers::counter() < end {
            core::hint::spin_loop();
        }
    }
    report::sleep()
}
