//! How long before a window's end EL2 takes the CPU back.
//!
//! The guard is the board's (partition switch and longest visit) and, on a CPU with windows that ask for cleaning, the
//! dearest of these: EL2 cleans ahead of the planned start, in the time of the window before.

use crate::model::{BootMethod, Clean, CpuIndex, System, Window};

/// Cost of one kind of cleaning on a board.
#[derive(Debug, Clone, Copy)]
pub struct Cost<'a> {
    /// What is cleaned.
    pub what: Clean,
    /// How long it takes.
    pub ns: u64,
    /// How that was measured on the board; none for an estimate.
    pub measured: Option<&'a str>,
}

/// Cost of cleaning `what` on the board; `None` where the board cannot or nobody knows.
pub fn cleaning(system: &System, what: Clean) -> Option<Cost<'_>> {
    let facts = &system.board.facts;
    let costs = &facts.cleaning;
    let (ns, measured) = match what {
        Clean::L1Cache => (costs.l1_cache_ns, &costs.l1_cache_measured),
        // Without PSCI there is no firmware that answers an SMC.
        Clean::BranchPredictor if facts.cpu_boot != BootMethod::PsciSmc => return None,
        Clean::BranchPredictor => (costs.branch_predictor_ns, &costs.branch_predictor_measured),
    };
    Some(Cost { what, ns: ns?, measured: measured.as_deref() })
}

/// What cleaning before `window` takes.
fn cleaning_of(system: &System, window: &Window) -> u64 {
    let costs = window.clean.iter().filter_map(|clean| cleaning(system, clean.value));
    costs.map(|cost| cost.ns).sum()
}

/// The guard of one CPU, in all plans, as the board and its cleanings add up.
pub fn nominal(system: &System, cpu: CpuIndex) -> u64 {
    let schedules = system.plans.iter().flat_map(|plan| &plan.cpus);
    let own = schedules.filter(|c| c.cleans && c.cpu.value == cpu);
    let cleanings = own.flat_map(|c| &c.windows).map(|w| cleaning_of(system, w));
    system.board.facts.window_guard_ns.saturating_add(cleanings.max().unwrap_or(0))
}

/// The longest [`nominal`] guard of any CPU.
pub fn longest_nominal(system: &System) -> u64 {
    let guards = (0..system.board.cpus.len()).map(|cpu| nominal(system, cpu));
    guards.max().unwrap_or(system.board.facts.window_guard_ns)
}

/// What EL2 takes for `ns`: it counts whole ticks, rounded up. At most one nanosecond more.
fn in_ticks(system: &System, ns: u64) -> u64 {
    let hz = u128::from(system.board.facts.counter_hz.max(1));
    let ticks = (u128::from(ns) * hz).div_ceil(1_000_000_000);
    u64::try_from((ticks * 1_000_000_000).div_ceil(hz)).unwrap_or(u64::MAX)
}

/// The guard of one CPU, in all plans, as it is taken off every window.
pub fn guard_of(system: &System, cpu: CpuIndex) -> u64 {
    in_ticks(system, nominal(system, cpu))
}

/// The longest guard of any CPU: what concerns all CPUs waits for it.
pub fn longest_guard(system: &System) -> u64 {
    in_ticks(system, longest_nominal(system))
}

/// What windows of the system clean, each kind once, with its cost where it is known.
pub fn asked(system: &System) -> Vec<Cost<'_>> {
    let windows = || system.plans.iter().flat_map(|plan| &plan.cpus).flat_map(|c| &c.windows);
    let kinds = [Clean::L1Cache, Clean::BranchPredictor].into_iter();
    let asked = kinds.filter(|kind| windows().flat_map(|w| &w.clean).any(|c| c.value == *kind));
    asked.filter_map(|kind| cleaning(system, kind)).collect()
}
