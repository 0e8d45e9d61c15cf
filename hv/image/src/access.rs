//! Aborts and system registers: emulated devices, sanitised ID registers, and faults.

use crate::console;
use crate::health::{Cause, report};
use crate::system::{GIC_VERSION, Local, SYSTEM, System};
use bulkhead_abi::info::event;
use bulkhead_abi::trace::cause;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::frame::{self, Frame, Injection, Syndrome, skip_instruction};
use bulkhead_arch::identity;
use bulkhead_blueprint::layout::{self, NONE};
use bulkhead_core::abort::{self, Access, EC_DATA_ABORT, EC_INSTRUCTION_ABORT, Fault, Unemulatable};
use bulkhead_core::sysreg::{self, Answer, Features};

/// Exception class: MSR, MRS or system instruction.
const EC_SYSTEM: u64 = 0x18;

/// Bytes of the emulated distributor.
const GICD_BYTES: u64 = 0x1_0000;
/// GICD_SGIR (GICv2).
const GICD_SGIR: u64 = 0xF00;
/// Bytes of an emulated redistributor.
const GICR_BYTES: u64 = 0x2_0000;
/// Bytes of the emulated PL011.
const PL011_BYTES: u64 = 0x1000;

/// The first handler of aborts and of trapped registers: what drivers repeat, a word read from the distributor
/// or an SGI sent, if its register is one of those that are saved. Anything but 0: not done.
#[inline(always)]
pub fn quick(cpu: &mut Cpu, frame: &mut Frame, esr: u64) -> u64 {
    let Some(local) = Local::of(cpu) else {
        return 1;
    };
    if GIC_VERSION == 3 && sysreg::is_sgi(esr) {
        return if Frame::is_saved(sysreg::register(esr)) { send_sgi(local, frame, esr) } else { 1 };
    }
    if abort::is_word_load(esr)
        && Frame::is_saved(abort::register(esr))
        && let Some(seat) = &local.seat
        && let Some(value) = seat.quick_read(&local.gic, distributor_offset(local))
    {
        frame.set(abort::register(esr), value);
        skip_instruction();
        return 0;
    }
    let is_quick = GIC_VERSION == 2 && is_sgi(local, esr) && Frame::is_saved(abort::register(esr));
    if is_quick { send_sgi(local, frame, esr) } else { 1 }
}

/// The handler of those that remain.
#[inline(always)]
pub fn access(cpu: &mut Cpu, frame: &mut Frame, esr: u64) -> u64 {
    match Local::of(cpu) {
        Some(local) if is_sgi(local, esr) => send_sgi(local, frame, esr),
        _ => any(cpu, frame, esr),
    }
}

/// Whether the guest sends an SGI.
#[inline(always)]
fn is_sgi(local: &Local, esr: u64) -> bool {
    match GIC_VERSION {
        3 => sysreg::is_sgi(esr),
        _ => abort::is_word_store(esr) && distributor_offset(local) == GICD_SGIR,
    }
}

/// Where in the distributor an access lies that is a load or store of 4 bytes; beyond its end if elsewhere.
#[inline(always)]
fn distributor_offset(local: &Local) -> u64 {
    abort::word_ipa(frame::far(), frame::hpfar()).wrapping_sub(local.gicd)
}

/// The guest sends an SGI.
#[inline(never)]
fn send_sgi(local: &Local, frame: &Frame, esr: u64) -> u64 {
    #[cfg(not(feature = "gicv2"))]
    if local.gic.is_direct() {
        return crate::direct::send_sgi(local, frame.get(sysreg::register(esr)));
    }
    if let Some(seat) = &local.seat {
        match GIC_VERSION {
            3 => seat.sgi1r(&local.gic, frame.get(sysreg::register(esr))),
            _ => seat.sgir(&local.gic, frame.get(abort::register(esr)) as u32),
        }
    }
    skip_instruction();
    0
}

/// Every other.
#[inline(never)]
fn any(cpu: &mut Cpu, frame: &mut Frame, esr: u64) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    if local.current == NONE {
        return 1;
    }
    local.trace.count(cause::ACCESS);
    #[cfg(not(feature = "gicv2"))]
    if local.gic.is_direct() && crate::direct::is_fenced(local, system) {
        return 1;
    }
    match abort::class(esr) {
        EC_DATA_ABORT => data_abort(local, system, frame, esr),
        EC_SYSTEM => register(local, system, frame, esr),
        EC_INSTRUCTION_ABORT => {
            let event = if abort::fault(esr) == Fault::External {
                event::EXTERNAL_ABORT
            } else {
                event::MEMORY_VIOLATION
            };
            fault(local, system, event, frame, esr, Injection::InstructionAbort)
        }
        // SVE, SME, pointer authentication and the like: not shown, so not there.
        _ => fault(local, system, event::UNDEFINED_SYSREG, frame, esr, Injection::Undefined),
    }
}

/// The handler of SErrors, and of anything that comes from AArch32 state.
pub fn serror(cpu: &mut Cpu, frame: &mut Frame, esr: u64) -> u64 {
    let Some(system) = SYSTEM.get() else { return 0 };
    let Some(local) = Local::of(cpu) else {
        return 0;
    };
    fault(local, system, event::EXTERNAL_ABORT, frame, esr, Injection::DataAbort)
}

fn fault(local: &Local, system: &System, event: u32, frame: &Frame, esr: u64, fault: Injection) -> u64 {
    report(local, system, event, &Cause { code: 0, esr, frame: Some(frame), fault: Some(fault) })
}

fn data_abort(local: &Local, system: &System, frame: &mut Frame, esr: u64) -> u64 {
    let Some((partition, _)) = system.partition(local.partition) else {
        return 0;
    };
    let syndrome = Syndrome::read();
    let event = match abort::decode(esr, syndrome.far, syndrome.hpfar) {
        Ok(access) => match emulate(local, system, partition, frame, &access) {
            Emulated::Done(leave) => return leave,
            Emulated::Refused => event::ILLEGAL_DEVICE_ACCESS,
            Emulated::NoDevice => event::MEMORY_VIOLATION,
        },
        Err(Unemulatable::NoSyndrome | Unemulatable::Maintenance)
            if abort::ipa(esr, syndrome.far, syndrome.hpfar).is_some_and(|ipa| is_device(partition, ipa)) =>
        {
            event::UNDECODABLE_ACCESS
        }
        Err(_) if matches!(abort::fault(esr), Fault::External | Fault::Ecc) => event::EXTERNAL_ABORT,
        Err(_) => event::MEMORY_VIOLATION,
    };
    fault(local, system, event, frame, esr, Injection::DataAbort)
}

enum Emulated {
    /// Whether the vCPU must give way.
    Done(u64),
    Refused,
    NoDevice,
}

/// Offset in a device of `bytes` bytes at `base`; devices at 0 do not exist.
fn offset(ipa: u64, base: u64, bytes: u64) -> Option<u64> {
    let offset = ipa.wrapping_sub(base);
    (base != 0 && offset < bytes).then_some(offset)
}

fn is_device(partition: &layout::Partition, ipa: u64) -> bool {
    offset(ipa, partition.gicd_ipa, GICD_BYTES).is_some()
        || offset(ipa, partition.gicr_ipa, GICR_BYTES * u64::from(partition.vcpu_count)).is_some()
        || offset(ipa, partition.pl011_ipa, PL011_BYTES).is_some()
}

/// Serves an access to an emulated device.
fn emulate(
    local: &Local,
    system: &System,
    partition: &layout::Partition,
    frame: &mut Frame,
    access: &Access,
) -> Emulated {
    use bulkhead_vgic::Frame as GicFrame;
    let write = access.write.then(|| access.stored(frame.get(access.rt)));
    let gic = |area, offset| {
        #[cfg(not(feature = "gicv2"))]
        let write = match write {
            Some(value) if local.gic.is_direct() => {
                Some(crate::direct::write(local, system, area, offset, access.bytes, value))
            }
            _ => write,
        };
        system.vgic(local.partition).mmio(&local.gic, local.index, area, offset, access.bytes, write).ok()
    };
    let mut leave = 0;
    let value = if let Some(offset) = offset(access.ipa, partition.gicd_ipa, GICD_BYTES) {
        gic(GicFrame::Distributor, offset)
    } else if let Some(offset) = offset(access.ipa, partition.pl011_ipa, PL011_BYTES) {
        let value = console::uart_access(local, system, offset, access.bytes, write);
        leave = console::overflow(local, system);
        value
    } else if let Some(offset) =
        offset(access.ipa, partition.gicr_ipa, GICR_BYTES * u64::from(partition.vcpu_count))
    {
        gic(GicFrame::Redistributor, offset)
    } else {
        return Emulated::NoDevice;
    };
    let Some(value) = value else {
        return Emulated::Refused;
    };
    if !access.write {
        frame.set(access.rt, access.loaded(value));
    }
    skip_instruction();
    Emulated::Done(leave)
}

/// MSR, MRS and trapped system instructions.
fn register(local: &Local, system: &System, frame: &mut Frame, esr: u64) -> u64 {
    let trapped = sysreg::decode(esr);
    let gicv3 = GIC_VERSION == 3;
    #[cfg(not(feature = "gicv2"))]
    if local.gic.is_direct() && crate::direct::common(local, frame, trapped) {
        return 0;
    }
    match sysreg::policy(trapped, gicv3) {
        Answer::Sgi => return send_sgi(local, frame, esr),
        Answer::Deactivate => {
            system.vgic(local.partition).deactivate(&local.gic, local.index, frame.get(trapped.rt));
        }
        Answer::Id => {
            let features = Features { gicv3, pauth: false, pa_range: PA_RANGE_40 };
            let value =
                sysreg::id_register(trapped.encoding, identity::register(trapped.encoding), &features);
            frame.set(trapped.rt, value);
        }
        Answer::Value(value) => frame.set(trapped.rt, value),
        Answer::Ignore => {}
        Answer::Undefined => {
            return fault(local, system, event::UNDEFINED_SYSREG, frame, esr, Injection::Undefined);
        }
    }
    skip_instruction();
    0
}

/// ID_AA64MMFR0_EL1.PARange of a guest: 40 bits, the least that covers 39-bit IPAs.
const PA_RANGE_40: u64 = 2;
