//! What the EL1 loader is told: a list in a page of its own, read-only, sealed in the image.
//!
//! The loader runs in the partition's VMID under a stage-2 of its own that shows the partition's
//! memory at its final addresses, the partition's writable port regions, the pristine payloads
//! read-only, the loader itself, and this list. Entered with x0 = IPA of the list, x1 = end of a
//! stack of [`STACK_BYTES`] in the partition's memory that no entry touches (the loader's last act is
//! to scrub it), MMU off, `HCR_EL2.DC` = 1 so that memory is Normal write-back cacheable.

/// IPA at which every loader runs. The loader view's window lies at and above [`WINDOW_IPA`].
pub const LOADER_IPA: u64 = 0x20_0000_0000;
/// First IPA of the window with loader, list and pristine payloads: 128 GiB, beyond any board's RAM.
pub const WINDOW_IPA: u64 = 0x20_0000_0000;
/// IPA of the load list.
pub const LIST_IPA: u64 = 0x20_0010_0000;
/// IPA from which on pristine payloads are mapped.
pub const PAYLOAD_IPA: u64 = 0x20_0020_0000;
/// Stack the loader may use, in bytes, below the address in x1.
pub const STACK_BYTES: u64 = 4096;

/// u32 at the list's start: number of entries.
pub const ENTRY_COUNT: usize = 0x00;
/// First entry.
pub const ENTRIES: usize = 0x40;
/// Bytes from one entry to the next.
pub const ENTRY_STRIDE: usize = 0x40;
/// Entries that fit into the list's page.
pub const ENTRIES_MAX: usize = (4096 - ENTRIES) / ENTRY_STRIDE;
/// In an entry, u64: source IPA, 0 to fill with zeros. 16-byte aligned.
pub const ENTRY_SOURCE: usize = 0x00;
/// In an entry, u64: destination IPA, 16-byte aligned.
pub const ENTRY_DESTINATION: usize = 0x08;
/// In an entry, u64: bytes. Copies are rounded up to 16 by the compiler, with zeros at the end;
/// the digest covers exactly these bytes.
pub const ENTRY_BYTES: usize = 0x10;
/// In an entry, u64: bit n: left alone by [`start`] n, because its memory outlives that.
pub const ENTRY_FLAGS: usize = 0x18;
/// In an entry, 32 bytes: SHA-256 of what is copied; ignored for zeros.
pub const ENTRY_SHA256: usize = 0x20;

/// Why the loader runs, in the two low bits of the list's address (x0).
pub mod start {
    /// The board was reset, and memory holds nothing.
    pub const FIRST: u64 = 0;
    /// A cold restart.
    pub const COLD: u64 = 1;
    /// A warm restart.
    pub const WARM: u64 = 2;
    /// The board was reset, and memory is as an earlier run of this image left it.
    pub const KEPT: u64 = 3;
    /// The bits.
    pub const MASK: u64 = 3;
}
