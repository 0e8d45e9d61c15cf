//! Pictures: one model of each, drawn as SVG or for the terminal.
//!
//! Colours tell owners apart and are never the only sign: every shape carries its name. SVG scales with the page and
//! needs nothing from outside.

mod canvas;
pub mod flow;
pub mod gantt;
pub mod memory;

pub use canvas::{Canvas, escape};

/// A finished picture.
pub struct Picture {
    /// File name without extension, also its anchor in the report.
    pub name: String,
    /// Caption.
    pub title: String,
    /// The SVG element.
    pub svg: String,
    /// The same for a terminal of 80 columns.
    pub text: String,
}

/// Columns of a terminal.
const TERMINAL: usize = 80;

/// Words in lines of a terminal, indented.
fn fold(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let room = TERMINAL - indent - lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if word.chars().count() < room => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// Fill of the thing with a number: distinct, pale enough for black text, and apart in grey, too.
#[must_use]
pub fn colour(index: usize) -> &'static str {
    const COLOURS: [&str; 10] = [
        "#9ecae1", "#fdd0a2", "#a1d99b", "#dadaeb", "#fcbba1", "#d9f0a3", "#c6dbef", "#fde0dd", "#e5e5a0",
        "#ccebc5",
    ];
    COLOURS[index % COLOURS.len()]
}

/// Fill of what is EL2's.
pub const HYPERVISOR: &str = "#bdbdbd";
/// Fill of what nobody uses.
pub const FREE: &str = "#f7f7f7";
