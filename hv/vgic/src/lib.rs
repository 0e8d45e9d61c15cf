//! Virtual GICv2/GICv3: distributor model and list-register allocation.
//!
//! The API of [`Vgic`] (bodies follow in `lists`, `mmio`, `sgi`, `power`):
//!
//! ```text
//! Distributor::new(), init(&Config)          CpuInterface::new()
//! Vgic { distributor: &Distributor, interfaces: &[CpuInterface] }
//!   mmio(hw, vcpu, Frame::{Distributor, Redistributor}, offset, bytes, Option<write>) -> Result<u64, Refused>
//!   inject_hw(hw, vcpu, intid)               raise(hw, from_vcpu, intid)
//!   set_level(hw, from_vcpu, intid, level)   ring(vcpu, source_cpu, bit) -> bool
//!   sgi1r(hw, vcpu, value)                   deactivate(hw, vcpu, intid)   (trapped ICC_DIR_EL1)
//!   on_kick(hw, vcpu)  on_maintenance(hw, vcpu)  save(hw, vcpu)  restore(hw, vcpu)
//!   reset_vcpu(hw, vcpu)  reset_shared(hw)
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod hw;

pub use hw::{Control, Hardware, LIST_REGISTERS_MAX, Lr};
