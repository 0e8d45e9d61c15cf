//! What a partition may rely on: hypercall numbers, status codes, and the layouts of the memory
//! that it shares with EL2 and with its peers.
//!
//! Principles
//! 1. Arguments are values and indices, never guest pointers.
//! 2. Whatever EL2 can say without being asked stands in a read-only page; asking costs no trap.
//! 3. Ports are memory: this crate fixes where each word lies, `bulkhead-ports` how it is used.
//! 4. The C header is generated from these constants (`cargo xtask header`), so that Rust and C
//!    cannot drift apart.
//!
//! Honest limits: layouts are little-endian AArch64 only; the version is raised when a layout
//! changes, there is no negotiation beyond [`ABI_VERSION`].
//!
//! Reading order: [`hypercall`], [`status`], [`info`], [`port`], [`health`], [`trace`], [`loader`].
#![no_std]
#![forbid(unsafe_code)]

pub mod health;
pub mod hypercall;
pub mod info;
pub mod loader;
pub mod port;
pub mod status;
pub mod trace;

/// Version of everything in this crate: major in bits 31:16, minor in bits 15:0.
/// Also the answer of [`hypercall::REVISION`] (major in x0, minor in x1).
pub const ABI_VERSION: u32 = 0x0001_0000;

/// Size of a page of shared memory and granule of every translation table, in bytes.
pub const PAGE_BYTES: u64 = 4096;
