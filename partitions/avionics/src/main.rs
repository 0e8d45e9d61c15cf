//! The partitions of `config/examples/avionics.dts`; see [`partition`] for what they do.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod partition;
#[cfg(target_os = "none")]
mod roles;

/// The partitions exist for the bare-metal target only.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("avionics runs at EL1 only: build it for aarch64-unknown-none-softfloat");
    std::process::exit(2);
}
