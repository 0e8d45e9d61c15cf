//! Rows of the RTOS (`tests/configs/bench-rtos.dts`): left alone with its 1 kHz loop, and restarted.

use std::collections::BTreeMap;

use super::derived::row;
use super::measure::Run;
use super::meter::{Histogram, Kind};
use super::table::Row;

/// The phase in which it is left alone, and for how many seconds of its counter.
const IDLE: (u8, u64) = (83, 10);
/// The phases in which it is restarted, one each.
pub const RESTARTS: std::ops::RangeInclusive<u8> = 84..=91;
/// The CPU of the partition that asks for the restart.
const ASKER: usize = 1;
/// The RTOS's.
const OWN: usize = 2;

/// Visits to EL2 in a second, all and by cause; `what` names the system, `phase` lasted `seconds`.
pub fn visits(id: &str, what: &str, causes: &BTreeMap<Kind, u64>, seconds: u64) -> Vec<Row> {
    let rate = |count: u64| Some(Histogram::one(count.div_ceil(seconds)));
    let all = causes.values().sum();
    let mut rows = vec![row(id, &format!("{what}: visits to EL2 in a second"), None, rate(all))];
    for (kind, name, title) in [
        (Kind::Call, "calls", "calls"),
        (Kind::Access, "accesses", "trapped accesses"),
        (Kind::Interrupt, "interrupts", "interrupts"),
        (Kind::AfterSleep, "sleeps", "ends of EL2's own sleep"),
        (Kind::Other, "other", "others"),
    ] {
        if let Some(&count) = causes.get(&kind) {
            rows.push(row(&format!("{id}-{name}"), &format!("... of these {title}"), None, rate(count)));
        }
    }
    rows
}

/// All rows of the run.
pub fn rows(run: &Run) -> Vec<Row> {
    let metered = &run.metered;
    let (phase, seconds) = IDLE;
    let mut rows =
        visits("rtos-visits", "idle RTOS (1 kHz)", &metered.causes(phase, |cpu| cpu == OWN), seconds);
    let each = |figure: &dyn Fn(u8) -> u64| Histogram::of(RESTARTS.map(|phase| (figure(phase), 1)));
    let is_theirs = |cpu| [ASKER, OWN].contains(&cpu);
    let slices = metered.visits.iter().filter(|v| RESTARTS.contains(&v.phase) && v.cpu == OWN);
    rows.extend([
        row(
            "restart-el2",
            "restart of the RTOS, call to first instruction, EL2",
            Some(200_000),
            each(&|phase| metered.total(phase, is_theirs)),
        ),
        row(
            "restart-slice",
            "restart: a visit on the RTOS's CPU, or a piece of one",
            Some(1000),
            Histogram::of(slices.map(|visit| (visit.length, visit.count))),
        ),
        row(
            "restart-load",
            "restart: copy, digests, scrubbing, loader at EL1",
            None,
            each(&|phase| metered.guests.get(&phase).map_or(0, |(_, loader)| *loader)),
        ),
    ]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::Metered;

    #[test]
    fn restarts_are_summed_over_both_cpus_and_slices_are_not() {
        let visits = "visit 83 2 1 9 0 0 90 0 0 0 20010\nvisit 84 1 2 8 16 0 300 0 0 0 1\nvisit 84 2 1 9 0 0 700 0 0 1 1\n\
                      visit 84 0 0 16 0 0 5000 0 0 0 1\nvisit 85 1 2 8 16 0 300 0 0 0 1\nguest 84 40 900\n";
        let run = Run { metered: Metered::parse(visits).unwrap(), ..Run::default() };
        let rows = rows(&run);
        let max = |id: &str| rows.iter().find(|row| row.id == id).unwrap().spread().unwrap().max;
        assert_eq!((max("rtos-visits"), max("rtos-visits-interrupts")), (2001, 2001));
        assert_eq!((max("restart-el2"), max("restart-slice"), max("restart-load")), (1000, 700, 900));
    }
}
