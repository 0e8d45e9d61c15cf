//! `critical-section` for one CPU: masked IRQs.

use crate::registers::{interrupts_masked, mask_interrupts, unmask_interrupts};

struct SingleCpu;
critical_section::set_impl!(SingleCpu);

// SAFETY: the partition has one CPU, so nothing else runs while its IRQs are masked; the previous
// state is restored, so sections nest.
unsafe impl critical_section::Impl for SingleCpu {
    unsafe fn acquire() -> bool {
        let masked = interrupts_masked();
        mask_interrupts();
        masked
    }

    unsafe fn release(masked: bool) {
        if !masked {
            unmask_interrupts();
        }
    }
}
