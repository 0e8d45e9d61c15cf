//! A configuration as a [`Description`]: what somebody wrote, with its places.

use crate::sha256;
use bulkhead_compile::diag::{Finding, Sources};
use bulkhead_compile::health::{HealthTable, Step};
use bulkhead_compile::model::{
    ConsoleKind, GuestClock, Partition, PartitionIndex, Payload, Plan, Port, PortKind, Rights, System,
    Timing, Window,
};
use bulkhead_compile::span::{Span, Spanned};
use bulkhead_verify::diff::{Description, Element, Influence, Kind, Names};
use std::collections::BTreeMap;

/// Describes a configuration with its accepted findings.
#[must_use]
pub fn describe(system: &System, findings: &[Finding], sources: &Sources) -> Description {
    let mut describer = Describer { system, sources, out: Description::default(), nodes: BTreeMap::new() };
    describer.hypervisor();
    describer.board();
    for partition in &system.partitions {
        describer.partition(partition);
        describer.memory(partition);
        describer.authorities(partition);
    }
    describer.segments();
    describer.devices();
    system.ports.iter().for_each(|port| describer.port(port));
    system.plans.iter().for_each(|plan| describer.plan(plan));
    for (index, table) in system.health_tables.iter().enumerate() {
        let users = system.partitions.iter().filter(|p| p.health.as_ref().is_some_and(|h| **h == index));
        describer.health(table, users.map(|p| p.name.value.clone()).collect());
    }
    if let Some(table) = &system.module_health {
        describer.health(table, describer.everybody());
    }
    describer.acceptances(findings);
    describer.cpus();
    describer.influences();
    describer.out
}

struct Describer<'a> {
    system: &'a System,
    sources: &'a Sources,
    out: Description,
    /// Partitions that a node of the tree concerns.
    nodes: BTreeMap<u32, Names>,
}

impl Describer<'_> {
    fn name(&self, index: PartitionIndex) -> String {
        self.system.partitions[index].name.value.clone()
    }

    fn names<'i>(&self, list: impl IntoIterator<Item = &'i Spanned<PartitionIndex>>) -> Names {
        list.into_iter().map(|p| self.name(p.value)).collect()
    }

    fn everybody(&self) -> Names {
        self.system.partitions.iter().map(|p| p.name.value.clone()).collect()
    }

    /// An element written at `span`.
    fn element(&mut self, kind: Kind, title: impl Into<String>, span: Span, concerns: Names) -> Element {
        self.nodes.entry(span.node).or_insert_with(|| concerns.clone());
        Element::new(kind, title, self.sources.place(span), concerns)
    }

    /// Sets a property with its own place.
    fn put<T>(&self, element: &mut Element, name: &str, value: &Spanned<T>, text: impl ToString) {
        element.set(name, text).place = self.sources.place(value.span);
    }

    /// Sets a property that may be absent.
    fn put_if<T>(
        &self,
        element: &mut Element,
        name: &str,
        value: Option<&Spanned<T>>,
        text: fn(&T) -> String,
    ) {
        if let Some(value) = value {
            self.put(element, name, value, text(value));
        }
    }

    fn hypervisor(&mut self) {
        let (system, own) = (self.system, &self.system.hypervisor);
        let mut identity = self.element(Kind::Identity, "of the system", own.span, Names::new());
        self.put(&mut identity, "part number", &own.part_number, &own.part_number.value);
        self.out.add("", identity);
        let everybody = self.everybody();
        self.nodes.insert(own.span.node, everybody.clone());
        let mut e = self.element(Kind::Hypervisor, "itself", own.span, everybody);
        self.put_if(&mut e, "memory", own.memory.as_ref(), ToString::to_string);
        if let Some(console) = &own.console {
            self.put(&mut e, "console", console, &system.devices[console.value].path);
        }
        let cpu = &system.board.cpus[own.console_cpu.value].name;
        self.put(&mut e, "console CPU", &own.console_cpu, cpu);
        self.put(&mut e, "trace of each CPU", &own.trace_bytes_per_cpu, bytes(&own.trace_bytes_per_cpu));
        self.put(&mut e, "health log records", &own.health_log_records, own.health_log_records.value);
        self.put_if(&mut e, "plan switch latency", own.plan_switch_latency_ns.as_ref(), ns);
        if own.spectre_bhb.is_some() {
            e.set("branch history", "overwritten at every entry from a guest");
        }
        self.put_if(&mut e, "window latency", own.window_latency_ns.as_ref(), ns);
        self.put_if(&mut e, "board's watchdog", own.watchdog_ns.as_ref(), ns);
        if let Some(plan) = &system.initial_plan {
            self.put(&mut e, "initial plan", plan, &system.plans[plan.value].name.value);
        }
        self.out.add("itself", e);
    }

    fn board(&mut self) {
        let (board, everybody) = (&self.system.board, self.everybody());
        let facts = &board.facts;
        let mut e = self.element(Kind::Hypervisor, "board", board.span, everybody);
        e.set("name", &facts.name);
        e.set("model", &board.model);
        e.set("image base", format!("{:#x}", facts.image_base));
        e.set("counter", format!("{} Hz", facts.counter_hz));
        e.set("window guard", ns(&facts.window_guard_ns));
        let cost = |cost: Option<u64>| cost.map_or_else(|| "none".to_owned(), |cost| ns(&cost));
        e.set("L1 cleaning", cost(facts.cleaning.l1_cache_ns));
        e.set("branch-predictor cleaning", cost(facts.cleaning.branch_predictor_ns));
        e.set("window guard measured", facts.window_guard_measured.as_deref().unwrap_or("no: an estimate"));
        // What boards say beyond this has no words in a configuration: any difference counts.
        e.set("facts", digest(&format!("{facts:?}")));
        for cpu in &board.cpus {
            let start = cpu.enable_method.as_deref().unwrap_or("no enable-method");
            let release = cpu.release_addr.unwrap_or(0);
            let text = format!("{} at {:#x}, {start} {release:#x}", cpu.compatible, cpu.mpidr);
            e.set(format!("CPU {}", cpu.name), text).place = self.sources.place(cpu.span);
        }
        for (range, span) in &board.ram {
            e.set(format!("RAM at {:#x}", range.base), range).place = self.sources.place(*span);
        }
        for reserved in &board.reserved {
            let name = format!("reserved at {:#x}", reserved.range.base);
            e.set(name, format!("{} for {}", reserved.range, reserved.what));
        }
        let gic = &board.gic;
        let windows = [Some(gic.gicd), gic.gicr, gic.gicc, gic.gich, gic.gicv];
        let windows: Vec<String> = windows.into_iter().flatten().map(|w| format!("{:#x}", w.base)).collect();
        let text = format!("{:?} at {}", gic.version, windows.join(", "));
        e.set("interrupt controller", text).place = self.sources.place(gic.span);
        self.out.add("board", e);
    }

    fn partition(&mut self, p: &Partition) {
        let own = Names::from([p.name.value.clone()]);
        let mut e = self.element(Kind::Partition, &p.name.value, p.span, own);
        self.put(&mut e, "name", &p.name, &p.name.value);
        self.put(&mut e, "id", &p.id, p.id.value);
        self.put_if(&mut e, "os,type", p.os_type.as_ref(), Clone::clone);
        self.put_if(&mut e, "criticality", p.criticality.as_ref(), ToString::to_string);
        let cpus: Vec<&str> = p.vcpus.iter().map(|c| self.system.board.cpus[*c].name.as_str()).collect();
        self.put(&mut e, "CPUs", &p.vcpus, cpus.join(", "));
        if let Some(span) = p.direct_map {
            e.set("direct map", "yes").place = self.sources.place(span);
        }
        for (name, payload) in [("image", &p.image), ("initrd", &p.initrd), ("device tree", &p.dtb)] {
            self.payload(&mut e, name, payload.as_ref());
        }
        self.put_if(&mut e, "bootargs", p.bootargs.as_ref(), Clone::clone);
        let console = match p.console.value {
            ConsoleKind::None => "none",
            ConsoleKind::Pl011 => "pl011",
            ConsoleKind::Hypercall => "hypercall",
        };
        self.put(&mut e, "console", &p.console, console);
        self.put(&mut e, "console ring", &p.console_bytes, bytes(&p.console_bytes));
        if let Some(health) = &p.health {
            self.put(&mut e, "health table", health, &self.system.health_tables[health.value].name);
        }
        self.put_if(&mut e, "init time-out", p.init_timeout_ns.as_ref(), ns);
        self.put_if(&mut e, "watchdog", p.watchdog_ns.as_ref(), ns);
        if let Some(span) = p.pv_time {
            e.set("stolen time", "offered").place = self.sources.place(span);
        }
        let clock = match p.clock.value {
            GuestClock::System => "system",
            GuestClock::Execution => "execution",
        };
        self.put(&mut e, "clock", &p.clock, clock);
        let v = &p.view;
        let view = [v.gicd, v.gicc, v.gicr, v.uart].map(|a| format!("{a:#x}")).join(", ");
        let view = format!("GICD, GICC, GICR, UART at {view}; UART interrupt {}", v.uart_intid);
        e.set("platform", view).place = self.sources.place(v.span);
        if let Some(timing) = &p.timing {
            self.timing(&mut e, timing);
        }
        self.out.add(format!("{:010}", p.id.value), e);
    }

    fn timing(&mut self, e: &mut Element, timing: &Timing) {
        self.nodes.insert(timing.span.node, e.concerns.clone());
        self.put(e, "period", &timing.period_ns, ns(&timing.period_ns));
        self.put(e, "offset", &timing.offset_ns, ns(&timing.offset_ns));
        let durations: Vec<String> = timing.duration_ns.iter().map(ns).collect();
        self.put(e, "duration", &timing.duration_ns, durations.join(", "));
        self.put_if(e, "deadline", timing.deadline_ns.as_ref(), ns);
        self.put_if(e, "longest blackout", timing.max_blackout_ns.as_ref(), ns);
        for plan in &timing.not_required_in {
            let name = format!("timing under plan {}", self.system.plans[plan.value].name.value);
            self.put(e, &name, plan, "not required");
        }
    }

    /// Name, digest and addresses of a file that goes into the image.
    fn payload(&self, e: &mut Element, name: &str, payload: Option<&Payload>) {
        let Some(payload) = payload else { return };
        let place = self.sources.place(payload.span);
        e.set(name, &payload.written).place.clone_from(&place);
        let content = payload.path.as_ref().and_then(|path| std::fs::read(path).ok());
        let content = content.map_or("not found".to_owned(), |bytes| format!("sha256 {}", sha256(&bytes)));
        e.set(format!("{name} content"), content).place = place;
        self.put_if(e, &format!("{name} load"), payload.load.as_ref(), address);
        self.put_if(e, &format!("{name} entry"), payload.entry.as_ref(), address);
    }

    fn memory(&mut self, p: &Partition) {
        let (owner, own) = (&p.name.value, Names::from([p.name.value.clone()]));
        for range in &p.memory {
            let title = format!("{owner} at {:#x}", range.ipa.base);
            let mut e = Element::new(Kind::Memory, &title, self.sources.place(range.span), own.clone());
            e.set("size", bytes_long(&range.ipa.size));
            self.put_if(&mut e, "physical address", range.pa.as_ref(), address);
            self.out.add(format!("{:010} {:#018x}", p.id.value, range.ipa.base), e);
        }
        for region in &p.regions {
            let title = format!("region {} of {owner}", region.name.value);
            let mut e = self.element(Kind::Memory, title, region.span, own.clone());
            self.put(&mut e, "size", &region.size, bytes_long(&region.size));
            self.put_if(&mut e, "address", region.at.as_ref(), address);
            self.put_if(&mut e, "physical address", region.pa.as_ref(), address);
            self.put(&mut e, "rights", &region.rights, rights(*region.rights));
            self.payload(&mut e, "file", region.file.as_deref());
            self.put_if(&mut e, "kept over", region.keep_over.as_ref(), |k| format!("{k:?}"));
            self.out.add(format!("{:010} region {}", p.id.value, region.name.value), e);
        }
    }

    fn segments(&mut self) {
        for segment in &self.system.segments {
            let users = self.names(segment.readers.iter().chain(&segment.writer));
            let name = &segment.name.value;
            let mut e = self.element(Kind::Memory, format!("segment {name}"), segment.span, users.clone());
            self.put(&mut e, "size", &segment.size, bytes_long(&segment.size));
            self.put_if(&mut e, "address", segment.at.as_ref(), address);
            self.put_if(&mut e, "physical address", segment.pa.as_ref(), address);
            self.payload(&mut e, "file", segment.file.as_ref());
            for reader in &segment.readers {
                self.put(&mut e, &format!("reader {}", self.name(reader.value)), reader, "yes");
            }
            if let Some(writer) = &segment.writer {
                self.put(&mut e, "writer", writer, self.name(writer.value));
            }
            self.out.add(format!("segment {name}"), e);
            self.out.share(format!("segment {name}"), users);
        }
    }

    fn devices(&mut self) {
        for p in &self.system.partitions {
            for grant in &p.grants {
                self.nodes.insert(grant.span.node, Names::from([p.name.value.clone()]));
            }
            for granted in &p.access {
                let (index, own) = (granted.value, Names::from([p.name.value.clone()]));
                let device = &self.system.devices[index];
                let place = self.sources.place(granted.span);
                let mut e = Element::new(Kind::Device, device.display_name(), place.clone(), own.clone());
                e.set("owner", &p.name.value);
                e.set("rights", rights(p.rights_to(index)));
                let grant = p.grants.iter().find(|g| *g.device == index);
                if let Some(text) = grant.and_then(|g| g.quiesce.as_ref()) {
                    e.set("quiesced", &text.value);
                }
                if let Some(limit) = grant.and_then(|g| g.interrupt_limit) {
                    e.set("interrupt limit", format!("{} in {}", limit.count, ns(&limit.per_ns)));
                }
                for range in &device.regs {
                    e.set(format!("registers at {:#x}", range.base), range);
                }
                e.set("compatible", device.compatible.join(", "));
                e.set("bus master", device.bus_master);
                e.set("behind an IOMMU", device.behind_iommu);
                e.set("reach of DMA", format!("{:x?} {:x?}", device.dma_reach, device.dma_ranges));
                self.out.add(&device.path, e);
                for interrupt in &device.interrupts {
                    let title = interrupt.intid.to_string();
                    let mut e = Element::new(Kind::Interrupt, title, place.clone(), own.clone());
                    e.set("owner", &p.name.value);
                    e.set("device", device.display_name());
                    e.set("trigger", format!("{:?}", interrupt.trigger));
                    self.out.add(format!("{:04}", interrupt.intid), e);
                }
            }
        }
    }

    fn port(&mut self, port: &Port) {
        let ends = port.from.iter().chain(&port.to);
        let ends: Names = ends.map(|end| self.name(end.partition)).collect();
        let name = &port.name.value;
        let mut e = self.element(Kind::Port, name, port.span, ends.clone());
        for (word, list) in [("from", &port.from), ("to", &port.to)] {
            for end in list {
                let partition = self.name(end.partition);
                let field = e.set(format!("{word} {partition}"), format!("as {}", end.name.value));
                field.place = self.sources.place(end.span);
                let age = format!("oldest at {partition}");
                self.put_if(&mut e, &age, end.max_age_ns.as_ref(), ns);
            }
        }
        self.put(&mut e, "message", &port.message_bytes, bytes(&port.message_bytes));
        match &port.kind {
            PortKind::Sampling { refresh_ns } => {
                e.set("kind", "sampling");
                self.put_if(&mut e, "refresh", refresh_ns.as_ref(), ns);
            }
            PortKind::Queuing { depth, max_latency_ns, per_period } => {
                e.set("kind", "queuing");
                self.put(&mut e, "depth", depth, format!("{} messages", depth.value));
                self.put_if(&mut e, "latency", max_latency_ns.as_ref(), ns);
                self.put(&mut e, "messages in a period", per_period, per_period.value);
            }
        }
        if let Some(doorbell) = &port.doorbell {
            e.set("doorbell", "yes").place = self.sources.place(doorbell.span);
            self.put_if(&mut e, "doorbell interval", doorbell.min_interval_ns.as_ref(), ns);
        }
        self.out.add(name, e);
        self.out.share(format!("port {name}"), ends);
    }

    fn plan(&mut self, plan: &Plan) {
        let name = &plan.name.value;
        let windows = plan.cpus.iter().flat_map(|c| c.windows.iter().map(|w| &w.partition));
        let all = self.names(windows.chain(plan.cpus.iter().filter_map(|c| c.background.as_ref())));
        let mut e = self.element(Kind::Plan, name, plan.span, all.clone());
        self.put(&mut e, "name", &plan.name, name);
        self.put(&mut e, "major frame", &plan.major_frame_ns, ns(&plan.major_frame_ns));
        if let Some(span) = plan.immediate {
            e.set("immediate", "yes").place = self.sources.place(span);
        }
        for of_cpu in &plan.cpus {
            let cpu = &self.system.board.cpus[of_cpu.cpu.value].name;
            let here = self.names(of_cpu.windows.iter().map(|w| &w.partition).chain(&of_cpu.background));
            self.nodes.insert(of_cpu.span.node, here);
            if let Some(background) = &of_cpu.background {
                let partition = self.name(background.value);
                let field = e.set(format!("{cpu} background"), &partition);
                field.place = self.sources.place(background.span);
                field.concerns = Some(Names::from([partition]));
            }
            for window in &of_cpu.windows {
                let partition = self.name(window.partition.value);
                let field = e.set(format!("{cpu} window {}", window.name), window_text(&partition, window));
                field.place = self.sources.place(window.span);
                field.concerns = Some(Names::from([partition]));
            }
        }
        self.out.add(format!("{:010}", plan.id.value), e);
        self.out.share(format!("plan {name}"), all);
    }

    fn step(&self, step: &Step) -> String {
        let plan = step.plan.as_ref().map(|p| format!(" {}", self.system.plans[p.value].name.value));
        let told = step.notify.iter().map(|p| format!(", tells {}", self.name(p.value)));
        format!("{}{}{}", step.action.value.word(), plan.unwrap_or_default(), told.collect::<String>())
    }

    fn health(&mut self, table: &HealthTable, mut concerns: Names) {
        concerns.extend(table.steps().flat_map(|(_, step)| self.names(&step.notify)));
        let mut e = self.element(Kind::Health, &table.name, table.span, concerns.clone());
        self.put_if(&mut e, "default", table.default_action.as_ref(), |a| a.word().to_owned());
        if let Some(limit) = &table.restart_limit {
            let text =
                format!("{} in {}: {}", limit.count.value, ns(&limit.within_ns), self.step(&limit.step));
            e.set("restart limit", text).place = self.sources.place(limit.span);
        }
        for entry in &table.entries {
            let (event, place) = (entry.event.value.word(), self.sources.place(entry.event.span));
            self.nodes.insert(entry.event.span.node, concerns.clone());
            e.set(event, self.step(&entry.step)).place.clone_from(&place);
            if let Some(step) = &entry.in_init {
                e.set(format!("{event}, in init"), self.step(step)).place = place;
            }
            for (number, then) in entry.escalation.iter().enumerate() {
                let text =
                    format!("{} in {}: {}", then.count.value, ns(&then.within_ns), self.step(&then.step));
                let field = e.set(format!("{event}, then-{}", number + 1), text);
                field.place = self.sources.place(then.span);
            }
        }
        self.out.add(&table.name, e);
    }

    fn authorities(&mut self, p: &Partition) {
        let holder = &p.name.value;
        for authority in &p.authority {
            let mut concerns = self.names(&authority.over);
            if concerns.is_empty() {
                // Over the module: what it does, a plan switch or a reset, happens to everybody.
                concerns = self.everybody();
            }
            concerns.insert(holder.clone());
            let title = format!("{} of {holder}", authority.name);
            let mut e = self.element(Kind::Authority, &title, authority.span, concerns.clone());
            if authority.over.is_empty() {
                e.set("over", "the module");
            } else {
                self.out.share(format!("authority {title}"), concerns);
            }
            for over in &authority.over {
                self.put(&mut e, &format!("over {}", self.name(over.value)), over, "yes");
            }
            for right in &authority.allow {
                self.put(&mut e, &format!("right {:?}", right.value), right, "yes");
            }
            for plan in &authority.plans {
                let name = format!("switch to plan {}", self.system.plans[plan.value].name.value);
                self.put(&mut e, &name, plan, "yes");
            }
            self.out.add(format!("{:010} {}", p.id.value, authority.name), e);
        }
    }

    /// Accepted findings; what is at no node of a known element concerns everybody.
    fn acceptances(&mut self, findings: &[Finding]) {
        for finding in findings {
            let Some(reason) = &finding.accepted else { continue };
            let span = finding.span();
            let known = span.and_then(|span| self.nodes.get(&span.node)).cloned();
            let concerns = known.unwrap_or_else(|| self.everybody());
            let place = span.map_or(String::new(), |span| self.sources.place(span));
            let title = format!("{}: {}", finding.rule.id, finding.message);
            let mut e = Element::new(Kind::Acceptance, &title, place, concerns);
            e.set("reason", reason);
            self.out.add(title, e);
        }
    }

    fn cpus(&mut self) {
        for (index, cpu) in self.system.board.cpus.iter().enumerate() {
            let on = self.system.partitions.iter().filter(|p| p.vcpus.contains(&index));
            let on = on.map(|p| p.name.value.clone()).collect();
            self.out.share(&cpu.name, on);
        }
    }
}

impl Describer<'_> {
    fn influences(&mut self) {
        let list = crate::flows::influences(self.system).into_iter().map(|(cause, on, what)| Influence {
            what,
            cause: self.name(cause),
            on: [self.name(on)].into(),
        });
        let list: Vec<Influence> = list.collect();
        self.out.influences.extend(list);
    }
}

fn window_text(partition: &str, window: &Window) -> String {
    let clean: String = window.clean.iter().map(|c| format!(", cleans {:?}", c.value)).collect();
    format!("{partition} from {} for {}{clean}", ns(&window.start_ns), ns(&window.duration_ns))
}

fn rights(rights: Rights) -> &'static str {
    match rights {
        Rights::Read => "read",
        Rights::ReadWrite => "read-write",
    }
}

fn digest(text: &str) -> String {
    format!("sha256 {}", sha256(text.as_bytes()))
}

/// Without loss: in the largest unit that divides it.
fn ns(ns: &u64) -> String {
    match *ns {
        0 => "0".to_owned(),
        n if n % 1_000_000 == 0 => format!("{} ms", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{} us", n / 1_000),
        n => format!("{n} ns"),
    }
}

fn bytes(bytes: &u32) -> String {
    bytes_long(&u64::from(*bytes))
}

fn bytes_long(bytes: &u64) -> String {
    bulkhead_compile::span::Bytes(*bytes).to_string()
}

fn address(address: &u64) -> String {
    format!("{address:#x}")
}
