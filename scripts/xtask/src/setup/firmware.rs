//! Start-up firmware of the Raspberry Pi 4 from Debian's packages, unpacked in the user's cache. It is not free
//! software: it is downloaded, never part of the repository.

use std::path::{Path, PathBuf};

use super::apt::{self, PrivateApt, StateRequest};
use super::mirror::Host;
use crate::failure::{Failure, Result};
use crate::files::{self, Stamp};

/// Changes whenever what [`ensure`] leaves on disk changes its shape.
const LAYOUT: &str = "1";
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 2] = ["raspi-firmware", "arm-trusted-firmware"];

/// Firmware unpacked in the cache.
pub struct Firmware {
    root: PathBuf,
}

impl Firmware {
    /// A file of the VideoCore's firmware, as `start4.elf`.
    ///
    /// # Errors
    /// The package has none of that name.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        self.read(&self.root.join("usr/lib/raspi-firmware").join(name))
    }

    /// Trusted Firmware-A for the Raspberry Pi 4, to be started in the place of the stock start-up code.
    ///
    /// # Errors
    /// The package has none.
    pub fn trusted(&self) -> Result<Vec<u8>> {
        self.read(&self.root.join("usr/lib/arm-trusted-firmware/rpi4/bl31.bin"))
    }

    /// Its licence, which has to go with every copy.
    ///
    /// # Errors
    /// The package has none.
    pub fn licence(&self) -> Result<Vec<u8>> {
        self.read(&self.root.join("usr/share/doc/raspi-firmware/copyright"))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        files::read(path).map_err(|failure| {
            Failure::unusable(format!(
                "{failure}\nDebian's package has changed or its copy is damaged: remove {} and run the same command \
                 again",
                self.root.display()
            ))
        })
    }
}

/// Makes sure that the firmware is unpacked in the cache.
///
/// # Errors
/// It cannot be downloaded; the message says how to go on.
pub fn ensure(cache: &Path) -> Result<Firmware> {
    let root = cache.join("raspi-firmware");
    let stamp = Stamp::new(root.join("stamp"), LAYOUT.to_owned());
    if stamp.is_current() {
        return Ok(Firmware { root });
    }
    println!(
        "reading the package lists of Debian {SUITE} for the Raspberry Pi's firmware (about 10 MB, 5 s)"
    );
    let state = PrivateApt::create(&StateRequest {
        directory: cache.join("apt-firmware"),
        architecture: "arm64",
        foreign: &[],
        suites: &[(Host::read()?.mirror()?, SUITE)],
        components: "main non-free-firmware",
        proxies: apt::host_proxies()?,
        installed: None,
    })?;
    state.update()?;
    let downloads = state.resolve(&PACKAGES.map(str::to_owned))?;
    state.discard()?;
    let store = cache.join("packages");
    apt::fetch("Raspberry Pi's firmware", &downloads, &store)?;
    let partial = cache.join("raspi-firmware.part");
    files::remove_dir(&partial)?;
    apt::unpack(&downloads, &store, &partial)?;
    files::remove_dir(&root)?;
    files::rename(&partial, &root)?;
    stamp.set()?;
    apt::discard(&downloads, &store)?;
    Ok(Firmware { root })
}
