//! Hypercall function identifiers (SMCCC 1.x, DEN0028): `HVC #0`, fast calls, vendor-specific
//! hypervisor service range (owner 6). 64-bit calls use x0 for the identifier, x1 to x9 for
//! arguments, and return a [`crate::status`] code in x0 and values in x1 to x3.
//!
//! Only SMCCC's own discovery calls are 32-bit (`0x8600_FFxx`).

/// Vendor UID query (SMCCC, 32-bit): returns [`UID`] in w0 to w3.
pub const UID_QUERY: u64 = 0x8600_FF01;
/// Revision query (SMCCC, 32-bit): ABI major in w0, minor in w1.
pub const REVISION: u64 = 0x8600_FF03;

/// The UID of Bulkhead, in the register order that [`UID_QUERY`] returns. Differs from KVM's.
pub const UID: [u32; 4] = [0x6b6c_7542, 0x6165_6864, 0x3d1a_4c64, 0x9e02_b7f1];

/// PV_TIME_FEATURES (DEN0057): w1 = a PV-time call; 0 if it is served. SMCCC_ARCH_FEATURES tells of it.
pub const PV_TIME_FEATURES: u64 = 0xC500_0020;
/// PV_TIME_ST (DEN0057): address (IPA) of the calling vCPU's stolen time
/// ([`crate::info::dynamic::STOLEN_TIMES`]), or NOT_SUPPORTED.
pub const PV_TIME_ST: u64 = 0xC500_0021;

/// First identifier of Bulkhead's own calls.
pub const BASE: u64 = 0xC600_0000;

/// Bitmap of the calls that this partition was granted: x1, bit n = [`BASE`] + n.
pub const FEATURES: u64 = BASE;
/// Address and size of the partition's information region ([`crate::info`]): x1 = IPA of the
/// dynamic page, x2 = bytes, dynamic page included.
pub const INFO_REGION: u64 = BASE + 1;
/// Writes to the partition's console: x1 = bytes (1 to [`CONSOLE_WRITE_MAX`]), x2 to x9 = the bytes,
/// little-endian. Never waits: what does not fit is dropped and counted.
pub const CONSOLE_WRITE: u64 = BASE + 2;
/// Reads from the partition's console: returns x1 = bytes (0 to 16), x2 and x3 = the bytes.
pub const CONSOLE_READ: u64 = BASE + 3;
/// Rings the doorbell of a port: x1 = index of the port in the information region's port table.
/// `DENIED` if the caller is not the port's writer or the port has no doorbell. Rings coalesce
/// until the receiver takes the interrupt.
pub const DOORBELL: u64 = BASE + 4;
/// Sets the ARINC 653 operating mode: x1 = one of [`crate::info::mode`] (`NORMAL` only, or `IDLE`
/// to stop the partition for good).
pub const SET_MODE: u64 = BASE + 5;
/// Tells the health monitor of an error that the application found: x1 = a code of the caller's
/// own, recorded. [`crate::info::event::PORT_VIOLATION`] and the like stand in x2.
pub const RAISE_EVENT: u64 = BASE + 6;
/// Kicks the partition's watchdog, which runs from mode NORMAL on.
pub const WATCHDOG_KICK: u64 = BASE + 7;
/// Controls a partition: x1 = its index in the caller's authority list or [`TARGET_SELF`],
/// x2 = one of [`control`]. `STATUS` returns x1 = state (see [`crate::info::state`]), x2 = number of
/// starts, x3 = mode (see [`crate::info::mode`]) | start condition << 32.
pub const PARTITION_CONTROL: u64 = BASE + 8;
/// Resets the board. Does not return. `DENIED` without the right.
pub const SYSTEM_RESET: u64 = BASE + 9;

/// Gives back the rest of the calling vCPU's window to the CPU's background partition; returns in its
/// next window. `NO_ACTION`, at once, on a CPU that the partition does not share.
pub const IDLE: u64 = BASE + 0x10;
/// Asks for a plan: x1 = its identifier. All CPUs enter it at the end of the major frame. `DENIED` if
/// the configuration does not let the caller switch to it, `NO_ACTION` if it runs or comes already.
pub const PLAN_SET: u64 = BASE + 0x11;
/// The plan: returns x1 = identifier of the current one | identifier of the next << 32 (the same if
/// none was asked for), x2 = system time (CNTPCT) since which the current one runs, x3 = that from which
/// on the next does, 2^64 - 1 without one.
pub const PLAN_STATUS: u64 = BASE + 0x12;

/// Loader only: the partition's memory is filled; EL2 switches to the partition's own tables and
/// enters it. Does not return.
pub const LOADER_DONE: u64 = BASE + 0x3E;
/// Loader only: loading failed; x1 = index of the entry whose digest differs. Does not return.
pub const LOADER_FAILED: u64 = BASE + 0x3F;

/// Calls of Bulkhead's own are dispatched by the low bits under this mask.
pub const INDEX_MASK: u64 = 0x3F;

/// Most bytes that one [`CONSOLE_WRITE`] carries.
pub const CONSOLE_WRITE_MAX: u64 = 64;

/// The calling partition itself, as a target of [`PARTITION_CONTROL`].
pub const TARGET_SELF: u64 = 0xFFFF_FFFF;

/// Operations of [`PARTITION_CONTROL`], and the bits (`1 << operation`) that an authority grants.
pub mod control {
    /// Reads the target's state.
    pub const STATUS: u64 = 0;
    /// Stops every vCPU of the target at once; contents are kept.
    pub const SUSPEND: u64 = 1;
    /// Lets a suspended target run on.
    pub const RESUME: u64 = 2;
    /// Stops the target for good; only a restart brings it back.
    pub const HALT: u64 = 3;
    /// Cold restart: memory scrubbed and loaded anew.
    pub const RESTART: u64 = 4;
    /// Warm restart: as [`RESTART`], but persistent regions are kept. `NO_PERSISTENT_REGION` where
    /// there are none. The right of [`RESTART`] covers it.
    pub const WARM_RESTART: u64 = 5;
    /// Asks the target to come to an orderly end by itself ([`crate::info::request::SHUTDOWN`] and its
    /// event interrupt). The right of [`HALT`] covers it.
    pub const SHUTDOWN: u64 = 6;
}
