//! Debian's rt-tests (cyclictest) for arm64 with its libraries, unpacked in the user's cache.

use std::path::{Path, PathBuf};

use super::unpacked::Unpacked;
use crate::failure::Result;

const PACKAGES: Unpacked = Unpacked {
    name: "rt-tests",
    what: "cyclictest",
    layout: "1",
    components: "main",
    packages: &["rt-tests", "libnuma1", "libc6"],
};

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
    PACKAGES.ensure(cache)
}
