//! The Bulkhead EL2 binary: the composition root. It decides nothing itself: `bulkhead-core` and
//! `bulkhead-vgic` decide, `bulkhead-arch` touches the hardware, the blueprint says for whom.
//!
//! Reading order
//! 1. [`boot`]: numbered stages from reset to the first guest.
//! 2. [`system`]: the state of partitions and CPUs, and where it stands.
//! 3. [`switch`]: whose time it is, and the change from one vCPU to another. [`dispatch`]: what a
//!    change of a partition's life does on each CPU.
//! 4. Ways in from a guest: [`calls`] (HVC, SMC), [`access`] (emulated devices, system registers,
//!    faults), [`interrupts`]; [`direct`] for partitions whose interrupts do not come that way.
//!    [`limited`]: those that may come only so often.
//! 5. [`health`]: an event becomes a record and an action. [`console`]: rings to the UART and back.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
mod access;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod console;
#[cfg(all(target_os = "none", not(feature = "gicv2")))]
mod direct;
#[cfg(target_os = "none")]
mod dispatch;
#[cfg(target_os = "none")]
mod health;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod limited;
#[cfg(target_os = "none")]
mod switch;
#[cfg(target_os = "none")]
mod system;

/// What the linker knows by name; the only attributes here that the compiler calls unsafe.
#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "boot.s and vectors.s jump to these names")]
mod entries {
    bulkhead_arch::entries!(
        crate::boot::early,
        crate::boot::main,
        crate::boot::secondary,
        crate::boot::defect,
        crate::calls::hvc,
        crate::calls::trap,
        crate::access::quick,
        crate::access::access,
        crate::interrupts::interrupt,
        crate::interrupts::fast_interrupt,
        crate::access::serror,
        crate::switch::reschedule;
        crate::system::STATE_BYTES
    );
}

/// EL2 is built without unwinding and has no panic that a guest can reach.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    boot::defect([0; 5])
}

/// The binary exists for the bare-metal target only.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bulkhead-hv runs at EL2 only: build it with `cargo xtask build`");
    std::process::exit(2);
}
