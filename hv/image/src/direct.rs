//! Partitions whose interrupts reach them without EL2 (docs/adr/0026): what is left to do for them.
//! `bulkhead_arch::gic::direct` says how, and why that keeps EL2's own interrupts apart.

use crate::interrupts::{kicked, tick};
use crate::system::{Home, Local, SYSTEM, System};
use bulkhead_abi::trace::cause;
use bulkhead_arch::boot::blueprint_bytes;
use bulkhead_arch::cpu::Cpu;
use bulkhead_arch::fence::Fence;
use bulkhead_arch::frame::{Frame, skip_instruction};
use bulkhead_arch::gic;
use bulkhead_arch::gic::direct::{Common, DIRECT_KICK_INTID, GUEST_SGIS};
use bulkhead_arch::once::Once;
use bulkhead_arch::{timer, traps};
use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout;
use bulkhead_blueprint::limits::{DIRECT_PARTITIONS_MAX, IRQ_WORDS, PARTITION_VCPUS_MAX};
use bulkhead_core::lifecycle::State;
use bulkhead_core::sysreg::Trapped;

/// The fence of each partition with direct interrupts, in their order.
static FENCES: [Once<Fence>; DIRECT_PARTITIONS_MAX] = [const { Once::new() }; DIRECT_PARTITIONS_MAX];

/// The FIQ handler: takes one interrupt of EL2's own.
pub fn interrupt(cpu: &mut Cpu) -> u64 {
    let (Some(system), Some(local)) = (SYSTEM.get(), Local::of(cpu)) else { return 0 };
    let intid = gic::intid(local.gic.acknowledge_own());
    if intid >= gic::SPECIAL_INTID {
        return 0;
    }
    local.gic.end_own(intid);
    if intid != DIRECT_KICK_INTID {
        return tick(cpu, timer::now());
    }
    local.trace.count(cause::KICK);
    kicked(cpu, system)
}

/// The guest wrote ICC_SGI1R_EL1: the SGI goes to the CPUs of its own vCPUs (affinity 0 is the vCPU's number,
/// the other affinities are 0).
#[inline(never)]
pub fn send_sgi(local: &Local, value: u64) -> u64 {
    const ALL_OTHERS: u64 = 1 << 40;
    const AFFINITIES: u64 = 0xFF << 48 | 0xFF << 32 | 0xFF << 16;
    const RANGE: u64 = 0xF << 44;
    skip_instruction();
    let id = (value >> 24) as u32 & 0xF;
    let targets = match value {
        _ if value & ALL_OTHERS != 0 => !(1u64 << local.index),
        _ if value & (AFFINITIES | RANGE) != 0 => 0,
        list => list & 0xFFFF,
    };
    let own = SYSTEM.get().and_then(|system| Some((system, system.partition(local.partition)?.0)));
    let Some((system, partition)) = own.filter(|_| GUEST_SGIS >> id & 1 != 0) else { return 0 };
    for (vcpu, record) in system.vcpus_of(partition).iter().enumerate().take(PARTITION_VCPUS_MAX) {
        if targets >> vcpu & 1 != 0 {
            local.gic.send_guest_sgi(record.cpu, id);
        }
    }
    0
}

/// The guest accesses a register that both groups have in common. Whether it was one of those.
#[inline(never)]
pub fn common(local: &Local, frame: &mut Frame, trapped: Trapped) -> bool {
    let register = match trapped.encoding.fields() {
        (3, 0, 4, 6, 0) => Common::Mask,
        (3, 0, 12, 12, 4) => Common::Control,
        (3, 0, 12, 11, 3) if trapped.read => Common::Running,
        _ => return false,
    };
    let write = (!trapped.read).then(|| frame.get(trapped.rt));
    let value = local.gic.common(register, write);
    if trapped.read {
        frame.set(trapped.rt, value);
    }
    skip_instruction();
    true
}

/// Interrupts of `word` that are the partition's in the hardware.
fn owned(partition: &layout::Partition, word: usize) -> u32 {
    let sgis = if word == 0 { GUEST_SGIS } else { 0 };
    partition.irq_owned.get(word).copied().unwrap_or(0) | sgis
}

/// Before the model sees a write of `bytes` bytes to the emulated distributor or a redistributor: priorities go
/// to the hardware. The value for the model: Group 0 stays off, there is no such interrupt for a guest.
#[inline(never)]
pub fn write(
    local: &Local,
    system: &System,
    area: bulkhead_vgic::Frame,
    offset: u64,
    bytes: u32,
    value: u64,
) -> u64 {
    const PRIORITIES: u64 = 0x400;
    const SGI_FRAME: u64 = 1 << 16;
    let Some((partition, _)) = system.partition(local.partition) else { return value };
    let (vcpu, first) = match area {
        bulkhead_vgic::Frame::Distributor if offset == 0 => return value & !1,
        bulkhead_vgic::Frame::Distributor => (local.index, offset.wrapping_sub(PRIORITIES)),
        bulkhead_vgic::Frame::Redistributor if offset & SGI_FRAME == 0 => return value,
        bulkhead_vgic::Frame::Redistributor => {
            ((offset >> 17) as usize, (offset & 0xFFFF).wrapping_sub(PRIORITIES))
        }
    };
    let is_private = area == bulkhead_vgic::Frame::Redistributor;
    let intids = if is_private { 0..32 } else { 32..32 * IRQ_WORDS as u64 };
    if let Some(record) = system.vcpus_of(partition).get(vcpu)
        && matches!(bytes, 1 | 4)
        && offset & u64::from(bytes - 1) == 0
        && intids.contains(&first)
    {
        for lane in 0..bytes {
            let intid = first as u32 + lane;
            if owned(partition, intid as usize / 32) >> (intid % 32) & 1 != 0 {
                local.gic.prioritise(record.cpu, intid, (value >> (8 * lane)) as u8);
            }
        }
    }
    value
}

/// With piece `piece` of the reset of what a partition's vCPUs share: priorities go back to what a start finds, and so
/// does what one vCPU raised at another that was dropped before it. One vCPU and one word of SPIs at a time; there
/// are more pieces than either.
#[inline(never)]
pub fn reset(local: &Local, system: &System, partition: &layout::Partition, piece: usize) {
    if let Some(record) = system.vcpus_of(partition).get(piece) {
        local.gic.forget_private(record.cpu, owned(partition, 0));
    }
    if piece == 0 {
        return;
    }
    let mut left = owned(partition, piece);
    while left != 0 {
        local.gic.prioritise(0, 32 * piece as u32 + left.trailing_zeros(), 0);
        left &= left - 1;
    }
}

/// Gives the vCPUs of partitions with direct interrupts their HCR_EL2, and a fence for each partition.
///
/// # Errors
/// The address of a stage-2 table that is not in the sealed part of the image.
pub fn init(blueprint: &Blueprint<'_>, homes: &mut [Home]) -> Result<(), u64> {
    let base = blueprint_bytes(1).as_ptr() as u64;
    let sealed = blueprint_bytes(blueprint.header.sealed_end.saturating_sub(base) as usize);
    let direct = blueprint.partitions.iter().filter(|partition| partition.is_direct());
    for ((slot, place), partition) in FENCES.iter().enumerate().zip(direct) {
        let fence = Fence::new(slot, partition, sealed, base).ok_or(partition.stage2_root)?;
        place.set(fence);
        let own = homes.iter_mut().skip(partition.vcpu_first as usize).take(partition.vcpu_count as usize);
        for home in own {
            home.hcr = traps::HCR_DIRECT;
            home.vttbr = fence.vttbr();
            home.fence = place.get();
        }
    }
    Ok(())
}

/// The fence around a vCPU, and the life that it follows.
fn around(system: &System, vcpu: u32) -> Option<(&'static Fence, &'static crate::system::Partition)> {
    let home = system.home(vcpu);
    Some((home.fence?, home.machines))
}

/// Opens the fence if the vCPU, which may run next, belongs to a partition that runs.
#[inline(never)]
pub fn open(local: &Local, system: &System, vcpu: u32) {
    if let Some((fence, machines)) = around(system, vcpu) {
        fence.open(local.cpu, || machines.life.is_running());
    }
}

/// The life of a partition has changed: closes the fence if it is not to run.
#[inline(never)]
pub fn close(local: &Local, system: &System, partition: &layout::Partition) {
    if let Some((fence, machines)) = around(system, partition.vcpu_first)
        && !matches!(machines.life.state(), State::Running | State::Loading)
    {
        fence.close(local.cpu);
    }
}

/// Whether the fence is closed, or was since this was last asked here: then that is what the guest ran into. If it
/// was opened again meanwhile, the guest goes on with the same instruction.
#[inline(never)]
pub fn is_fenced(local: &Local, system: &System) -> bool {
    around(system, local.current).is_some_and(|(fence, _)| {
        let closings = fence.closings();
        local.closings.replace(closings) != closings || !fence.is_open()
    })
}
