//! The EL1 loader that fills a partition's memory.
fn main() {}
