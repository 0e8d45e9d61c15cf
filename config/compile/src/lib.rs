//! Configuration compiler of Bulkhead: a device-tree source file becomes one packed image.
//!
//! Reading order, front end: [`dtc`] runs the device-tree compiler and [`dts`] reads its annotated output
//! ([`dtb`] reads a blob instead); [`read`]
//! turns that tree into the typed [`model`]; [`closure`] says what a granted device needs; [`rules`] judge the model;
//! [`diag`] shows what they found.
//! [`timing`] computes what rules and reports say about time.
//! [`check()`] is these steps in a row. Back end: [`mod@build`] packs the image.

#![forbid(unsafe_code)]

pub mod board;
pub mod build;
mod check;
pub mod closure;
pub mod device;
pub mod diag;
pub mod doubts;
pub mod dtb;
pub mod dtc;
pub mod dts;
pub mod health;
pub mod model;
pub mod node;
pub mod plan;
pub mod read;
pub mod rules;
pub mod span;
pub mod timing;

pub use build::{BuildReport, BuildRequest, Failure, build};
pub use check::{CheckOptions, Checked, check, check_blob};
pub use dtc::Unusable;
