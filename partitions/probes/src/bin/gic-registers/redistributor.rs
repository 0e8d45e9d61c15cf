//! GICR (IHI0069 12.11).

use probes::Report;
use probes::gic::{REDISTRIBUTOR, REDISTRIBUTOR_STRIDE, SGI_FRAME, read_register, write_register};
use probes::physical::{self, Width};

const CTLR: u64 = 0x00;
const TYPER: u64 = 0x08;
const WAKER: u64 = 0x14;
const PROPBASER: u64 = 0x70;
const PIDR2: u64 = 0xffe8;
const LAST: u32 = 1 << 4;

pub fn check(report: &mut Report) {
    report.equal("GICR_PIDR2.ArchRev", read_register(REDISTRIBUTOR + PIDR2) >> 4 & 0xf, 3);
    report.equal("GICR_TYPER: affinity 0", read_register(REDISTRIBUTOR + TYPER + 4), 0);
    let whole = physical::read(REDISTRIBUTOR + TYPER, Width::Double);
    let halves = u64::from(read_register(REDISTRIBUTOR + TYPER + 4)) << 32
        | u64::from(read_register(REDISTRIBUTOR + TYPER));
    report.equal("GICR_TYPER by doubleword", whole, Ok(halves));
    sleep(report);
    if read_register(REDISTRIBUTOR + TYPER) & 1 == 0 {
        without_lpis(report);
    }
    if read_register(REDISTRIBUTOR + TYPER) & LAST == 0 {
        second(report);
    }
}

/// The handshake of GICR_WAKER, to sleep and back.
fn sleep(report: &mut Report) {
    let waker = REDISTRIBUTOR + WAKER;
    report.equal_hex("GICR_WAKER: awake", read_register(waker) & 6, 0);
    write_register(waker, 2);
    report.equal_hex("GICR_WAKER: asleep, and the children", read_register(waker) & 6, 6);
    write_register(waker, 0);
    report.equal_hex("GICR_WAKER: awake again", read_register(waker) & 6, 0);
}

fn without_lpis(report: &mut Report) {
    write_register(REDISTRIBUTOR + CTLR, 1);
    report.equal("GICR_CTLR.EnableLPIs stays zero", read_register(REDISTRIBUTOR + CTLR) & 1, 0);
    let written = physical::write(REDISTRIBUTOR + PROPBASER, u64::MAX, Width::Double);
    report.equal("GICR_PROPBASER takes a doubleword", written, Ok(()));
    let read = physical::read(REDISTRIBUTOR + PROPBASER, Width::Double);
    report.equal("GICR_PROPBASER reads zero", read, Ok(0));
}

/// The frames of the second vCPU.
fn second(report: &mut Report) {
    let frame = REDISTRIBUTOR + REDISTRIBUTOR_STRIDE;
    report.equal("second GICR_TYPER: affinity 1", read_register(frame + TYPER + 4), 1);
    report.equal("second GICR_TYPER: processor 1", read_register(frame + TYPER) >> 8 & 0xffff, 1);
    let enable = frame + SGI_FRAME + 0x100;
    let own = read_register(REDISTRIBUTOR + SGI_FRAME + 0x100);
    write_register(enable, 1 << 9);
    report.equal("its SGI 9 enabled from here", read_register(enable) >> 9 & 1, 1);
    write_register(enable + 0x80, 1 << 9);
    report.equal("and disabled", read_register(enable) >> 9 & 1, 0);
    let unchanged = read_register(REDISTRIBUTOR + SGI_FRAME + 0x100);
    report.equal_hex("the own one is as before", unchanged, own);
}
