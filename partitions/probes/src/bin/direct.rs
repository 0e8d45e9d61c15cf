//! Has direct interrupts and two CPUs. Holds what it sees against what it may see, then keeps its CPU as well
//! as a guest can, in another way after each start: `warden` must get it back all the same.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::SamplingSource;
use bulkhead_sdk::{Partition, println, registers, time};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};
use probes::gic::{self, Interface, offset};
use probes::smccc::{Conduit, function, status};
use probes::{Report, cpu, report, timer};

bulkhead_sdk::entry!(main);

const VIRTUAL_TIMER: u32 = 27;
/// A peripheral of the board that was granted: the real-time clock (SPI 2).
const CLOCK: u32 = 34;
/// Interrupts of others: the console's UART (SPI 1) and EL2's timer, maintenance and kick.
const FOREIGN: [u32; 4] = [33, 25, 26, 15];
/// Each vCPU's SGIs but EL2's.
const SGIS: u32 = 15;
const PATIENCE_NS: u64 = 10_000_000_000;
/// The greatest binary point: no interrupt of Group 1 pre-empts another.
const NO_PREEMPTION: u64 = 7;

/// SGIs that the second vCPU has taken, by bit.
static TAKEN: AtomicU32 = AtomicU32::new(0);
static SECOND_UP: AtomicU32 = AtomicU32::new(0);

/// Polls for an interrupt, IRQs masked: its value to end it with, and its INTID.
fn take() -> Option<(u32, u32)> {
    let end = time::now_ticks() + time::ticks_from_ns(PATIENCE_NS);
    while time::now_ticks() < end {
        let (value, intid) = gic::acknowledge();
        if intid < gic::SPECIAL {
            return Some((value, intid));
        }
        core::hint::spin_loop();
    }
    None
}

/// Takes an interrupt, which is to be `intid`, and ends it.
fn expect(report: &mut Report, name: &str, intid: u32) {
    let taken = take();
    report.equal(name, taken.map(|(_, intid)| intid), Some(intid));
    timer::disarm();
    timer::disarm_virtual();
    if let Some((value, _)) = taken {
        gic::end(value);
    }
}

/// The second vCPU: takes SGIs, ends them, and says so.
extern "C" fn second() -> ! {
    gic::init_second(1);
    SECOND_UP.store(1, Release);
    loop {
        let (value, intid) = gic::acknowledge();
        if intid < gic::SPECIAL {
            gic::end(value);
            TAKEN.fetch_or(1 << intid, Release);
        }
        core::hint::spin_loop();
    }
}

/// What the start before has left: nothing.
fn clean(report: &mut Report) {
    report.equal_hex("no active priority", gic::read_interface(Interface::ActivePriorities), 0);
    report.equal_hex("nothing runs", gic::running_priority(), 0xff);
    report.equal("all pre-empt that can", gic::read_interface(Interface::BinaryPoint) < NO_PREEMPTION, true);
    for intid in (0..SGIS).chain([VIRTUAL_TIMER, timer::INTID, CLOCK]) {
        let set = [offset::ISPENDR, offset::ISACTIVER].map(|register| gic::bit(0, register, intid));
        report.check(
            set == [false; 2],
            format_args!("interrupt {intid} is neither pending nor active"),
            format_args!("found {set:?}"),
        );
    }
}

/// Its own interrupts arrive, each ended once.
fn arrives(report: &mut Report) {
    for intid in (0..SGIS).chain([timer::INTID, CLOCK]) {
        gic::set_priority(0, intid, 0x80);
        gic::set_bit(0, offset::ISENABLER, intid);
    }
    timer::arm_virtual_in(1_000_000);
    expect(report, "virtual timer", VIRTUAL_TIMER);
    timer::arm_in(1_000_000);
    expect(report, "physical timer", timer::INTID);
    gic::set_bit(0, offset::ISPENDR, CLOCK);
    expect(report, "the clock's interrupt", CLOCK);
    for sgi in 0..SGIS {
        gic::send(1, sgi);
        expect(report, "SGI to itself", sgi);
    }
    gic::set_priority(0, 3, 0xc0);
    gic::set_priority(0, 4, 0x40);
    gic::send(1, 3);
    gic::send(1, 4);
    expect(report, "the more urgent SGI", 4);
    expect(report, "the less urgent SGI", 3);
    gic::send(1, 3);
    gic::set_mask(0x80);
    report.equal(
        "the mask keeps it",
        gic::highest_pending() < gic::SPECIAL && gic::acknowledge().1 == 3,
        false,
    );
    gic::set_mask(0xf0);
    expect(report, "the mask lets it", 3);
}

/// The other vCPU gets every SGI, this one none of them; SGI 15 is EL2's.
fn between_vcpus(report: &mut Report) {
    let (entry, context) = cpu::prepare(second);
    report.equal("CPU_ON", status(Conduit::Hvc, function::CPU_ON, [1, entry, context]), 0);
    let end = time::now_ticks() + time::ticks_from_ns(PATIENCE_NS);
    while SECOND_UP.load(Acquire) == 0 && time::now_ticks() < end {
        core::hint::spin_loop();
    }
    for sgi in 0..=SGIS {
        gic::send(2, sgi);
    }
    while TAKEN.load(Acquire) != 0x7fff && time::now_ticks() < end {
        core::hint::spin_loop();
    }
    report.equal_hex("SGIs at the other vCPU", TAKEN.load(Acquire), 0x7fff);
    report.equal("none here", gic::highest_pending(), 1023);
}

/// Interrupts of others can neither be seen nor masked.
fn foreign(report: &mut Report) {
    for intid in FOREIGN {
        for register in [offset::ISENABLER, offset::ISPENDR, offset::ISACTIVER, offset::ICENABLER] {
            gic::set_bit(0, register, intid);
        }
    }
    report.equal("nothing of others is pending", gic::highest_pending(), 1023);
    report.equal("nor taken", gic::acknowledge().1, 1023);
    for value in [0u64, 0xff, 1 << 1] {
        gic::write_interface(Interface::Control, value);
        report.equal_hex("EOImode and CBPR stay 0", gic::read_interface(Interface::Control) & 3, 0);
    }
    gic::write_interface(Interface::Mask, 0);
    report.equal_hex("the mask reads as written", gic::read_interface(Interface::Mask), 0);
    gic::write_interface(Interface::Mask, 0xf0);
    report.equal_hex("the mask reads as written", gic::read_interface(Interface::Mask), 0xf0);
}

/// Takes an interrupt of the highest priority that it can give, and never ends it.
fn take_unended() {
    gic::set_priority(0, 1, 0);
    gic::send(1, 1);
    take();
}

/// Ways to keep a CPU; interrupts are masked all the while.
const ATTACKS: [(&str, fn()); 10] = [
    ("masked", || {}),
    ("unended", take_unended),
    ("no-preemption", || {
        gic::write_interface(Interface::BinaryPoint, NO_PREEMPTION);
        take_unended();
    }),
    ("mask-0", || gic::set_mask(0)),
    ("priority-0", || {
        for intid in 0..32 {
            gic::set_priority(0, intid, 0);
        }
        timer::arm_virtual_in(0);
        take();
    }),
    ("asleep", || {
        gic::set_mask(0);
        loop {
            registers::wait_for_interrupt();
        }
    }),
    ("forged", || gic::write_interface(Interface::ActivePriorities, 1)),
    ("forged and off", || {
        gic::write_interface(Interface::ActivePriorities, 1);
        status(Conduit::Hvc, function::CPU_OFF, [0; 3]);
    }),
    // The warden suspends and resumes it before the restart.
    ("forged and suspended", || gic::write_interface(Interface::ActivePriorities, 1)),
    ("storm", || {
        loop {
            for sgi in 0..=SGIS {
                gic::send(3, sgi);
            }
        }
    }),
];

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let info = partition.info.expect("direct needs the hypervisor");
    let start = info.start_count();
    let mut report = Report::new("direct");
    clean(&mut report);
    arrives(&mut report);
    between_vcpus(&mut report);
    foreign(&mut report);
    let mut port = SamplingSource::open(Some(info), "attack").expect("port attack");
    report.end();
    let Some((name, attack)) = ATTACKS.get(start as usize - 1) else { report::sleep() };
    println!("direct start {start} attacks: {name}");
    report::normal();
    if let Err(error) = port.write(&u64::from(start).to_le_bytes()) {
        println!("FAIL port: {error:?}");
    }
    attack();
    loop {
        core::hint::spin_loop();
    }
}
