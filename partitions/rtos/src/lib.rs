//! The control application of the reference RTOS partition, free of hardware: plant and controller,
//! set-points, statistics, messages. The binary beside it gives it time, priorities and ports.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod control;
pub mod setpoint;
pub mod state;
pub mod statistics;
