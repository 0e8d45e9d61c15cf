//! The reference RTOS partition.
fn main() {}
