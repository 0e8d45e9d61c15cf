//! Room on the disks: a run that ends half-way for want of it has cost its user the most.

use std::path::Path;
use std::process::Command;

use super::Options;
use crate::failure::{Failure, Result};
use crate::paths::Paths;
use crate::process;

const MIB: u64 = 1 << 20;

/// What a first run of everything leaves below `target/`, in MiB.
const TESTS: u64 = 4608;
/// What a first build leaves there.
const BUILD: u64 = 1024;
/// What the cache grows to.
const CACHE: u64 = 2048;

/// Warns if a disk has less room than a first run takes; says nothing once the products are there.
///
/// # Errors
/// `df` cannot be run.
pub fn look(paths: &Paths, options: Options) -> Result<()> {
    let products = if options.lints { TESTS } else { BUILD };
    for (path, needed, present) in [
        (&paths.target, products, paths.payloads().exists()),
        (&paths.cache, CACHE, paths.cache.join("linux-6.1").exists()),
    ] {
        if present {
            continue;
        }
        let free = free_mib(path)?;
        if let Some(warning) = warning(path, needed, free) {
            println!("{warning}");
        }
    }
    Ok(())
}

fn warning(path: &Path, needed: u64, free: u64) -> Option<String> {
    (free < needed).then(|| {
        format!(
            "warning: a first run writes about {needed} MiB below {}, and its disk has {free} MiB free. Free some, or \
             name another disk by CARGO_TARGET_DIR (products) or XDG_CACHE_HOME (downloads)",
            path.display()
        )
    })
}

/// MiB that this user may still write below `path`, of which a part may not exist yet.
fn free_mib(path: &Path) -> Result<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let mut command = Command::new("df");
    command.args(["--output=avail", "--block-size=1"]).arg(existing);
    let text = process::capture(&mut command)?;
    let bytes = text.lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok());
    bytes.map(|bytes| bytes / MIB).ok_or_else(|| Failure::unusable(format!("df printed no figure: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_named_with_both_figures() {
        let text = warning(Path::new("/t"), 2000, 1999).unwrap();
        assert!(text.contains("about 2000 MiB below /t") && text.contains("1999 MiB free"), "{text}");
        assert_eq!(warning(Path::new("/t"), 2000, 2000), None);
    }

    #[test]
    fn room_is_read_for_a_directory_that_does_not_exist_yet() {
        let below = std::env::temp_dir().join("no/such/directory");
        assert!(free_mib(&below).is_ok());
    }
}
