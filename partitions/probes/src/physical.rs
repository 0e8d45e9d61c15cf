//! Accesses with the partition's own MMU off: what happens is stage 2's and EL2's doing alone.
//!
//! Data accesses are Device memory then: keep to natural alignment, and do not use them on memory
//! that is also accessed through the caches.

use crate::fault::{self, Fault};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

global_asm!(include_str!("physical.s"));

unsafe extern "C" {
    fn __probes_physical(address: u64, value: u64, operation: u64) -> u64;
    fn __probes_walk(root: u64) -> !;
    static __probes_physical_end: u8;
}

/// Width of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Width {
    /// 1 byte.
    Byte = 0,
    /// 2 bytes.
    Half = 1,
    /// 4 bytes.
    Word = 2,
    /// 8 bytes.
    Double = 3,
}

impl Width {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Byte, Self::Half, Self::Word, Self::Double];

    /// Bytes.
    pub fn bytes(self) -> u64 {
        1 << self as u64
    }
}

const STORE: u64 = 4;
const EXECUTE: u64 = 8;
const LOAD_PAIR: u64 = 9;
const LOAD_WRITE_BACK: u64 = 10;
const LOAD_EXCLUSIVE: u64 = 11;

fn perform(address: u64, value: u64, operation: u64) -> Result<u64, Fault> {
    let resume = (&raw const __probes_physical_end).addr() as u64;
    let (value, fault) = fault::catch_at(resume, || {
        // SAFETY: the function restores the MMU and all registers that the C ABI keeps, on every way
        // out. What is accessed is the probe's business: callers name devices or foreign addresses,
        // never an object of this program.
        unsafe { __probes_physical(address, value, operation) }
    });
    match fault {
        None => Ok(value),
        Some(fault) => Err(fault),
    }
}

/// Loads from `address`, which is naturally aligned.
///
/// # Errors
/// The exception that EL2 injected.
pub fn read(address: u64, width: Width) -> Result<u64, Fault> {
    perform(address, 0, width as u64)
}

/// Stores to `address`, which is naturally aligned and no part of the image.
///
/// # Errors
/// The exception that EL2 injected.
pub fn write(address: u64, value: u64, width: Width) -> Result<(), Fault> {
    perform(address, value, STORE + width as u64).map(drop)
}

/// Branches to `address`; what lies there must return (`ret`) or fault.
///
/// # Errors
/// The exception that EL2 injected.
pub fn execute(address: u64) -> Result<(), Fault> {
    perform(address, 0, EXECUTE).map(drop)
}

/// Loads two registers from `address`: an access whose abort has no syndrome.
///
/// # Errors
/// The exception that EL2 injected.
pub fn read_pair(address: u64) -> Result<(), Fault> {
    perform(address, 0, LOAD_PAIR).map(drop)
}

/// Loads a word with write-back of the address: an access whose abort has no syndrome.
///
/// # Errors
/// The exception that EL2 injected.
pub fn read_write_back(address: u64) -> Result<(), Fault> {
    perform(address, 0, LOAD_WRITE_BACK).map(drop)
}

/// Loads a word and marks it for an exclusive store: an access whose abort has no syndrome.
///
/// # Errors
/// The exception that EL2 injected.
pub fn read_exclusive(address: u64) -> Result<(), Fault> {
    perform(address, 0, LOAD_EXCLUSIVE).map(drop)
}

/// A root table of stage 1: 1 GiB for each entry, in 39 bits (Arm ARM D8.3).
#[repr(C, align(4096))]
struct Root([AtomicU64; 512]);

static ROOT: Root = Root([const { AtomicU64::new(0) }; 512]);

/// Zeroes the block of memory that holds `address`, from 1 GiB up to 2 GiB, by DC ZVA. Device memory refuses that
/// at stage 1 already, and so does memory with the MMU off: the runtime's tables are extended by a GiB of Normal
/// memory.
///
/// # Errors
/// The exception that EL2 injected.
pub fn zero_block(address: u64) -> Result<(), Fault> {
    const GIB: u64 = 1 << 30;
    /// Entry that the runtime leaves free.
    const FREE: u64 = 4;
    /// Block, Normal write-back, inner shareable, access flag, never executed.
    const NORMAL: u64 = 0b01 | 0b11 << 8 | 1 << 10 | 0b11 << 53;
    let current: u64;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("mrs {}, ttbr0_el1", out(reg) current, options(nomem, nostack, preserves_flags)) };
    for (index, entry) in ROOT.0.iter().enumerate() {
        // SAFETY: the runtime's root is 512 words that only ever gain entries, mapped as its data is.
        let word = unsafe { core::ptr::with_exposed_provenance::<u64>(current as usize).add(index).read() };
        entry.store(word, Relaxed);
    }
    ROOT.0[FREE as usize].store(GIB | NORMAL, Relaxed);
    let root = core::ptr::from_ref(&ROOT).addr() as u64;
    let ((), fault) = fault::catch(|| {
        // SAFETY: the new root holds all that the old one held. The block is no object of this program: callers
        // name memory that is not theirs.
        unsafe {
            asm!("dsb sy", "msr ttbr0_el1, {root}", "isb", "tlbi vmalle1", "dsb nsh", "isb", "dc zva, {block}",
                 root = in(reg) root, block = in(reg) FREE * GIB + (address & (GIB - 1)),
                 options(nostack, preserves_flags));
        }
    });
    fault.map_or(Ok(()), Err)
}

/// Loads from `address` (or stores `value` there), aligned or not, with what the runtime maps as devices
/// taken for Normal memory meanwhile: from Device memory a misaligned access faults before EL2 sees it.
/// `width` is more than a byte. Interrupts are masked.
///
/// # Errors
/// The exception that EL2 injected.
pub fn access_as_normal(address: u64, width: Width, value: Option<u64>) -> Result<(), Fault> {
    /// MAIR_EL1, attribute 1, which the runtime gives to devices: Normal, non-cacheable.
    const DEVICES_NORMAL: u64 = 0x44 << 8;
    let mair: u64;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("mrs {}, mair_el1", out(reg) mair, options(nomem, nostack, preserves_flags)) };
    set_mair(mair & !(0xff << 8) | DEVICES_NORMAL);
    let ((), fault) = fault::catch(|| {
        let (loaded, stored) = (value.is_none(), value.unwrap_or(0));
        // SAFETY: the address is a device's (callers name registers), no object of this program; a fault
        // leaves the destination as it was.
        unsafe {
            match (width, loaded) {
                (Width::Byte | Width::Half, true) => {
                    asm!("ldrh wzr, [{}]", in(reg) address, options(nostack))
                }
                (Width::Word, true) => asm!("ldr wzr, [{}]", in(reg) address, options(nostack)),
                (Width::Double, true) => asm!("ldr xzr, [{}]", in(reg) address, options(nostack)),
                (Width::Byte | Width::Half, false) => {
                    asm!("strh {:w}, [{}]", in(reg) stored, in(reg) address, options(nostack));
                }
                (Width::Word, false) => {
                    asm!("str {:w}, [{}]", in(reg) stored, in(reg) address, options(nostack))
                }
                (Width::Double, false) => {
                    asm!("str {}, [{}]", in(reg) stored, in(reg) address, options(nostack))
                }
            }
        }
    });
    set_mair(mair);
    fault.map_or(Ok(()), Err)
}

fn set_mair(value: u64) {
    // SAFETY: only how devices are accessed changes, and no device is between the two calls.
    unsafe {
        asm!("dsb sy", "msr mair_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) value,
             options(nostack, preserves_flags));
    }
}

/// Makes the table at `root`, which is foreign, this CPU's translation table: the walk for the next
/// instruction faults at stage 2. What happens then is EL2's decision; this program is over.
pub fn walk(root: u64) -> ! {
    // SAFETY: it does not return, so that no memory of this program is used any more.
    unsafe { __probes_walk(root) }
}
