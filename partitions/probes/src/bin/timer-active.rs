//! Leaves a timer's interrupt active and goes away: first the physical timer, then the virtual one.
//! After each restart both must fire again.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::info::start_condition;
use bulkhead_sdk::{Partition, println, registers, time};
use probes::smccc::{Conduit, function, status};
use probes::{Report, gic, timer};

bulkhead_sdk::entry!(main);

const VIRTUAL: u32 = 27;
const PATIENCE_NS: u64 = 10_000_000_000;

/// Polls for an interrupt, IRQs masked: its value to end it with, and INTID.
fn take() -> Option<(u32, u32)> {
    let end = time::now_ticks() + time::ticks_from_ns(PATIENCE_NS);
    loop {
        let (value, intid) = gic::acknowledge();
        if intid < gic::SPECIAL {
            return Some((value, intid));
        }
        if time::now_ticks() > end {
            return None;
        }
        core::hint::spin_loop();
    }
}

/// Fires one of the timers and takes its interrupt without ending it; returns the value to end it.
fn take_active(report: &mut Report, intid: u32) -> Option<u32> {
    let arm = [timer::arm_virtual_in, timer::arm_in][usize::from(intid == timer::INTID)];
    arm(1_000_000);
    let taken = take();
    report.check(
        taken.map(|(_, intid)| intid) == Some(intid),
        format_args!("timer {intid} fires"),
        format_args!("found {taken:?}, expected INTID {intid} within 10 s"),
    );
    let (value, _) = taken?;
    report.equal("its interrupt is active", gic::bit(0, gic::offset::ISACTIVER, intid), true);
    Some(value)
}

/// Fires one of the timers `times` times, each ended properly.
fn works(report: &mut Report, intid: u32, times: u32) {
    for _ in 0..times {
        let value = take_active(report, intid);
        timer::disarm();
        timer::disarm_virtual();
        if let Some(value) = value {
            gic::end(value);
        }
        report.equal("ended", gic::bit(0, gic::offset::ISACTIVER, intid), false);
    }
}

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let mut report = Report::new("timer-active");
    let starts = partition.info.map_or(1, |info| info.start_count());
    println!("timer-active start {starts}");
    gic::set_priority(0, timer::INTID, 0x80);
    gic::set_bit(0, gic::offset::ISENABLER, timer::INTID);
    for intid in [VIRTUAL, timer::INTID] {
        report.equal("not active at start", gic::bit(0, gic::offset::ISACTIVER, intid), false);
        report.equal("not pending at start", gic::bit(0, gic::offset::ISPENDR, intid), false);
        works(&mut report, intid, 3);
    }
    if let Some(info) = partition.info {
        let expected = [start_condition::OWN_REQUEST, start_condition::POWER_ON];
        let condition = expected[usize::from(starts == 1)];
        report.equal("start condition", info.start_condition(), condition);
    }
    report.end();
    let intid = match starts {
        1 => timer::INTID,
        2 => VIRTUAL,
        _ => report.finish(),
    };
    take_active(&mut report, intid);
    println!("leaves interrupt {intid} active");
    status(Conduit::Hvc, function::SYSTEM_RESET, [0; 3]);
    println!("FAIL SYSTEM_RESET came back");
    report.finish()
}
