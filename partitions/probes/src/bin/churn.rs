//! Chance at the interrupt controller: one vCPU, or two, write its registers at random, acknowledge, end, deactivate, nest and
//! forget, with 48 interrupts of their own. Afterwards each interrupt works as ever. What of it kept EL2 longest
//! is measured by `cargo xtask bench --only longest`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, println, registers};
use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};
use probes::gic::{self, offset};
use probes::random::Random;
use probes::smccc::{Conduit, function, status};
use probes::{Report, cpu, fault};

bulkhead_sdk::entry!(main);

/// Rounds of a turn, each with a mood of its own.
const ROUNDS: u32 = 25;
/// Turns of each vCPU, the other one waiting; then both at once.
const TURNS: u32 = 4;
/// Steps of a round.
const STEPS: u32 = 200;
/// SPIs of the devices that were granted: INTID 48 to 79.
const SPIS: core::ops::Range<u32> = 48..80;
const SGIS: core::ops::Range<u32> = 0..16;
const WORDS: u32 = 3;
const PATIENCE_NS: u64 = 60_000_000_000;
/// Of CPU_ON where a partition has no such vCPU (PSCI, DEN0022).
const INVALID_PARAMETERS: i64 = -2;
/// Both at once; the second is through; the first is, too; nothing is left at the second.
const BOTH: u32 = 2 * TURNS;
const SECOND_THROUGH: u32 = BOTH + 1;
const FIRST_QUIET: u32 = BOTH + 2;
const SECOND_QUIET: u32 = BOTH + 3;
/// GICD_CTLR: one group on; of a GICv3 group 1, with affinity routing.
const ON: [u32; 2] = [1, 1 << 1 | 1 << 4];

/// How far the two are: how many turns are over, one of the first vCPU, then one of the second; from [`BOTH`] on as named.
static STAGE: AtomicU32 = AtomicU32::new(0);

fn on() -> u32 {
    ON[usize::from(gic::is_v3())]
}

/// Bits of a word: one, some, or all.
fn bits(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => 1 << random.below(32),
        1 => u32::MAX,
        2 => (random.draw() & random.draw()) as u32,
        _ => random.draw() as u32,
    }
}

fn set_group(vcpu: u64, word: u32, value: u32) {
    gic::set_word(vcpu, offset::IGROUPR, word, value);
}

/// All on, all priorities alike or in a row.
fn prepare(vcpu: u64, random: &mut Random) {
    let in_a_row = random.below(2) as u32;
    for word in 0..WORDS {
        set_group(vcpu, word, if gic::is_v3() { u32::MAX } else { 0 });
        gic::set_word(vcpu, offset::ISENABLER, word, u32::MAX);
    }
    for intid in SGIS.chain(SPIS) {
        gic::set_priority(vcpu, intid, (0x80 - in_a_row * intid) as u8);
    }
    gic::set_control(on());
    gic::set_mask(0xff);
}

/// A step by chance; `open` holds what was acknowledged and not ended.
fn step(vcpu: u64, random: &mut Random, open: &mut [u32; 64], depth: &mut usize, mood: u64) {
    const REGISTERS: [u64; 6] = [
        offset::ISPENDR,
        offset::ISACTIVER,
        offset::ISENABLER,
        offset::ICPENDR,
        offset::ICACTIVER,
        offset::ICENABLER,
    ];
    let word = random.below(WORDS.into()) as u32;
    match random.below(16) {
        // A mood: how many of the registers are written.
        0..4 => {
            let register = REGISTERS[random.below(mood) as usize];
            gic::set_word(vcpu, register, word, bits(random));
        }
        4..8 => {
            let (value, intid) = gic::acknowledge();
            if intid < gic::SPECIAL && *depth < open.len() {
                open[*depth] = value;
                *depth += 1;
            }
        }
        8..11 if *depth > 0 => {
            *depth -= 1;
            gic::end(open[*depth]);
        }
        11 => gic::send(random.below(4) as u32, random.below(16) as u32),
        12 => gic::deactivate(random.below(96) as u32),
        13 => gic::set_priority(vcpu, random.below(96) as u32, random.draw() as u8),
        14 if mood > 2 => rarely(vcpu, random, word),
        _ => drop(gic::bit(vcpu, REGISTERS[random.below(6) as usize], 32 * word)),
    }
}

/// What a kernel does once, if at all.
fn rarely(vcpu: u64, random: &mut Random, word: u32) {
    match random.below(6) {
        0 => gic::set_split_end(random.below(2) == 0),
        1 => gic::set_mask(random.draw() as u8),
        2 => set_group(vcpu, word, bits(random)),
        3 => gic::set_control(random.below(4) as u32 | on() & 1 << 4),
        4 if word > 0 => gic::route_word(word, random.below(2)),
        _ => gic::end(random.below(96) as u32),
    }
}

/// A turn. It leaves things as they come, but every eighth round.
fn turn(vcpu: u64, random: &mut Random) {
    let (mut open, mut depth) = ([0; 64], 0);
    for round in 0..ROUNDS {
        // From nothing but pending and active to all registers; the end in one step or in two.
        let mood = [1, 2, 3, 6][random.below(4) as usize];
        prepare(vcpu, random);
        gic::set_split_end(round % 2 == 0);
        for _ in 0..STEPS {
            step(vcpu, random, &mut open, &mut depth, mood);
        }
        if round % 8 == 7 {
            quiet(vcpu);
            depth = 0;
        }
    }
}

/// All turns of a vCPU, then one beside the other's.
fn churn(vcpu: u32, seed: u64) {
    let mut random = Random::new(seed);
    for number in 0..TURNS {
        wait_for(2 * number + vcpu);
        turn(vcpu.into(), &mut random);
        STAGE.store(2 * number + vcpu + 1, Release);
    }
    wait_for(BOTH);
    turn(vcpu.into(), &mut random);
}

/// Nothing pending, nothing active, the running priority idle, as after a reset but on.
fn quiet(vcpu: u64) {
    gic::set_split_end(false);
    for word in 0..WORDS {
        for register in [offset::ICENABLER, offset::ICPENDR, offset::ICACTIVER] {
            gic::set_word(vcpu, register, word, u32::MAX);
        }
    }
    for _ in 0..64 {
        if gic::running_priority() < 0xf0 {
            gic::end(0);
        }
    }
    if gic::is_v3() {
        gic::write_interface(gic::Interface::ActivePriorities, 0);
    } else {
        (0..SGIS.end / 4).for_each(|word| gic::set_word(vcpu, offset::CPENDSGIR, word, u32::MAX));
    }
}

/// Takes and ends what is pending here, as what one vCPU has is out of the other's reach.
fn drain(vcpu: u64) {
    prepare(vcpu, &mut Random::new(1));
    for _ in 0..4 * SPIS.end {
        let (value, intid) = gic::acknowledge();
        if intid < gic::SPECIAL {
            gic::end(value);
        }
    }
    quiet(vcpu);
}

fn wait_for(stage: u32) -> bool {
    probes::report::wait(PATIENCE_NS, || STAGE.load(Acquire) == stage)
}

extern "C" fn second() -> ! {
    gic::init_second(1);
    churn(1, 0xb0a7);
    STAGE.store(SECOND_THROUGH, Release);
    wait_for(FIRST_QUIET);
    drain(1);
    STAGE.store(SECOND_QUIET, Release);
    loop {
        registers::wait_for_interrupt();
    }
}

/// Each interrupt arrives once and alone.
fn works(report: &mut Report) {
    let mut random = Random::new(1);
    prepare(0, &mut random);
    for word in 1..WORDS {
        gic::route_word(word, 0);
    }
    let mut wrong = 0;
    for intid in SGIS.chain(SPIS) {
        match intid {
            0..16 => gic::send(1, intid),
            _ => gic::set_bit(0, offset::ISPENDR, intid),
        }
        let (value, found) = gic::acknowledge();
        gic::end(value);
        let active = gic::bit(0, offset::ISACTIVER, intid);
        let more = gic::acknowledge().1;
        if found != intid || active || more != 1023 {
            println!("INTID {intid}: found {found}, then {active} {more}");
            wrong += 1;
        }
    }
    report.equal("each interrupt arrives once and alone", wrong, 0);
    report.within("idle running priority", gic::running_priority().into(), 0xf0, 0xff);
}

fn main(_: Partition) -> ! {
    fault::install();
    let mut report = Report::new("churn");
    registers::mask_interrupts();
    let (entry, context) = cpu::prepare(second);
    match status(Conduit::Hvc, function::CPU_ON, [1, entry, context]) {
        0 => beside_another(&mut report),
        none => {
            report.equal("no second vCPU", none, INVALID_PARAMETERS);
            let mut random = Random::new(0x5eed);
            (0..2 * TURNS).for_each(|_| turn(0, &mut random));
        }
    }
    drain(0);
    works(&mut report);
    report.finish()
}

fn beside_another(report: &mut Report) {
    churn(0, 0x5eed);
    report.equal("second vCPU through", wait_for(SECOND_THROUGH), true);
    // From here on the second one gets none.
    (1..WORDS).for_each(|word| gic::route_word(word, 0));
    drain(0);
    STAGE.store(FIRST_QUIET, Release);
    report.equal("second vCPU quiet", wait_for(SECOND_QUIET), true);
}
