//! The console multiplexer: many partitions, one UART, one CPU that serves it.
//!
//! Output: each call yields at most one UART FIFO of bytes. Every line carries its partition's name;
//! sources take turns line by line. A source that pauses in the middle of a line (a shell at its
//! prompt) keeps the line until another one has something to say and a grace time has passed; the
//! line is then broken, and the source gets its name printed again when it continues.
//!
//! Input: bytes go to the partition in focus; [`ESCAPE`] (Ctrl-]) introduces a command, see [`HELP`].
//!
//! A call costs at most one scan over the sources and either one composed line or one FIFO of bytes.
//!
//! Honest limits: escape sequences pass through, so a partition can clear the operator's screen or
//! change its colours; other control bytes are shown as `^X`.

use crate::ring::RingRef;
use crate::text::{Text, trim};
use bulkhead_blueprint::limits::PARTITIONS_MAX;

/// Source 0 is EL2 itself, source n the partition with index n - 1.
pub const SOURCES_MAX: usize = PARTITIONS_MAX + 1;
/// Bytes that one call of [`Console::drain`] yields at most: the FIFO of a PL011.
pub const FIFO_BYTES: usize = 16;
/// Longest line that [`Sources::own_line`] may compose, in bytes.
pub const OWN_LINE_BYTES: usize = 100;
/// Introduces a command on input: Ctrl-].
pub const ESCAPE: u8 = 0x1D;

/// Bytes after which a line gives way to others even if it has no end.
const LINE_BYTES: u16 = 256;
/// Longest prefix: a name of 31 bytes and `| `.
const STAGE_BYTES: usize = OWN_LINE_BYTES + 60;
/// Runs of text and single control bytes that one call handles at most: what a line's end, the
/// choice of the next source, its prefix and its first run take, and a little more.
const STEPS: usize = 5;

/// What the keys do, shown on `Ctrl-] ?`.
pub const HELP: [&str; 2] = [
    "keys: Ctrl-] then 1-9 = input to that partition, n = to the next one, c = send Ctrl-C",
    "keys: Ctrl-] then s = status, x = power off the board, ? = this help, Ctrl-] = send Ctrl-]",
];

/// What the multiplexer reads of the system.
pub trait Sources {
    /// Number of sources, EL2 included, at most [`SOURCES_MAX`].
    fn count(&self) -> usize;
    /// The source's name, NUL-padded or not; `bulkhead` for source 0.
    fn name(&self, source: usize) -> &[u8];
    /// The source's output ring; that of source 0 holds EL2's own log.
    fn output(&self, source: usize) -> RingRef<'_>;
    /// Life-cycle state in words and number of starts of the partition behind `source`.
    fn status(&self, source: usize) -> (&'static str, u32);
    /// Whether EL2 has lines to say beyond its log ring (a health report).
    fn own_waits(&self) -> bool;
    /// Appends the next of those lines, without prefix and line end, at most [`OWN_LINE_BYTES`].
    fn own_line(&mut self, line: &mut Text<'_>);
}

/// What the caller shall do about a byte of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the byte to the partition with this index.
    Deliver {
        /// Index of the partition.
        partition: usize,
        /// The byte.
        byte: u8,
    },
    /// Switch the board off.
    PowerOff,
}

/// What [`Console::drain`] yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Bytes to write to the UART.
    pub bytes: usize,
    /// Something waits still: call again when the FIFO is empty, or after the console interval.
    pub more: bool,
}

/// Lines of the multiplexer's own, produced one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    None,
    /// Next source of a status report; one past the last for its end.
    Status(usize),
    /// Next line of [`HELP`].
    Help(usize),
    /// Input goes to this source.
    Focus(usize),
}

/// Bookkeeping of one source.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// A carriage return was taken and its meaning depends on the next byte.
    carriage_return: bool,
    /// Its line was broken on behalf of another source.
    broken: bool,
    /// Loss noticed: the position in its stream after which it is shown.
    loss_at: Option<u32>,
    /// Bytes shown as lost so far, modulo 2^32.
    shown_lost: u32,
}

const SOURCE: Source = Source { carriage_return: false, broken: false, loss_at: None, shown_lost: 0 };

/// The multiplexer. Owned by the console's CPU.
#[derive(Debug)]
pub struct Console {
    sources: [Source; SOURCES_MAX],
    /// Composed text that goes out before anything else.
    stage: [u8; STAGE_BYTES],
    stage_start: usize,
    stage_end: usize,
    /// Source whose line is open (its prefix and maybe more is out).
    open: Option<usize>,
    /// Bytes of the open line so far.
    line_bytes: u16,
    /// Where the round robin goes on.
    next: usize,
    /// Since when the open line's source has nothing to say.
    idle_since: Option<u64>,
    notice: Notice,
    /// Source in focus, 0 for none.
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
            sources: [SOURCE; SOURCES_MAX],
            stage: [0; STAGE_BYTES],
            stage_start: 0,
            stage_end: 0,
            open: None,
            line_bytes: 0,
            next: 0,
            idle_since: None,
            notice: Notice::None,
            focus: 1,
            escaped: false,
            width: 0,
        }
    }

    /// Fills `out` with what the UART shall send next.
    ///
    /// `now` is any steady clock, `grace` the time in its units for which a silent source keeps its
    /// unfinished line.
    pub fn drain(
        &mut self,
        sources: &mut impl Sources,
        now: u64,
        grace: u64,
        out: &mut [u8; FIFO_BYTES],
    ) -> Drained {
        if self.width == 0 {
            self.width = longest_name(sources);
        }
        let (mut bytes, mut chosen) = (0, false);
        for _ in 0..STEPS {
            bytes += self.unstage(out.get_mut(bytes..).unwrap_or(&mut []));
            if bytes == out.len() {
                return Drained { bytes, more: true };
            }
            if self.open.is_none() || self.must_yield(sources, now, grace) {
                // One choice per call: it costs a scan.
                if chosen {
                    return Drained { bytes, more: true };
                }
                chosen = true;
                if !self.choose(sources) {
                    return Drained { bytes, more: false };
                }
            }
            // A line break, a notice or a line of EL2's own was composed: enough for one visit.
            let Some(source) = self.open else {
                return Drained { bytes, more: true };
            };
            let room = out.get_mut(bytes..).unwrap_or(&mut []);
            match self.advance(sources, source, room) {
                Some(direct) => bytes += direct,
                None => {
                    self.idle_since.get_or_insert(now);
                    let more = others_wait(sources, source);
                    return Drained { bytes, more };
                }
            }
        }
        Drained { bytes, more: true }
    }

    /// Takes a byte of input. Returns what the caller shall do, if anything.
    pub fn input(&mut self, byte: u8, count: usize) -> Option<Action> {
        if !self.escaped {
            if byte == ESCAPE {
                self.escaped = true;
                return None;
            }
            return self.deliver(byte);
        }
        self.escaped = false;
        match byte {
            ESCAPE => return self.deliver(ESCAPE),
            b'c' => return self.deliver(0x03),
            b'x' => return Some(Action::PowerOff),
            b's' => self.show_status(),
            b'?' => self.notice = Notice::Help(0),
            b'n' => self.set_focus(self.focus + 1, count),
            b'1'..=b'9' => self.set_focus(usize::from(byte - b'0'), count),
            _ => {}
        }
        None
    }

    /// Starts a status report: one line for each partition, then `status end`.
    pub fn show_status(&mut self) {
        self.notice = Notice::Status(1);
    }

    fn deliver(&self, byte: u8) -> Option<Action> {
        let partition = self.focus.checked_sub(1)?;
        Some(Action::Deliver { partition, byte })
    }

    /// Moves the focus; a number beyond the last partition means the first.
    fn set_focus(&mut self, source: usize, count: usize) {
        let count = count.min(SOURCES_MAX);
        self.focus = if source < count { source } else { 1 };
        self.notice = Notice::Focus(self.focus);
    }

    /// Copies staged text out; returns the number of bytes.
    fn unstage(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.stage_end.wrapping_sub(self.stage_start));
        let end = self.stage_start.wrapping_add(count);
        let staged = self.stage.get(self.stage_start..end);
        if let (Some(out), Some(staged)) = (out.get_mut(..count), staged) {
            for (byte, source) in out.iter_mut().zip(staged) {
                *byte = *source;
            }
        }
        self.stage_start = end;
        count
    }

    /// Composes text into the empty stage.
    fn compose(&mut self, write: impl FnOnce(&mut Text<'_>)) {
        let mut text = Text::new(&mut self.stage);
        write(&mut text);
        self.stage_end = text.len();
        self.stage_start = 0;
    }

    /// Whether the open line has to give way to somebody else.
    fn must_yield(&mut self, sources: &impl Sources, now: u64, grace: u64) -> bool {
        let Some(open) = self.open else { return false };
        if self.notice != Notice::None {
            return true;
        }
        let entitled = match self.idle_since {
            Some(since) => now.wrapping_sub(since) < grace || !sources.output(open).is_empty(),
            None => self.line_bytes < LINE_BYTES,
        };
        if entitled {
            return false;
        }
        let wanted = others_wait(sources, open);
        if !wanted {
            self.line_bytes = self.line_bytes.min(1);
        }
        wanted
    }

    /// Breaks an open line; else opens the line of whoever is next: the multiplexer's own notices,
    /// then in turn whoever has a whole line, then who has anything. False if all is said.
    fn choose(&mut self, sources: &mut impl Sources) -> bool {
        if let Some(open) = self.open {
            self.break_line(open);
            return true;
        }
        if self.compose_notice(sources) {
            return true;
        }
        let count = sources.count().clamp(1, SOURCES_MAX);
        let (mut whole, mut any) = (None, None);
        let mut candidate = self.next;
        for _ in 0..count {
            if candidate >= count {
                candidate = 0;
            }
            let ring = sources.output(candidate);
            let empty = ring.is_empty();
            if !empty && ring.has_line() || candidate == 0 && sources.own_waits() {
                whole = Some(candidate);
                break;
            }
            if any.is_none() && (!empty || self.loss_waits(ring, candidate)) {
                any = Some(candidate);
            }
            candidate += 1;
        }
        self.line_bytes = 0;
        self.idle_since = None;
        if whole == Some(0) && sources.own_waits() {
            self.compose_own(sources);
            self.close(0);
            return true;
        }
        self.open = whole.or(any);
        self.open.is_some()
    }

    /// Ends the open line on behalf of others.
    fn break_line(&mut self, open: usize) {
        if self.line_bytes != 0 {
            if let Some(source) = self.sources.get_mut(open) {
                source.broken = true;
            }
            self.compose(|text| {
                text.str("\r\n");
            });
        }
        self.close(open);
    }

    /// Whether bytes of the source were lost and not shown yet.
    fn loss_waits(&self, ring: RingRef<'_>, source: usize) -> bool {
        self.sources.get(source).is_some_and(|state| state.shown_lost != ring.lost())
    }

    /// Shows what comes next of the open source: a run of text straight into `out`, or a single
    /// byte by way of the stage. Returns the bytes written to `out`, `None` if nothing waits.
    fn advance(&mut self, sources: &impl Sources, source: usize, out: &mut [u8]) -> Option<usize> {
        let ring = sources.output(source);
        let mut state = self.sources.get(source).copied()?;
        let lossless = state.shown_lost == ring.lost();
        if lossless && self.line_bytes != 0 && !state.carriage_return {
            let count = ring.pop_text(out);
            if count != 0 {
                self.line_bytes = self.line_bytes.saturating_add(count as u16);
                self.idle_since = None;
                return Some(count);
            }
        }
        if !lossless && self.show_loss(sources, source, &mut state) {
            return Some(0);
        }
        let byte = ring.pop()?;
        self.idle_since = None;
        match byte {
            b'\r' => state.carriage_return = true,
            b'\n' => {
                // The end of a line that was broken for others is on the screen already.
                let ended = state.broken && self.line_bytes == 0;
                self.finish_line(sources, source, ended);
                state.broken = false;
                state.carriage_return = false;
            }
            _ => {
                self.show(sources, source, byte, state.carriage_return);
                state.broken = false;
                state.carriage_return = false;
            }
        }
        if let Some(slot) = self.sources.get_mut(source) {
            *slot = state;
        }
        Some(0)
    }

    /// Shows `[N bytes lost]` once everything that was in the ring when the loss was noticed is
    /// out. True if a line was composed.
    fn show_loss(&mut self, sources: &impl Sources, source: usize, state: &mut Source) -> bool {
        let ring = sources.output(source);
        let lost = ring.lost();
        let at = *state.loss_at.get_or_insert(ring.taken_in());
        let reached = at.wrapping_sub(ring.taken_out()) as i32 <= 0;
        if reached {
            let fresh = lost.wrapping_sub(state.shown_lost);
            let break_line = self.line_bytes != 0;
            state.shown_lost = lost;
            state.loss_at = None;
            let width = self.width;
            let name = sources.name(source);
            self.compose(|text| {
                if break_line {
                    text.str("\r\n");
                }
                prefix(text, name, width);
                text.str("[").dec(u64::from(fresh)).str(" bytes lost]\r\n");
            });
            self.close(source);
        }
        if let Some(slot) = self.sources.get_mut(source) {
            *slot = *state;
        }
        reached
    }

    /// Stages one byte, with the prefix if the line begins or a carriage return took it back.
    fn show(&mut self, sources: &impl Sources, source: usize, byte: u8, carriage_return: bool) {
        let begins = self.line_bytes == 0;
        let rewinds = carriage_return && !begins;
        self.line_bytes = self.line_bytes.saturating_add(1);
        if !begins && !rewinds {
            return self.compose(|text| printable(text, byte));
        }
        let width = self.width;
        let name = sources.name(source);
        self.compose(|text| {
            if rewinds {
                text.byte(b'\r');
            }
            prefix(text, name, width);
            printable(text, byte);
        });
    }

    /// Ends the open line, unless its end was shown when it was broken.
    fn finish_line(&mut self, sources: &impl Sources, source: usize, ended: bool) {
        if !ended {
            let empty = self.line_bytes == 0;
            let width = self.width;
            let name = sources.name(source);
            self.compose(|text| {
                if empty {
                    prefix(text, name, width);
                }
                text.str("\r\n");
            });
        }
        self.close(source);
    }

    /// No line is open; the one after `source` is next.
    fn close(&mut self, source: usize) {
        self.open = None;
        self.line_bytes = 0;
        self.next = source + 1;
    }

    /// Composes the next line of a pending notice.
    fn compose_notice(&mut self, sources: &impl Sources) -> bool {
        let count = sources.count().min(SOURCES_MAX);
        let notice = self.notice;
        let width = self.width;
        self.notice = match notice {
            Notice::None => return false,
            Notice::Status(source) if source < count => Notice::Status(source + 1),
            Notice::Help(line) if line + 1 < HELP.len() => Notice::Help(line + 1),
            _ => Notice::None,
        };
        self.compose(|text| {
            prefix(text, sources.name(0), width);
            match notice {
                Notice::None => {}
                Notice::Status(source) if source < count => {
                    let (state, starts) = sources.status(source);
                    text.str("status ").name(sources.name(source), 0);
                    text.str(" ").str(state);
                    text.str(" starts=").dec(u64::from(starts));
                    let lost = sources.output(source).lost();
                    text.str(" lost=").dec(u64::from(lost));
                }
                Notice::Status(_) => {
                    text.str("status end");
                }
                Notice::Help(line) => {
                    text.str(HELP.get(line).copied().unwrap_or(""));
                }
                Notice::Focus(source) => {
                    text.str("input goes to ").name(sources.name(source), 0);
                }
            }
            text.str("\r\n");
        });
        true
    }

    /// Composes the next line of EL2's own.
    fn compose_own(&mut self, sources: &mut impl Sources) {
        let width = self.width;
        self.compose(|text| {
            prefix(text, sources.name(0), width);
            sources.own_line(text);
            text.str("\r\n");
        });
    }
}

/// Length of the longest name.
fn longest_name(sources: &impl Sources) -> usize {
    (0..sources.count().min(SOURCES_MAX)).map(|source| trim(sources.name(source)).len()).max().unwrap_or(0)
}

/// Whether another source than `open` has something to say.
#[inline(never)]
fn others_wait(sources: &impl Sources, open: usize) -> bool {
    sources.own_waits()
        || (0..sources.count().min(SOURCES_MAX))
            .any(|other| other != open && !sources.output(other).is_empty())
}

/// `NAME| `, padded.
#[inline(never)]
fn prefix(text: &mut Text<'_>, name: &[u8], width: usize) {
    text.name(name, width).str("| ");
}

/// A byte as the terminal shall see it: text, tab, backspace, bell and escape as they are, other
/// control bytes as `^X`.
#[inline(never)]
fn printable(text: &mut Text<'_>, byte: u8) {
    match byte {
        0x07..=0x09 | 0x1B | 0x20..=0x7E | 0x80.. => text.byte(byte),
        _ => text.byte(b'^').byte(byte ^ 0x40),
    };
}
