//! Typed hypercalls (SMCCC 1.x over `HVC #0`; numbers and meanings in [`bulkhead_abi::hypercall`]).

use bulkhead_abi::hypercall as numbers;
use bulkhead_abi::status;
use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

static PRESENT: AtomicBool = AtomicBool::new(false);

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No hypervisor, no such call, or it was not granted.
    NotSupported,
    /// An argument is out of range.
    InvalidParameter,
    /// The configuration does not give this right.
    Denied,
    /// Not now.
    NotAvailable,
    /// Meaningless in the target's state.
    NoAction,
    /// A warm restart of a partition that has no region to keep.
    NoPersistentRegion,
    /// A restart of a partition with a bus master that nobody could quiesce.
    NotRestartable,
    /// A code that this version does not know.
    Other(i64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => f.write_str("not supported or not granted"),
            Self::InvalidParameter => f.write_str("argument out of range"),
            Self::Denied => f.write_str("the configuration does not give this right"),
            Self::NotAvailable => f.write_str("not available now"),
            Self::NoAction => f.write_str("meaningless in this state"),
            Self::NoPersistentRegion => f.write_str("no region outlives a warm restart"),
            Self::NotRestartable => f.write_str("its bus master cannot be quiesced"),
            Self::Other(code) => write!(f, "unknown status {code}"),
        }
    }
}

impl core::error::Error for Error {}

fn check(code: u64) -> Result<(), Error> {
    match code as i64 {
        status::SUCCESS => Ok(()),
        status::NOT_SUPPORTED => Err(Error::NotSupported),
        status::INVALID_PARAMETER => Err(Error::InvalidParameter),
        status::DENIED => Err(Error::Denied),
        status::NOT_AVAILABLE => Err(Error::NotAvailable),
        status::NO_ACTION => Err(Error::NoAction),
        status::NO_PERSISTENT_REGION => Err(Error::NoPersistentRegion),
        status::NOT_RESTARTABLE => Err(Error::NotRestartable),
        other => Err(Error::Other(other)),
    }
}

/// Calls with up to three arguments; returns x0 to x3.
fn call(function: u64, x1: u64, x2: u64, x3: u64) -> [u64; 4] {
    if !present() {
        return [status::NOT_SUPPORTED as u64, 0, 0, 0];
    }
    let (r0, r1, r2, r3);
    // SAFETY: the hypervisor answers (UID checked); by the ABI no call takes a pointer or changes
    // the caller's memory but for the information region, which is only read through atomics.
    unsafe {
        asm!("hvc #0",
             inlateout("x0") function => r0, inlateout("x1") x1 => r1,
             inlateout("x2") x2 => r2, inlateout("x3") x3 => r3,
             clobber_abi("C"), options(nostack));
    }
    [r0, r1, r2, r3]
}

/// Asks once for the vendor's UID. Safe to call without any EL2: the vectors answer then.
pub(crate) fn discover() {
    let (r0, r1, r2, r3): (u64, u64, u64, u64);
    // SAFETY: `__bulkhead_probe` executes HVC #0 with an SMCCC discovery call; anybody who answers
    // changes registers that the C ABI lets it change, and nothing in memory.
    unsafe {
        asm!("bl __bulkhead_probe",
             inlateout("x0") numbers::UID_QUERY => r0, lateout("x1") r1,
             lateout("x2") r2, lateout("x3") r3,
             clobber_abi("C"), options(nostack));
    }
    let uid = [r0, r1, r2, r3].map(|word| word as u32);
    PRESENT.store(uid == numbers::UID, Relaxed);
}

/// Whether this is a Bulkhead partition (and not bare metal, or another hypervisor).
pub fn present() -> bool {
    PRESENT.load(Relaxed)
}

/// Version of the hypervisor's ABI: major, minor.
pub fn revision() -> Result<(u32, u32), Error> {
    let [major, minor, ..] = call(numbers::REVISION, 0, 0, 0);
    if major as i32 == status::NOT_SUPPORTED as i32 {
        return Err(Error::NotSupported);
    }
    Ok((major as u32, minor as u32))
}

/// Bitmap of the calls granted to this partition; bit n is call `BASE + n`.
pub fn features() -> Result<u64, Error> {
    let [code, bitmap, ..] = call(numbers::FEATURES, 0, 0, 0);
    check(code).map(|()| bitmap)
}

/// Whether this partition has a watchdog to kick. A kick that was not granted would be an event for
/// the health monitor.
pub fn watchdog_granted() -> bool {
    let bit = numbers::WATCHDOG_KICK & numbers::INDEX_MASK;
    features().is_ok_and(|bitmap| bitmap >> bit & 1 != 0)
}

/// Address and size in bytes of the information region.
pub(crate) fn info_region() -> Result<(u64, u64), Error> {
    let [code, address, bytes, _] = call(numbers::INFO_REGION, 0, 0, 0);
    check(code).map(|()| (address, bytes))
}

/// Writes at most 64 bytes; longer text is cut.
pub(crate) fn console_write(bytes: &[u8]) {
    let mut words = [0u64; 8];
    let count = bytes.len().min(numbers::CONSOLE_WRITE_MAX as usize);
    for (index, &byte) in bytes.iter().take(count).enumerate() {
        words[index / 8] |= u64::from(byte) << (8 * (index % 8));
    }
    // SAFETY: as in `call`; only called once the hypervisor is known to be present. The status is of
    // no use: what did not fit is counted by EL2.
    unsafe {
        asm!("hvc #0",
             inlateout("x0") numbers::CONSOLE_WRITE => _, inlateout("x1") count as u64 => _,
             inlateout("x2") words[0] => _, inlateout("x3") words[1] => _,
             inlateout("x4") words[2] => _, inlateout("x5") words[3] => _,
             inlateout("x6") words[4] => _, inlateout("x7") words[5] => _,
             inlateout("x8") words[6] => _, inlateout("x9") words[7] => _,
             clobber_abi("C"), options(nostack));
    }
}

/// Reads up to 16 bytes that were typed; returns their number.
pub(crate) fn console_read(buffer: &mut [u8; 16]) -> usize {
    let [code, count, low, high] = call(numbers::CONSOLE_READ, 0, 0, 0);
    if check(code).is_err() {
        return 0;
    }
    buffer[..8].copy_from_slice(&low.to_le_bytes());
    buffer[8..].copy_from_slice(&high.to_le_bytes());
    (count as usize).min(buffer.len())
}

/// Rings the doorbell of the port with index `port` in the port table. `NotAvailable` within the
/// port's minimum interval.
pub fn doorbell(port: u32) -> Result<(), Error> {
    check(call(numbers::DOORBELL, u64::from(port), 0, 0)[0])
}

/// Sets the operating mode: [`bulkhead_abi::info::mode`] `NORMAL`, or `IDLE`, which does not return.
pub fn set_mode(mode: u32) -> Result<(), Error> {
    check(call(numbers::SET_MODE, u64::from(mode), 0, 0)[0])
}

/// Reports an error to the health monitor: a code of the caller's own, and which event
/// ([`bulkhead_abi::info::event`]) it is.
pub fn raise_event(code: u64, event: u32) -> Result<(), Error> {
    check(call(numbers::RAISE_EVENT, code, u64::from(event), 0)[0])
}

/// Kicks the watchdog. `NotSupported` if the configuration gives the partition none.
pub fn watchdog_kick() -> Result<(), Error> {
    check(call(numbers::WATCHDOG_KICK, 0, 0, 0)[0])
}

/// How a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// One of [`bulkhead_abi::info::state`].
    pub state: u32,
    /// Starts since the board's reset.
    pub starts: u32,
    /// One of [`bulkhead_abi::info::mode`].
    pub mode: u32,
    /// Why it was started, one of [`bulkhead_abi::info::start_condition`].
    pub condition: u32,
}

/// Controls another partition by its index in the authority list
/// ([`Info::authority`](crate::info::Info::authority)), or itself
/// ([`TARGET_SELF`](numbers::TARGET_SELF)); `operation` is one of [`numbers::control`] but `STATUS`.
pub fn partition_control(target: u64, operation: u64) -> Result<(), Error> {
    check(call(numbers::PARTITION_CONTROL, target, operation, 0)[0])
}

/// How a partition stands; `target` as for [`partition_control`].
pub fn partition_status(target: u64) -> Result<PartitionStatus, Error> {
    let [code, state, starts, mode] = call(numbers::PARTITION_CONTROL, target, numbers::control::STATUS, 0);
    check(code).map(|()| PartitionStatus {
        state: state as u32,
        starts: starts as u32,
        mode: mode as u32,
        condition: (mode >> 32) as u32,
    })
}

/// Resets the board; returns only if it is refused.
pub fn system_reset() -> Error {
    match check(call(numbers::SYSTEM_RESET, 0, 0, 0)[0]) {
        Ok(()) => Error::NotSupported,
        Err(error) => error,
    }
}

/// Gives back the rest of the window and returns in the next one. `NoAction` on a CPU that the
/// partition does not share.
pub fn idle() -> Result<(), Error> {
    check(call(numbers::IDLE, 0, 0, 0)[0])
}

/// Asks for the plan with this identifier, which begins at the end of the major frame. `NoAction` if
/// it runs already or was asked for.
pub fn plan_set(id: u32) -> Result<(), Error> {
    check(call(numbers::PLAN_SET, u64::from(id), 0, 0)[0])
}

/// What runs now, and what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanStatus {
    /// Identifier of the current plan.
    pub plan: u32,
    /// System time (CNTPCT) since which it runs.
    pub since_ticks: u64,
    /// Identifier of the plan that was asked for, and system time (CNTPCT) from which on it runs.
    pub next: Option<(u32, u64)>,
}

/// The current plan and the next. `NotSupported` in a system without plans.
pub fn plan_status() -> Result<PlanStatus, Error> {
    let [code, plans, since_ticks, from] = call(numbers::PLAN_STATUS, 0, 0, 0);
    check(code)?;
    let next = (from != u64::MAX).then_some(((plans >> 32) as u32, from));
    Ok(PlanStatus { plan: plans as u32, since_ticks, next })
}
