//! GICv3: distributor and redistributors by MMIO, CPU interface and list registers by system
//! registers (IHI0069). Without the ITS and LPIs.
//!
//! Works with one security state (`GICD_CTLR.DS` = 1, QEMU `virt`) and in the Non-secure view of two.
//! Both see affinity routing at bit 4 of `GICD_CTLR` and the enable of EL2's group at bit 1, and
//! Group 1 raises IRQ in both.

use super::{
    CONFIGURATION, Fault, KICK_INTID, POST_INTID, PRIORITY_GUEST_WORD, PRIORITY_OWN, Physical, WAIT_READS,
    WAIT_READS_GUEST, direct, formats, modify_configuration, offset, word_and_bit,
};
use crate::mmio::Block;
use crate::regs::{execute, read, write};
use bulkhead_blueprint::layout::{Cpu, Gic};
use bulkhead_blueprint::limits::CPUS_MAX;
use bulkhead_vgic::{Control, File, Hardware, Lr};
use core::cell::Cell;

/// Bytes of one redistributor: RD_base and SGI_base frames of 64 KiB (IHI0069 12.10, no VLPIs).
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// SGI_base within a redistributor.
const SGI_FRAME: u64 = 0x1_0000;

/// GICD_CTLR.ARE (ARE_NS in the Non-secure view): bit 4.
const CTLR_ARE: u32 = 1 << 4;
/// GICD_CTLR.EnableGrp1 with DS = 1, EnableGrp1A in the Non-secure view: bit 1 in both.
const CTLR_ENABLE_GROUP_1: u32 = 1 << 1;
/// GICD_CTLR.EnableGrp0, with DS = 1.
const CTLR_ENABLE_GROUP_0: u32 = 1 << 0;
/// GICD_CTLR.RWP.
const GICD_CTLR_RWP: u32 = 1 << 31;
/// GICD_IROUTER<n>, from INTID 32 on.
const IROUTER: u64 = 0x6000;
/// GICD_IGRPMODR<n>.
const IGRPMODR: u64 = 0xD00;
/// GICD_PIDR2; bits 7:4 are the architecture version, 3 or 4.
const PIDR2: u64 = 0xFFE8;

/// GICR_CTLR.RWP.
const GICR_CTLR_RWP: u32 = 1 << 3;
/// GICR_TYPER, bits 63:32 the affinity.
const GICR_TYPER: u64 = 0x008;
/// GICR_WAKER.
const GICR_WAKER: u64 = 0x014;
/// GICR_WAKER.ProcessorSleep.
const PROCESSOR_SLEEP: u32 = 1 << 1;
/// GICR_WAKER.ChildrenAsleep.
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// ICC_SRE_EL2: Enable (EL1 may access ICC_SRE_EL1), DIB, DFB (no bypass), SRE.
const SRE_EL2: u64 = 0xF;
/// ICC_SRE_EL1: DIB, DFB, SRE. What every guest finds.
const SRE_EL1: u64 = 0x7;
/// ICH_VMCR_EL2.VFIQEn: reads as one with the system-register interface.
const VMCR_FIQ_EN: u64 = 1 << 3;
/// ICC_CTLR_EL1.EOImode.
const EOI_MODE: u64 = 1 << 1;

/// The GICv3 as one CPU sees it.
pub struct Gicv3 {
    distributor: Block,
    /// RD_base of this CPU.
    redistributor: Block,
    /// SGI_base of this CPU: its SGIs and PPIs.
    banked: Block,
    cpu: u32,
    list_registers: u32,
    /// Affinity fields of each CPU's MPIDR_EL1.
    affinity: [u64; CPUS_MAX],
    /// What to write to ICC_SGI1R_EL1 for each CPU, without the INTID.
    sgi_target: [u64; CPUS_MAX],
    maintenance_intid: u32,
    hyp_timer_intid: u32,
    /// CPUs on which EL2's own interrupts are in Group 0 ([`direct`]), and whether this is one.
    direct_cpus: u32,
    is_direct: bool,
    /// Guests' PPIs that are enabled.
    ppis: Cell<u32>,
}

impl Gicv3 {
    /// The controller of the blueprint as CPU `cpu` (an index into `cpus`) sees it. Called
    /// there.
    ///
    /// Redistributor n is CPU n's: the blueprint lists CPUs in the order of their MPIDR, which is
    /// the order of redistributors on the boards known; [`Physical::init_cpu`] checks it.
    #[must_use]
    pub fn new(gic: &Gic, cpus: &[Cpu], cpu: usize) -> Self {
        // Before any other ICC or ICH register: they are undefined while SRE is 0.
        write!("icc_sre_el2", SRE_EL2);
        execute!("isb");
        let vtr = if read!("icc_sre_el2") & 1 == 0 { 0 } else { read!("ich_vtr_el2") };
        let redistributor = gic.gicr + cpu as u64 * REDISTRIBUTOR_BYTES;
        let mut affinity = [0; CPUS_MAX];
        let mut sgi_target = [0; CPUS_MAX];
        for ((a, target), record) in affinity.iter_mut().zip(&mut sgi_target).zip(cpus) {
            *a = record.mpidr & formats::AFFINITY_MASK;
            *target = formats::sgi_target(record.mpidr);
        }
        Self {
            distributor: Block::new(gic.gicd),
            redistributor: Block::new(redistributor),
            banked: Block::new(redistributor + SGI_FRAME),
            cpu: cpu as u32,
            list_registers: formats::list_registers(vtr as u32),
            affinity,
            sgi_target,
            maintenance_intid: gic.maintenance_intid,
            hyp_timer_intid: gic.hyp_timer_intid,
            direct_cpus: gic.direct_cpus,
            is_direct: gic.direct_cpus >> (cpu % CPUS_MAX) & 1 != 0,
            ppis: Cell::new(0),
        }
    }

    /// The frame that holds word `word` of a register with one bit for each interrupt.
    #[inline(always)]
    fn frame(&self, word: usize) -> &Block {
        if word == 0 { &self.banked } else { &self.distributor }
    }

    /// Waits until disables of SPIs have taken effect (GICD_CTLR.RWP).
    fn distributor_settled(&self, reads: u32) -> Result<(), Fault> {
        settle(&self.distributor, offset::CTLR, GICD_CTLR_RWP, reads, Fault::WritePending)
    }

    /// The same for this CPU's SGIs and PPIs (GICR_CTLR.RWP, at the same offset).
    fn redistributor_settled(&self, reads: u32) -> Result<(), Fault> {
        settle(&self.redistributor, offset::CTLR, GICR_CTLR_RWP, reads, Fault::WritePending)
    }

    fn wake_redistributor(&self) -> Result<(), Fault> {
        let own = self.affinity[self.cpu as usize % CPUS_MAX];
        if self.redistributor.read64(GICR_TYPER) >> 32 != formats::packed_affinity(own) {
            return Err(Fault::ForeignRedistributor);
        }
        let waker = self.redistributor.read32(GICR_WAKER);
        self.redistributor.write32(GICR_WAKER, waker & !PROCESSOR_SLEEP);
        settle(&self.redistributor, GICR_WAKER, CHILDREN_ASLEEP, WAIT_READS, Fault::Asleep)
    }

    fn init_banked(&self) -> Result<(), Fault> {
        let frame = &self.banked;
        frame.write32(offset::ICENABLER, u32::MAX);
        self.redistributor_settled(WAIT_READS)?;
        frame.write32(offset::IGROUPR, u32::MAX);
        frame.write32(IGRPMODR, 0);
        frame.write32(offset::ICPENDR, u32::MAX);
        frame.write32(offset::ICACTIVER, u32::MAX);
        for n in 0..8 {
            frame.write32(offset::IPRIORITYR + 4 * n, PRIORITY_GUEST_WORD);
        }
        // PPIs level-sensitive, as timers and the maintenance interrupt are; SGIs are edges always.
        frame.write32(offset::ICFGR + 4, 0);
        if self.is_direct {
            return Ok(());
        }
        let own = [self.maintenance_intid, self.hyp_timer_intid, KICK_INTID];
        for intid in own.into_iter().chain(POST_INTID..16) {
            self.enable_own(intid, self.cpu);
        }
        Ok(())
    }

    /// Whether this CPU's interrupts go to its guest without EL2 ([`direct`]).
    #[inline(always)]
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// The SGI and PPI frame of `cpu`.
    pub(super) fn banked_of(&self, cpu: u32) -> Block {
        let stride = REDISTRIBUTOR_BYTES * (u64::from(cpu) % CPUS_MAX as u64);
        self.banked.moved(stride.wrapping_sub(REDISTRIBUTOR_BYTES * u64::from(self.cpu)))
    }

    /// The distributor.
    pub(super) fn shared(&self) -> &Block {
        &self.distributor
    }

    /// Makes SGI `id` pending on a CPU where it is in Group 1.
    #[inline(always)]
    pub(super) fn raise_group1(&self, cpu: u32, id: u32) {
        let target = self.sgi_target[cpu as usize % CPUS_MAX];
        write!("icc_sgi1r_el1", target | u64::from(id & 0xF) << 24);
        execute!("isb");
    }

    /// The virtual interface without a guest: list registers and active priorities empty.
    fn init_virtual(&self) -> Result<(), Fault> {
        if !formats::one_active_priority_register(read!("ich_vtr_el2") as u32) {
            return Err(Fault::PreemptionBits);
        }
        self.set_control(Control::default());
        self.set_vmcr(0);
        (0..self.list_registers()).for_each(|n| write_list_register(n, 0));
        self.set_active_priorities([0; 2]);
        execute!("isb");
        Ok(())
    }
}

/// Reads `register` until `bits` are clear, at most `reads` times.
fn settle(block: &Block, register: u64, bits: u32, reads: u32, fault: Fault) -> Result<(), Fault> {
    for _ in 0..reads {
        if block.read32(register) & bits == 0 {
            return Ok(());
        }
    }
    Err(fault)
}

impl Physical for Gicv3 {
    fn init_distributor(&self) -> Result<(), Fault> {
        let gicd = &self.distributor;
        if !matches!((gicd.read32(PIDR2) >> 4) & 0xF, 3 | 4) {
            return Err(Fault::Version);
        }
        // Groups off first: ARE may only change while they are (IHI0069, GICD_CTLR).
        let routed = gicd.read32(offset::CTLR) & CTLR_ARE;
        gicd.write32(offset::CTLR, routed);
        self.distributor_settled(WAIT_READS)?;
        gicd.write32(offset::CTLR, CTLR_ARE);
        self.distributor_settled(WAIT_READS)?;
        let words = formats::interrupt_words(gicd.read32(offset::TYPER));
        for word in 1..words {
            gicd.write32(offset::ICENABLER + 4 * word, u32::MAX);
        }
        self.distributor_settled(WAIT_READS)?;
        for word in 1..words {
            gicd.write32(offset::IGROUPR + 4 * word, u32::MAX);
            gicd.write32(IGRPMODR + 4 * word, 0);
            gicd.write32(offset::ICPENDR + 4 * word, u32::MAX);
            gicd.write32(offset::ICACTIVER + 4 * word, u32::MAX);
            gicd.write32(offset::ICFGR + 8 * word, 0);
            gicd.write32(offset::ICFGR + 8 * word + 4, 0);
        }
        for quad in 8..words * 8 {
            gicd.write32(offset::IPRIORITYR + 4 * quad, PRIORITY_GUEST_WORD);
        }
        for intid in 32..(words * 32).min(u64::from(super::SPECIAL_INTID)) {
            gicd.write64(IROUTER + 8 * intid, self.affinity[0]);
        }
        let direct = if self.direct_cpus == 0 { 0 } else { CTLR_ENABLE_GROUP_0 };
        if direct != 0 && !self.is_single_state() {
            return Err(Fault::SecurityStates);
        }
        gicd.write32(offset::CTLR, CTLR_ARE | CTLR_ENABLE_GROUP_1 | direct);
        self.distributor_settled(WAIT_READS)
    }

    fn init_cpu(&self) -> Result<(), Fault> {
        if read!("icc_sre_el2") & 1 == 0 {
            return Err(Fault::NoSystemRegisters);
        }
        write!("icc_sre_el1", SRE_EL1);
        self.wake_redistributor()?;
        self.init_banked()?;
        if self.is_direct {
            self.init_direct([self.hyp_timer_intid, direct::DIRECT_KICK_INTID]);
            return self.init_virtual();
        }
        // ICC_IGRPEN0_EL1 keeps its reset value 0: the access is EL3's where SCR_EL3.FIQ = 1.
        write!("icc_ctlr_el1", EOI_MODE);
        write!("icc_bpr1_el1", 0);
        write!("icc_pmr_el1", 0xFF);
        write!("icc_igrpen1_el1", 1);
        self.init_virtual()
    }

    #[inline(always)]
    fn acknowledge(&self) -> u32 {
        let raw = read!("icc_iar1_el1");
        // The activation reaches the redistributor before any later access to it.
        execute!("dsb sy");
        raw as u32
    }

    #[inline(always)]
    fn end(&self, raw: u32) {
        write!("icc_eoir1_el1", u64::from(raw));
    }

    #[inline(always)]
    fn retire(&self, raw: u32) {
        self.end(raw);
        // DIR after EOIR in program order needs the priority drop to have happened (IHI0069 4.3).
        execute!("isb");
        self.deactivate(raw);
    }

    fn enable_own(&self, intid: u32, cpu: u32) {
        let (word, bit) = word_and_bit(intid);
        let frame = self.frame(word as usize);
        frame.write8(offset::IPRIORITYR + u64::from(intid), PRIORITY_OWN);
        if word > 0 {
            self.route(intid, cpu);
        }
        frame.write32(offset::ISENABLER + 4 * word, bit);
    }

    #[inline(always)]
    fn timer_intid(&self) -> u32 {
        self.hyp_timer_intid
    }

    #[inline(always)]
    fn send_sgi(&self, cpu: u32, id: u32) {
        // Stores to inboxes are seen before the SGI is; the register write alone orders nothing.
        execute!("dsb ishst");
        if self.direct_cpus >> (cpu as usize % CPUS_MAX) & 1 == 0 {
            return self.raise_group1(cpu, id);
        }
        let target = self.sgi_target[cpu as usize % CPUS_MAX];
        write!("icc_sgi0r_el1", target | u64::from(direct::DIRECT_KICK_INTID) << 24);
        execute!("isb");
    }
}

impl Hardware for Gicv3 {
    #[inline(always)]
    fn is_v3(&self) -> bool {
        true
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
        write_list_register(n, lr.bits());
    }

    #[inline]
    fn read_list(&self, n: usize) -> Lr {
        Lr::from_bits(read_list_register(n))
    }

    #[inline(always)]
    fn empty_lists(&self) -> u32 {
        // List registers written earlier in the same visit count.
        execute!("isb");
        read!("ich_elrsr_el2") as u32
    }

    #[inline(always)]
    fn set_control(&self, control: Control) {
        let trap_common = if self.is_direct { direct::TRAP_COMMON } else { 0 };
        write!("ich_hcr_el2", u64::from(formats::hcr(control.bits())) | trap_common);
    }

    #[inline(always)]
    fn eoi_count(&self) -> u32 {
        formats::eoi_count(read!("ich_hcr_el2") as u32)
    }

    #[inline(always)]
    fn ppis(&self) -> &Cell<u32> {
        &self.ppis
    }

    #[inline(always)]
    fn vmcr(&self) -> u32 {
        read!("ich_vmcr_el2") as u32
    }

    #[inline(always)]
    fn set_vmcr(&self, value: u32) {
        write!("ich_vmcr_el2", u64::from(value) | VMCR_FIQ_EN);
    }

    #[inline(always)]
    fn active_priorities(&self) -> [u32; 2] {
        [read!("ich_ap0r0_el2") as u32, read!("ich_ap1r0_el2") as u32]
    }

    #[inline(always)]
    fn set_active_priorities(&self, values: [u32; 2]) {
        write!("ich_ap0r0_el2", u64::from(values[0]));
        write!("ich_ap1r0_el2", u64::from(values[1]));
    }

    #[inline(always)]
    fn read(&self, file: File, word: usize) -> u32 {
        self.frame(word).read32(file as u64 + 4 * word as u64)
    }

    fn write(&self, file: File, word: usize, bits: u32) {
        self.frame(word).write32(file as u64 + 4 * word as u64, bits);
        if file == File::ClearEnable {
            // A guest can ask for this, so the wait is short. A controller that is slower still may
            // deliver the interrupt once more; the model then holds it as pending and disabled.
            let _settled = match word {
                0 => self.redistributor_settled(WAIT_READS_GUEST),
                _ => self.distributor_settled(WAIT_READS_GUEST),
            };
        }
    }

    fn configure(&self, index: usize, mask: u32, value: u32) {
        let frame = self.frame(index / 2);
        CONFIGURATION.with(self.cpu as usize, || modify_configuration(frame, index, mask, value));
    }

    fn route(&self, intid: u32, cpu: u32) {
        let affinity = self.affinity[cpu as usize % CPUS_MAX];
        self.distributor.write64(IROUTER + 8 * u64::from(intid), affinity);
    }

    #[inline(always)]
    fn deactivate(&self, intid: u32) {
        write!("icc_dir_el1", u64::from(intid));
    }

    #[inline(always)]
    fn kick(&self, cpu: u32) {
        self.send_sgi(cpu, KICK_INTID);
    }

    #[inline(always)]
    fn post(&self, cpu: u32) {
        // Not to a CPU with direct delivery: nobody has anything virtual for a vCPU there.
        execute!("dsb ishst");
        self.raise_group1(cpu, POST_INTID + self.cpu);
    }
}

/// Chooses by one bit of a list register's number.
macro_rules! by_bit {
    ($n:expr, $bit:literal, $zero:expr, $one:expr) => {
        if $n & $bit == 0 { $zero } else { $one }
    };
}

/// Reads or writes ICH_LR<n>_EL2, n taken modulo 16: the register's number is part of the
/// instruction. Four tests of a bit are cheaper than a jump table, and no indirect branch.
macro_rules! list_register {
    ($n:expr, $access:ident $(, $value:expr)?) => {
        by_bit!($n, 8,
            by_bit!($n, 4,
                by_bit!($n, 2,
                    by_bit!($n, 1, $access!("ich_lr0_el2" $(, $value)?), $access!("ich_lr1_el2" $(, $value)?)),
                    by_bit!($n, 1, $access!("ich_lr2_el2" $(, $value)?), $access!("ich_lr3_el2" $(, $value)?))),
                by_bit!($n, 2,
                    by_bit!($n, 1, $access!("ich_lr4_el2" $(, $value)?), $access!("ich_lr5_el2" $(, $value)?)),
                    by_bit!($n, 1, $access!("ich_lr6_el2" $(, $value)?), $access!("ich_lr7_el2" $(, $value)?)))),
            by_bit!($n, 4,
                by_bit!($n, 2,
                    by_bit!($n, 1, $access!("ich_lr8_el2" $(, $value)?), $access!("ich_lr9_el2" $(, $value)?)),
                    by_bit!($n, 1, $access!("ich_lr10_el2" $(, $value)?), $access!("ich_lr11_el2" $(, $value)?))),
                by_bit!($n, 2,
                    by_bit!($n, 1, $access!("ich_lr12_el2" $(, $value)?), $access!("ich_lr13_el2" $(, $value)?)),
                    by_bit!($n, 1, $access!("ich_lr14_el2" $(, $value)?), $access!("ich_lr15_el2" $(, $value)?)))))
    };
}

fn read_list_register(n: usize) -> u64 {
    list_register!(n, read)
}

#[inline(always)]
fn write_list_register(n: usize, value: u64) {
    list_register!(n, write, value);
}
