//! The EL1 loader: fills a partition's memory from its pristine payloads, in the partition's own
//! window and VMID, so that EL2 never maps guest memory.
//!
//! It obeys the list of [`bulkhead_abi::loader`]: copies and verifies, or fills with zeros, and cleans
//! every line to the point of coherency, because the partition starts with its caches off. The list
//! is part of the sealed image and believed, but for its count.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod load;

/// The loader exists for the bare-metal target only.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("loader runs at EL1 only: build it for aarch64-unknown-none-softfloat");
    std::process::exit(2);
}
