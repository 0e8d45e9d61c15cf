//! Status codes, returned in x0 as a sign-extended 64-bit value.
//!
//! -1 is SMCCC's NOT_SUPPORTED; -3 has SMCCC's meaning of INVALID_PARAMETER.

/// The call did what it says.
pub const SUCCESS: i64 = 0;
/// No such call, or it was not granted to this partition.
pub const NOT_SUPPORTED: i64 = -1;
/// An argument is out of range.
pub const INVALID_PARAMETER: i64 = -3;
/// The configuration does not give the caller this right.
pub const DENIED: i64 = -4;
/// Not now: a ring is full or a minimum interval has not passed (ARINC 653 NOT_AVAILABLE).
pub const NOT_AVAILABLE: i64 = -5;
/// The target is in a state that makes the operation meaningless (ARINC 653 NO_ACTION).
pub const NO_ACTION: i64 = -6;
/// A warm restart of a partition that has no region to keep.
pub const NO_PERSISTENT_REGION: i64 = -7;
/// A restart of a partition with a bus master that nobody could quiesce.
pub const NOT_RESTARTABLE: i64 = -8;
