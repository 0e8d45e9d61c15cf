//! CPU: processors and who runs on them.

use super::{Check, rule};
use crate::board::{Board, BootMethod, Cpu};
use crate::diag::Finding;
use crate::model::{CpuIndex, System};

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
        if mask == 0 {
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

fn never_runs(system: &System, out: &mut Vec<Finding>) {
    for (index, partition) in system.partitions.iter().enumerate() {
        for (vcpu, cpu) in partition.vcpus.iter().enumerate().filter(|(_, c)| is_shared(system, **c)) {
            let mut schedules = system.plans.iter().flat_map(|p| &p.cpus).filter(|c| c.cpu.value == *cpu);
            let runs = schedules.any(|s| {
                let background = s.background.as_ref().is_some_and(|b| b.value == index);
                background || s.windows.iter().any(|w| w.partition.value == index)
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
