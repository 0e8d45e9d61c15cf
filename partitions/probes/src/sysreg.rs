//! System registers by encoding, each access survived if it is UNDEFINED.

use crate::fault::{self, Fault};

/// A system register and how to get at it.
pub struct Register {
    /// Its name in the Arm ARM.
    pub name: &'static str,
    read: fn() -> u64,
    write: fn(u64),
}

impl Register {
    /// Reads it.
    ///
    /// # Errors
    /// The exception that the read took.
    pub fn read(&self) -> Result<u64, Fault> {
        match fault::catch(self.read) {
            (value, None) => Ok(value),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// The exception that the write took.
    pub fn write(&self, value: u64) -> Result<(), Fault> {
        match fault::catch(|| (self.write)(value)) {
            ((), None) => Ok(()),
            ((), Some(fault)) => Err(fault),
        }
    }
}

macro_rules! registers {
    ($($(#[$meta:meta])* $constant:ident = $encoding:literal;)*) => {
        $(
            $(#[$meta])*
            pub const $constant: Register = Register {
                name: stringify!($constant),
                read: || {
                    let value: u64;
                    // SAFETY: registers of this list govern no memory of this program; an undefined
                    // one is survived (`fault::catch`).
                    unsafe {
                        core::arch::asm!("mov {0}, xzr", concat!("mrs {0}, ", $encoding),
                                         out(reg) value, options(nostack));
                    }
                    value
                },
                write: |value| {
                    // SAFETY: as for the read; callers write values that turn nothing on which
                    // could reach memory.
                    unsafe {
                        core::arch::asm!(concat!("msr ", $encoding, ", {0}"), in(reg) value,
                                         options(nostack));
                    }
                },
            };
        )*
    };
}

registers! {
    /// Feature register of the processor.
    ID_AA64PFR0_EL1 = "S3_0_C0_C4_0";
    /// Feature register of the processor.
    ID_AA64PFR1_EL1 = "S3_0_C0_C4_1";
    /// Feature register of SVE.
    ID_AA64ZFR0_EL1 = "S3_0_C0_C4_4";
    /// Feature register of SME.
    ID_AA64SMFR0_EL1 = "S3_0_C0_C4_5";
    /// Feature register of debug.
    ID_AA64DFR0_EL1 = "S3_0_C0_C5_0";
    /// Feature register of debug.
    ID_AA64DFR1_EL1 = "S3_0_C0_C5_1";
    /// Feature register of instructions.
    ID_AA64ISAR1_EL1 = "S3_0_C0_C6_1";
    /// Feature register of the memory model.
    ID_AA64MMFR0_EL1 = "S3_0_C0_C7_0";
    /// Feature register of the memory model.
    ID_AA64MMFR1_EL1 = "S3_0_C0_C7_1";
    /// A reserved feature register, read as zero.
    ID_RESERVED_C7_7 = "S3_0_C0_C7_7";
    /// Main ID register.
    MIDR_EL1 = "S3_0_C0_C0_0";
    /// Affinity.
    MPIDR_EL1 = "S3_0_C0_C0_5";
    /// Access to floating point, SVE and SME.
    CPACR_EL1 = "S3_0_C1_C0_2";
    /// Auxiliary control.
    ACTLR_EL1 = "S3_0_C1_C0_1";
    /// OS lock access, write-only.
    OSLAR_EL1 = "S2_0_C1_C0_4";
    /// OS lock status, read-only.
    OSLSR_EL1 = "S2_0_C1_C1_4";
    /// OS double lock.
    OSDLR_EL1 = "S2_0_C1_C3_4";
    /// Monitor debug system control.
    MDSCR_EL1 = "S2_0_C0_C2_2";
    /// Breakpoint value.
    DBGBVR0_EL1 = "S2_0_C0_C0_4";
    /// Breakpoint control.
    DBGBCR0_EL1 = "S2_0_C0_C0_5";
    /// Watchpoint value.
    DBGWVR0_EL1 = "S2_0_C0_C0_6";
    /// Watchpoint control.
    DBGWCR0_EL1 = "S2_0_C0_C0_7";
    /// Performance monitors' control.
    PMCR_EL0 = "S3_3_C9_C12_0";
    /// Performance monitors' cycle counter.
    PMCCNTR_EL0 = "S3_3_C9_C13_0";
    /// Performance monitors' enable set.
    PMCNTENSET_EL0 = "S3_3_C9_C12_1";
    /// Performance monitors' user enable.
    PMUSERENR_EL0 = "S3_3_C9_C14_0";
    /// Statistical profiling control.
    PMSCR_EL1 = "S3_0_C9_C9_0";
    /// SVE control.
    ZCR_EL1 = "S3_0_C1_C2_0";
    /// Limited ordering regions control.
    LORC_EL1 = "S3_0_C10_C4_3";
    /// Error record identification.
    ERRIDR_EL1 = "S3_0_C5_C3_0";
    /// Thread ID of EL0.
    TPIDR_EL0 = "S3_3_C13_C0_2";
    /// Thread ID of EL0, read-only there.
    TPIDRRO_EL0 = "S3_3_C13_C0_3";
    /// Thread ID of EL1.
    TPIDR_EL1 = "S3_0_C13_C0_4";
    /// Context ID.
    CONTEXTIDR_EL1 = "S3_0_C13_C0_1";
    /// Auxiliary fault status.
    AFSR0_EL1 = "S3_0_C5_C1_0";
    /// Auxiliary fault status.
    AFSR1_EL1 = "S3_0_C5_C1_1";
    /// Fault address. What exceptions to EL1 overwrite holds while there are none.
    FAR_EL1 = "S3_0_C6_C0_0";
    /// Exception syndrome.
    ESR_EL1 = "S3_0_C5_C2_0";
    /// Exception link.
    ELR_EL1 = "S3_0_C4_C0_1";
    /// Saved program status.
    SPSR_EL1 = "S3_0_C4_C0_0";
    /// Stack pointer of EL0.
    SP_EL0 = "S3_0_C4_C1_0";
    /// Result of an address translation.
    PAR_EL1 = "S3_0_C7_C4_0";
    /// Auxiliary memory attributes.
    AMAIR_EL1 = "S3_0_C10_C3_0";
    /// Cache size selection.
    CSSELR_EL1 = "S3_2_C0_C0_0";
    /// Compare value of the virtual timer.
    CNTV_CVAL_EL0 = "S3_3_C14_C3_2";
    /// Kernel's control of EL0's timers.
    CNTKCTL_EL1 = "S3_0_C14_C1_0";
    /// Floating-point control.
    FPCR = "S3_3_C4_C4_0";
    /// Floating-point status.
    FPSR = "S3_3_C4_C4_1";
    /// Activity monitors' control.
    AMCR_EL0 = "S3_3_C13_C2_0";
    /// Trace filter control.
    TRFCR_EL1 = "S3_0_C1_C2_1";
    /// Implementation-defined: the Cortex-A72's CPU auxiliary control.
    CPUACTLR_EL1 = "S3_1_C15_C2_0";
    /// Implementation-defined: the Cortex-A72's CPU extended control.
    CPUECTLR_EL1 = "S3_1_C15_C2_1";
    /// Implementation-defined: the Cortex-A72's L2 control.
    L2CTLR_EL1 = "S3_1_C11_C0_2";
    /// Hypervisor configuration: EL2's.
    HCR_EL2 = "S3_4_C1_C1_0";
    /// Virtualization translation base: EL2's.
    VTTBR_EL2 = "S3_4_C2_C1_0";
    /// Secure configuration: EL3's.
    SCR_EL3 = "S3_6_C1_C1_0";
    /// GIC virtual interface control: EL2's.
    ICH_HCR_EL2 = "S3_4_C12_C11_0";
    /// Hypervisor physical timer: EL2's.
    CNTHP_CTL_EL2 = "S3_4_C14_C2_1";
    /// GICv3 interface: priority mask.
    ICC_PMR_EL1 = "S3_0_C4_C6_0";
    /// GICv3 interface: interrupt acknowledge, Group 1, read-only.
    ICC_IAR1_EL1 = "S3_0_C12_C12_0";
    /// GICv3 interface: end of interrupt, Group 1, write-only.
    ICC_EOIR1_EL1 = "S3_0_C12_C12_1";
    /// GICv3 interface: highest pending, Group 1, read-only.
    ICC_HPPIR1_EL1 = "S3_0_C12_C12_2";
    /// GICv3 interface: binary point, Group 1.
    ICC_BPR1_EL1 = "S3_0_C12_C12_3";
    /// GICv3 interface: control.
    ICC_CTLR_EL1 = "S3_0_C12_C12_4";
    /// GICv3 interface: system register enable.
    ICC_SRE_EL1 = "S3_0_C12_C12_5";
    /// GICv3 interface: enable of Group 1.
    ICC_IGRPEN1_EL1 = "S3_0_C12_C12_7";
    /// GICv3 interface: running priority, read-only.
    ICC_RPR_EL1 = "S3_0_C12_C11_3";
    /// GICv3 interface: deactivate, write-only.
    ICC_DIR_EL1 = "S3_0_C12_C11_1";
    /// GICv3 interface: active priorities, Group 1.
    ICC_AP1R0_EL1 = "S3_0_C12_C9_0";
}

/// Data cache maintenance by set and way, of the first line: as a kernel does when it turns its MMU
/// on.
///
/// # Errors
/// The exception that it took.
pub fn clean_by_set_way() -> Result<(), Fault> {
    let (_, fault) = fault::catch(|| {
        // SAFETY: clean and invalidate loses nothing; only ISW could, and stage 2 makes it CISW.
        unsafe {
            core::arch::asm!("dc csw, xzr", "dc cisw, xzr", "dsb sy", options(nostack, preserves_flags));
        }
    });
    fault.map_or(Ok(()), Err)
}
