//! Shares its CPU: takes its timer's interrupt and holds it active over many windows before it ends
//! it, again and again. Whoever has the CPU in between must not notice.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, println, registers, time};
use probes::{gic, report, timer};

bulkhead_sdk::entry!(main);

/// How long each interrupt stays active, in nanoseconds of system time.
const HOLD_NS: u64 = 100_000_000;

fn wait_for_interrupt() -> (u32, u32) {
    loop {
        let taken = gic::acknowledge();
        if taken.1 < gic::SPECIAL {
            return taken;
        }
        core::hint::spin_loop();
    }
}

fn main(_partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    gic::set_priority(0, timer::INTID, 0x80);
    gic::set_bit(0, gic::offset::ISENABLER, timer::INTID);
    for round in 1u64.. {
        timer::arm_in(1_000);
        let (value, intid) = wait_for_interrupt();
        let taken = time::now_ticks();
        while time::now_ticks() - taken < time::ticks_from_ns(HOLD_NS) {
            core::hint::spin_loop();
        }
        let active = gic::bit(0, gic::offset::ISACTIVER, timer::INTID);
        timer::disarm();
        gic::end(value);
        let verdict = if active && intid == timer::INTID { "ok" } else { "WRONG" };
        if round % 10 == 0 || verdict != "ok" {
            println!("timer-hold round {round} {verdict}");
        }
    }
    report::sleep()
}
