//! A packed image as a [`Description`]: what the verifier reads in it. No names of windows, no reasons, no places: an
//! image has none. Times are in ticks of CNTVCT, as compiled.

use super::{Description, Element, Kind, Names};
use crate::claims::container::hex;
use crate::ports::{PortEntry, field};
use crate::report::interrupts;
use crate::system::{Part, System, long, static_info};
use crate::{Image, Report, Unreadable};
use bulkhead_abi::health::action;
use bulkhead_abi::hypercall::control;
use bulkhead_abi::info::{event, fixed};
use bulkhead_abi::port::kind;
use bulkhead_blueprint::layout::{HealthStep, NONE, Reach, partition_flags, plan_flags, reach, rights, step};
use bulkhead_blueprint::{Blueprint, span};
use sha2::{Digest, Sha256};

/// `image_size` of the arm64 Image header (Linux booting.rst): the packed image's, not EL2's own.
const IMAGE_SIZE: std::ops::Range<usize> = 16..24;

/// Describes an image.
///
/// # Errors
/// Why it cannot be read, or that the verifier does not accept it: what such an image says means nothing.
pub fn describe(image: &Image) -> Result<Description, String> {
    let unreadable = |e: Unreadable| e.to_string();
    let report = crate::verify(image).map_err(unreadable)?;
    if let Some(finding) = report.findings().next() {
        return Err(format!(
            "the verifier refuses it: {}: found {}, expected {}\nfix: see `bulkhead verify`; build the image again",
            finding.message, finding.found, finding.expected
        ));
    }
    let view = image.open().map_err(unreadable)?;
    let system = System::gather(&view);
    let mut describer = Describer { system: &system, out: Description::default() };
    describer.identity(&report);
    describer.hypervisor();
    for part in &system.partitions {
        describer.partition(part);
        describer.reaches(part);
        describer.interrupts(part);
        describer.ports(part);
        describer.health(part);
        describer.authorities(part);
    }
    describer.plans();
    describer.cpus();
    Ok(describer.out)
}

struct Describer<'a> {
    system: &'a System<'a>,
    out: Description,
}

/// SHA-256 as digits.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn only(part: &Part<'_>) -> Names {
    Names::from([part.name.clone()])
}

impl<'a> Describer<'a> {
    fn blueprint(&self) -> &'a Blueprint<'a> {
        &self.system.view.blueprint
    }

    fn everybody(&self) -> Names {
        self.system.partitions.iter().map(|p| p.name.clone()).collect()
    }

    /// Name of a vCPU's partition.
    fn runs(&self, vcpu: u32) -> String {
        let record = self.blueprint().vcpus.get(vcpu as usize);
        record.map_or("nobody", |v| self.system.name(v.partition as usize)).to_owned()
    }

    fn plan(&self, index: u32) -> String {
        let plan = self.blueprint().plans.get(index as usize);
        plan.map_or("none".to_owned(), |p| p.id.to_string())
    }

    fn identity(&mut self, report: &Report) {
        let mut e = Element::new(Kind::Identity, "of the image", String::new(), Names::new());
        e.set("part number", &report.image.part_number);
        e.set("image ID", &report.image.image_id);
        e.set("sha256 of the file", &report.image.file_sha256);
        self.out.add("", e);
    }

    fn hypervisor(&mut self) {
        let (view, header) = (self.system.view, self.system.view.header());
        let mut e = Element::new(Kind::Hypervisor, "itself", String::new(), self.everybody());
        let mut code = view.at(self.system.code()).unwrap_or_default().to_vec();
        if let Some(size) = code.get_mut(IMAGE_SIZE) {
            size.fill(0);
        }
        e.set("EL2's instructions and constants", format!("sha256 {}", sha256(&code)));
        let load = self.system.partitions.first().map(|p| &p.load.mapped);
        let loader = load.into_iter().flatten();
        let loader = loader.filter(|m| m.access.execute && view.sealed().contains(&m.outputs()));
        let loader: Vec<u8> = loader.filter_map(|m| view.at(m.outputs())).flatten().copied().collect();
        e.set("loader", format!("sha256 {}", sha256(&loader)));
        e.set("board", crate::image::text(&header.board));
        e.set("image base", format!("{:#x}", header.image_base));
        e.set("counter", format!("{} Hz", header.cntfrq_hz));
        e.set("start of CPUs", header.cpu_boot);
        e.set("interrupt controller", format!("{:x?}", header.gic));
        e.set("console", format!("{:#x}, interrupt {}", header.uart_base, header.uart_intid));
        let console = format!("{} every {} ticks", header.console_cpu, header.console_interval_ticks);
        e.set("console drained by CPU", console);
        e.set("initial plan", self.plan(header.initial_plan));
        e.set("window guard", format!("{} ticks", header.window_guard_ticks));
        let latency = header.window_latency_ticks;
        e.set(
            "window latency",
            if latency == u64::MAX { "not watched".to_owned() } else { format!("{latency} ticks") },
        );
        e.set("health log", format!("{} bytes", header.health_ring.bytes));
        e.set("trace rings", format!("{} bytes", header.trace_rings.bytes));
        e.set("light", format!("{:x?} {:x?}", header.led_on, header.led_off));
        let counts = format!(
            "{} at boot, {} to switch off, {} for the watchdog",
            header.boot_writes, header.off_writes, header.kick_writes
        );
        let beats = format!("CPUs {:#x} every {} ticks", header.watchdog_cpus, header.beat_ticks);
        e.set("board's watchdog", if header.kick_writes == 0 { "not used".to_owned() } else { beats });
        e.set("register writes", format!("{counts}: {:x?}", self.blueprint().register_writes));
        for (index, cpu) in self.blueprint().cpus.iter().enumerate() {
            e.set(format!("CPU {index}"), format!("{:#x}, release {:#x}", cpu.mpidr, cpu.release));
        }
        self.out.add("itself", e);
    }

    fn partition(&mut self, part: &Part<'_>) {
        let record = part.record;
        let mut e = Element::new(Kind::Partition, &part.name, String::new(), only(part));
        e.set("name", &part.name);
        e.set("VMID", record.vmid);
        let vcpus = span(self.blueprint().vcpus, record.vcpu_first, record.vcpu_count);
        e.set("CPUs", list(vcpus.iter().map(|v| v.cpu)));
        for (bit, name) in FLAGS {
            e.set(*name, record.flags & bit != 0);
        }
        e.set("granted hypercalls", format!("{:#x}", record.grants));
        e.set("entry", format!("{:#x}, x0 {:#x}", record.entry, record.entry_x0));
        e.set("information region", format!("{:#x}, {} bytes", record.info_ipa, record.info_bytes));
        let platform = [record.gicd_ipa, record.gicr_ipa, record.pl011_ipa].map(|a| format!("{a:#x}"));
        let platform = platform.join(", ");
        e.set("platform", format!("GICD, GICR, UART at {platform}; interrupt {}", record.pl011_intid));
        let (out, input) = (record.console_out.bytes, record.console_in.bytes);
        e.set("console rings", format!("{out} bytes out, {input} in"));
        e.set("init time-out", format!("{} ticks", record.init_timeout_ticks));
        e.set("watchdog", format!("{} ticks", record.watchdog_ticks));
        e.set("may switch to plans", format!("{:#b}", record.plans));
        let doorbells = record.doorbell_intids.iter().filter(|i| **i != 0);
        e.set("interrupts of doorbells", list(doorbells));
        e.set(
            "bit of events",
            if record.event_bit == NONE { "none".to_owned() } else { record.event_bit.to_string() },
        );
        for entry in part.list.iter().flatten() {
            let name = format!("loads at {:#x}", entry.destination.start);
            let content = hex(&entry.sha256);
            let content = if entry.source == 0 { "zeros".to_owned() } else { format!("sha256 {content}") };
            e.set(name, format!("{} bytes, {content}, kept {:#b}", entry.destination.bytes(), entry.kept));
        }
        self.out.add(format!("{:010}", record.id), e);
    }

    fn reaches(&mut self, part: &Part<'_>) {
        for reach in &part.reaches {
            let (word, fixed) = reach_word(reach);
            let kind = if reach.kind == reach::DEVICE { Kind::Device } else { Kind::Memory };
            let title = format!("{} at {:#x}", part.name, reach.ipa);
            let mut e = Element::new(kind, title, String::new(), only(part));
            e.set("what", word);
            e.set("size", format!("{} bytes", reach.bytes));
            e.set("rights", rights_text(reach.rights));
            if fixed {
                e.set("physical address", format!("{:#x}", reach.pa));
            }
            self.out.add(format!("{:010} {:#018x}", part.record.id, reach.ipa), e);
            if reach.kind == reach::SEGMENT {
                let users = self.system.partitions.iter();
                let users =
                    users.filter(|p| p.reaches.iter().any(|r| r.kind == reach.kind && r.pa == reach.pa));
                let users = users.map(|p| p.name.clone()).collect();
                self.out.share(format!("the segment at {:#x}", reach.pa), users);
            }
        }
    }

    fn interrupts(&mut self, part: &Part<'_>) {
        for intid in interrupts(part) {
            let title = if intid < 32 { format!("{intid} of {}", part.name) } else { intid.to_string() };
            let mut e = Element::new(Kind::Interrupt, &title, String::new(), only(part));
            e.set("owner", &part.name);
            let limit = self.blueprint().interrupt_limits.iter().find(|l| l.intid == intid);
            if let Some(limit) = limit {
                e.set("limit", format!("{} in {} ticks", limit.count, limit.per_ticks));
            }
            self.out.add(format!("{intid:04} {title}"), e);
        }
    }

    fn ports(&mut self, part: &Part<'_>) {
        let record = part.record;
        let ends = span(self.blueprint().port_ends, record.port_first, record.port_count);
        let info = static_info(self.system.view, record, &part.run.mapped).unwrap_or_default();
        for (index, entry) in part.ports.iter().flatten().enumerate() {
            let mut concerns = only(part);
            let peer = self.system.partitions.iter().find(|p| p.record.id == entry.peer_id);
            concerns.extend(peer.map(|p| p.name.clone()));
            let title = format!("{} of {}", entry.name, part.name);
            let mut e = Element::new(Kind::Port, &title, String::new(), concerns.clone());
            port_fields(&mut e, entry);
            e.set("peer", peer.map_or("none", |p| p.name.as_str()));
            let at = field(fixed::PORTS) + index * fixed::PORT_STRIDE + fixed::PORT_REFRESH_NS;
            e.set("refresh", format!("{} ns", long(info, at).unwrap_or(0)));
            if let Some(end) = ends.get(index) {
                e.set("doorbell interval", format!("{} ticks", end.min_interval_ticks));
                let bells = span(self.blueprint().doorbells, end.doorbell_first, end.doorbell_count);
                e.set("rings", list(bells.iter().map(|b| format!("{} bit {}", self.runs(b.vcpu), b.bit))));
            }
            self.out.add(format!("{:010} {}", record.id, entry.name), e);
            self.out.share(format!("port {}", entry.name), concerns);
        }
    }

    fn step(&self, step: u32) -> String {
        let action = ACTIONS.iter().find(|(number, _)| *number == step & step::ACTION_MASK);
        let plan = step >> step::PLAN_SHIFT;
        let told = step >> step::NOTIFY_SHIFT & 0xff;
        let mut text = action.map_or("unknown action", |(_, word)| word).to_owned();
        if step & step::ACTION_MASK == action::SWITCH_PLAN {
            text += &format!(" {}", self.plan(plan));
        }
        if told != 0 {
            text += &format!(", tells {}", self.system.name(told as usize - 1));
        }
        text
    }

    fn then(&self, then: &HealthStep) -> String {
        format!("{} in {} ticks: {}", then.count, then.within_ticks, self.step(then.action))
    }

    fn health(&mut self, part: &Part<'_>) {
        let rows = span(self.blueprint().health_rows, part.record.health_first, event::COUNT as u32);
        let steps = rows.iter().flat_map(|r| [r.normal, r.init].into_iter().chain(r.steps.map(|s| s.action)));
        let steps = steps.chain([part.record.restart_limit.action]);
        let told = steps.map(|s| s >> step::NOTIFY_SHIFT & 0xff).filter(|told| *told != 0);
        let mut concerns = only(part);
        concerns.extend(told.map(|index| self.system.name(index as usize - 1).to_owned()));
        let mut e = Element::new(Kind::Health, format!("of {}", part.name), String::new(), concerns);
        for (number, row) in rows.iter().enumerate() {
            let name = EVENTS.iter().find(|(event, _)| *event as usize == number);
            let name = name.map_or(format!("event {number}"), |(_, word)| (*word).to_owned());
            e.set(&name, self.step(row.normal));
            e.set(format!("{name}, in init"), self.step(row.init));
            for (index, then) in row.steps.iter().enumerate().filter(|(_, then)| then.count != 0) {
                e.set(format!("{name}, then-{}", index + 1), self.then(then));
            }
        }
        if part.record.restart_limit.count != 0 {
            e.set("restart limit", self.then(&part.record.restart_limit));
        }
        self.out.add(format!("{:010}", part.record.id), e);
    }

    fn authorities(&mut self, part: &Part<'_>) {
        let record = part.record;
        for authority in span(self.blueprint().authorities, record.authority_first, record.authority_count) {
            let target = self.system.name(authority.partition as usize).to_owned();
            let concerns = Names::from([part.name.clone(), target.clone()]);
            let title = format!("of {} over {target}", part.name);
            let mut e = Element::new(Kind::Authority, &title, String::new(), concerns.clone());
            for (operation, word) in OPERATIONS {
                if authority.rights >> operation & 1 == 1 {
                    e.set(format!("right {word}"), "yes");
                }
            }
            self.out.add(format!("{:010} {:010}", record.id, authority.partition), e);
            self.out.share(format!("authority {title}"), concerns);
        }
    }

    fn plans(&mut self) {
        let blueprint = self.blueprint();
        for plan in blueprint.plans {
            let mut all = Names::new();
            let mut fields = Vec::new();
            let cpus = span(blueprint.plan_cpus, plan.cpu_first, blueprint.cpus.len() as u32);
            for (cpu, of_cpu) in cpus.iter().enumerate() {
                if of_cpu.background != NONE {
                    let partition = self.runs(of_cpu.background);
                    fields.push((format!("CPU {cpu} background"), partition.clone(), partition));
                }
                let windows = span(blueprint.windows, of_cpu.window_first, of_cpu.window_count);
                for window in windows {
                    let partition = self.runs(window.vcpu);
                    let (start, end) = (window.start_ticks, window.end_ticks);
                    let value = format!("{partition} to {end} ticks, flags {:#b}", window.flags);
                    fields.push((format!("CPU {cpu} window at {start} ticks"), value, partition));
                }
            }
            all.extend(fields.iter().map(|(_, _, partition)| partition.clone()));
            let title = plan.id.to_string();
            let mut e = Element::new(Kind::Plan, &title, String::new(), all.clone());
            e.set("major frame", format!("{} ticks", plan.frame_ticks));
            e.set("immediate", plan.flags & plan_flags::IMMEDIATE != 0);
            for (name, value, partition) in fields {
                e.set(name, value).concerns = Some(Names::from([partition]));
            }
            self.out.add(format!("{:010}", plan.id), e);
            self.out.share(format!("plan {title}"), all);
        }
    }

    fn cpus(&mut self) {
        for (index, cpu) in self.blueprint().cpus.iter().enumerate() {
            let slots = span(self.blueprint().slots, cpu.slot_first, cpu.slot_count);
            let on = slots.iter().map(|vcpu| self.runs(*vcpu)).collect();
            self.out.share(format!("CPU {index}"), on);
        }
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn port_fields(e: &mut Element, entry: &PortEntry) {
    e.set("kind", if entry.kind == kind::SAMPLING { "sampling" } else { "queuing" });
    e.set("direction", if entry.writes() { "writes" } else { "reads" });
    e.set("message", format!("{} bytes", entry.message_bytes));
    e.set("slots", entry.slots);
    e.set("writer's memory", format!("{:#x}", entry.writer_ipa));
    e.set("consumer's memory", format!("{:#x}", entry.consumer_ipa));
    let none = entry.doorbell_intid == fixed::NO_DOORBELL;
    e.set(
        "interrupt of the doorbell",
        if none { "none".to_owned() } else { entry.doorbell_intid.to_string() },
    );
}

/// What is reached, and whether its physical address is more than a matter of how EL2's own pages are packed.
fn reach_word(reach: &Reach) -> (&'static str, bool) {
    match reach.kind {
        reach::MEMORY => ("memory", true),
        reach::REGION => ("region", true),
        reach::SEGMENT => ("segment", true),
        reach::PORT => ("port", true),
        reach::INFO_DYNAMIC => ("dynamic page of the information region", false),
        reach::INFO_STATIC => ("static pages of the information region", false),
        reach::DEVICE => ("registers", true),
        reach::CPU_INTERFACE => ("virtual CPU interface", true),
        reach::TRACE => ("trace rings", false),
        reach::HEALTH => ("health log", false),
        _ => ("unknown", true),
    }
}

fn rights_text(bits: u32) -> String {
    let bit = |bit: u32, letter: char| if bits & bit != 0 { letter } else { '-' };
    [bit(rights::READ, 'r'), bit(rights::WRITE, 'w'), bit(rights::EXECUTE, 'x')].iter().collect()
}

const FLAGS: &[(u32, &str)] = &[
    (partition_flags::PL011, "emulated PL011"),
    (partition_flags::CONSOLE_HYPERCALL, "console hypercall"),
    (partition_flags::RESTARTABLE, "restartable"),
    (partition_flags::WARM, "warm restart"),
    (partition_flags::DIRECT_INTERRUPTS, "direct interrupts"),
    (partition_flags::PV_TIME, "stolen time"),
    (partition_flags::EXECUTION_CLOCK, "execution clock"),
];

const OPERATIONS: &[(u64, &str)] = &[
    (control::STATUS, "status"),
    (control::SUSPEND, "suspend"),
    (control::RESUME, "resume"),
    (control::HALT, "halt"),
    (control::RESTART, "restart"),
    (control::WARM_RESTART, "warm-restart"),
    (control::SHUTDOWN, "shutdown"),
];

const ACTIONS: &[(u32, &str)] = &[
    (action::IGNORE, "ignore"),
    (action::LOG, "log"),
    (action::NOTIFY, "notify"),
    (action::INJECT_ABORT, "inject-abort"),
    (action::INJECT_UNDEF, "inject-undef"),
    (action::SUSPEND, "suspend"),
    (action::HALT, "halt"),
    (action::WARM_RESTART, "warm-restart"),
    (action::COLD_RESTART, "cold-restart"),
    (action::SWITCH_PLAN, "switch-plan"),
    (action::RESET_BOARD, "reset-board"),
    (action::MASK_INTERRUPT, "mask-interrupt"),
];

const EVENTS: &[(u32, &str)] = &[
    (event::MEMORY_VIOLATION, "memory-violation"),
    (event::DENIED_HYPERCALL, "denied-hypercall"),
    (event::UNDEFINED_SYSREG, "undefined-sysreg"),
    (event::EXTERNAL_ABORT, "external-abort"),
    (event::UNDECODABLE_ACCESS, "undecodable-access"),
    (event::ILLEGAL_DEVICE_ACCESS, "illegal-device-access"),
    (event::WATCHDOG, "watchdog"),
    (event::INIT_TIMEOUT, "init-timeout"),
    (event::DEADLINE_MISS, "deadline-miss"),
    (event::PORT_VIOLATION, "port-violation"),
    (event::CONSOLE_OVERFLOW, "console-overflow"),
    (event::INTERRUPT_STORM, "interrupt-storm"),
    (event::INTEGRITY, "integrity"),
    (event::EL2_ERROR, "hypervisor-fault"),
    (event::APPLICATION_ERROR, "application-error"),
    (event::WINDOW_OVERRUN, "window-overrun"),
];
