//! Shares its CPU and does what could make the next window late: never lets go, masks its interrupts,
//! calls, touches emulated devices, interrupts itself, sleeps.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, hypercall, println, registers};
use probes::smccc::{Conduit, function};
use probes::{gic, report, smccc, timer};

bulkhead_sdk::entry!(main);

/// How long each attack goes on, in nanoseconds.
const ATTACK_NS: u64 = 7_700_000;

fn spin() {
    core::hint::spin_loop();
}

fn call() {
    smccc::call(Conduit::Hvc, function::PSCI_VERSION, [0; 3]);
}

fn secure_call() {
    smccc::call(Conduit::Smc, function::AFFINITY_INFO, [0; 3]);
}

fn unknown_call() {
    smccc::call(Conduit::Hvc, 0xC600_FFFF, [0; 3]);
}

fn plan() {
    if hypercall::plan_set(0) == Ok(()) {
        println!("FAIL a plan set without authority");
    }
}

fn distributor() {
    gic::bit(0, gic::offset::ISENABLER, timer::INTID);
}

fn self_interrupt() {
    gic::set_bit(0, gic::offset::ISPENDR, timer::INTID);
}

fn short_timer() {
    timer::arm_in(1_000);
}

fn sleep() {
    // The timer below wakes it.
    timer::arm_in(20_000);
    registers::wait_for_interrupt();
}

fn main(_partition: Partition) -> ! {
    report::normal();
    gic::set_priority(0, timer::INTID, 0x80);
    gic::set_bit(0, gic::offset::ISENABLER, timer::INTID);
    let attacks: [fn(); 8] =
        [spin, call, secure_call, unknown_call, distributor, self_interrupt, short_timer, sleep];
    registers::mask_interrupts();
    plan();
    for round in 0usize.. {
        let attack = attacks[round % attacks.len()];
        let end = registers::counter() + bulkhead_sdk::time::ticks_from_ns(ATTACK_NS);
        while registers::counter() < end {
            attack();
        }
        timer::disarm();
        if round + 1 == attacks.len() {
            println!("attacker: every attack tried");
        }
    }
    report::sleep()
}
