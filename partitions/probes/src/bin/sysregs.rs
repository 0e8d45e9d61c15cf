//! What a guest sees of system registers that it does not have, and of calls that nobody serves.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, println};
use probes::fault::{self, class};
use probes::random::Random;
use probes::smccc::{Conduit, NOT_SUPPORTED, status};
use probes::sysreg::{self, Register};
use probes::{Report, canary, gic};

bulkhead_sdk::entry!(main);

/// Neither read nor written.
const UNDEFINED: [Register; 18] = [
    sysreg::PMCR_EL0,
    sysreg::PMCCNTR_EL0,
    sysreg::PMCNTENSET_EL0,
    sysreg::PMUSERENR_EL0,
    sysreg::PMSCR_EL1,
    sysreg::ZCR_EL1,
    sysreg::LORC_EL1,
    sysreg::ERRIDR_EL1,
    sysreg::AMCR_EL0,
    sysreg::TRFCR_EL1,
    sysreg::CPUACTLR_EL1,
    sysreg::CPUECTLR_EL1,
    sysreg::L2CTLR_EL1,
    sysreg::HCR_EL2,
    sysreg::VTTBR_EL2,
    sysreg::SCR_EL3,
    sysreg::ICH_HCR_EL2,
    sysreg::CNTHP_CTL_EL2,
];

/// Read as zero, writes without effect.
const WITHOUT_EFFECT: [Register; 7] = [
    sysreg::ACTLR_EL1,
    sysreg::OSDLR_EL1,
    sysreg::MDSCR_EL1,
    sysreg::DBGBVR0_EL1,
    sysreg::DBGBCR0_EL1,
    sysreg::DBGWVR0_EL1,
    sysreg::DBGWCR0_EL1,
];

/// CPACR_EL1: nothing of SME, floating point and SVE trapped to EL1, so that EL2 has to.
const NOTHING_TRAPPED: u64 = 0b11 << 24 | 0b11 << 20 | 0b11 << 16;
/// Unknown calls made by each conduit.
const CALLS: u64 = 10_000;

fn class_of<T>(outcome: Result<T, fault::Fault>) -> Option<u64> {
    outcome.err().map(|fault| fault.class())
}

fn undefined(report: &mut Report, register: &Register) {
    let read = class_of(register.read());
    let write = class_of(register.write(0));
    report.check(
        read == Some(class::UNDEFINED) && write == Some(class::UNDEFINED),
        format_args!("{} is UNDEFINED", register.name),
        format_args!("found exception classes {read:?} and {write:?}, expected 0 twice"),
    );
}

fn without_effect(report: &mut Report, register: &Register) {
    let written = register.write(0xffff_ffff);
    let read = register.read();
    report.check(
        written.is_ok() && read == Ok(0),
        format_args!("{} reads zero, ignores writes", register.name),
        format_args!("found {written:?}, then {read:x?}"),
    );
}

fn field(register: &Register, low: u32) -> u64 {
    register.read().map_or(u64::MAX, |value| value >> low & 0xf)
}

fn identification(report: &mut Report) {
    for (name, register, low, expected) in [
        ("EL0 is AArch64", sysreg::ID_AA64PFR0_EL1, 0, 1),
        ("EL1 is AArch64", sysreg::ID_AA64PFR0_EL1, 4, 1),
        ("no EL2", sysreg::ID_AA64PFR0_EL1, 8, 0),
        ("no EL3", sysreg::ID_AA64PFR0_EL1, 12, 0),
        ("GIC system registers as there are", sysreg::ID_AA64PFR0_EL1, 24, u64::from(gic::is_v3())),
        ("no RAS", sysreg::ID_AA64PFR0_EL1, 28, 0),
        ("no SVE", sysreg::ID_AA64PFR0_EL1, 32, 0),
        ("no MPAM", sysreg::ID_AA64PFR0_EL1, 40, 0),
        ("no AMU", sysreg::ID_AA64PFR0_EL1, 44, 0),
        ("no MTE", sysreg::ID_AA64PFR1_EL1, 8, 0),
        ("no SME", sysreg::ID_AA64PFR1_EL1, 24, 0),
        ("no PMU", sysreg::ID_AA64DFR0_EL1, 8, 0),
        ("no SPE", sysreg::ID_AA64DFR0_EL1, 32, 0),
        ("no VHE", sysreg::ID_AA64MMFR1_EL1, 8, 0),
        ("no LORegions", sysreg::ID_AA64MMFR1_EL1, 16, 0),
    ] {
        report.equal(name, field(&register, low), expected);
    }
    for register in
        [sysreg::ID_AA64ZFR0_EL1, sysreg::ID_AA64SMFR0_EL1, sysreg::ID_AA64DFR1_EL1, sysreg::ID_RESERVED_C7_7]
    {
        report.equal(register.name, register.read(), Ok(0));
    }
    let affinity = sysreg::MPIDR_EL1.read().map(|value| value & 0xff_00ff_ffff);
    report.equal("MPIDR_EL1: affinity 0.0.0.0", affinity, Ok(0));
    let address_bits = field(&sysreg::ID_AA64MMFR0_EL1, 0);
    report.within("physical addresses of at most 40 bits", address_bits, 0, 2);
}

fn debug(report: &mut Report) {
    report.equal("OSLSR_EL1: lock implemented, open", sysreg::OSLSR_EL1.read(), Ok(8));
    report.equal("OSLAR_EL1 takes writes", sysreg::OSLAR_EL1.write(0), Ok(()));
    report.equal("OSLAR_EL1 cannot be read", class_of(sysreg::OSLAR_EL1.read()), Some(class::UNDEFINED));
    report.equal(
        "ID registers cannot be written",
        class_of(sysreg::ID_AA64PFR0_EL1.write(0)),
        Some(class::UNDEFINED),
    );
}

fn unknown_calls(report: &mut Report) {
    let mut random = Random::new(0x5eed);
    for conduit in Conduit::ALL {
        let mut answered = 0u64;
        for _ in 0..CALLS {
            // Reserved and foreign owners, and numbers beyond Bulkhead's own.
            let owner = [2u64, 3, 5, 6, 7, 48, 50][random.below(7) as usize];
            let number = 0x100 + random.below(0xfd00);
            let wide = random.below(2) << 30;
            let function = 1 << 31 | wide | owner << 24 | number;
            let arguments = [random.draw(), random.draw(), random.draw()];
            answered += u64::from(status(conduit, function, arguments) != NOT_SUPPORTED);
        }
        report.check(
            answered == 0,
            format_args!("{CALLS} unknown calls by {conduit:?} are NOT_SUPPORTED"),
            format_args!("{answered} were answered otherwise"),
        );
        report.equal(
            "an unknown call keeps x4 to x30",
            canary::call_keeps_registers(conduit, 0xc600_7777),
            true,
        );
    }
}

fn main(_partition: Partition) -> ! {
    fault::install();
    let mut report = Report::new("sysregs");
    let opened = sysreg::CPACR_EL1.write(NOTHING_TRAPPED);
    report.equal("CPACR_EL1 is the guest's", opened, Ok(()));
    for register in &UNDEFINED {
        undefined(&mut report, register);
    }
    if !gic::is_v3() {
        undefined(&mut report, &sysreg::ICC_PMR_EL1);
        undefined(&mut report, &sysreg::ICC_SRE_EL1);
    }
    for register in &WITHOUT_EFFECT {
        without_effect(&mut report, register);
    }
    identification(&mut report);
    debug(&mut report);
    report.equal("set/way operations are harmless", sysreg::clean_by_set_way(), Ok(()));
    println!("unknown calls begin");
    unknown_calls(&mut report);
    println!("unknown calls end");
    report.finish()
}
