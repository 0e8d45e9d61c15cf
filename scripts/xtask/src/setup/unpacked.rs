//! Packages of Debian's arm64 archive, unpacked in the user's cache and used from there.

use std::path::{Path, PathBuf};

use super::apt::{self, PrivateApt, StateRequest};
use super::lock;
use super::mirror::Host;
use crate::failure::Result;
use crate::files::{self, Stamp};

const SUITE: &str = "bookworm";

/// Packages that are unpacked together.
pub struct Unpacked {
    /// Their directory in the cache.
    pub name: &'static str,
    /// What they are to the user, as `the Raspberry Pi's firmware`.
    pub what: &'static str,
    /// Changes whenever what is left on disk changes its shape or the list changes.
    pub layout: &'static str,
    /// Components of the archive, separated by blanks.
    pub components: &'static str,
    /// Names of the packages.
    pub packages: &'static [&'static str],
}

impl Unpacked {
    /// Makes sure that the packages are unpacked in the cache, and returns where.
    ///
    /// # Errors
    /// They cannot be downloaded; the message says how to go on.
    pub fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let _lock = lock::take(cache)?;
        let root = cache.join(self.name);
        let stamp = Stamp::new(root.join("stamp"), self.layout.to_owned());
        if stamp.is_current() {
            return Ok(root);
        }
        println!("reading the package lists of Debian {SUITE} for {} (about 10 MB, 5 s)", self.what);
        let state = PrivateApt::create(&StateRequest {
            directory: cache.join(format!("apt-{}", self.name)),
            architecture: "arm64",
            foreign: &[],
            suites: &[(Host::read()?.mirror()?, SUITE)],
            components: self.components,
            proxies: apt::host_proxies()?,
            installed: None,
        })?;
        state.update()?;
        let downloads =
            state.resolve(&self.packages.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        state.discard()?;
        let store = cache.join("packages");
        apt::fetch(self.what, &downloads, &store)?;
        let partial = cache.join(format!("{}.part", self.name));
        files::remove_dir(&partial)?;
        apt::unpack(&downloads, &store, &partial)?;
        files::remove_dir(&root)?;
        files::rename(&partial, &root)?;
        stamp.set()?;
        apt::discard(&downloads, &store)?;
        Ok(root)
    }
}
