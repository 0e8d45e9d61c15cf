//! Which vCPU a CPU runs, and what a change of a partition's life does on each CPU.

use crate::health;
use crate::system::{Local, PARTITIONS, Partition, Phase, SYSTEM, System, VCPUS};
use bulkhead_abi::info::{dynamic, event};
use bulkhead_abi::loader;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::frame::Frame;
use bulkhead_arch::gic::Physical;
use bulkhead_arch::{context, gic, timer, traps};
use bulkhead_blueprint::layout::{self, NONE, PlanCpu};
use bulkhead_blueprint::span;
use bulkhead_core::lifecycle::{Disposition, Request, State};
use bulkhead_core::schedule::{PlanView, PlanWord};
use bulkhead_vgic::Hardware;
use core::sync::atomic::{AtomicU64, Ordering};

/// The plan that shall run (ruling 12).
static PLAN: AtomicU64 = AtomicU64::new(0);

/// The reschedule handler: stores the vCPU that ran, then chooses until one can run. In between the
/// CPU idles with interrupts masked and serves those that come.
pub extern "C" fn reschedule(cpu: &mut Cpu, frame: &mut Frame, _: u64) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    leave(cpu, frame, system);
    loop {
        let candidate = candidate(cpu, system);
        if let Some(vcpu) = candidate
            && prepare(cpu, system, vcpu)
        {
            run(cpu, frame, system, vcpu);
            return 0;
        }
        context::stop_timers();
        bulkhead_arch::wait_interrupt();
        crate::interrupts::interrupt(cpu, frame, 0);
    }
}

/// Stores the state of the vCPU that ran.
fn leave(cpu: &mut Cpu, frame: &Frame, system: &System) {
    let Some(local) = Local::of(cpu) else {
        return;
    };
    let vcpu = core::mem::replace(&mut local.current, NONE);
    if vcpu == NONE {
        return;
    }
    system.vgic(local.partition).save(&local.gic, local.index);
    let active_timers = local.gic.active(0) & TIMERS;
    local.gic.clear_active(0, active_timers);
    let (partition, index) = (core::mem::replace(&mut local.partition, NONE), local.index);
    if let Some(state) = VCPUS.get(cpu, vcpu as usize) {
        state.context.save(frame);
        state.active_timers = active_timers;
        state.left_at = timer::now();
    }
    if bulkhead_arch::drain_serrors()
        && let Some(local) = Local::of(cpu)
    {
        local.partition = partition;
        local.index = index;
        health::report(local, system, event::EXTERNAL_ABORT, &health::Cause::NONE);
        local.partition = NONE;
    }
}

/// The vCPU whose time it is.
fn candidate(cpu: &mut Cpu, system: &System) -> Option<u32> {
    let local = Local::of(cpu)?;
    let record = system.blueprint.cpus.get(local.cpu)?;
    let Some(timeline) = &mut local.timeline else {
        return (record.slot_count != 0)
            .then(|| system.blueprint.slots.get(record.slot_first as usize).copied())?;
    };
    let own = local.cpu;
    let slot =
        timeline.slot(timer::now(), PlanWord(PLAN.load(Ordering::Relaxed)), |plan| view(system, plan, own));
    let plan = view(system, timeline.plan(), own);
    let next = timeline.next_window(plan, slot.vcpu, &slot);
    local.slot_end = slot.end;
    local.arm_timer();
    let vcpu = system.blueprint.vcpus.get(slot.vcpu as usize)?;
    system.set_time(vcpu, dynamic::VCPU_WINDOW_START_TICKS, slot.start);
    system.set_time(vcpu, dynamic::VCPU_WINDOW_END_TICKS, slot.end);
    system.set_time(vcpu, dynamic::VCPU_NEXT_WINDOW_TICKS, next);
    Some(slot.vcpu)
}

/// One CPU's part of a plan.
fn view(system: &System, plan: u16, cpu: usize) -> PlanView<'static> {
    const EMPTY: PlanCpu = PlanCpu { window_first: 0, window_count: 0, background: NONE, reserved: 0 };
    let blueprint = &system.blueprint;
    let (frame_ticks, record) = match blueprint.plans.get(plan as usize) {
        Some(plan) => (
            plan.frame_ticks.max(1),
            blueprint.plan_cpus.get(plan.cpu_first as usize + cpu).unwrap_or(&EMPTY),
        ),
        None => (u64::MAX, &EMPTY),
    };
    PlanView {
        windows: span(blueprint.windows, record.window_first, record.window_count),
        frame_ticks,
        background: record.background,
    }
}

/// Brings the vCPU into the state that its partition's life asks for. Whether it can run now.
fn prepare(cpu: &mut Cpu, system: &System, vcpu: u32) -> bool {
    let Some(record) = system.blueprint.vcpus.get(vcpu as usize) else {
        return false;
    };
    let Some((partition, machines)) = system.partition(record.partition) else {
        return false;
    };
    let index = record.index as usize;
    let mut disposition = machines.life.disposition(index);
    // A drop may hand this CPU the reset, and a reset makes the vCPU run: three steps at most.
    for _ in 0..3 {
        match disposition {
            Disposition::Run => return start(cpu, system, vcpu, record, partition, machines),
            Disposition::Park | Disposition::Nothing => return false,
            Disposition::Drop => {
                drop_vcpu(cpu, system, vcpu, record);
                disposition = machines.life.dropped(index);
            }
            Disposition::Reset => {
                reset(cpu, system, record.partition);
                disposition = machines.life.disposition(index);
            }
        }
    }
    false
}

/// Starts the vCPU anew if it has to: the loader, the guest, or what PSCI CPU_ON asked for.
fn start(
    cpu: &mut Cpu,
    system: &System,
    vcpu: u32,
    record: &layout::Vcpu,
    partition: &layout::Partition,
    machines: &Partition,
) -> bool {
    let index = record.index as usize;
    let loading = machines.life.state() == State::Loading;
    let asked = machines.psci.take_start(index);
    let Some(state) = VCPUS.get(cpu, vcpu as usize) else {
        return false;
    };
    if loading {
        if state.phase != Phase::Loader {
            state.phase = Phase::Loader;
            state.context.start(loader::LOADER_IPA, loader::LIST_IPA, partition.loader_stack);
        }
        return true;
    }
    if let Some(asked) = asked {
        state.phase = Phase::Guest;
        state.context.start(asked.entry, asked.context, 0);
    } else if index == 0 && state.phase == Phase::Loader {
        state.phase = Phase::Guest;
        state.context.start(partition.entry, partition.entry_x0, 0);
        publish(system, partition, machines.life.starts());
    }
    state.phase == Phase::Guest && machines.psci.is_on(index)
}

/// The timer PPIs that a guest owns: 27 (virtual) and 30 (physical).
const TIMERS: u32 = 1 << 27 | 1 << 30;

/// Makes the vCPU the one that this CPU returns to.
fn run(cpu: &mut Cpu, frame: &mut Frame, system: &System, vcpu: u32) {
    let Some(record) = system.blueprint.vcpus.get(vcpu as usize) else {
        return;
    };
    let Some((partition, _)) = system.partition(record.partition) else {
        return;
    };
    let active_timers = match VCPUS.get(cpu, vcpu as usize) {
        Some(state) => core::mem::replace(&mut state.active_timers, 0),
        None => return,
    };
    if let Some(local) = Local::of(cpu) {
        local.gic.set_active(0, active_timers);
        local.current = vcpu;
        local.partition = record.partition;
        local.index = record.index as usize;
        system.vgic(record.partition).restore(&local.gic, local.index);
    }
    let Some(state) = VCPUS.get(cpu, vcpu as usize) else {
        return;
    };
    let loading = state.phase == Phase::Loader;
    // A vCPU that starts has no execution time; one that goes on had none while it did not run.
    let now = timer::now();
    state.exec_offset = match state.context.is_fresh() {
        true => now,
        false => state.exec_offset.wrapping_add(now.wrapping_sub(state.left_at)),
    };
    system.set_time(record, dynamic::VCPU_EXEC_OFFSET_TICKS, state.exec_offset);
    let world =
        context::World { vttbr: traps::vttbr(partition, loading), loading, vcpu: u64::from(record.index) };
    state.context.restore(frame, world);
    if state.context.is_fresh() {
        // The tables of the loader and of the guest share the VMID, and memory was written anew.
        traps::forget_translations();
    }
}

/// Forgets a vCPU: its registers, its list registers, its banked interrupts.
fn drop_vcpu(cpu: &mut Cpu, system: &System, vcpu: u32, record: &layout::Vcpu) {
    if let Some(local) = Local::of(cpu) {
        system.vgic(record.partition).reset_vcpu(&local.gic, record.index as usize);
    }
    if let Some(state) = VCPUS.get(cpu, vcpu as usize) {
        state.phase = Phase::Dropped;
        state.active_timers = 0;
    }
    if record.index == 0
        && let Some((partition, _)) = system.partition(record.partition)
    {
        publish(system, partition, 0);
    }
}

/// Resets what the vCPUs of a partition share. Every vCPU is dropped: nobody else touches it.
fn reset(cpu: &mut Cpu, system: &System, index: u32) {
    use bulkhead_abi::info::mode;
    let Some((partition, machines)) = system.partition(index) else {
        return;
    };
    let Some(local) = Local::of(cpu) else {
        return;
    };
    system.vgic(index).reset_shared(&local.gic);
    machines.serial.reset(system.rings(index));
    machines.psci.reset();
    let life = machines.life.life();
    let words = [
        (dynamic::ABI_VERSION, bulkhead_abi::ABI_VERSION),
        (dynamic::START_COUNT, machines.life.count_start()),
        (dynamic::START_CONDITION, u32::from(life.condition)),
        (dynamic::MODE, if life.warm { mode::WARM_START } else { mode::COLD_START }),
        (dynamic::PLAN_ID, plan_id(system)),
    ];
    for (offset, value) in words {
        if let Some(word) = system.info(index, offset) {
            word.store(value, Ordering::Release);
        }
    }
    let t0 = crate::boot::T0.load(Ordering::Acquire);
    if let Some(word) = system.times.get(index as usize).and_then(|page| page.get(dynamic::T0_TICKS / 8)) {
        word.store(t0, Ordering::Release);
    }
    for vcpu in system.vcpus_of(partition) {
        // One window without end, unless the CPU's plan says otherwise when it runs.
        system.set_time(vcpu, dynamic::VCPU_WINDOW_START_TICKS, t0);
        system.set_time(vcpu, dynamic::VCPU_WINDOW_END_TICKS, u64::MAX);
        system.set_time(vcpu, dynamic::VCPU_NEXT_WINDOW_TICKS, u64::MAX);
    }
    if machines.life.reset_done() {
        kick_partition(local, system, partition);
    }
}

fn plan_id(system: &System) -> u32 {
    system
        .blueprint
        .plans
        .get(system.blueprint.header.initial_plan as usize)
        .map_or(dynamic::NO_PLAN, |plan| plan.id)
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
    for vcpu in system.vcpus_of(partition) {
        if vcpu.cpu as usize != local.cpu {
            local.gic.send_sgi(vcpu.cpu, gic::KICK_INTID);
        }
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
    kick_partition(local, system, partition);
    true
}

/// Whether the vCPU that runs must give way because its partition's life changed.
pub fn must_leave(local: &Local) -> bool {
    let Some(machines) = PARTITIONS.get(local.partition as usize) else {
        return true;
    };
    match machines.life.state() {
        State::Running => false,
        State::Loading => local.index != 0,
        _ => true,
    }
}

impl Local {
    /// Arms EL2's timer for what comes first.
    pub fn arm_timer(&self) {
        timer::arm(self.slot_end.min(self.drain_at));
    }
}
