//! A machine in memory: per CPU a GIC virtual interface as IHI 0069 and IHI 0048 describe it, one
//! physical distributor, and a partition's virtual GIC on top.
#![allow(dead_code)] // Each test binary uses a part.

use std::cell::{Cell, RefCell};

use bulkhead_vgic::{
    Config, Control, CpuInterface, Distributor, File, Frame, Hardware, Lr, Refused, Seat, VCPUS, Vgic,
};

/// Physical interrupts of the partition: PPIs 27 and 30, SPIs 40 to 43.
pub const OWNED: [u32; 9] = [1 << 27 | 1 << 30, 0xf << 8, 0, 0, 0, 0, 0, 0, 0];
/// The emulated PL011 (33), doorbells 64 to 95, and the last SPI.
pub const PRESENT: [u32; 9] = [0xffff | OWNED[0], OWNED[1] | 1 << 1, u32::MAX, 0, 0, 0, 0, 0, 1 << 31];
/// `VMCR.VEOIM`, `VMCR.VEM`.
const EOI_MODE: u32 = 1 << 9;

/// Whether the partition owns physical interrupt `intid`.
pub fn owns(intid: u32) -> bool {
    OWNED[intid as usize / 32] >> (intid % 32) & 1 != 0
}

/// GIC of the machine and of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
}

/// One CPU's virtual interface.
#[derive(Clone, Debug)]
pub struct Interface {
    pub lists: Vec<Lr>,
    pub control: Control,
    pub eoi_count: u32,
    pub vmcr: u32,
    /// Active priorities, by bit `priority >> 3`.
    pub active: u32,
    pub kicked: bool,
    /// Source CPUs that have posted something.
    pub posted: u32,
}

/// What all CPUs share, and the banked word of each.
#[derive(Clone, Debug)]
pub struct Physical {
    pub version: Version,
    pub cpus: Vec<Interface>,
    pub enabled: Vec<[u32; 9]>,
    pub pending: Vec<[u32; 9]>,
    pub active: Vec<[u32; 9]>,
    pub config: [u32; 18],
    pub routes: [u32; 288],
}

/// The machine as one CPU sees it.
pub struct Cpu<'a> {
    machine: &'a RefCell<Physical>,
    ppis: &'a Cell<u32>,
    index: usize,
}

impl Cpu<'_> {
    fn masked(&self, word: usize, bits: u32) -> (usize, u32) {
        assert!(bits != 0 && bits & !OWNED[word] == 0, "word {word}: {bits:#x} is not owned");
        (if word == 0 { self.index } else { 0 }, bits)
    }
}

impl Hardware for Cpu<'_> {
    fn is_v3(&self) -> bool {
        self.machine.borrow().version == Version::V3
    }
    fn cpu(&self) -> u32 {
        self.index as u32
    }
    fn list_registers(&self) -> usize {
        self.machine.borrow().cpus[self.index].lists.len()
    }
    fn write_list(&self, n: usize, lr: Lr) {
        self.machine.borrow_mut().cpus[self.index].lists[n] = lr;
    }
    fn read_list(&self, n: usize) -> Lr {
        self.machine.borrow().cpus[self.index].lists[n]
    }
    fn empty_lists(&self) -> u32 {
        let machine = self.machine.borrow();
        let lists = machine.cpus[self.index].lists.iter().enumerate();
        lists.fold(0, |mask, (n, lr)| mask | u32::from(lr.is_empty() && !lr.is_eoi()) << n)
    }
    fn set_control(&self, control: Control) {
        let interface = &mut self.machine.borrow_mut().cpus[self.index];
        (interface.control, interface.eoi_count) = (control, 0);
    }
    fn eoi_count(&self) -> u32 {
        self.machine.borrow().cpus[self.index].eoi_count
    }
    fn ppis(&self) -> &Cell<u32> {
        self.ppis
    }
    fn vmcr(&self) -> u32 {
        self.machine.borrow().cpus[self.index].vmcr
    }
    fn set_vmcr(&self, value: u32) {
        self.machine.borrow_mut().cpus[self.index].vmcr = value;
    }
    fn active_priorities(&self) -> [u32; 2] {
        [self.machine.borrow().cpus[self.index].active, 0]
    }
    fn set_active_priorities(&self, values: [u32; 2]) {
        self.machine.borrow_mut().cpus[self.index].active = values[0];
    }
    fn read(&self, file: File, word: usize) -> u32 {
        let bank = if word == 0 { self.index } else { 0 };
        self.machine.borrow_mut().file(file)[bank][word]
    }
    fn write(&self, file: File, word: usize, bits: u32) {
        let (bank, bits) = self.masked(word, bits);
        let mut machine = self.machine.borrow_mut();
        let cell = &mut machine.file(file)[bank][word];
        match file {
            File::SetEnable | File::SetPending | File::SetActive => *cell |= bits,
            File::ClearEnable | File::ClearPending | File::ClearActive => *cell &= !bits,
        }
    }
    fn configure(&self, index: usize, mask: u32, value: u32) {
        assert!(index != 0 && value & !mask == 0);
        let config = &mut self.machine.borrow_mut().config[index];
        *config = *config & !mask | value;
    }
    fn route(&self, intid: u32, cpu: u32) {
        self.masked(intid as usize / 32, 1 << (intid % 32));
        self.machine.borrow_mut().routes[intid as usize] = cpu;
    }
    fn deactivate(&self, intid: u32) {
        self.write(File::ClearActive, intid as usize / 32, 1 << (intid % 32));
    }
    fn kick(&self, cpu: u32) {
        self.machine.borrow_mut().cpus[cpu as usize].kicked = true;
    }
    fn post(&self, cpu: u32) {
        assert!(cpu as usize != self.index, "a CPU posts to itself");
        self.machine.borrow_mut().cpus[cpu as usize].posted |= 1 << self.index;
    }
}

impl Physical {
    fn file(&mut self, file: File) -> &mut Vec<[u32; 9]> {
        match file {
            File::SetEnable | File::ClearEnable => &mut self.enabled,
            File::SetPending | File::ClearPending => &mut self.pending,
            File::SetActive | File::ClearActive => &mut self.active,
        }
    }
}

/// A partition on the machine; vCPU `n` runs on CPU `n`.
pub struct World {
    pub distributor: Box<Distributor>,
    pub interfaces: Vec<CpuInterface>,
    pub machine: RefCell<Physical>,
    /// Enabled PPIs of each CPU.
    pub ppis: Vec<Cell<u32>>,
    pub version: Version,
}

/// Two vCPUs, four list registers.
pub fn v2() -> World {
    World::new(Version::V2, 2, 4)
}

/// The same with GICv3.
pub fn v3() -> World {
    World::new(Version::V3, 2, 4)
}

impl World {
    pub fn new(version: Version, vcpus: usize, lists: usize) -> Self {
        let interface = Interface {
            lists: vec![Lr::EMPTY; lists],
            control: Control::default(),
            eoi_count: 0,
            vmcr: 0,
            active: 0,
            kicked: false,
            posted: 0,
        };
        let machine = Physical {
            version,
            cpus: vec![interface; vcpus],
            enabled: vec![[0; 9]; vcpus],
            pending: vec![[0; 9]; vcpus],
            active: vec![[0; 9]; vcpus],
            config: [0; 18],
            routes: [0; 288],
        };
        let world = Self {
            distributor: Box::new(Distributor::new()),
            interfaces: (0..vcpus).map(|_| CpuInterface::new()).collect(),
            machine: RefCell::new(machine),
            ppis: vec![Cell::new(0); 8],
            version,
        };
        let mut doorbell_intids = [0; 32];
        for (bit, intid) in (64..96).enumerate() {
            doorbell_intids[bit] = intid;
        }
        world.distributor.init(&Config {
            cpus: core::array::from_fn::<u8, VCPUS, _>(|n| n as u8),
            owned: &OWNED,
            present: &PRESENT,
            doorbell_intids: &doorbell_intids,
        });
        world.reset_shared(0);
        for vcpu in 0..vcpus {
            world.vgic().silence(&world.cpu(vcpu), vcpu);
            world.seat(vcpu).restore(&world.cpu(vcpu));
        }
        world
    }

    /// All pieces of the reset of what the vCPUs share, on `cpu`. How many there were.
    pub fn reset_shared(&self, cpu: usize) -> usize {
        let more = |piece: &usize| self.vgic().reset_shared(&self.cpu(cpu), *piece);
        1 + (0..).take_while(more).count()
    }

    pub fn vgic(&self) -> Vgic<'_> {
        Vgic { distributor: &self.distributor, interfaces: &self.interfaces }
    }

    pub fn seat(&self, vcpu: usize) -> Seat<'_> {
        self.vgic().seat(vcpu).unwrap()
    }

    pub fn cpu(&self, index: usize) -> Cpu<'_> {
        Cpu { machine: &self.machine, ppis: &self.ppis[index], index }
    }

    pub fn access(
        &self,
        vcpu: usize,
        frame: Frame,
        offset: u64,
        bytes: u32,
        write: Option<u64>,
    ) -> Result<u64, Refused> {
        let cpu = self.cpu(vcpu);
        Vgic { distributor: &self.distributor, interfaces: &self.interfaces }
            .mmio(&cpu, vcpu, frame, offset, bytes, write)
    }

    /// A read of the distributor by the short way.
    pub fn quick_read(&self, vcpu: usize, offset: u64) -> Option<u64> {
        self.seat(vcpu).quick_read(&self.cpu(vcpu), offset)
    }

    /// A word of the distributor, or for SGIs and PPIs of GICv3 of the vCPU's redistributor.
    pub fn file(&self, vcpu: usize, offset: u64, word: u64, write: Option<u64>) -> u64 {
        if self.version == Version::V3 && word == 0 {
            let base = vcpu as u64 * 0x2_0000 + 0x1_0000;
            return self.access(vcpu, Frame::Redistributor, base + offset, 4, write).unwrap();
        }
        self.access(vcpu, Frame::Distributor, offset + 4 * word, 4, write).unwrap()
    }

    pub fn write_bit(&self, vcpu: usize, offset: u64, intid: u32) {
        self.file(vcpu, offset, u64::from(intid / 32), Some(1 << (intid % 32)));
    }

    pub fn read_bit(&self, vcpu: usize, offset: u64, intid: u32) -> bool {
        self.file(vcpu, offset, u64::from(intid / 32), None) >> (intid % 32) & 1 != 0
    }

    pub fn set_priority(&self, vcpu: usize, intid: u32, priority: u8) {
        let v3_banked = self.version == Version::V3 && intid < 32;
        let (frame, base) = if v3_banked {
            (Frame::Redistributor, vcpu as u64 * 0x2_0000 + 0x1_0000)
        } else {
            (Frame::Distributor, 0)
        };
        let offset = base + 0x400 + u64::from(intid);
        self.access(vcpu, frame, offset, 1, Some(u64::from(priority))).unwrap();
    }

    pub fn set_target(&self, vcpu: usize, intid: u32, target: usize) {
        let (offset, bytes, value) = match self.version {
            Version::V2 => (0x800 + u64::from(intid), 1, 1 << target),
            Version::V3 => (0x6000 + 8 * u64::from(intid), 8, target as u64),
        };
        self.access(vcpu, Frame::Distributor, offset, bytes, Some(value)).unwrap();
    }

    pub fn enable_groups(&self) {
        self.access(0, Frame::Distributor, 0, 4, Some(3)).unwrap();
        self.settle();
    }

    /// Sends SGI `id` from `vcpu` to `targets`.
    pub fn sgi(&self, vcpu: usize, targets: u32, id: u32) {
        match self.version {
            Version::V2 => {
                let value = u64::from(targets << 16 | id);
                self.access(vcpu, Frame::Distributor, 0xf00, 4, Some(value)).unwrap();
            }
            Version::V3 => {
                self.seat(vcpu).sgi1r(&self.cpu(vcpu), u64::from(id << 24 | targets));
            }
        }
    }

    /// EL2 raises edge-triggered virtual SPI `intid` from `cpu`: its line goes up and down.
    pub fn raise(&self, cpu: usize, here: Option<usize>, intid: u32) {
        for level in [true, false] {
            self.vgic().set_level(&self.cpu(cpu), here, intid, level);
        }
    }

    /// Physical interrupt `intid` has been taken on `cpu`.
    pub fn inject(&self, cpu: usize, intid: u32) {
        let (seat, hw) = (self.seat(cpu), self.cpu(cpu));
        // EL2 has no seat of a vCPU that is not current: its interrupt is a straggler.
        if !self.interfaces[cpu].is_current() || !seat.inject_hw(&hw, intid) {
            seat.inject_late(&hw, intid);
        }
    }

    /// A physical interrupt becomes pending.
    pub fn fire(&self, cpu: usize, intid: u32) {
        let (word, bit) = (intid as usize / 32, 1 << (intid % 32));
        self.machine.borrow_mut().pending[if word == 0 { cpu } else { 0 }][word] |= bit;
    }

    /// Whether physical interrupt `intid` is pending in the hardware.
    pub fn fired(&self, cpu: usize, intid: u32) -> bool {
        let (word, bit) = (intid as usize / 32, 1 << (intid % 32));
        self.machine.borrow().pending[if word == 0 { cpu } else { 0 }][word] & bit != 0
    }

    /// EL2 takes everything that asks for it, until nothing does.
    pub fn settle(&self) {
        for _ in 0..200 {
            if !self.step() {
                return;
            }
        }
        panic!("EL2 is interrupted for ever: {:?}", self.machine.borrow().cpus);
    }

    fn step(&self) -> bool {
        let mut progress = false;
        for cpu in 0..self.interfaces.len() {
            while let Some(intid) = self.take_physical(cpu) {
                self.inject(cpu, intid);
                progress = true;
            }
            let kicked = std::mem::take(&mut self.machine.borrow_mut().cpus[cpu].kicked);
            if kicked {
                assert!(self.interfaces[cpu].is_current(), "kick for a vCPU that is not current");
                self.vgic().on_kick(&self.cpu(cpu), cpu);
                progress = true;
            }
            let posted = std::mem::take(&mut self.machine.borrow_mut().cpus[cpu].posted);
            for source in (0..8).filter(|source| posted >> source & 1 != 0) {
                let (seat, hw) = (self.seat(cpu), self.cpu(cpu));
                if !seat.on_post(&hw, source) {
                    seat.take(&hw, source);
                }
                progress = true;
            }
            if self.interfaces[cpu].is_current() && self.maintenance(cpu) {
                self.vgic().on_maintenance(&self.cpu(cpu), cpu);
                progress = true;
            }
        }
        progress
    }

    /// The physical interrupt that EL2 acknowledges next on `cpu`.
    fn take_physical(&self, cpu: usize) -> Option<u32> {
        let mut machine = self.machine.borrow_mut();
        for word in 0..9 {
            let bank = if word == 0 { cpu } else { 0 };
            let mut ready =
                machine.pending[bank][word] & machine.enabled[bank][word] & !machine.active[bank][word];
            while ready != 0 {
                let bit = ready & ready.wrapping_neg();
                ready &= !bit;
                let intid = 32 * word as u32 + bit.trailing_zeros();
                if word == 0 || machine.routes[intid as usize] as usize == cpu {
                    machine.pending[bank][word] &= !bit;
                    machine.active[bank][word] |= bit;
                    return Some(intid);
                }
            }
        }
        None
    }

    /// Whether the maintenance interrupt of `cpu` is asserted (`ICH_MISR_EL2`).
    pub fn maintenance(&self, cpu: usize) -> bool {
        let machine = self.machine.borrow();
        let interface = &machine.cpus[cpu];
        let bits = interface.control.bits();
        let eoi = interface.lists.iter().any(|lr| lr.is_empty() && lr.is_eoi());
        let no_pending = !interface.lists.iter().any(|lr| lr.is_pending() && !lr.is_active());
        eoi || (bits & Control::NO_PENDING.bits() != 0 && no_pending)
            || (bits & Control::NOT_PRESENT.bits() != 0 && interface.eoi_count != 0)
    }

    /// The guest acknowledges: INTID, source and priority.
    pub fn acknowledge(&self, cpu: usize) -> Option<(u32, u32, u8)> {
        let mut machine = self.machine.borrow_mut();
        let interface = &mut machine.cpus[cpu];
        let running = interface.active.trailing_zeros();
        let best = interface
            .lists
            .iter_mut()
            .filter(|lr| lr.is_pending() && !lr.is_active())
            .min_by_key(|lr| lr.priority())?;
        if u32::from(best.priority() >> 3) >= running {
            return None;
        }
        interface.active |= 1 << (best.priority() >> 3);
        *best = best.with_pending(false).with_active(true);
        Some((best.intid(), best.source(), best.priority()))
    }

    /// The guest writes EOIR; with EOImode = 1 this drops the priority alone.
    pub fn end(&self, cpu: usize, intid: u32) {
        let split = {
            let mut machine = self.machine.borrow_mut();
            let interface = &mut machine.cpus[cpu];
            if interface.active == 0 {
                return;
            }
            interface.active &= interface.active - 1;
            interface.vmcr & EOI_MODE != 0
        };
        if !split {
            self.deactivate(cpu, intid);
        }
    }

    /// The guest sets EOImode = 1.
    pub fn set_eoi_mode(&self, cpu: usize) {
        self.machine.borrow_mut().cpus[cpu].vmcr |= EOI_MODE;
    }

    /// The guest writes DIR.
    pub fn deactivate_register(&self, cpu: usize, intid: u32) {
        let (control, split) = {
            let machine = self.machine.borrow();
            (machine.cpus[cpu].control, machine.cpus[cpu].vmcr & EOI_MODE != 0)
        };
        if self.version == Version::V3 && control.bits() & Control::TRAP_DIR.bits() != 0 {
            self.vgic().deactivate(&self.cpu(cpu), cpu, u64::from(intid));
        } else if split {
            self.deactivate(cpu, intid);
        }
    }

    fn deactivate(&self, cpu: usize, intid: u32) {
        let mut machine = self.machine.borrow_mut();
        let held = machine.cpus[cpu].lists.iter_mut().find(|lr| lr.intid() == intid && lr.is_active());
        match held {
            Some(lr) => {
                *lr = lr.with_active(false);
                if lr.is_hardware() {
                    let word = intid as usize / 32;
                    machine.active[if word == 0 { cpu } else { 0 }][word] &= !(1 << (intid % 32));
                }
            }
            None => machine.cpus[cpu].eoi_count += 1,
        }
    }

    /// No INTID stands in two list registers (SGIs and PPIs: of one CPU).
    pub fn check_unique(&self) {
        let machine = self.machine.borrow();
        let mut seen = std::collections::HashSet::new();
        for (cpu, interface) in machine.cpus.iter().enumerate() {
            for lr in interface.lists.iter().filter(|lr| !lr.is_empty()) {
                let bank = if lr.intid() < 32 { cpu } else { usize::MAX };
                assert!(seen.insert((bank, lr.intid())), "INTID {} twice: {:?}", lr.intid(), machine.cpus);
            }
        }
    }
}
