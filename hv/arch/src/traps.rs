//! What a guest may not do: every EL2 control register, from one table, each bit with its reason.
//!
//! References are to the Arm ARM, DDI 0487 issue K. A bit of an extension that the CPU lacks is RES0
//! and harmless. Registers of extensions are written only where the ID registers show them; `deny`
//! goes through all of them (ruling 8).

use crate::regs::{execute, read, write};
use bulkhead_blueprint::layout::Partition;

/// HCR_EL2 (D24.2.59) while a guest runs.
pub const HCR: u64 = VM
    | SWIO
    | PTW
    | FMO
    | IMO
    | AMO
    | FB
    | BSU_INNER
    | TID1
    | TID3
    | TSC
    | TIDCP
    | TACR
    | TSW
    | RW
    | TLOR
    | TERR
    | TEA;
/// HCR_EL2 while a guest with direct delivery runs: physical IRQs are its own (`crate::gic::direct`).
pub const HCR_DIRECT: u64 = HCR & !IMO;
/// HCR_EL2 while the loader runs: besides, memory is cacheable with the guest's MMU off.
pub const HCR_LOADER: u64 = HCR | DC;

/// Stage 2 translates.
const VM: u64 = 1 << 0;
/// Set/way invalidation also cleans: nothing of another is lost should the trap ever be off.
const SWIO: u64 = 1 << 1;
/// A walk of the guest's own tables that lands on device memory faults.
const PTW: u64 = 1 << 2;
/// Physical FIQs come to EL2.
const FMO: u64 = 1 << 3;
/// Physical interrupts come to EL2; virtual ones are on.
const IMO: u64 = 1 << 4;
/// SErrors come to EL2.
const AMO: u64 = 1 << 5;
/// A guest's TLB and instruction-cache maintenance is broadcast: harmless, and right after a restart.
const FB: u64 = 1 << 9;
/// A guest's barriers reach at least the inner-shareable domain.
const BSU_INNER: u64 = 1 << 10;
/// Memory is Normal write-back while the guest's MMU is off.
const DC: u64 = 1 << 12;
/// REVIDR, AIDR trap: the implementation is not the guest's business.
const TID1: u64 = 1 << 16;
/// Feature ID registers trap: a guest sees what it really has.
const TID3: u64 = 1 << 18;
/// SMC traps: firmware is EL2's alone.
const TSC: u64 = 1 << 19;
/// Implementation-defined registers trap.
const TIDCP: u64 = 1 << 20;
/// ACTLR_EL1 traps.
const TACR: u64 = 1 << 21;
/// Set/way cache maintenance traps.
const TSW: u64 = 1 << 22;
/// EL1 is AArch64.
const RW: u64 = 1 << 31;
/// LORegion registers trap (FEAT_LOR).
const TLOR: u64 = 1 << 35;
/// Error record registers trap (FEAT_RAS).
const TERR: u64 = 1 << 36;
/// Synchronous external aborts come to EL2 (FEAT_RAS).
const TEA: u64 = 1 << 37;

/// CPTR_EL2 (D24.2.37, E2H = 0): RES1 bits; SVE (TZ), SME (TSM), trace (TTA) and activity monitors
/// (TAM) trap. TFP stays 0: floating point is the guest's, EL2 does not use it.
const CPTR: u64 = 0x22FF | 1 << 8 | 1 << 12 | 1 << 20 | 1 << 30;

/// MDCR_EL2 (D24.2.107) but for HPMN: debug registers (TDA), the OS lock (TDOSA) and debug ROM
/// (TDRA) trap, performance monitors (TPM, TPMCR) trap, statistical profiling (TPMS), trace filter
/// (TTRF) and debug communication (TDCC) trap; counting at EL2 is prohibited (HPMD, HCCD).
const MDCR: u64 =
    1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 14 | 1 << 17 | 1 << 19 | 1 << 23 | 1 << 27;

/// CNTHCTL_EL2 (D24.10.2, E2H = 0): EL1 and EL0 may read the physical counter (EL1PCTEN) and use the
/// physical timer (EL1PCEN): both are switched with the vCPU (ruling 1). No event stream from EL2.
const CNTHCTL: u64 = 1 << 0 | 1 << 1;

/// HSTR_EL2 (D24.2.64): AArch32 coprocessor registers trap, all that have a bit. EL0 in AArch32 state
/// is hidden from guests, one that goes there all the same gets nowhere.
const HSTR: u64 = 0xBFEF;

/// VTCR_EL2 (D24.2.188) but for PS: 39-bit IPA (T0SZ = 25), start at level 1 (SL0 = 1), walks
/// write-back inner shareable, 4 KiB granule, 8-bit VMID, RES1 bit 31.
const VTCR: u64 = 1 << 31 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25;

/// Writes every control that does not depend on the partition. Once on each CPU.
pub fn deny() {
    write!("hcr_el2", HCR);
    write!("cptr_el2", CPTR);
    let counters = (read!("pmcr_el0") >> 11) & 0x1F;
    write!("mdcr_el2", MDCR | counters);
    write!("cnthctl_el2", CNTHCTL);
    // One counter for all, the physical one, but for who asks for another (ruling 14; context::offset_counter).
    write!("cntvoff_el2", 0);
    write!("hstr_el2", HSTR);
    let pa_range = (read!("id_aa64mmfr0_el1") & 0xF).min(5);
    write!("vtcr_el2", VTCR | pa_range << 16);
    // No implementation-defined control is passed on (ruling 8).
    write!("actlr_el2", 0);
    write!("vpidr_el2", read!("midr_el1"));
    deny_extensions();
    execute!("isb");
}

/// Controls of extensions, by their encodings, where the ID registers show them. Zero means: what
/// the extension added traps, or is off.
fn deny_extensions() {
    let field = |register: u64, low: u32| (register >> low) & 0xF;
    let mmfr0 = read!("id_aa64mmfr0_el1");
    let mmfr1 = read!("id_aa64mmfr1_el1");
    let pfr0 = read!("id_aa64pfr0_el1");
    if field(mmfr1, 40) != 0 {
        write!("s3_4_c1_c2_2", 0); // HCRX_EL2
    }
    if field(mmfr0, 56) != 0 {
        write!("s3_4_c1_c1_4", 0); // HFGRTR_EL2
        write!("s3_4_c1_c1_5", 0); // HFGWTR_EL2
        write!("s3_4_c1_c1_6", 0); // HFGITR_EL2
        write!("s3_4_c3_c1_4", 0); // HDFGRTR_EL2
        write!("s3_4_c3_c1_5", 0); // HDFGWTR_EL2
        if field(pfr0, 44) != 0 {
            write!("s3_4_c3_c1_6", 0); // HAFGRTR_EL2
        }
    }
    if field(pfr0, 40) != 0 {
        // MPAM2_EL2: guests' MPAM registers trap (TRAPMPAM0EL1, TRAPMPAM1EL1).
        write!("s3_4_c10_c5_0", 3 << 48);
    }
    if field(read!("id_aa64dfr0_el1"), 40) != 0 {
        write!("s3_4_c1_c2_1", 0); // TRFCR_EL2: no trace of EL2
    }
}

/// Where a partition's translation begins: VTTBR_EL2 for a stage-2 root.
#[must_use]
pub fn vttbr(partition: &Partition, loading: bool) -> u64 {
    let root = if loading { partition.loader_root } else { partition.stage2_root };
    u64::from(partition.vmid & 0xFF) << 48 | root
}

/// Forgets all translations and instructions of the partition whose VTTBR_EL2 is in force, on every
/// CPU: its tables changed, or its memory was written anew (ruling 19).
pub fn forget_translations() {
    execute!("dsb ishst");
    execute!("tlbi vmalls12e1is");
    execute!("ic ialluis");
    execute!("dsb ish");
    execute!("isb");
}
