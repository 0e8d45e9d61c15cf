//! Where the driver finds and puts things.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// Target triple of everything that runs on the board.
pub const BARE_METAL: &str = "aarch64-unknown-none-softfloat";

/// The directories the driver works in.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Root of the repository.
    pub root: PathBuf,
    /// cargo's target directory.
    pub target: PathBuf,
    /// Downloads and what is unpacked from them, shared by all clones of this user.
    pub cache: PathBuf,
}

impl Paths {
    /// Finds them from the environment: `CARGO_TARGET_DIR`, `XDG_CACHE_HOME`, `HOME`.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` says where the cache may be.
    pub fn from_environment() -> Result<Paths> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("the driver lies two directories below the root")
            .to_path_buf();
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
            .ok_or_else(|| {
                Failure::unusable("neither XDG_CACHE_HOME nor HOME is set: there is no place for downloads")
            })?
            .join("bulkhead");
        Ok(Paths { root, target, cache })
    }

    /// Products of the driver: payloads, images, test logs.
    pub fn products(&self) -> PathBuf {
        self.target.join("bulkhead")
    }

    /// Payloads that the repository's own configurations name by relative path.
    pub fn payloads(&self) -> PathBuf {
        self.products().join("payloads")
    }

    /// A bare-metal release binary built by cargo.
    pub fn bare_metal_binary(&self, name: &str) -> PathBuf {
        self.target.join(BARE_METAL).join("release").join(name)
    }
}
