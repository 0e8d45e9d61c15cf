//! Probes: payloads that each hold one claim of the hypervisor against what it does, from inside.
//!
//! A probe is a binary of this crate. It prints `PASS name` or `FAIL name: found ..., expected ...`
//! for each check and ends with `probe NAME: N passed, N failed`, for which the system tests wait.
//! What no safe code can do lies in this library: accesses that fault and are survived ([`fault`],
//! [`physical`]), system registers by encoding ([`sysreg`]), calls by HVC and SMC ([`smccc`]), a
//! second CPU ([`cpu`]), the interrupt controller without a driver in between ([`gic`]), a periodic
//! timer ([`timer`]), canaries in every register ([`canary`]), and single events between two readings
//! of the counter ([`meter`]).
//!
//! Honest limits: at most two vCPUs are used; faults are survived on the first one only; addresses
//! of devices are those of the canonical platform.
//!
//! The C probe in `c-kernel/` stands alone: it shows that a kernel in the style of FreeRTOS or Zephyr
//! needs nothing of ours.
#![no_std]

pub mod canary;
pub mod cpu;
pub mod fault;
pub mod gic;
pub mod meter;
pub mod physical;
pub mod random;
pub mod region;
pub mod report;
pub mod smccc;
pub mod sysreg;
pub mod timer;

pub use report::Report;
