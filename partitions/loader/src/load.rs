//! Copy, verify, zero, clean.

use bulkhead_abi::{hypercall, loader};
use core::arch::{asm, global_asm};
use core::{ptr, slice};
use sha2::{Digest, Sha256};

global_asm!(include_str!("boot.s"));
// `boot.s` spells these numbers out.
const _: () = assert!(loader::STACK_BYTES == 4096);
const _: () = assert!(hypercall::LOADER_DONE == 0xC600_003E);
const _: () = assert!(hypercall::LOADER_FAILED == 0xC600_003F);

/// Answer to `boot.s` if every entry was loaded.
const ALL_LOADED: u64 = u64::MAX;
/// Bytes that are copied and then hashed while they are in the first-level cache.
const CHUNK: usize = 4096;

/// A 64-bit word of the load list.
///
/// # Safety
/// `address` is an aligned address within the load list's page.
unsafe fn word(address: u64) -> u64 {
    // SAFETY: by the caller; EL2 maps the page read-only for as long as the loader runs.
    unsafe { ptr::read_volatile(ptr::with_exposed_provenance(address as usize)) }
}

/// Copies `bytes` (a multiple of 16) between 16-byte aligned addresses.
///
/// # Safety
/// The source is readable and the destination writable memory that holds no Rust object.
unsafe fn copy(source: u64, destination: u64, bytes: usize) {
    // SAFETY: by the caller.
    unsafe {
        asm!("cbz {n}, 2f",
             "1: ldp {a}, {b}, [{from}], #16",
             "stp {a}, {b}, [{to}], #16",
             "subs {n}, {n}, #16",
             "b.hi 1b",
             "2:",
             n = inout(reg) bytes => _, from = inout(reg) source => _, to = inout(reg) destination => _,
             a = out(reg) _, b = out(reg) _, options(nostack));
    }
}

/// Fills `bytes` bytes from a 16-byte aligned address with zeros.
///
/// # Safety
/// The range is writable Normal memory that holds no Rust object.
unsafe fn zero(start: u64, bytes: u64) {
    let id: u64;
    // SAFETY: reading DCZID_EL0 has no effect.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) id, options(nomem, nostack)) };
    // DCZID_EL0: BS = log2 of the block in words, DZP = prohibited (Arm ARM D19.2.36).
    let block = 4u64 << (id & 0xf);
    let by_block = id & 0x10 == 0;
    let end = start + bytes;
    let mut at = start;
    while at < end {
        // SAFETY: by the caller; a block is only used where it lies within the range.
        unsafe {
            if by_block && at.is_multiple_of(block) && end - at >= block {
                asm!("dc zva, {}", in(reg) at, options(nostack));
                at += block;
            } else if end - at >= 16 {
                asm!("stp xzr, xzr, [{}]", in(reg) at, options(nostack));
                at += 16;
            } else {
                asm!("strb wzr, [{}]", in(reg) at, options(nostack));
                at += 1;
            }
        }
    }
}

/// Cleans and invalidates a range to the point of coherency.
fn clean(start: u64, bytes: u64) {
    let cache_type: u64;
    // SAFETY: reading CTR_EL0 has no effect.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack)) };
    let line = 4u64 << (cache_type >> 16 & 0xf);
    let mut at = start & !(line - 1);
    while at < start + bytes {
        // SAFETY: cleaning keeps the contents.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack)) };
        at += line;
    }
}

/// Copies one payload and says whether what arrived has the digest of the entry at `entry`.
///
/// # Safety
/// `entry` is an entry of the load list; the image's compiler put only memory of this partition and
/// its payloads there.
unsafe fn copy_verified(entry: u64, source: u64, destination: u64, bytes: u64) -> bool {
    let mut digest = Sha256::new();
    let mut done = 0;
    while done < bytes {
        let chunk = (bytes - done).min(CHUNK as u64) as usize;
        // SAFETY: by the caller; the partition is not running and nobody else has the memory, so
        // that the slice does not change while it is hashed.
        let arrived = unsafe {
            copy(source + done, destination + done, chunk);
            slice::from_raw_parts(ptr::with_exposed_provenance::<u8>((destination + done) as usize), chunk)
        };
        digest.update(arrived);
        done += chunk as u64;
    }
    let found = digest.finalize();
    found.chunks_exact(8).enumerate().all(|(index, eight)| {
        // SAFETY: the digest's words lie within the entry.
        let expected = unsafe { word(entry + loader::ENTRY_SHA256 as u64 + 8 * index as u64) };
        eight == expected.to_le_bytes()
    })
}

/// Works the list off; returns the index of the first entry that failed, or [`ALL_LOADED`].
fn load(list: u64) -> u64 {
    let (list, start) = (list & !loader::start::MASK, list & loader::start::MASK);
    // SAFETY: EL2 enters with the list's address; a page is there, and the count is bounded to it.
    let count = unsafe { word(list + loader::ENTRY_COUNT as u64) } & 0xffff_ffff;
    for index in 0..count.min(loader::ENTRIES_MAX as u64) {
        let entry = list + loader::ENTRIES as u64 + index * loader::ENTRY_STRIDE as u64;
        // SAFETY: within the list's page.
        let [source, destination, bytes, kept] =
            [loader::ENTRY_SOURCE, loader::ENTRY_DESTINATION, loader::ENTRY_BYTES, loader::ENTRY_FLAGS]
                .map(|field| unsafe { word(entry + field as u64) });
        if kept >> start & 1 != 0 {
            // The guest begins with its caches off: what it kept must be in memory, not in a cache
            // (docs/caches.md).
            clean(destination, bytes);
            continue;
        }
        // SAFETY: the entry names memory of this partition, none of it the loader's stack.
        let good = unsafe {
            if source == 0 {
                zero(destination, bytes);
                true
            } else {
                copy_verified(entry, source, destination, bytes)
            }
        };
        clean(destination, bytes);
        if !good {
            return index;
        }
    }
    if count > loader::ENTRIES_MAX as u64 {
        return loader::ENTRIES_MAX as u64;
    }
    ALL_LOADED
}

// `boot.s` calls it by name.
const _: () = {
    #[unsafe(no_mangle)]
    extern "C" fn __bulkhead_load(list: u64) -> u64 {
        load(list)
    }
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the loader; EL2 halts the partition.
    unsafe {
        asm!("hvc #0", in("x0") hypercall::LOADER_FAILED, in("x1") loader::ENTRIES_MAX,
             options(noreturn, nostack))
    }
}
