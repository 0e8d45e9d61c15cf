//! How a statement stands in one configuration: whether it arises at all, what stays open, what shows it.

use crate::model::TestResult;
use crate::sections::Source;
use crate::trace::Shown;
use bulkhead_compile::model::{Clean, ConsoleKind, DeviceIndex, Partition, System};

/// What the description of a channel begins with that nothing stands against.
const UNMITIGATED: &str = "none:";

/// CPUs on which several partitions run.
pub fn shared_cpus(system: &System) -> Vec<usize> {
    let users = |cpu: &usize| system.partitions.iter().filter(|p| p.vcpus.value.contains(cpu)).count();
    (0..system.board.cpus.len()).filter(|c| users(c) > 1).collect()
}

/// Bus masters with the partitions that have them. This version programs no IOMMU: nothing confines what they write.
pub fn masters(system: &System) -> Vec<(&Partition, DeviceIndex)> {
    let all = system.partitions.iter().flat_map(|p| p.access.iter().map(move |a| (p, a.value)));
    all.filter(|(_, d)| system.devices[*d].bus_master).collect()
}

/// Windows before which something is cleaned, and all windows.
pub fn cleaned(system: &System, what: impl Fn(Clean) -> bool) -> (usize, usize) {
    let windows = || system.plans.iter().flat_map(|p| &p.cpus).flat_map(|c| &c.windows);
    (windows().filter(|w| w.clean.iter().any(|c| what(c.value))).count(), windows().count())
}

/// Why there is nothing here that a statement could be about; `None` if there is.
fn absent(system: &System, id: &str) -> Option<&'static str> {
    let why = |gone: bool, why| gone.then_some(why);
    match id {
        "CH-1" | "CH-4" | "CH-5" => why(shared_cpus(system).is_empty(), "no CPU is shared"),
        "CH-8" => {
            let silent = system.partitions.iter().all(|p| p.console.value == ConsoleKind::None);
            why(silent, "no partition has a console")
        }
        "CH-9" => why(masters(system).is_empty(), "no bus master is granted"),
        "CH-10" => why(system.ports.iter().all(|p| p.doorbell.is_none()), "no port has a doorbell"),
        "CH-11" => {
            let none = system.partitions.iter().all(|p| p.direct_interrupts.is_none());
            why(none, "no partition has direct interrupts")
        }
        "CH-2" | "CH-3" | "CH-12" => why(system.partitions.len() < 2, "there is one partition alone"),
        "REQ-TIM-2" => why(
            system.partitions.iter().all(|p| p.timing.is_none()),
            "no partition states a timing requirement",
        ),
        "REQ-TIM-3" | "D.2.2-5" => why(system.plans.is_empty(), "there is no plan"),
        "REQ-COM-1" | "REQ-COM-2" => why(system.ports.is_empty(), "there is no port"),
        _ if id.starts_with("D.2.4-") => {
            let silent = system.ports.is_empty() && system.segments.iter().all(|s| s.writer.is_none());
            why(silent, "partitions exchange nothing")
        }
        _ => None,
    }
}

/// What is open here although the mechanism exists.
fn open(system: &System, shown: &Shown) -> Option<String> {
    let of = |(clean, all): (usize, usize), what: &str| {
        (clean < all).then(|| format!("open: {what} before {clean} of {all} windows"))
    };
    match shown.id {
        "CH-1" => of(cleaned(system, |c| c == Clean::L1Cache), "L1 is cleaned"),
        "CH-4" => of(cleaned(system, |c| c == Clean::BranchPredictor), "the predictor is cleared"),
        "CH-9" => Some(format!("open: {} without an IOMMU", masters(system).len())),
        _ if shown.how.starts_with(UNMITIGATED) => Some("open: no mitigation".to_owned()),
        _ => None,
    }
}

/// What a system test gave with the EL2 that is certified.
fn tested(source: &Source<'_>, case: &str) -> Option<bool> {
    let mine = |r: &&TestResult| r.case == case && r.el2_sha256 == source.el2_sha256;
    let results: Vec<bool> = source.tests.iter().filter(mine).map(|r| r.passed).collect();
    (!results.is_empty()).then(|| results.iter().all(|passed| *passed))
}

/// Each system test of a statement with its result; the bare name where none was given.
pub fn tests(source: &Source<'_>, shown: &Shown) -> String {
    let one = |case: &&str| {
        let foreign = || source.tests.iter().any(|r| r.case == *case);
        match tested(source, case) {
            Some(true) => format!("{case}: passed"),
            Some(false) => format!("{case}: FAILED"),
            None if foreign() => format!("{case}: result of another EL2"),
            None => format!("{case}: no result"),
        }
    };
    if shown.tests.is_empty() {
        return "-".to_owned();
    }
    shown.tests.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether everything that shows a statement holds here: no rule is broken, every claim was made and holds, every system
/// test passed with this EL2.
pub fn result(source: &Source<'_>, shown: &Shown) -> String {
    let system = source.system;
    if let Some(why) = absent(system, shown.id) {
        return format!("does not arise: {why}");
    }
    let of = |id: &&str| source.rules.iter().find(|r| r.id == *id).map_or("missing", |r| r.result);
    let rules: Vec<&str> = shown.rules.iter().map(of).collect();
    let claims = shown.claims.iter().all(|id| source.claims.iter().any(|c| c.id == *id && c.holds));
    let tests: Vec<Option<bool>> = shown.tests.iter().map(|case| tested(source, case)).collect();
    if !claims || rules.iter().any(|r| matches!(*r, "fails" | "missing")) || tests.contains(&Some(false)) {
        return "not shown".to_owned();
    }
    if let Some(open) = open(system, shown) {
        return open;
    }
    let how = if tests.contains(&None) { "shown by rules and verifier, not by test" } else { "shown" };
    let tail = if rules.contains(&"accepted") { "; findings are accepted" } else { "" };
    format!("{how}{tail}")
}

/// What stays open of a statement, as far as this configuration has it.
pub fn residual(source: &Source<'_>, shown: &Shown) -> String {
    let system = source.system;
    let accepted = |rule: &str| source.rules.iter().any(|r| r.id == rule && r.result != "holds");
    let keep = |keep: bool| if keep { shown.residual.to_owned() } else { "none".to_owned() };
    if absent(system, shown.id).is_some() {
        return "none".to_owned();
    }
    match shown.id {
        "REQ-SPA-1" | "D.2.3-4" => keep(!masters(system).is_empty()),
        "D.2.3-1" if masters(system).is_empty() => "bit errors without ECC".to_owned(),
        "REQ-SPA-3" => keep(accepted("DEV-004")),
        "REQ-SPA-4" => keep(
            source.report.partitions.iter().any(|p| p.run.iter().any(|m| m.access.write && m.access.execute)),
        ),
        "REQ-SPA-5" => {
            keep(system.partitions.iter().any(|p| p.regions.iter().any(|r| r.keep_over.is_some())))
        }
        "REQ-IRQ-1" => keep(accepted("IRQ-004")),
        "REQ-TIM-2" => keep(accepted("TMP-007")),
        "REQ-COM-2" | "D.2.4-3" => {
            let (ages, latencies) = (&source.timing.ages, &source.timing.latencies);
            let list = ages.iter().chain(latencies).filter(|p| p.limit_ns.is_none());
            let list: Vec<String> = list.map(|p| format!("{} at {}", p.port, p.reader)).collect();
            if list.is_empty() {
                "none".to_owned()
            } else {
                format!("no limit is stated: {}", list.join(", "))
            }
        }
        "REQ-AUT-1" => keep(accepted("AUT-001")),
        "CH-14" => keep(accepted("DEV-004")),
        _ => shown.residual.to_owned(),
    }
}
