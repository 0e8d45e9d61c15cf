//! The monitor partition of the demo.
fn main() {}
