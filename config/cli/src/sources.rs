//! The board files that come with the compiler, laid out for dtc.

use bulkhead_compile::board::BUILTIN_FILES;

/// A directory that holds them; it is removed when dropped.
///
/// # Errors
/// That of the file system.
pub fn boards() -> std::io::Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    std::fs::create_dir(directory.path().join("board"))?;
    for (name, content) in BUILTIN_FILES {
        std::fs::write(directory.path().join("board").join(name), content)?;
    }
    Ok(directory)
}
