//! Hostile and measuring payloads.
fn main() {}
