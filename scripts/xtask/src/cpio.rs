//! A reproducible initramfs archive: the "newc" format of the Linux kernel.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Times, owners
//! and inode numbers do not depend on the machine, and entries are sorted by name, so equal
//! contents give equal bytes.

use std::collections::BTreeMap;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// Adds a regular file; `mode` are its permission bits.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.insert(path, Entry { mode: REGULAR | mode, device: (0, 0), content });
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        let content = target.as_bytes().to_vec();
        self.insert(path, Entry { mode: SYMLINK | 0o777, device: (0, 0), content });
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &str) {
        self.insert(path, Entry { mode: DIRECTORY | 0o755, device: (0, 0), content: Vec::new() });
    }

    /// Adds a character device node, which needs no rights on the machine that builds.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        let mode = CHARACTER_DEVICE | 0o600;
        self.insert(path, Entry { mode, device: (major, minor), content: Vec::new() });
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if !self.entries.contains_key(parent) {
                self.directory(parent);
            }
        }
        self.entries.insert(path.to_string(), entry);
    }

    /// The archive's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            append(&mut out, inode, path, entry);
        }
        let end = Entry { mode: 0, device: (0, 0), content: Vec::new() };
        append(&mut out, 0, "TRAILER!!!", &end);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
}

fn append(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let size = u32::try_from(entry.content.len()).expect("a file of the initramfs is below 4 GiB");
    let name_size = u32::try_from(path.len() + 1).expect("a path is below 4 GiB");
    let (major, minor) = entry.device;
    out.extend_from_slice(b"070701");
    let fields = [inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&entry.content);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.file("bin/tool", 0o755, b"abc".to_vec());
        archive.symlink("bin/sh", "busybox");
        archive.character_device("dev/console", 5, 1);
        archive
    }

    #[test]
    fn layout_is_that_of_newc() {
        let bytes = sample().finish();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000041ed", "the first entry is the directory bin");
        assert_eq!(&bytes[110..114], b"bin\0");
    }

    #[test]
    fn order_of_insertion_does_not_matter() {
        let mut other = Archive::default();
        other.character_device("dev/console", 5, 1);
        other.symlink("bin/sh", "busybox");
        other.file("bin/tool", 0o755, b"abc".to_vec());
        assert_eq!(sample().finish(), other.finish());
    }

    #[test]
    fn parents_are_added_once_and_before_their_children() {
        let archive = sample();
        let names: Vec<&str> = archive.entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["bin", "bin/sh", "bin/tool", "dev", "dev/console"]);
    }
}
