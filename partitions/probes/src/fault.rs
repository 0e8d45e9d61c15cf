//! Synchronous exceptions that a probe provokes and survives.

use bulkhead_sdk::registers::isb;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, compiler_fence};

global_asm!(include_str!("fault.s"));

/// Exception classes (ESR_EL1.EC) that probes expect.
pub mod class {
    /// Unknown reason: an instruction that is UNDEFINED.
    pub const UNDEFINED: u64 = 0x00;
    /// Instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    /// Data abort without a change of exception level.
    pub const DATA_ABORT: u64 = 0x25;
}

/// Data fault status code of a synchronous external abort, not on a table walk (ESR_EL1.DFSC).
pub const EXTERNAL_ABORT: u64 = 0x10;

/// Shared with `fault.s`, which may write it with the MMU off: alone in its cache line.
#[repr(C, align(64))]
struct Catch {
    resume: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
    count: AtomicU64,
}

const _: () = {
    #[unsafe(no_mangle)]
    static __probes_catch: Catch = Catch {
        resume: AtomicU64::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
        count: AtomicU64::new(0),
    };
};

unsafe extern "C" {
    static __probes_catch: Catch;
    static __probes_vectors: u8;
}

fn record() -> &'static Catch {
    // SAFETY: defined above, made of atomics, valid for ever.
    unsafe { &__probes_catch }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1.
    pub elr: u64,
}

impl Fault {
    /// Exception class.
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// Whether it is a data abort by a synchronous external abort.
    pub fn is_external_abort(&self) -> bool {
        self.class() == class::DATA_ABORT && self.esr & 0x3f == EXTERNAL_ABORT
    }
}

/// Address of the probes' vectors, also for a second CPU.
pub(crate) fn vectors() -> u64 {
    (&raw const __probes_vectors).addr() as u64
}

/// Puts the probes' vectors in place on this CPU. Interrupts go to the runtime's as before.
pub fn install() {
    // SAFETY: the vectors pass on whatever no probe expects, so that interrupts and fatal faults are
    // handled as before.
    unsafe { asm!("msr vbar_el1, {}", in(reg) vectors(), options(nostack, preserves_flags)) }
    isb();
}

/// Cleans and drops the record's line: the other side may look at it with the MMU off.
fn synchronise() {
    compiler_fence(core::sync::atomic::Ordering::SeqCst);
    // SAFETY: cleaning and invalidating a line of valid memory loses nothing.
    unsafe {
        asm!("dc civac, {}", "dsb sy", in(reg) &raw const __probes_catch,
             options(nostack, preserves_flags));
    }
}

/// Runs `action` and returns what it did and the last fault that happened meanwhile, if any. The
/// faulting instruction has no effect; the next one is executed.
pub fn catch<R>(action: impl FnOnce() -> R) -> (R, Option<Fault>) {
    catch_at(1, action)
}

/// As [`catch`], but execution goes on at `resume`.
pub(crate) fn catch_at<R>(resume: u64, action: impl FnOnce() -> R) -> (R, Option<Fault>) {
    let catch = record();
    catch.count.store(0, Relaxed);
    catch.resume.store(resume, Relaxed);
    synchronise();
    let result = action();
    synchronise();
    let fault = (catch.count.load(Relaxed) != 0).then(|| Fault {
        esr: catch.esr.load(Relaxed),
        far: catch.far.load(Relaxed),
        elr: catch.elr.load(Relaxed),
    });
    catch.resume.store(0, Relaxed);
    (result, fault)
}
