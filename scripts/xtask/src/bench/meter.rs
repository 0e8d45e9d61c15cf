//! What the plugin counted: visits to EL2, and how often each of its instructions was executed.

use std::collections::BTreeMap;

use crate::elf::Symbol;
use crate::failure::{Failure, Result};

/// Phases below are stages of the boot; this one is what follows until a guest sets another.
const RUNNING: u8 = 16;
/// Stand for the instructions of some visits alone (see the plugin): of all changes of vCPU on CPU 0,
/// and on the following CPUs; of one of them each.
pub const SWITCHES: u8 = 24;
/// See [`SWITCHES`].
pub const SHORTEST_SWITCH: u8 = 32;
/// See [`SWITCHES`].
pub const LONGEST_SWITCH: u8 = 40;
/// Stands for the instructions of the longest visit that keeps its vCPU.
pub const LONGEST_STAY: u8 = 48;

/// Kind of a visit to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// HVC or SMC.
    Call,
    /// A trapped system register or an abort.
    Access,
    /// An interrupt.
    Interrupt,
    /// What follows a sleep of EL2 itself, which has no guest to run then.
    AfterSleep,
    /// Any other.
    Other,
}

/// Visits that are alike in everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Phase in which it ended.
    pub phase: u8,
    /// CPU.
    pub cpu: usize,
    /// VMID of the guest that was interrupted.
    pub vmid: u64,
    /// Vector, 0 to 15, 16 after a sleep, 17 for a piece of work on a vCPU that starts or ends.
    pub vector: u64,
    /// Exception class, for a synchronous exception.
    pub class: u64,
    /// Where the guest was interrupted.
    pub pc: u64,
    /// Instructions from the vector to ERET, both included.
    pub length: u64,
    /// Accesses to devices.
    pub devices: u64,
    /// Accesses to the virtual interface's system registers.
    pub list_registers: u64,
    /// Whether the CPU's vCPU was chosen anew.
    pub switched: bool,
    /// How many there were.
    pub count: u64,
}

impl Visit {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match (self.vector, self.class) {
            (8, 0x16 | 0x17) => Kind::Call,
            (8, 0x18 | 0x20 | 0x24) => Kind::Access,
            (9 | 10, _) => Kind::Interrupt,
            (16, _) => Kind::AfterSleep,
            _ => Kind::Other,
        }
    }
}

/// Least, middle and greatest of some counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Least.
    pub min: u64,
    /// The value with as many above as below.
    pub median: u64,
    /// Greatest.
    pub max: u64,
}

/// Values, and how often each occurred; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u64, u64>);

impl Histogram {
    /// Of one value.
    pub fn one(value: u64) -> Self {
        Self(BTreeMap::from([(value, 1)]))
    }

    /// Of values with how often each occurred; none of none.
    pub fn of(values: impl IntoIterator<Item = (u64, u64)>) -> Option<Self> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for (value, count) in values.into_iter().filter(|(_, count)| *count > 0) {
            *counts.entry(value).or_default() += count;
        }
        (!counts.is_empty()).then_some(Self(counts))
    }

    /// The values in ascending order, each with its count.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(&value, &count)| (value, count))
    }

    /// Its least, middle and greatest value.
    pub fn spread(&self) -> Spread {
        let total: u64 = self.0.values().sum();
        let mut seen = 0;
        let middle = self.values().find(|(_, count)| {
            seen += count;
            seen * 2 > total
        });
        let end = |end: Option<(&u64, &u64)>| end.map_or(0, |(&value, _)| value);
        Spread {
            min: end(self.0.first_key_value()),
            median: middle.map_or(0, |(value, _)| value),
            max: end(self.0.last_key_value()),
        }
    }
}

/// All that one run counted.
#[derive(Debug, Default)]
pub struct Metered {
    /// Visits, in the order of phases.
    pub visits: Vec<Visit>,
    /// Executions of an instruction in a phase: phase, address, count.
    pub executed: Vec<(u8, u64, u64)>,
    /// Instructions of guests in a phase, where they were counted: the guests' own, and the loader's.
    pub guests: BTreeMap<u8, (u64, u64)>,
}

impl Metered {
    /// Reads the plugin's output.
    ///
    /// # Errors
    /// Names the line that is not of its form.
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            all.line(line).ok_or_else(|| {
                Failure::failed(format!("line {number} of the plugin's output is unreadable: {line}"))
            })?;
        }
        Ok(all)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let words: Vec<&str> = words.collect();
        let decimal = |at: usize| words.get(at)?.parse::<u64>().ok();
        let hexadecimal = |at: usize| u64::from_str_radix(words.get(at)?, 16).ok();
        let phase = words.first()?.parse().ok()?;
        match kind {
            "visit" => self.visits.push(Visit {
                phase,
                cpu: decimal(1)? as usize,
                vmid: decimal(2)?,
                vector: decimal(3)?,
                class: hexadecimal(4)?,
                pc: hexadecimal(5)?,
                length: decimal(6)?,
                devices: decimal(7)?,
                list_registers: decimal(8)?,
                switched: decimal(9)? != 0,
                count: decimal(10)?,
            }),
            "guest" => _ = self.guests.insert(phase, (decimal(1)?, decimal(2)?)),
            "pc" => self.executed.push((phase, hexadecimal(1)?, decimal(2)?)),
            _ => return None,
        }
        Some(())
    }

    /// Lengths of the visits of one kind in one phase on one CPU.
    pub fn lengths(&self, phase: u8, kind: Kind, cpu: usize) -> Option<Histogram> {
        let fits = |visit: &&Visit| visit.phase == phase && visit.kind() == kind && visit.cpu == cpu;
        Histogram::of(self.visits.iter().filter(fits).map(|visit| (visit.length, visit.count)))
    }

    /// Accesses to devices and to the virtual interface's registers in the same visits.
    pub fn interface_accesses(&self, phase: u8, kind: Kind, cpu: usize) -> Option<Histogram> {
        let fits = |visit: &&Visit| visit.phase == phase && visit.kind() == kind && visit.cpu == cpu;
        let visits = self.visits.iter().filter(fits);
        Histogram::of(visits.map(|visit| (visit.devices + visit.list_registers, visit.count)))
    }

    /// How many visits of each kind there were in one phase on the CPUs that are asked for.
    pub fn causes(&self, phase: u8, cpu: impl Fn(usize) -> bool) -> BTreeMap<Kind, u64> {
        let mut causes = BTreeMap::new();
        for visit in self.visits.iter().filter(|visit| visit.phase == phase && cpu(visit.cpu)) {
            *causes.entry(visit.kind()).or_default() += visit.count;
        }
        causes
    }

    /// All instructions at EL2 of the visits that ended in one phase on the CPUs that are asked for.
    pub fn total(&self, phase: u8, cpu: impl Fn(usize) -> bool) -> u64 {
        let visits = self.visits.iter().filter(|visit| visit.phase == phase && cpu(visit.cpu));
        visits.map(|visit| visit.length * visit.count).sum()
    }

    /// Lengths of the visits by interrupts on a CPU in which the vCPU changed, after the boot, each with
    /// how often it occurred.
    pub fn switches(&self, cpu: usize) -> impl Iterator<Item = (u64, u64)> {
        let fits = move |v: &&Visit| v.cpu == cpu && v.switched && v.kind() == Kind::Interrupt;
        self.visits.iter().filter(fits).map(|visit| (visit.length, visit.count))
    }

    /// The longest visit by which a guest keeps its own vCPU, and so the CPU from others.
    pub fn longest(&self) -> Option<&Visit> {
        let fits = |v: &&Visit| !v.switched && v.kind() != Kind::AfterSleep;
        self.visits.iter().filter(fits).max_by_key(|visit| visit.length)
    }

    /// Instructions that CPU 0 executed in each stage of the boot.
    pub fn boot(&self) -> BTreeMap<u8, u64> {
        let mut stages = BTreeMap::new();
        for (phase, _, count) in self.executed.iter().filter(|(phase, _, _)| *phase < RUNNING) {
            *stages.entry(*phase).or_default() += count;
        }
        stages
    }

    /// Instructions executed in each function, one column for each phase that is asked for; those with
    /// most in the first column first.
    pub fn profile<const N: usize>(&self, functions: &[Symbol], phases: [u8; N]) -> Vec<(String, [u64; N])> {
        let mut sums: BTreeMap<&str, [u64; N]> = BTreeMap::new();
        for (phase, address, count) in &self.executed {
            let Some(column) = phases.iter().position(|wanted| wanted == phase) else {
                continue;
            };
            let place = functions.iter().find(|f| address.wrapping_sub(f.address) < f.size.max(1));
            sums.entry(place.map_or("assembly", |f| f.name.as_str())).or_insert([0; N])[column] += count;
        }
        let mut sums: Vec<(String, [u64; N])> =
            sums.into_iter().map(|(name, counts)| (demangled(name), counts)).collect();
        sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sums
    }
}

/// A readable form of a mangled Rust name (both manglings keep path components as length and text);
/// hashes are left out.
fn demangled(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else {
        return name.to_string();
    };
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|&digits| digits > 0) {
        let Some((part, tail)) =
            rest[..digits].parse().ok().and_then(|length: usize| rest[digits..].split_at_checked(length))
        else {
            break;
        };
        parts.push(part);
        rest = tail;
    }
    let is_hash = |part: &&str| part.len() == 17 && part.starts_with('h');
    parts.pop_if(|part| is_hash(&&**part));
    parts.join("::").replace("$LT$", "<").replace("$GT$", ">").replace("..", "::").replace("$u20$", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "visit 65 1 1 8 16 40201000 72 0 0 0 31\nvisit 65 1 1 8 16 40201000 80 0 0 0 1\n\
                          visit 65 2 1 9 0 40201000 90 1 2 1 4\npc 65 40200400 33\npc 65 40200404 33\npc 2 40200400 7\nguest 65 500 7\n";

    #[test]
    fn output_is_read_and_summed() {
        let all = Metered::parse(OUTPUT).unwrap();
        let spread = Spread { min: 72, median: 72, max: 80 };
        assert_eq!(all.lengths(65, Kind::Call, 1).unwrap().spread(), spread);
        assert_eq!(all.lengths(65, Kind::Interrupt, 2).unwrap().spread().median, 90);
        assert_eq!(all.guests[&65], (500, 7));
        assert_eq!(all.causes(65, |_| true), BTreeMap::from([(Kind::Call, 32), (Kind::Interrupt, 4)]));
        assert_eq!(all.total(65, |cpu| cpu == 1), 31 * 72 + 80);
        assert_eq!(all.lengths(65, Kind::Interrupt, 1), None);
        assert_eq!(all.boot(), BTreeMap::from([(2, 7)]));
        let function =
            Symbol { name: "_ZN4a::b1c17h0123456789abcdefE".into(), address: 0x4020_0404, size: 4 };
        let profile = all.profile(&[function], [65, 2]);
        assert_eq!(profile, [("assembly".to_string(), [33, 7]), ("a::b::c".to_string(), [33, 0])]);
    }

    #[test]
    fn damaged_output_names_its_line() {
        for (text, line) in [("visit 1 2\n", "line 1"), ("pc 2 40200400 7\nnoise\n", "line 2")] {
            assert!(Metered::parse(text).unwrap_err().to_string().contains(line));
        }
    }

    #[test]
    fn median_has_as_many_below_as_above() {
        let spread = |values: &[(u64, u64)]| Histogram::of(values.iter().copied()).map(|all| all.spread());
        assert_eq!(spread(&[(5, 1), (1, 1), (3, 1)]).unwrap().median, 3);
        assert_eq!(spread(&[(5, 1), (1, 9)]), Some(Spread { min: 1, median: 1, max: 5 }));
        assert_eq!(spread(&[(5, 0)]), None);
        assert_eq!(
            Histogram::of([(5, 1), (1, 9), (5, 2)]).unwrap().values().collect::<Vec<_>>(),
            [(1, 9), (5, 3)]
        );
    }

    #[test]
    fn names_lose_their_mangling() {
        assert_eq!(demangled("_ZN11bulkhead_hv5calls4call17h0123456789abcdefE"), "bulkhead_hv::calls::call");
        assert_eq!(demangled("memcpy"), "memcpy");
    }
}
