//! Sampling and queuing ports (ARINC 653) over memory that a peer partition can write.
//!
//! The words lie where [`bulkhead_abi::port`] says; this crate is the protocol: who stores what in
//! which order, and what a side may believe.
//!
//! Principles
//! 1. The peer is hostile. What it wrote is copied out first and looked at afterwards; every length
//!    is compared with the configured one; slot numbers are computed here, never read.
//! 2. Nobody waits for the peer. The sampling writer and both queue ends take a fixed number of
//!    steps; a sampling reader retries at most [`sampling::RETRIES`] times.
//! 3. A peer's words count only while the epoch beside them is the one that EL2 publishes.
//! 4. No `unsafe`: memory comes through [`Memory`], which the SDK implements over shared pages and
//!    the tests over model-checked atomics.
//!
//! Honest limits: one thread of control at each end of a port (ends are `&mut`); a message is
//! delivered to the application whole or not at all, there is no peeking.
//!
//! Reading order: [`memory`], [`sampling`], [`queuing`].
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod io;
pub mod memory;
pub mod queuing;
pub mod sampling;

pub use error::{OpenError, ReceiveError, SendError};
pub use memory::{Host, Memory};
pub use queuing::{QueuingReader, QueuingWriter};
pub use sampling::{SamplingReader, SamplingWriter};
