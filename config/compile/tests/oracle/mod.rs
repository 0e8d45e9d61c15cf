//! Time by enumeration: what the documents say of plans (`docs/time.md`), played instant by instant.
//!
//! Nothing here computes: a history says which plan runs when, every unit of time of every vCPU is marked as its own or not,
//! and worst cases are looked for among all instants of all histories. It shares no line with `timing` of the compiler.

use std::collections::BTreeSet;

/// A window: start, length, index of the guest.
pub type Window = (u64, u64, usize);

/// One CPU in one plan.
#[derive(Debug, Clone)]
pub struct Cpu {
    pub windows: Vec<Window>,
    pub background: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub frame: u64,
    /// Of the shared CPUs; a CPU beyond them is its guest's own.
    pub cpus: Vec<Cpu>,
}

/// A partition and its requirement.
#[derive(Debug, Clone)]
pub struct Guest {
    pub cpus: Vec<usize>,
    pub period: u64,
    pub offset: u64,
    pub duration: u64,
    /// Plans in which nothing is required.
    pub exempt: Vec<usize>,
}

#[derive(Clone)]
pub struct World {
    pub guard: u64,
    pub plans: Vec<Plan>,
    pub guests: Vec<Guest>,
}

impl std::fmt::Debug for World {
    /// A line for each plan and guest, however it is asked for: a failing system is to be read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "guard {}", self.guard)?;
        self.plans.iter().try_for_each(|plan| writeln!(f, "{plan:?}"))?;
        self.guests.iter().try_for_each(|guest| writeln!(f, "{guest:?}"))
    }
}

/// Plans one after another: plan, first instant, first instant after it.
pub type History = Vec<(usize, u64, u64)>;

/// Units of time of one vCPU: whether they are its own for certain, and whether it may run in them.
#[derive(Debug, Clone)]
struct Units {
    certain: Vec<bool>,
    possible: Vec<bool>,
}

/// One job: its release, the earliest instant of its work, and the instant by which it is done.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub release: u64,
    pub begin: u64,
    pub done: u64,
}

/// One guest in one history.
pub struct Life {
    units: Vec<Units>,
    pub jobs: Vec<Job>,
}

fn end_of(history: &History) -> u64 {
    history.last().map_or(0, |stay| stay.2)
}

impl World {
    fn shared(&self, cpu: usize) -> bool {
        cpu < self.plans[0].cpus.len()
    }

    /// Whether every CPU of the guest is its own.
    pub fn is_alone(&self, guest: usize) -> bool {
        !self.guests[guest].cpus.iter().any(|c| self.shared(*c))
    }

    fn units(&self, guest: usize, cpu: usize, history: &History) -> Units {
        let length = end_of(history) as usize;
        if !self.shared(cpu) {
            return Units { certain: vec![true; length], possible: vec![true; length] };
        }
        let mut units = Units { certain: vec![false; length], possible: vec![false; length] };
        for (plan, from, until) in history {
            let Cpu { windows, background } = &self.plans[*plan].cpus[cpu];
            for tick in *from..*until {
                let frame = tick - (tick - from) % self.plans[*plan].frame;
                // EL2 takes the CPU back one guard before the window ends, or the plan.
                let runs = windows.iter().any(|(start, length, who)| {
                    let (start, end) = (frame + start, (frame + start + length).min(*until));
                    *who == guest && start <= tick && tick + self.guard < end
                });
                units.certain[tick as usize] = runs;
                units.possible[tick as usize] = runs || *background == Some(guest);
            }
        }
        units
    }

    /// The guest's units of time and its jobs. `phase`: when releases begin, for a guest that follows no plan.
    pub fn life(&self, guest: usize, history: &History, phase: u64) -> Life {
        let Guest { cpus, period, offset, duration, .. } = &self.guests[guest];
        let units: Vec<Units> = cpus.iter().map(|cpu| self.units(guest, *cpu, history)).collect();
        let own = [(0, phase, end_of(history))];
        let stays: Vec<(usize, u64, u64)> = if self.is_alone(guest) {
            own.to_vec()
        } else {
            history.iter().map(|(plan, from, until)| (*plan, from + offset, *until)).collect()
        };
        let releases = stays.iter().flat_map(|(_, from, until)| (*from..*until).step_by(*period as usize));
        let job = |release: u64| {
            let may = |u: &Units| (release as usize..u.possible.len()).find(|t| u.possible[*t]);
            let begin = units.iter().filter_map(may).min()? as u64;
            let mut done = release;
            for u in &units {
                let mut left = *duration;
                let last = (release as usize..u.certain.len()).find(|t| {
                    left -= u64::from(u.certain[*t]);
                    left == 0
                })?;
                done = done.max(last as u64 + 1);
            }
            Some(Job { release, begin, done })
        };
        let jobs = releases.filter_map(job).collect();
        Life { units, jobs }
    }

    /// Whether every release of the plan, run for ever, is done within its period.
    pub fn is_met(&self, guest: usize, plan: usize) -> bool {
        let Guest { period, offset, exempt, .. } = &self.guests[guest];
        let cycle = self.plans[plan].frame * period;
        let history = vec![(plan, 0, offset + cycle + 2 * period)];
        let life = self.life(guest, &history, 0);
        let due = life.jobs.iter().filter(|job| job.release < offset + cycle);
        let wanted = (*offset..offset + cycle).step_by(*period as usize).count();
        !exempt.contains(&plan)
            && due.clone().count() == wanted
            && due.into_iter().all(|job| job.done <= job.release + period)
    }

    /// Frames of `plan` after which the guests' jobs repeat, and one more.
    fn cycle(&self, plan: usize) -> u64 {
        let most = self.guests.iter().map(|g| (g.period, g.offset)).max();
        most.map_or(2, |(period, offset)| period + offset / self.plans[plan].frame + 2)
    }

    /// Every plan alone and every change of plan at a frame's end between `allowed` ones, and one more change soon after.
    pub fn histories(&self, allowed: &[usize], changes: bool) -> Vec<History> {
        let long = |plan: usize| self.cycle(plan) * self.plans[plan].frame;
        let mut out = Vec::new();
        for p in allowed {
            out.push(vec![(*p, 0, 2 * long(*p))]);
            for q in allowed.iter().filter(|q| changes && *q != p) {
                for n in 1..=self.cycle(*p) {
                    let first = n * self.plans[*p].frame;
                    out.push(vec![(*p, 0, first), (*q, first, first + long(*q))]);
                    for r in allowed.iter().filter(|r| *r != q) {
                        for m in 1..=2 {
                            let second = first + m * self.plans[*q].frame;
                            out.push(vec![
                                (*p, 0, first),
                                (*q, first, second),
                                (*r, second, second + long(*r)),
                            ]);
                        }
                    }
                }
            }
        }
        out
    }

    /// Every instant at which `q` can cut off `p`, once all jobs of `p` are under way.
    pub fn cuts(&self, p: usize, q: usize) -> Vec<History> {
        let (frame, next) = (self.plans[p].frame, self.plans[q].frame);
        let warm = self.cycle(p) * frame;
        let after = self.cycle(q) * next;
        let cut = |at: u64| vec![(p, 0, at), (q, at, at + after)];
        (warm..2 * warm).map(cut).collect()
    }

    /// Phases that the guest's releases can have.
    fn phases(&self, guest: usize) -> std::ops::Range<u64> {
        if self.is_alone(guest) { 0..self.guests[guest].period } else { 0..1 }
    }

    fn may_run(life: &Life, tick: u64) -> bool {
        life.units.iter().any(|u| u.possible.get(tick as usize) == Some(&true))
    }

    /// The oldest message that a reader sees: it looks just before some instant; a job that is done by then has written,
    /// as early as it could, one that is not has not.
    pub fn age(&self, writer: usize, reader: usize, histories: &[History]) -> Option<u64> {
        let mut worst = None;
        for history in histories {
            let seen = self.life(reader, history, 0);
            for phase in self.phases(writer) {
                let written = self.life(writer, history, phase);
                for tick in 1..end_of(history) {
                    let newest = written.jobs.iter().filter(|job| job.done < tick).map(|job| job.begin).max();
                    if let Some(begin) = newest.filter(|_| Self::may_run(&seen, tick - 1)) {
                        worst = worst.max(Some(tick - begin));
                    }
                }
            }
        }
        worst
    }

    /// The longest time until a job that begins after the message was sent is done.
    pub fn polled(&self, writer: usize, reader: usize, histories: &[History]) -> Option<u64> {
        let mut worst = None;
        for history in histories {
            let sender = self.life(writer, history, 0);
            for phase in self.phases(reader) {
                let polls = self.life(reader, history, phase);
                for tick in (0..end_of(history)).filter(|tick| Self::may_run(&sender, *tick)) {
                    let taken = polls.jobs.iter().filter(|job| job.begin > tick).map(|job| job.done).min();
                    worst = worst.max(taken.map(|done| done - tick));
                }
            }
        }
        worst
    }

    /// The longest time from a ring until vCPU 0 of the reader runs.
    pub fn rung(&self, writer: usize, reader: usize, histories: &[History]) -> Option<u64> {
        let mut worst = None;
        for history in histories {
            let sender = self.life(writer, history, 0);
            let answers = &self.life(reader, history, 0).units[0].certain;
            for tick in (0..end_of(history)).filter(|tick| Self::may_run(&sender, *tick)) {
                let runs = (tick as usize..answers.len()).find(|t| answers[*t]);
                worst = worst.max(runs.map(|t| t as u64 - tick));
            }
        }
        worst
    }

    /// Most messages of a port that wait at once, if each job of the writer sends one: those of jobs that can send after
    /// the last poll that is over.
    pub fn waiting(&self, writer: usize, reader: usize, histories: &[History]) -> Option<u64> {
        let mut worst = None;
        for history in histories {
            let (sender, polls) = (self.life(writer, history, 0), self.life(reader, history, 0));
            for tick in 1..end_of(history) {
                let last = polls.jobs.iter().filter(|job| job.done < tick).map(|job| job.begin).max();
                let Some(last) = last else { continue };
                let sent = sender.jobs.iter().filter(|job| job.done > last && job.begin < tick).count();
                worst = worst.max(Some(sent as u64));
            }
        }
        worst
    }

    /// The longest time between two units of the vCPU on `cpu`.
    pub fn blackout(&self, guest: usize, cpu: usize, histories: &[History]) -> Option<u64> {
        let mut worst = None;
        for history in histories {
            let units = self.units(guest, cpu, history);
            let own: Vec<usize> = (0..units.certain.len()).filter(|t| units.certain[*t]).collect();
            let gaps = own.windows(2).map(|pair| (pair[1] - pair[0] - 1) as u64);
            worst = worst.max(gaps.max());
        }
        worst
    }

    /// The longest time from a release until its work is done.
    pub fn response(&self, guest: usize, histories: &[History]) -> Option<u64> {
        let lives = histories.iter().map(|history| self.life(guest, history, 0));
        lives.flat_map(|life| life.jobs).map(|job| job.done - job.release).max()
    }

    /// Whether the guest has time of its own on `cpu` in `plan`.
    pub fn runs(&self, guest: usize, cpu: usize, plan: usize) -> bool {
        let history = vec![(plan, 0, self.plans[plan].frame)];
        self.units(guest, cpu, &history).certain.contains(&true)
    }

    /// The longest time from a request for `q` while `p` runs to the first window of `q`: it begins at the first end of
    /// a frame that lies at least two guards ahead.
    pub fn switch_latency(&self, p: usize, q: usize) -> u64 {
        let frame = self.plans[p].frame;
        let starts = self.plans[q].cpus.iter().flat_map(|c| &c.windows).map(|w| w.0);
        let head = starts.min().unwrap_or(0);
        let ends: BTreeSet<u64> = (1..10).map(|n| n * frame).collect();
        let latency =
            |asked: u64| ends.iter().find(|end| **end >= asked + 2 * self.guard).map(|end| end - asked);
        // The request comes just after an instant: all but nothing later, so the next instant's answer holds from here.
        let longest = (0..frame).filter_map(|asked| latency(asked + 1).map(|ns| ns + 1)).max();
        longest.unwrap_or(0) + head
    }
}
