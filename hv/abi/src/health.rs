//! The health log: one ring of records of [`RECORD_BYTES`] for each CPU, written by its EL2, mapped
//! read-only at partitions with the right `read-health`.
//!
//! Each CPU's part holds the largest power of two of records that fits; record n lies in slot n
//! modulo that. A reader that does not know the parts takes every record whose [`TAG`] is not 0. It
//! checks the tag before and after it copies: 0, or another number, means that the record was
//! overwritten meanwhile. Records outlive a board reset where the memory does.

/// Bytes of a record.
pub const RECORD_BYTES: usize = 320;
/// u64: the record's number on its CPU plus one; 0 while it is written, or if there is none.
pub const TAG: usize = 0x00;
/// u64: system time (CNTPCT).
pub const TICKS: usize = 0x08;
/// u8: index of the partition; [`NO_PARTITION`] if none is to blame.
pub const PARTITION: usize = 0x10;
/// u8: number of the vCPU in its partition.
pub const VCPU: usize = 0x11;
/// u8: physical CPU that wrote the record.
pub const CPU: usize = 0x12;
/// u8: one of [`crate::info::event`].
pub const EVENT: usize = 0x13;
/// u8: one of [`action`].
pub const ACTION: usize = 0x14;
/// u8: bits of [`flags`].
pub const FLAGS: usize = 0x15;
/// u64: ESR_EL2; this and what follows up to x30 is 0 without [`flags::REGISTERS`].
pub const ESR: usize = 0x18;
/// u64: FAR_EL2.
pub const FAR: usize = 0x20;
/// u64: HPFAR_EL2.
pub const HPFAR: usize = 0x28;
/// u64: ELR_EL2.
pub const ELR: usize = 0x30;
/// u64: SPSR_EL2.
pub const SPSR: usize = 0x38;
/// 31 u64: x0 to x30.
pub const X0: usize = 0x40;
/// u64: what the event is about: the code of RAISE_EVENT, the function of a denied call, the INTID of
/// a storm, the load-list entry whose digest differs.
pub const CODE: usize = 0x138;
/// Value of [`PARTITION`] where no partition is to blame.
pub const NO_PARTITION: u8 = 0xFF;

/// Bits of [`FLAGS`].
pub mod flags {
    /// The registers of the moment were recorded.
    pub const REGISTERS: u8 = 1 << 0;
}

/// Health-monitor actions.
pub mod action {
    /// Nothing.
    pub const IGNORE: u32 = 0;
    /// A record in the health log.
    pub const LOG: u32 = 1;
    /// A record and a virtual interrupt at the partition named.
    pub const NOTIFY: u32 = 2;
    /// A synchronous external abort in the guest.
    pub const INJECT_ABORT: u32 = 3;
    /// An undefined-instruction exception in the guest.
    pub const INJECT_UNDEF: u32 = 4;
    /// Every vCPU stopped, to be resumed by authority.
    pub const SUSPEND: u32 = 5;
    /// Stopped until restarted.
    pub const HALT: u32 = 6;
    /// Segments reloaded, persistent regions kept.
    pub const WARM_RESTART: u32 = 7;
    /// Memory scrubbed and loaded anew.
    pub const COLD_RESTART: u32 = 8;
    /// Another plan.
    pub const SWITCH_PLAN: u32 = 9;
    /// The whole board.
    pub const RESET_BOARD: u32 = 10;
    /// The interrupt is masked until the partition restarts.
    pub const MASK_INTERRUPT: u32 = 11;
}
