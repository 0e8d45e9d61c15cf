//! From device tree to [`System`]: everything the vocabulary says, and a finding for everything it does not.

mod board;
mod cursor;
pub(crate) mod devices;
mod health;
mod nodes;
mod partition;
mod plans;
mod ports;
pub mod spelling;

use crate::board::BUILTIN_BOARDS;
use crate::diag::{Finding, Sources};
use crate::doubts::Doubts;
use crate::dts::{Node, NodeIndex, ROOT, Tree};
use crate::model::{Hypervisor, Partition, System};
use crate::rules;
use crate::rules::language::{LNG_001, LNG_002, LNG_005, LNG_007, LNG_009};
use crate::span::Spanned;
use cursor::{Cursor, Reference};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Nodes below the root that are ours.
const OWN_NODES: [&str; 6] = ["hypervisor", "domains", "segments", "ports", "plans", "health"];

/// Where payloads are looked for.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    /// The directory of the configuration, then those the caller adds.
    pub directories: Vec<PathBuf>,
    /// Boards that are known beside the built-in ones.
    pub boards: Vec<crate::board::BoardFacts>,
}

impl SearchPath {
    /// The first directory that has `written`.
    fn find(&self, written: &str) -> Option<PathBuf> {
        self.directories.iter().map(|d| d.join(Path::new(written))).find(|p| p.is_file())
    }
}

/// What a node of the tree is, for references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entity {
    Partition(usize),
    Device(usize),
    Cpu(usize),
    Plan(usize),
    HealthTable(usize),
}

impl Entity {
    fn kind(self) -> &'static str {
        match self {
            Entity::Partition(_) => "a partition",
            Entity::Device(_) => "a device",
            Entity::Cpu(_) => "a CPU",
            Entity::Plan(_) => "a plan",
            Entity::HealthTable(_) => "a health table",
        }
    }
}

fn partition(entity: Entity) -> Option<usize> {
    match entity {
        Entity::Partition(i) => Some(i),
        _ => None,
    }
}

fn plan(entity: Entity) -> Option<usize> {
    match entity {
        Entity::Plan(i) => Some(i),
        _ => None,
    }
}

fn device(entity: Entity) -> Option<usize> {
    match entity {
        Entity::Device(i) => Some(i),
        _ => None,
    }
}

/// What every part of the reader shares.
pub struct Context<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
    search: &'t SearchPath,
    findings: Vec<Finding>,
    doubts: Doubts,
    entities: HashMap<NodeIndex, Entity>,
}

impl<'t> Context<'t> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The top-level node `name`; one that is only spelled wrong stands in, once LNG-001 has said so.
    fn top(&self, name: &str) -> Option<NodeIndex> {
        let meant = |node: &NodeIndex| {
            let node = &self.tree.nodes[*node];
            let word = spelling::nearest(&node.name, OWN_NODES.into_iter());
            !OWN_NODES.contains(&node.name.as_str()) && !is_hardware(node) && word == Some(name)
        };
        let root = &self.tree.nodes[ROOT];
        self.tree.child(ROOT, name).or_else(|| root.children.iter().copied().find(meant))
    }

    /// Children of the top-level node `name`.
    fn children_of(&self, name: &str) -> Vec<NodeIndex> {
        self.top(name).map(|n| self.tree.nodes[n].children.clone()).unwrap_or_default()
    }

    fn register(&mut self, nodes: &[NodeIndex], entity: impl Fn(usize) -> Entity) {
        self.entities.extend(nodes.iter().enumerate().map(|(i, n)| (*n, entity(i))));
    }

    /// References to things of one kind; `select` picks the index out of the right [`Entity`].
    fn resolve(
        &mut self,
        references: Vec<Reference>,
        expected: &str,
        select: impl Fn(Entity) -> Option<usize>,
    ) -> Vec<Spanned<usize>> {
        let mut out = Vec::new();
        for reference in references {
            let Some(node) = reference.node else { continue };
            let entity = self.entities.get(&node).copied();
            match entity.and_then(&select) {
                Some(index) => out.push(Spanned::new(index, reference.span)),
                None => {
                    let is =
                        entity.map_or("neither partition, device, CPU, plan nor health table", Entity::kind);
                    let target = self.tree.nodes[node].span;
                    let finding = Finding::new(
                        &LNG_002,
                        format!("this must name {expected}"),
                        reference.span,
                        format!("names {is}"),
                    )
                    .also(target, "the node it names")
                    .found(self.tree.path(node))
                    .expected(expected);
                    self.report(finding);
                }
            }
        }
        out
    }
}

impl Cursor<'_, '_> {
    fn partitions(&mut self, name: &str) -> Vec<Spanned<usize>> {
        let references = self.references(name);
        self.resolve(name, references, "a partition", partition)
    }

    fn plans(&mut self, name: &str) -> Vec<Spanned<usize>> {
        let references = self.references(name);
        self.resolve(name, references, "a plan", plan)
    }

    fn partition(&mut self, name: &str) -> Option<Spanned<usize>> {
        self.one(name, "a partition", partition)
    }

    fn plan(&mut self, name: &str) -> Option<Spanned<usize>> {
        self.one(name, "a plan", plan)
    }

    fn cpu(&mut self, name: &str) -> Option<Spanned<usize>> {
        self.one(name, "a CPU", |e| match e {
            Entity::Cpu(i) => Some(i),
            _ => None,
        })
    }

    fn device(&mut self, name: &str) -> Option<Spanned<usize>> {
        self.one(name, "a device", device)
    }

    fn health_table(&mut self, name: &str) -> Option<Spanned<usize>> {
        self.one(name, "a health table", |e| match e {
            Entity::HealthTable(i) => Some(i),
            _ => None,
        })
    }

    /// What the single reference of property `name` leads to; a second one is LNG-005.
    fn one(
        &mut self,
        name: &str,
        expected: &str,
        select: impl Fn(Entity) -> Option<usize>,
    ) -> Option<Spanned<usize>> {
        let references = self.references(name);
        if let [_, second, ..] = references.as_slice() {
            self.doubt(name);
            let message = format!("`{name}` names more than one node");
            let finding = Finding::new(&LNG_005, message, second.span, "one too many")
                .found(format!("{} references", references.len()))
                .expected(format!("{name} = <&LABEL>; with {expected}"))
                .fix("keep one of them");
            self.context.report(finding);
        }
        self.resolve(name, references, expected, select).into_iter().next()
    }

    /// What the references of property `name` lead to; `select` picks the index out of the right [`Entity`].
    fn resolve(
        &mut self,
        name: &str,
        references: Vec<Reference>,
        expected: &str,
        select: impl Fn(Entity) -> Option<usize>,
    ) -> Vec<Spanned<usize>> {
        let written = references.len();
        let found = self.context.resolve(references, expected, select);
        if found.len() < written {
            self.doubt(name);
        }
        found
    }

    /// The property must be there; reports it where it is not.
    fn need(&mut self, found: bool, name: &str, expected: &str) {
        let there = self.context.tree.nodes[self.node].property(name).is_some();
        if !found && !there {
            self.missing(name, expected);
        }
    }

    /// `compatible` must list `wanted`.
    fn need_compatible(&mut self, wanted: &str) {
        let listed = self.texts("compatible");
        match listed {
            Some(list) if list.value.iter().any(|c| c == wanted) => {}
            Some(list) => {
                let finding =
                    Finding::new(&LNG_001, "`compatible` does not say what this node is", list.span, "here")
                        .found(list.value.join(", "))
                        .expected(format!("\"{wanted}\""))
                        .fix(format!("add \"{wanted}\" to `compatible`"));
                self.context.report(finding);
            }
            None => self.need(false, "compatible", &format!("compatible = \"{wanted}\";")),
        }
    }
}

/// What the reader made of a tree.
pub struct Reading {
    /// The model; `None` if the board is unknown, without which nothing has a meaning.
    pub system: Option<System>,
    /// Findings of the LNG family and LNG-007.
    pub findings: Vec<Finding>,
}

/// Builds the model of a whole system.
pub fn read(tree: &Tree, sources: &Sources, search: &SearchPath) -> Reading {
    let mut context = Context {
        tree,
        sources,
        search,
        findings: Vec::new(),
        doubts: Doubts::default(),
        entities: HashMap::new(),
    };
    let system = read_system(&mut context);
    Reading { system, findings: context.findings }
}

fn read_system(context: &mut Context<'_>) -> Option<System> {
    check_phandles(context);
    let facts = known_board(context)?;
    let (devices, nodes) = devices::read(context, &facts);
    let board = board::read(context, facts, &devices)?;

    let partition_nodes = context.children_of("domains");
    context.register(&partition_nodes, Entity::Partition);
    let plan_nodes = context.children_of("plans");
    context.register(&plan_nodes, Entity::Plan);
    let tree = context.tree;
    let mut table_nodes = context.children_of("health");
    table_nodes.retain(|n| tree.nodes[*n].name != "module");
    context.register(&table_nodes, Entity::HealthTable);

    check_top_level(context);
    let hypervisor = read_hypervisor(context);
    let partitions: Vec<Partition> =
        partition_nodes.iter().map(|n| partition::read(context, *n, &board)).collect();
    let (plans, plans_span, initial_plan) = plans::read(context, &plan_nodes, &partitions);
    let (health_tables, module_health) = health::read(context, &table_nodes);
    let segments =
        context.children_of("segments").into_iter().map(|n| ports::read_segment(context, n)).collect();
    let ports =
        context.children_of("ports").into_iter().filter_map(|n| ports::read_port(context, n)).collect();
    Some(System {
        board,
        doubts: std::mem::take(&mut context.doubts),
        hypervisor,
        devices,
        nodes,
        partitions,
        segments,
        ports,
        plans,
        plans_span,
        initial_plan,
        health_tables,
        module_health,
    })
}

fn known_board(context: &mut Context<'_>) -> Option<crate::board::BoardFacts> {
    let root = &context.tree.nodes[ROOT];
    let compatible = root.compatible();
    let boards = BUILTIN_BOARDS.iter().filter_map(|text| crate::board::parse_facts(text).ok());
    let boards: Vec<_> = boards.chain(context.search.boards.iter().cloned()).collect();
    let known: Vec<String> = boards.iter().flat_map(|b| b.compatible.iter().cloned()).collect();
    let found = boards.into_iter().find(|b| b.compatible.iter().any(|c| compatible.contains(&c.as_str())));
    if found.is_none() {
        let span = root.property("compatible").map_or(root.span, |p| p.span);
        let finding = Finding::new(
            &LNG_007,
            "the board is unknown",
            span,
            "the root's `compatible` selects the board",
        )
        .found(if compatible.is_empty() { "no `compatible`".to_owned() } else { compatible.join(", ") })
        .expected(known.join(", "))
        .fix("include the device tree of a known board, for example /include/ \"board/qemu-virt.dtsi\"");
        context.report(finding);
    }
    found
}

/// LNG-009: a phandle names one node.
fn check_phandles(context: &mut Context<'_>) {
    let tree = context.tree;
    for (second, first) in &tree.double_phandles {
        let message = format!("{} and {} have one phandle", tree.path(*first), tree.path(*second));
        let finding = Finding::new(&LNG_009, message, tree.nodes[*second].span, "second")
            .also(tree.nodes[*first].span, "first")
            .found("one number for two nodes")
            .expected("a phandle of its own for each node that is referred to");
        context.report(finding);
    }
}

/// A node below the root that a configuration file opens must be ours, or describe hardware.
fn check_top_level(context: &mut Context<'_>) {
    let tree = context.tree;
    let own = |name: &str| OWN_NODES.contains(&name);
    let root = &tree.nodes[ROOT];
    // The file on the command line, and every file that opens a node of ours.
    let own_nodes = root.children.iter().map(|c| &tree.nodes[*c]).filter(|n| own(&n.name));
    let configuration: BTreeSet<u32> = own_nodes.map(|n| n.span.file).chain([0]).collect();
    let known: BTreeSet<&str> = OWN_NODES.into_iter().collect();
    for (index, node) in root.children.iter().map(|c| (*c, &tree.nodes[*c])) {
        if !configuration.contains(&node.span.file) || own(&node.name) || is_hardware(node) {
            continue;
        }
        if is_ours(node) && spelling::nearest(&node.name, OWN_NODES.into_iter()).is_none() {
            context.report(stray(tree, index));
        } else {
            context.unknown("node", &node.name, ROOT, node.span, &known);
        }
    }
    let properties = [
        "compatible",
        "model",
        "#address-cells",
        "#size-cells",
        "interrupt-parent",
        "dma-coherent",
        "bulkhead,accept",
        "serial-number",
    ];
    let known: BTreeSet<&str> = properties.into_iter().collect();
    for property in root.properties.iter().filter(|p| configuration.contains(&p.span.file)) {
        if !known.contains(&*property.name) {
            context.unknown("property", &property.name, ROOT, property.span, &known);
        }
    }
    for name in ["domains", "segments", "ports"] {
        if let Some(node) = context.top(name) {
            let mut cursor = Cursor::new(context, node);
            cursor.named_children();
            cursor.finish();
        }
    }
    check_strays(context);
}

/// Whether a node below the root describes hardware rather than the system.
fn is_hardware(node: &Node) -> bool {
    let says = ["compatible", "reg", "device_type", "ranges"].iter().any(|p| node.property(p).is_some());
    (says && !is_ours(node)) || ["aliases", "chosen", "reserved-memory", "cpus"].contains(&node.name.as_str())
}

/// What only nodes of ours have in `compatible`.
fn is_ours(node: &Node) -> bool {
    node.compatible().iter().any(|c| c.starts_with("bulkhead,") || c.starts_with("openamp,domain"))
}

/// LNG-001 about a node that says it is part of the configuration and lies beside it.
fn stray(tree: &Tree, index: NodeIndex) -> Finding {
    let node = &tree.nodes[index];
    let message = format!("`{}` lies where nobody reads it", node.name);
    let finding = Finding::new(&LNG_001, message, node.span, "this node");
    let says = node.property("compatible").map(|p| p.span);
    says.into_iter()
        .fold(finding, |f, span| f.also(span, "says what it is"))
        .found(tree.path(index))
        .expected(format!("one of /{}, or a node below them", OWN_NODES.join(", /")))
        .fix("move it there")
}

/// Below the board's own nodes nobody reads what the vocabulary says: a port or a property there would be lost.
fn check_strays(context: &mut Context<'_>) {
    let tree = context.tree;
    for (index, node) in tree.nodes.iter().enumerate().filter(|(index, _)| *index != ROOT) {
        let below = tree.below(index, ROOT);
        if OWN_NODES.contains(&tree.nodes[below].name.as_str()) || !is_hardware(&tree.nodes[below]) {
            continue;
        }
        if is_ours(node) {
            context.report(stray(tree, index));
        }
        let known: BTreeSet<&str> = [rules::acceptance::PROPERTY].into_iter().collect();
        for property in node.properties.iter().filter(|p| p.name.starts_with("bulkhead,")) {
            if !known.contains(&*property.name) {
                context.unknown("property", &property.name, index, property.span, &known);
            }
        }
    }
}

fn read_hypervisor(context: &mut Context<'_>) -> Hypervisor {
    let Some(node) = context.top("hypervisor") else {
        let span = context.tree.nodes[ROOT].span;
        Cursor::new(context, ROOT)
            .missing("hypervisor", "hypervisor { compatible = \"bulkhead,system-v1\"; ... };");
        return Hypervisor {
            span,
            part_number: Spanned::new(String::new(), span),
            memory: None,
            console: None,
            console_cpu: Spanned::new(0, span),
            trace_bytes_per_cpu: Spanned::new(0, span),
            health_log_records: Spanned::new(0, span),
            plan_switch_latency_ns: None,
            spectre_bhb: None,
            window_latency_ns: None,
            watchdog_ns: None,
        };
    };
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    cursor.need_compatible("bulkhead,system-v1");
    let part_number = cursor.text("part-number");
    cursor.need(part_number.is_some(), "part-number", "part-number = \"TEXT\";");
    let console_cpu = cursor.cpu("console-cpu");
    cursor.need(
        console_cpu.is_some(),
        "console-cpu",
        "console-cpu = <&cpuN>; the CPU that drains the console rings",
    );
    let console = cursor.device("console");
    cursor.need(console.is_some(), "console", "console = <&uartN>; the UART of the hypervisor");
    let memory = cursor.one_range("memory");
    let hypervisor = Hypervisor {
        span,
        part_number: part_number.unwrap_or_else(|| Spanned::new(String::new(), span)),
        memory,
        console,
        console_cpu: console_cpu.unwrap_or(Spanned::new(0, span)),
        trace_bytes_per_cpu: cursor.positive("trace-bytes-per-cpu").unwrap_or(Spanned::new(0x4000, span)),
        health_log_records: cursor.positive("health-log-records").unwrap_or(Spanned::new(256, span)),
        plan_switch_latency_ns: cursor.duration("plan-switch-latency"),
        spectre_bhb: cursor.flag("spectre-bhb"),
        window_latency_ns: cursor.duration("window-latency"),
        watchdog_ns: cursor.duration("watchdog"),
    };
    cursor.finish();
    hypervisor
}
