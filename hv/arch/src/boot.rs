//! From reset to Rust: the image's head, the MMU, stacks, and the CPUs that follow.
//!
//! The binary names its three entries with [`entries!`]: `early` runs with the MMU off and may
//! only check and print, `main` goes on with caches on, `secondary` is where the other CPUs come.

use crate::mmio::Block;
use crate::regs::{execute, read};
use bulkhead_blueprint::layout::{Header, MAGIC, Range, RegisterWrite, VERSION, cpu_boot};
use bulkhead_blueprint::limits::STACK_STRIDE;
use bulkhead_blueprint::{Blueprint, span};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};

/// MAIR_EL2: attribute 0 Device-nGnRnE, attribute 1 Normal write-back read- and write-allocate.
const MAIR: u64 = 0xFF00;
/// TCR_EL2 but for PS: 39-bit addresses (T0SZ = 25), 4 KiB granule, walks write-back and inner
/// shareable, RES1 bits 31 and 23 (Arm ARM D24.2.177).
const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25;
/// SCTLR_EL2: MMU, caches, stack alignment check, WXN (writable is never executable), RES1 bits 29,
/// 28, 23, 22, 18, 16, 11, 5, 4 (Arm ARM D24.2.165).
const SCTLR: u64 = 1 << 29
    | 1 << 28
    | 1 << 23
    | 1 << 22
    | 1 << 19
    | 1 << 18
    | 1 << 16
    | 1 << 12
    | 1 << 11
    | 1 << 5
    | 1 << 4
    | 1 << 3
    | 1 << 2
    | 1;

core::arch::global_asm!(
    ".equ MAIR_VALUE, {mair}",
    ".equ TCR_VALUE, {tcr}",
    ".equ SCTLR_VALUE, {sctlr}",
    ".equ EL2_ROOT, {root}",
    ".equ MAGIC_AT, {magic_at}",
    ".equ MAGIC, {magic}",
    ".equ VERSION_AT, {version_at}",
    ".equ VERSION, {version}",
    ".equ UART_AT, {uart}",
    ".equ WRITES_AT, {writes}",
    ".equ BOOT_WRITES_AT, {boot_writes}",
    ".equ WRITE_BYTES, {write_bytes}",
    ".equ STACKS_AT, {stacks}",
    ".equ STACK_STRIDE, {stack_stride}",
    include_str!("boot.s"),
    mair = const MAIR,
    tcr = const TCR,
    sctlr = const SCTLR,
    root = const offset_of!(Header, el2_root),
    magic_at = const offset_of!(Header, magic),
    magic = const u64::from_le_bytes(MAGIC),
    version_at = const offset_of!(Header, version),
    version = const VERSION,
    uart = const offset_of!(Header, uart_base),
    writes = const offset_of!(Header, register_writes.offset),
    boot_writes = const offset_of!(Header, boot_writes),
    write_bytes = const size_of::<RegisterWrite>(),
    stacks = const offset_of!(Header, stacks),
    stack_stride = const STACK_STRIDE,
);
core::arch::global_asm!(
    ".equ SPECTRE_BHB, {spectre_bhb}",
    include_str!("vectors.s"),
    spectre_bhb = const cfg!(feature = "spectre-bhb") as u32,
);

unsafe extern "C" {
    static bulkhead_head: u8;
    static bulkhead_secondary_head: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __el2_end: u8;
}

/// Names the functions that `boot.s` and `vectors.s` jump to.
///
/// `early(device_tree, base)` runs with the MMU off, `main()` and `secondary(index)` never return,
/// `defect(esr, elr, far, sp, lr)` is an exception of EL2 itself.
///
/// The ways in from a guest get the [`Cpu`](crate::cpu::Cpu) that they run on, which no other code
/// holds then, and return 0 to resume the guest, else the CPU's vCPU is chosen anew: `hvc` (HVC #0),
/// `trap` (other classes below 0x18, with ESR_EL2), `quick` (aborts, with x0-x18 in the
/// frame only; anything but 0 leaves the trap to `access`, and then nothing has changed), `interrupt`,
/// `serror` (and anything from AArch32). `reschedule` chooses the vCPU that runs next and fills the
/// frame.
///
/// The last one is a constant: bytes that [`State`](crate::memory::State) has to hold of the system, of each
/// partition, of each vCPU.
#[macro_export]
macro_rules! entries {
    (
        $early:path, $main:path, $secondary:path, $defect:path,
        $hvc:path, $trap:path, $quick:path, $access:path, $interrupt:path, $fast:path, $serror:path,
        $reschedule:path;
        $state:path
    ) => {
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_hvc(cpu: &mut $crate::cpu::Cpu, frame: &mut $crate::frame::Frame) -> u64 {
            $hvc(cpu, frame)
        }
        // What the compiler has to find room for (`Header::state`).
        core::arch::global_asm!(
            ".global __state_bytes, __partition_bytes, __vcpu_bytes",
            ".set __state_bytes, {system}",
            ".set __partition_bytes, {partition}",
            ".set __vcpu_bytes, {vcpu}",
            system = const $state[0], partition = const $state[1], vcpu = const $state[2],
        );
        $crate::ways_in!(bulkhead_trap: $trap, bulkhead_quick: $quick, bulkhead_access: $access, bulkhead_serror: $serror);
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn bulkhead_interrupt(cpu: &mut $crate::cpu::Cpu) -> u64 {
            $interrupt(cpu)
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_fast_interrupt(cpu: &mut $crate::cpu::Cpu) -> u64 {
            $fast(cpu)
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_reschedule(cpu: &mut $crate::cpu::Cpu, frame: &mut $crate::frame::Frame)
            -> $crate::frame::Resume {
            $reschedule(cpu, frame)
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_early(device_tree: u64, base: u64) {
            $early(device_tree, base)
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_main() -> ! {
            $main()
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_secondary(index: u64) -> ! {
            $secondary(index as usize)
        }
        #[unsafe(no_mangle)]
        extern "C" fn bulkhead_defect(esr: u64, elr: u64, far: u64, sp: u64, lr: u64) -> ! {
            $defect([esr, elr, far, sp, lr])
        }
    };
}

/// Names handlers of synchronous exceptions; part of [`entries!`].
#[macro_export]
macro_rules! ways_in {
    ($($name:ident: $handler:path),*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(cpu: &mut $crate::cpu::Cpu, frame: &mut $crate::frame::Frame, esr: u64) -> u64 {
            $handler(cpu, frame, esr)
        }
    )*};
}

/// Address at which the image was linked to lie.
#[must_use]
pub fn link_base() -> u64 {
    // Only the address is taken. `black_box` keeps the comparison with the run-time address honest.
    core::hint::black_box(&raw const bulkhead_head) as u64
}

/// The bytes from the blueprint on to the end of the firmware-independent, sealed part, as far as
/// `bytes` says. At least the header must be there: the packer puts it behind EL2.
#[must_use]
pub fn blueprint_bytes(bytes: usize) -> &'static [u8] {
    // SAFETY: the packer places blueprint and sealed bytes right behind EL2's own, in memory that the board's loader
    // filled and EL2 maps read-only; nothing ever writes it. `bytes` comes from the header itself, whose digest covers
    // it, and is checked against the image's end by `boot`'s caller before it is believed.
    unsafe { core::slice::from_raw_parts(&raw const __el2_end, bytes) }
}

/// EL2's own instructions and constants.
#[must_use]
pub fn own_bytes() -> &'static [u8] {
    // SAFETY: both symbols bound one region that the linker script lays out contiguously and EL2
    // maps read-only.
    unsafe {
        let start = &raw const bulkhead_head;
        let end = &raw const __rodata_end;
        core::slice::from_raw_parts(start, end as usize - start as usize)
    }
}

/// Firmware's device tree, before the MMU goes on.
///
/// Returns `None` if there is no tree at `address` or it claims more than 2 MiB.
#[must_use]
pub fn firmware_tree(address: u64) -> Option<&'static [u8]> {
    const MAGIC: u32 = 0xD00D_FEED;
    const BYTES_MAX: u32 = 2 << 20;
    const HEADER_BYTES: u64 = 40;
    if address == 0 || address & 7 != 0 {
        return None;
    }
    publish(Range { base: address, bytes: HEADER_BYTES });
    // SAFETY: the board's loader handed `address` over in x0, by the arm64 boot protocol an 8-byte aligned tree in RAM;
    // the MMU is off, so the load goes there. At worst the words are no tree, and are refused. Nothing writes there
    // before the partitions start, when no reference is left.
    let word = |at: usize| unsafe { u32::from_be((address as *const u32).add(at).read_volatile()) };
    let bytes = word(1);
    if word(0) != MAGIC || bytes > BYTES_MAX {
        return None;
    }
    // The strings block comes last; what is behind it is room that nobody reads (specification v0.4, 5.1 and 5.2).
    let used = word(3).saturating_add(word(8)).min(bytes);
    publish(Range { base: address, bytes: u64::from(used) });
    // SAFETY: as above; `bytes` is the tree's own length, at most 2 MiB.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, bytes as usize) })
}

/// Makes memory and caches agree (docs/caches.md, rows 2 and 22): whoever wrote these bytes write-back, they are in
/// memory afterwards. At most a few ten thousand lines.
pub fn publish(range: Range) {
    let ctr: u64;
    // SAFETY: reads CTR_EL0, whose DminLine is the smallest data line in words (Arm ARM D24.2.34).
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack)) }
    let line = 4usize << (ctr >> 16 & 0xf);
    let end = range.base + range.bytes;
    for at in (range.base & !(line as u64 - 1)..end).step_by(line) {
        // SAFETY: cleaning and invalidating a line changes no value that anybody reads.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) at, options(nostack)) }
    }
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack)) }
}

/// Starts a secondary CPU at the image's secondary entry. Returns firmware's status, 0 on success.
#[must_use]
pub fn start_cpu(method: u32, mpidr: u64, release: u64) -> i64 {
    let entry = &raw const bulkhead_secondary_head as u64;
    if method == cpu_boot::SPIN_TABLE {
        // SAFETY: `release` is the CPU's release address from the board's device tree, in memory that
        // the compiler reserves and maps for EL2; the store, cleaned to the point of coherency, is
        // what the protocol asks for. What EL2 stored before, the released CPU finds: DSB first.
        unsafe {
            core::arch::asm!("dsb ishst", "str {entry}, [{release}]", "dc civac, {release}", "dsb sy", "sev",
                entry = in(reg) entry, release = in(reg) release, options(nostack));
        }
        return 0;
    }
    const CPU_ON: u64 = 0xC400_0003;
    smc(CPU_ON, mpidr, entry, 0)
}

/// Calls firmware by SMC (SMCCC 2.x). Only where the board has PSCI by SMC.
pub(crate) fn smc(function: u64, first: u64, second: u64, third: u64) -> i64 {
    let status: i64;
    // SAFETY: SMCCC lets firmware change x0-x17 alone; PSCI calls used here touch no memory of EL2.
    unsafe {
        // An exception is no barrier: what EL2 stored before, a CPU that firmware starts finds by the DSB.
        core::arch::asm!("dsb ish", "smc #0", inout("x0") function => status, inout("x1") first => _, inout("x2") second => _,
            inout("x3") third => _, lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _,
            lateout("x8") _, lateout("x9") _, lateout("x10") _, lateout("x11") _, lateout("x12") _,
            lateout("x13") _, lateout("x14") _, lateout("x15") _, lateout("x16") _, lateout("x17") _,
            options(nostack));
    }
    status
}

/// Makes the stores that the board asks for.
fn make(writes: &[RegisterWrite]) {
    for write in writes {
        let register = Block::new(write.address);
        let kept = if write.keep == 0 { 0 } else { register.read32(0) & write.keep };
        register.write32(0, kept | write.value);
    }
}

/// Leaves the board by its own registers, else by PSCI, else not at all: where firmware has no PSCI an
/// SMC would be lost or undefined.
fn leave(blueprint: &Blueprint<'_>, writes: &[RegisterWrite], psci: u64) -> ! {
    // The health log outlives the reset where memory does; the caches do not.
    publish(blueprint.header.health_ring);
    LEAVING.store(true, Ordering::SeqCst);
    make(writes);
    if writes.is_empty() && blueprint.header.cpu_boot == cpu_boot::PSCI_SMC {
        smc(psci, 0, 0, 0);
    }
    halt()
}

/// Switches the board off; waits for ever where that cannot be done.
pub fn power_off(blueprint: &Blueprint<'_>) -> ! {
    const SYSTEM_OFF: u64 = 0x8400_0008;
    let header = blueprint.header;
    leave(blueprint, span(blueprint.register_writes, header.boot_writes, header.off_writes), SYSTEM_OFF)
}

/// Resets the board; waits for ever where that cannot be done.
pub fn reset(blueprint: &Blueprint<'_>) -> ! {
    const SYSTEM_RESET: u64 = 0x8400_0009;
    let header = blueprint.header;
    let first = header.boot_writes.wrapping_add(header.off_writes).wrapping_add(header.kick_writes);
    let writes = blueprint.register_writes.get(first as usize..).unwrap_or(&[]);
    leave(blueprint, writes, SYSTEM_RESET)
}

/// The board is about to be reset or switched off, which its watchdog may do: no kick must put that off.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Starts the board's watchdog, anew if it runs: without another kick in time it resets the board.
pub fn kick(blueprint: &Blueprint<'_>) {
    let header = blueprint.header;
    if !LEAVING.load(Ordering::SeqCst) {
        let first = header.boot_writes.wrapping_add(header.off_writes);
        make(span(blueprint.register_writes, first, header.kick_writes));
    }
}

/// Switches the board's light on or off, if it has one. Only with the MMU off.
pub fn light(header: &Header, on: bool) {
    let write = if on { &header.led_on } else { &header.led_off };
    if write.address != 0 {
        make(core::slice::from_ref(write));
    }
}

/// Stops this CPU for good; the board's light blinks `count` times, again and again.
pub fn halt_blinking(header: &Header, count: u64) -> ! {
    let (on, off) = (&header.led_on, &header.led_off);
    if on.address != 0 && count != 0 {
        // SAFETY: `bulkhead_blink` uses no memory but the two registers, which the sealed blueprint
        // names, and never returns; EL2 is mapped one to one, so that it goes on with the MMU off.
        unsafe {
            core::arch::asm!("b bulkhead_blink", in("x0") on.address, in("x1") u64::from(on.value),
                in("x2") off.address, in("x3") u64::from(off.value), in("x4") count, options(noreturn));
        }
    }
    halt()
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        execute!("wfi");
    }
}

/// Frequency of the system counter as firmware set it, in hertz.
#[must_use]
pub fn counter_hz() -> u64 {
    read!("cntfrq_el0")
}
