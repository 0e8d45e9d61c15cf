//! Data and instruction aborts from a guest: the syndrome in `ESR_EL2` taken apart (Arm ARM
//! DDI 0487, D24.2.40 "ISS encoding for an exception from a Data Abort").

/// Exception class: instruction abort from a lower level.
pub const EC_INSTRUCTION_ABORT: u64 = 0x20;
/// Exception class: data abort from a lower level.
pub const EC_DATA_ABORT: u64 = 0x24;

const ISV: u64 = 1 << 24;
const SSE: u64 = 1 << 21;
const SF: u64 = 1 << 15;
const FNV: u64 = 1 << 10;
const CM: u64 = 1 << 8;
const S1PTW: u64 = 1 << 7;
const WNR: u64 = 1 << 6;
/// `HPFAR_EL2.FIPA`, bits 43:4, holds IPA bits 51:12.
const FIPA: u64 = 0x0000_0FFF_FFFF_FFF0;

/// The exception class of a syndrome.
#[inline]
#[must_use]
pub const fn class(esr: u64) -> u64 {
    (esr >> 26) & 0x3F
}

/// An access that can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Address.
    pub ipa: u64,
    /// 1, 2, 4 or 8.
    pub bytes: u32,
    /// A store.
    pub write: bool,
    /// The register transferred, 31 for XZR.
    pub rt: usize,
    /// A load that sign-extends.
    pub sign_extend: bool,
    /// A load into a 64-bit register.
    pub sixty_four: bool,
}

/// Why an access cannot be emulated: it is the guest's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unemulatable {
    /// No translation fault: permission, alignment, external abort and so on.
    NotTranslation,
    /// The CPU's walk of the guest's own tables hit it.
    TableWalk,
    /// A cache maintenance or address translation instruction.
    Maintenance,
    /// Write-back, pair, exclusive or SIMD access: no syndrome (ISV = 0).
    NoSyndrome,
}

/// What kind of fault a status code (DFSC, IFSC) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Address size fault.
    AddressSize,
    /// Nothing mapped there.
    Translation,
    /// Access flag fault.
    AccessFlag,
    /// Mapped, but not for this.
    Permission,
    /// Synchronous external abort.
    External,
    /// Parity or ECC error.
    Ecc,
    /// Alignment fault.
    Alignment,
    /// Exclusive or atomic access to memory that does not support it.
    UnsupportedAtomic,
    /// Anything else.
    Other,
}

/// The fault behind a data or instruction abort.
#[must_use]
pub const fn fault(esr: u64) -> Fault {
    match esr & 0x3F {
        0x00..=0x03 => Fault::AddressSize,
        0x04..=0x07 => Fault::Translation,
        0x08..=0x0B => Fault::AccessFlag,
        0x0C..=0x0F => Fault::Permission,
        0x10 | 0x13..=0x17 => Fault::External,
        0x18 | 0x1B..=0x1F => Fault::Ecc,
        0x21 => Fault::Alignment,
        0x35 => Fault::UnsupportedAtomic,
        _ => Fault::Other,
    }
}

/// Whether the abort was taken on the CPU's walk of the guest's tables.
#[must_use]
pub const fn on_table_walk(esr: u64) -> bool {
    esr & S1PTW != 0
}

/// Whether a data abort was a store. Cache maintenance counts as none.
#[must_use]
pub const fn is_write(esr: u64) -> bool {
    esr & WNR != 0 && esr & CM == 0
}

/// Size of a data access in bytes, if the syndrome tells.
#[must_use]
pub const fn size(esr: u64) -> Option<u32> {
    if esr & ISV != 0 { Some(1 << ((esr >> 22) & 3)) } else { None }
}

/// The faulting IPA, where the architecture defines `HPFAR_EL2` (ruling 9): translation, access
/// flag and address size faults, and any fault of a table walk. The offset in the page comes from
/// `FAR_EL2` where that is valid and belongs to the same access, else it is 0.
#[inline]
#[must_use]
pub const fn ipa(esr: u64, far: u64, hpfar: u64) -> Option<u64> {
    let walk = on_table_walk(esr);
    match fault(esr) {
        Fault::Translation | Fault::AccessFlag | Fault::AddressSize => {}
        _ if walk => {}
        _ => return None,
    }
    let page = (hpfar & FIPA) << 8;
    if walk || esr & FNV != 0 { Some(page) } else { Some(page | (far & 0xFFF)) }
}

/// Takes a data abort apart for emulation.
///
/// # Errors
/// [`Unemulatable`], by what rules the emulation out.
#[inline]
pub const fn decode(esr: u64, far: u64, hpfar: u64) -> Result<Access, Unemulatable> {
    if !matches!(fault(esr), Fault::Translation) {
        return Err(Unemulatable::NotTranslation);
    }
    if esr & S1PTW != 0 {
        return Err(Unemulatable::TableWalk);
    }
    if esr & CM != 0 {
        return Err(Unemulatable::Maintenance);
    }
    if esr & ISV == 0 || esr & FNV != 0 {
        return Err(Unemulatable::NoSyndrome);
    }
    Ok(Access {
        ipa: (hpfar & FIPA) << 8 | far & 0xFFF,
        bytes: 1 << ((esr >> 22) & 3),
        write: esr & WNR != 0,
        rt: register(esr),
        sign_extend: esr & SSE != 0,
        sixty_four: esr & SF != 0,
    })
}

/// Bits that tell the most frequent access to a device apart: class, ISV, SAS, SSE, FnV, CM, S1PTW, WnR
/// and the fault's kind without its level.
const WORD_LOAD_MASK: u64 = 0x3F << 26 | ISV | 3 << 22 | SSE | FNV | CM | S1PTW | WNR | 0x3C;
/// A load of 4 bytes, zero-extended, that met a translation fault.
const WORD_LOAD: u64 = EC_DATA_ABORT << 26 | ISV | 2 << 22 | 0x04;

/// Whether [`decode`] would yield a load of 4 bytes that is zero-extended: one comparison.
#[inline(always)]
#[must_use]
pub const fn is_word_load(esr: u64) -> bool {
    esr & WORD_LOAD_MASK == WORD_LOAD
}

/// Whether [`decode`] would yield a store of 4 bytes.
#[inline(always)]
#[must_use]
pub const fn is_word_store(esr: u64) -> bool {
    esr & WORD_LOAD_MASK == WORD_LOAD | WNR
}

/// IPA of an access for which [`is_word_load`] or [`is_word_store`] holds.
#[inline(always)]
#[must_use]
pub const fn word_ipa(far: u64, hpfar: u64) -> u64 {
    (hpfar & FIPA) << 8 | far & 0xFFF
}

/// Register of a data abort with ISV set, 31 for XZR.
#[inline(always)]
#[must_use]
pub const fn register(esr: u64) -> usize {
    ((esr >> 16) & 0x1F) as usize
}

impl Access {
    /// What a store of register value `register` writes.
    #[inline]
    #[must_use]
    pub const fn stored(&self, register: u64) -> u64 {
        register & self.mask()
    }

    /// What a load puts into the register when the device answers `value`.
    #[inline]
    #[must_use]
    pub const fn loaded(&self, value: u64) -> u64 {
        let value = value & self.mask();
        if !self.sign_extend {
            return value;
        }
        let unused = 64 - 8 * (self.bytes & 15);
        let extended = ((value << (unused & 63)) as i64 >> (unused & 63)) as u64;
        if self.sixty_four { extended } else { extended & 0xFFFF_FFFF }
    }

    const fn mask(&self) -> u64 {
        u64::MAX >> ((64 - 8 * (self.bytes & 15)) & 63)
    }
}
