//! What the model asks of the machine: the virtual CPU interface of the calling CPU, and the
//! physical distributor behind the interrupts that a partition owns.
//!
//! `hv/arch` implements [`Hardware`] once per GIC version, the tests implement it in memory. The
//! model is generic over it, so each version gets a monomorphic copy without run-time branches.

use core::cell::Cell;

/// Most list registers that any GIC implements (IHI 0069, `ICH_VTR_EL2.ListRegs`). GICv2 allows 64;
/// the model uses the first 16 of them.
pub const LIST_REGISTERS_MAX: usize = 16;

/// State field of a list register: pending.
const PENDING: u64 = 1 << 62;
/// State field of a list register: active.
const ACTIVE: u64 = 1 << 63;
/// Linked to a physical interrupt.
const HW: u64 = 1 << 61;
/// Group 1.
const GROUP1: u64 = 1 << 60;
/// Maintenance interrupt at the end of a software interrupt (HW = 0 only).
const EOI: u64 = 1 << 41;

/// A list register, independent of the GIC version. The bits are those of `ICH_LR<n>_EL2`
/// (IHI 0069), so GICv3 takes [`Lr::bits`] as it stands; GICv2 takes [`Lr::to_v2`]. A software
/// interrupt's source CPU (GICv2 SGIs only) stands in bits 34:32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lr(u64);

impl Lr {
    /// Holds nothing.
    pub const EMPTY: Self = Self(0);

    /// A pending interrupt whose end deactivates physical interrupt `intid` (below 1020).
    #[inline(always)]
    pub const fn hardware(intid: u32, priority: u8, group1: bool) -> Self {
        let id = intid as u64;
        Self(HW | PENDING | id | (id << 32) | ((priority as u64) << 48) | ((group1 as u64) << 60))
    }

    /// A pending software interrupt. `eoi`: its end raises a maintenance interrupt. `source`: the
    /// vCPU that sent it (0 to 7), for GICv2 SGIs; 0 for all else.
    #[inline(always)]
    pub const fn software(intid: u32, priority: u8, group1: bool, eoi: bool, source: u32) -> Self {
        Self(
            PENDING
                | intid as u64
                | (((source & 7) as u64) << 32)
                | ((eoi as u64) << 41)
                | ((priority as u64) << 48)
                | ((group1 as u64) << 60),
        )
    }

    /// From the bits of `ICH_LR<n>_EL2`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of `ICH_LR<n>_EL2`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The bits of `GICH_LR<n>` (IHI 0048, 5.3.6). Priority keeps its upper five bits.
    #[inline(always)]
    pub const fn to_v2(self) -> u32 {
        let high = (self.0 >> 32) as u32;
        (self.0 as u32 & 0x3ff)
            | ((high & 0x3ff) << 10)
            | (((high >> 19) & 0x1f) << 23)
            | ((high >> 30) << 28)
            | (((high >> 28) & 1) << 30)
            | (((high >> 29) & 1) << 31)
    }

    /// From the bits of `GICH_LR<n>`.
    #[inline(always)]
    pub const fn from_v2(bits: u32) -> Self {
        let high = ((bits >> 10) & 0x3ff)
            | (((bits >> 23) & 0x1f) << 19)
            | (((bits >> 28) & 3) << 30)
            | (((bits >> 30) & 1) << 28)
            | ((bits >> 31) << 29);
        Self((bits & 0x3ff) as u64 | ((high as u64) << 32))
    }

    /// Virtual INTID.
    pub const fn intid(self) -> u32 {
        self.0 as u32
    }

    /// Priority, 0 highest.
    pub const fn priority(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Group 1 (else Group 0).
    pub const fn is_group1(self) -> bool {
        self.0 & GROUP1 != 0
    }

    /// Linked to the physical interrupt of the same INTID.
    pub const fn is_hardware(self) -> bool {
        self.0 & HW != 0
    }

    /// Neither pending nor active.
    pub const fn is_empty(self) -> bool {
        self.0 & (PENDING | ACTIVE) == 0
    }

    /// Pending, or pending and active.
    pub const fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Active, or pending and active.
    pub const fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// A software interrupt whose end raises a maintenance interrupt.
    pub const fn is_eoi(self) -> bool {
        self.0 & (HW | EOI) == EOI
    }

    /// vCPU that sent a GICv2 SGI, 0 to 7.
    pub const fn source(self) -> u32 {
        (self.0 >> 32) as u32 & 7
    }

    /// The same with the pending state set or cleared.
    pub const fn with_pending(self, pending: bool) -> Self {
        Self(if pending { self.0 | PENDING } else { self.0 & !PENDING })
    }

    /// The same with the active state set or cleared.
    pub const fn with_active(self, active: bool) -> Self {
        Self(if active { self.0 | ACTIVE } else { self.0 & !ACTIVE })
    }

    /// The same with a maintenance interrupt at its end. Software interrupts only.
    pub const fn with_eoi(self) -> Self {
        Self(self.0 | EOI)
    }
}

/// The bits of `ICH_HCR_EL2` / `GICH_HCR` that the model changes. `En` (bit 0) is always set while
/// a vCPU is current; the implementation adds it and leaves `EOIcount` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control(u32);

impl Control {
    /// `NPIE`: maintenance interrupt while no list register is in the pending state.
    pub const NO_PENDING: Self = Self(1 << 3);
    /// `LRENPIE`: maintenance interrupt while `EOIcount` is not 0.
    pub const NOT_PRESENT: Self = Self(1 << 2);
    /// `TDIR` (bit 14, GICv3 only; GICv2 ignores it): `ICC_DIR_EL1` writes trap to EL2, which calls
    /// [`crate::Vgic::deactivate`].
    pub const TRAP_DIR: Self = Self(1 << 14);

    /// The bits of `ICH_HCR_EL2`, bits 2 and 3 of which are those of `GICH_HCR` too.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Register files with a bit for each interrupt that the model reads or writes in the hardware, by
/// their offset in the distributor (IHI 0069, 12.8; IHI 0048, 4.1.2). Those of a GICv3 redistributor's
/// `SGI_base` have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum File {
    /// `ISENABLER`.
    SetEnable = 0x100,
    /// `ICENABLER`. The write has taken effect when [`Hardware::write`] returns.
    ClearEnable = 0x180,
    /// `ISPENDR`.
    SetPending = 0x200,
    /// `ICPENDR`.
    ClearPending = 0x280,
    /// `ISACTIVER`.
    SetActive = 0x300,
    /// `ICACTIVER`.
    ClearActive = 0x380,
}

/// The interrupt hardware as the model needs it. List registers, control and active priorities are
/// those of the calling CPU. `word` counts interrupts by 32: word 0 is banked and means the calling
/// CPU's SGIs and PPIs, bit `i` of word `w` is INTID `32 w + i`. `bits` are never empty and hold
/// owned interrupts only.
pub trait Hardware {
    /// Whether this is a GICv3, the guest's then being one too; else a GICv2. A constant of the
    /// implementation.
    fn is_v3(&self) -> bool;
    /// Index of the calling CPU.
    fn cpu(&self) -> u32;
    /// List registers that the calling CPU has, 1 to [`LIST_REGISTERS_MAX`]. Cheap: a constant of
    /// the boot.
    fn list_registers(&self) -> usize;
    /// Writes list register `n`, which is below [`Hardware::list_registers`].
    fn write_list(&self, n: usize, lr: Lr);
    /// Reads list register `n`.
    fn read_list(&self, n: usize) -> Lr;
    /// `ICH_ELRSR_EL2` / `GICH_ELRSR0`: the list registers that hold nothing. One whose interrupt
    /// ended but whose EOI maintenance is outstanding does not count as empty, nor one that there is
    /// not (unimplemented ones read as 0).
    fn empty_lists(&self) -> u32;
    /// Sets `ICH_HCR_EL2` / `GICH_HCR` to `En` and the bits given; `EOIcount` becomes 0.
    fn set_control(&self, control: Control);
    /// `EOIcount` of the same.
    fn eoi_count(&self) -> u32;
    /// The guests' PPIs that are enabled in the hardware of the calling CPU, as [`crate::set_ppis`] last
    /// left them.
    fn ppis(&self) -> &Cell<u32>;
    /// `ICH_VMCR_EL2` / `GICH_VMCR`. Bit 9 is the guest's EOImode in both (VEOIM / VEM).
    fn vmcr(&self) -> u32;
    /// Writes the same. 0 is the reset state; the implementation ORs in what has to be one
    /// (GICv3 with SRE: `VFIQEn`).
    fn set_vmcr(&self, value: u32);
    /// Active priorities: GICv3 `ICH_AP0R0_EL2` and `ICH_AP1R0_EL2`; GICv2 `GICH_APR` and 0. With
    /// five priority bits there are no others.
    fn active_priorities(&self) -> [u32; 2];
    /// Writes the same.
    fn set_active_priorities(&self, values: [u32; 2]);

    /// A word of a file of the physical interrupts.
    fn read(&self, file: File, word: usize) -> u32;
    /// Writes a word of a file of the physical interrupts.
    fn write(&self, file: File, word: usize, bits: u32);
    /// `ICFGR<index>` (16 interrupts of two bits): the bits in `mask` become those of `value`.
    /// Indices 0 and 1, of SGIs and PPIs, are never asked for.
    fn configure(&self, index: usize, mask: u32, value: u32);
    /// Routes shared physical interrupt `intid` (32 and above) to physical CPU `cpu`.
    fn route(&self, intid: u32, cpu: u32);
    /// Deactivates physical interrupt `intid` on the calling CPU (`ICC_DIR_EL1` / `GICC_DIR`).
    fn deactivate(&self, intid: u32);
    /// Makes physical CPU `cpu`, never the calling one, call [`crate::Vgic::on_kick`]: EL2's SGI.
    /// Stores before the call are visible to that CPU when it takes the SGI (`DSB ISHST` before
    /// `ICC_SGI1R_EL1`; a Device write after a `DMB ISHST` on GICv2).
    fn kick(&self, cpu: u32);
    /// The same for [`crate::Seat::on_post`] with the calling CPU as `source`.
    fn post(&self, cpu: u32);
}
