//! Host tests of the pure parts of the GIC drivers. The crate itself exists for AArch64 only, so
//! the modules are compiled here by path, with the tests that stand in them.

#[path = "../src/gic/formats.rs"]
mod formats;
#[path = "../src/gic/turn.rs"]
mod turn;
