//! Granted devices in a partition's tree, with their closure: nodes repeated from the board's tree, references to each
//! other under phandles of this tree, registers and interrupts as the partition has them.
//!
//! Nothing else of the board's tree is repeated: what was not granted, aliases, and what refers to it.

use super::guest_dt::{
    EDGE_RISING, GIC_PHANDLE, LEVEL_HIGH, Tree, UART_CLOCK, UART_CLOCK_HZ, UART_CLOCK_PHANDLE,
};
use crate::board::{FixedClock, FixedSupply};
use crate::closure::{self, Stated, names_clocks};
use crate::device::{Device, Interrupt, Trigger};
use crate::model::{BoardNode, BoardNodeIndex, DeviceIndex, PartitionIndex, Reference, System, Target};
use std::collections::{BTreeMap, BTreeSet};
use vm_fdt::{FdtWriter, FdtWriterResult};

const FIRST_PHANDLE: u32 = UART_CLOCK_PHANDLE + 1;

/// A node of this tree that others refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Repeated from the board's.
    Node(BoardNodeIndex),
    /// The fixed clock in the place of an output of a clock manager.
    Output(BoardNodeIndex, u32),
}

/// What a partition's devices bring into its tree.
pub(super) struct Granted {
    devices: Vec<DeviceIndex>,
    nodes: BTreeSet<BoardNodeIndex>,
    clocks: BTreeMap<(BoardNodeIndex, u32), FixedClock>,
    supplies: BTreeMap<BoardNodeIndex, FixedSupply>,
    phandles: BTreeMap<Key, u32>,
}

impl Granted {
    /// The devices of partition `index` with their closures.
    pub(super) fn of(system: &System, index: PartitionIndex) -> Granted {
        let devices: Vec<DeviceIndex> = system.partitions[index].access.iter().map(|a| a.value).collect();
        let mut this = Granted {
            devices: devices.clone(),
            nodes: BTreeSet::new(),
            clocks: BTreeMap::new(),
            supplies: BTreeMap::new(),
            phandles: BTreeMap::new(),
        };
        for &device in &devices {
            let closure = closure::of(system, device, &|wanted| devices.contains(&wanted));
            this.nodes.extend(closure.nodes);
            for stated in closure.stated {
                match stated {
                    Stated::Clock(node, clock) => drop(this.clocks.insert((node, clock.output), clock)),
                    Stated::Supply(node, supply) => drop(this.supplies.insert(node, supply)),
                }
            }
        }
        let references = this.nodes.iter().flat_map(|node| &system.nodes[*node].references);
        let entries = references.flat_map(|r| r.entries.iter().map(move |e| (r, e)));
        let keys: BTreeSet<Key> = entries
            .filter_map(|(r, e)| match e.target {
                Target::Node(node) => Some(this.key(&r.property, node, &e.cells)),
                Target::Hole | Target::Unknown | Target::Line(_) => None,
            })
            .collect();
        this.phandles = keys.into_iter().zip(FIRST_PHANDLE..).collect();
        this
    }

    /// What an entry refers to in this tree.
    fn key(&self, property: &str, node: BoardNodeIndex, cells: &[u32]) -> Key {
        let output = cells.first().copied().filter(|_| names_clocks(property));
        match output.filter(|output| self.clocks.contains_key(&(node, *output))) {
            Some(output) => Key::Output(node, output),
            None => Key::Node(node),
        }
    }
}

/// A name below the root that no two nodes of the board's tree give.
fn flat_name(path: &str) -> String {
    path.trim_start_matches('/').replace(['/', '@'], "-")
}

impl Tree<'_> {
    /// Writes what the devices need, then the devices.
    pub(super) fn devices(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        for (key, clock) in &self.granted.clocks {
            let name = format!("{}-{}", flat_name(&self.system.nodes[key.0].path), key.1);
            let node = fdt.begin_node(&name)?;
            fdt.property_string("compatible", "fixed-clock")?;
            fdt.property_u32("#clock-cells", 0)?;
            fdt.property_u32("clock-frequency", clock.hz)?;
            fdt.property_string("clock-output-names", &name)?;
            self.phandle(fdt, Key::Output(key.0, key.1))?;
            fdt.end_node(node)?;
        }
        for (&index, supply) in &self.granted.supplies {
            self.supply(fdt, index, supply)?;
        }
        let roots = self.granted.nodes.iter().filter(|node| {
            let this = &self.system.nodes[**node];
            this.device.is_none() && this.parent.is_none_or(|parent| !self.granted.nodes.contains(&parent))
        });
        for &node in roots.filter(|node| !self.is_uart_clock(**node)) {
            let this = &self.system.nodes[node];
            let name = self.root_name(this);
            self.node(fdt, node, &name)?;
        }
        let granted = self.granted.devices.iter().map(|device| &self.system.devices[*device]);
        let (shifted, plain): (Vec<_>, Vec<_>) = granted.partition(|d| d.bus_master && d.is_shifted());
        for device in plain {
            self.device(fdt, device, &device.name)?;
        }
        self.buses(fdt, &shifted)
    }

    /// A regulator that stays as firmware leaves it (binding regulator-fixed).
    fn supply(
        &self,
        fdt: &mut FdtWriter,
        index: BoardNodeIndex,
        supply: &FixedSupply,
    ) -> FdtWriterResult<()> {
        let node = fdt.begin_node(&flat_name(&self.system.nodes[index].path))?;
        fdt.property_string("compatible", "regulator-fixed")?;
        fdt.property_string("regulator-name", &supply.regulator)?;
        fdt.property_u32("regulator-min-microvolt", supply.microvolt)?;
        fdt.property_u32("regulator-max-microvolt", supply.microvolt)?;
        fdt.property_null("regulator-always-on")?;
        fdt.property_null("regulator-boot-on")?;
        self.phandle(fdt, Key::Node(index))?;
        fdt.end_node(node)
    }

    /// Whether a clock is the one that the emulated PL011 has anyway.
    fn is_uart_clock(&self, node: BoardNodeIndex) -> bool {
        let this = &self.system.nodes[node];
        self.has_uart()
            && this.is_compatible("fixed-clock")
            && flat_name(&this.path) == UART_CLOCK
            && this.cell("clock-frequency") == Some(UART_CLOCK_HZ)
    }

    /// What a node is called below the root, where the names of this tree's own nodes are taken.
    fn root_name(&self, node: &BoardNode) -> String {
        let name = flat_name(&node.path);
        let own = ["chosen", "cpus", "psci", "timer", UART_CLOCK];
        if own.contains(&name.as_str()) { format!("board-{name}") } else { name }
    }

    /// Masters that see memory at other addresses than the CPU, each set of `dma-ranges` as a bus of its own; registers stay
    /// the CPU's (specification v0.4, 2.3.8 and 2.3.9).
    fn buses(&self, fdt: &mut FdtWriter, devices: &[&Device]) -> FdtWriterResult<()> {
        let mut sets: BTreeMap<Vec<u64>, Vec<&Device>> = BTreeMap::new();
        for device in devices {
            let cells = device.dma_ranges.iter().flat_map(|(bus, cpu)| [*bus, cpu.base, cpu.size]).collect();
            sets.entry(cells).or_default().push(device);
        }
        for (number, (ranges, devices)) in sets.iter().enumerate() {
            let node = fdt.begin_node(&format!("dma-bus-{number}"))?;
            fdt.property_string("compatible", "simple-bus")?;
            fdt.property_u32("#address-cells", 2)?;
            fdt.property_u32("#size-cells", 2)?;
            fdt.property_null("ranges")?;
            fdt.property_array_u64("dma-ranges", ranges)?;
            for device in devices {
                // A bus asks for unit addresses that are those of its registers.
                let kind = device.name.split('@').next().unwrap_or(&device.name);
                let at = device.regs.first().map_or(0, |range| range.base);
                self.device(fdt, device, &format!("{kind}@{at:x}"))?;
            }
            fdt.end_node(node)?;
        }
        Ok(())
    }

    fn device(&self, fdt: &mut FdtWriter, device: &Device, name: &str) -> FdtWriterResult<()> {
        let node = fdt.begin_node(name)?;
        let reg: Vec<u64> = device.regs.iter().flat_map(|r| [r.base, r.size]).collect();
        fdt.property_array_u64("reg", &reg)?;
        let this = &self.system.nodes[device.node];
        let elsewhere = this.references.iter().any(|r| r.property == "interrupts-extended");
        let cells: Vec<u32> = device.interrupts.iter().flat_map(|line| self.line(*line)).collect();
        if !cells.is_empty() && !elsewhere {
            fdt.property_array_u32("interrupts", &cells)?;
        }
        self.content(fdt, device.node, &["reg"])?;
        fdt.end_node(node)
    }

    /// A node without registers of the CPU.
    fn node(&self, fdt: &mut FdtWriter, index: BoardNodeIndex, name: &str) -> FdtWriterResult<()> {
        let node = fdt.begin_node(name)?;
        self.content(fdt, index, &[])?;
        fdt.end_node(node)
    }

    /// Properties, but for those said already, and children.
    fn content(&self, fdt: &mut FdtWriter, index: BoardNodeIndex, said: &[&str]) -> FdtWriterResult<()> {
        let this = &self.system.nodes[index];
        let assigns = self.assigns(this);
        let dropped = |name: &str| said.contains(&name) || (!assigns && name.starts_with("assigned-clock"));
        for (name, value) in this.plain.iter().filter(|(name, _)| !dropped(name)) {
            fdt.property(name, value)?;
        }
        for reference in this.references.iter().filter(|r| !dropped(&r.property)) {
            fdt.property_array_u32(&reference.property, &self.cells(reference))?;
        }
        self.phandle(fdt, Key::Node(index))?;
        let children = this.children.iter().filter(|child| self.granted.nodes.contains(child));
        for &child in children {
            let below = &self.system.nodes[child];
            if below.device.is_none() {
                self.node(fdt, child, &below.name)?;
            }
        }
        Ok(())
    }

    /// Whether the rates that a node assigns are those of clocks that the partition can set.
    fn assigns(&self, node: &BoardNode) -> bool {
        let clocks = node.references.iter().filter(|r| r.property.starts_with("assigned-clock"));
        clocks.flat_map(|r| &r.entries).all(|entry| match entry.target {
            Target::Node(clock) => closure::owner(self.system, clock)
                .is_some_and(|device| self.granted.devices.contains(&device)),
            Target::Hole | Target::Unknown | Target::Line(_) => true,
        })
    }

    /// A property of references in the cells of this tree.
    fn cells(&self, reference: &Reference) -> Vec<u32> {
        let mut out = Vec::new();
        for entry in &reference.entries {
            match entry.target {
                Target::Hole | Target::Unknown => out.push(0),
                Target::Line(line) => {
                    out.push(GIC_PHANDLE);
                    out.extend(self.line(line));
                }
                Target::Node(node) if self.is_uart_clock(node) => out.push(UART_CLOCK_PHANDLE),
                Target::Node(node) => {
                    let key = self.granted.key(&reference.property, node, &entry.cells);
                    out.push(self.granted.phandles.get(&key).copied().unwrap_or(0));
                    if matches!(key, Key::Node(_)) {
                        out.extend(&entry.cells);
                    }
                }
            }
        }
        out
    }

    fn phandle(&self, fdt: &mut FdtWriter, key: Key) -> FdtWriterResult<()> {
        self.granted.phandles.get(&key).map_or(Ok(()), |phandle| fdt.property_phandle(*phandle))
    }

    fn line(&self, line: Interrupt) -> [u32; 3] {
        let flags = match line.trigger {
            Trigger::EdgeRising => EDGE_RISING,
            Trigger::EdgeFalling => 2,
            Trigger::LevelHigh => LEVEL_HIGH,
            Trigger::LevelLow => 8,
        };
        self.interrupt(line.intid, flags)
    }
}
