//! The one error type of the driver: a message for the user and an exit code.

use std::fmt;
use std::path::Path;

/// Exit code of a step that ran and found the project wanting (a failed test, an exceeded budget).
pub const EXIT_FAILED: u8 = 1;
/// Exit code of a step that could not run at all (a missing tool, unusable input, no network).
pub const EXIT_UNUSABLE: u8 = 2;

/// Why a command of the driver ended without success.
///
/// The message names what was tried, what was found and what to do; it may span several lines.
#[derive(Debug)]
pub struct Failure {
    message: String,
    exit: u8,
}

/// Result of a step of the driver.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The step ran and failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Failure { message: message.into(), exit: EXIT_FAILED }
    }

    /// The step could not run: exit code 2.
    pub fn unusable(message: impl Into<String>) -> Self {
        Failure { message: message.into(), exit: EXIT_UNUSABLE }
    }

    /// The step ran and failed, and what it printed last says so: exit code 1.
    pub fn silent() -> Self {
        Failure::failed("")
    }

    /// Whether there is anything left to say.
    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// An operation on a file failed: exit code 2.
    pub fn file(action: &str, path: &Path, cause: &std::io::Error) -> Self {
        Failure::unusable(format!("cannot {action} {}: {cause}", path.display()))
    }

    /// The process exit code that belongs to this failure.
    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// The same failure with a line of context before it.
    pub fn within(self, context: &str) -> Self {
        Failure { message: format!("{context}: {}", self.message), exit: self.exit }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
