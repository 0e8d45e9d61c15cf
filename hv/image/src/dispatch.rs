//! What a change of a partition's life does on each CPU.

use crate::health;
use crate::switch;
use crate::system::{Home, Local, Partition, Phase, System, VCPUS};
use bulkhead_abi::info::{dynamic, start_condition};
use bulkhead_abi::loader;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::gic;
use bulkhead_arch::gic::Physical;
use bulkhead_blueprint::layout;
use bulkhead_blueprint::span;
use bulkhead_core::lifecycle::{Disposition, Request, State};
use core::sync::atomic::Ordering;

/// What came of the turn of a vCPU that does not just go on.
#[derive(PartialEq, Eq)]
pub enum Progress {
    /// It can run now.
    Ready,
    /// It cannot run.
    Stays,
    /// A piece of the work on it is done, and more may be to do.
    Works,
}

/// Brings the vCPU nearer to the state that its partition's life asks for, by one bounded piece: the drop, a
/// piece of the reset, the start. Between two of them interrupts are looked at, and the vCPU's turn may end.
/// `left`: another has left in this visit, which is piece enough. Then this looks whether there is work at all:
/// a loader just goes on, and who cannot run has none.
#[cold]
#[inline(never)]
pub fn prepare(cpu: &mut Cpu, system: &System, vcpu: u32, left: bool) -> Progress {
    let Some(record) = system.blueprint.vcpus.get(vcpu as usize) else {
        return Progress::Stays;
    };
    let Some((partition, machines)) = system.partition(record.partition) else {
        return Progress::Stays;
    };
    let phase = VCPUS.get(cpu, vcpu as usize).map(|state| state.phase);
    if let Some(Phase::Resetting(piece)) = phase {
        if left {
            return Progress::Works;
        }
        let next = reset(cpu, system, record.partition, piece);
        set_phase(cpu, vcpu, next);
        return Progress::Works;
    }
    let index = record.index as usize;
    let disposition = match machines.life.disposition(index) {
        Disposition::Run if phase == Some(Phase::Loader) && machines.life.state() == State::Loading => {
            return Progress::Ready;
        }
        Disposition::Run | Disposition::Drop if left => return Progress::Works,
        Disposition::Run => return start(cpu, system, vcpu, record, partition, machines),
        Disposition::Drop => {
            drop_vcpu(cpu, system, vcpu, record);
            machines.life.dropped(index)
        }
        other => other,
    };
    if disposition != Disposition::Reset {
        return Progress::Stays;
    }
    set_phase(cpu, vcpu, Phase::Resetting(0));
    Progress::Works
}

fn set_phase(cpu: &mut Cpu, vcpu: u32, phase: Phase) {
    if let Some(state) = VCPUS.get(cpu, vcpu as usize) {
        state.phase = phase;
    }
}

/// Starts the vCPU anew if it has to: the loader, the guest, or what PSCI CPU_ON asked for.
fn start(
    cpu: &mut Cpu,
    system: &System,
    vcpu: u32,
    record: &layout::Vcpu,
    partition: &layout::Partition,
    machines: &Partition,
) -> Progress {
    let index = record.index as usize;
    let loading = machines.life.state() == State::Loading;
    let asked = machines.psci.take_start(index);
    let Some(state) = VCPUS.get(cpu, vcpu as usize) else {
        return Progress::Stays;
    };
    if loading {
        state.phase = Phase::Loader;
        let life = machines.life.life();
        let start = match (life.warm, u32::from(life.condition)) {
            (true, _) => loader::start::WARM,
            (false, start_condition::POWER_ON) if system.memory_outlived => loader::start::KEPT,
            (false, start_condition::POWER_ON) => loader::start::FIRST,
            _ => loader::start::COLD,
        };
        state.context.start(index, loader::LOADER_IPA, loader::LIST_IPA | start, partition.loader_stack);
        if let Some(local) = Local::of(cpu) {
            health::arm(local, system, record.partition);
        }
        return Progress::Works;
    }
    if let Some(asked) = asked {
        state.phase = Phase::Guest;
        state.context.start(index, asked.entry, asked.context, 0);
        return Progress::Works;
    }
    if index == 0 && state.phase == Phase::Loader {
        state.phase = Phase::Guest;
        state.context.start(index, partition.entry, partition.entry_x0, 0);
        publish(system, partition, machines.life.starts());
        return Progress::Works;
    }
    match state.phase == Phase::Guest && machines.psci.is_on(index) {
        true => Progress::Ready,
        false => Progress::Stays,
    }
}

/// Forgets a vCPU: its registers, its list registers, its banked interrupts.
fn drop_vcpu(cpu: &mut Cpu, system: &System, vcpu: u32, record: &layout::Vcpu) {
    if let Some(local) = Local::of(cpu) {
        system.vgic(record.partition).silence(&local.gic, record.index as usize);
        #[cfg(not(feature = "gicv2"))]
        if local.gic.is_direct() {
            local.gic.forget_guest();
        }
    }
    if let Some(state) = VCPUS.get(cpu, vcpu as usize) {
        state.phase = Phase::Dropped;
        state.active_timers = 0;
        state.latched_timers = 0;
        state.plan_shown = 0;
    }
    if record.index == 0
        && let Some((partition, _)) = system.partition(record.partition)
    {
        publish(system, partition, 0);
    }
}

/// The piece of a reset that comes last: the information page.
const LAST_PIECE: usize = usize::MAX;

/// Piece `piece` of the reset of what the vCPUs of a partition share. Every vCPU is dropped: nobody else
/// touches it. What comes next.
fn reset(cpu: &mut Cpu, system: &System, index: u32, piece: usize) -> Phase {
    let (Some((partition, machines)), Some(local)) = (system.partition(index), Local::of(cpu)) else {
        return Phase::Dropped;
    };
    if piece == LAST_PIECE {
        // What the page says of the start is what the loader is told right after.
        reset_page(system, index, partition, machines);
        if machines.life.reset_done() {
            kick_partition(local, system, partition);
        }
        return Phase::Dropped;
    }
    #[cfg(not(feature = "gicv2"))]
    if partition.is_direct() {
        crate::direct::reset(local, system, partition, piece);
    }
    let more = match piece.checked_sub(1) {
        // The UART first: from then on it raises no line, which the interrupt controller's reset lowers.
        None => {
            machines.serial.reset(system.rings(index));
            machines.psci.reset();
            true
        }
        Some(piece) => system.vgic(index).reset_shared(&local.gic, piece),
    };
    Phase::Resetting(if more { piece + 1 } else { LAST_PIECE })
}

/// The words of the information page that a start sets.
fn reset_page(system: &System, index: u32, partition: &layout::Partition, machines: &Partition) {
    use bulkhead_abi::info::mode;
    let life = machines.life.life();
    let words = [
        (dynamic::ABI_VERSION, bulkhead_abi::ABI_VERSION),
        (dynamic::START_COUNT, machines.life.count_start()),
        (dynamic::START_CONDITION, u32::from(life.condition)),
        (dynamic::MODE, if life.warm { mode::WARM_START } else { mode::COLD_START }),
        (dynamic::PLAN_ID, dynamic::NO_PLAN),
        (dynamic::REQUESTS, 0),
    ];
    for (offset, value) in words {
        if let Some(word) = system.info(index, offset) {
            word.store(value, Ordering::Release);
        }
    }
    let t0 = crate::boot::T0.load(Ordering::Acquire);
    if let Some(word) = system.time(index, dynamic::T0_TICKS) {
        word.store(t0, Ordering::Release);
    }
    for vcpu in (partition.vcpu_first..).take(partition.vcpu_count as usize) {
        let times = system.home(vcpu).times;
        // One window without end, unless the CPU's plan says otherwise when it runs.
        Home::set_time(times, dynamic::VCPU_WINDOW_START_TICKS, t0);
        Home::set_time(times, dynamic::VCPU_WINDOW_END_TICKS, u64::MAX);
        Home::set_time(times, dynamic::VCPU_NEXT_WINDOW_TICKS, u64::MAX);
    }
}

/// Tells a partition's peers its epoch: its start count, or 0 while it does not run. Only the CPU of
/// the partition's vCPU 0 does, so each word has one writer. The words are visible to all before the
/// loader scrubs anything: peers then no longer believe the regions that it writes.
fn publish(system: &System, partition: &layout::Partition, epoch: u32) {
    for word in span(system.blueprint.peer_words, partition.peer_first, partition.peer_count) {
        if let Some(place) = system.info(word.partition, dynamic::PEER_EPOCHS + 4 * word.port as usize) {
            place.store(epoch, Ordering::Release);
        }
    }
    bulkhead_arch::signal_event();
}

/// Asks every other CPU of a partition to look at its vCPU.
pub fn kick_partition(local: &Local, system: &System, partition: &layout::Partition) {
    for index in 0..partition.vcpu_count {
        kick_vcpu(local, system, partition, index);
    }
}

/// Asks the CPU of a partition's vCPU to look at it, if it is its turn there: in the windows of others it
/// waits for its own.
pub fn kick_vcpu(local: &Local, system: &System, partition: &layout::Partition, index: u32) {
    if let Some(vcpu) = system.vcpus_of(partition).get(index as usize)
        && vcpu.cpu as usize != local.cpu
        && switch::has_turn(vcpu.cpu, partition.vcpu_first + index)
    {
        local.gic.send_sgi(vcpu.cpu, gic::KICK_INTID);
    }
}

/// Applies a request to the life of a partition. Whether it meant something; if so its CPUs know, and
/// this CPU has to choose anew if it runs a vCPU of it.
pub fn request(local: &Local, system: &System, index: u32, request: Request) -> bool {
    let Some((partition, machines)) = system.partition(index) else {
        return false;
    };
    if !machines.life.request(request) {
        return false;
    }
    #[cfg(not(feature = "gicv2"))]
    if partition.is_direct() {
        crate::direct::close(local, system, partition);
    }
    kick_partition(local, system, partition);
    true
}

/// Whether the vCPU that runs must give way because its partition's life changed.
pub fn must_leave(local: &Local, system: &System) -> bool {
    let Some((_, machines)) = system.partition(local.partition) else {
        return true;
    };
    match machines.life.state() {
        State::Running => false,
        State::Loading => local.index != 0,
        _ => true,
    }
}
