//! GICD (IHI0048 4.3, IHI0069 12.9).

use crate::{FOREIGN, OWNED};
use probes::gic::{self, DISTRIBUTOR, offset, read_register, write_register};
use probes::physical::{self, Width};
use probes::{Report, cpu};

/// Writes, and returns what is read then.
fn after_write(address: u64, value: u32) -> u32 {
    write_register(address, value);
    read_register(address)
}

fn byte(address: u64) -> u64 {
    physical::read(address, Width::Byte).unwrap_or(u64::MAX)
}

pub fn identification(report: &mut Report) {
    let typer = read_register(DISTRIBUTOR + offset::TYPER);
    report.within("GICD_TYPER.ITLinesNumber", u64::from(typer & 0x1f), 8, 31);
    report.equal_hex("GICD_TYPER ignores writes", after_write(DISTRIBUTOR + offset::TYPER, !typer), typer);
    let identity = read_register(DISTRIBUTOR + 0x008);
    report.equal_hex("GICD_IIDR names Arm", identity & 0xfff, 0x43b);
    report.equal_hex("GICD_IIDR ignores writes", after_write(DISTRIBUTOR + 0x008, 0), identity);
    let (peripheral, revision) = if gic::is_v3() { (0xffe8, 3) } else { (0xfe8, 2) };
    let found = read_register(DISTRIBUTOR + peripheral) >> 4 & 0xf;
    report.equal("GICD_PIDR2.ArchRev", found, revision);
    if gic::is_v3() {
        report.equal("no LPIs", typer >> 17 & 1, 0);
        report.equal("GICD_TYPER.IDbits: at least 10 bits", typer >> 19 & 0x1f >= 9, true);
        // Reserved words read as zero and ignore writes.
        for reserved in [0x0c4, 0xd00, 0x5000, 0xb000] {
            let address = DISTRIBUTOR + reserved;
            let found = after_write(address, u32::MAX);
            report.check(
                found == 0,
                format_args!("GICD + {reserved:#x} is reserved"),
                format_args!("found {found:#x}, expected 0"),
            );
        }
    }
}

/// GICD_CTLR; leaves the groups as the runtime enabled them.
pub fn control(report: &mut Report) {
    let address = DISTRIBUTOR + offset::CTLR;
    let before = read_register(address);
    // With one security state: DS and ARE are fixed in version 3.
    let fixed = if gic::is_v3() { 0x50 } else { 0 };
    report.equal_hex("GICD_CTLR: both groups off", after_write(address, fixed) & !0x80, fixed);
    let all = if gic::is_v3() { 0x53 } else { 0x3 };
    let found = after_write(address, u32::MAX) & 0x7f;
    report.equal_hex("GICD_CTLR: both groups on", found & all, all);
    report.equal_hex("GICD_CTLR as before", after_write(address, before), before);
    if gic::is_v3() {
        report.equal("GICD_CTLR.RWP is clear", read_register(address) >> 31, 0);
    }
}

/// A pair of registers, one that sets and one that clears, for one interrupt.
fn pair(report: &mut Report, intid: u32, set: u64, clear: u64, name: &str) {
    let mut step = |action: &str, expected: bool| {
        let found = (gic::bit(0, set, intid), gic::bit(0, clear, intid));
        report.check(
            found == (expected, expected),
            format_args!("{name} of {intid}: {action}"),
            format_args!("found {found:?}, expected {expected} in both"),
        );
    };
    gic::set_bit(0, clear, intid);
    step("cleared", false);
    gic::set_bit(0, set, intid);
    step("set", true);
    // Zeroes change nothing.
    write_register(gic::frame(0, intid) + clear + u64::from(intid / 32) * 4, 0);
    step("a zero does not clear", true);
    gic::set_bit(0, clear, intid);
    step("cleared again", false);
}

/// A granted shared interrupt has every register.
pub fn owned(report: &mut Report) {
    pair(report, OWNED, offset::ISENABLER, offset::ICENABLER, "enable");
    pair(report, OWNED, offset::ISPENDR, offset::ICPENDR, "pending");
    pair(report, OWNED, offset::ISACTIVER, offset::ICACTIVER, "active");
    let group = DISTRIBUTOR + offset::IGROUPR + 4;
    let bit = 1 << (OWNED % 32);
    let before = read_register(group);
    report.equal_hex("group 0", after_write(group, before & !bit) & bit, 0);
    report.equal_hex("group 1", after_write(group, before | bit) & bit, bit);
    write_register(group, before);
    priority(report, OWNED);
    let (configuration, field) = (DISTRIBUTOR + offset::ICFGR + 8, 2 * (OWNED % 16));
    let before = read_register(configuration);
    let found = after_write(configuration, before | 3 << field) >> field & 3;
    report.equal("edge-triggered; the lower bit stays zero", found, 2);
    let found = after_write(configuration, before & !(3 << field)) >> field & 3;
    report.equal("level-sensitive", found, 0);
    write_register(configuration, before);
}

/// Priorities by byte and by word, with five bits.
fn priority(report: &mut Report, intid: u32) {
    let address = gic::frame(0, intid) + offset::IPRIORITYR + u64::from(intid);
    let before = byte(address);
    for value in [0x00u64, 0xf8, 0x50, 0xa8] {
        let written = physical::write(address, value, Width::Byte).is_ok();
        report.check(
            written && byte(address) == value,
            format_args!("priority {value:#x} of {intid}"),
            format_args!("found {:#x}", byte(address)),
        );
    }
    let word = address & !3;
    let shift = 8 * (intid & 3);
    let neighbours = read_register(word) & !(0xff << shift);
    let found = after_write(word, neighbours | 0x38 << shift);
    report.equal_hex("priority by word", found, neighbours | 0x38 << shift);
    report.equal("restored", physical::write(address, before, Width::Byte), Ok(()));
}

/// Interrupts below 32, banked for each vCPU.
pub fn banked(report: &mut Report) {
    for intid in [27, 30] {
        pair(report, intid, offset::ISENABLER, offset::ICENABLER, "enable");
        priority(report, intid);
    }
    priority(report, 5);
    let frame = gic::frame(0, 0);
    report.equal_hex("SGIs are edge-triggered, for good", after_write(frame + offset::ICFGR, 0), 0xaaaa_aaaa);
    let lower =
        after_write(frame + offset::ICFGR + 4, read_register(frame + offset::ICFGR + 4) | 0x5555_5555);
    report.equal_hex("lower bits of ICFGR1 stay zero", lower & 0x5555_5555, 0);
    if gic::is_v3() {
        pair(report, 5, offset::ISENABLER, offset::ICENABLER, "enable");
        // With affinity routing these live in the redistributor.
        for register in [offset::ISENABLER, offset::ISPENDR, offset::IPRIORITYR, offset::ICFGR] {
            let found = after_write(DISTRIBUTOR + register, u32::MAX);
            report.check(
                found == 0,
                format_args!("GICD + {register:#x}: word 0 is the redistributor's"),
                format_args!("found {found:#x}, expected 0"),
            );
        }
    }
}

/// Targets of shared interrupts.
pub fn routing(report: &mut Report) {
    if gic::is_v3() {
        let address = DISTRIBUTOR + offset::IROUTER + 8 * u64::from(OWNED);
        let own = cpu::affinity();
        let written = physical::write(address, own, Width::Double);
        report.equal("GICD_IROUTER by doubleword", written, Ok(()));
        report.equal("GICD_IROUTER reads back", physical::read(address, Width::Double), Ok(own));
        report.equal_hex("its lower half", read_register(address), own as u32);
        report.equal_hex("its upper half", read_register(address + 4), (own >> 32) as u32);
        let found = after_write(address + 4, 0xffff_ff00);
        report.equal_hex("reserved bits of its upper half", found & 0xffff_ff00, 0);
    } else {
        let address = DISTRIBUTOR + offset::ITARGETSR + u64::from(OWNED);
        let written = physical::write(address, 1, Width::Byte);
        report.equal("GICD_ITARGETSR by byte", written, Ok(()));
        report.equal("GICD_ITARGETSR reads back", byte(address), 1);
        let own = after_write(DISTRIBUTOR + offset::ITARGETSR, 0xffff_ffff);
        report.equal_hex("targets of SGIs are the reader, read-only", own, 0x0101_0101);
        let cpus = read_register(DISTRIBUTOR + offset::TYPER) >> 5 & 7;
        let all = physical::write(address, 0xff, Width::Byte);
        report.equal("GICD_ITARGETSR: all", all, Ok(()));
        report.equal_hex("CPUs that there are not read zero", byte(address), (1 << (cpus + 1)) - 1);
        report.equal("restored", physical::write(address, 1, Width::Byte), Ok(()));
    }
}

/// Interrupts that the partition does not have.
pub fn foreign(report: &mut Report) {
    for intid in FOREIGN {
        let (word, bit) = (u64::from(intid / 32) * 4, 1u32 << (intid % 32));
        let mut found = 0;
        for register in (offset::IGROUPR..offset::IPRIORITYR).step_by(0x80) {
            let address = DISTRIBUTOR + register + word;
            write_register(address, bit);
            found |= read_register(address) & bit;
        }
        let address = DISTRIBUTOR + offset::IPRIORITYR + u64::from(intid);
        let written = physical::write(address, 0xff, Width::Byte).is_ok();
        found |= byte(address) as u32;
        let field = 3u32 << (2 * (intid % 16));
        let address = DISTRIBUTOR + offset::ICFGR + u64::from(intid / 16) * 4;
        write_register(address, field);
        found |= read_register(address) & field;
        report.check(
            written && found == 0,
            format_args!("interrupt {intid} is nobody here"),
            format_args!("found bits {found:#x}, expected 0"),
        );
    }
    let beyond = DISTRIBUTOR + offset::ISENABLER + 4 * 20;
    report.equal_hex("interrupts beyond the last", after_write(beyond, u32::MAX), 0);
}

/// GICD_SPENDSGIR and GICD_CPENDSGIR (version 2), IRQs masked.
pub fn senders(report: &mut Report) {
    let pending = |sgi: u64| byte(DISTRIBUTOR + offset::SPENDSGIR + sgi);
    let set = physical::write(DISTRIBUTOR + offset::SPENDSGIR + 7, 1, Width::Byte);
    report.equal("GICD_SPENDSGIR by byte", set, Ok(()));
    report.equal("SGI 7 is pending from CPU 0", pending(7), 1);
    let both = byte(DISTRIBUTOR + offset::CPENDSGIR + 7);
    report.equal("GICD_CPENDSGIR reads the same", both, 1);
    report.equal("GICD_ISPENDR shows it", gic::bit(0, offset::ISPENDR, 7), true);
    let clear = physical::write(DISTRIBUTOR + offset::CPENDSGIR + 7, 1, Width::Byte);
    report.equal("GICD_CPENDSGIR by byte", clear, Ok(()));
    report.equal("SGI 7 is pending no more", pending(7), 0);
    gic::send(1, 7);
    report.equal("GICD_SGIR makes it pending", pending(7), 1);
    write_register(DISTRIBUTOR + offset::CPENDSGIR + 4, 0xff << 24);
    report.equal("GICD_CPENDSGIR by word", pending(7), 0);
}
