//! EL1 exceptions other than interrupts: they end the partition, with a report.
//!
//! One is survivable by design: the very first HVC, which asks whether there is a hypervisor. Bare at
//! EL1 without EL2 it is UNDEFINED; `vectors.s` recognises its address and answers NOT_SUPPORTED.

use crate::console::println;
use crate::hypercall;
use crate::registers::{self, wait_for_interrupt};
use bulkhead_abi::info::{event, mode};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

global_asm!(include_str!("vectors.s"));

/// What `vectors.s` stores on the fault stack.
#[repr(C)]
struct Frame {
    /// x0 to x30.
    registers: [u64; 31],
    /// Stack pointer when it happened.
    stack: u64,
    /// Index of the vector: 4 to 7 for the current exception level with SP_ELx.
    vector: u64,
}

/// VBAR_EL1 was set by the boot code already; SErrors are unmasked here.
pub(crate) fn init() {
    // SAFETY: vectors are in place; an SError is reported and ends the partition.
    unsafe { core::arch::asm!("msr daifclr, #4", options(nostack, preserves_flags)) }
}

fn cause(class: u64) -> &'static str {
    match class {
        0x00 => "undefined instruction",
        0x07 => "FP/SIMD access",
        0x0e => "illegal execution state",
        0x18 => "system register access",
        0x21 => "instruction abort",
        0x22 => "misaligned PC",
        0x25 => "data abort",
        0x26 => "misaligned stack",
        0x2f => "SError",
        0x3c => "breakpoint instruction",
        _ => "exception",
    }
}

/// Set by the first fault: one inside its report is not reported.
static REPORTING: AtomicBool = AtomicBool::new(false);

fn fatal(frame: &Frame) -> ! {
    if REPORTING.swap(true, Relaxed) {
        stop();
    }
    let esr = registers::read!("esr_el1");
    let far = registers::read!("far_el1");
    let elr = registers::read!("elr_el1");
    println!(
        "FAULT {} vector={} esr={esr:#x} far={far:#x} elr={elr:#x} sp={:#x}",
        cause(esr >> 26 & 0x3f),
        frame.vector,
        frame.stack
    );
    for (index, pair) in frame.registers.chunks(2).enumerate() {
        match *pair {
            [even, odd] => println!("x{:<2} {even:#018x} {odd:#018x}", index * 2),
            _ => println!("x30 {:#018x}", frame.registers[30]),
        }
    }
    stop()
}

/// Reports an application error to EL2 and stops the partition for good; bare, sleeps.
pub(crate) fn stop() -> ! {
    registers::mask_interrupts();
    if hypercall::present() {
        // The answers do not matter: there is nothing left to do differently.
        let _ = hypercall::raise_event(0, event::APPLICATION_ERROR);
        let _ = hypercall::set_mode(mode::IDLE);
    }
    loop {
        wait_for_interrupt();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    registers::mask_interrupts();
    if !REPORTING.swap(true, Relaxed) {
        println!("PANIC {info}");
    }
    stop()
}

// `vectors.s` calls it by name.
const _: () = {
    #[unsafe(no_mangle)]
    extern "C" fn __bulkhead_fatal(frame: &Frame) -> ! {
        fatal(frame)
    }
};
