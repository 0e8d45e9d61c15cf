//! The blueprint: every record that EL2 indexes ([`bulkhead_blueprint::layout`]).

use super::guest::Guest;
use super::hypervisor::Hypervisor;
use super::layout::Addresses;
use super::maps::Stretch;
use super::ports::{View, authority_list, writer};
use super::records;
use crate::model::{BootMethod, Clean, GicVersion, System};
use crate::span::AddressRange;
use crate::timing::guard::{longest_nominal, nominal};
use bulkhead_abi::port::direction;
use bulkhead_blueprint::layout::{
    Authority, Cpu, Doorbell, Gic, Header, HealthRow, MAGIC, NONE, Partition, PeerWord, Plan, PlanCpu,
    PortEnd, Range, Reach, RegisterWrite, Table, VERSION, Vcpu, Window, cpu_boot, plan_flags, rights,
    window_flags,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Depth of a PL011's transmit FIFO (DDI0183, 2.4.2).
const UART_FIFO_BYTES: u64 = 16;
/// Start bit, eight data bits, stop bit.
const UART_BITS_PER_BYTE: u64 = 10;
/// Least time between two rings of a doorbell where the configuration does not say.
const DOORBELL_INTERVAL_NS: u64 = 100_000;

/// Roots of the translation tables.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// EL2's stage 1.
    pub el2: u64,
    /// Run-time stage 2, by partition.
    pub run_time: Vec<u64>,
    /// The loader's stage 2, by partition.
    pub loading: Vec<u64>,
}

/// Everything that the blueprint is made from.
pub struct Input<'a> {
    /// The configuration.
    pub system: &'a System,
    /// The EL2 binary.
    pub hypervisor: &'a Hypervisor,
    /// What each partition sees.
    pub views: &'a [View],
    /// What each partition starts with.
    pub guests: &'a [Guest],
    /// Where everything lies.
    pub addresses: &'a Addresses,
    /// What each partition's run-time tables map.
    pub stretches: &'a [Vec<Stretch>],
    /// Translation tables.
    pub roots: &'a Roots,
}

/// The tables under construction.
#[derive(Default)]
struct Records {
    cpus: Vec<Cpu>,
    partitions: Vec<Partition>,
    vcpus: Vec<Vcpu>,
    slots: Vec<u32>,
    memory: Vec<Range>,
    port_ends: Vec<PortEnd>,
    doorbells: Vec<Doorbell>,
    peer_words: Vec<PeerWord>,
    authorities: Vec<Authority>,
    health_rows: Vec<HealthRow>,
    plans: Vec<Plan>,
    plan_cpus: Vec<PlanCpu>,
    windows: Vec<Window>,
}

/// Index of a record as the blueprint writes it.
fn at<T>(list: &[T]) -> u32 {
    list.len() as u32
}

/// A range as the blueprint writes it.
pub fn range(range: AddressRange) -> Range {
    Range { base: range.base, bytes: range.size }
}

/// Ticks of the system counter that `ns` take, rounded up.
pub fn ticks_up(system: &System, ns: u64) -> u64 {
    let ticks = u128::from(ns) * u128::from(system.board.facts.counter_hz);
    u64::try_from(ticks.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// Ticks from a frame's start to an edge `ns` after it, rounded down: edges that coincide still do.
fn ticks_down(system: &System, ns: u64) -> u64 {
    let ticks = u128::from(ns) * u128::from(system.board.facts.counter_hz);
    u64::try_from(ticks / 1_000_000_000).unwrap_or(u64::MAX)
}

/// NUL-padded text, cut to leave one NUL.
pub fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let length = text.len().min(N - 1);
    out[..length].copy_from_slice(&text.as_bytes()[..length]);
    out
}

/// The blueprint's bytes; the digest is still zero.
pub fn blueprint(input: &Input<'_>) -> Vec<u8> {
    let mut records = Records::default();
    vcpus(input.system, &mut records);
    for index in 0..input.system.partitions.len() {
        partition(input, index, &mut records);
    }
    plans(input.system, &mut records);
    assemble(input, &records)
}

/// vCPUs partition by partition, CPUs, and the vCPUs of each CPU.
fn vcpus(system: &System, records: &mut Records) {
    for (index, partition) in system.partitions.iter().enumerate() {
        for (number, cpu) in partition.vcpus.iter().enumerate() {
            records.vcpus.push(Vcpu {
                partition: index as u32,
                index: number as u32,
                cpu: *cpu as u32,
                reserved: 0,
            });
        }
    }
    for (number, cpu) in system.board.cpus.iter().enumerate() {
        let slot_first = at(&records.slots);
        let all = records.vcpus.iter().enumerate();
        let bound = all.filter(|(_, v)| v.cpu == number as u32);
        records.slots.extend(bound.map(|(vcpu, _)| vcpu as u32));
        records.cpus.push(Cpu {
            mpidr: cpu.mpidr,
            release: cpu.release_addr.unwrap_or(0),
            slot_first,
            slot_count: at(&records.slots) - slot_first,
            guard_ticks: ticks_up(system, nominal(system, number)) as u32,
            reserved: 0,
        });
    }
}

/// First vCPU of a partition.
pub(super) fn first_vcpu(system: &System, index: usize) -> u32 {
    let before = &system.partitions[..index];
    before.iter().map(|p| p.vcpus.len() as u32).sum()
}

fn partition(input: &Input<'_>, index: usize, records: &mut Records) {
    let system = input.system;
    let mut record = records::partition(input, index);
    record.vcpu_first = first_vcpu(system, index);
    record.vcpu_count = system.partitions[index].vcpus.len() as u32;
    record.memory_first = at(&records.memory);
    let memory = system.partitions[index].memory.iter().map(|m| m.ipa);
    let regions = input.views[index].extras.iter().map(|e| e.ipa);
    records.memory.extend(memory.chain(regions).map(range));
    record.memory_count = at(&records.memory) - record.memory_first;
    record.port_first = at(&records.port_ends);
    for end in &input.views[index].ends {
        let entry = port_end(input, end, &mut records.doorbells);
        records.port_ends.push(entry);
    }
    record.port_count = at(&records.port_ends) - record.port_first;
    record.peer_first = at(&records.peer_words);
    records.peer_words.extend(peer_words(input, index));
    record.peer_count = at(&records.peer_words) - record.peer_first;
    record.authority_first = at(&records.authorities);
    let list = authority_list(system, index).into_iter();
    records.authorities.extend(list.map(|(target, rights)| Authority { partition: target as u32, rights }));
    record.authority_count = at(&records.authorities) - record.authority_first;
    record.health_first = at(&records.health_rows);
    records.health_rows.extend(records::health_rows(system, index));
    records.partitions.push(record);
}

/// Position of a port in a partition's port table.
fn port_index(input: &Input<'_>, partition: usize, port: usize) -> Option<u32> {
    let ends = &input.views[partition].ends;
    ends.iter().position(|e| e.port == port).map(|p| p as u32)
}

/// One end; a writer with a doorbell rings every reader.
fn port_end(input: &Input<'_>, end: &super::ports::End, doorbells: &mut Vec<Doorbell>) -> PortEnd {
    let port = &input.system.ports[end.port];
    let doorbell_first = at(doorbells);
    let mut min_interval_ticks = 0;
    if let Some(doorbell) = port.doorbell.as_ref().filter(|_| end.writes) {
        let given = doorbell.min_interval_ns.as_ref();
        let ns = given.map_or(DOORBELL_INTERVAL_NS, |ns| ns.value);
        let ticks = ticks_up(input.system, ns);
        min_interval_ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        for reader in &port.to {
            let mut bits = input.views[reader.partition].doorbells();
            if let Some(bit) = bits.position(|(e, _)| e.port == end.port) {
                doorbells
                    .push(Doorbell { vcpu: first_vcpu(input.system, reader.partition), bit: bit as u32 });
            }
        }
    }
    PortEnd {
        direction: if end.writes { direction::SOURCE } else { direction::DESTINATION },
        doorbell_first,
        doorbell_count: at(doorbells) - doorbell_first,
        min_interval_ticks,
    }
}

/// Who must learn that partition `index` has started: readers of what it writes, and the writer of what it alone
/// reads (a writer with several readers is told of none).
fn peer_words(input: &Input<'_>, index: usize) -> Vec<PeerWord> {
    let mut out = Vec::new();
    for end in &input.views[index].ends {
        let port = &input.system.ports[end.port];
        let peers: Vec<usize> = if end.writes {
            port.to.iter().map(|e| e.partition).collect()
        } else if port.to.len() == 1 {
            vec![writer(port)]
        } else {
            Vec::new()
        };
        out.extend(peers.into_iter().filter_map(|peer| {
            Some(PeerWord { partition: peer as u32, port: port_index(input, peer, end.port)? })
        }));
    }
    out
}

/// Plans: for each CPU of the board its windows in order of time.
fn plans(system: &System, records: &mut Records) {
    let vcpu = |partition: usize, cpu: usize| {
        let number = system.partitions[partition].vcpu_on(cpu)?;
        Some(first_vcpu(system, partition) + number as u32)
    };
    for plan in &system.plans {
        records.plans.push(Plan {
            id: plan.id.value,
            cpu_first: at(&records.plan_cpus),
            frame_ticks: ticks_down(system, plan.major_frame_ns.value),
            flags: if plan.immediate.is_some() { plan_flags::IMMEDIATE } else { 0 },
            reserved: 0,
        });
        for cpu in 0..system.board.cpus.len() {
            let window_first = at(&records.windows);
            let schedule = plan.cpus.iter().find(|c| c.cpu.value == cpu);
            let mut windows: Vec<_> = schedule.iter().flat_map(|c| &c.windows).collect();
            windows.sort_by_key(|w| w.start_ns.value);
            records.windows.extend(windows.into_iter().filter_map(|w| {
                let (start, length) = (w.start_ns.value, w.duration_ns.value);
                Some(Window {
                    start_ticks: ticks_down(system, start),
                    end_ticks: ticks_down(system, start.saturating_add(length)),
                    next_ticks: 0,
                    vcpu: vcpu(w.partition.value, cpu)?,
                    flags: w.clean.iter().fold(0, |flags, clean| flags | clean_flag(clean.value)),
                })
            }));
            let frame_ticks = ticks_down(system, plan.major_frame_ns.value);
            link_windows(&mut records.windows[window_first as usize..], frame_ticks);
            let background = schedule.and_then(|c| c.background.as_ref());
            records.plan_cpus.push(PlanCpu {
                window_first,
                window_count: at(&records.windows) - window_first,
                background: background.and_then(|b| vcpu(b.value, cpu)).unwrap_or(NONE),
                reserved: 0,
            });
        }
    }
}

/// What the tables are meant to map, for the verifier.
fn reaches(stretches: &[Vec<Stretch>]) -> Vec<Reach> {
    let by_partition = stretches.iter().enumerate();
    let all = by_partition.flat_map(|(index, list)| list.iter().map(move |s| (index, s)));
    all.map(|(index, stretch)| {
        let access = stretch.mapping.access;
        let bit = |given: bool, bit: u32| if given { bit } else { 0 };
        Reach {
            partition: index as u32,
            kind: stretch.kind,
            rights: rights::READ
                | bit(access.writes(), rights::WRITE)
                | bit(access.executes(), rights::EXECUTE),
            port: stretch.port,
            ipa: stretch.mapping.input,
            pa: stretch.mapping.output,
            bytes: stretch.mapping.bytes,
        }
    })
    .collect()
}

/// Tells each window where its vCPU's next one begins.
fn link_windows(windows: &mut [Window], frame_ticks: u64) {
    for at in 0..windows.len() {
        let next = (1..=windows.len()).map(|step| at + step).find_map(|other| {
            let frames = (other / windows.len()) as u64;
            let window = &windows[other % windows.len()];
            (window.vcpu == windows[at].vcpu).then(|| window.start_ticks + frames * frame_ticks)
        });
        // A window is its own successor where there is no other.
        windows[at].next_ticks = next.unwrap_or(u64::MAX);
    }
}

fn clean_flag(clean: Clean) -> u32 {
    match clean {
        Clean::L1Cache => window_flags::CLEAN_L1,
        Clean::BranchPredictor => window_flags::CLEAN_PREDICTOR,
    }
}

/// Appends tables behind the header.
struct Blob(Vec<u8>);

impl Blob {
    fn table<T: IntoBytes + Immutable>(&mut self, records: &[T]) -> Table {
        let aligned = self.0.len().next_multiple_of(8);
        self.0.resize(aligned, 0);
        self.0.extend_from_slice(records.as_bytes());
        Table { offset: aligned as u32, count: records.len() as u32 }
    }
}

fn assemble(input: &Input<'_>, records: &Records) -> Vec<u8> {
    let mut blob = Blob(vec![0; size_of::<Header>()]);
    let mut header = header(input);
    header.cpus = blob.table(&records.cpus);
    header.partitions = blob.table(&records.partitions);
    header.vcpus = blob.table(&records.vcpus);
    header.slots = blob.table(&records.slots);
    header.routes = blob.table(&records::routes(input.system));
    header.interrupt_limits = blob.table(&records::interrupt_limits(input.system));
    header.memory = blob.table(&records.memory);
    header.port_ends = blob.table(&records.port_ends);
    header.doorbells = blob.table(&records.doorbells);
    header.peer_words = blob.table(&records.peer_words);
    header.authorities = blob.table(&records.authorities);
    header.health_rows = blob.table(&records.health_rows);
    header.plans = blob.table(&records.plans);
    header.plan_cpus = blob.table(&records.plan_cpus);
    header.windows = blob.table(&records.windows);
    let required: Vec<Range> = input.addresses.required().into_iter().map(range).collect();
    header.required = blob.table(&required);
    header.reaches = blob.table(&reaches(input.stretches));
    let facts = &input.system.board.facts;
    let kick = kick(input.system);
    let lists = [&facts.boot_write, &facts.power_off, &kick, &facts.reset];
    let writes: Vec<RegisterWrite> = lists.into_iter().flatten().map(register_write).collect();
    header.register_writes = blob.table(&writes);
    header.boot_writes = facts.boot_write.len() as u32;
    header.off_writes = facts.power_off.len() as u32;
    header.kick_writes = kick.len() as u32;
    (header.watchdog_cpus, header.beat_ticks) = beats(input.system);
    if let Some(led) = &facts.led {
        (header.led_on, header.led_off) = (register_write(&led.on), register_write(&led.off));
    }
    header.total_bytes = blob.0.len() as u32;
    blob.0[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    blob.0
}

/// Stores that start the board's watchdog anew; none if it is not used.
fn kick(system: &System) -> Vec<crate::board::RegisterWrite> {
    let asked = system.board.facts.watchdog.zip(system.hypervisor.watchdog_ns.as_ref());
    asked.map_or(Vec::new(), |(watchdog, ns)| watchdog.kick(ns.value))
}

/// CPUs that show the board's watchdog that they go on, and how often: those that are shared, once in the shortest
/// frame, whose slots may end two guards apart from one frame to the next; without plans the console's.
fn beats(system: &System) -> (u32, u64) {
    let Some(ns) = &system.hypervisor.watchdog_ns else {
        return (0, 0);
    };
    let shared = system.plans.iter().flat_map(|p| &p.cpus).fold(0, |bits, c| bits | 1 << c.cpu.value);
    let shortest = system.plans.iter().map(|p| ticks_down(system, p.major_frame_ns.value)).min();
    match shortest {
        Some(frame) => (shared, frame.saturating_sub(2 * ticks_up(system, longest_nominal(system)))),
        None => (1 << system.hypervisor.console_cpu.value, ticks_down(system, ns.value / 4)),
    }
}

fn register_write(write: &crate::board::RegisterWrite) -> RegisterWrite {
    RegisterWrite { address: write.address, keep: write.keep, value: write.value }
}

/// CPUs of partitions with direct interrupts, by bit.
fn direct_cpus(system: &System) -> u32 {
    let direct = system.partitions.iter().filter(|p| p.direct_interrupts.is_some());
    direct.flat_map(|p| &p.vcpus.value).fold(0, |bits, cpu| bits | 1 << cpu)
}

fn header(input: &Input<'_>) -> Header {
    let (system, addresses) = (input.system, input.addresses);
    let facts = &system.board.facts;
    let mut header = Header::new_zeroed();
    header.magic = MAGIC;
    header.version = VERSION;
    header.board = text(&facts.name);
    header.part_number = text(&system.hypervisor.part_number.value);
    header.image_base = addresses.image_base;
    header.text_end = input.hypervisor.text.end_saturating();
    header.rodata_end = input.hypervisor.rodata.end_saturating();
    header.sealed_end = addresses.sealed_end;
    header.hashed_end = addresses.hashed_end;
    header.image_end = addresses.image_end;
    header.el2_root = input.roots.el2;
    header.work = range(addresses.work);
    header.state = range(addresses.state);
    header.stacks = addresses.stacks.base;
    header.cntfrq_hz = facts.counter_hz;
    header.cpu_boot = match facts.cpu_boot {
        BootMethod::PsciSmc => cpu_boot::PSCI_SMC,
        BootMethod::SpinTable => cpu_boot::SPIN_TABLE,
    };
    let gic = &system.board.gic;
    header.gic = Gic {
        version: match gic.version {
            GicVersion::V2 => 2,
            GicVersion::V3 => 3,
        },
        maintenance_intid: facts.maintenance_intid,
        hyp_timer_intid: facts.hypervisor_timer_intid,
        direct_cpus: direct_cpus(system),
        gicd: gic.gicd.base,
        gicr: gic.gicr.map_or(0, |r| r.base),
        gicc: gic.gicc.map_or(0, |r| r.base),
        gich: gic.gich.map_or(0, |r| r.base),
    };
    if let Some(console) = &system.hypervisor.console {
        let device = &system.devices[console.value];
        header.uart_base = device.regs.first().map_or(0, |r| r.base);
        header.uart_intid = device.interrupts.first().map_or(0, |i| i.intid);
    }
    header.console_cpu = system.hypervisor.console_cpu.value as u32;
    let bits = UART_FIFO_BYTES * UART_BITS_PER_BYTE;
    header.console_interval_ticks =
        bits * u64::from(facts.counter_hz) / u64::from(facts.uart_bits_per_second.max(1));
    header.initial_plan = match &system.initial_plan {
        Some(plan) => plan.value as u32,
        None => NONE,
    };
    header.window_guard_ticks = ticks_up(system, longest_nominal(system)) as u32;
    header.window_latency_ticks =
        system.hypervisor.window_latency_ns.as_ref().map_or(u64::MAX, |ns| ticks_down(system, ns.value));
    header.tick_ns_q32 = (1_000_000_000 << 32) / u64::from(facts.counter_hz.max(1));
    header.health_ring = range(addresses.health);
    header.trace_rings = range(addresses.trace);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_knows_the_next_of_its_vcpu() {
        let window = |start_ticks, vcpu| Window {
            start_ticks,
            end_ticks: start_ticks + 1,
            next_ticks: 0,
            vcpu,
            flags: 0,
        };
        let mut windows = [window(0, 1), window(2, 2), window(5, 1)];
        link_windows(&mut windows, 10);
        assert_eq!(windows.map(|w| w.next_ticks), [5, 12, 10]);
    }
}
