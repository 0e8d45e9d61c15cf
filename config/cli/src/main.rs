//! The bulkhead command.
fn main() {}
