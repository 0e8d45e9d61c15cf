//! Two vCPUs that are restarted again and again: in odd starts both run and leave interrupts pending and
//! active timers behind, in even ones the second is off. Each start looks for what the one before left.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::SamplingSource;
use bulkhead_sdk::{Partition, println};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use probes::smccc::{Conduit, function, status};
use probes::{cpu, fault, gic, report, timer};

bulkhead_sdk::entry!(main);

/// MPIDR of the second vCPU.
const SECOND: u64 = 1;
/// AFFINITY_INFO of a vCPU that is off.
const OFF: i64 = 1;
/// Software-generated interrupt that is left pending.
const SGI: u32 = 5;
/// PPI of the virtual timer.
const VIRTUAL_TIMER: u32 = 27;
/// Steps of the second vCPU.
static STEPS: AtomicU64 = AtomicU64::new(0);
/// What the second vCPU found of an earlier start.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// In .data, so that only a reload of the payload brings it back.
static LOADED: AtomicU64 = AtomicU64::new(0x600d);

/// Interrupts of the calling vCPU that are enabled, pending or active though nobody made them so in this
/// start. Enabled counts for the physical timer alone: the runtime has the virtual one, and GICv2 enables
/// software-generated interrupts always.
fn left_behind(vcpu: u64) -> u64 {
    let mut found = u64::from(gic::bit(vcpu, gic::offset::ISENABLER, timer::INTID));
    for intid in [SGI, timer::INTID, VIRTUAL_TIMER] {
        found += u64::from(gic::bit(vcpu, gic::offset::ISPENDR, intid));
        found += u64::from(gic::bit(vcpu, gic::offset::ISACTIVER, intid));
    }
    found
}

/// Leaves a software-generated interrupt and both timers pending, masked.
fn leave(vcpu: u64) {
    gic::set_bit(vcpu, gic::offset::ISENABLER, timer::INTID);
    timer::arm_in(1);
    gic::send(1 << vcpu, SGI);
}

extern "C" fn second() -> ! {
    gic::init_second(SECOND);
    LEFT.store(left_behind(SECOND), Relaxed);
    leave(SECOND);
    loop {
        STEPS.fetch_add(1, Relaxed);
    }
}

fn main(partition: Partition) -> ! {
    fault::install();
    bulkhead_sdk::registers::mask_interrupts();
    let info = partition.info.expect("pair needs the hypervisor");
    let mut pulse = SamplingSource::open(Some(info), "pulse").expect("port pulse");
    let start = info.start_count();
    let expect = |good: bool, what: &str| {
        if !good {
            println!("FAIL start {start}: {what}");
        }
    };
    expect(LOADED.swap(0xbad, Relaxed) == 0x600d, "the payload was not loaded anew");
    expect(STEPS.load(Relaxed) == 0, "zeroed data is not zero");
    expect(left_behind(0) == 0, "interrupts of the start before");
    let state = || status(Conduit::Hvc, function::AFFINITY_INFO, [SECOND, 0, 0]);
    expect(state() == OFF, "the second vCPU is on");
    report::normal();
    let both = !start.is_multiple_of(2);
    if both {
        let (entry, context) = cpu::prepare(second);
        let on = status(Conduit::Hvc, function::CPU_ON, [SECOND, entry, context]);
        expect(on == 0, "CPU_ON is refused");
    }
    leave(0);
    expect(left_behind(0) >= 2, "what is left behind cannot be seen");
    let mut own = 0u64;
    loop {
        own += 1;
        let steps = STEPS.load(Relaxed);
        expect(LEFT.load(Relaxed) == 0, "interrupts of the second vCPU's start before");
        let progress = if both { steps } else { own };
        expect(pulse.write(&progress.to_le_bytes()).is_ok(), "the port refuses");
        expect(both || (own > 3 || state() == OFF), "the second vCPU came on by itself");
    }
}
