//! `cargo xtask lint`: rules of the house that neither the compiler nor clippy knows.

pub mod arrows;
mod panics;
mod sources;

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::{header, sbom};

/// Checks the repository, and the EL2 binary if it is given.
///
/// # Errors
/// All findings at once.
pub fn check(root: &Path, el2: Option<&Path>) -> Result<()> {
    let mut found = sources::check(root)?;
    found.extend(arrows::check(root)?);
    for generated in [header::check(root), sbom::check(root)] {
        found.extend(generated.err().map(|failure| failure.to_string()));
    }
    if let Some(el2) = el2 {
        found.extend(panics::check(el2)?);
    }
    if found.is_empty() {
        println!("lint: nothing found");
        return Ok(());
    }
    Err(Failure::failed(format!(
        "lint: {} finding(s)\n{}",
        found.len(),
        found.join("\n")
    )))
}
