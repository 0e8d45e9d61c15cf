//! Plans: schedules per CPU.

use super::Context;
use super::cursor::Cursor;
use crate::dts::{NodeIndex, ROOT};
use crate::model::{Clean, Plan, PlanCpu, PlanIndex, Window};
use crate::span::{Span, Spanned};

/// Reads `/plans`: the plans, the node, and `initial`.
pub fn read(
    context: &mut Context<'_>,
    nodes: &[NodeIndex],
) -> (Vec<Plan>, Option<Span>, Option<Spanned<PlanIndex>>) {
    let Some(node) = context.tree.child(ROOT, "plans") else {
        return (Vec::new(), None, None);
    };
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let initial = cursor.plans("initial").into_iter().next();
    cursor.named_children();
    cursor.finish();
    let plans = nodes.iter().map(|n| read_plan(context, *n)).collect();
    (plans, Some(span), initial)
}

fn read_plan(context: &mut Context<'_>, node: NodeIndex) -> Plan {
    let mut cursor = Cursor::new(context, node);
    let mut plan = Plan {
        span: cursor.span(),
        name: cursor.name(),
        id: cursor.need_number("id", 0),
        major_frame_ns: cursor.need_duration("major-frame"),
        immediate: cursor.flag("immediate"),
        cpus: Vec::new(),
        sound: false,
    };
    let children = cursor.named_children();
    cursor.finish();
    plan.cpus = children.into_iter().filter_map(|n| read_cpu(context, n)).collect();
    plan.sound = crate::timing::supply::is_sound(&plan);
    if plan.sound {
        for cpu in &mut plan.cpus {
            cpu.slots = crate::timing::simulate::windows(cpu, plan.major_frame_ns.value);
        }
    }
    plan
}

fn read_cpu(context: &mut Context<'_>, node: NodeIndex) -> Option<PlanCpu> {
    let mut cursor = Cursor::new(context, node);
    let span = cursor.span();
    let cpu = cursor.cpu("cpu");
    cursor.need(cpu.is_some(), "cpu", "cpu = <&cpuN>;");
    let background = cursor.partitions("background").into_iter().next();
    let children = cursor.named_children();
    cursor.finish();
    let windows = children.into_iter().filter_map(|n| read_window(context, n)).collect();
    Some(PlanCpu::new(span, cpu?, background, windows))
}

fn read_window(context: &mut Context<'_>, node: NodeIndex) -> Option<Window> {
    let mut cursor = Cursor::new(context, node);
    let partition = cursor.partitions("partition").into_iter().next();
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
