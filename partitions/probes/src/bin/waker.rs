//! Suspends each `sleeper` when it says that it is ready, rings its doorbell twice meanwhile, and resumes it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::hypercall::control;
use bulkhead_sdk::abi::info::state;
use bulkhead_sdk::hypercall::{self, partition_control, partition_status};
use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, println, time};
use probes::{report, timer};

bulkhead_sdk::entry!(main);

/// Names of the ports with each sleeper, in the order of the authority table.
const SLEEPERS: [(&str, &str); 2] = [("ready-own", "bell-own"), ("ready-shared", "bell-shared")];
/// How long a suspension lasts, in nanoseconds: the sleeper's timer is due in it.
const SUSPENDED_NS: u64 = 50_000_000;
/// Time from one look to the next, in nanoseconds.
const NAP_NS: u64 = 500_000;

/// One sleeper, by its place in the authority table.
struct Charge {
    target: u64,
    bell: u32,
    ready: SamplingDestination,
    round: u64,
    /// CNTVCT at which it was suspended, if it is.
    since: Option<u64>,
}

impl Charge {
    fn open(info: Info, target: usize) -> Option<Self> {
        let (ready, bell) = SLEEPERS[target];
        let bell = info.port(bell)?.index;
        let ready = SamplingDestination::open(Some(info), ready).ok()?;
        Some(Self { target: target as u64, bell, ready, round: 0, since: None })
    }

    /// The round that it is ready for.
    fn ready(&mut self) -> u64 {
        let mut message = [0; 8];
        self.ready.read(&mut message).map_or(0, |_| u64::from_le_bytes(message))
    }

    fn ring(&self) {
        if let Err(error) = hypercall::doorbell(self.bell) {
            println!("FAIL doorbell of {}: {error:?}", self.target);
        }
    }

    fn suspend(&self) {
        let done = partition_control(self.target, control::SUSPEND);
        let status = partition_status(self.target).map(|status| status.state);
        if done.is_err() || status != Ok(state::SUSPENDED) {
            println!("FAIL suspension of {}: {done:?}, {status:?}", self.target);
        }
    }

    fn resume(&self) {
        if let Err(error) = partition_control(self.target, control::RESUME) {
            println!("FAIL resumption of {}: {error:?}", self.target);
        }
    }

    /// What is due at `now`.
    fn look(&mut self, now: u64) {
        let ready = self.ready() == self.round + 1;
        match self.since {
            None if ready => {
                self.round += 1;
                self.suspend();
                self.ring();
                self.since = Some(now);
            }
            Some(since) if now - since > time::ticks_from_ns(SUSPENDED_NS) => {
                self.ring();
                self.resume();
                self.since = None;
            }
            _ => {}
        }
    }
}

fn main(partition: Partition) -> ! {
    let info = partition.info.expect("waker needs the hypervisor");
    let (Some(own), Some(shared)) = (Charge::open(info, 0), Charge::open(info, 1)) else {
        println!("FAIL ports are missing");
        report::sleep()
    };
    report::normal();
    let mut charges = [own, shared];
    loop {
        for charge in &mut charges {
            charge.look(time::now_ticks());
        }
        timer::nap(NAP_NS);
    }
}
