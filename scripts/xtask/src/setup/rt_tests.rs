//! Debian's rt-tests (cyclictest) for arm64 with its libraries, unpacked in the user's cache.

use std::path::{Path, PathBuf};

use super::apt::{self, PrivateApt, StateRequest};
use super::lock;
use super::mirror::Host;
use crate::failure::Result;
use crate::files::{self, Stamp};

/// Changes whenever what [`ensure`] leaves on disk changes its shape.
const LAYOUT: &str = "1";
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 3] = ["rt-tests", "libnuma1", "libc6"];

/// Files of the packages that cyclictest needs: where they go in an initramfs, and where they are.
pub const FILES: [(&str, &str); 6] = [
    ("bin/cyclictest", "usr/bin/cyclictest"),
    ("lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"),
    ("lib/libc.so.6", "lib/aarch64-linux-gnu/libc.so.6"),
    ("lib/libpthread.so.0", "lib/aarch64-linux-gnu/libpthread.so.0"),
    ("lib/librt.so.1", "lib/aarch64-linux-gnu/librt.so.1"),
    ("lib/libnuma.so.1", "usr/lib/aarch64-linux-gnu/libnuma.so.1"),
];

/// Makes sure that the packages are unpacked in the cache, and returns where.
///
/// # Errors
/// They cannot be downloaded; the message says how to go on.
pub fn ensure(cache: &Path) -> Result<PathBuf> {
    let _lock = lock::take(cache)?;
    let root = cache.join("rt-tests");
    let stamp = Stamp::new(root.join("stamp"), LAYOUT.to_owned());
    if stamp.is_current() {
        return Ok(root);
    }
    println!("reading the package lists of Debian {SUITE} for cyclictest (about 10 MB, 5 s)");
    let state = PrivateApt::create(&StateRequest {
        directory: cache.join("apt-rt-tests"),
        architecture: "arm64",
        foreign: &[],
        suites: &[(Host::read()?.mirror()?, SUITE)],
        components: "main",
        proxies: apt::host_proxies()?,
        installed: None,
    })?;
    state.update()?;
    let downloads = state.resolve(&PACKAGES.map(str::to_owned))?;
    state.discard()?;
    let store = cache.join("packages");
    apt::fetch("Debian's rt-tests", &downloads, &store)?;
    let partial = cache.join("rt-tests.part");
    files::remove_dir(&partial)?;
    apt::unpack(&downloads, &store, &partial)?;
    files::remove_dir(&root)?;
    files::rename(&partial, &root)?;
    stamp.set()?;
    apt::discard(&downloads, &store)?;
    Ok(root)
}
