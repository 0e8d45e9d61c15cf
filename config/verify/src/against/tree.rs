//! A configuration as a tree of nodes and raw properties, read from a device-tree blob.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node as _, Property as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Deepest nesting of nodes that is read.
const DEPTH_MAX: usize = 32;

/// A node.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its name, with unit address.
    pub name: String,
    properties: BTreeMap<String, Vec<u8>>,
    /// Its children, in order.
    pub children: Vec<Node>,
}

/// Compiles a source with dtc into a blob; `includes` are searched last.
///
/// # Errors
/// What dtc says, or why it cannot be run.
pub fn compile(source: &Path, includes: &[&Path]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("dtc");
    command.args(["-q", "-I", "dts", "-O", "dtb"]);
    includes.iter().for_each(|directory| {
        command.arg("-i").arg(directory);
    });
    let output = command.arg("--").arg(source).output();
    let output = output.map_err(|e| format!("cannot run dtc: {e}\nfix: apt install device-tree-compiler"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    Err(format!("dtc refuses {}: {}", source.display(), complaints.trim()))
}

/// Reads a blob.
///
/// # Errors
/// Why it is none, or that it nests too deeply.
pub fn parse(blob: &[u8]) -> Result<Node, String> {
    let tree = Fdt::new(blob).map_err(|e| format!("no device tree: {e}"))?;
    node(tree.root(), 0)
}

/// The memory reservation block of a blob that [`parse`] accepts (devicetree specification 0.4, 5.3): address and size of
/// each entry, up to the one of zeros.
#[must_use]
pub fn reservations(blob: &[u8]) -> Vec<(u64, u64)> {
    let long = |at: usize| Some(u64::from_be_bytes(blob.get(at..at.checked_add(8)?)?.try_into().ok()?));
    // Offset 16 of the header: off_mem_rsvmap.
    let start = crate::system::word(blob, 16).map_or(0, |offset| offset.swap_bytes() as usize);
    let entries = (0..).map_while(|number: usize| {
        let at = start.checked_add(number.checked_mul(16)?)?;
        Some((long(at)?, long(at + 8)?))
    });
    entries.take_while(|entry| *entry != (0, 0)).collect()
}

fn node(from: FdtNode<'_>, depth: usize) -> Result<Node, String> {
    if depth > DEPTH_MAX {
        return Err(format!("nodes nest deeper than {DEPTH_MAX}"));
    }
    let properties = from.properties().map(|p| (p.name().to_owned(), p.value().to_vec())).collect();
    let children = from.children().map(|child| node(child, depth + 1)).collect::<Result<_, _>>()?;
    Ok(Node { name: from.name().to_owned(), properties, children })
}

impl Node {
    /// The child of a name, unit address included.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Children of the child of a name; none if there is none.
    #[must_use]
    pub fn list(&self, name: &str) -> &[Node] {
        self.child(name).map_or(&[], |c| c.children.as_slice())
    }

    /// Raw bytes of a property.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        self.properties.get(name).map(Vec::as_slice)
    }

    /// Whether the property stands there.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// Cells of 32 bits; none if the property is missing.
    #[must_use]
    pub fn cells(&self, name: &str) -> Vec<u32> {
        let bytes = self.raw(name).unwrap_or_default();
        bytes.chunks_exact(4).map(|c| c.iter().fold(0, |all, b| all << 8 | u32::from(*b))).collect()
    }

    /// The first cell.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<u32> {
        self.cells(name).first().copied()
    }

    /// Pairs of cells as numbers of 64 bits.
    #[must_use]
    pub fn wides(&self, name: &str) -> Vec<u64> {
        self.cells(name).chunks_exact(2).map(|c| u64::from(c[0]) << 32 | u64::from(c[1])).collect()
    }

    /// Texts of a list.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let bytes = self.raw(name).unwrap_or_default();
        let parts = bytes.split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let mut list: Vec<String> = parts.collect();
        list.pop();
        list
    }

    /// The first text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next()
    }

    /// Whether `compatible` lists a name.
    #[must_use]
    pub fn is(&self, compatible: &str) -> bool {
        self.texts("compatible").iter().any(|c| c == compatible)
    }

    /// A duration in nanoseconds: `NAME-ns`, `NAME-us` or `NAME-ms`.
    #[must_use]
    pub fn duration_ns(&self, name: &str) -> Option<u64> {
        let unit = |suffix: &str, factor: u64| {
            self.cell(&format!("{name}-{suffix}")).map(|value| u64::from(value) * factor)
        };
        unit("ns", 1).or_else(|| unit("us", 1_000)).or_else(|| unit("ms", 1_000_000))
    }

    /// Every node below this one and itself, with its chain of ancestors.
    pub fn visit<'a>(&'a self, chain: &mut Vec<&'a Node>, take: &mut impl FnMut(&[&'a Node], &'a Node)) {
        take(chain, self);
        chain.push(self);
        self.children.iter().for_each(|child| child.visit(chain, take));
        chain.pop();
    }
}
