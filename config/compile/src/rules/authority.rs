//! AUT: authorities that allow nothing, too much, or the wrong thing.

use super::cpu::is_shared;
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Authority, Partition, Right, System};
use std::collections::BTreeMap;

rule!(AUT_002, "AUT-002", Error, Check::System(allows_nothing),
    "An authority allows nothing.",
    why: "It looks like a grant and is none: mostly `allow` is missing or stands in the wrong node.",
    example: "authority { rtos { over = <&rtos>; }; };",
    fix: "add allow = \"status\"; or plans = <&plan>;, or remove the node");

rule!(AUT_003, "AUT-003", Warning, Check::System(over_itself),
    "A partition has authority over itself.",
    why: "It may restart and halt itself anyway; the node suggests that it could not.",
    example: "a { authority { self { over = <&a>; allow = \"restart\"; }; }; };",
    fix: "remove it");

rule!(AUT_004, "AUT-004", Warning, Check::System(two_masters),
    "Two partitions control one.",
    why: "One may restart what the other has just suspended; the order of their calls decides.",
    example: "a { authority { x { over = <&c>; allow = \"restart\"; }; }; }; b { authority { x { over = <&c>; allow = \"halt\"; }; }; };",
    fix: "let one of them control it, and the other ask through a port");

rule!(AUT_005, "AUT-005", Finding, Check::System(locked_out),
    "A partition may enter a plan in which it does not run itself.",
    why: "Once there it cannot ask for another: the way back must be somebody else's.",
    example: "b { authority { p { plans = <&maintenance>; }; }; }; /* no window of b in maintenance */",
    fix: "give it a window there, or say who leads back");

fn all(system: &System) -> impl Iterator<Item = (usize, &Partition, &Authority)> {
    system.partitions.iter().enumerate().flat_map(|(at, p)| p.authority.iter().map(move |a| (at, p, a)))
}

fn allows_nothing(system: &System, out: &mut Vec<Finding>) {
    let unread = |a: &Authority| ["allow", "plans"].iter().any(|word| system.doubts.about(a.span, word));
    let none = |a: &Authority| a.allow.is_empty() && a.plans.is_empty() && !unread(a);
    for (_, partition, authority) in all(system).filter(|(.., a)| none(a)) {
        let message = format!("authority {} of {} allows nothing", authority.name, partition.name.value);
        let finding = Finding::new(&AUT_002, message, authority.span, "this authority")
            .found("neither `allow` nor `plans`")
            .expected("allow = \"RIGHT\", ...; or plans = <&PLAN ...>;");
        out.push(finding);
    }
}

fn over_itself(system: &System, out: &mut Vec<Finding>) {
    for (holder, partition, authority) in all(system) {
        if let Some(own) = authority.over.iter().find(|o| o.value == holder) {
            let message = format!("{} has authority over itself", partition.name.value);
            let finding = Finding::new(&AUT_003, message, own.span, "itself")
                .also(partition.span, "the holder")
                .found(format!("{} in `over`", partition.name.value))
                .expected("other partitions");
            out.push(finding);
        }
    }
}

fn two_masters(system: &System, out: &mut Vec<Finding>) {
    let mut first: BTreeMap<usize, (usize, &Authority)> = BTreeMap::new();
    for (holder, partition, authority) in all(system) {
        let controls = authority
            .allow
            .iter()
            .any(|r| !matches!(r.value, Right::Status | Right::ReadHealth | Right::ReadTrace));
        for over in authority.over.iter().filter(|o| controls && o.value != holder) {
            match first.get(&over.value) {
                Some((other, held)) if *other != holder => {
                    let name = &system.partitions[over.value].name.value;
                    let (a, b) = (&system.partitions[*other].name.value, &partition.name.value);
                    let finding = Finding::new(
                        &AUT_004,
                        format!("{a} and {b} control {name}"),
                        authority.span,
                        b.clone(),
                    )
                    .also(held.span, a.clone())
                    .found("two who control it")
                    .expected("one");
                    out.push(finding);
                }
                Some(_) => {}
                None => drop(first.insert(over.value, (holder, authority))),
            }
        }
    }
}

fn locked_out(system: &System, out: &mut Vec<Finding>) {
    for (holder, partition, authority) in all(system) {
        let own = partition.vcpus.iter().any(|cpu| !is_shared(system, *cpu));
        for entered in authority.plans.iter().filter(|_| !own) {
            let plan = &system.plans[entered.value];
            let runs = plan.cpus.iter().any(|c| {
                let background = c.background.as_ref().is_some_and(|b| b.value == holder);
                background || c.windows.iter().any(|w| w.partition.value == holder)
            });
            if !runs {
                let message =
                    format!("{} may enter {} and never leave it", partition.name.value, plan.name.value);
                let finding = Finding::new(&AUT_005, message, authority.span, "this authority")
                    .also(plan.span, format!("no window of {}", partition.name.value))
                    .found("a plan in which the holder does not run")
                    .expected("plans with a window of the holder");
                out.push(finding);
            }
        }
    }
}
