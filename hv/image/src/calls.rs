//! HVC and SMC: Bulkhead's own calls first, then PSCI and SMCCC's discovery.

use crate::console;
use crate::dispatch::{kick_vcpu, must_leave, request};
use crate::health::{self, Cause, report};
use crate::switch;
use crate::system::{Local, SYSTEM, System, may_restart};
use bulkhead_abi::hypercall::{self, control};
use bulkhead_abi::info::{dynamic, event, mode, start_condition};
use bulkhead_abi::port::direction;
use bulkhead_abi::status;
use bulkhead_abi::trace::cause;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::frame::{Frame, Injection, inject, skip_instruction};
use bulkhead_arch::{boot, timer};
use bulkhead_blueprint::layout::{self, partition_flags};
use bulkhead_blueprint::limits::PORT_ENDS_MAX;
use bulkhead_blueprint::span;
use bulkhead_core::lifecycle::Request;
use bulkhead_core::psci::Outcome;
use bulkhead_core::smccc::{self, Call};
use bulkhead_core::{abort, authority};
use bulkhead_vgic::Hardware;
use core::sync::atomic::{AtomicU64, Ordering};

/// ESR of `SMC #0` from AArch64: class 0x17, IL.
const ESR_SMC0: u64 = 0x17 << 26 | 1 << 25;

/// The calls that a loader may make, and nobody else: [`Local::calls`].
pub const LOADER_CALLS: u64 = bit(hypercall::LOADER_DONE) | bit(hypercall::LOADER_FAILED);

const fn bit(call: u64) -> u64 {
    1 << (call & hypercall::INDEX_MASK)
}

/// Tick of each port end's last ring, for doorbells with a minimum interval.
static LAST_RING: [AtomicU64; PORT_ENDS_MAX] = [const { AtomicU64::new(0) }; PORT_ENDS_MAX];

/// The handler of `HVC #0`: own calls by their number, the shortest first, then everybody's.
#[inline(always)]
pub fn hvc(cpu: &mut Cpu, frame: &mut Frame) -> u64 {
    let number = frame.x[0].wrapping_sub(hypercall::BASE);
    if number > hypercall::INDEX_MASK {
        return standard(cpu, frame);
    }
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    local.trace.count(cause::CALL);
    if number == 0 && local.calls & bit(hypercall::FEATURES) != 0 {
        frame.x[1] = local.calls;
        return answer(frame, status::SUCCESS);
    }
    own(local, frame, number)
}

/// The handler of other traps of exception classes below 0x18.
#[inline(always)]
pub fn trap(cpu: &mut Cpu, frame: &mut Frame, esr: u64) -> u64 {
    if esr != ESR_SMC0 {
        return other(esr);
    }
    skip_instruction();
    standard(cpu, frame)
}

/// Calls that mean the same by HVC and SMC.
#[inline(never)]
fn standard(cpu: &mut Cpu, frame: &mut Frame) -> u64 {
    if let Some(local) = Local::of(cpu) {
        local.trace.count(cause::CALL);
    }
    match smccc::classify(frame.x[0], frame.x[1]) {
        // Unknown calls neither print nor count: probing is every kernel's right (SMCCC 5.2).
        Call::Return(value) => answer(frame, value),
        Call::Return4(values) => answer4(frame, values),
        Call::Psci => Local::of(cpu).map_or(0, |local| psci(local, frame)),
        Call::PvTime => Local::of(cpu).map_or(0, |local| pv_time(local, frame)),
        Call::Own(number) => Local::of(cpu).map_or(0, |local| own(local, frame, number)),
    }
}

/// HVC and SMC with another immediate, pointer authentication, AArch32's coprocessors: not there.
#[cold]
#[inline(never)]
fn other(esr: u64) -> u64 {
    if abort::class(esr) == 0x16 {
        // HVC's preferred return is behind it; UNDEFINED is reported at the instruction.
        bulkhead_arch::frame::step_back();
    }
    inject(Injection::Undefined);
    0
}

/// A function of its own: it needs stack, which every standard call would pay for.
#[inline(never)]
fn answer4(frame: &mut Frame, values: &[u32; 4]) -> u64 {
    for (register, value) in frame.x.iter_mut().zip(values) {
        *register = u64::from(*value);
    }
    0
}

#[inline]
fn answer(frame: &mut Frame, status: i64) -> u64 {
    frame.x[0] = status as u64;
    0
}

/// Bulkhead's own calls.
fn own(local: &Local, frame: &mut Frame, index: u64) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    let Some(partition) = system.blueprint.partitions.get(local.partition as usize) else {
        return 0;
    };
    if local.calls >> index & 1 == 0 {
        return denied(local, system, frame, index);
    }
    match hypercall::BASE + index {
        hypercall::FEATURES => {
            frame.x[1] = partition.grants;
            answer(frame, status::SUCCESS)
        }
        hypercall::INFO_REGION => {
            frame.x[1] = partition.info_ipa;
            frame.x[2] = partition.info_bytes;
            answer(frame, status::SUCCESS)
        }
        hypercall::CONSOLE_WRITE => console::write(local, system, frame),
        hypercall::CONSOLE_READ => console::read(local, system, frame),
        hypercall::DOORBELL => doorbell(local, system, partition, frame),
        hypercall::WATCHDOG_KICK => {
            health::kick(partition, &system.estates.get(local.partition).machines.deadline);
            answer(frame, status::SUCCESS)
        }
        hypercall::SYSTEM_RESET => boot::reset(&system.blueprint),
        hypercall::SET_MODE => set_mode(local, system, frame),
        hypercall::RAISE_EVENT => raise(local, system, frame),
        hypercall::IDLE if switch::idle(local) => {
            frame.x[0] = status::SUCCESS as u64;
            1
        }
        hypercall::IDLE => answer(frame, status::NO_ACTION),
        hypercall::PLAN_SET => plan_set(local, system, partition, frame),
        hypercall::PLAN_STATUS => plan_status(system, frame),
        hypercall::PARTITION_CONTROL => partition_control(local, system, partition, frame),
        hypercall::LOADER_DONE | hypercall::LOADER_FAILED => loader(local, system, frame, index),
        _ => answer(frame, status::NOT_SUPPORTED),
    }
}

/// A call that was not granted; a loader's is refused without a word.
#[cold]
#[inline(never)]
fn denied(local: &Local, system: &System, frame: &mut Frame, index: u64) -> u64 {
    frame.x[0] = status::NOT_SUPPORTED as u64;
    if local.calls == LOADER_CALLS {
        return 0;
    }
    report(local, system, event::DENIED_HYPERCALL, &Cause::code(hypercall::BASE + index))
}

/// The loader has come to its end.
#[cold]
#[inline(never)]
fn loader(local: &Local, system: &System, frame: &Frame, index: u64) -> u64 {
    let done = hypercall::BASE + index == hypercall::LOADER_DONE;
    if !done {
        report(local, system, event::INTEGRITY, &Cause::code(frame.x[1]));
    }
    let outcome = if done { Request::LoaderDone } else { Request::LoaderFailed };
    request(local, system, local.partition, outcome);
    1
}

#[cold]
#[inline(never)]
fn pv_time(local: &Local, frame: &mut Frame) -> u64 {
    let partition = SYSTEM.get().and_then(|system| system.partition(local.partition));
    let offset = dynamic::STOLEN_TIMES + local.index * dynamic::STOLEN_TIME_STRIDE;
    let structure = partition
        .filter(|(partition, _)| partition.flags & partition_flags::PV_TIME != 0)
        .map(|(partition, _)| partition.info_ipa + offset as u64);
    answer(frame, smccc::pv_time(frame.x[0], frame.x[1], structure))
}

#[inline(never)]
fn psci(local: &Local, frame: &mut Frame) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    let Some((partition, machines)) = system.partition(local.partition) else {
        return 0;
    };
    let arguments = [frame.x[1], frame.x[2], frame.x[3]];
    let memory = span(system.blueprint.memory, partition.memory_first, partition.memory_count);
    let is_memory = |ipa: u64| memory.iter().any(|range| ipa.wrapping_sub(range.base) < range.bytes);
    match machines.psci.call(local.index, partition.vcpu_count as usize, frame.x[0], arguments, is_memory) {
        Outcome::Return(value) => answer(frame, value),
        Outcome::Standby => answer(frame, 0),
        Outcome::Start { vcpu } => {
            kick_vcpu(local, system, partition, vcpu as u32);
            answer(frame, 0)
        }
        Outcome::Off => 1,
        Outcome::SystemOff => {
            request(local, system, local.partition, Request::SwitchOff);
            1
        }
        // PSCI lets it fail by not returning: without a restart it ends.
        Outcome::SystemReset if !may_restart(partition) => {
            request(local, system, local.partition, Request::SwitchOff);
            1
        }
        Outcome::SystemReset => {
            let wish = Request::Restart { warm: false, condition: start_condition::OWN_REQUEST };
            request(local, system, local.partition, wish);
            1
        }
    }
}

#[inline(never)]
fn doorbell(local: &Local, system: &System, partition: &layout::Partition, frame: &mut Frame) -> u64 {
    let index = frame.x[1];
    if index >= u64::from(partition.port_count) {
        return answer(frame, status::INVALID_PARAMETER);
    }
    let number = partition.port_first as usize + index as usize;
    let Some(end) = system.blueprint.port_ends.get(number) else {
        return answer(frame, status::DENIED);
    };
    if end.direction != direction::SOURCE || end.doorbell_count == 0 {
        return answer(frame, status::DENIED);
    }
    if end.min_interval_ticks != 0
        && let Some(last) = LAST_RING.get(number)
    {
        let now = timer::now();
        if now.wrapping_sub(last.load(Ordering::Relaxed)) < u64::from(end.min_interval_ticks) {
            return answer(frame, status::NOT_AVAILABLE);
        }
        last.store(now, Ordering::Relaxed);
    }
    for bell in span(system.blueprint.doorbells, end.doorbell_first, end.doorbell_count) {
        let Some(vcpu) = system.blueprint.vcpus.get(bell.vcpu as usize) else {
            continue;
        };
        if system.vgic(vcpu.partition).ring(vcpu.index as usize, local.cpu, bell.bit) {
            local.gic.post(vcpu.cpu);
        }
    }
    answer(frame, status::SUCCESS)
}

#[inline(never)]
fn set_mode(local: &Local, system: &System, frame: &mut Frame) -> u64 {
    let wish = frame.x[1];
    if wish != u64::from(mode::NORMAL) && wish != u64::from(mode::IDLE) {
        return answer(frame, status::INVALID_PARAMETER);
    }
    if let Some(word) = system.info(local.partition, dynamic::MODE) {
        let normal = word.load(Ordering::Relaxed) == mode::NORMAL;
        word.store(wish as u32, Ordering::Release);
        if wish == u64::from(mode::NORMAL) {
            if !normal {
                health::arm(local, system, local.partition);
            }
            return answer(frame, status::SUCCESS);
        }
    }
    request(local, system, local.partition, Request::SwitchOff);
    1
}

/// Events that a partition may report of itself.
#[inline(never)]
fn raise(local: &Local, system: &System, frame: &mut Frame) -> u64 {
    let wish = frame.x[2] as u32;
    if !matches!(wish, event::DEADLINE_MISS | event::PORT_VIOLATION | event::APPLICATION_ERROR) {
        return answer(frame, status::INVALID_PARAMETER);
    }
    frame.x[0] = status::SUCCESS as u64;
    report(local, system, wish, &Cause::code(frame.x[1]))
}

/// A partition with the authority asks for a plan.
#[inline(never)]
fn plan_set(local: &Local, system: &System, partition: &layout::Partition, frame: &mut Frame) -> u64 {
    let plan = match authority::plan(partition, system.blueprint.plans, frame.x[1]) {
        Ok(plan) => plan,
        Err(refusal) => return answer(frame, refusal),
    };
    let changed = switch::request_plan(local, system, plan, false);
    answer(frame, if changed { status::SUCCESS } else { status::NO_ACTION })
}

/// The current plan and the next.
#[inline(never)]
fn plan_status(system: &System, frame: &mut Frame) -> u64 {
    let (last, now) = (switch::PLAN.load(), timer::now());
    let id = |plan: u16| system.blueprint.plans.get(plan as usize).map_or(0, |p| u64::from(p.id));
    let (plan, since) = last.current(now);
    let from = if now < last.tick { last.tick } else { u64::MAX };
    frame.x[1] = id(plan) | id(last.plan) << 32;
    frame.x[2] = since;
    frame.x[3] = from;
    answer(frame, status::SUCCESS)
}

#[inline(never)]
fn partition_control(
    local: &Local,
    system: &System,
    partition: &layout::Partition,
    frame: &mut Frame,
) -> u64 {
    let operation = frame.x[2];
    let target = match authority::target(
        partition,
        system.blueprint.authorities,
        local.partition,
        frame.x[1],
        operation,
    ) {
        Ok(target) => target,
        Err(refusal) => return answer(frame, refusal),
    };
    let Some((record, machines)) = system.partition(target) else {
        return answer(frame, status::DENIED);
    };
    let wish = match operation {
        control::STATUS => {
            let word = |offset| system.info(target, offset).map_or(0, |word| word.load(Ordering::Relaxed));
            let condition = u64::from(word(dynamic::START_CONDITION));
            frame.x[1] = machines.life.state() as u64;
            frame.x[2] = u64::from(machines.life.starts());
            frame.x[3] = u64::from(word(dynamic::MODE)) | condition << 32;
            return answer(frame, status::SUCCESS);
        }
        control::SHUTDOWN => {
            health::ask(local, system, target, bulkhead_abi::info::request::SHUTDOWN);
            return answer(frame, status::SUCCESS);
        }
        control::SUSPEND => Request::Suspend,
        control::RESUME => Request::Resume,
        control::HALT => Request::Halt,
        _ if !may_restart(record) => return answer(frame, status::NOT_RESTARTABLE),
        control::WARM_RESTART if record.flags & partition_flags::WARM == 0 => {
            return answer(frame, status::NO_PERSISTENT_REGION);
        }
        _ => {
            let own = target == local.partition;
            let condition = if own { start_condition::OWN_REQUEST } else { start_condition::AUTHORITY };
            Request::Restart { warm: operation == control::WARM_RESTART, condition }
        }
    };
    let done = request(local, system, target, wish);
    if done && operation == control::RESUME {
        health::arm(local, system, target);
    }
    answer(frame, if done { status::SUCCESS } else { status::NO_ACTION });
    u64::from(must_leave(local, system))
}
