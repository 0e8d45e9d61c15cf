//! `cargo xtask lint`: rules of the house that neither the compiler nor clippy knows.

pub mod arrows;
mod panics;
mod sources;
pub mod stack;

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::{bindings, header, sbom};

/// Checks the repository, and those of EL2's binaries that are there.
///
/// # Errors
/// All findings at once.
pub fn check(root: &Path, el2: &[PathBuf]) -> Result<()> {
    let mut found = sources::check(root)?;
    found.extend(arrows::check(root)?);
    for generated in [header::check(root), sbom::check(root), bindings::check(root)] {
        found.extend(generated.err().map(|failure| failure.to_string()));
    }
    for binary in el2.iter().filter(|binary| binary.exists()) {
        found.extend(panics::check(binary)?);
        found.extend(stack::check(binary)?);
    }
    if found.is_empty() {
        println!("lint: nothing found");
        return Ok(());
    }
    Err(Failure::failed(format!("lint: {} finding(s)\n{}", found.len(), found.join("\n"))))
}
