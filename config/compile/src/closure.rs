//! Closure of a granted device: the nodes that go with it into its partition's tree, and the devices that they need.
//!
//! A node without registers or interrupts of its own is repeated where somebody refers to it (a fixed clock, a
//! regulator, a PHY, a group of pins), with the nodes that it needs in its turn, and below the node that it belongs to. A
//! node with registers is a device: it is needed, and either granted to the same partition or missing. Where the board's
//! data say how firmware leaves a missing clock or supply, that is counted on instead ([`Stated`]).

use crate::board::{FixedClock, FixedSupply};
use crate::model::{BoardNodeIndex, DeviceIndex, Entry, System, Target};
use std::collections::BTreeSet;

/// Nodes that a reference may lead through to the one that is needed: more than any board has, and few enough to follow.
const STEPS_MAX: usize = 64;

/// What a granted device takes with it and what it needs.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// Nodes of its partition's tree: its own, those below it, and those without registers that they refer to.
    pub nodes: BTreeSet<BoardNodeIndex>,
    /// Devices and other nodes that it needs beside those, in the order in which they are met.
    pub needs: Vec<Need>,
    /// What it counts on firmware for.
    pub stated: Vec<Stated>,
}

/// Stands for the path of what a reference leads to where it leads to no device.
pub const NOTHING: &str = "nothing";

/// A node that a device needs and that cannot be repeated without being granted.
#[derive(Debug, Clone)]
pub struct Need {
    /// The device's property from which it is reached.
    pub property: String,
    /// Nodes in between.
    pub via: Vec<String>,
    /// The node referred to; [`NOTHING`] if the reference names none.
    pub path: String,
    /// The device that it is or belongs to.
    pub device: Option<DeviceIndex>,
    /// Whether the partition has it.
    pub met: bool,
    /// Whether the board's data say how firmware leaves it, so that it can stay ungranted.
    pub stated: bool,
    /// Whether it is there, but disabled.
    pub disabled: bool,
}

/// Something that firmware sets and nobody changes while its controller is granted to nobody.
#[derive(Debug, Clone)]
pub enum Stated {
    /// An output of a clock manager.
    Clock(BoardNodeIndex, FixedClock),
    /// A regulator.
    Supply(BoardNodeIndex, FixedSupply),
}

/// The device that a node is, or that it lies in.
pub fn owner(system: &System, node: BoardNodeIndex) -> Option<DeviceIndex> {
    ancestors(system, node).find_map(|at| system.nodes[at].device)
}

/// `node` and those above it.
fn ancestors(system: &System, node: BoardNodeIndex) -> impl Iterator<Item = BoardNodeIndex> + '_ {
    std::iter::successors(Some(node), |at| system.nodes[*at].parent)
}

/// The closure of `device` in a partition that has what `granted` says.
pub fn of(system: &System, device: DeviceIndex, granted: &dyn Fn(DeviceIndex) -> bool) -> Closure {
    let mut walk = Walk { system, device, granted, out: Closure::default() };
    walk.keep(system.devices[device].node, &Hop::default());
    walk.out
}

/// Whether a property names clocks.
pub fn names_clocks(property: &str) -> bool {
    ["clocks", "assigned-clocks", "assigned-clock-parents"].contains(&property)
}

/// How a node was reached.
#[derive(Clone, Default)]
struct Hop {
    property: Option<String>,
    via: Vec<String>,
}

struct Walk<'a> {
    system: &'a System,
    device: DeviceIndex,
    granted: &'a dyn Fn(DeviceIndex) -> bool,
    out: Closure,
}

impl Walk<'_> {
    /// Takes a node, what lies in it, and what all that refers to.
    fn keep(&mut self, node: BoardNodeIndex, hop: &Hop) {
        if !self.out.nodes.insert(node) {
            return;
        }
        self.references(node, hop);
        let this = &self.system.nodes[node];
        for &child in &this.children {
            let below = &self.system.nodes[child];
            let group = this.pin_controller && below.plain("gpio-hog").is_none();
            if below.enabled && below.device.is_none() && !group {
                self.keep(child, &hop.by(&below.path));
            }
        }
    }

    /// Takes the nodes above `node`, up to and without `top`.
    fn keep_above(&mut self, node: BoardNodeIndex, top: Option<BoardNodeIndex>, hop: &Hop) {
        let system = self.system;
        for at in ancestors(system, node).skip(1).take_while(|at| Some(*at) != top) {
            if self.out.nodes.insert(at) {
                self.references(at, hop);
            }
        }
    }

    fn references(&mut self, node: BoardNodeIndex, hop: &Hop) {
        let system = self.system;
        for reference in &system.nodes[node].references {
            for entry in &reference.entries {
                let property = hop.property.clone().or_else(|| Some(reference.property.clone()));
                let hop = Hop { property, via: hop.via.clone() };
                self.follow(&reference.property, entry, &hop);
            }
        }
    }

    fn follow(&mut self, property: &str, entry: &Entry, hop: &Hop) {
        let node = match entry.target {
            Target::Hole | Target::Line(_) => return,
            Target::Unknown => return self.need(hop, NOTHING, None),
            Target::Node(node) => node,
        };
        if self.out.nodes.contains(&node) {
            return;
        }
        if hop.via.len() >= STEPS_MAX {
            return self.need(hop, &self.system.nodes[node].path, None);
        }
        match owner(self.system, node) {
            Some(owner) => self.device(property, entry, (node, owner), hop),
            None => self.support(property, node, hop),
        }
    }

    /// A node that is a device or lies in one.
    fn device(&mut self, property: &str, entry: &Entry, at: (BoardNodeIndex, DeviceIndex), hop: &Hop) {
        let (node, owner) = at;
        let system = self.system;
        let home = system.devices[owner].node;
        let mine = owner == self.device;
        let met = mine || (self.granted)(owner);
        if !mine {
            self.need(hop, &system.nodes[node].path, Some(owner));
        }
        if met && node != home {
            self.keep_above(node, Some(home), hop);
            self.keep(node, &hop.by(&system.nodes[node].path));
        } else if !met && names_clocks(property) {
            let mut clocks = system.board.facts.fixed_clocks.iter();
            let output = entry.cells.first().copied();
            let same =
                |c: &&FixedClock| Some(c.output) == output && system.nodes[node].is_compatible(&c.provider);
            if let (Some(clock), Some(need)) = (clocks.find(same), self.out.needs.last_mut()) {
                need.stated = true;
                self.out.stated.push(Stated::Clock(node, clock.clone()));
            }
        }
    }

    /// A node without registers in no device.
    fn support(&mut self, property: &str, node: BoardNodeIndex, hop: &Hop) {
        let system = self.system;
        let this = &system.nodes[node];
        // Buses and shelves that hold it stay away; what else holds it belongs to it.
        let line: Vec<BoardNodeIndex> = ancestors(system, node).collect();
        let outermost = line.iter().rposition(|at| !system.nodes[*at].only_holds()).unwrap_or(0);
        let (chain, top) = (&line[..=outermost], line.get(outermost + 1).copied());
        let disabled = chain.iter().any(|at| !system.nodes[*at].enabled);
        if disabled || chain.iter().any(|at| !system.nodes[*at].untranslatable.is_empty()) {
            self.need(hop, &this.path, None);
            if let Some(need) = self.out.needs.last_mut() {
                need.disabled = disabled;
            }
            return;
        }
        let supply = property.ends_with("-supply").then(|| this.text("regulator-name")).flatten();
        let mut facts = system.board.facts.fixed_supplies.iter();
        let before =
            facts.find(|s| Some(s.regulator.as_str()) == supply).map(|fact| (fact, self.out.clone()));
        self.keep_above(node, top, &hop.by(&this.path));
        self.keep(node, &hop.by(&this.path));
        let Some((fact, before)) = before else { return };
        if self.out.needs[before.needs.len()..].iter().any(|need| !need.met && !need.stated) {
            let reached = self.out.needs.split_off(before.needs.len());
            self.out = before;
            self.out.needs.extend(reached.into_iter().map(|need| Need { stated: true, ..need }));
            self.out.stated.push(Stated::Supply(node, fact.clone()));
        }
    }

    fn need(&mut self, hop: &Hop, path: &str, device: Option<DeviceIndex>) {
        let met = device.is_some_and(|device| (self.granted)(device));
        self.out.needs.push(Need {
            property: hop.property.clone().unwrap_or_default(),
            via: hop.via.clone(),
            path: path.to_owned(),
            device,
            met,
            stated: false,
            disabled: false,
        });
    }
}

impl Hop {
    /// One node further.
    fn by(&self, path: &str) -> Hop {
        let via = self.via.iter().cloned().chain([path.to_owned()]).collect();
        Hop { property: self.property.clone(), via }
    }
}
