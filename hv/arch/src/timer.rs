//! The system counter and EL2's physical timer (CNTHP; Arm ARM D12).

use crate::regs::{execute, read, write};

/// The counter, in ticks: CNTPCT, which no offset shifts.
#[inline]
#[must_use]
pub fn now() -> u64 {
    execute!("isb");
    read!("cntpct_el0")
}

/// Arms EL2's timer for an absolute tick; `u64::MAX` disarms it. The way back to the guest synchronises it.
#[inline(always)]
pub fn arm(tick: u64) {
    write!("cnthp_cval_el2", tick);
    write!("cnthp_ctl_el2", u64::from(tick != u64::MAX));
}

/// Reads of the counter before a wait is given up: more than any window guard takes.
const WAIT_READS: u32 = 1 << 22;

/// Waits until the counter reaches `tick`, which is at most a window guard ahead; what it is then. A
/// function of its own, by whose name the time spent here is told from the switch's.
#[inline(never)]
pub fn wait_until(tick: u64) -> u64 {
    let mut time = now();
    for _ in 0..WAIT_READS {
        if time >= tick {
            break;
        }
        execute!("yield");
        time = now();
    }
    time
}
