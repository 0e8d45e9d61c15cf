//! Devices of the board's tree, decoded as far as rules, stage-2 tables and guest device trees need it.

use crate::node::BoardNodeIndex;
use crate::span::{AddressRange, Span};

/// A node of the board's tree that has registers or interrupts.
#[derive(Debug, Clone)]
pub struct Device {
    /// The node.
    pub span: Span,
    /// Full path in the board's tree.
    pub path: String,
    /// Node name with its unit address.
    pub name: String,
    /// First label, if any.
    pub label: Option<String>,
    /// Its node with properties, references and children.
    pub node: BoardNodeIndex,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// CPU-physical register ranges, translated through every `ranges` up to the root.
    pub regs: Vec<AddressRange>,
    /// Interrupts in the order of their property, decoded from the GIC's three-cell form (devicetree binding arm,gic / arm,gic-v3).
    pub interrupts: Vec<Interrupt>,
    /// What is wrong with `interrupts`: specifiers that mean nothing, triggers that are not said.
    pub oddities: Vec<Oddity>,
    /// `status` absent, `okay` or `ok`.
    pub enabled: bool,
    /// The device can write memory by itself.
    pub bus_master: bool,
    /// An `iommus` property names a unit that translates its accesses.
    pub behind_iommu: bool,
    /// CPU-physical ranges that the device's DMA can reach (`dma-ranges` of its bus); empty: all.
    pub dma_reach: Vec<AddressRange>,
    /// `dma-ranges` of the device's bus: its own address and the CPU's range; empty: all, at the CPU's addresses.
    pub dma_ranges: Vec<(u64, AddressRange)>,
}

impl Device {
    /// Whether an address of its bus is another one of the CPU.
    pub fn is_shifted(&self) -> bool {
        self.dma_ranges.iter().any(|(bus, range)| *bus != range.base)
    }

    /// Its interrupts, each once: two units of a device may share one (two channels of a DMA controller).
    pub fn lines(&self) -> impl Iterator<Item = Interrupt> + '_ {
        let first =
            |at: usize, line: &Interrupt| !self.interrupts[..at].iter().any(|i| i.intid == line.intid);
        self.interrupts.iter().enumerate().filter(move |(at, line)| first(*at, line)).map(|(_, line)| *line)
    }

    /// Label, or path: what messages call the device.
    pub fn display_name(&self) -> String {
        match &self.label {
            Some(label) => format!("&{label} ({})", self.name),
            None => self.path.clone(),
        }
    }

    /// The 4 KiB pages that its registers touch.
    pub fn pages(&self) -> impl Iterator<Item = AddressRange> + '_ {
        self.regs.iter().map(|r| r.aligned_out(crate::model::PAGE_BYTES))
    }
}

/// An interrupt line of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// GIC INTID: 16-31 private, 32-1019 shared.
    pub intid: u32,
    /// Trigger.
    pub trigger: Trigger,
}

/// Something odd about an interrupt specifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// Whether there is no interrupt because of it.
    pub fatal: bool,
    /// What stands there.
    pub found: String,
}

/// Trigger of an interrupt, flags 1, 2, 4, 8 of the third cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Rising edge.
    EdgeRising,
    /// Falling edge.
    EdgeFalling,
    /// Active-high level.
    LevelHigh,
    /// Active-low level.
    LevelLow,
}
