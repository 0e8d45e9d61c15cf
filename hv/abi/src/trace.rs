//! The trace: one ring of 16-byte records for each CPU, written by its EL2, all the time.
//!
//! The rings of all CPUs lie one behind the other, in the order of the CPUs, all of one size. A ring
//! begins with a header of [`HEADER_BYTES`]; the rest are slots of [`RECORD_BYTES`]. Record n lies in
//! slot n modulo the number of slots. A reader copies the slots it wants and then reads [`WRITTEN`]
//! again: what is older than that number less the number of slots was overwritten meanwhile, and the
//! record after the last may be half written.
//!
//! A record is two u64: first system time (CNTPCT) << 16 | argument << 8 | kind (one of [`kind`]), then a value.
//! The counter's upper 16 bits are lost: they count days at 1 GHz.

/// Bytes of the header.
pub const HEADER_BYTES: usize = 256;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 16;
/// In the header, u64: records written since boot; the next one gets this number.
pub const WRITTEN: usize = 0x00;
/// In the header, u64: [`MAGIC`].
pub const MAGIC_AT: usize = 0x08;
/// In the header, [`cause::COUNT`] u32: visits of EL2 since the vCPU that runs got this CPU, by
/// [`cause`].
pub const CAUSES: usize = 0x40;
/// "BHTRACE1", little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BHTRACE1");

/// What a record says.
pub mod kind {
    /// Nothing was written here.
    pub const NONE: u8 = 0;
    /// The plans begin, or a plan does: argument = its index, value = the planned tick.
    pub const PLAN: u8 = 1;
    /// A vCPU gets the CPU: argument = 1 in a window of its own, 0 in background time; value = ticks
    /// from the slot's planned start (u32) | index of the vCPU << 32.
    pub const START: u8 = 2;
    /// It gives it back: argument as for `START`; value = ticks that are left of the slot (u32), the
    /// guard included | index of the vCPU << 32.
    pub const END: u8 = 3;
    /// Visits since the vCPU's `START`, before its `END`: value = those of the [`super::cause`] that is
    /// twice the argument | those of the next << 32. Not written where both are 0.
    pub const VISITS: u8 = 4;
    /// Physical interrupts of devices waited for the vCPU that starts: value = how many (u32) | ticks since
    /// its `END` << 32, at most 2^32 - 1. The longest that one of them may have waited; not written for 0.
    pub const DEFERRED: u8 = 5;
    /// An interrupt came that belongs to a partition that does not run here (ruling 2): value = INTID
    /// | index of the partition << 32.
    pub const STRAGGLER: u8 = 6;
    /// A health event: argument = the event, value = the action | index of the partition << 32.
    pub const HEALTH: u8 = 7;
    /// A plan was asked for: argument = its index, value = the tick from which on it runs.
    pub const PLAN_ASKED: u8 = 8;
    /// The CPU was cleaned for the window that starts next, and before its planned start: argument = what, bit 0
    /// the L1 caches, bit 1 the branch predictor; value = ticks that it took.
    pub const CLEANED: u8 = 9;
}

/// Why EL2 was entered.
pub mod cause {
    /// HVC or SMC.
    pub const CALL: usize = 0;
    /// System register, emulated device, abort.
    pub const ACCESS: usize = 1;
    /// A physical interrupt of the running partition, injected.
    pub const INJECTION: usize = 2;
    /// Another CPU's kick.
    pub const KICK: usize = 3;
    /// The virtual interface asks for more interrupts.
    pub const MAINTENANCE: usize = 4;
    /// EL2's timer, but for the end of a window.
    pub const TIMER: usize = 5;
    /// The console's UART.
    pub const CONSOLE: usize = 6;
    /// An interrupt of somebody else, or of nobody.
    pub const STRAGGLER: usize = 7;
    /// Number of causes.
    pub const COUNT: usize = 8;
}
