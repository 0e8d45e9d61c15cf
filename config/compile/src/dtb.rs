//! The device tree of a configuration as a blob (Devicetree specification v0.4, chapter 5).
//!
//! A blob carries no places: a node's place is its number and a property's its number in the node, and [`listing`] makes
//! text of those nodes that findings speak about. Nothing in the blob is believed before it is checked against the
//! blob's length; nesting and counts are bounded.

use crate::diag::{Finding, Sources};
use crate::dts::{Chunk, Node, NodeIndex, Property, Tree};
use crate::rules::Rule;
use crate::rules::language::LNG_011;
use crate::rules::limits::LIM_005;
use crate::span::{AddressRange, Span};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

/// First four bytes of a blob.
pub const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 64;
/// Most nodes that are read.
pub const NODES_MAX: usize = 4 << 20;
const VERSION: u32 = 17;
const HEADER_BYTES: u32 = 40;

/// What is wrong with a blob.
struct Damage {
    rule: &'static Rule,
    found: String,
    expected: String,
}

fn damaged(found: impl Into<String>, expected: impl Into<String>) -> Damage {
    Damage { rule: &LNG_011, found: found.into(), expected: expected.into() }
}

fn too_much(found: String, expected: String) -> Damage {
    Damage { rule: &LIM_005, found, expected }
}

struct Blob<'b> {
    bytes: &'b [u8],
    structure: &'b [u8],
    strings: &'b [u8],
    at: usize,
    /// Names of properties that were met, by their places in `strings`.
    names: HashMap<usize, Arc<str>>,
}

impl<'b> Blob<'b> {
    fn word(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn part(bytes: &'b [u8], what: &str, start: u32, length: u32) -> Result<&'b [u8], Damage> {
        let range = (start as usize).checked_add(length as usize).map(|end| start as usize..end);
        range.and_then(|r| bytes.get(r)).ok_or_else(|| {
            damaged(
                format!("{what} at {start:#x}, {length:#x} bytes long"),
                format!("inside the blob's {:#x} bytes", bytes.len()),
            )
        })
    }

    fn open(bytes: &'b [u8]) -> Result<Blob<'b>, Damage> {
        let field = |at: usize| {
            Self::word(bytes, at).ok_or_else(|| {
                damaged(format!("{} bytes", bytes.len()), format!("a header of {HEADER_BYTES} bytes"))
            })
        };
        if bytes.get(..4) != Some(&MAGIC) {
            return Err(damaged(format!("first word {:#010x}", field(0)?), "0xd00dfeed"));
        }
        let (total, version) = (field(4)?, field(20)?);
        if total as usize > bytes.len() {
            return Err(damaged(format!("{} bytes", bytes.len()), format!("{total}, as its header says")));
        }
        if version < VERSION {
            return Err(damaged(format!("version {version}"), format!("version {VERSION}")));
        }
        let structure = Self::part(bytes, "the structure block", field(8)?, field(36)?)?;
        let strings = Self::part(bytes, "the strings block", field(12)?, field(32)?)?;
        Ok(Blob { bytes, structure, strings, at: 0, names: HashMap::new() })
    }

    fn token(&mut self) -> Result<u32, Damage> {
        let token = Self::word(self.structure, self.at);
        self.at += 4;
        token.ok_or_else(|| damaged("a structure block without FDT_END", "a block that ends with it"))
    }

    /// A string in `block` from `at` on.
    fn text(block: &'b [u8], at: usize) -> Result<&'b str, Damage> {
        let tail = block.get(at..).unwrap_or_default();
        let end = tail.iter().position(|b| *b == 0);
        end.and_then(|end| std::str::from_utf8(&tail[..end]).ok())
            .ok_or_else(|| damaged(format!("no text at {at:#x}"), "ASCII that ends with a zero"))
    }

    fn node_name(&mut self) -> Result<&'b str, Damage> {
        let name = Self::text(self.structure, self.at)?;
        self.at = (self.at + name.len() + 1).next_multiple_of(4);
        Ok(name)
    }

    fn property(&mut self) -> Result<(Arc<str>, &'b [u8]), Damage> {
        let (length, name) = (self.token()? as usize, self.token()? as usize);
        let value = self.at.checked_add(length).and_then(|end| self.structure.get(self.at..end));
        let value = value.ok_or_else(|| {
            damaged(format!("a property of {length:#x} bytes"), "a value inside the structure block")
        })?;
        self.at = (self.at + length).next_multiple_of(4);
        if let Some(known) = self.names.get(&name) {
            return Ok((Arc::clone(known), value));
        }
        let text: Arc<str> = Self::text(self.strings, name)?.into();
        self.names.insert(name, Arc::clone(&text));
        Ok((text, value))
    }

    /// The memory reservation block: pairs of address and size, up to a pair of zeros.
    fn reserved(&self) -> Result<Vec<AddressRange>, Damage> {
        let start = Self::word(self.bytes, 16).unwrap_or(0) as usize;
        let mut out = Vec::new();
        for pair in self.bytes.get(start..).unwrap_or_default().chunks_exact(16) {
            let half =
                |at: usize| pair[at..at + 8].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            if pair.iter().all(|b| *b == 0) {
                return Ok(out);
            }
            out.push(AddressRange::new(half(0), half(8)));
        }
        Err(damaged("a reservation block without end", "a pair of zeros as its last"))
    }
}

fn span(node: NodeIndex, column: usize) -> Span {
    let number = u32::try_from(node).unwrap_or(u32::MAX);
    let column = u32::try_from(column).unwrap_or(u32::MAX - 1);
    let line = number.saturating_add(1);
    Span { file: 0, line, column, end_line: line, end_column: column + 1, node: number }
}

/// Reads a blob.
///
/// # Errors
/// LNG-011 or LIM-005, named, without a place.
pub fn parse(bytes: &[u8]) -> Result<Tree, Box<Finding>> {
    parse_some(bytes, &|_| true)
}

/// Reads a blob, and of nodes that are not `wanted` their names and places alone.
///
/// # Errors
/// As [`parse`].
pub fn parse_some(bytes: &[u8], wanted: &dyn Fn(u32) -> bool) -> Result<Tree, Box<Finding>> {
    read(bytes, wanted).map_err(|damage| {
        let what = if damage.rule.id == LNG_011.id { "damaged" } else { "too large" };
        let message = format!("the device-tree blob is {what}: {}", damage.found);
        Box::new(Finding::without_place(damage.rule, message).found(damage.found).expected(damage.expected))
    })
}

fn read(bytes: &[u8], wanted: &dyn Fn(u32) -> bool) -> Result<Tree, Damage> {
    let mut blob = Blob::open(bytes)?;
    let mut tree = Tree::default();
    tree.reserved = blob.reserved()?;
    let mut open: Vec<NodeIndex> = Vec::new();
    // Of the innermost node: a node's own list is made once, as long as it must be.
    let mut properties: Vec<Property> = Vec::new();
    loop {
        match blob.token()? {
            1 => {
                if let Some(node) = open.last() {
                    give(&mut tree.nodes[*node], &mut properties);
                }
                let index = tree.nodes.len();
                if open.len() >= DEPTH_MAX || index >= NODES_MAX {
                    let found = format!("node {index}, {} levels deep", open.len());
                    return Err(too_much(
                        found,
                        format!("at most {NODES_MAX} nodes, {DEPTH_MAX} levels deep"),
                    ));
                }
                if open.is_empty() && index != 0 {
                    return Err(damaged("a second root", "one"));
                }
                let parent = open.last().copied().unwrap_or(0);
                let name = blob.node_name()?.to_owned();
                if index != 0 {
                    tree.nodes[parent].children.push(index);
                }
                tree.nodes.push(empty(name, parent, span(index, 1)));
                open.push(index);
            }
            2 => {
                let node = open.pop().ok_or_else(|| damaged("a node ends that none opened", "FDT_END"))?;
                give(&mut tree.nodes[node], &mut properties);
            }
            3 => {
                let (name, value) = blob.property()?;
                let node =
                    *open.last().ok_or_else(|| damaged("a property outside any node", "FDT_BEGIN_NODE"))?;
                if !wanted(tree.nodes[node].span.node) {
                    continue;
                }
                let span = span(node, tree.nodes[node].properties.len() + properties.len() + 2);
                let value = match value {
                    [] => SmallVec::new(),
                    bytes => smallvec![Chunk::Raw(SmallVec::from_slice(bytes))],
                };
                properties.push(Property { name, value, span });
            }
            4 => {}
            9 if open.is_empty() && !tree.nodes.is_empty() => break,
            token => {
                return Err(damaged(format!("token {token:#x} at {:#x}", blob.at - 4), "1, 2, 3, 4 or 9"));
            }
        }
    }
    tree.index_phandles();
    Ok(tree)
}

/// A node of which nothing is known yet but its name and place.
fn empty(name: String, parent: NodeIndex, span: Span) -> Node {
    Node { name, labels: Vec::new(), parent, children: Vec::new(), properties: Vec::new(), span }
}

/// Moves what was read of a node's properties into it.
fn give(node: &mut Node, properties: &mut Vec<Property>) {
    node.properties.reserve_exact(properties.len());
    node.properties.append(properties);
}

/// Text of the nodes that `findings` speak about, and their places in it.
pub fn listing(name: &str, tree: &Tree, findings: &mut [Finding]) -> Sources {
    let mut wanted: BTreeMap<u32, u32> = BTreeMap::new();
    for label in findings.iter().flat_map(|f| &f.labels) {
        wanted.insert(label.span.node, 0);
    }
    let (mut text, mut line) = (String::new(), 1);
    for (node, first) in &mut wanted {
        *first = line;
        let Some(node) = tree.nodes.get(*node as usize) else { continue };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {{", tree.path(node.span.node as usize));
        for property in &node.properties {
            let _ = writeln!(text, "\t{}{}", property.name, shown(property));
        }
        text.push_str("};\n");
        line += node.properties.len() as u32 + 2;
    }
    for label in findings.iter_mut().flat_map(|f| &mut f.labels) {
        let first = wanted.get(&label.span.node).copied().unwrap_or(1);
        let row = first + label.span.column - 1;
        let width = text.lines().nth(row as usize - 1).map_or(1, str::len) as u32;
        let column = if label.span.column == 1 { 1 } else { 2 };
        label.span = Span { line: row, column, end_line: row, end_column: width + 1, ..label.span };
    }
    let mut sources = Sources::default();
    sources.add(name, || text);
    sources
}

/// ` = <0x1 0x2>;`, ` = "text";` or `;`.
fn shown(property: &Property) -> String {
    if property.value.is_empty() {
        return ";".to_owned();
    }
    if let Some(texts) = property.texts() {
        let quoted: Vec<String> = texts.iter().map(|t| format!("{t:?}")).collect();
        return format!(" = {};", quoted.join(", "));
    }
    match property.cells() {
        Some(cells) => {
            let cells: Vec<String> = cells.iter().map(|c| format!("{c:#x}")).collect();
            format!(" = <{}>;", cells.join(" "))
        }
        None => {
            let bytes: Vec<String> = property.bytes().iter().map(|b| format!("{b:02x}")).collect();
            format!(" = [{}];", bytes.join(" "))
        }
    }
}
