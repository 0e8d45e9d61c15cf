//! Stage-1 translation: identity, 4 KiB pages, 39-bit addresses, writable or executable.
//!
//! The tables come from a fixed pool. Entries are only ever added, so that no break-before-make and
//! no TLB invalidation is needed after start (Arm ARM D8.16, R_XCLRD): a walk that found nothing is not
//! cached.

use crate::device_tree::{Gic, Platform};
use crate::registers::{dsb, isb};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
/// Root, one second level per GiB touched and one third level per 2 MiB touched: image 2, devices 6,
/// information region and ports the rest.
const POOL: usize = 24;

/// A translation table.
#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

static TABLES: [Table; POOL] = [const { Table([const { AtomicU64::new(0) }; ENTRIES]) }; POOL];
static USED: AtomicUsize = AtomicUsize::new(0);

/// What the early code read from the device tree, for the code after it.
struct EarlyCell(UnsafeCell<Platform>);
// SAFETY: written once by the early code on the only CPU, with interrupts masked; read afterwards.
unsafe impl Sync for EarlyCell {}
static PLATFORM: EarlyCell = EarlyCell(UnsafeCell::new(Platform::CANONICAL));

/// Bytes of redistributor space that are mapped: eight CPUs' frames of 128 KiB.
pub(crate) const REDISTRIBUTOR_BYTES_MAX: u64 = 8 * 0x2_0000;

/// How a page is mapped. Bits of a stage-1 descriptor (Arm ARM D8.3).
#[derive(Clone, Copy)]
pub(crate) struct Attributes(u64);

const PAGE_DESCRIPTOR: u64 = 0b11;
const ACCESS_FLAG: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const READ_ONLY: u64 = 1 << 7;
const DEVICE: u64 = 1 << 2;
const NEVER_EXECUTE: u64 = 0b11 << 53;
const UNPRIVILEGED_NEVER_EXECUTE: u64 = 1 << 54;
const NORMAL: u64 = PAGE_DESCRIPTOR | ACCESS_FLAG | INNER_SHAREABLE;

impl Attributes {
    /// Code: read and execute.
    const TEXT: Self = Self(NORMAL | READ_ONLY | UNPRIVILEGED_NEVER_EXECUTE);
    /// Normal write-back memory, read-only.
    pub(crate) const READ_ONLY: Self = Self(NORMAL | READ_ONLY | NEVER_EXECUTE);
    /// Normal write-back memory, read and write.
    pub(crate) const READ_WRITE: Self = Self(NORMAL | NEVER_EXECUTE);
    /// Device-nGnRE registers.
    const DEVICE: Self = Self(NORMAL | DEVICE | NEVER_EXECUTE);
}

/// Why a mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapError {
    /// The pool of tables is used up.
    NoTable,
    /// The address lies beyond 512 GiB.
    TooHigh,
    /// The page is mapped already in another way.
    Conflict,
}

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __bss_end: u8;
    static __stack_start: u8;
    static __stack_end: u8;
    static __fault_stack_start: u8;
    static __fault_stack_end: u8;
}

/// Builds the initial tables with the MMU off: image, stacks, devices. Returns the root's address.
pub(crate) fn build(platform: &Platform) -> u64 {
    // SAFETY: see `EarlyCell`.
    unsafe { *PLATFORM.0.get() = *platform };
    let at = |symbol: *const u8| symbol.addr() as u64;
    let text = (at(&raw const __text_start), at(&raw const __text_end));
    let rodata = (text.1, at(&raw const __rodata_end));
    let data = (rodata.1, at(&raw const __bss_end));
    let stack = (at(&raw const __stack_start), at(&raw const __stack_end));
    let fault = (at(&raw const __fault_stack_start), at(&raw const __fault_stack_end));
    USED.store(1, Relaxed);
    let mut complete = true;
    for ((start, end), attributes) in [
        (text, Attributes::TEXT),
        (rodata, Attributes::READ_ONLY),
        (data, Attributes::READ_WRITE),
        (stack, Attributes::READ_WRITE),
        (fault, Attributes::READ_WRITE),
    ] {
        complete &= map(start, end - start, attributes).is_ok();
    }
    for (start, bytes) in devices(platform).into_iter().flatten() {
        complete &= map(start, bytes, Attributes::DEVICE).is_ok();
    }
    if complete {
        ptr::from_ref(&TABLES[0]).addr() as u64
    } else {
        // Nothing can be said yet: an empty root stops at the first fetch, in the vectors.
        ptr::from_ref(&TABLES[POOL - 1]).addr() as u64
    }
}

fn devices(platform: &Platform) -> [Option<(u64, u64)>; 4] {
    let pl011 = platform.pl011.map(|address| (address, PAGE));
    let gpio = platform.gpio.map(|address| (address, PAGE));
    match platform.gic {
        Gic::V2 { distributor, cpu_interface } => {
            [Some((distributor, PAGE)), Some((cpu_interface, 2 * PAGE)), pl011, gpio]
        }
        Gic::V3 { distributor, redistributors, redistributor_bytes } => [
            Some((distributor, 16 * PAGE)),
            Some((redistributors, redistributor_bytes.min(REDISTRIBUTOR_BYTES_MAX))),
            pl011,
            gpio,
        ],
    }
}

/// What the early code found.
pub(crate) fn platform() -> Platform {
    // SAFETY: see `EarlyCell`.
    unsafe { *PLATFORM.0.get() }
}

/// Maps the pages that `start` and `bytes` touch, at the same address.
pub(crate) fn map(start: u64, bytes: u64, attributes: Attributes) -> Result<(), MapError> {
    let end = start.checked_add(bytes).filter(|&end| end <= 1 << 39).ok_or(MapError::TooHigh)?;
    let mut page = start & !(PAGE - 1);
    while page < end {
        let second = next(0, (page >> 30) as usize % ENTRIES)?;
        let third = next(second, (page >> 21) as usize % ENTRIES)?;
        let entry = &TABLES[third].0[(page >> 12) as usize % ENTRIES];
        let wanted = page | attributes.0;
        let present = entry.load(Relaxed);
        if present != 0 && present != wanted {
            return Err(MapError::Conflict);
        }
        entry.store(wanted, Relaxed);
        page += PAGE;
    }
    // New entries reach the walker before anything uses them.
    dsb();
    isb();
    Ok(())
}

/// The table below entry `index` of table `table`, taken from the pool if there is none yet.
fn next(table: usize, index: usize) -> Result<usize, MapError> {
    const TABLE_DESCRIPTOR: u64 = 0b11;
    let entry = &TABLES[table].0[index];
    let base = ptr::from_ref(&TABLES[0]).addr() as u64;
    let present = entry.load(Relaxed);
    if present != 0 {
        return Ok((((present & !(PAGE - 1)) - base) / PAGE) as usize);
    }
    let fresh = USED.load(Relaxed);
    // The last one stays empty: see `build`.
    if fresh >= POOL - 1 {
        return Err(MapError::NoTable);
    }
    USED.store(fresh + 1, Relaxed);
    entry.store((base + fresh as u64 * PAGE) | TABLE_DESCRIPTOR, Relaxed);
    Ok(fresh)
}
