//! Widths: each legal one is served; each illegal one, and each misaligned access, aborts and changes
//! nothing.

use probes::Report;
use probes::fault::Fault;
use probes::gic::{self, DISTRIBUTOR, REDISTRIBUTOR, SGI_FRAME, offset};
use probes::physical::{self, Width};

const WORD: &[Width] = &[Width::Word];
const BYTE_OR_WORD: &[Width] = &[Width::Byte, Width::Word];
const WORD_OR_DOUBLE: &[Width] = &[Width::Word, Width::Double];

/// A register file: its name, first byte, bytes, and the widths that the architecture allows.
type File = (&'static str, u64, u64, &'static [Width]);

const COMMON: [File; 6] = [
    ("GICD_CTLR to IIDR", DISTRIBUTOR, 0x0c, WORD),
    ("GICD_IGROUPR", DISTRIBUTOR + offset::IGROUPR, 0x80, WORD),
    ("GICD_IS/CENABLER", DISTRIBUTOR + offset::ISENABLER, 0x100, WORD),
    ("GICD_IS/CPENDR, ACTIVER", DISTRIBUTOR + offset::ISPENDR, 0x200, WORD),
    ("GICD_IPRIORITYR", DISTRIBUTOR + offset::IPRIORITYR, 0x3fc, BYTE_OR_WORD),
    ("GICD_ICFGR", DISTRIBUTOR + offset::ICFGR, 0x100, WORD),
];
const VERSION_2: [File; 2] = [
    ("GICD_ITARGETSR", DISTRIBUTOR + offset::ITARGETSR, 0x3fc, BYTE_OR_WORD),
    ("GICD_C/SPENDSGIR", DISTRIBUTOR + offset::CPENDSGIR, 0x20, BYTE_OR_WORD),
];
const VERSION_3: [File; 5] = [
    ("GICD_IROUTER", DISTRIBUTOR + offset::IROUTER + 0x100, 0x1e00, WORD_OR_DOUBLE),
    ("GICR_TYPER", REDISTRIBUTOR + 0x08, 8, WORD_OR_DOUBLE),
    ("GICR_WAKER", REDISTRIBUTOR + 0x14, 4, WORD),
    ("GICR_ISENABLER0", REDISTRIBUTOR + SGI_FRAME + 0x100, 4, WORD),
    ("GICR_IPRIORITYR", REDISTRIBUTOR + SGI_FRAME + 0x400, 0x20, BYTE_OR_WORD),
];

pub fn check(report: &mut Report) {
    let own: &[File] = if gic::is_v3() { &VERSION_3 } else { &VERSION_2 };
    for file in COMMON.iter().chain(own) {
        legal(report, file);
        illegal(report, file);
        misaligned(report, file);
    }
    unchanged(report);
}

/// Every element of the file at every legal width.
fn legal(report: &mut Report, &(name, base, bytes, widths): &File) {
    let mut refused = 0u32;
    for &width in widths {
        for address in (base..base + bytes).step_by(width.bytes() as usize) {
            refused += u32::from(physical::read(address, width).is_err());
        }
    }
    report.check(
        refused == 0,
        format_args!("{name}: every legal read is served"),
        format_args!("{refused} were refused"),
    );
}

fn aborts(outcome: Result<(), Fault>, address: u64) -> bool {
    outcome.is_err_and(|fault| fault.is_external_abort() && fault.far == address)
}

/// Accesses that are not aligned, of each width that can be so, read and written.
fn misaligned(report: &mut Report, &(name, base, ..): &File) {
    for (width, by) in [(Width::Half, 1), (Width::Word, 1), (Width::Word, 2), (Width::Double, 4)] {
        let address = base.next_multiple_of(8) + by;
        let read = aborts(physical::access_as_normal(address, width, None), address);
        let write = aborts(physical::access_as_normal(address, width, Some(!0)), address);
        report.check(
            read && write,
            format_args!("{name}: {} bytes at {by} off abort", width.bytes()),
            format_args!("found aborts: read {read}, write {write}"),
        );
    }
}

/// The file's first element at every illegal width, read and written.
fn illegal(report: &mut Report, &(name, base, bytes, widths): &File) {
    for width in Width::ALL {
        let aligned = base.next_multiple_of(width.bytes());
        if widths.contains(&width) || aligned + width.bytes() > base + bytes {
            continue;
        }
        let read = aborts(physical::read(aligned, width).map(drop), aligned);
        let write = aborts(physical::write(aligned, 0, width), aligned);
        report.check(
            read && write,
            format_args!("{name}: {} bytes abort", width.bytes()),
            format_args!("found aborts: read {read}, write {write}"),
        );
    }
}

/// A refused write leaves the register as it was.
fn unchanged(report: &mut Report) {
    let address = gic::frame(0, 0) + offset::IPRIORITYR + 4;
    let before = gic::read_register(address);
    let refused = physical::write(address, 0x1818, Width::Half).is_err();
    report.equal("a halfword write of priorities is refused", refused, true);
    let refused = physical::access_as_normal(address - 2, Width::Word, Some(0x1818_1818)).is_err();
    report.equal("a misaligned write of priorities is refused", refused, true);
    report.equal_hex("and changes nothing", gic::read_register(address), before);
}
