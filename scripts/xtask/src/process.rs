//! Running other programs, with errors that show the command line and what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// Runs a command with the terminal's output; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| cannot_start(command, &e))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::failed(format!("`{}` ended with {status}", line(command))))
}

/// Runs a command quietly; its output is shown only as part of the error.
pub fn run_quiet(command: &mut Command) -> Result<()> {
    capture(command).map(drop)
}

/// Runs a command and returns what it wrote to its standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| cannot_start(command, &e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!(
        "`{}` ended with {}:\n{}",
        line(command),
        output.status,
        tail(&format!("{text}{errors}"), 20)
    )))
}

/// The command line as one would type it, for messages.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where the shell would find a program, or nothing.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain(sbin()).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// The last `count` lines of a text.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn sbin() -> [PathBuf; 2] {
    [Path::new("/usr/sbin").into(), Path::new("/sbin").into()]
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn cannot_start(command: &Command, cause: &std::io::Error) -> Failure {
    Failure::unusable(format!("cannot start `{}`: {cause}", line(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_shown_as_one_would_type_them() {
        let mut command = Command::new("echo");
        command.args(["plain-1.0", "two words", "it's", ""]);
        assert_eq!(line(&command), "echo plain-1.0 'two words' 'it'\\''s' ''");
    }

    #[test]
    fn failure_shows_output_and_status() {
        let failure = capture(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let message = failure.unwrap_err().to_string();
        assert!(message.contains("out\nerr"), "{message}");
        assert!(message.contains("exit status: 3"), "{message}");
    }

    #[test]
    fn missing_program_is_named() {
        let failure = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(failure.to_string().contains("no-such-program-here"));
        assert_eq!(failure.exit(), 2);
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("1\n2\n3\n", 2), "2\n3");
        assert_eq!(tail("1", 2), "1");
    }
}
