//! Pure machines of EL2: what decides, without touching hardware.
//!
//! Principles
//! 1. No register, no pointer, no allocation: `hv/arch` reads the hardware, asks a machine here, and
//!    carries out the answer. So every machine runs under `cargo test` on any host.
//! 2. State that several CPUs touch is a word with one writer, or stands under the [`lock::Lock`]
//!    of one partition. State of a single CPU is plain and taken by `&mut`.
//! 3. Whatever a guest may feed in is masked or looked up with `get`: no panic, no recursion, no
//!    loop without a static bound.
//! 4. Text is made by [`text`], one bounded line at a time, never by `core::fmt`.
//!
//! Honest limits: each module names its own.
//!
//! Reading order: traps ([`abort`], [`sysreg`], [`smccc`], [`psci`]), console ([`ring`], [`pl011`],
//! [`serial`], [`console`]), faults ([`health_log`], [`report`], [`health_monitor`]), life and time
//! ([`authority`], [`lifecycle`], [`plan_switch`], [`schedule`], [`trace`], [`watchdog`]), boot ([`board`], [`sha256`]); [`lock`] and [`text`] serve all.
#![no_std]
#![forbid(unsafe_code)]

pub mod abort;
pub mod authority;
pub mod board;
pub mod console;
pub mod health_log;
pub mod health_monitor;
pub mod lifecycle;
pub mod lock;
pub mod pl011;
pub mod plan_switch;
pub mod psci;
pub mod report;
pub mod ring;
pub mod roster;
pub mod schedule;
pub mod serial;
pub mod sha256;
pub mod smccc;
pub mod sysreg;
pub mod text;
pub mod trace;
pub mod watchdog;
