//! Who runs where and when.

use super::{Claim, Ledger};
use crate::ports::field;
use crate::system::{System, static_info, word};
use bulkhead_abi::info::{clock, fixed};
use bulkhead_blueprint::layout::{NONE, Plan, partition_flags, plan_flags, window_flags};
use bulkhead_blueprint::span;
use std::collections::BTreeMap;

pub static BINDING: Claim = Claim {
    id: "VFY-060",
    title: "each vCPU is bound to one CPU, no two of a partition share one, identities are unique, and affinity 0 of each \
            CPU's MPIDR is its number",
    method: "vCPU, slot, CPU and partition records compared with each other",
    check: binding,
};

/// VMIDs of 8 bits, as every CPU has them.
const VMID_MAX: u32 = 255;

fn binding(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    ledger.examined(blueprint.vcpus.len() as u64, "vCPUs");
    let mut next = 0;
    for part in &system.partitions {
        let record = part.record;
        ledger.same(&format!("first vCPU of {}", part.name), record.vcpu_first, next);
        next += record.vcpu_count;
        let own = span(blueprint.vcpus, record.vcpu_first, record.vcpu_count);
        for (number, vcpu) in (0u32..).zip(own) {
            ledger.same(
                &format!("partition of a vCPU of {}", part.name),
                vcpu.partition as usize,
                part.index,
            );
            ledger.same(&format!("number of a vCPU of {}", part.name), vcpu.index, number);
        }
        let mut cpus: Vec<u32> = own.iter().map(|v| v.cpu).collect();
        cpus.sort_unstable();
        if cpus.windows(2).any(|pair| pair[0] == pair[1]) {
            ledger.fail(format!("CPUs of {}", part.name), format!("{cpus:?}"), "a CPU for each vCPU");
        }
    }
    ledger.same("vCPUs of all partitions", next as usize, blueprint.vcpus.len());
    for (number, cpu) in (0u32..).zip(blueprint.cpus) {
        let bound = (0u32..).zip(blueprint.vcpus).filter(|(_, v)| v.cpu == number);
        let bound: Vec<u32> = bound.map(|(vcpu, _)| vcpu).collect();
        let slots = span(blueprint.slots, cpu.slot_first, cpu.slot_count);
        if slots != bound {
            ledger.fail(format!("vCPUs of CPU {number}"), format!("{slots:?}"), format!("{bound:?}"));
        }
    }
    let mpidrs: Vec<u64> = blueprint.cpus.iter().map(|c| c.mpidr).collect();
    if mpidrs.windows(2).any(|pair| pair[0] >= pair[1]) {
        ledger.fail("MPIDRs", format!("{mpidrs:x?}"), "ascending");
    }
    // A CPU finds its stack and its state by affinity 0 of its own MPIDR.
    for (number, mpidr) in (0u64..).zip(&mpidrs).filter(|(number, mpidr)| *mpidr & 0xff != *number) {
        ledger.fail(
            format!("MPIDR of CPU {number}"),
            format!("{mpidr:#x}"),
            format!("affinity 0 of {number}"),
        );
    }
    let of = |field: fn(&bulkhead_blueprint::layout::Partition) -> u32| {
        let mut list: Vec<u32> = blueprint.partitions.iter().map(field).collect();
        list.sort_unstable();
        list
    };
    for (what, list) in [("VMIDs", of(|p| p.vmid)), ("identifiers", of(|p| p.id))] {
        if list.windows(2).any(|pair| pair[0] == pair[1]) || list.first() == Some(&0) {
            ledger.fail(what, format!("{list:?}"), "each its own, none 0");
        }
    }
    for vmid in blueprint.partitions.iter().map(|p| p.vmid).filter(|v| *v > VMID_MAX) {
        ledger.fail("VMID", vmid, format!("at most {VMID_MAX}"));
    }
}

pub static WINDOWS: Claim = Claim {
    id: "VFY-061",
    title: "windows of a CPU lie in order, apart, inside the major frame, are longer than the guard, and run vCPUs of \
            that CPU; a CPU has windows or background time in a plan only if it has some initially; a major frame holds four \
            guards",
    method: "every window of every CPU of every plan; flags and frames of plans",
    check: windows,
};

fn windows(system: &System<'_>, ledger: &mut Ledger) {
    let blueprint = &system.view.blueprint;
    let shared = |cpu: usize| blueprint.cpus[cpu].slot_count > 1;
    let any_shared = (0..blueprint.cpus.len()).any(shared);
    let initial = blueprint.header.initial_plan;
    if any_shared && initial == NONE {
        ledger.fail("initial plan", "none", "a plan, since CPUs are shared");
    }
    let guard = blueprint.cpus.iter().map(|cpu| cpu.guard_ticks).max().unwrap_or(0);
    ledger.same("longest guard of a CPU, ticks", blueprint.header.window_guard_ticks, guard);
    let mut seen: Vec<bool> = vec![false; blueprint.vcpus.len()];
    let mut ids: Vec<u32> = blueprint.plans.iter().map(|p| p.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        ledger.fail("identifiers of plans", format!("{ids:?}"), "each its own");
    }
    let claimed: u64 = blueprint.plan_cpus.iter().map(|cpu| u64::from(cpu.window_count)).sum();
    if claimed > blueprint.windows.len() as u64 {
        return ledger.fail(
            "windows that CPUs have in plans",
            claimed,
            format!("the {}", blueprint.windows.len()),
        );
    }
    for plan in blueprint.plans {
        frame(system, plan, ledger);
        let cpus = span(blueprint.plan_cpus, plan.cpu_first, blueprint.cpus.len() as u32);
        for (number, cpu) in cpus.iter().enumerate() {
            let list = span(blueprint.windows, cpu.window_first, cpu.window_count);
            let has_time = !list.is_empty() || cpu.background != NONE;
            // EL2 gives a CPU a timeline if the initial plan has something for it, and else to its only vCPU for good.
            if has_time && !planned(system, number) {
                let what = format!("time of CPU {number} in plan {}", plan.id);
                ledger.fail(what, "windows or background time", "none: the initial plan gives it none");
            }
            if cpu.background != NONE {
                seen[cpu.background as usize] = true;
                let bound = blueprint.vcpus[cpu.background as usize].cpu as usize;
                ledger.same("CPU of a background vCPU", bound, number);
            }
            one_cpu(system, plan, number, list, ledger);
            list.iter().for_each(|w| seen[w.vcpu as usize] = true);
        }
    }
    for (vcpu, record) in blueprint.vcpus.iter().enumerate() {
        if shared(record.cpu as usize) && !seen[vcpu] {
            let message = format!("vCPU {} of {}", record.index, system.name(record.partition as usize));
            ledger.fail(message, "no window in any plan", "a window or background time");
        }
    }
}

/// Whether the initial plan gives a CPU windows or background time.
fn planned(system: &System<'_>, cpu: usize) -> bool {
    let blueprint = &system.view.blueprint;
    let plan = blueprint.plans.get(blueprint.header.initial_plan as usize);
    let own = plan.and_then(|plan| blueprint.plan_cpus.get(plan.cpu_first as usize + cpu));
    own.is_some_and(|own| own.window_count != 0 || own.background != NONE)
}

/// A plan as a whole: EL2 asks for a switch two guards ahead, and a frame holds at least two of these.
fn frame(system: &System<'_>, plan: &Plan, ledger: &mut Ledger) {
    let guard = system.view.header().window_guard_ticks;
    let least = (4 * u64::from(guard)).max(1);
    if plan.frame_ticks < least {
        let expected = format!("at least {least} ticks, four guards");
        ledger.fail(
            format!("major frame of plan {}", plan.id),
            format!("{} ticks", plan.frame_ticks),
            expected,
        );
    }
    let unknown = plan.flags & !plan_flags::IMMEDIATE;
    ledger.same(&format!("flags of plan {} that nobody knows", plan.id), unknown, 0);
}

fn one_cpu(
    system: &System<'_>,
    plan: &Plan,
    number: usize,
    list: &[bulkhead_blueprint::layout::Window],
    ledger: &mut Ledger,
) {
    let record = &system.view.blueprint.cpus[number];
    // The next start of each vCPU, from the back; the first one's comes again in the next frame.
    let mut starts: BTreeMap<u32, u64> = BTreeMap::new();
    for window in list.iter().rev() {
        starts.insert(window.vcpu, window.start_ticks.saturating_add(plan.frame_ticks));
    }
    for window in list.iter().rev() {
        let what = format!("next start in a window of plan {} on CPU {number}", plan.id);
        let expected = starts.insert(window.vcpu, window.start_ticks).unwrap_or_default();
        ledger.same(&what, window.next_ticks, expected);
    }
    let mut at = 0;
    for window in list {
        ledger.examined(1, "windows");
        let what = format!("a window of plan {} on CPU {number}", plan.id);
        let found = format!("{}..{} ticks", window.start_ticks, window.end_ticks);
        if window.start_ticks < at || window.end_ticks <= window.start_ticks {
            ledger.fail(what.clone(), found.clone(), format!("from tick {at} on, not empty"));
        }
        if window.end_ticks > plan.frame_ticks {
            ledger.fail(what.clone(), found, format!("up to the frame's end at {}", plan.frame_ticks));
        }
        at = window.end_ticks;
        let (length, guard) = (window.end_ticks.saturating_sub(window.start_ticks), record.guard_ticks);
        let unknown = window.flags & !(window_flags::CLEAN_L1 | window_flags::CLEAN_PREDICTOR);
        ledger.same(&format!("flags that nobody knows of {what}"), unknown, 0);
        if guard == 0 || length <= u64::from(guard) {
            ledger.fail(
                what.clone(),
                format!("{length} ticks"),
                format!("more than its CPU's guard of {guard} ticks, which is not 0"),
            );
        }
        let cpu = system.view.blueprint.vcpus[window.vcpu as usize].cpu as usize;
        ledger.same(&format!("CPU of {what}"), cpu, number);
    }
}

pub static CLOCKS: Claim = Claim {
    id: "VFY-062",
    title: "CNTVCT counts execution time only for partitions with one vCPU and no stolen time, and each information \
            page says what it counts",
    method: "flags of every partition compared with its vCPUs and its page",
    check: clocks,
};

fn clocks(system: &System<'_>, ledger: &mut Ledger) {
    for part in &system.partitions {
        ledger.examined(1, "partitions");
        let record = part.record;
        let executes = record.flags & partition_flags::EXECUTION_CLOCK != 0;
        if executes && record.vcpu_count != 1 {
            let message = format!("{} has an execution clock", part.name);
            ledger.fail(message, format!("{} vCPUs", record.vcpu_count), "one vCPU");
        }
        if executes && record.flags & partition_flags::PV_TIME != 0 {
            let message = format!("{} has an execution clock", part.name);
            ledger.fail(message, "stolen time beside it", "one of the two");
        }
        let info = static_info(system.view, record, &part.run.mapped);
        let told = info.and_then(|info| word(info, field(fixed::CLOCK))).unwrap_or(u32::MAX);
        let expected = if executes { clock::EXECUTION } else { clock::SYSTEM };
        ledger.same(&format!("what CNTVCT counts, in the page of {}", part.name), told, expected);
    }
}
