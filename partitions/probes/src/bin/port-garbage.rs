//! A hostile peer: fills its own port regions with garbage, in the words where it hurts above all,
//! for ten seconds, or for fifty where the partition is called `patient` because its peer is a Linux
//! that has to boot first; then restarts itself and keeps to the protocols.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::port::{producer, sampling};
use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::{OpenError, QueuingDestination, QueuingSource, SamplingSource};
use bulkhead_sdk::{Partition, hypercall, println, time};
use probes::random::Random;
use probes::region::Region;
use probes::report;
use probes::smccc::{Conduit, function, status};

bulkhead_sdk::entry!(main);

const GARBAGE_NS: u64 = 10_000_000_000;
const PATIENT: &str = "patient";
const PATIENT_GARBAGE_NS: u64 = 50_000_000_000;
const PERIOD_NS: u64 = 1_000_000;

fn pause(ns: u64) {
    let end = time::now_ticks() + time::ticks_from_ns(ns);
    while time::now_ticks() < end {
        core::hint::spin_loop();
    }
}

/// A number that a careless reader would trip over.
fn nasty(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX - random.below(16),
        3 => 1 << random.below(64),
        4 => u64::from(u32::MAX) + random.below(4),
        5 => random.below(64),
        6 => i64::MAX as u64 - random.below(4),
        _ => random.draw(),
    }
}

/// Changes some words of a region, its header's more often than others.
fn garble(region: &Region, epoch_offset: usize, epoch: u32, random: &mut Random) {
    for _ in 0..16 {
        let header = random.below(2) == 0;
        let words = if header { 8 } else { region.bytes() / 8 };
        let offset = random.below(words.min(region.bytes() / 8)) * 8;
        region.store_u64(offset, nasty(random));
    }
    // Mostly with the right epoch, else readers would look no further.
    if random.below(8) != 0 {
        region.store_u32(epoch_offset as u64, epoch);
    }
}

fn behave_badly(info: &Info, names: &[(&str, usize)]) {
    let mut random = Random::new(0x00c0_ffee);
    let patient = info.name().as_str() == PATIENT;
    let garbage_ns = if patient { PATIENT_GARBAGE_NS } else { GARBAGE_NS };
    let start = time::now_ticks();
    let index = info.port("telemetry").map(|port| port.index);
    let mut rounds = 0u64;
    while time::now_ticks() - start < time::ticks_from_ns(garbage_ns) {
        for (name, epoch_offset) in names {
            if let Some(region) = Region::writable(info, name) {
                garble(&region, *epoch_offset, info.start_count(), &mut random);
            }
        }
        if let Some(index) = index {
            // NOT_AVAILABLE is as good as success: the peer was rung just before.
            let _ = hypercall::doorbell(index);
        }
        rounds += 1;
        pause(50_000);
    }
    println!("port-garbage: {rounds} rounds of garbage");
}

fn opened<P>(name: &str, port: Result<P, OpenError>) -> Option<P> {
    port.inspect_err(|error| println!("FAIL port {name}: {error}")).ok()
}

fn main(partition: Partition) -> ! {
    let Some(info) = partition.info else {
        println!("port-garbage needs the hypervisor");
        report::sleep()
    };
    let state = opened("state", SamplingSource::open(Some(info), "state"));
    let telemetry = opened("telemetry", QueuingSource::open(Some(info), "telemetry"));
    let setpoint = opened("setpoint", QueuingDestination::open(Some(info), "setpoint"));
    report::normal();
    println!("port-garbage start {}", info.start_count());
    if info.start_count() == 1 {
        let names = [
            ("state", sampling::EPOCH),
            ("telemetry", producer::EPOCH),
            ("setpoint", bulkhead_sdk::abi::port::consumer::EPOCH),
        ];
        behave_badly(&info, &names);
        status(Conduit::Hvc, function::SYSTEM_RESET, [0; 3]);
        println!("FAIL SYSTEM_RESET came back");
    }
    let (Some(mut state), Some(mut telemetry), Some(mut setpoint)) = (state, telemetry, setpoint) else {
        report::sleep()
    };
    println!("port-garbage behaves");
    let mut buffer = [0; 256];
    let mut setpoints = 0u64;
    for round in 0u64.. {
        let mut message = [0; 64];
        message[..8].copy_from_slice(&round.to_le_bytes());
        // A full queue is the reader's pace; its refusals are counted in the port.
        let _ = (state.write(&message), telemetry.send(b"back to normal\n"));
        if let Ok(received) = setpoint.receive(&mut buffer) {
            setpoints += 1;
            if setpoints.is_power_of_two() {
                let text = core::str::from_utf8(&buffer[..received.length]).unwrap_or("?");
                println!("port-garbage received {setpoints} set-points, {}", text.trim_end());
            }
        }
        pause(PERIOD_NS);
    }
    report::sleep()
}
