//! What a configuration asks for: an interpretation of its own, from the vocabulary alone.

use super::tree::Node;
use crate::ranges::{PAGE, Range};
use std::collections::BTreeMap;

/// A device of the board's tree.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its node's name.
    pub name: String,
    /// Registers, as the CPU addresses them.
    pub registers: Vec<Range>,
    /// Interrupts of the GIC.
    pub intids: Vec<u32>,
}

/// Nodes by phandle, and devices by phandle.
pub struct Index<'a> {
    nodes: BTreeMap<u32, &'a Node>,
    devices: BTreeMap<u32, Device>,
    /// CPUs' phandles in ascending order of `reg`.
    pub cpus: Vec<u32>,
    /// `reg` of the CPUs, ascending, with the word that releases it (devicetree specification 0.4, 3.8.1), 0 without.
    pub releases: Vec<(u64, u64)>,
    /// The interrupt controller.
    pub gic: Option<Device>,
    /// RAM of the board.
    pub ram: Vec<Range>,
    /// What of it `/reserved-memory` keeps.
    pub reserved: Vec<Range>,
}

impl<'a> Index<'a> {
    /// Indexes a tree.
    #[must_use]
    pub fn of(root: &'a Node) -> Index<'a> {
        let mut out = Index {
            nodes: BTreeMap::new(),
            devices: BTreeMap::new(),
            cpus: cpus(root).iter().map(|n| n.cell("phandle").unwrap_or(0)).collect(),
            releases: cpus(root).iter().map(|n| (number(&n.cells("reg")), release(n))).collect(),
            gic: None,
            ram: Vec::new(),
            reserved: Vec::new(),
        };
        root.visit(&mut Vec::new(), &mut |chain, node| {
            if chain.last().is_some_and(|parent| chain.len() == 2 && parent.name == "reserved-memory") {
                out.reserved.extend(registers(chain, node));
            }
            if node.text("device_type").as_deref() == Some("memory") {
                out.ram.extend(registers(chain, node));
            }
            let device = || Device {
                name: node.name.clone(),
                registers: registers(chain, node),
                intids: intids(node),
            };
            if ["arm,gic-v3", "arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"]
                .iter()
                .any(|c| node.is(c))
            {
                out.gic = Some(device());
            }
            if let Some(phandle) = node.cell("phandle") {
                out.nodes.insert(phandle, node);
                out.devices.insert(phandle, device());
            }
        });
        out
    }

    /// The node of a phandle.
    #[must_use]
    pub fn node(&self, phandle: u32) -> Option<&'a Node> {
        self.nodes.get(&phandle).copied()
    }

    /// The device of a phandle.
    #[must_use]
    pub fn device(&self, phandle: u32) -> Option<&Device> {
        self.devices.get(&phandle)
    }

    /// Name of the node that the first cell of a property refers to.
    #[must_use]
    pub fn named(&self, node: &Node, property: &str) -> Option<&'a str> {
        self.node(node.cell(property)?).map(|n| n.name.as_str())
    }

    /// Number of the CPU that the first cell of a property refers to.
    #[must_use]
    pub fn cpu(&self, node: &Node, property: &str) -> Option<usize> {
        let phandle = node.cell(property)?;
        self.cpus.iter().position(|c| *c == phandle)
    }
}

/// CPUs in ascending order of `reg`. One that nothing refers to has no phandle; its place counts all the same.
fn cpus(root: &Node) -> Vec<&Node> {
    let list = root.list("cpus").iter().filter(|n| n.text("device_type").as_deref() == Some("cpu"));
    let mut order: Vec<&Node> = list.collect();
    order.sort_by_key(|n| number(&n.cells("reg")));
    order
}

/// Where a CPU of a spin-table is released; 0 if PSCI starts it.
fn release(cpu: &Node) -> u64 {
    let waits = cpu.text("enable-method").as_deref() == Some("spin-table");
    if waits { cpu.wides("cpu-release-addr").first().copied().unwrap_or(0) } else { 0 }
}

fn number(cells: &[u32]) -> u64 {
    cells.iter().fold(0, |all, cell| all << 32 | u64::from(*cell))
}

fn count(node: Option<&&Node>, property: &str, default: u32) -> usize {
    node.and_then(|n| n.cell(property)).unwrap_or(default) as usize
}

/// `reg`, translated through `ranges` of every bus (devicetree specification 0.4, 2.3.6 and 2.3.8).
fn registers(chain: &[&Node], node: &Node) -> Vec<Range> {
    let parent = chain.last();
    let (address, size) = (count(parent, "#address-cells", 2), count(parent, "#size-cells", 1));
    if address + size == 0 || address > 2 || size > 2 {
        return Vec::new();
    }
    let cells = node.cells("reg");
    let entries = cells.chunks_exact(address + size);
    let ranges = entries.map(|e| Range::of(number(&e[..address]), number(&e[address..])));
    ranges.filter(|r| !r.is_empty()).filter_map(|r| up(chain, r)).collect()
}

fn up(chain: &[&Node], range: Range) -> Option<Range> {
    let mut range = range;
    for depth in (1..chain.len()).rev() {
        let (bus, above) = (chain[depth], chain.get(depth - 1));
        let raw = bus.raw("ranges")?;
        if raw.is_empty() {
            continue;
        }
        let (child, size) = (count(Some(&bus), "#address-cells", 2), count(Some(&bus), "#size-cells", 1));
        let parent = count(above, "#address-cells", 2);
        let cells = bus.cells("ranges");
        range = cells.chunks_exact((child + parent + size).max(1)).find_map(|e| {
            let from = Range::of(number(&e[..child]), number(&e[child + parent..]));
            let to = number(&e[child..child + parent]);
            from.contains(&range).then(|| Range::of(to.wrapping_add(range.start - from.start), range.bytes()))
        })?;
    }
    Some(range)
}

/// Three-cell interrupts of the GIC: SPI or PPI, number, flags.
fn intids(node: &Node) -> Vec<u32> {
    let cells = node.cells("interrupts");
    let one = |c: &[u32]| match c[0] {
        0 => Some(c[1].saturating_add(32)),
        1 => Some(c[1].saturating_add(16)),
        _ => None,
    };
    cells.chunks_exact(3).filter_map(one).collect()
}

/// A partition.
pub struct Partition<'a> {
    /// Its node.
    pub node: &'a Node,
    /// Numbers of its CPUs.
    pub cpus: Vec<u32>,
    /// Devices with whether it may write.
    pub devices: Vec<(Device, bool)>,
}

/// Partitions in order, those of the vocabulary.
#[must_use]
pub fn partitions<'a>(root: &'a Node, index: &Index<'a>) -> Vec<Partition<'a>> {
    let domains = root.list("domains").iter().filter(|n| n.is("bulkhead,partition"));
    domains.map(|node| partition(node, index)).collect()
}

fn partition<'a>(node: &'a Node, index: &Index<'a>) -> Partition<'a> {
    let mask = node.cells("cpus").get(1).copied().unwrap_or(0);
    let cpus = (0..index.cpus.len().min(32) as u32).filter(|cpu| mask >> cpu & 1 == 1).collect();
    let read_only = |phandle: u32| {
        let grants = node.list("grants").iter().filter(|g| g.cell("device") == Some(phandle));
        grants.clone().any(|g| g.text("rights").as_deref() == Some("r"))
    };
    let access = node.cells("access");
    let devices = access.iter().filter_map(|p| Some((index.device(*p)?.clone(), !read_only(*p)))).collect();
    Partition { node, cpus, devices }
}

impl Partition<'_> {
    /// Pages of its devices' registers that it may write, and those that it may only read.
    #[must_use]
    pub fn pages(&self) -> (Vec<Range>, Vec<Range>) {
        let of = |writes: bool| {
            let devices = self.devices.iter().filter(|(_, w)| *w == writes);
            crate::ranges::union(devices.flat_map(|(d, _)| &d.registers).map(|r| r.to_pages()).collect())
        };
        let (written, read) = (of(true), of(false));
        let only_read = crate::ranges::minus(&read, &written);
        (written, only_read)
    }

    /// `memory`, each range with its physical start where the configuration fixes it.
    #[must_use]
    pub fn memory(&self) -> Vec<(Range, Option<u64>)> {
        let starts = self.node.wides("bulkhead,memory-pa");
        let direct = self.node.flag("bulkhead,direct-map");
        let memory = self.node.wides("memory");
        let ranges = memory.chunks_exact(2).enumerate();
        ranges
            .map(|(number, r)| {
                let fixed = starts.get(number).copied().or(direct.then_some(r[0]));
                (Range::of(r[0], r[1]), fixed)
            })
            .collect()
    }
}

/// Bytes of a size, in whole pages.
#[must_use]
pub fn pages(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}
