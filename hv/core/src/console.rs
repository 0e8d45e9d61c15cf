//! The console multiplexer: many partitions, one UART, one CPU that serves it.
//!
//! Output: every line carries its partition's name; sources take turns line by line. A source that
//! pauses in the middle of a line (a shell at its prompt) keeps the line until another one has
//! something to say and a grace time has passed; the line is then broken, and the source gets its
//! name printed again when it continues.
//!
//! Input: bytes go to the partition in focus; [`ESCAPE`] (Ctrl-]) introduces a command, see [`HELP`].
//!
//! All text passes a stage. A call does one thing to fill it (takes a FIFO of bytes from the open
//! source, or scans the sources once and composes one line's beginning), then yields one FIFO of it.
//!
//! Honest limits: escape sequences pass through, so a partition can clear the operator's screen or
//! change its colours; other control bytes are shown as `^X`. Loss is told once all is out that was
//! in the ring, or after a whole ring of it, where the ring never runs empty.

use crate::ring::RingRef;
use crate::text::{Text, trim};
use bulkhead_blueprint::limits::PARTITIONS_MAX;

/// Source 0 is EL2 itself, source n the n-th partition of the configuration.
pub const SOURCES_MAX: usize = PARTITIONS_MAX + 1;
/// Bytes that one call of [`Console::drain`] yields at most: the FIFO of a PL011.
pub const FIFO_BYTES: usize = 16;
/// Longest line that [`Sources::own_line`] may compose, in bytes.
pub const OWN_LINE_BYTES: usize = 100;
/// Introduces a command on input: Ctrl-].
pub const ESCAPE: u8 = 0x1D;

/// Bytes after which a line gives way to others even if it has no end.
const LINE_BYTES: u16 = 256;
/// What is left of a FIFO, the longest prefix (a name of 31 bytes and `| `), the longest line.
const STAGE_BYTES: usize = 48 + OWN_LINE_BYTES + FIFO_BYTES;

/// What the keys do, shown on `Ctrl-] ?`.
pub const HELP: &str =
    "keys: Ctrl-] then 1-9 or n = input to that, the next partition, c = Ctrl-C, s = status, x = off";

/// What the multiplexer reads of the system.
pub trait Sources {
    /// Number of sources, EL2 included, at most [`SOURCES_MAX`].
    fn count(&self) -> usize;
    /// The source's name, NUL-padded or not; `bulkhead` for source 0.
    fn name(&self, source: usize) -> &[u8];
    /// The source's output ring; that of source 0 is never looked at.
    fn output(&self, source: usize) -> RingRef<'_>;
    /// Life-cycle state in words and number of starts of the partition behind `source`.
    fn status(&self, source: usize) -> (&'static str, u32);
    /// Whether EL2 has lines to say (a health report).
    fn own_waits(&self) -> bool;
    /// Appends the next of those lines, without prefix and line end, at most [`OWN_LINE_BYTES`];
    /// nothing if it turns out that there is none.
    fn own_line(&mut self, line: &mut Text<'_>);
}

/// What the caller shall do about a byte of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the byte to the partition behind this source.
    Deliver {
        /// The source, not 0.
        source: usize,
        /// The byte.
        byte: u8,
    },
    /// Switch the board off.
    PowerOff,
}

/// Lines of the multiplexer's own, produced one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    None,
    /// Next source of a status report; one past the last for its end.
    Status(usize),
    /// [`HELP`].
    Help,
    /// Where input goes.
    Focus,
}

/// The multiplexer. Owned by the console's CPU.
#[derive(Debug)]
pub struct Console {
    /// Composed text that goes out before anything else.
    stage: [u8; STAGE_BYTES],
    stage_start: usize,
    stage_end: usize,
    /// Source whose line is open, 0 for none.
    open: usize,
    /// Bytes of the open line so far; its prefix comes with the first.
    column: u16,
    /// The open line's last byte was a carriage return.
    rewound: bool,
    /// Bit n: the line of source n was broken on behalf of another.
    broken: u32,
    /// Where the round robin goes on.
    next: usize,
    /// Since when the open line's source has nothing to say.
    idle_since: Option<u64>,
    /// Bytes of each source told as lost so far, modulo 2^32.
    told_lost: [u32; SOURCES_MAX],
    notice: Notice,
    /// Source in focus.
    focus: usize,
    escaped: bool,
    /// Length of the longest name, 0 until the first call: names never change.
    width: usize,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Nothing shown yet, the first partition in focus.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: [0; STAGE_BYTES],
            stage_start: 0,
            stage_end: 0,
            open: 0,
            column: 0,
            rewound: false,
            broken: 0,
            next: 0,
            idle_since: None,
            told_lost: [0; SOURCES_MAX],
            notice: Notice::None,
            focus: 1,
            escaped: false,
            width: 0,
        }
    }

    /// Fills `out` with what the UART shall send next; returns the number of bytes.
    ///
    /// `now` is any steady clock, `grace` the time in its units for which a silent source keeps its
    /// unfinished line.
    pub fn drain(
        &mut self,
        sources: &mut impl Sources,
        now: u64,
        grace: u64,
        out: &mut [u8; FIFO_BYTES],
    ) -> usize {
        if self.stage_end.wrapping_sub(self.stage_start) < FIFO_BYTES {
            let staged = self.stage_end.wrapping_sub(self.stage_start);
            for n in 0..staged {
                let byte = self.stage.get(self.stage_start.wrapping_add(n)).copied().unwrap_or(0);
                if let Some(slot) = self.stage.get_mut(n) {
                    *slot = byte;
                }
            }
            (self.stage_start, self.stage_end) = (0, staged);
            self.refill(sources, now, grace);
        }
        let count = FIFO_BYTES.min(self.stage_end.wrapping_sub(self.stage_start));
        for (slot, byte) in out.iter_mut().take(count).zip(self.stage.iter().skip(self.stage_start)) {
            *slot = *byte;
        }
        self.stage_start = self.stage_start.wrapping_add(count);
        count
    }

    /// Takes a byte of input. Returns what the caller shall do, if anything.
    pub fn input(&mut self, byte: u8, count: usize) -> Option<Action> {
        let deliver = Some(Action::Deliver { source: self.focus, byte });
        let escaped = self.escaped;
        self.escaped = byte == ESCAPE && !escaped;
        if !escaped {
            return if self.escaped { None } else { deliver };
        }
        match byte {
            ESCAPE => return deliver,
            b'c' => return Some(Action::Deliver { source: self.focus, byte: 3 }),
            b'x' => return Some(Action::PowerOff),
            b's' => self.notice = Notice::Status(1),
            b'?' => self.notice = Notice::Help,
            b'n' | b'1'..=b'9' => {
                let wish = if byte == b'n' { self.focus + 1 } else { usize::from(byte - b'0') };
                self.focus = if wish < count { wish } else { 1 };
                self.notice = Notice::Focus;
            }
            _ => {}
        }
        None
    }

    /// Appends to the stage.
    #[inline(never)]
    fn say(&mut self, write: &mut dyn FnMut(&mut Text<'_>)) {
        let mut text = Text::new(self.stage.get_mut(self.stage_end..).unwrap_or(&mut []));
        write(&mut text);
        self.stage_end += text.len();
    }

    /// One step: goes on with the open line, breaks it, or opens the next.
    fn refill(&mut self, sources: &mut impl Sources, now: u64, grace: u64) {
        let open = self.open;
        if open == 0 {
            return self.choose(sources);
        }
        let ring = sources.output(open);
        let silent = ring.is_empty();
        if self.notice == Notice::None && !(silent && self.lost(ring, open) != 0) {
            if !silent && self.column < LINE_BYTES {
                return self.take(sources, open);
            }
            if silent && now.wrapping_sub(*self.idle_since.get_or_insert(now)) < grace {
                return;
            }
            if !others_wait(sources, open) {
                self.column = self.column.min(1);
                if !silent {
                    self.take(sources, open);
                }
                return;
            }
        }
        if self.column != 0 {
            self.broken |= 1 << (open & 31);
            self.say(&mut |text| _ = text.str("\r\n"));
        }
        self.close(open);
    }

    /// Takes bytes of the open line, at most one FIFO and at most to its end or a carriage return.
    fn take(&mut self, sources: &impl Sources, source: usize) {
        let mut bytes = [0; FIFO_BYTES];
        let count = sources.output(source).take_run(&mut bytes);
        let bit = 1 << (source & 31);
        self.idle_since = None;
        let (mut column, mut rewound) = (self.column, self.rewound);
        let (name, width, broken) = (sources.name(source), self.width, self.broken & bit != 0);
        let mut ended = false;
        self.say(&mut |text| {
            for &byte in bytes.iter().take(count) {
                ended = byte == b'\n';
                if byte == b'\r' {
                    rewound = true;
                    continue;
                }
                // The end of a line that was broken for others is on the screen already.
                if ended && column == 0 && broken {
                    return;
                }
                if column == 0 || rewound && !ended {
                    if column != 0 {
                        text.byte(b'\r');
                    }
                    prefix(text, name, width);
                }
                rewound = false;
                column = column.saturating_add(1);
                match byte {
                    b'\n' => text.str("\r\n"),
                    0x07..=0x09 | 0x1B | 0x20..=0x7E | 0x80.. => text.byte(byte),
                    _ => text.byte(b'^').byte(byte ^ 0x40),
                };
            }
        });
        (self.column, self.rewound) = (column, rewound);
        if column != 0 || ended {
            self.broken &= !bit;
        }
        if ended {
            self.close(source);
        }
    }

    /// Opens the line of whoever is next: the multiplexer's own notices, then all in turn.
    fn choose(&mut self, sources: &mut impl Sources) {
        if self.width == 0 {
            let names = (0..sources.count()).map(|source| trim(sources.name(source)).len());
            self.width = names.max().unwrap_or(0);
        }
        if self.notice != Notice::None {
            return self.say_notice(sources);
        }
        let count = sources.count().clamp(1, SOURCES_MAX);
        let (mut source, width) = (self.next, self.width);
        for _ in 0..count {
            if source >= count {
                source = 0;
            }
            if source == 0 {
                if sources.own_waits() {
                    self.next = 1;
                    return self.say(&mut |text| {
                        prefix(text, b"bulkhead", width);
                        let start = text.len();
                        sources.own_line(text);
                        match text.len() {
                            len if len == start => text.clear(),
                            _ => _ = text.str("\r\n"),
                        }
                    });
                }
            } else {
                let ring = sources.output(source);
                let (lost, silent) = (self.lost(ring, source), ring.is_empty());
                if lost != 0 && (silent || lost >= ring.capacity()) {
                    return self.tell_loss(sources, source, lost);
                }
                if !silent {
                    self.open = source;
                    return;
                }
            }
            source += 1;
        }
    }

    /// Bytes of the source that were lost and not told yet.
    fn lost(&self, ring: RingRef<'_>, source: usize) -> u32 {
        ring.lost().wrapping_sub(self.told_lost.get(source).copied().unwrap_or(0))
    }

    /// Composes `[N bytes lost]`.
    fn tell_loss(&mut self, sources: &impl Sources, source: usize, lost: u32) {
        if let Some(told) = self.told_lost.get_mut(source) {
            *told = told.wrapping_add(lost);
        }
        let (name, width) = (sources.name(source), self.width);
        self.say(&mut |text| {
            prefix(text, name, width);
            text.str("[").dec(u64::from(lost)).str(" bytes lost]\r\n");
        });
        self.close(source);
    }

    /// No line is open; the source after this one is next.
    fn close(&mut self, source: usize) {
        (self.open, self.column, self.rewound, self.idle_since) = (0, 0, false, None);
        self.next = source + 1;
    }

    /// Composes the next line of a pending notice.
    fn say_notice(&mut self, sources: &impl Sources) {
        let (count, width, notice) = (sources.count().min(SOURCES_MAX), self.width, self.notice);
        self.notice = match notice {
            Notice::Status(source) if source < count => Notice::Status(source + 1),
            _ => Notice::None,
        };
        let focus = self.focus;
        self.say(&mut |text| {
            prefix(text, b"bulkhead", width);
            match notice {
                Notice::Status(source) if source < count => {
                    let (state, starts) = sources.status(source);
                    text.str("status ").name(sources.name(source), 0).byte(b' ').str(state);
                    text.str(" starts=").dec(u64::from(starts));
                    text.str(" lost=").dec(u64::from(sources.output(source).lost()));
                }
                Notice::Status(_) => _ = text.str("status end"),
                Notice::Help => _ = text.str(HELP),
                Notice::Focus => _ = text.str("input goes to ").name(sources.name(focus), 0),
                Notice::None => {}
            }
            text.str("\r\n");
        });
    }
}

/// Whether another source than `open` has something to say.
#[inline(never)]
fn others_wait(sources: &impl Sources, open: usize) -> bool {
    let mut others = (1..sources.count().min(SOURCES_MAX)).filter(|source| *source != open);
    sources.own_waits() || others.any(|source| !sources.output(source).is_empty())
}

/// `NAME| `, padded.
#[inline(never)]
fn prefix(text: &mut Text<'_>, name: &[u8], width: usize) {
    text.name(name, width).str("| ");
}
