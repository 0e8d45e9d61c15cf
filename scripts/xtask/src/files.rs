//! File operations whose errors name the path, atomic replacement, and content keys for stamps.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Failure::file("read", path, &e))
}

/// Reads a whole UTF-8 file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))
}

/// Creates a directory and its parents.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Failure::file("create directory", path, &e))
}

/// Removes a directory tree if it exists.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::file("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Renames a finished temporary file or directory into its place.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Failure::file("rename into place", to, &e))
}

/// Writes a file under a temporary name and renames it: readers never see half of it.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, content).map_err(|e| Failure::file("write", &temporary, &e))?;
    rename(&temporary, path)
}

/// Copies a file, keeping its permissions, and replaces the target in one step.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let temporary = to.with_file_name(name);
    fs::copy(from, &temporary).map_err(|e| Failure::file("copy", from, &e))?;
    rename(&temporary, to)
}

/// Copies a tree of files and directories; symbolic links are followed.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in list(from)? {
        let relative = file.strip_prefix(from).unwrap_or(&file);
        copy(&file, &to.join(relative))?;
    }
    Ok(())
}

/// All files below a directory, sorted by path. A missing directory has none.
pub fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| Failure::file("list", &dir, &e))?,
        };
        for entry in entries {
            let path = entry.map_err(|e| Failure::file("list", &dir, &e))?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a generated file is what its generator would write now; else what to do about it.
pub fn is_current(path: &Path, expected: &str, command: &str) -> std::result::Result<(), String> {
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    let line = (1..)
        .zip(found.lines().map(Some).chain(std::iter::repeat(None)))
        .zip(expected.lines().map(Some).chain(std::iter::repeat(None)))
        .find(|((_, found), expected)| found != expected)
        .map_or(0, |((line, _), _)| line);
    Err(format!("{}:{line} is out of date; run `{command}` and commit what it writes", path.display()))
}

/// A key that changes when a name or content given to it changes.
#[derive(Default)]
pub struct Key(DefaultHasher);

impl Key {
    /// Adds a text with its length, so that two texts never read as one.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
        self
    }

    /// Adds the relative names and contents of all files below a directory.
    pub fn tree(&mut self, root: &Path) -> Result<&mut Self> {
        for file in list(root)? {
            self.text(&file.strip_prefix(root).unwrap_or(&file).to_string_lossy());
            self.bytes(&read(&file)?);
        }
        Ok(self)
    }

    /// The key as text.
    pub fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// A file that records the key a directory of products was made with.
pub struct Stamp {
    path: PathBuf,
    key: String,
}

impl Stamp {
    /// A stamp at `path` for products made with `key`.
    pub fn new(path: PathBuf, key: String) -> Self {
        Stamp { path, key }
    }

    /// Whether the products on disk were completed with this very key.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.key)
    }

    /// Records that the products are complete.
    pub fn set(&self) -> Result<()> {
        write(&self.path, self.key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-files-{name}-{}", std::process::id()));
        remove_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn key_depends_on_names_contents_and_boundaries() {
        let dir = scratch("key");
        write(&dir.join("a"), b"1").unwrap();
        let first = Key::default().tree(&dir).unwrap().finish();
        write(&dir.join("a"), b"2").unwrap();
        let changed = Key::default().tree(&dir).unwrap().finish();
        fs::rename(dir.join("a"), dir.join("b")).unwrap();
        let renamed = Key::default().tree(&dir).unwrap().finish();
        assert_ne!(first, changed);
        assert_ne!(changed, renamed);
        let (mut joined, mut split) = (Key::default(), Key::default());
        assert_ne!(joined.text("ab").text("c").finish(), split.text("a").text("bc").finish());
        remove_dir(&dir).unwrap();
    }

    #[test]
    fn an_outdated_file_is_named_with_the_first_line_that_differs() {
        let dir = scratch("current");
        let file = dir.join("made");
        write(&file, b"a\nb\n").unwrap();
        assert_eq!(is_current(&file, "a\nb\n", "make it"), Ok(()));
        for (expected, line) in [("a\nc\n", 2), ("a\nb\nc\n", 3), ("a\n", 2)] {
            let message = is_current(&file, expected, "make it").unwrap_err();
            assert!(message.contains(&format!("made:{line} ")), "{message}");
            assert!(message.contains("`make it`"), "{message}");
        }
        remove_dir(&dir).unwrap();
    }

    #[test]
    fn stamp_is_current_only_with_its_key() {
        let dir = scratch("stamp");
        let stamp = Stamp::new(dir.join("stamp"), "one".into());
        assert!(!stamp.is_current());
        stamp.set().unwrap();
        assert!(stamp.is_current());
        assert!(!Stamp::new(dir.join("stamp"), "two".into()).is_current());
        remove_dir(&dir).unwrap();
    }

    #[test]
    fn copy_tree_keeps_relative_names_and_leaves_no_temporary_file() {
        let dir = scratch("tree");
        write(&dir.join("from/x/y"), b"deep").unwrap();
        copy_tree(&dir.join("from"), &dir.join("to")).unwrap();
        assert_eq!(list(&dir.join("to")).unwrap(), [dir.join("to/x/y")]);
        assert_eq!(read(&dir.join("to/x/y")).unwrap(), b"deep");
        remove_dir(&dir).unwrap();
    }
}
