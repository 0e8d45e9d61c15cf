//! What the monitor concludes from what it reads, free of hardware.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::fmt;

/// Why there is no valid sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The sample is older than the refresh period.
    Old {
        /// Its age in microseconds.
        age_us: u64,
    },
    /// Its timestamp lies in the future.
    FromFuture,
    /// The writer is not running.
    WriterDown,
    /// The writer runs, but has not written yet.
    NothingWritten,
    /// The message could not be had: overrun, wrong length or size.
    Unreadable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old { age_us } => write!(f, "age={age_us} us"),
            Self::FromFuture => f.write_str("timestamp from the future"),
            Self::WriterDown => f.write_str("writer is not running"),
            Self::NothingWritten => f.write_str("nothing written since the writer's start"),
            Self::Unreadable => f.write_str("message unreadable"),
        }
    }
}

/// A look at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A valid sample.
    Valid {
        /// Its age in microseconds.
        age_us: u64,
        /// The writer's start count.
        epoch: u32,
    },
    /// No valid sample.
    Stale(Reason),
}

/// A line to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Once a second while valid: age and greatest age since the last such line.
    Valid {
        /// Age of the newest sample in microseconds.
        age_us: u64,
        /// Greatest age seen since the last line, in microseconds.
        worst_us: u64,
        /// How often it went stale since the last line.
        stale: u32,
    },
    /// The state has gone stale, or still is after a second.
    Stale(Reason),
    /// The state is valid again.
    Back {
        /// Age of the newest sample in microseconds.
        age_us: u64,
    },
    /// The writer was restarted.
    Epoch {
        /// Start count before.
        from: u32,
        /// Start count now.
        to: u32,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid { age_us, worst_us, stale } => {
                write!(f, "state valid age={age_us} us worst={worst_us} us stale={stale}")
            }
            Self::Stale(reason) => write!(f, "state STALE {reason}"),
            Self::Back { age_us } => write!(f, "state back age={age_us} us"),
            Self::Epoch { from, to } => write!(f, "state epoch changed {from} -> {to}"),
        }
    }
}

/// Remembers enough to say each thing once, and a thing that recurs once a second.
#[derive(Default)]
pub struct Judge {
    epoch: u32,
    stale: bool,
    /// The present spell was complained of, so its end is worth a line.
    complained: bool,
    /// Looks for which a new spell is counted, not complained of.
    hush: u32,
    spells: u32,
    worst_us: u64,
    looks_since_line: u32,
}

impl Judge {
    /// Takes one look; `looks_per_line` is how many looks a second has. Returns what to print.
    pub fn look(&mut self, look: Look, looks_per_line: u32) -> [Option<Line>; 2] {
        self.looks_since_line += 1;
        self.hush = self.hush.saturating_sub(1);
        let due = self.looks_since_line >= looks_per_line;
        let lines = match look {
            Look::Valid { age_us, epoch } => self.valid(age_us, epoch, due),
            Look::Stale(reason) => [self.stale(reason, due, looks_per_line), None],
        };
        if due || matches!(lines, [Some(Line::Stale(_)), _]) {
            self.looks_since_line = 0;
            self.worst_us = 0;
        }
        lines
    }

    fn valid(&mut self, age_us: u64, epoch: u32, due: bool) -> [Option<Line>; 2] {
        self.worst_us = self.worst_us.max(age_us);
        let changed =
            (self.epoch != 0 && self.epoch != epoch).then_some(Line::Epoch { from: self.epoch, to: epoch });
        self.epoch = epoch;
        self.stale = false;
        let back = core::mem::take(&mut self.complained).then_some(Line::Back { age_us });
        let valid = due.then(|| Line::Valid {
            age_us,
            worst_us: self.worst_us,
            stale: core::mem::take(&mut self.spells),
        });
        [changed, back.or(valid)]
    }

    fn stale(&mut self, reason: Reason, due: bool, looks_per_line: u32) -> Option<Line> {
        // Before the first sample ever, only the lack of one for a second is worth a word.
        let news = self.epoch != 0 && !self.stale;
        self.spells += u32::from(news);
        self.stale |= news || due;
        let complain = due || (news && self.hush == 0);
        if complain {
            self.complained = true;
            self.hush = looks_per_line;
        }
        complain.then_some(Line::Stale(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Look = Look::Valid { age_us: 700, epoch: 1 };
    const OLD: Look = Look::Stale(Reason::Old { age_us: 2_100 });

    #[test]
    fn says_valid_once_a_second_with_the_worst_age() {
        let mut judge = Judge::default();
        let worst = Look::Valid { age_us: 1_900, epoch: 1 };
        assert_eq!(judge.look(worst, 3), [None, None]);
        assert_eq!(judge.look(VALID, 3), [None, None]);
        let line = Line::Valid { age_us: 700, worst_us: 1_900, stale: 0 };
        assert_eq!(judge.look(VALID, 3), [None, Some(line)]);
        assert_eq!(line.to_string(), "state valid age=700 us worst=1900 us stale=0");
        assert_eq!(judge.look(VALID, 3), [None, None]);
    }

    #[test]
    fn short_spells_are_counted_for_a_second_after_a_complaint() {
        let mut judge = Judge::default();
        judge.look(VALID, 4);
        let stale = Line::Stale(Reason::Old { age_us: 2_100 });
        assert_eq!(judge.look(OLD, 4), [Some(stale), None]);
        let back = Line::Back { age_us: 700 };
        assert_eq!(judge.look(VALID, 4), [None, Some(back)]);
        assert_eq!(judge.look(OLD, 4), [None, None]);
        assert_eq!(judge.look(VALID, 4), [None, None]);
        let line = Line::Valid { age_us: 700, worst_us: 700, stale: 2 };
        assert_eq!(judge.look(VALID, 4), [None, Some(line)]);
        assert_eq!(judge.look(OLD, 4), [Some(stale), None]);
    }

    #[test]
    fn complains_at_once_and_each_second_then_says_back() {
        let mut judge = Judge::default();
        judge.look(VALID, 3);
        let stale = Line::Stale(Reason::Old { age_us: 2_100 });
        assert_eq!(judge.look(OLD, 3), [Some(stale), None]);
        assert_eq!(judge.look(OLD, 3), [None, None]);
        assert_eq!(judge.look(OLD, 3), [None, None]);
        assert_eq!(judge.look(OLD, 3), [Some(stale), None]);
        let back = Line::Back { age_us: 700 };
        assert_eq!(judge.look(VALID, 3), [None, Some(back)]);
        assert_eq!(judge.look(VALID, 3), [None, None]);
    }

    #[test]
    fn waits_a_second_for_the_first_sample() {
        let nothing = Look::Stale(Reason::NothingWritten);
        let mut judge = Judge::default();
        assert_eq!(judge.look(nothing, 3), [None, None]);
        assert_eq!(judge.look(VALID, 3), [None, None]);
        let mut judge = Judge::default();
        judge.look(nothing, 3);
        judge.look(nothing, 3);
        let line = Line::Stale(Reason::NothingWritten);
        assert_eq!(judge.look(nothing, 3), [Some(line), None]);
    }

    #[test]
    fn notices_a_restart() {
        let mut judge = Judge::default();
        judge.look(VALID, 100);
        judge.look(Look::Stale(Reason::WriterDown), 100);
        let restarted = Look::Valid { age_us: 5, epoch: 2 };
        assert_eq!(
            judge.look(restarted, 100),
            [Some(Line::Epoch { from: 1, to: 2 }), Some(Line::Back { age_us: 5 })]
        );
        assert_eq!(judge.look(restarted, 100), [None, None]);
    }
}
