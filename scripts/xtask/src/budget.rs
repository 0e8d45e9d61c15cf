//! The size limits of EL2: bytes of code and constants, and lines of source.

use std::path::{Path, PathBuf};

use crate::elf::Elf;
use crate::failure::{Failure, Result};
use crate::files;
use crate::source::{self, Scan};

/// Most bytes of code and constants.
const TEXT_LIMIT: u64 = 48 * 1024;
/// Most lines of Rust and assembly, without blanks, comments and tests.
const LINES_LIMIT: usize = 6000;

/// The crates that make up EL2.
const CRATES: &[&str] = &[
    "hv/abi",
    "hv/blueprint",
    "hv/core",
    "hv/vgic",
    "hv/arch",
    "hv/image",
];

/// What EL2 takes of its limits.
pub struct Usage {
    /// Bytes of code and constants in the largest of the shipped binaries.
    pub text_bytes: u64,
    /// Lines of source, per crate.
    pub lines: Vec<(&'static str, usize)>,
}

/// Measures EL2's sources and the largest of its binaries.
pub fn measure(root: &Path, binaries: &[PathBuf]) -> Result<Usage> {
    let mut text_bytes = 0;
    for binary in binaries {
        text_bytes = text_bytes.max(Elf::parse(&files::read(binary)?)?.constant_bytes());
    }
    let mut lines = Vec::new();
    for name in CRATES {
        lines.push((*name, crate_lines(&root.join(name))?));
    }
    Ok(Usage { text_bytes, lines })
}

fn crate_lines(directory: &Path) -> Result<usize> {
    let mut total = 0;
    for file in files::list(&directory.join("src"))? {
        let is_test = file.components().any(|part| {
            let part = part.as_os_str();
            part == "tests" || part == "tests.rs"
        });
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") if !is_test => total += Scan::new(&files::read_text(&file)?).code_lines(),
            Some("s" | "S") => total += source::assembly_lines(&files::read_text(&file)?),
            _ => {}
        }
    }
    Ok(total)
}

impl Usage {
    /// All lines of source.
    pub fn total_lines(&self) -> usize {
        self.lines.iter().map(|(_, lines)| lines).sum()
    }

    /// Two lines for the summary of a build.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = self
            .lines
            .iter()
            .map(|(name, lines)| format!("{} {lines}", name.trim_start_matches("hv/")))
            .collect();
        format!(
            "EL2 text + rodata  {:.1} KiB of {} KiB\nEL2 source         {} lines of {LINES_LIMIT} ({})",
            self.text_bytes as f64 / 1024.0,
            TEXT_LIMIT / 1024,
            self.total_lines(),
            parts.join(", "),
        )
    }

    /// # Errors
    /// Names each limit that is exceeded, with both figures.
    pub fn check(&self) -> Result<()> {
        let mut over = Vec::new();
        if self.text_bytes > TEXT_LIMIT {
            over.push(format!(
                "{} bytes of text + rodata, at most {TEXT_LIMIT}",
                self.text_bytes
            ));
        }
        if self.total_lines() > LINES_LIMIT {
            over.push(format!(
                "{} lines of source, at most {LINES_LIMIT}",
                self.total_lines()
            ));
        }
        if over.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "EL2 is over its limits: {}",
            over.join("; ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_checked_and_named() {
        let usage = |text_bytes, lines| Usage {
            text_bytes,
            lines: vec![("hv/core", lines)],
        };
        assert!(usage(TEXT_LIMIT, LINES_LIMIT).check().is_ok());
        let text = usage(TEXT_LIMIT + 1, 1).check().unwrap_err().to_string();
        assert!(text.contains("49153 bytes"), "{text}");
        let lines = usage(1, LINES_LIMIT + 1).check().unwrap_err().to_string();
        assert!(lines.contains("6001 lines"), "{lines}");
    }

    #[test]
    fn summary_shows_figures_and_limits() {
        let usage = Usage {
            text_bytes: 10 * 1024,
            lines: vec![("hv/abi", 100), ("hv/core", 200)],
        };
        let summary = usage.summary();
        assert!(summary.contains("10.0 KiB of 48 KiB"), "{summary}");
        assert!(
            summary.contains("300 lines of 6000 (abi 100, core 200)"),
            "{summary}"
        );
    }
}
