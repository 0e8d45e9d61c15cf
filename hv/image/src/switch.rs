//! Whose time it is on a CPU, and the switch from one vCPU to another.
//!
//! EL2's timer takes the CPU back one window guard before a slot ends: that is one longest visit,
//! should one have just begun, and the switch itself. So everything is ready before the planned tick,
//! for which EL2 then waits (ruling 11). The guard is time of the slot that ends.

use crate::calls::LOADER_CALLS;
use crate::dispatch::{Progress, prepare};
use crate::health;
use crate::system::{Clock, Home, LOCALS, Local, Phase, SYSTEM, System, VCPUS, Vcpu};
use bulkhead_abi::info::{dynamic, event};
use bulkhead_abi::trace::kind;
use bulkhead_arch::cpu::{self, Cpu};
use bulkhead_arch::frame::{Frame, Resume};
use bulkhead_arch::gic::Physical;
use bulkhead_arch::{cleaning, context, gic, timer, traps};
use bulkhead_blueprint::layout::{NONE, PlanCpu, plan_flags};
use bulkhead_blueprint::limits::{CPUS_MAX, VCPUS_MAX};
use bulkhead_blueprint::span;
use bulkhead_core::plan_switch::{PlanSwitch, When};
use bulkhead_core::schedule::{PlanView, Slot};
use bulkhead_vgic::{File, Hardware};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The plan that runs, and the one that comes (ruling 12).
pub static PLAN: PlanSwitch = PlanSwitch::new();

/// The timer PPIs that a guest owns: 27 (virtual) and 30 (physical).
const TIMERS: u32 = 1 << 27 | 1 << 30;

/// Bits of [`Local::idle`]: the slot's vCPU has given the rest of it back; the background's, too.
const OWNER: u32 = 1 << 0;
const BACKGROUND: u32 = 1 << 1;

/// Whose turn it is on each CPU: the slot's vCPU, and in the upper half the background's if it may run in
/// its place. Nobody else there has anything to look for: it will look before it runs. Written by that CPU.
static TURN: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(u64::MAX) }; CPUS_MAX];

/// 1 for each vCPU that has given its CPU back and did not run since. Written by its CPU alone.
static GAVE_BACK: [AtomicU32; VCPUS_MAX] = [const { AtomicU32::new(0) }; VCPUS_MAX];

/// The reschedule handler: stores the vCPU that ran, then chooses until one can run. In between the
/// CPU idles with interrupts masked and serves those that come, as it does between two pieces of the work
/// on a vCPU that starts or ends: that is done in the vCPU's own turn.
pub fn reschedule(cpu: &mut Cpu, frame: &mut Frame) -> Resume {
    let Some(system) = SYSTEM.get() else { return frame.resume() };
    let mut now = leave(cpu, frame, system);
    let mut left = true;
    while let Some((own, other)) = next_slot(cpu, system, now) {
        let (mut vcpu, mut background, mut prepared) = (own, NONE, false);
        let progress = loop {
            match enter(cpu, system, vcpu, background, prepared, left) {
                Ok(resume) => return resume,
                Err(Progress::Ready) => prepared = true,
                Err(Progress::Stays) if background != other => (vcpu, background) = (other, other),
                Err(progress) => break progress,
            }
        };
        if progress == Progress::Works {
            between_pieces(cpu);
        } else {
            quiet(cpu);
            bulkhead_arch::wait_interrupt();
            serve(cpu);
        }
        left = false;
        now = timer::now();
    }
    frame.resume()
}

/// The CPU runs no vCPU: its guests' PPIs wait until one does.
fn quiet(cpu: &mut Cpu) {
    if let Some(local) = Local::of(cpu) {
        bulkhead_vgic::set_ppis(&local.gic, 0);
        #[cfg(not(feature = "gicv2"))]
        if local.gic.is_direct() {
            local.gic.disown_high();
        }
    }
    context::stop_timers();
}

/// Serves an interrupt, if one waits, while no vCPU runs.
fn serve(cpu: &mut Cpu) {
    crate::interrupts::fast_interrupt(cpu);
    if let Some(local) = Local::of(cpu) {
        local.trace.forget();
    }
}

/// As far as others are concerned the visit ends here and another begins: an interrupt that waits is served,
/// then it is decided anew whose turn it is. A function of its own, by whose name the pieces are told apart.
#[cold]
#[inline(never)]
fn between_pieces(cpu: &mut Cpu) {
    quiet(cpu);
    serve(cpu);
}

/// Stores the state of the vCPU that ran. The tick.
#[inline(always)]
fn leave(cpu: &mut Cpu, frame: &Frame, system: &System) -> u64 {
    let now = timer::now();
    let vcpu = match Local::of(cpu) {
        Some(local) => core::mem::replace(&mut local.current, NONE),
        None => return now,
    };
    let (Some(local), Some(state)) = both(cpu, vcpu) else { return now };
    local.trace.flush(now);
    let left = local.slot.end.saturating_sub(now).min(0xFFFF_FFFF);
    let head = now << 16 | u64::from(local.is_owner) << 8 | u64::from(kind::END);
    local.trace.append(head, left | u64::from(vcpu) << 32);
    if let Some(seat) = local.seat.take() {
        seat.save(&local.gic);
    }
    let active_timers = local.gic.read(File::SetActive, 0) & TIMERS;
    if active_timers != 0 {
        local.gic.write(File::ClearActive, 0, active_timers);
    }
    state.active_timers = active_timers;
    state.left_at = now;
    state.context.save(frame);
    context::stop_timers();
    // Their lines are low: what is pending still the guest made so by ISPENDR. It goes with it, for the next one
    // shares the hardware.
    state.latched_timers = local.gic.read(File::SetPending, 0) & TIMERS;
    if state.latched_timers != 0 {
        local.gic.write(File::ClearPending, 0, state.latched_timers);
    }
    if bulkhead_arch::drain_serrors() {
        health::report(local, system, event::EXTERNAL_ABORT, &health::Cause::code(0));
    }
    local.partition = NONE;
    now
}

/// Who may run in the slot that begins now or within the guard, or [`NONE`]: its vCPU, unless it has given it back,
/// and the background's where that one cannot run. Arms the timer for the slot's end.
#[inline(always)]
fn next_slot(cpu: &mut Cpu, system: &System, now: u64) -> Option<(u32, u32)> {
    let local = Local::of(cpu)?;
    if now >= local.watch_at.get() {
        // Who always leaves within the guard is not seen by the timer.
        health::watch(local, system, now);
    }
    match &mut local.timeline {
        None => own_slot(local, system, now)?,
        Some(timeline) => {
            let soon = now + local.guard;
            let (start, end) = (local.slot.start, local.slot.end);
            if !timeline.steady(soon, PLAN.number(), &mut local.slot) {
                find_slot(local, system, soon);
            }
            local.late_after = u64::MAX;
            if local.slot.start != start {
                local.idle.set(0);
                // What the slot before left over is late, too: a slot that was passed over.
                local.late_after = local.slot.start.min(end).saturating_add(local.latency);
            }
            local.arm_for_slot();
        }
    }
    let (idle, slot) = (local.idle.get(), local.slot.vcpu);
    let own = if idle & OWNER == 0 { slot } else { NONE };
    let is_other = idle & BACKGROUND == 0 && local.background != slot;
    Some((own, if is_other { local.background } else { NONE }))
}

/// The only slot of a CPU that is not shared.
#[cold]
#[inline(never)]
fn own_slot(local: &mut Local, system: &System, now: u64) -> Option<()> {
    let record = system.blueprint.cpus.get(local.cpu)?;
    let own = span(system.blueprint.slots, record.slot_first, record.slot_count).first();
    let vcpu = own.copied().unwrap_or(NONE);
    #[cfg(not(feature = "gicv2"))]
    if local.gic.is_direct() {
        crate::direct::open(local, system, vcpu);
    }
    local.slot = Slot { vcpu, window: true, start: now, end: u64::MAX, next: u64::MAX, clean: 0 };
    Some(())
}

/// The slot of a shared CPU's plan where more is to be found out: another plan comes.
#[cold]
#[inline(never)]
fn find_slot(local: &mut Local, system: &System, soon: u64) {
    let own = local.cpu;
    let Some(timeline) = &mut local.timeline else { return };
    let switch = PLAN.load();
    local.slot = timeline.slot(soon, switch, |plan| view(system, plan, own));
    local.background = timeline.background();
    if local.plan_traced != timeline.switches() {
        local.plan_traced = timeline.switches();
        let begun = if timeline.switches() == switch.number { switch.tick } else { switch.before_tick };
        local.trace.put(begun, kind::PLAN, timeline.plan() as u8, begun);
    }
}

/// Says whose turn it is on this CPU, before its partition's life is looked at: who changes that looks here
/// afterwards, so that one of the two sees what the other did.
#[inline(always)]
fn take_turn(cpu: usize, vcpu: u32, background: u32) {
    TURN[cpu % CPUS_MAX].store(u64::from(background) << 32 | u64::from(vcpu), Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Whether the CPU has to be told of what has just changed for vCPU `vcpu`.
pub fn has_turn(cpu: u32, vcpu: u32) -> bool {
    fence(Ordering::SeqCst);
    let turn = TURN[cpu as usize % CPUS_MAX].load(Ordering::Relaxed);
    turn as u32 == vcpu || (turn >> 32) as u32 == vcpu
}

/// This CPU's state, and that of vCPU `vcpu` if it is bound here.
#[inline(always)]
fn both(cpu: &mut Cpu, vcpu: u32) -> (Option<&mut Local>, Option<&mut Vcpu>) {
    let (local, state) = cpu::both(cpu, &LOCALS, &VCPUS, vcpu as usize);
    (local.as_mut(), state)
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

/// Makes the vCPU the one that this CPU returns to, if it can run, and waits for the slot's planned start; with its
/// registers. Otherwise what has been done instead: if it is ready now, the next call has it `prepared`.
/// `background`: the background's if the vCPU is that one. `left`: another has left in this visit, which is piece
/// enough if this one does not just go on.
#[inline(always)]
fn enter(
    cpu: &mut Cpu,
    system: &'static System,
    vcpu: u32,
    background: u32,
    prepared: bool,
    left: bool,
) -> Result<Resume, Progress> {
    let (Some(local), state) = both(cpu, vcpu) else { return Err(Progress::Stays) };
    take_turn(local.cpu, local.slot.vcpu, background);
    let Some(state) = state else { return Err(Progress::Stays) };
    let home = system.home(vcpu);
    // Mostly its guest goes on, without anything to prepare.
    let machines = home.machines;
    let goes_on =
        state.phase == Phase::Guest && machines.life.is_running() && machines.psci.is_on(home.index);
    if !goes_on && !prepared {
        return Err(prepare(cpu, system, vcpu, left));
    }
    let loading = state.phase == Phase::Loader;
    local.current = vcpu;
    local.partition = home.partition;
    local.index = home.index;
    local.calls = if loading { LOADER_CALLS } else { home.calls };
    local.gicd = home.gicd;
    local.is_owner = vcpu == local.slot.vcpu;
    local.seat = home.seat.as_ref();
    let window = local.is_owner && local.slot.window;
    let waited = take_interrupts(local, state);
    tell_times(local, state, home, system, waited, window);
    if let Some(timeline) = &local.timeline
        && home.index == 0
        && state.plan_shown != timeline.switches() + 1
    {
        state.plan_shown = timeline.switches() + 1;
        show_plan(system, home.partition, timeline.plan());
    }
    let (vttbr, hcr) = if loading { (home.loader_vttbr, traps::HCR_LOADER) } else { (home.vttbr, home.hcr) };
    let resume = state.context.restore(context::World { vttbr, hcr });
    if state.context.is_fresh() {
        // The tables of the loader and of the guest share the VMID, and memory was written anew.
        traps::forget_translations();
        local.late_after = u64::MAX;
    }
    if local.slot.clean != 0 && window {
        clean(local, local.slot.clean);
    }
    let late_after = if window { local.late_after } else { u64::MAX };
    let stamp = local.trace.reserve(kind::START, u8::from(window), u64::from(vcpu) << 32);
    let time = timer::wait_until(local.slot.start);
    stamp.put(time, local.slot.start);
    if time > late_after {
        overrun(local, system, time);
    }
    Ok(resume)
}

/// Puts the interrupts of the vCPU that is current now onto the hardware. How many had waited for it.
#[inline(always)]
fn take_interrupts(local: &Local, state: &Vcpu) -> u32 {
    if state.active_timers != 0 {
        local.gic.write(File::SetActive, 0, state.active_timers);
    }
    if state.latched_timers != 0 {
        local.gic.write(File::SetPending, 0, state.latched_timers);
    }
    local.seat.map_or(0, |seat| seat.restore(&local.gic))
}

/// Writes the slot's times, and the vCPU's own, where the vCPU reads them, and to the trace if interrupts
/// `waited` for it. `window`: it is one of the vCPU's own.
#[inline(always)]
fn tell_times(local: &Local, state: &mut Vcpu, home: &Home, system: &System, waited: u32, window: bool) {
    // A vCPU that starts has no execution time; one that goes on had none while it did not run.
    let begin = timer::now().max(local.slot.start);
    let away = begin.wrapping_sub(state.left_at);
    state.exec_offset = match state.context.is_fresh() {
        true => begin,
        false => state.exec_offset.wrapping_add(away),
    };
    if waited != 0 {
        local.trace.put(begin, kind::DEFERRED, 0, u64::from(waited) | away.min(0xFFFF_FFFF) << 32);
    }
    match home.clock {
        Clock::System => {}
        Clock::Stolen => tell_stolen(state, system, local.current, away),
        Clock::Execution => context::offset_counter(state.exec_offset),
    }
    let (times, slot) = (home.times, &local.slot);
    Home::set_time(times, dynamic::VCPU_WINDOW_START_TICKS, slot.start);
    Home::set_time(times, dynamic::VCPU_WINDOW_END_TICKS, slot.end);
    if window {
        Home::set_time(times, dynamic::VCPU_NEXT_WINDOW_TICKS, slot.next);
    }
    Home::set_time(times, dynamic::VCPU_EXEC_OFFSET_TICKS, state.exec_offset);
}

/// Cleans what the partition before has left in the CPU, in the guard: nothing but the way out comes after it.
#[cold]
#[inline(never)]
fn clean(local: &Local, what: u32) {
    let begin = timer::now();
    cleaning::clean(what);
    local.trace.put(begin, kind::CLEANED, what as u8, timer::now() - begin);
}

/// A window begins later than the configuration allows. One that begins late because its partition was
/// started, stood still or slept does not count.
#[cold]
#[inline(never)]
fn overrun(local: &Local, system: &System, time: u64) {
    let ticks = time - local.late_after + system.blueprint.header.window_latency_ticks;
    health::report(local, system, event::WINDOW_OVERRUN, &health::Cause::code(ticks));
}

/// Tells a vCPU for how long it has not run since its start although it would have; `away`: ticks since it ran
/// last. They do not count if it gave the CPU back.
#[cold]
#[inline(never)]
fn tell_stolen(state: &mut Vcpu, system: &System, vcpu: u32, away: u64) {
    let gave_back = GAVE_BACK.get(vcpu as usize).is_some_and(|word| {
        let given = word.load(Ordering::Relaxed);
        word.store(0, Ordering::Relaxed);
        given != 0
    });
    if state.context.is_fresh() {
        state.stolen_offset = state.exec_offset;
    } else if gave_back {
        state.stolen_offset = state.stolen_offset.wrapping_add(away);
    }
    let ticks = state.exec_offset.wrapping_sub(state.stolen_offset);
    let home = system.home(vcpu);
    let place = dynamic::STOLEN_TIMES + home.index * dynamic::STOLEN_TIME_STRIDE + dynamic::STOLEN_NS;
    if let Some(word) = system.time(home.partition, place) {
        word.store(system.nanoseconds(ticks), Ordering::Release);
    }
}

/// Writes the plan into a partition's information page: its vCPU 0's first window in it.
#[cold]
#[inline(never)]
fn show_plan(system: &System, partition: u32, plan: u16) {
    let (_, since) =
        PLAN.load().current(timer::now() + u64::from(system.blueprint.header.window_guard_ticks));
    let id = system.blueprint.plans.get(plan as usize).map_or(dynamic::NO_PLAN, |plan| plan.id);
    if let Some(word) = system.info(partition, dynamic::PLAN_ID) {
        word.store(id, Ordering::Release);
    }
    if let Some(word) = system.time(partition, dynamic::PLAN_SINCE_TICKS) {
        word.store(since, Ordering::Release);
    }
}

/// The running vCPU gives back the rest of its slot. Whether there is one.
pub fn idle(local: &Local) -> bool {
    let owner = local.timeline.is_some() && local.current != NONE;
    if owner {
        let bit = if local.is_owner { OWNER } else { BACKGROUND };
        local.idle.set(local.idle.get() | bit);
        if let Some(word) = GAVE_BACK.get(local.current as usize) {
            word.store(1, Ordering::Relaxed);
        }
    }
    owner
}

/// Asks for a plan, on behalf of a partition or of the health monitor, who has checked that it may.
/// Whether anything changes.
pub fn request_plan(local: &Local, system: &System, plan: u16, by_health: bool) -> bool {
    let blueprint = &system.blueprint;
    let Some(record) = blueprint.plans.get(plan as usize) else {
        return false;
    };
    let at_once = by_health && record.flags & plan_flags::IMMEDIATE != 0;
    let when = if at_once { When::AtOnce } else { When::FrameEnd };
    let margin = 2 * u64::from(blueprint.header.window_guard_ticks);
    let frame = |plan: u16| blueprint.plans.get(plan as usize).map_or(u64::MAX, |p| p.frame_ticks);
    let now = timer::now();
    let changed = PLAN.request(plan, when, now, margin, frame);
    if changed {
        local.trace.put(now, kind::PLAN_ASKED, plan as u8, PLAN.load().tick);
    }
    if changed && at_once {
        // Whoever sleeps or runs beyond the common tick has to arm its timer for it, this CPU too.
        for cpu in 0..blueprint.cpus.len() as u32 {
            local.gic.send_sgi(cpu, gic::KICK_INTID);
        }
    }
    changed
}
