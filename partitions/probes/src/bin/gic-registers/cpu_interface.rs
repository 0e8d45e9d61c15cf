//! The CPU interface: GICC (IHI0048 4.4) or ICC_*_EL1 (IHI0069 12.2).

use probes::Report;
use probes::fault::class;
use probes::gic::{self, CPU_INTERFACE, cpu_offset, offset, read_register, write_register};
use probes::sysreg::{self, Register};

/// ICC_CTLR_EL1.EOImode.
const EOI_MODE_V3: u64 = 1 << 1;
/// GICC_CTLR.EOImode, as a guest without security extensions sees it.
const EOI_MODE_V2: u32 = 1 << 9;
/// The SGI that is ended in two steps.
const SGI: u32 = 6;

fn after_write(register: &Register, value: u64) -> u64 {
    match register.write(value) {
        Ok(()) => register.read().unwrap_or(u64::MAX),
        Err(_) => u64::MAX,
    }
}

pub fn version3(report: &mut Report) {
    use sysreg::*;
    report.equal_hex("ICC_SRE_EL1.SRE is fixed", after_write(&ICC_SRE_EL1, 0) & 1, 1);
    for (written, expected) in [(0xff, 0xf8), (0x87, 0x80), (0, 0)] {
        report.equal_hex("ICC_PMR_EL1 has five bits", after_write(&ICC_PMR_EL1, written), expected);
    }
    after_write(&ICC_PMR_EL1, 0xff);
    report.equal("ICC_BPR1_EL1: 7", after_write(&ICC_BPR1_EL1, 7), 7);
    report.within("ICC_BPR1_EL1: least value", after_write(&ICC_BPR1_EL1, 0), 1, 3);
    let control = ICC_CTLR_EL1.read().unwrap_or(u64::MAX);
    report.equal("ICC_CTLR_EL1.PRIbits", control >> 8 & 7, 4);
    let found = after_write(&ICC_CTLR_EL1, EOI_MODE_V3) & EOI_MODE_V3;
    report.equal("ICC_CTLR_EL1.EOImode on", found, EOI_MODE_V3);
    report.equal("ICC_CTLR_EL1.EOImode off", after_write(&ICC_CTLR_EL1, 0) & EOI_MODE_V3, 0);
    report.equal("ICC_IGRPEN1_EL1 off", after_write(&ICC_IGRPEN1_EL1, 0), 0);
    report.equal("ICC_IGRPEN1_EL1 on", after_write(&ICC_IGRPEN1_EL1, 1), 1);
    report.equal("ICC_RPR_EL1 idle", ICC_RPR_EL1.read(), Ok(0xff));
    report.equal("ICC_HPPIR1_EL1 without anything", ICC_HPPIR1_EL1.read(), Ok(1023));
    report.equal("ICC_IAR1_EL1 without anything", ICC_IAR1_EL1.read(), Ok(1023));
    report.equal("ICC_AP1R0_EL1 idle", ICC_AP1R0_EL1.read(), Ok(0));
    let refused = |outcome: Option<u64>| outcome == Some(class::UNDEFINED);
    let end = ICC_EOIR1_EL1.read().err().map(|fault| fault.class());
    report.equal("ICC_EOIR1_EL1 cannot be read", refused(end), true);
    let acknowledge = ICC_IAR1_EL1.write(0).err().map(|fault| fault.class());
    report.equal("ICC_IAR1_EL1 cannot be written", refused(acknowledge), true);
    let deactivate = ICC_DIR_EL1.read().err().map(|fault| fault.class());
    report.equal("ICC_DIR_EL1 cannot be read", refused(deactivate), true);
}

fn after_write_v2(register: u64, value: u32) -> u32 {
    write_register(CPU_INTERFACE + register, value);
    read_register(CPU_INTERFACE + register)
}

pub fn version2(report: &mut Report) {
    for (written, expected) in [(0xf8, 0xf8), (0x80, 0x80), (0, 0)] {
        report.equal_hex("GICC_PMR", after_write_v2(cpu_offset::PMR, written), expected);
    }
    after_write_v2(cpu_offset::PMR, 0xff);
    report.equal("GICC_BPR: 7", after_write_v2(cpu_offset::BPR, 7), 7);
    report.within("GICC_BPR: least value", after_write_v2(cpu_offset::BPR, 0).into(), 0, 3);
    let read = |register| read_register(CPU_INTERFACE + register);
    report.within("GICC_RPR idle", read(cpu_offset::RPR).into(), 0xf0, 0xff);
    report.equal("GICC_HPPIR without anything", read(cpu_offset::HPPIR), 1023);
    report.equal("GICC_IAR without anything", read(cpu_offset::IAR), 1023);
    report.equal("GICC_IIDR: architecture 2", read(cpu_offset::IIDR) >> 16 & 0xf, 2);
    let control = read(cpu_offset::CTLR);
    let found = after_write_v2(cpu_offset::CTLR, control | EOI_MODE_V2) & EOI_MODE_V2;
    report.equal_hex("GICC_CTLR.EOImode on", found, EOI_MODE_V2);
    report.equal_hex("GICC_CTLR.EOImode off", after_write_v2(cpu_offset::CTLR, control), control);
}

/// EOImode 1: the end drops the priority, a deactivation ends the active state. IRQs masked.
pub fn split_end(report: &mut Report) {
    gic::set_priority(0, SGI, 0x80);
    gic::set_bit(0, offset::ISENABLER, SGI);
    gic::set_split_end(true);
    gic::send(1, SGI);
    report.equal("highest pending", gic::highest_pending(), SGI);
    let (value, intid) = gic::acknowledge();
    report.equal("acknowledged", intid, SGI);
    report.equal_hex("running priority", gic::running_priority(), 0x80);
    report.equal("active", gic::bit(0, offset::ISACTIVER, SGI), true);
    gic::end(value);
    report.within("priority dropped", gic::running_priority().into(), 0xf0, 0xff);
    report.equal("still active", gic::bit(0, offset::ISACTIVER, SGI), true);
    gic::send(1, SGI);
    report.equal("not signalled while active", gic::acknowledge().1, 1023);
    gic::deactivate(value);
    report.equal("deactivated", gic::bit(0, offset::ISACTIVER, SGI), false);
    let (value, intid) = gic::acknowledge();
    report.equal("what came meanwhile is signalled now", intid, SGI);
    gic::end(value);
    gic::deactivate(value);
    gic::set_split_end(false);
    report.equal("all quiet", gic::acknowledge().1, 1023);
}
