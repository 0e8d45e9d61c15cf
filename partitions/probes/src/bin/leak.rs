//! Two of these share a CPU. Each fills every register that it can write with values of its own, loses
//! the CPU to the other, who does the same, and looks: whatever it finds must be its own.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, info::Info, println, registers};
use probes::sysreg::{self, Register};
use probes::{canary, gic, report, timer};

bulkhead_sdk::entry!(main);

/// System registers that hold what a guest puts there, by name. Those that could turn memory or
/// exceptions away from this program, and the interrupt controller's, are left out; `canary` has the general-purpose and vector ones.
const REGISTERS: [Register; 21] = [
    sysreg::TPIDR_EL0,
    sysreg::TPIDRRO_EL0,
    sysreg::TPIDR_EL1,
    sysreg::CONTEXTIDR_EL1,
    sysreg::AFSR0_EL1,
    sysreg::AFSR1_EL1,
    sysreg::FAR_EL1,
    sysreg::ESR_EL1,
    sysreg::ELR_EL1,
    sysreg::SPSR_EL1,
    sysreg::SP_EL0,
    sysreg::PAR_EL1,
    sysreg::AMAIR_EL1,
    sysreg::CSSELR_EL1,
    sysreg::CNTV_CVAL_EL0,
    sysreg::CNTKCTL_EL1,
    sysreg::FPCR,
    sysreg::FPSR,
    sysreg::MDSCR_EL1,
    sysreg::DBGBVR0_EL1,
    sysreg::DBGWVR0_EL1,
];

/// Asleep for longer than a major frame: the other has its window meanwhile.
const SLEEP_NS: u64 = 25_000_000;
/// Rounds that one line speaks of.
const ROUNDS_PER_LINE: u64 = 10;

/// Fills all registers; what stayed in each, 0 for one that is not there.
fn fill(seed: u64) -> [u64; REGISTERS.len()] {
    let mut kept = [0; REGISTERS.len()];
    for (number, register) in (0u64..).zip(&REGISTERS) {
        register.write(seed.wrapping_mul(number + 1)).ok();
    }
    for (slot, register) in kept.iter_mut().zip(&REGISTERS) {
        *slot = register.read().unwrap_or(0);
    }
    kept
}

/// Registers that hold something else than they did.
fn foreign(kept: &[u64; REGISTERS.len()]) -> u64 {
    let mut count = 0;
    for (value, register) in kept.iter().zip(&REGISTERS) {
        let found = register.read().unwrap_or(0);
        if found != *value {
            println!("FAIL {} holds {found:#x}, was {value:#x}", register.name);
            count += 1;
        }
    }
    count
}

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    canary::prepare();
    gic::set_priority(0, timer::INTID, 0x80);
    gic::set_bit(0, gic::offset::ISENABLER, timer::INTID);
    let info = report::information(&partition);
    rounds(info)
}

fn rounds(info: Info) -> ! {
    let (mut leaks, mut spoilt, mut shared) = (0, 0, 0u64);
    // Odd, and another one in each partition: no register can hold both by chance.
    let mut seed = 0x1234_5678_9abc_def1u64.wrapping_mul(u64::from(info.id()) * 2 + 1);
    for round in 1u64.. {
        seed = seed.wrapping_add(0x0123_4567_89ab_cdee);
        let [window, ..] = info.window_ticks();
        let kept = fill(seed);
        timer::arm_in(SLEEP_NS);
        spoilt += u64::from(!canary::sleep_with_registers(seed));
        leaks += foreign(&kept);
        timer::disarm();
        // The timer's interrupt has woken this CPU; it must not wake it at once the next time.
        let (value, intid) = gic::acknowledge();
        if intid < gic::SPECIAL {
            gic::end(value);
        }
        shared += u64::from(info.window_ticks()[0] != window);
        if round % ROUNDS_PER_LINE == 0 {
            let filled = kept.iter().filter(|value| **value != 0).count();
            println!("leak round {round} registers={filled} shared={shared} leaks={leaks} spoilt={spoilt}");
        }
    }
    report::sleep()
}
