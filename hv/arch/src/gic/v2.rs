//! GICv2 with virtualization extensions: distributor, CPU interface and virtual interface control,
//! all by MMIO (IHI0048).
//!
//! Works with the security extensions absent (QEMU `virt` and `raspi4b`) and in the Non-secure view
//! (Raspberry Pi 4). All interrupts stay in Group 0 where EL2 can choose: bit 0 of GICD_CTLR and of
//! GICC_CTLR then enables Group 0 in the first case and the Non-secure Group 1 in the second, and
//! GICC_IAR returns either without AckCtl. IGROUPR is write-ignored in the Non-secure view.

use super::{
    CONFIGURATION, Fault, KICK_INTID, POST_INTID, PRIORITY_GUEST_WORD, PRIORITY_OWN, Physical, formats,
    modify_configuration, offset, word_and_bit,
};
use crate::mmio::Block;
use crate::regs::execute;
use bulkhead_blueprint::layout::Gic;
use bulkhead_blueprint::limits::CPUS_MAX;
use bulkhead_vgic::{Control, File, Hardware, Lr};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// GICD_ITARGETSR<n>, one byte for each interrupt; those of INTIDs 0 to 31 name the reader.
const ITARGETSR: u64 = 0x800;
/// GICD_SGIR: target list in bits 23:16, INTID in 3:0.
const SGIR: u64 = 0xF00;
/// GICD_CPENDSGIR<n>: pending SGIs by sender; ICPENDR0 does not clear them.
const CPENDSGIR: u64 = 0xF10;
/// GICD_ICPIDR2 (GIC-400 and QEMU); bits 7:4 are the architecture version.
const PIDR2: u64 = 0xFE8;

/// GICC_CTLR.
const GICC_CTLR: u64 = 0x000;
/// GICC_PMR.
const GICC_PMR: u64 = 0x004;
/// GICC_BPR.
const GICC_BPR: u64 = 0x008;
/// GICC_IAR.
const GICC_IAR: u64 = 0x00C;
/// GICC_EOIR.
const GICC_EOIR: u64 = 0x010;
/// GICC_APR0: all that 32 priorities need.
const GICC_APR0: u64 = 0x0D0;
/// GICC_DIR, in the second page of the CPU interface.
const GICC_DIR: u64 = 0x1000;
/// GICC_CTLR: EOImode (EOImodeNS in the Non-secure view) and the group of EL2.
const GICC_CTLR_ON: u32 = 1 << 9 | 1;

/// GICH_HCR.
const GICH_HCR: u64 = 0x00;
/// GICH_HCR: UIE to VGrp1DIE, the bits that exist beside En and EOIcount.
const HCR_CONTROL: u32 = 0xFE;
/// GICH_VTR.
const GICH_VTR: u64 = 0x04;
/// GICH_VMCR.
const GICH_VMCR: u64 = 0x08;
/// GICH_ELRSR0.
const GICH_ELRSR0: u64 = 0x30;
/// GICH_APR.
const GICH_APR: u64 = 0xF0;
/// GICH_LR0.
const GICH_LR0: u64 = 0x100;

/// CPU-interface mask of each CPU, as the distributor's target registers want it. Written once by
/// its own CPU in `init_cpu`, read by all: only the CPU itself can ask the distributor.
static INTERFACE: [AtomicU32; CPUS_MAX] = [const { AtomicU32::new(0) }; CPUS_MAX];

/// The GICv2 as one CPU sees it.
pub struct Gicv2 {
    distributor: Block,
    interface: Block,
    virtual_interface: Block,
    /// Its list registers: a block of their own, so that an index is the whole offset.
    lists: Block,
    cpu: u32,
    /// From GICH_VTR, kept because each read is a device access.
    list_registers: u32,
    maintenance_intid: u32,
    hyp_timer_intid: u32,
    /// Guests' PPIs that are enabled.
    ppis: Cell<u32>,
}

impl Gicv2 {
    /// The controller of the blueprint as CPU `cpu` (index into the blueprint's CPUs) sees it. Reads
    /// GICH_VTR, so the devices must be mapped.
    #[must_use]
    pub fn new(gic: &Gic, cpu: usize) -> Self {
        let virtual_interface = Block::new(gic.gich);
        Self {
            distributor: Block::new(gic.gicd),
            interface: Block::new(gic.gicc),
            virtual_interface,
            lists: Block::new(gic.gich + GICH_LR0),
            cpu: cpu as u32,
            list_registers: formats::list_registers(virtual_interface.read32(GICH_VTR)),
            maintenance_intid: gic.maintenance_intid,
            hyp_timer_intid: gic.hyp_timer_intid,
            ppis: Cell::new(0),
        }
    }

    /// Brings the interrupts of one word to the state that `init_distributor` promises, but for the
    /// targets: for word 0, this CPU's banked ones.
    fn silence(&self, word: u64) {
        let gicd = &self.distributor;
        gicd.write32(offset::ICENABLER + 4 * word, u32::MAX);
        gicd.write32(offset::IGROUPR + 4 * word, 0);
        gicd.write32(offset::ICPENDR + 4 * word, u32::MAX);
        gicd.write32(offset::ICACTIVER + 4 * word, u32::MAX);
        // ICFGR0 (SGIs) is read-only, ICFGR1 (PPIs) may be.
        gicd.write32(offset::ICFGR + 8 * word, 0);
        gicd.write32(offset::ICFGR + 8 * word + 4, 0);
        for quad in 0..8 {
            let register = offset::IPRIORITYR + 32 * word + 4 * quad;
            gicd.write32(register, PRIORITY_GUEST_WORD);
        }
    }

    /// This CPU's bit in the target registers. A target register of an interrupt that is not
    /// implemented reads 0, so all eight words are looked at; with one CPU all are 0.
    fn own_interface(&self) -> u32 {
        let mut mask = 0;
        for word in 0..8 {
            mask |= self.distributor.read32(ITARGETSR + 4 * word);
        }
        let mask = (mask | mask >> 8 | mask >> 16 | mask >> 24) & 0xFF;
        if mask == 0 { 1 } else { mask }
    }

    #[inline(always)]
    fn interface_of(cpu: u32) -> u32 {
        INTERFACE[cpu as usize % CPUS_MAX].load(Ordering::Relaxed)
    }

    /// The virtual interface without a guest: list registers and active priorities empty.
    fn init_virtual(&self) -> Result<(), Fault> {
        let gich = &self.virtual_interface;
        if !formats::one_active_priority_register(gich.read32(GICH_VTR)) {
            return Err(Fault::PreemptionBits);
        }
        self.set_control(Control::default());
        gich.write32(GICH_VMCR, 0);
        gich.write32(GICH_APR, 0);
        for n in 0..u64::from(self.list_registers) {
            self.lists.write32(4 * n, 0);
        }
        Ok(())
    }
}

impl Physical for Gicv2 {
    fn init_distributor(&self) -> Result<(), Fault> {
        let gicd = &self.distributor;
        if (gicd.read32(PIDR2) >> 4) & 0xF != 2 {
            return Err(Fault::Version);
        }
        gicd.write32(offset::CTLR, 0);
        // CPU 0 makes this call: its own interface is the first target.
        let target = self.own_interface() * 0x0101_0101;
        for word in 1..formats::interrupt_words(gicd.read32(offset::TYPER)) {
            self.silence(word);
            for quad in 0..8 {
                gicd.write32(ITARGETSR + 32 * word + 4 * quad, target);
            }
        }
        gicd.write32(offset::CTLR, 1);
        Ok(())
    }

    fn init_cpu(&self) -> Result<(), Fault> {
        INTERFACE[self.cpu as usize % CPUS_MAX].store(self.own_interface(), Ordering::Release);
        self.silence(0);
        for n in 0..4 {
            self.distributor.write32(CPENDSGIR + 4 * n, u32::MAX);
        }
        let own = [self.maintenance_intid, self.hyp_timer_intid, KICK_INTID];
        for intid in own.into_iter().chain(POST_INTID..16) {
            self.enable_own(intid, self.cpu);
        }
        let gicc = &self.interface;
        gicc.write32(GICC_APR0, 0);
        gicc.write32(GICC_BPR, 0);
        gicc.write32(GICC_PMR, 0xFF);
        gicc.write32(GICC_CTLR, GICC_CTLR_ON);
        self.init_virtual()
    }

    #[inline(always)]
    fn acknowledge(&self) -> u32 {
        self.interface.read32_at::<GICC_IAR>()
    }

    #[inline(always)]
    fn end(&self, raw: u32) {
        self.interface.write32_at::<GICC_EOIR>(raw);
    }

    #[inline(always)]
    fn retire(&self, raw: u32) {
        self.end(raw);
        // The sender in bits 12:10 goes along: SGIs of different senders are active apart.
        self.interface.write32_at::<GICC_DIR>(raw);
    }

    fn enable_own(&self, intid: u32, cpu: u32) {
        let (word, bit) = word_and_bit(intid);
        self.distributor.write8(offset::IPRIORITYR + u64::from(intid), PRIORITY_OWN);
        if word > 0 {
            self.route(intid, cpu);
        }
        self.distributor.write32(offset::ISENABLER + 4 * word, bit);
    }

    #[inline(always)]
    fn timer_intid(&self) -> u32 {
        self.hyp_timer_intid
    }

    #[inline(always)]
    fn send_sgi(&self, cpu: u32, id: u32) {
        // Stores to inboxes are seen before the SGI is.
        execute!("dmb ishst");
        self.distributor.write32(SGIR, Self::interface_of(cpu) << 16 | (id & 0xF));
    }
}

impl Hardware for Gicv2 {
    #[inline(always)]
    fn is_v3(&self) -> bool {
        false
    }

    #[inline(always)]
    fn cpu(&self) -> u32 {
        self.cpu
    }

    #[inline(always)]
    fn list_registers(&self) -> usize {
        self.list_registers as usize
    }

    #[inline(always)]
    fn write_list(&self, n: usize, lr: Lr) {
        self.lists.write32(4 * n as u64, lr.to_v2());
    }

    #[inline(always)]
    fn read_list(&self, n: usize) -> Lr {
        Lr::from_v2(self.lists.read32(4 * n as u64))
    }

    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        self.virtual_interface.read32_at::<GICH_ELRSR0>()
    }

    #[inline(always)]
    fn set_control(&self, control: Control) {
        self.virtual_interface.write32_at::<GICH_HCR>(formats::hcr(control.bits() & HCR_CONTROL));
    }

    #[inline(always)]
    fn eoi_count(&self) -> u32 {
        formats::eoi_count(self.virtual_interface.read32_at::<GICH_HCR>())
    }

    #[inline(always)]
    fn ppis(&self) -> &Cell<u32> {
        &self.ppis
    }

    #[inline(always)]
    fn vmcr(&self) -> u32 {
        self.virtual_interface.read32_at::<GICH_VMCR>()
    }

    #[inline(always)]
    fn set_vmcr(&self, value: u32) {
        self.virtual_interface.write32_at::<GICH_VMCR>(value);
    }

    #[inline(always)]
    fn active_priorities(&self) -> [u32; 2] {
        [self.virtual_interface.read32_at::<GICH_APR>(), 0]
    }

    #[inline(always)]
    fn set_active_priorities(&self, values: [u32; 2]) {
        self.virtual_interface.write32_at::<GICH_APR>(values[0]);
    }

    #[inline(always)]
    fn read(&self, file: File, word: usize) -> u32 {
        self.distributor.read32(file as u64 + 4 * word as u64)
    }

    #[inline(always)]
    fn write(&self, file: File, word: usize, bits: u32) {
        self.distributor.write32(file as u64 + 4 * word as u64, bits);
    }

    fn configure(&self, index: usize, mask: u32, value: u32) {
        CONFIGURATION.with(self.cpu as usize, || {
            modify_configuration(&self.distributor, index, mask, value);
        });
    }

    fn route(&self, intid: u32, cpu: u32) {
        let target = Self::interface_of(cpu) as u8;
        self.distributor.write8(ITARGETSR + u64::from(intid), target);
    }

    #[inline(always)]
    fn deactivate(&self, intid: u32) {
        self.interface.write32_at::<GICC_DIR>(intid);
    }

    #[inline(always)]
    fn kick(&self, cpu: u32) {
        self.send_sgi(cpu, KICK_INTID);
    }

    #[inline(always)]
    fn post(&self, cpu: u32) {
        self.send_sgi(cpu, POST_INTID + self.cpu);
    }
}
