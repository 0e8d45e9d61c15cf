//! Time, computed: what each vCPU is given under each plan, and what follows from it for requirements and ports.
//!
//! Reading order: [`guard`] (what a switch takes), [`simulate`] (what EL2's scheduler does), [`supply`] (what a schedule
//! gives), [`jobs`] (when the work of each release starts and ends), [`change`] (the same while plans change),
//! [`blackout`], [`ports`] (age and latency), [`transient`] (what entering a plan costs once), [`facts`] (all of
//! it as data for reports). The TMP rules compare these figures with what the configuration requires.
//!
//! The model: the window guard (partition switch, longest EL2 visit, cleaning) is charged to the end of every window. A
//! release happens at `offset + k * period` from the start of the major frame; its work is done when the vCPU has
//! been given `duration` since. A partition whose CPUs are in no plan has them all the time, and its releases have
//! no phase to any plan.

pub mod blackout;
pub mod change;
pub mod facts;
pub mod guard;
pub mod jobs;
pub mod ports;
pub mod simulate;
pub mod supply;
pub mod transient;
