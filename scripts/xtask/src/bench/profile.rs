//! Where the instructions of a row go: a column or more for each function of EL2.

use std::fmt::Write;

use super::derived::SHARED;
use super::measure::Run;
use super::meter::{LONGEST_STAY, LONGEST_SWITCH, SHORTEST_SWITCH, SWITCHES};
use super::rtos::RESTARTS;

/// Of one row of the measuring partition: all that ran meanwhile, on all CPUs; none if it has no such row.
pub fn row(run: &Run, row: &str) -> Option<String> {
    let (number, _) = run.rows.get(row)?;
    Some(phase(run, &format!("EL2 while `{row}` was measured"), *number))
}

/// Of the partition switch.
pub fn switch(run: &Run) -> String {
    let count = run.metered.switches(SHARED).map(|(_, count)| count).sum::<u64>().max(1);
    let phases = [SWITCHES, SHORTEST_SWITCH, LONGEST_SWITCH].map(|first| first + SHARED as u8);
    let profile = run.metered.profile(&run.functions, phases);
    let mut out = format!(
        "\n{count} partition switches, instructions per function\n{:>10} {:>10} {:>10}\n",
        "mean", "shortest", "longest"
    );
    for (name, [sum, shortest, longest]) in &profile {
        let _ = writeln!(out, "{:>10.1} {shortest:>10} {longest:>10}  {name}", *sum as f64 / count as f64);
    }
    let total = |column: usize| profile.iter().map(|(_, counts)| counts[column]).sum::<u64>();
    let mean = total(0) as f64 / count as f64;
    let _ = writeln!(out, "{mean:>10.1} {:>10} {:>10}  all", total(1), total(2));
    out
}

/// Of the first restart of the RTOS: all that ran meanwhile, on all CPUs.
pub fn restart(run: &Run) -> String {
    phase(run, "a restart of the RTOS, all CPUs", *RESTARTS.start())
}

/// Of the longest visit of a run.
pub fn longest(run: &Run) -> String {
    phase(run, "the longest visit", LONGEST_STAY)
}

fn phase(run: &Run, what: &str, phase: u8) -> String {
    let mut out = format!("\n{what}, instructions per function\n");
    for (name, [count]) in run.metered.profile(&run.functions, [phase]) {
        let _ = writeln!(out, "{count:>10}  {name}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::Metered;
    use crate::elf::Symbol;

    fn run(output: &str) -> Run {
        let symbol = |name: &str, address| Symbol { name: name.into(), address, size: 8 };
        Run {
            metered: Metered::parse(output).unwrap(),
            functions: vec![symbol("first", 0x40), symbol("second", 0x48)],
            ..Run::default()
        }
    }

    #[test]
    fn a_switch_has_its_mean_and_its_extremes() {
        let visits =
            "visit 16 2 1 9 0 0 10 0 0 1 3\nvisit 16 2 1 9 0 0 30 0 0 1 1\nvisit 16 2 1 9 0 0 99 0 0 0 7\n";
        let text = switch(&run(&format!("{visits}pc 26 40 50\npc 26 48 10\npc 34 44 10\npc 42 4c 30\n")));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.contains("4 partition switches"), "{text}");
        assert!(lines.contains(&vec!["12.5", "10", "0", "first"]), "{text}");
        assert!(lines.contains(&vec!["2.5", "0", "30", "second"]), "{text}");
        assert!(lines.contains(&vec!["15.0", "10", "30", "all"]), "{text}");
    }

    #[test]
    fn a_row_that_is_not_there_has_no_profile() {
        assert_eq!(row(&run("pc 48 40 1\n"), "nonsense"), None);
        assert!(longest(&run("pc 48 40 12\npc 65 40 99\n")).contains("        12  first"));
    }
}
