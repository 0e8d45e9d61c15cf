//! EL1 runtime for Rust partitions: what stands between the reset state that PSCI and the arm64
//! boot protocol leave and an `async fn` with a priority.
//!
//! The same ELF runs as a Bulkhead partition and bare at EL1 on QEMU `virt`: hypervisor, interrupt
//! controller and console are found at run time ([`hypercall::present`], [`device_tree`]). Bare, the
//! ports are absent and [`Partition::info`] is `None`.
//!
//! Principles
//! 1. `unsafe` lives here, so that a partition's own code needs none.
//! 2. Writable memory is never executable; stacks end at unmapped pages; nothing is mapped that the
//!    device tree or EL2 did not name.
//! 3. Interrupts nest by GIC priority: each [`executor::InterruptExecutor`] has one, a task of a
//!    higher one pre-empts a task of a lower one, and [`executor::ThreadExecutor`] runs below all.
//! 4. A fault or a panic says what happened on the console, tells EL2, and stops the partition.
//!
//! Honest limits: one CPU; no heap; identity mapping below 512 GiB; no FP/SIMD registers
//! (`aarch64-unknown-none-softfloat`); message-signalled interrupts are not supported.
//!
//! Reading order: [`boot`] (entry), `mmu`, `exception`, [`interrupt`], [`time`], [`executor`],
//! [`hypercall`], [`info`], [`health`], [`trace`], [`ports`], [`console`], [`gpio`], [`manifest`].
#![no_std]

pub mod boot;
pub mod console;
mod critical;
pub mod device_tree;
mod exception;
pub mod executor;
mod gic;
pub mod gpio;
pub mod health;
pub mod hypercall;
pub mod info;
pub mod interrupt;
pub mod manifest;
mod mmio;
mod mmu;
pub mod ports;
pub mod registers;
pub mod time;
pub mod trace;

pub use boot::Partition;
pub use bulkhead_abi as abi;
