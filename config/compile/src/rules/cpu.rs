//! CPU: processors and who runs on them.

use super::port::{describe, is_lower};
use super::{Check, rule};
use crate::board::{Board, BootMethod, Cpu};
use crate::diag::Finding;
use crate::model::{ConsoleKind, CpuIndex, System};
use std::collections::BTreeMap;

rule!(CPU_001, "CPU-001", Error, Check::System(given_twice),
    "A CPU belongs to two partitions and no plan shares it.",
    why: "Without a plan nothing says when either of them runs.",
    example: "a { cpus = <&cpus 0x4 0x1>; }; b { cpus = <&cpus 0x4 0x1>; };",
    fix: "give one of them another CPU, or share this one in /plans");

rule!(CPU_002, "CPU-002", Error, Check::System(cannot_start),
    "A CPU of the mask does not exist on the board or cannot be started, or the mask is empty.",
    why: "A vCPU without a CPU never runs; a CPU without an enable-method stays in the firmware.",
    example: "a { cpus = <&cpus 0x10 0x1>; }; /* CPU 4 of a board with four */",
    fix: "use CPUs that the board has");

rule!(CPU_003, "CPU-003", Error, Check::System(never_runs),
    "A vCPU on a shared CPU has no window in any plan: it never runs.",
    why: "The partition would wait for that vCPU for ever, for example Linux when it brings up its CPUs.",
    example: "a { cpus = <&cpus 0xc 0x1>; }; /* and no plan gives `a` a window on CPU 3 */",
    fix: "add a window, make it the background partition there, or take the CPU out of the mask");

rule!(CPU_004, "CPU-004", Error, Check::System(affinity),
    "Two CPUs of the board have one affinity, or an affinity has bits that MPIDR does not.",
    why: "CPU_ON and interrupt routing name a CPU by its affinity: one of the two would be started twice, the other never.",
    example: "cpu@0 { reg = <0x0>; }; cpu@1 { reg = <0x0>; };",
    fix: "mend `reg` in the board's tree: Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0");

rule!(CPU_005, "CPU-005", Warning, Check::System(unlike),
    "vCPUs of one partition run on CPUs of different types.",
    why: "A guest that learned features, caches and errata on one core finds others on the next.",
    example: "a { cpus = <&cpus 0x11 0x1>; }; /* Cortex-A53 and Cortex-A72 */",
    fix: "give the partition CPUs of one type");

rule!(CPU_006, "CPU-006", Warning, Check::System(pays_for_output),
    "The console is drained at the cost of a partition that is more critical than one that prints.",
    why: "Every byte that the lower one prints takes time from the CPU of the higher one; it is bounded, and it is there.",
    example: "hypervisor { console-cpu = <&cpu2>; }; /* CPU 2 is the control loop's, and Linux prints */",
    fix: "let a CPU of the least critical partition drain the console");

rule!(CPU_007, "CPU-007", Error, Check::System(own_clock),
    "A partition whose CNTVCT counts execution time has more than one vCPU, or is offered stolen time.",
    why: "Each vCPU's counter would stand still at times of its own, and a guest compares them; stolen time would be subtracted from a counter that has not counted it.",
    example: "a { cpus = <&cpus 0x6 0x1>; bulkhead,clock = \"execution\"; };",
    fix: "give the partition one CPU and no bulkhead,pv-time, or bulkhead,clock = \"system\": the information page tells execution time all the same");

/// Whether some plan schedules the CPU.
pub fn is_shared(system: &System, cpu: CpuIndex) -> bool {
    system.plans.iter().flat_map(|p| &p.cpus).any(|c| c.cpu.value == cpu)
}

fn given_twice(system: &System, out: &mut Vec<Finding>) {
    for (index, cpu) in system.board.cpus.iter().enumerate().filter(|(i, _)| !is_shared(system, *i)) {
        let mut owners = system.partitions.iter().filter(|p| p.vcpus.contains(&index));
        let Some(first) = owners.next() else { continue };
        for second in owners {
            let (a, b) = (&first.name.value, &second.name.value);
            let finding = Finding::new(
                &CPU_001,
                format!("{} belongs to {a} and {b}", cpu.name),
                second.vcpus.span,
                format!("{b} has it"),
            )
            .also(first.vcpus.span, format!("{a} has it"))
            .found(format!("{} in both masks and in no plan", cpu.name))
            .expected("one owner, or a plan that shares it");
            out.push(finding);
        }
    }
}

fn cannot_start(system: &System, out: &mut Vec<Finding>) {
    let board = &system.board;
    let count = board.cpus.len();
    for partition in &system.partitions {
        let (name, mask) = (&partition.name.value, partition.cpu_mask);
        let refuse = |message: String| Finding::new(&CPU_002, message, partition.vcpus.span, "this mask");
        for bit in (0..32).filter(|b| mask & (1 << b) != 0 && *b as usize >= count) {
            out.push(
                refuse(format!("{name} wants CPU {bit}, which the board does not have"))
                    .also(board.span, format!("the board has {count} CPUs"))
                    .found(format!("bit {bit} of mask {mask:#x}"))
                    .expected(format!("CPUs 0 to {}", count.saturating_sub(1))),
            );
        }
        if mask == 0 && !system.doubts.about(partition.span, "cpus") {
            out.push(refuse(format!("{name} has no CPU")).found("mask 0").expected("at least one CPU"));
        }
        // The boot CPU needs no method: it runs already.
        for cpu in partition.vcpus.iter().filter(|c| **c != 0).map(|c| &board.cpus[*c]) {
            if let Some((found, expected)) = start_problem(board, cpu) {
                out.push(
                    refuse(format!("{} of {name} cannot be started", cpu.name))
                        .also(cpu.span, "this CPU")
                        .found(found)
                        .expected(expected),
                );
            }
        }
    }
}

/// What was found and expected if the board's boot method cannot start the CPU.
fn start_problem(board: &Board, cpu: &Cpu) -> Option<(String, String)> {
    let method = board.facts.cpu_boot.enable_method();
    let release = board.facts.cpu_boot != BootMethod::SpinTable || cpu.release_addr.is_some();
    let given = cpu.enable_method.as_deref().unwrap_or("absent");
    let expected = format!("enable-method \"{method}\", as board {} starts its CPUs", board.facts.name);
    if given != method {
        Some((format!("enable-method {given}"), expected))
    } else if !release {
        Some(("no cpu-release-addr".to_owned(), expected))
    } else {
        None
    }
}

fn own_clock(system: &System, out: &mut Vec<Finding>) {
    for partition in system.partitions.iter().filter(|p| p.counts_execution()) {
        let name = &partition.name.value;
        let refuse =
            |message: String| Finding::new(&CPU_007, message, partition.clock.span, "asked for here");
        let count = partition.vcpus.len();
        if count > 1 {
            let finding = refuse(format!("{count} vCPUs of {name} would each have a time of its own"));
            out.push(
                finding
                    .also(partition.vcpus.span, "its CPUs")
                    .found(format!("{count} vCPUs"))
                    .expected("one vCPU"),
            );
        }
        if let Some(span) = partition.pv_time {
            let finding = refuse(format!("nothing is stolen from the counter of {name}"));
            out.push(
                finding
                    .also(span, "stolen time")
                    .found("bulkhead,pv-time beside it")
                    .expected("one of the two"),
            );
        }
    }
}

fn never_runs(system: &System, out: &mut Vec<Finding>) {
    if system.plans.iter().any(|p| p.doubtful) {
        return;
    }
    for (index, partition) in system.partitions.iter().enumerate() {
        for (vcpu, cpu) in partition.vcpus.iter().enumerate().filter(|(_, c)| is_shared(system, **c)) {
            let mut schedules = system.plans.iter().flat_map(|p| &p.cpus).filter(|c| c.cpu.value == *cpu);
            let runs = schedules.any(|s| {
                let background = s.background.as_ref().is_some_and(|b| b.value == index);
                background || s.windows_of(index).next().is_some()
            });
            if !runs {
                let (name, cpu_name) = (&partition.name.value, &system.board.cpus[*cpu].name);
                let finding = Finding::new(
                    &CPU_003,
                    format!("vCPU {vcpu} of {name} never runs"),
                    partition.vcpus.span,
                    format!("{cpu_name} is in this mask"),
                )
                .also(
                    system.plans_span.unwrap_or(partition.span),
                    format!("no plan has a window of {name} on {cpu_name}"),
                )
                .found(format!("no window on {cpu_name} in {} plans", system.plans.len()))
                .expected("a window in at least one plan");
                out.push(finding);
            }
        }
    }
}

/// Affinity fields of MPIDR_EL1 (Arm ARM D24.2.120).
const AFFINITY: u64 = 0xff_00ff_ffff;

fn affinity(system: &System, out: &mut Vec<Finding>) {
    let mut seen: BTreeMap<u64, crate::span::Span> = BTreeMap::new();
    for cpu in &system.board.cpus {
        if cpu.mpidr & !AFFINITY != 0 {
            let message = format!("{} has an impossible affinity", cpu.name);
            let finding = Finding::new(&CPU_004, message, cpu.span, format!("reg {:#x}", cpu.mpidr))
                .found(format!("{:#x}", cpu.mpidr))
                .expected("bits 39:32 and 23:0 alone");
            out.push(finding);
        }
        if let Some(first) = seen.insert(cpu.mpidr, cpu.span) {
            let message = format!("two CPUs have affinity {:#x}", cpu.mpidr);
            let finding = Finding::new(&CPU_004, message, cpu.span, "second")
                .also(first, "first")
                .found(format!("reg {:#x} twice", cpu.mpidr))
                .expected("an affinity of its own for each CPU");
            out.push(finding);
        }
    }
}

fn unlike(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let cpus: Vec<&Cpu> = partition.vcpus.iter().map(|c| &system.board.cpus[*c]).collect();
        let Some((first, other)) =
            cpus.first().and_then(|f| Some((f, cpus.iter().find(|c| c.compatible != f.compatible)?)))
        else {
            continue;
        };
        let message = format!("{} runs on CPUs of different types", partition.name.value);
        let finding = Finding::new(&CPU_005, message, partition.vcpus.span, "these CPUs")
            .also(first.span, first.compatible.clone())
            .also(other.span, other.compatible.clone())
            .found(format!("{} and {}", first.compatible, other.compatible))
            .expected("CPUs of one type");
        out.push(finding);
    }
}

fn pays_for_output(system: &System, out: &mut Vec<Finding>) {
    let cpu = &system.hypervisor.console_cpu;
    let list = || system.partitions.iter().enumerate();
    let prints = list().filter(|(_, p)| *p.console != ConsoleKind::None);
    let prints: Vec<usize> = prints.map(|(at, _)| at).collect();
    for (payer, _) in list().filter(|(_, p)| p.vcpus.contains(&cpu.value)) {
        let others = prints.iter().copied().filter(|at| *at != payer);
        let lower: Vec<usize> = others.filter(|at| is_lower(system, *at, payer)).collect();
        if let Some(first) = lower.first() {
            let names: Vec<String> = lower.iter().map(|p| describe(system, *p)).collect();
            let message = format!("{} pays for the output of others", system.partitions[payer].name.value);
            let finding = Finding::new(&CPU_006, message, cpu.span, "drains the console")
                .also(system.partitions[payer].vcpus.span, describe(system, payer))
                .also(system.partitions[*first].console.span, describe(system, *first))
                .found(names.join(", "))
                .expected("a CPU of a partition that is at most as critical as those that print");
            out.push(finding);
        }
    }
}
