//! A health record in words, one bounded line at a time, so that formatting thirty-one registers
//! never makes a long visit (ruling 15).
//!
//! Line 0 says who, what and what was done, line 1 why, line 2 when; records with registers add ELR
//! and SPSR there and go on with ESR, FAR, HPFAR, then x0 to x30, four on a line.

use crate::abort::{self, Fault};
use crate::health_log::Record;
use crate::sysreg;
use crate::text::Text;
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::action;

/// Lines of a record with registers.
pub const LINES_MAX: usize = 12;
/// Lines of a record without.
const LINES_WITHOUT_REGISTERS: usize = 3;
/// First line with general-purpose registers.
const REGISTER_LINE: usize = 4;

/// Names of events, as configurations spell them, in the order of [`event`].
pub const EVENT_NAMES: [&str; event::COUNT] = [
    "memory-violation",
    "denied-hypercall",
    "undefined-sysreg",
    "external-abort",
    "undecodable-access",
    "illegal-device-access",
    "watchdog",
    "init-timeout",
    "deadline-miss",
    "port-violation",
    "console-overflow",
    "interrupt-storm",
    "integrity",
    "hypervisor-fault",
    "application-error",
];

/// Names of actions, as configurations spell them, in the order of [`action`].
pub const ACTION_NAMES: [&str; action::RESET_BOARD as usize + 1] = [
    "ignore",
    "log",
    "notify",
    "inject-abort",
    "inject-undef",
    "suspend",
    "halt",
    "warm-restart",
    "cold-restart",
    "switch-plan",
    "reset-board",
];

/// What a report needs beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The record's number on its CPU.
    pub number: u64,
    /// Name of the partition, NUL-padded or not.
    pub partition: &'a [u8],
    /// Frequency of CNTVCT in hertz.
    pub hz: u32,
}

/// Number of lines that report `record`.
#[must_use]
pub fn lines(record: &Record) -> usize {
    if record.has_registers { LINES_MAX } else { LINES_WITHOUT_REGISTERS }
}

/// Composes line `n` (0 to [`lines`] - 1), without line end.
pub fn line(record: &Record, context: Context<'_>, n: usize, text: &mut Text<'_>) {
    match n {
        0 => headline(record, context, text),
        1 => cause(record, text),
        2 => {
            text.str("at ").milliseconds(record.ticks, context.hz);
            text.str(" ms");
            if record.has_registers {
                text.str(" ELR ").hex(record.elr);
                text.str(" SPSR ").hex(record.spsr);
            }
        }
        3 => {
            text.str("ESR ").hex(record.esr);
            text.str(" FAR ").hex(record.far);
            text.str(" HPFAR ").hex(record.hpfar);
        }
        _ => registers(record, n.saturating_sub(REGISTER_LINE), text),
    }
}

fn headline(record: &Record, context: Context<'_>, text: &mut Text<'_>) {
    let name = |names: &'static [&'static str], index: u8| {
        names.get(usize::from(index)).copied().unwrap_or("unknown")
    };
    text.str("health ").dec(context.number).str(": ");
    text.name(context.partition, 0);
    text.str(" vCPU ").dec(u64::from(record.vcpu));
    text.str(" on CPU ").dec(u64::from(record.cpu));
    text.str(": ").str(name(&EVENT_NAMES, record.event));
    text.str(" -> ").str(name(&ACTION_NAMES, record.action));
}

/// Four registers.
fn registers(record: &Record, row: usize, text: &mut Text<'_>) {
    let first = row.saturating_mul(4);
    for (number, value) in record.x.iter().enumerate().skip(first).take(4) {
        register(number, *value, text);
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

/// A number that ends a phrase.
enum Number {
    None,
    Hex(u64),
    Dec(u64),
}

/// The cause in words: by the event where the guest or EL2 reported it, else by the syndrome.
fn cause(record: &Record, text: &mut Text<'_>) {
    let code = record.x[1];
    let (words, number) = match u32::from(record.event) {
        event::WATCHDOG => ("watchdog not kicked in time", Number::None),
        event::INIT_TIMEOUT => ("mode NORMAL not reached in time", Number::None),
        event::DEADLINE_MISS => ("missed deadline, code ", Number::Hex(code)),
        event::PORT_VIOLATION => ("peer broke the port protocol, code ", Number::Hex(code)),
        event::APPLICATION_ERROR => ("application raised code ", Number::Hex(code)),
        event::CONSOLE_OVERFLOW => ("console ring full", Number::None),
        event::INTERRUPT_STORM => ("interrupt too often, INTID ", Number::Dec(code)),
        event::INTEGRITY => ("digest differs, load list entry ", Number::Dec(code)),
        _ => match abort::class(record.esr) {
            0x18 => return system_register(record.esr, text),
            0x20 | 0x21 | 0x24 | 0x25 => return memory(record, text),
            class => syndrome(class, record.x[0]),
        },
    };
    text.str(words);
    match number {
        Number::None => text,
        Number::Hex(value) => text.hex(value),
        Number::Dec(value) => text.dec(value),
    };
}

/// The cause as the exception class tells it (Arm ARM, ESR_EL2.EC).
fn syndrome(class: u64, function: u64) -> (&'static str, Number) {
    let words = match class {
        0x12 | 0x16 => return ("HVC of function ", Number::Hex(function)),
        0x13 | 0x17 => return ("SMC of function ", Number::Hex(function)),
        0x00 => "unknown instruction",
        0x01 => "trapped WFI or WFE",
        0x07 | 0x19 | 0x1D => "vector instruction that the partition does not have",
        0x0E => "illegal execution state",
        0x22 => "misaligned program counter",
        0x26 => "misaligned stack pointer",
        0x2F => "SError (asynchronous external abort)",
        _ => return ("exception class ", Number::Hex(class)),
    };
    (words, Number::None)
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

fn memory(record: &Record, text: &mut Text<'_>) {
    let esr = record.esr;
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
    let (space, address) = match abort::ipa(esr, record.far, record.hpfar) {
        Some(ipa) => ("address ", ipa),
        None => ("virtual address ", record.far),
    };
    text.str(preposition).str(adjective).str(space).hex(address);
    text.str(match u32::from(record.event) {
        event::UNDECODABLE_ACCESS => ": no syndrome (pair, write-back)",
        event::ILLEGAL_DEVICE_ACCESS => ": illegal width",
        _ => reason,
    });
}
