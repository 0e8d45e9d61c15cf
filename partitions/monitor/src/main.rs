//! The monitor partition; see [`partition`] for what it does.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod partition;

/// The partition exists for the bare-metal target only; on the host its logic is tested.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("monitor runs at EL1 only: build it for aarch64-unknown-none-softfloat");
    std::process::exit(2);
}
