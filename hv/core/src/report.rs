//! A health record in words, one bounded line at a time, so that formatting thirty-one registers
//! never makes a long visit (ruling 15).
//!
//! Line 0 says who, what and what was done, line 1 why, line 2 when; records with registers add ELR
//! and SPSR there and go on with ESR, FAR, HPFAR, then x0 to x30, four on a line.

use crate::abort::{self, Fault};
use crate::health_log::View;
use crate::sysreg;
use crate::text::Text;
use bulkhead_abi::health::{ACTION, CODE, CPU, ELR, ESR, EVENT, FAR, FLAGS, HPFAR, SPSR, TICKS, VCPU, X0};
use bulkhead_abi::info::event;

/// Lines of a record with registers.
pub const LINES_MAX: usize = 12;
/// Lines of a record without.
const LINES_WITHOUT_REGISTERS: usize = 3;
/// First line with general-purpose registers.
const REGISTER_LINE: usize = 4;

/// Names of events, as configurations spell them, in the order of [`event`].
pub const EVENT_NAMES: &str = "memory-violation denied-hypercall undefined-sysreg external-abort \
     undecodable-access illegal-device-access watchdog init-timeout deadline-miss port-violation \
     console-overflow interrupt-storm integrity hypervisor-fault application-error window-overrun";

/// Names of actions, as configurations spell them, in the order of
/// [`bulkhead_blueprint::layout::action`].
pub const ACTION_NAMES: &str = "ignore log notify inject-abort inject-undef suspend halt warm-restart \
     cold-restart switch-plan reset-board mask-interrupt";

/// Word `index` of a list of names. By bytes: `str::split` brings a panic along that nothing can reach.
fn name(names: &'static str, index: u8) -> &'static [u8] {
    let mut words = names.as_bytes().split(|byte| *byte == b' ');
    words.nth(usize::from(index)).unwrap_or(b"unknown")
}

/// What a report needs beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Name of the partition, NUL-padded or not.
    pub partition: &'a [u8],
    /// Frequency of CNTVCT in hertz.
    pub hz: u32,
}

/// Number of lines that report `record`.
#[must_use]
pub fn lines(record: View<'_>) -> usize {
    if record.byte(FLAGS) != 0 { LINES_MAX } else { LINES_WITHOUT_REGISTERS }
}

/// Composes line `n` (0 to [`lines`] - 1), without line end.
pub fn line(record: View<'_>, context: Context<'_>, n: usize, text: &mut Text<'_>) {
    match n {
        0 => {
            text.str("health ").dec(record.number).str(": ").name(context.partition, 0);
            text.str(" vCPU ").dec(u64::from(record.byte(VCPU)));
            text.str(" on CPU ").dec(u64::from(record.byte(CPU)));
            text.str(": ").bytes(name(EVENT_NAMES, record.byte(EVENT)));
            text.str(" -> ").bytes(name(ACTION_NAMES, record.byte(ACTION)));
        }
        1 => cause(record, text),
        2 => {
            text.str("at ").milliseconds(record.word(TICKS), context.hz).str(" ms");
            if record.byte(FLAGS) != 0 {
                text.str(" ELR ").hex(record.word(ELR)).str(" SPSR ").hex(record.word(SPSR));
            }
        }
        3 => {
            text.str("ESR ").hex(record.word(ESR)).str(" FAR ").hex(record.word(FAR));
            text.str(" HPFAR ").hex(record.word(HPFAR));
        }
        _ => registers(record, n.saturating_sub(REGISTER_LINE), text),
    }
}

/// Four registers.
fn registers(record: View<'_>, row: usize, text: &mut Text<'_>) {
    let first = row.saturating_mul(4);
    for number in first..first.saturating_add(4).min(31) {
        register(number, record.word(X0 + 8 * number), text);
    }
}

/// One register: `x0  0123456789abcdef`, with a space before all but the line's first.
#[inline(never)]
fn register(number: usize, value: u64, text: &mut Text<'_>) {
    let (tens, units) = ((number / 10) as u8, (number % 10) as u8);
    if !text.is_empty() {
        text.byte(b' ');
    }
    text.byte(b'x');
    if tens != 0 {
        text.byte(b'0' + tens);
    }
    text.byte(b'0' + units);
    if tens == 0 {
        text.byte(b' ');
    }
    text.byte(b' ').hex_digits(value, 16);
}

/// The cause in words: by the event where the guest or EL2 reported it, else by the syndrome.
fn cause(record: View<'_>, text: &mut Text<'_>) {
    let (code, esr) = (record.word(CODE), record.word(ESR));
    let words = match u32::from(record.byte(EVENT)) {
        event::WATCHDOG => "watchdog not kicked for ticks ",
        event::INIT_TIMEOUT => "mode NORMAL not reached for ticks ",
        event::DEADLINE_MISS => "missed deadline, code ",
        event::PORT_VIOLATION => "peer broke the port protocol, code ",
        event::APPLICATION_ERROR => "application raised code ",
        event::CONSOLE_OVERFLOW => "console ring full, bytes lost ",
        event::INTERRUPT_STORM => "interrupt too often, INTID ",
        event::WINDOW_OVERRUN => "window began late, ticks ",
        event::INTEGRITY => "digest differs, load list entry ",
        event::DENIED_HYPERCALL => "call of function ",
        _ => match abort::class(esr) {
            0x18 => return system_register(esr, text),
            0x20 | 0x21 | 0x24 | 0x25 => return memory(record, text),
            class => {
                text.str(if class == 0x2F { "SError, class " } else { "exception class " }).hex(class);
                return;
            }
        },
    };
    text.str(words).hex(code);
}

fn system_register(esr: u64, text: &mut Text<'_>) {
    let trapped = sysreg::decode(esr);
    let (op0, op1, crn, crm, op2) = trapped.encoding.fields();
    text.str(match (op0, trapped.read) {
        (0 | 1, _) => "system instruction S",
        (_, true) => "read of undefined system register S",
        (_, false) => "write of undefined system register S",
    });
    let fields = [(op0, "_"), (op1, "_C"), (crn, "_C"), (crm, "_"), (op2, "")];
    for (field, separator) in fields {
        text.dec(u64::from(field)).str(separator);
    }
}

fn memory(record: View<'_>, text: &mut Text<'_>) {
    let esr = record.word(ESR);
    let execution = abort::class(esr) < abort::EC_DATA_ABORT;
    let write = !execution && abort::is_write(esr);
    let (verb, preposition) = match (abort::on_table_walk(esr), execution, write) {
        (true, ..) => ("table walk", " from "),
        (_, true, _) => ("execution", " from "),
        (.., true) => ("write", " to "),
        _ => ("read", " from "),
    };
    text.str(verb);
    if let (Some(bytes), false) = (abort::size(esr), execution) {
        text.str(" of ").dec(u64::from(bytes));
        text.str(if bytes == 1 { " byte" } else { " bytes" });
    }
    let (adjective, reason) = match abort::fault(esr) {
        Fault::Translation => ("unmapped ", ""),
        Fault::Permission if write => ("read-only ", ""),
        Fault::Permission if execution => ("non-executable ", ""),
        Fault::Permission => ("unreadable ", ""),
        Fault::AddressSize => ("", ": address too large"),
        Fault::AccessFlag => ("", ": access flag"),
        Fault::External => ("", ": external abort"),
        Fault::Ecc => ("", ": memory error"),
        Fault::Alignment => ("", ": misaligned"),
        Fault::UnsupportedAtomic => ("", ": no atomics there"),
        Fault::Other => ("", ": other fault"),
    };
    let (space, address) = match abort::ipa(esr, record.word(FAR), record.word(HPFAR)) {
        Some(ipa) => ("address ", ipa),
        None => ("virtual address ", record.word(FAR)),
    };
    text.str(preposition).str(adjective).str(space).hex(address);
    text.str(match u32::from(record.byte(EVENT)) {
        event::UNDECODABLE_ACCESS => ": no syndrome (pair, write-back)",
        event::ILLEGAL_DEVICE_ACCESS => ": illegal width",
        _ => reason,
    });
}
