//! Who can act on whom, and by what: flows that the configuration grants, and influences that come with sharing.

use crate::draw::flow::Flow;
use bulkhead_compile::health::Action;
use bulkhead_compile::model::{Authority, ConsoleKind, PartitionIndex, PlanIndex, PortKind, Right, System};

/// The word of a configuration for a right.
fn word(right: Right) -> &'static str {
    match right {
        Right::Status => "status",
        Right::Suspend => "suspend",
        Right::Resume => "resume",
        Right::Restart => "restart",
        Right::Halt => "halt",
        Right::ReadHealth => "read-health",
        Right::ReadTrace => "read-trace",
        Right::ResetBoard => "reset-board",
    }
}

/// Rights that let their holder read alone.
fn reads(right: Right) -> bool {
    matches!(right, Right::Status | Right::ReadHealth | Right::ReadTrace)
}

/// Flows under collection; EL2 is the party behind the last partition.
struct Found<'a> {
    system: &'a System,
    flows: Vec<Flow>,
}

impl Found<'_> {
    fn add(&mut self, from: usize, to: usize, what: String, indirect: bool) {
        if from != to {
            self.flows.push(Flow { from, to, what, indirect });
        }
    }

    fn partitions(&self) -> std::ops::Range<PartitionIndex> {
        0..self.system.partitions.len()
    }

    fn hypervisor(&self) -> usize {
        self.system.partitions.len()
    }

    /// Something that reaches every partition but its cause.
    fn everybody(&mut self, from: usize, what: &str, indirect: bool) {
        for to in self.partitions() {
            self.add(from, to, what.to_owned(), indirect);
        }
    }

    /// Partitions whose windows a plan lays down.
    fn planned(&self) -> Vec<PartitionIndex> {
        let windows = self.system.plans.iter().flat_map(|p| &p.cpus).flat_map(|c| {
            c.windows.iter().map(|w| w.partition.value).chain(c.background.iter().map(|b| b.value))
        });
        let mut list: Vec<PartitionIndex> = windows.collect();
        list.sort_unstable();
        list.dedup();
        list
    }

    /// A change of plan, which moves the windows of everybody who has some.
    fn plans(&mut self, from: usize, plans: &[PlanIndex], how: &str, indirect: bool) {
        let names: Vec<&str> = plans.iter().map(|p| self.system.plans[*p].name.value.as_str()).collect();
        if !names.is_empty() {
            for to in self.planned() {
                self.add(from, to, format!("{how}: plan {}", names.join(", ")), indirect);
            }
        }
    }

    /// Messages in a port's direction, and how far a queue was read, which its writer sees.
    fn ports(&mut self) {
        for port in &self.system.ports {
            let name = &port.name.value;
            let bell = if port.doorbell.is_some() { " + doorbell" } else { "" };
            for (from, to) in port.from.iter().flat_map(|from| port.to.iter().map(move |to| (from, to))) {
                self.add(from.partition, to.partition, format!("port {name}{bell}"), false);
                if matches!(port.kind, PortKind::Queuing { .. }) {
                    self.add(to.partition, from.partition, format!("port {name}: how far it is read"), true);
                }
            }
        }
    }

    fn segments(&mut self) {
        for segment in &self.system.segments {
            for (writer, reader) in
                segment.writer.iter().flat_map(|w| segment.readers.iter().map(move |r| (w, r)))
            {
                self.add(writer.value, reader.value, format!("segment {}", segment.name.value), false);
            }
        }
    }

    /// What a right lets its holder do goes out from it; what it lets it read comes in.
    fn authority(&mut self, holder: PartitionIndex, authority: &Authority) {
        let named = |wanted: bool| {
            let list =
                authority.allow.iter().filter(|r| reads(r.value) == wanted && r.value != Right::ResetBoard);
            list.map(|r| word(r.value)).collect::<Vec<_>>().join(", ")
        };
        let (read, act) = (named(true), named(false));
        let module = [self.hypervisor()];
        let over: Vec<usize> = authority.over.iter().map(|o| o.value).collect();
        for party in if over.is_empty() { &module[..] } else { &over } {
            if !act.is_empty() {
                self.add(holder, *party, format!("authority: {act}"), false);
            }
            if !read.is_empty() {
                self.add(*party, holder, format!("authority: {read}"), false);
            }
        }
        if authority.allow.iter().any(|r| r.value == Right::ResetBoard) {
            self.everybody(holder, "authority: reset-board", false);
            self.add(holder, module[0], "authority: reset-board".to_owned(), false);
        }
        let plans: Vec<PlanIndex> = authority.plans.iter().map(|p| p.value).collect();
        self.plans(holder, &plans, "authority", false);
    }

    /// What a health table does to others when its partition fails.
    fn health(&mut self, index: PartitionIndex) {
        let system = self.system;
        let Some(table) =
            system.partitions[index].health.as_ref().and_then(|t| system.health_tables.get(t.value))
        else {
            return;
        };
        let mut told: Vec<usize> =
            table.steps().flat_map(|(_, step)| step.notify.iter().map(|p| p.value)).collect();
        told.sort_unstable();
        told.dedup();
        for told in told {
            self.add(index, told, "health events".to_owned(), false);
        }
        let mut actions: Vec<Action> = table.steps().map(|(_, step)| step.action.value).collect();
        actions.extend(table.default_action.iter().map(|a| a.value));
        if actions.contains(&Action::ResetBoard) {
            self.everybody(index, "its failure resets the board", true);
        }
        let mut plans: Vec<PlanIndex> =
            table.steps().filter_map(|(_, step)| step.plan.as_ref().map(|p| p.value)).collect();
        plans.sort_unstable();
        plans.dedup();
        self.plans(index, &plans, "its failure", true);
    }

    /// Output goes to EL2, which spends time of the console's CPU on it.
    fn console(&mut self) {
        let drained = self.system.hypervisor.console_cpu.value;
        for from in self.partitions() {
            if self.system.partitions[from].console.value == ConsoleKind::None {
                continue;
            }
            self.add(from, self.hypervisor(), "console".to_owned(), false);
            for to in self.partitions() {
                if self.system.partitions[to].vcpus.value.contains(&drained) {
                    self.add(from, to, format!("its output takes time of CPU {drained}"), true);
                }
            }
        }
    }

    /// Devices that write memory past every table.
    fn masters(&mut self) {
        for from in self.partitions() {
            let devices = self.system.partitions[from].access.iter().map(|a| &self.system.devices[a.value]);
            for device in devices.filter(|d| d.bus_master) {
                let what = format!("DMA of {}, no IOMMU", device.display_name());
                self.everybody(from, &what, true);
                self.add(from, self.hypervisor(), what, true);
            }
        }
    }

    /// What partitions share without wanting to.
    fn shared(&mut self) {
        for cpu in 0..self.system.board.cpus.len() {
            let on = |p: &PartitionIndex| self.system.partitions[*p].vcpus.value.contains(&cpu);
            let users: Vec<PartitionIndex> = self.partitions().filter(on).collect();
            for from in &users {
                for to in &users {
                    self.add(*from, *to, format!("shared CPU {cpu}"), true);
                }
            }
        }
        for from in self.partitions() {
            self.everybody(from, "shared cache, bus, TLB maintenance", true);
        }
    }
}

/// Parties (partitions, then EL2) and what flows between them.
#[must_use]
pub fn flows(system: &System) -> (Vec<String>, Vec<Flow>) {
    let mut parties: Vec<String> = system.partitions.iter().map(|p| p.name.value.clone()).collect();
    parties.push("EL2".to_owned());
    let mut found = Found { system, flows: Vec::new() };
    found.ports();
    found.segments();
    for (holder, partition) in system.partitions.iter().enumerate() {
        for authority in &partition.authority {
            found.authority(holder, authority);
        }
    }
    for index in found.partitions() {
        found.health(index);
    }
    found.console();
    found.masters();
    found.shared();
    let configured = found.flows.iter().filter(|f| !f.indirect).cloned();
    let influences = found.flows.iter().filter(|f| f.indirect).cloned();
    (parties, configured.chain(influences).collect())
}

/// What a partition does to another without anything that both have by name: cause, concerned, what.
#[must_use]
pub fn influences(system: &System) -> Vec<(PartitionIndex, PartitionIndex, String)> {
    let mut found = Found { system, flows: Vec::new() };
    for index in found.partitions() {
        found.health(index);
    }
    found.console();
    found.masters();
    let among = found.flows.into_iter().filter(|f| f.indirect && f.to < system.partitions.len());
    among.map(|f| (f.from, f.to, f.what)).collect()
}
