//! What the reader could not take as it is written, and has said so.
//!
//! It goes on with a stand-in, so that one run finds everything. A rule that would judge the stand-in would blame the
//! user for what is not there: it asks here first and leaves the matter to the reader's own finding.

use crate::span::Span;
use std::collections::BTreeSet;

/// Nodes of the tree, each with a property or child of it that a finding of the reader's is about. Durations stand
/// without their unit.
#[derive(Debug, Clone, Default)]
pub struct Doubts(BTreeSet<(usize, String)>);

impl Doubts {
    /// Notes that `word` of `node` was not taken as it stands.
    pub fn add(&mut self, node: usize, word: &str) {
        self.0.insert((node, stem(word).to_owned()));
    }

    /// How many there are: a reader that counts before and after knows whether it read what is written.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether `word` of the node that `place` lies in is doubtful.
    pub fn about(&self, place: Span, word: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&(place.node as usize, word.to_owned()))
    }

    /// Whether anything in the node that `place` lies in is doubtful.
    pub fn inside(&self, place: Span) -> bool {
        let node = place.node as usize;
        self.0.range((node, String::new())..(node + 1, String::new())).next().is_some()
    }

    /// Whether `word` is doubtful in some node.
    pub fn anywhere(&self, word: &str) -> bool {
        self.0.iter().any(|(_, known)| known == word)
    }
}

/// The name of a duration without its unit; every other word as it is.
fn stem(word: &str) -> &str {
    ["-ns", "-us", "-ms"].iter().find_map(|unit| word.strip_suffix(unit)).unwrap_or(word)
}
