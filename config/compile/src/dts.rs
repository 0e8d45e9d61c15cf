//! The device tree of a configuration: dtc's annotated output, read back with the place of every node and property.
//!
//! `dtc -T -T` writes one line per property and per node edge and ends each with a comment
//! `/* file:line:column-line:column */`, several separated by commas where a node was opened more than once. Columns
//! count bytes; a node's place starts at its `{`. Properties that dtc makes up have the place `<no-file>`.

use crate::diag::Sources;
use crate::span::{AddressRange, Span};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Index of a node in [`Tree::nodes`].
pub type NodeIndex = usize;

/// The root node.
pub const ROOT: NodeIndex = 0;

/// What dtc writes for a reference that it could not resolve.
pub const UNRESOLVED: u32 = u32::MAX;

/// A device tree with places.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All nodes, parents before children; the first is the root.
    pub nodes: Vec<Node>,
    /// `/memreserve/` entries.
    pub reserved: Vec<AddressRange>,
    /// Nodes whose phandle another node before them has.
    pub double_phandles: Vec<(NodeIndex, NodeIndex)>,
    by_phandle: HashMap<u32, NodeIndex>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name with unit address; empty for the root.
    pub name: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Parent; the root is its own.
    pub parent: NodeIndex,
    /// Children in source order.
    pub children: Vec<NodeIndex>,
    /// Properties in source order.
    pub properties: Vec<Property>,
    /// Its name where it was first opened.
    pub span: Span,
}

/// A property.
#[derive(Debug, Clone)]
pub struct Property {
    /// Name; one text for all that have it, where the tree is read from a blob.
    pub name: Arc<str>,
    /// Value; empty for a boolean.
    pub value: SmallVec<[Chunk; 1]>,
    /// Its place.
    pub span: Span,
}

/// A part of a property's value, as the source separates them by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// `"text"`
    Text(String),
    /// `<1 2 3>`
    Cells(Vec<u32>),
    /// `[12 34]`, or `/bits/` other than 32
    Bytes(Vec<u8>),
    /// A whole value of a blob, which says nothing about its type: whoever asks for cells or text gets them if it can
    /// be read so.
    Raw(SmallVec<[u8; 16]>),
}

impl Property {
    /// The cells, if the value consists of `N` cells in one piece.
    pub fn exactly<const N: usize>(&self) -> Option<[u32; N]> {
        match self.value.as_slice() {
            [Chunk::Cells(cells)] => cells.as_slice().try_into().ok(),
            [Chunk::Raw(bytes)] if bytes.len() == 4 * N => {
                let mut cells = bytes.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
                Some(std::array::from_fn(|_| cells.next().unwrap_or_default()))
            }
            _ => self.cells()?.try_into().ok(),
        }
    }

    /// All cells, if the value consists of cells alone.
    pub fn cells(&self) -> Option<Vec<u32>> {
        let mut all = Vec::new();
        for chunk in &self.value {
            match chunk {
                Chunk::Cells(cells) => all.extend_from_slice(cells),
                Chunk::Raw(bytes) if bytes.len().is_multiple_of(4) => {
                    all.extend(bytes.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])));
                }
                Chunk::Text(_) | Chunk::Bytes(_) | Chunk::Raw(_) => return None,
            }
        }
        Some(all)
    }

    /// All strings, if the value consists of strings alone.
    pub fn texts(&self) -> Option<Vec<&str>> {
        let mut all = Vec::new();
        for chunk in &self.value {
            match chunk {
                Chunk::Text(text) => all.push(text.as_str()),
                Chunk::Raw(bytes) => all.extend(raw_texts(bytes)?),
                Chunk::Cells(_) | Chunk::Bytes(_) => return None,
            }
        }
        Some(all)
    }

    /// The value as a flattened tree holds it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in &self.value {
            match chunk {
                Chunk::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    out.push(0);
                }
                Chunk::Cells(cells) => cells.iter().for_each(|c| out.extend_from_slice(&c.to_be_bytes())),
                Chunk::Bytes(bytes) => out.extend_from_slice(bytes),
                Chunk::Raw(bytes) => out.extend_from_slice(bytes),
            }
        }
        out
    }
}

/// Strings that end with a zero each, of printable characters.
fn raw_texts(bytes: &[u8]) -> Option<Vec<&str>> {
    let body = bytes.strip_suffix(&[0])?;
    let texts = body.split(|b| *b == 0).map(|text| {
        let text = std::str::from_utf8(text).ok()?;
        (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
    });
    texts.collect()
}

impl Node {
    /// The property `name`; the last one if the source gives several.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().rev().find(|p| *p.name == *name)
    }

    /// Strings of `compatible`.
    pub fn compatible(&self) -> Vec<&str> {
        self.property("compatible").and_then(Property::texts).unwrap_or_default()
    }

    /// Whether `compatible` lists `wanted`.
    pub fn is_compatible(&self, wanted: &str) -> bool {
        let lists = |chunk: &Chunk| match chunk {
            Chunk::Text(text) => text == wanted,
            Chunk::Raw(bytes) => bytes.split(|b| *b == 0).any(|text| text == wanted.as_bytes()),
            Chunk::Cells(_) | Chunk::Bytes(_) => false,
        };
        self.property("compatible").is_some_and(|p| p.value.iter().any(lists) && p.texts().is_some())
    }
}

impl Tree {
    /// The child of `node` called `name`.
    pub fn child(&self, node: NodeIndex, name: &str) -> Option<NodeIndex> {
        self.nodes[node].children.iter().copied().find(|&c| self.nodes[c].name == name)
    }

    /// Forgets every property but `name`: what has been read into the model need not stay twice in memory.
    pub fn keep_only(&mut self, name: &str) {
        for node in &mut self.nodes {
            node.properties.retain(|p| *p.name == *name);
            node.properties.shrink_to_fit();
        }
    }

    /// Makes the nodes known by their phandles, once all are there.
    pub fn index_phandles(&mut self) {
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some([phandle]) = node.property("phandle").and_then(Property::exactly)
                && let Some(first) = self.by_phandle.insert(phandle, index)
            {
                self.double_phandles.push((index, first));
            }
        }
    }

    /// The node that a phandle names.
    pub fn by_phandle(&self, phandle: u32) -> Option<NodeIndex> {
        self.by_phandle.get(&phandle).copied()
    }

    /// Full path of `node`.
    pub fn path(&self, node: NodeIndex) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(self.nodes[at].name.as_str());
            at = self.nodes[at].parent;
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
            + if node == ROOT { "/" } else { "" }
    }

    /// The child of `ancestor` that `node` is or lies below; `ancestor` where it is the node itself.
    pub fn below(&self, node: NodeIndex, ancestor: NodeIndex) -> NodeIndex {
        self.ancestors(node).take_while(|at| *at != ancestor).last().unwrap_or(ancestor)
    }

    /// `node` and its ancestors up to the root.
    pub fn ancestors(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        let mut next = self.nodes.get(node).map(|_| node);
        std::iter::from_fn(move || {
            let at = next?;
            next = (at != ROOT).then(|| self.nodes[at].parent);
            Some(at)
        })
    }
}

/// How paths in dtc's output become readable files and displayed names.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Directory that dtc ran in.
    pub directory: PathBuf,
    /// What the user wrote before the file name.
    pub shown_prefix: PathBuf,
    /// Where the built-in board files lie; shown without it.
    pub builtin: PathBuf,
}

impl Paths {
    /// The name that messages show for a path of dtc's.
    pub fn shown(&self, written: &str) -> String {
        let path = Path::new(written);
        if let Ok(inside) = path.strip_prefix(&self.builtin) {
            return inside.display().to_string();
        }
        self.shown_prefix.join(path).display().to_string()
    }

    fn read(&self, written: &str) -> String {
        let path = self.directory.join(written);
        std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Registers the file that dtc calls `written`.
    pub fn add(&self, sources: &mut Sources, written: &str) -> u32 {
        sources.add(&self.shown(written), || self.read(written))
    }
}

/// Reads what `dtc -O dts -T -T` wrote.
///
/// # Errors
/// The line number and the reason, if the text is not of that form.
pub fn parse(text: &str, paths: &Paths, sources: &mut Sources) -> Result<Tree, String> {
    let mut reader = TreeReader { tree: Tree::default(), open: Vec::new(), paths, sources };
    for (number, line) in text.lines().enumerate() {
        reader.line(line.trim()).map_err(|reason| format!("line {}: {reason}: {line}", number + 1))?;
    }
    let TreeReader { mut tree, open, .. } = reader;
    if !open.is_empty() || tree.nodes.is_empty() {
        return Err("the tree is not complete".to_owned());
    }
    tree.index_phandles();
    Ok(tree)
}

struct TreeReader<'a> {
    tree: Tree,
    open: Vec<NodeIndex>,
    paths: &'a Paths,
    sources: &'a mut Sources,
}

impl TreeReader<'_> {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line == "/dts-v1/;" {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("/memreserve/") {
            return self.memreserve(rest);
        }
        let (code, places) = match line.rfind("/* ") {
            Some(at) if line.ends_with("*/") => (line[..at].trim(), line[at + 3..line.len() - 2].trim()),
            _ => (line, ""),
        };
        if let Some(head) = code.strip_suffix('{') {
            self.open_node(head.trim(), places)
        } else if code == "};" {
            self.open.pop().map(|_| ()).ok_or_else(|| "a node ends that none opened".to_owned())
        } else if let Some(body) = code.strip_suffix(';') {
            self.property(body, places)
        } else {
            Err("neither node nor property".to_owned())
        }
    }

    fn memreserve(&mut self, rest: &str) -> Result<(), String> {
        let mut numbers = rest.trim_end_matches(';').split_whitespace().map(|n| parse_number(n, 64));
        match (numbers.next(), numbers.next()) {
            (Some(base), Some(size)) => {
                self.tree.reserved.push(AddressRange::new(base?, size?));
                Ok(())
            }
            _ => Err("/memreserve/ needs an address and a size".to_owned()),
        }
    }

    fn open_node(&mut self, head: &str, places: &str) -> Result<(), String> {
        let index = self.tree.nodes.len();
        let (labels, name) = split_labels(head);
        if self.open.is_empty() && index != 0 {
            return Err("a second root".to_owned());
        }
        let parent = self.open.last().copied().unwrap_or(ROOT);
        let mut span = self.span(places, index)?;
        // The root's first place is usually in a board file; what a user can mend is the last.
        if index == ROOT
            && let Some(last) = split_places(places).last()
        {
            span = self.span(last, index)?;
        }
        let span = self.name_of_node(span);
        if index != 0 {
            self.tree.nodes[parent].children.push(index);
        }
        self.tree.nodes.push(Node {
            name: name.trim_start_matches('/').to_owned(),
            labels,
            parent,
            children: Vec::new(),
            properties: Vec::new(),
            span,
        });
        self.open.push(index);
        Ok(())
    }

    fn property(&mut self, body: &str, places: &str) -> Result<(), String> {
        let node = *self.open.last().ok_or("a property outside any node")?;
        let (head, value) = match body.split_once('=') {
            Some((head, value)) => (head.trim(), parse_value(value)?),
            None => (body.trim(), SmallVec::new()),
        };
        let (_, name) = split_labels(head);
        let span = self.span(places, node)?;
        self.tree.nodes[node].properties.push(Property { name: name.into(), value, span });
        Ok(())
    }

    /// The first place of an annotation, or that of the open node where dtc made the thing up.
    fn span(&mut self, places: &str, node: NodeIndex) -> Result<Span, String> {
        let node_number = u32::try_from(node).map_err(|_| "too many nodes")?;
        let first = split_places(places).into_iter().next().unwrap_or_default();
        let Some((file, numbers)) = split_place(first) else {
            let made_up = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 1, node: node_number };
            return Ok(self.tree.nodes.get(node).map_or(made_up, |n| n.span));
        };
        let file = self.paths.add(self.sources, file);
        let [line, column, end_line, end_column] = numbers;
        Ok(Span { file, line, column, end_line, end_column, node: node_number })
    }

    /// From the `{` that dtc names back to the node's name on the same line.
    fn name_of_node(&self, span: Span) -> Span {
        let Some(file) = self.sources.file(span) else {
            return span;
        };
        let brace = (span.column.max(1) as usize - 1).min(file.line(span.line).len());
        let before = file.line(span.line).get(..brace).unwrap_or("").trim_end();
        let start = before.rfind([' ', '\t', ':', ';', '{', '}']).map_or(0, |at| at + 1);
        if start >= before.len() {
            return Span { end_line: span.line, end_column: span.column + 1, ..span };
        }
        let column = |at: usize| u32::try_from(at + 1).unwrap_or(u32::MAX);
        Span { column: column(start), end_line: span.line, end_column: column(before.len()), ..span }
    }
}

/// Splits `a:1:2-3:4, b:...`; a comma inside a path does not separate.
fn split_places(places: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let ends = places.match_indices(", ").map(|(at, _)| at).chain(std::iter::once(places.len()));
    for end in ends {
        if split_place(&places[start..end]).is_some() {
            out.push(&places[start..end]);
            start = (end + 2).min(places.len());
        }
    }
    out
}

/// `file:line:column-line:column` into its parts.
fn split_place(place: &str) -> Option<(&str, [u32; 4])> {
    let (rest, end_column) = place.rsplit_once(':')?;
    let (rest, middle) = rest.rsplit_once(':')?;
    let (column, end_line) = middle.split_once('-')?;
    let (file, line) = rest.rsplit_once(':')?;
    let number = |text: &str| text.parse::<u32>().ok();
    Some((file, [number(line)?, number(column)?, number(end_line)?, number(end_column)?]))
}

/// `a: b: name` into labels and name.
fn split_labels(head: &str) -> (Vec<String>, &str) {
    let mut labels = Vec::new();
    let mut rest = head;
    while let Some((label, after)) = rest.split_once(": ") {
        labels.push(label.trim().to_owned());
        rest = after.trim_start();
    }
    (labels, rest)
}

/// Reads the right-hand side of a property.
fn parse_value(text: &str) -> Result<SmallVec<[Chunk; 1]>, String> {
    let mut chunks = SmallVec::new();
    let mut rest = text.trim_start();
    let mut bits = 32;
    while let Some(first) = rest.chars().next() {
        let (consumed, chunk) = match first {
            '"' => parse_text(rest)?,
            '<' => {
                let end = rest.find('>').ok_or("a cell list does not end")?;
                (end + 1, parse_cells(&rest[1..end], std::mem::replace(&mut bits, 32))?)
            }
            '[' => {
                let end = rest.find(']').ok_or("a byte string does not end")?;
                (end + 1, parse_bytes(&rest[1..end])?)
            }
            ',' | ' ' => {
                rest = &rest[1..];
                continue;
            }
            _ => {
                let end = rest.find([' ', '<', '"', '[']).ok_or("an unknown value")?;
                let word = &rest[..end];
                if word == "/bits/" {
                    let number = rest[end..].split_whitespace().next().ok_or("/bits/ without a number")?;
                    bits = number.parse().map_err(|_| "/bits/ without a number")?;
                    rest = rest[end..].trim_start()[number.len()..].trim_start();
                } else if word.ends_with(':') {
                    rest = rest[end..].trim_start();
                } else {
                    return Err("an unknown value".to_owned());
                }
                continue;
            }
        };
        chunks.push(chunk);
        rest = rest[consumed..].trim_start();
    }
    Ok(chunks)
}

fn parse_text(rest: &str) -> Result<(usize, Chunk), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((at + 1, Chunk::Text(text))),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('a') => text.push('\x07'),
                Some('b') => text.push('\x08'),
                Some('v') => text.push('\x0b'),
                Some('f') => text.push('\x0c'),
                Some('x') => {
                    let mut byte = 0;
                    for _ in 0..2 {
                        let digit = chars.next().and_then(|(_, c)| c.to_digit(16));
                        byte = byte * 16 + digit.ok_or("a broken \\x in a string")?;
                    }
                    text.push(char::from_u32(byte).unwrap_or('\u{fffd}'));
                }
                Some(other) => text.push(other),
                None => break,
            },
            _ => text.push(c),
        }
    }
    Err("a string does not end".to_owned())
}

fn parse_cells(text: &str, bits: u32) -> Result<Chunk, String> {
    let numbers =
        text.split_whitespace().map(|word| word.rsplit(':').next().unwrap_or(word)).filter(|w| !w.is_empty());
    if bits == 32 {
        let cells = numbers.map(|n| parse_number(n, 32).map(|v| v as u32)).collect::<Result<_, _>>()?;
        return Ok(Chunk::Cells(cells));
    }
    let width = match bits {
        8 | 16 | 64 => bits as usize / 8,
        _ => return Err(format!("/bits/ {bits} is not a width")),
    };
    let mut bytes = Vec::new();
    for number in numbers {
        bytes.extend_from_slice(&parse_number(number, bits)?.to_be_bytes()[8 - width..]);
    }
    Ok(Chunk::Bytes(bytes))
}

fn parse_bytes(text: &str) -> Result<Chunk, String> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace().filter(|w| !w.ends_with(':')) {
        for at in (0..word.len()).step_by(2) {
            let pair = word.get(at..at + 2).ok_or("a broken byte string")?;
            bytes.push(u8::from_str_radix(pair, 16).map_err(|_| "a broken byte string")?);
        }
    }
    Ok(Chunk::Bytes(bytes))
}

fn parse_number(text: &str, bits: u32) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed
        .ok()
        .filter(|v| bits >= 64 || *v < 1 << bits)
        .ok_or_else(|| format!("'{text}' is not a number of {bits} bits"))
}
