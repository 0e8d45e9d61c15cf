//! Formats of the virtual interface's registers and of affinities: pure functions without hardware.
//! List registers themselves have their formats in [`bulkhead_vgic::Lr`].

use bulkhead_vgic::LIST_REGISTERS_MAX;

/// Affinity fields of MPIDR_EL1: Aff3 in 39:32, Aff2 to Aff0 in 23:0. GICD_IROUTER has them at the
/// same places.
pub const AFFINITY_MASK: u64 = 0xFF_00FF_FFFF;

/// Affinity as GICR_TYPER bits 63:32 hold it: Aff3.Aff2.Aff1.Aff0 in adjacent bytes.
#[must_use]
pub const fn packed_affinity(mpidr: u64) -> u64 {
    (mpidr & 0xFF_FFFF) | ((mpidr >> 32 & 0xFF) << 24)
}

/// What ICC_SGI1R_EL1 wants to reach the CPU of this MPIDR alone, without the INTID: Aff3 in 55:48,
/// RS (Aff0 / 16) in 47:44, Aff2 in 39:32, Aff1 in 23:16, one bit of Aff0 % 16 in 15:0.
///
/// Aff0 above 15 needs `ICC_CTLR_EL1.RSS`; boards with affinities by cluster do not have it.
#[must_use]
pub const fn sgi_target(mpidr: u64) -> u64 {
    let aff0 = mpidr & 0xFF;
    let aff1 = mpidr >> 8 & 0xFF;
    let aff2 = mpidr >> 16 & 0xFF;
    let aff3 = mpidr >> 32 & 0xFF;
    aff3 << 48 | (aff0 >> 4) << 44 | aff2 << 32 | aff1 << 16 | 1 << (aff0 & 15)
}

/// Words of a register with one bit for each interrupt: `GICD_TYPER.ITLinesNumber` + 1, 1 to 32.
#[must_use]
pub const fn interrupt_words(typer: u32) -> u64 {
    (typer & 0x1F) as u64 + 1
}

/// Number of list registers, from GICH_VTR or ICH_VTR_EL2: ListRegs + 1, at most 16 in GICv3 and
/// cut there for GICv2, whose field allows 64.
#[must_use]
pub const fn list_registers(vtr: u32) -> u32 {
    let count = (vtr & 0x3F) + 1;
    if count > LIST_REGISTERS_MAX as u32 { LIST_REGISTERS_MAX as u32 } else { count }
}

/// Whether ICH_AP0R0_EL2 and ICH_AP1R0_EL2 (GICv2: GICH_APR) hold all active priorities: at most
/// five bits of preemption, from PREbits (28:26, minus one) of ICH_VTR_EL2 or GICH_VTR.
#[must_use]
pub const fn one_active_priority_register(vtr: u32) -> bool {
    (vtr >> 26) & 7 <= 4
}

/// `EOIcount`, bits 31:27 of ICH_HCR_EL2 and GICH_HCR.
const EOI_COUNT_SHIFT: u32 = 27;
/// `En`, bit 0 of both.
const HCR_EN: u32 = 1;

/// `EOIcount` of a virtual interface's HCR value, 0 to 31.
#[must_use]
pub const fn eoi_count(hcr: u32) -> u32 {
    hcr >> EOI_COUNT_SHIFT
}

/// The HCR value with `En` and these control bits, `EOIcount` 0.
#[must_use]
pub const fn hcr(control: u32) -> u32 {
    (control & ((1 << EOI_COUNT_SHIFT) - 1)) | HCR_EN
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_vgic::Lr;

    /// QEMU: 4 list registers, 5 bits of priority and preemption.
    const QEMU_VTR: u32 = 4 << 29 | 4 << 26 | 3;

    #[test]
    fn list_register_fields_stand_where_the_architecture_puts_them() {
        let hardware = Lr::hardware(33, 0xA0, true);
        // ICH_LR<n>_EL2: State 63:62, HW 61, Group 60, Priority 55:48, pINTID 44:32, vINTID 31:0.
        let v3 = 0b01 << 62 | 1 << 61 | 1 << 60 | 0xA0 << 48 | 33 << 32 | 33;
        assert_eq!(hardware.bits(), v3);
        // GICH_LR<n>: HW 31, Grp1 30, State 29:28, Priority 27:23, PhysicalID 19:10, VirtualID 9:0.
        let v2 = 1 << 31 | 1 << 30 | 0b01 << 28 | (0xA0 >> 3) << 23 | 33 << 10 | 33;
        assert_eq!(hardware.to_v2(), v2);
        // Software: EOI is bit 41 of the one, 19 of the other; a GICv2 SGI's sender is 12:10.
        let software = Lr::software(5, 0x08, false, true, 3).with_active(true);
        assert_eq!(software.bits() & !(7 << 32), 0b11 << 62 | 1 << 41 | 0x08 << 48 | 5);
        assert_eq!(software.to_v2(), 0b11 << 28 | 1 << 23 | 1 << 19 | 3 << 10 | 5);
    }

    #[test]
    fn gicv2_list_registers_survive_the_round_trip() {
        for intid in [0, 15, 27, 287, 1019] {
            for priority in (0..=0xF8).step_by(8) {
                for flags in 0..16 {
                    let group1 = flags & 1 != 0;
                    let lr = if flags & 2 == 0 {
                        Lr::hardware(intid, priority, group1)
                    } else {
                        Lr::software(intid, priority, group1, flags & 4 != 0, intid & 7)
                    };
                    let lr = lr.with_active(flags & 8 != 0);
                    assert_eq!(Lr::from_v2(lr.to_v2()), lr);
                    let ended = lr.with_pending(false);
                    assert_eq!(Lr::from_v2(ended.to_v2()), ended);
                }
            }
        }
    }

    #[test]
    fn affinities() {
        let mpidr = 0x12_8034_0517;
        assert_eq!(mpidr & AFFINITY_MASK, 0x12_0034_0517);
        assert_eq!(packed_affinity(mpidr), 0x1234_0517);
        // Aff0 = 0x17: range 1, bit 7.
        let expected = 0x12 << 48 | 1 << 44 | 0x34 << 32 | 0x05 << 16 | 1 << 7;
        assert_eq!(sgi_target(mpidr), expected);
        assert_eq!(sgi_target(0x8000_0003), 1 << 3);
    }

    #[test]
    fn counts() {
        assert_eq!(interrupt_words(0x0008), 9);
        assert_eq!(interrupt_words(0xFFFF_FFFF), 32);
        assert_eq!(list_registers(QEMU_VTR), 4);
        assert_eq!(list_registers(0x3F), 16);
        assert!(one_active_priority_register(QEMU_VTR));
        assert!(!one_active_priority_register(5 << 26));
    }

    #[test]
    fn control_and_count_do_not_mix() {
        assert_eq!(hcr(1 << 3), 1 << 3 | 1);
        assert_eq!(eoi_count(3 << 27 | 1 << 3), 3);
        assert_eq!(eoi_count(hcr(u32::MAX)), 0);
    }
}
