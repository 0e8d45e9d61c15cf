//! Nodes of the board's tree as far as a partition's tree may repeat them: a granted device's, and those that it needs.

use crate::device::Interrupt;
use crate::model::DeviceIndex;
use crate::span::Span;

/// Index into `System::nodes`.
pub type BoardNodeIndex = usize;

/// A node of the board's tree that describes hardware.
#[derive(Debug, Clone)]
pub struct BoardNode {
    /// The node.
    pub span: Span,
    /// Full path in the board's tree.
    pub path: String,
    /// Node name with its unit address.
    pub name: String,
    /// The node above it, unless that is the root.
    pub parent: Option<BoardNodeIndex>,
    /// The nodes below it.
    pub children: Vec<BoardNodeIndex>,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// `status` absent, `okay` or `ok`.
    pub enabled: bool,
    /// The device that it is, if it has registers at an address of the CPU or interrupts of the GIC.
    pub device: Option<DeviceIndex>,
    /// Its children are groups of pins, of which a tree has those alone that somebody refers to.
    pub pin_controller: bool,
    /// Properties whose addresses or interrupts mean something on the board's buses alone: `ranges`, `dma-ranges` that
    /// translate, `interrupt-map`, `iommu-map`, `msi-map`.
    pub untranslatable: Vec<String>,
    /// Properties without a reference, as they stand, `reg` among them: name and raw value.
    pub plain: Vec<(String, Vec<u8>)>,
    /// Properties of references.
    pub references: Vec<Reference>,
}

impl BoardNode {
    /// Value of a property without references.
    pub fn plain(&self, name: &str) -> Option<&[u8]> {
        self.plain.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// First cell of a property without references.
    pub fn cell(&self, name: &str) -> Option<u32> {
        let first = self.plain(name)?.get(..4)?;
        first.try_into().ok().map(u32::from_be_bytes)
    }

    /// A string property's first string.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.plain(name)?;
        std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
    }

    /// Whether `compatible` lists `wanted`.
    pub fn is_compatible(&self, wanted: &str) -> bool {
        self.compatible.iter().any(|c| c == wanted)
    }

    /// Whether it only holds others: nothing of it has to go with them.
    pub fn only_holds(&self) -> bool {
        self.device.is_none() && (self.compatible.is_empty() || self.is_compatible("simple-bus"))
    }
}

/// A property of references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Its name. Interrupts of other controllers than the GIC stand as `interrupts-extended`, whatever the source says.
    pub property: String,
    /// What it refers to, in order.
    pub entries: Vec<Entry>,
}

/// A phandle with its specifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it names.
    pub target: Target,
    /// Cells of the specifier.
    pub cells: Vec<u32>,
}

/// What an entry of a list of references names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A place left empty on purpose: phandle 0.
    Hole,
    /// A node that describes hardware.
    Node(BoardNodeIndex),
    /// A phandle that no such node has: a CPU, reserved memory, or nothing at all.
    Unknown,
    /// An interrupt of the GIC among those of other controllers.
    Line(Interrupt),
}
