//! The one driver of the repository.
fn main() {}
