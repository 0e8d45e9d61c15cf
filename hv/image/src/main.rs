//! The Bulkhead EL2 binary.
fn main() {}
