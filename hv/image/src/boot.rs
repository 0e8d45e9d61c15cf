//! From reset to the first guest, in numbered stages: each is printed before it starts, so that the
//! last line says where a boot stopped (`docs/boot.md` explains each).

use crate::system::{
    Clock, Estate, GIC_VERSION, Home, Local, NO_ESTATE, NO_HOME, NO_TIMES, NOWHERE, Partition, SYSTEM,
    System, VCPUS, controller,
};
use crate::{console, health, switch};
use bulkhead_abi::info::dynamic;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::gic::Physical;
use bulkhead_arch::memory::WorkArea;
use bulkhead_arch::uart::Uart;
use bulkhead_arch::{boot, cleaning, gic, signal_event, timer, traps, wait_event};
use bulkhead_blueprint::layout::{self, Header, NONE, Range, cpu_boot, partition_flags, window_flags};
use bulkhead_blueprint::limits::{BLUEPRINT_BYTES_MAX, CPUS_MAX};
use bulkhead_blueprint::{Blueprint, span};
use bulkhead_core::board::{self, Mismatch};
use bulkhead_core::health_log;
use bulkhead_core::roster::Roster;
use bulkhead_core::schedule::Timeline;
use bulkhead_core::serial;
use bulkhead_core::sha256::Sha256;
use bulkhead_core::text::{Text, trim};
use bulkhead_core::trace::Trace;
use bulkhead_vgic::{Config, Vgic};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// CPUs that are ready for guests.
static ONLINE: [AtomicU32; CPUS_MAX] = [const { AtomicU32::new(0) }; CPUS_MAX];
/// The stage that the boot is in.
static STAGE: AtomicU32 = AtomicU32::new(0);
/// T0, the origin of all plans; 0 until every CPU is ready.
pub static T0: AtomicU64 = AtomicU64::new(0);

/// Window guards from the moment at which T0 is fixed to T0 itself.
const T0_LEAD_GUARDS: u64 = 4;

/// Prints a line of EL2's own, waiting for the UART: boot only.
#[inline(never)]
fn say(uart: Uart, compose: &dyn Fn(&mut Text<'_>)) {
    let mut buffer = [0; 128];
    let mut text = Text::new(&mut buffer);
    text.str("bulkhead| ");
    compose(&mut text);
    text.str("\r\n");
    uart.send_all(text.as_bytes());
}

#[inline(never)]
fn stage(uart: Uart, number: u64, what: &str) {
    STAGE.store(number as u32, Ordering::Relaxed);
    // As long as the MMU is off, the light is lit in odd stages.
    if number <= 4
        && let Some(header) = Header::prefix(boot::blueprint_bytes(size_of::<Header>()))
    {
        boot::light(header, number & 1 == 1);
    }
    say(uart, &|text| {
        text.str("stage ").dec(number).str(": ").str(what);
    });
}

/// Stops the boot: what was found, and what was expected.
#[inline(never)]
fn stop(uart: Uart, what: &str, found: u64, expected: u64) -> ! {
    say(uart, &|text| {
        text.str("boot stopped: ").str(what).str(": found ").hex(found).str(", expected ").hex(expected);
    });
    halt()
}

/// Stops this CPU; the board's light blinks the stage's number.
fn halt() -> ! {
    match Header::prefix(boot::blueprint_bytes(size_of::<Header>())) {
        Some(header) => boot::halt_blinking(header, u64::from(STAGE.load(Ordering::Relaxed))),
        None => boot::halt(),
    }
}

fn blueprint_or_stop() -> Blueprint<'static> {
    let head = boot::blueprint_bytes(size_of::<Header>());
    let bytes = match Header::prefix(head) {
        Some(header) => (header.total_bytes as usize).clamp(size_of::<Header>(), BLUEPRINT_BYTES_MAX),
        None => boot::halt(),
    };
    match Blueprint::parse(boot::blueprint_bytes(bytes)) {
        Ok(blueprint) => blueprint,
        Err(defect) => match Header::prefix(head) {
            Some(header) => stop(Uart::new(header.uart_base), "blueprint defect", defect as u64, 0),
            None => boot::halt(),
        },
    }
}

/// Stages 1 to 4, with the MMU off: nothing is written but the console and EL2's own variables.
pub fn early(device_tree: u64, base: u64) {
    let blueprint = blueprint_or_stop();
    let header = blueprint.header;
    let uart = Uart::new(header.uart_base);
    uart.init();
    stage(uart, 1, "EL2 entered, console up, blueprint readable");
    say(uart, &|text| {
        text.str("Bulkhead ").str(env!("CARGO_PKG_VERSION")).str(", part ").bytes(trim(&header.part_number));
        text.str(", board ").bytes(trim(&header.board));
    });
    stage(uart, 2, "link address and counter frequency");
    if base != boot::link_base() || base != header.image_base {
        stop(uart, "image lies at the wrong address", base, header.image_base);
    }
    if boot::counter_hz() != u64::from(header.cntfrq_hz) {
        stop(uart, "CNTFRQ differs from the blueprint's", boot::counter_hz(), u64::from(header.cntfrq_hz));
    }
    if header.gic.version != GIC_VERSION {
        stop(
            uart,
            "this EL2 binary drives another GIC version",
            u64::from(GIC_VERSION),
            u64::from(header.gic.version),
        );
    }
    stage(uart, 3, "firmware's device tree against the blueprint");
    let Some(tree) = boot::firmware_tree(device_tree) else {
        stop(uart, "no device tree at the address in x0", device_tree, header.image_base)
    };
    if let Err(Mismatch(what, found, expected)) = board::check(&blueprint, device_tree, tree) {
        stop(uart, what, found, expected);
    }
    stage(uart, 4, "MMU and caches");
}

/// Stage 5 on: caches are on, constants and code read-only.
pub fn main() -> ! {
    let blueprint = blueprint_or_stop();
    let uart = Uart::new(blueprint.header.uart_base);
    stage(uart, 5, "digest of EL2, tables and blueprint");
    check_digest(uart, blueprint.header);
    stage(uart, 6, "partitions' state");
    let system = system(blueprint, uart);
    health::init(&system.blueprint, &system);
    SYSTEM.set(system);
    bring_up(uart)
}

fn check_digest(uart: Uart, header: &Header) {
    let blueprint_base = boot::blueprint_bytes(1).as_ptr() as u64;
    let bytes = (header.hashed_end - blueprint_base) as usize;
    let mut digest = Sha256::new();
    digest.update(boot::own_bytes());
    digest.update(boot::blueprint_bytes(bytes).get(size_of_val(&header.sha256)..).unwrap_or(&[]));
    let found = digest.finish();
    if found != header.sha256 {
        let first = |[a, b, c, d, e, f, g, h, ..]: [u8; 32]| u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let what = "SHA-256 (first 8 bytes) of the image";
        stop(uart, what, first(found), first(header.sha256));
    }
    say(uart, &|text| {
        text.str("image ID ");
        for byte in header.sha256 {
            text.hex_digits(u64::from(byte), 2);
        }
    });
}

/// Puts the system together from the blueprint and the work area.
fn system(blueprint: Blueprint<'static>, uart: Uart) -> System {
    let header = blueprint.header;
    let no_room = || -> ! { stop(uart, "no room for EL2's state", 0, header.state.bytes) };
    let Some((work, mut state)) = WorkArea::claim(header) else { no_room() };
    let (partitions, vcpus) = (blueprint.partitions, blueprint.vcpus);
    let interfaces = &*state.zeroed(vcpus.len());
    let machines = state.zeroed(partitions.len()).iter().zip(&*state.zeroed(partitions.len()));
    let estates = &*state.place(partitions.iter().zip(machines).map(|(record, (distributor, machines))| {
        let interfaces = span(interfaces, record.vcpu_first, record.vcpu_count);
        estate(&blueprint, &work, record, Vgic { distributor, interfaces }, machines)
    }));
    let ring = work.double_words(header.health_ring);
    let (health, mark) = ring.split_at(ring.len().saturating_sub(health_log::MARK_WORDS));
    let memory_outlived = health_log::outlived(health, mark, &header.sha256);
    // A reset from outside does not ask: what the next run looks for is in memory, not in caches.
    boot::publish(header.health_ring);
    let home = |vcpu: &layout::Vcpu| {
        let number = vcpu.partition as usize;
        // The blueprint's checks promise that its partition is there.
        let (Some(record), Some(estate)) = (partitions.get(number), estates.get(number)) else { no_room() };
        home(record, vcpu, estate)
    };
    let homes = state.place(vcpus.iter().map(home));
    #[cfg(not(feature = "gicv2"))]
    if let Err(root) = crate::direct::init(&blueprint, homes) {
        stop(uart, "stage-2 table lies outside the sealed part", root, header.sealed_end);
    }
    VCPUS.bind(state.zeroed(vcpus.len()), vcpus.iter().map(|vcpu| vcpu.cpu as usize));
    let console = state.place(core::iter::once(console::State::new()));
    if console.is_empty() {
        // What finds no room leaves none to what follows: this is the last.
        no_room()
    }
    console::STATE.bind(console, core::iter::once(header.console_cpu as usize));
    System {
        blueprint,
        uart,
        health,
        memory_outlived,
        traces: work.double_words(header.trace_rings),
        estates: Roster::of(estates, &NO_ESTATE),
        homes: Roster::of(homes, &NO_HOME),
    }
}

/// What is fixed of a partition; its virtual GIC and its life begin.
fn estate(
    blueprint: &Blueprint<'static>,
    work: &WorkArea,
    record: &'static layout::Partition,
    vgic: Vgic<'static>,
    machines: &'static Partition,
) -> Estate {
    let page = Range { base: record.info_dynamic, bytes: bulkhead_abi::PAGE_BYTES };
    let info = work.words(page);
    let identity = info.get(dynamic::IMAGE_ID / 4..).unwrap_or(&[]);
    for (word, bytes) in identity.iter().zip(blueprint.header.sha256.as_chunks::<4>().0) {
        word.store(u32::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    let mut cpus = [0; bulkhead_vgic::VCPUS];
    for (cpu, vcpu) in cpus.iter_mut().zip(span(blueprint.vcpus, record.vcpu_first, record.vcpu_count)) {
        *cpu = vcpu.cpu as u8;
    }
    let mut owned = record.irq_owned;
    if record.is_direct() {
        owned[0] |= gic::direct::GUEST_SGIS;
    }
    vgic.distributor.init(&Config {
        cpus,
        owned: &owned,
        present: &record.irq_present,
        doorbell_intids: &record.doorbell_intids,
    });
    machines.life.init(record.vcpu_count as usize);
    machines.deadline.store(u64::MAX, Ordering::Relaxed);
    let (output, input) = (work.bytes(record.console_out), work.bytes(record.console_in));
    let rings = serial::Memory { output, input };
    Estate { info, times: work.double_words(page), rings, vgic, machines }
}

/// What is fixed of a vCPU.
fn home(record: &layout::Partition, vcpu: &layout::Vcpu, estate: &'static Estate) -> Home {
    let index = vcpu.index as usize;
    let first = (dynamic::VCPUS + index * dynamic::VCPU_STRIDE) / 8;
    let clock = match record.flags {
        flags if flags & partition_flags::EXECUTION_CLOCK != 0 => Clock::Execution,
        flags if flags & partition_flags::PV_TIME != 0 => Clock::Stolen,
        _ => Clock::System,
    };
    Home {
        partition: vcpu.partition,
        index,
        seat: estate.vgic.seat(index),
        machines: estate.machines,
        times: estate.times.get(first..).and_then(<[_]>::first_chunk).unwrap_or(&NO_TIMES),
        clock,
        calls: record.grants,
        gicd: if record.gicd_ipa == 0 { NOWHERE } else { record.gicd_ipa },
        vttbr: traps::vttbr(record, false),
        loader_vttbr: traps::vttbr(record, true),
        ..Home::NONE
    }
}

/// Stages 7 to 9: interrupt controller, the other CPUs, guests.
fn bring_up(uart: Uart) -> ! {
    let Some(system) = SYSTEM.get() else { boot::halt() };
    let header = system.blueprint.header;
    stage(uart, 7, "interrupt controller");
    let gic = controller(header, system.blueprint.cpus, 0);
    if let Err(fault) = gic.init_distributor() {
        stop(uart, "interrupt controller fault", fault as u64, 0);
    }
    let cpu = bring_up_cpu(system, 0);
    stage(uart, 8, "secondary CPUs");
    for (n, record) in system.blueprint.cpus.iter().enumerate().skip(1) {
        let status = boot::start_cpu(header.cpu_boot, record.mpidr, record.release);
        if status != 0 {
            stop(uart, "a CPU does not start, firmware's status", status as u64, n as u64);
        }
        while ONLINE[n % CPUS_MAX].load(Ordering::Acquire) == 0 {
            wait_event();
        }
    }
    stage(uart, 9, "partitions");
    for partition in system.blueprint.partitions {
        say(uart, &|text| {
            text.str("partition ").bytes(trim(&partition.name)).str(": id ").dec(u64::from(partition.id));
            text.str(", ").dec(u64::from(partition.vcpu_count)).str(" vCPU, entry ").hex(partition.entry);
        });
    }
    say(uart, &|text| {
        text.str("keys: Ctrl-] then ? for help");
    });
    // Ahead of all: every CPU has its first vCPU ready by then.
    let t0 = timer::now() + T0_LEAD_GUARDS * u64::from(header.window_guard_ticks) + 1;
    switch::PLAN.init(header.initial_plan as u16, t0);
    T0.store(t0, Ordering::Release);
    signal_event();
    enter(cpu, system)
}

/// A secondary CPU, with the MMU on and a stack of its own.
pub fn secondary(index: usize) -> ! {
    let Some(system) = SYSTEM.get() else { boot::halt() };
    let cpu = bring_up_cpu(system, index);
    ONLINE[index % CPUS_MAX].store(1, Ordering::Release);
    signal_event();
    while T0.load(Ordering::Acquire) == 0 {
        wait_event();
    }
    enter(cpu, system)
}

/// Brings up what is this CPU's own.
fn bring_up_cpu(system: &'static System, index: usize) -> &'static mut Cpu {
    let header = system.blueprint.header;
    let Some(cpu) = Cpu::claim(index) else {
        stop(system.uart, "CPU is not where the blueprint has it", index as u64, index as u64)
    };
    traps::deny();
    if system.blueprint.windows.iter().any(|window| window.flags & window_flags::CLEAN_PREDICTOR != 0) {
        let by_smc = header.cpu_boot == cpu_boot::PSCI_SMC;
        let status = if by_smc { cleaning::predictor_support() } else { -1 };
        if status < 0 {
            let what = "firmware does not clear branch predictors (SMCCC_ARCH_WORKAROUND_1)";
            stop(system.uart, what, i64::from(status) as u64, 0);
        }
    }
    let gic = controller(header, system.blueprint.cpus, index);
    if let Err(fault) = gic.init_cpu() {
        stop(system.uart, "interrupt controller fault", fault as u64, index as u64);
    }
    if header.console_cpu as usize == index {
        gic.enable_own(header.uart_intid, index as u32);
    }
    let ring = system.traces.len() / system.blueprint.cpus.len().max(1);
    let words = system.traces.get(index * ring..(index + 1) * ring).unwrap_or(&[]);
    Local::new(gic, system.blueprint.routes, index, Trace::new(words)).set(cpu);
    cpu
}

/// Leaves boot: the CPU's plan begins at T0.
fn enter(cpu: &'static mut Cpu, system: &System) -> ! {
    let plan = system.blueprint.header.initial_plan;
    if let Some(local) = Local::of(cpu)
        && system.blueprint.header.watchdog_cpus >> local.cpu & 1 != 0
    {
        local.watch_at.set(0);
        local.arm_timer();
    }
    if let Some(local) = Local::of(cpu)
        && let Some(record) = system.blueprint.plans.get(plan as usize)
        && plan != NONE
    {
        let own: Option<&layout::PlanCpu> =
            system.blueprint.plan_cpus.get(record.cpu_first as usize + local.cpu);
        if own.is_some_and(|own| own.window_count != 0 || own.background != NONE) {
            local.timeline = Some(Timeline::new(plan as u16, T0.load(Ordering::Acquire)));
            local.guard = system.blueprint.cpus.get(local.cpu).map_or(0, |cpu| u64::from(cpu.guard_ticks));
            if system.blueprint.header.console_cpu as usize == local.cpu {
                console::stay_awake(local);
            }
            local.latency = system.blueprint.header.window_latency_ticks;
        }
    }
    cpu.enter()
}

/// An exception of EL2 itself, or a panic: its registers, then this CPU stops.
pub fn defect(registers: [u64; 5]) -> ! {
    if let Some(header) = Header::prefix(boot::blueprint_bytes(size_of::<Header>())) {
        say(Uart::new(header.uart_base), &|text| {
            text.str("EL2 defect:");
            for (name, value) in [" esr ", " elr ", " far ", " sp ", " lr "].iter().zip(registers) {
                text.str(name).hex(value);
            }
        });
        health::own_error();
    }
    if T0.load(Ordering::Relaxed) == 0 {
        halt()
    }
    boot::halt()
}
