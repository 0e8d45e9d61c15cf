//! EL1 runtime for Rust partitions.
