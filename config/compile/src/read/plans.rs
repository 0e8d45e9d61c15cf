//! Plans: schedules per CPU.

use super::Context;
use super::cursor::Cursor;
use crate::dts::NodeIndex;
use crate::model::{Clean, Partition, Plan, PlanCpu, PlanIndex, Window};
use crate::span::{Span, Spanned};

/// Reads `/plans`: the plans, the node, and `initial`.
pub fn read(
    context: &mut Context<'_>,
    nodes: &[NodeIndex],
    partitions: &[Partition],
) -> (Vec<Plan>, Option<Span>, Option<Spanned<PlanIndex>>) {
    let Some(node) = context.top("plans") else {
        return (Vec::new(), None, None);
    };
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let initial = cursor.plan("initial");
    cursor.named_children();
    cursor.finish();
    let plans = nodes.iter().map(|n| read_plan(context, *n, partitions)).collect();
    (plans, Some(span), initial)
}

fn read_plan(context: &mut Context<'_>, node: NodeIndex, partitions: &[Partition]) -> Plan {
    let doubts = context.doubts.count();
    let mut cursor = Cursor::new(context, node);
    let mut plan = Plan {
        span: cursor.span(),
        name: cursor.name(),
        id: cursor.need_number("id", 0),
        major_frame_ns: cursor.need_duration("major-frame"),
        immediate: cursor.flag("immediate"),
        cpus: Vec::new(),
        doubtful: false,
        sound: false,
    };
    let children = cursor.named_children();
    cursor.finish();
    plan.cpus = children.into_iter().filter_map(|n| read_cpu(context, n)).collect();
    plan.doubtful = context.doubts.count() != doubts || !fits(&plan, partitions);
    plan.sound = !plan.doubtful && crate::timing::supply::is_sound(&plan);
    if plan.sound {
        for cpu in &mut plan.cpus {
            cpu.slots = crate::timing::simulate::windows(cpu, plan.major_frame_ns.value);
        }
    }
    plan
}

/// Whether every window can be run where it stands, and each CPU has one schedule.
fn fits(plan: &Plan, partitions: &[Partition]) -> bool {
    let twice = |(at, cpu): (usize, &PlanCpu)| plan.cpus[..at].iter().any(|c| *c.cpu == *cpu.cpu);
    let named = |cpu: &PlanCpu| {
        let windows = cpu.windows.iter().map(|w| &w.partition);
        windows.chain(&cpu.background).all(|p| partitions[p.value].vcpu_on(cpu.cpu.value).is_some())
    };
    plan.cpus.iter().all(named) && !plan.cpus.iter().enumerate().any(twice)
}

fn read_cpu(context: &mut Context<'_>, node: NodeIndex) -> Option<PlanCpu> {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let cpu = cursor.cpu("cpu");
    cursor.need(cpu.is_some(), "cpu", "cpu = <&cpuN>;");
    let background = cursor.partition("background");
    let children = cursor.named_children();
    cursor.finish();
    let windows = children.into_iter().filter_map(|n| read_window(context, n)).collect();
    Some(PlanCpu::new(span, cpu?, background, windows))
}

fn read_window(context: &mut Context<'_>, node: NodeIndex) -> Option<Window> {
    let mut cursor = Cursor::new(context, node);
    let partition = cursor.partition("partition");
    cursor.need(partition.is_some(), "partition", "partition = <&PARTITION>;");
    let window = Window {
        span: cursor.span(),
        name: cursor.name().value,
        start_ns: cursor.need_instant("start"),
        duration_ns: cursor.need_duration("duration"),
        clean: cursor.words("clean", &["branch-predictor", "l1-cache"], |w| match w {
            "branch-predictor" => Some(Clean::BranchPredictor),
            "l1-cache" => Some(Clean::L1Cache),
            _ => None,
        }),
        partition: partition?,
    };
    cursor.finish();
    Some(window)
}
