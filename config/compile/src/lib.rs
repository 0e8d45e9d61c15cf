//! Configuration compiler of Bulkhead: a device-tree source file becomes one packed image.
//!
//! Reading order, front end: `dtc` runs the device-tree compiler and `dts` reads its annotated output; `read`
//! turns that tree into the typed [`model`]; `rules` judge the model; `diag` shows what they found.
//! `check` is these steps in a row.

#![forbid(unsafe_code)]

pub mod board;
pub mod device;
pub mod health;
pub mod model;
pub mod span;
