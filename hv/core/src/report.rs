//! A health record in words, one bounded line at a time, so that formatting thirty-one registers
//! never makes a long visit (ruling 15).
//!
//! Line 0 says who, what and what was done, line 1 when and why; records with registers go on with
//! ESR, FAR, HPFAR, then ELR and SPSR, then x0 to x30, four on a line.

use crate::abort::{self, Fault};
use crate::health_log::Record;
use crate::sysreg;
use crate::text::Text;
use bulkhead_abi::info::event;
use bulkhead_blueprint::layout::action;

/// Lines of a record with registers.
pub const LINES_MAX: usize = 12;
/// Lines of a record without.
const LINES_WITHOUT_REGISTERS: usize = 2;
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
    if record.has_registers {
        LINES_MAX
    } else {
        LINES_WITHOUT_REGISTERS
    }
}

/// Composes line `n` (0 to [`lines`] - 1), without line end.
pub fn line(record: &Record, context: Context<'_>, n: usize, text: &mut Text<'_>) {
    match n {
        0 => headline(record, context, text),
        1 => {
            text.str("at ").milliseconds(record.ticks, context.hz);
            text.str(" ms: ");
            cause(record, text);
        }
        2 => {
            text.str("ESR ").hex(record.esr);
            text.str(" FAR ").hex(record.far);
            text.str(" HPFAR ").hex(record.hpfar);
        }
        3 => {
            text.str("ELR ").hex(record.elr);
            text.str(" SPSR ").hex(record.spsr);
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

/// Four registers: `x0  0123456789abcdef`.
fn registers(record: &Record, row: usize, text: &mut Text<'_>) {
    let first = row.saturating_mul(4);
    let values = record.x.iter().enumerate().skip(first).take(4);
    for (number, value) in values {
        if number != first {
            text.str(" ");
        }
        text.str("x").dec(number as u64);
        if number < 10 {
            text.str(" ");
        }
        text.str(" ").hex_digits(*value, 16);
    }
}

/// The cause in words: by the event where the guest or EL2 reported it, else by the syndrome.
fn cause<'t, 'b>(record: &Record, text: &'t mut Text<'b>) -> &'t mut Text<'b> {
    let code = record.x[1];
    match u32::from(record.event) {
        event::WATCHDOG => text.str("watchdog not kicked in time"),
        event::INIT_TIMEOUT => text.str("mode NORMAL not reached in time"),
        event::DEADLINE_MISS => text.str("missed deadline, code ").hex(code),
        event::PORT_VIOLATION => text.str("peer broke the port protocol, code ").hex(code),
        event::APPLICATION_ERROR => text.str("application raised code ").hex(code),
        event::CONSOLE_OVERFLOW => text.str("console ring full"),
        event::INTERRUPT_STORM => text
            .str("interrupt more often than allowed, INTID ")
            .dec(code),
        event::INTEGRITY => text.str("digest differs, load list entry ").dec(code),
        _ => syndrome(record, text),
    }
}

/// The cause as ESR_EL2 tells it (Arm ARM D24.2.40).
fn syndrome<'t, 'b>(record: &Record, text: &'t mut Text<'b>) -> &'t mut Text<'b> {
    let esr = record.esr;
    match abort::class(esr) {
        0x12 | 0x16 => text.str("hypercall ").hex(record.x[0]).str(" by HVC"),
        0x13 | 0x17 => text.str("hypercall ").hex(record.x[0]).str(" by SMC"),
        0x18 => system_register(esr, text),
        0x20 | 0x21 | 0x24 | 0x25 => memory(record, text),
        0x00 => text.str("unknown instruction"),
        0x01 => text.str("trapped WFI or WFE"),
        0x07 | 0x19 | 0x1D => text.str("vector instruction that the partition does not have"),
        0x0E => text.str("illegal execution state"),
        0x22 => text.str("misaligned program counter"),
        0x26 => text.str("misaligned stack pointer"),
        0x2F => text.str("SError (asynchronous external abort)"),
        class => text.str("exception class ").hex(class),
    }
}

fn system_register<'t, 'b>(esr: u64, text: &'t mut Text<'b>) -> &'t mut Text<'b> {
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
    text
}

fn memory<'t, 'b>(record: &Record, text: &'t mut Text<'b>) -> &'t mut Text<'b> {
    let esr = record.esr;
    let execution = abort::class(esr) < abort::EC_DATA_ABORT;
    let write = !execution && abort::is_write(esr);
    if abort::on_table_walk(esr) {
        text.str("table walk");
    } else if execution {
        text.str("execution");
    } else {
        text.str(if write { "write" } else { "read" });
        if let Some(bytes) = abort::size(esr) {
            text.str(" of ").dec(u64::from(bytes));
            text.str(if bytes == 1 { " byte" } else { " bytes" });
        }
    }
    text.str(if write { " to " } else { " from " });
    let kind = abort::fault(esr);
    text.str(match kind {
        Fault::Translation => "unmapped ",
        Fault::Permission if write => "read-only ",
        Fault::Permission if execution => "non-executable ",
        Fault::Permission => "unreadable ",
        _ => "",
    });
    match abort::ipa(esr, record.far, record.hpfar) {
        Some(ipa) => text.str("address ").hex(ipa),
        None => text.str("virtual address ").hex(record.far),
    };
    text.str(match kind {
        Fault::Translation | Fault::Permission => "",
        Fault::AddressSize => ": address too large",
        Fault::AccessFlag => ": access flag",
        Fault::External => ": external abort",
        Fault::Ecc => ": memory error",
        Fault::Alignment => ": misaligned",
        Fault::UnsupportedAtomic => ": no atomics there",
        Fault::Other => ": other fault",
    });
    text.str(match u32::from(record.event) {
        event::UNDECODABLE_ACCESS => ": no syndrome (pair, write-back)",
        event::ILLEGAL_DEVICE_ACCESS => ": illegal width",
        _ => "",
    })
}
