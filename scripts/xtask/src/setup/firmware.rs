//! Start-up firmware of the Raspberry Pi 4 from Debian's packages, unpacked in the user's cache. It is not free
//! software: it is downloaded, never part of the repository.

use std::path::{Path, PathBuf};

use super::unpacked::Unpacked;
use crate::failure::{Failure, Result};
use crate::files;

const PACKAGES: Unpacked = Unpacked {
    name: "raspi-firmware",
    what: "the Raspberry Pi's firmware",
    layout: "1",
    components: "main non-free-firmware",
    packages: &["raspi-firmware", "arm-trusted-firmware"],
};

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
    Ok(Firmware { root: PACKAGES.ensure(cache)? })
}
