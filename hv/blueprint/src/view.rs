//! Checked read access to a blueprint's bytes.

use crate::layout::route::{CURRENT, LIMITED};
use crate::layout::{
    Authority, Cpu, Doorbell, HEALTH_ROWS, Header, HealthRow, InterruptLimit, MAGIC, NONE, Partition,
    PeerWord, Plan, PlanCpu, PortEnd, Range, Reach, RegisterWrite, Route, Table, VERSION, Vcpu, Window,
};
use crate::limits::{
    CPUS_MAX, DIRECT_PARTITIONS_MAX, INTERRUPT_LIMITS_MAX, PARTITION_VCPUS_MAX, PARTITIONS_MAX, PLANS_MAX,
    ROUTES, STACK_STRIDE, VCPUS_MAX,
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Why a blueprint is refused. The number is printed at boot and explained in `docs/boot.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// Shorter than its header, or than the header says.
    Truncated = 1,
    /// Not a blueprint.
    Magic = 2,
    /// Of another version than this crate.
    Version = 3,
    /// A table leaves the blob or is misaligned.
    TableBounds = 4,
    /// More of something than EL2 can hold.
    Limit = 5,
    /// An index names a record that does not exist.
    Index = 6,
    /// A ring is no power of two or leaves the work area; EL2's state is not the end of that, or the stacks do not
    /// lie behind it.
    WorkArea = 7,
}

/// A blueprint whose offsets and indices have been proven to be in range.
#[derive(Clone, Copy)]
pub struct Blueprint<'a> {
    /// The system as a whole.
    pub header: &'a Header,
    /// Physical CPUs.
    pub cpus: &'a [Cpu],
    /// Partitions.
    pub partitions: &'a [Partition],
    /// vCPUs of all partitions.
    pub vcpus: &'a [Vcpu],
    /// vCPU indices by CPU.
    pub slots: &'a [u32],
    /// Interrupt routes by physical INTID.
    pub routes: &'a [Route; ROUTES],
    /// Limits of physical interrupts.
    pub interrupt_limits: &'a [InterruptLimit],
    /// Memory ranges of partitions.
    pub memory: &'a [Range],
    /// Port ends.
    pub port_ends: &'a [PortEnd],
    /// Doorbells.
    pub doorbells: &'a [Doorbell],
    /// Epoch words at peers.
    pub peer_words: &'a [PeerWord],
    /// Authorities.
    pub authorities: &'a [Authority],
    /// Health-monitor rows.
    pub health_rows: &'a [HealthRow],
    /// Plans.
    pub plans: &'a [Plan],
    /// CPUs of plans.
    pub plan_cpus: &'a [PlanCpu],
    /// Windows.
    pub windows: &'a [Window],
    /// Memory the board must offer.
    pub required: &'a [Range],
    /// Stores that the board asks for.
    pub register_writes: &'a [RegisterWrite],
}

/// The bytes of a table of records of `record_bytes`.
#[inline(never)]
fn extent(bytes: &[u8], table: Table, record_bytes: usize) -> Option<&[u8]> {
    let length = (table.count as usize).checked_mul(record_bytes)?;
    bytes.get(table.offset as usize..)?.get(..length)
}

fn table<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8], table: Table) -> Result<&[T], Defect> {
    extent(bytes, table, size_of::<T>())
        .and_then(|bytes| <[T]>::ref_from_bytes(bytes).ok())
        .ok_or(Defect::TableBounds)
}

/// `count` records of a table from `first` on, none if the table has not as many.
#[inline]
#[must_use]
pub fn span<T>(table: &[T], first: u32, count: u32) -> &[T] {
    let first = first as usize;
    table.get(first..first + count as usize).unwrap_or(&[])
}

/// `first..first + count` lies within `len` records.
fn within(first: u32, count: u32, len: usize) -> Result<(), Defect> {
    match first.checked_add(count) {
        Some(end) if end as usize <= len => Ok(()),
        _ => Err(Defect::Index),
    }
}

fn index(value: u32, len: usize) -> Result<(), Defect> {
    within(value, 1, len)
}

fn index_or_none(value: u32, len: usize) -> Result<(), Defect> {
    if value == NONE { Ok(()) } else { index(value, len) }
}

impl<'a> Blueprint<'a> {
    /// Reads the header and proves every offset and index.
    ///
    /// `bytes` must be 8-byte aligned and may be longer than the blueprint. The digest is not
    /// checked here: it covers more than the blueprint.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Defect> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Defect::Truncated)?;
        if header.magic != MAGIC {
            return Err(Defect::Magic);
        }
        if header.version != VERSION {
            return Err(Defect::Version);
        }
        let bytes = bytes.get(..header.total_bytes as usize).ok_or(Defect::Truncated)?;
        let blueprint = Self {
            header,
            cpus: table(bytes, header.cpus)?,
            partitions: table(bytes, header.partitions)?,
            vcpus: table(bytes, header.vcpus)?,
            slots: table(bytes, header.slots)?,
            routes: table::<Route>(bytes, header.routes)?.try_into().map_err(|_| Defect::Limit)?,
            interrupt_limits: table(bytes, header.interrupt_limits)?,
            memory: table(bytes, header.memory)?,
            port_ends: table(bytes, header.port_ends)?,
            doorbells: table(bytes, header.doorbells)?,
            peer_words: table(bytes, header.peer_words)?,
            authorities: table(bytes, header.authorities)?,
            health_rows: table(bytes, header.health_rows)?,
            plans: table(bytes, header.plans)?,
            plan_cpus: table(bytes, header.plan_cpus)?,
            windows: table(bytes, header.windows)?,
            required: table(bytes, header.required)?,
            register_writes: table(bytes, header.register_writes)?,
        };
        blueprint.check_limits()?;
        blueprint.check_system()?;
        blueprint.partitions.iter().try_for_each(|p| blueprint.check_partition(p))?;
        blueprint.check_plans()?;
        Ok(blueprint)
    }

    /// What the partitions are meant to reach: the verifier's, for EL2 pays nothing for it.
    ///
    /// `bytes` are those that were parsed.
    ///
    /// # Errors
    /// [`Defect`] if the table leaves the blueprint or a record names no partition.
    pub fn reaches(&self, bytes: &'a [u8]) -> Result<&'a [Reach], Defect> {
        let bytes = bytes.get(..self.header.total_bytes as usize).ok_or(Defect::Truncated)?;
        let reaches: &[Reach] = table(bytes, self.header.reaches)?;
        reaches.iter().try_for_each(|r| index(r.partition, self.partitions.len()))?;
        Ok(reaches)
    }

    fn check_limits(&self) -> Result<(), Defect> {
        let fits = |len: usize, max: usize| (1..=max).contains(&len);
        if fits(self.cpus.len(), CPUS_MAX)
            && fits(self.partitions.len(), PARTITIONS_MAX)
            && fits(self.vcpus.len(), VCPUS_MAX)
            && self.interrupt_limits.len() <= INTERRUPT_LIMITS_MAX
            && self.partitions.iter().filter(|p| p.is_direct()).count() <= DIRECT_PARTITIONS_MAX
        {
            Ok(())
        } else {
            Err(Defect::Limit)
        }
    }

    fn check_system(&self) -> Result<(), Defect> {
        index(self.header.console_cpu, self.cpus.len())?;
        for cpu in self.cpus {
            within(cpu.slot_first, cpu.slot_count, self.slots.len())?;
        }
        for &slot in self.slots {
            index(slot, self.vcpus.len())?;
        }
        for vcpu in self.vcpus {
            index(vcpu.partition, self.partitions.len())?;
            index(vcpu.cpu, self.cpus.len())?;
            index(vcpu.index, PARTITION_VCPUS_MAX)?;
        }
        for route in self.routes {
            match route.owner {
                ..LIMITED => index(route.owner, self.partitions.len())?,
                LIMITED..CURRENT => index(route.owner - LIMITED, self.interrupt_limits.len())?,
                CURRENT.. => {}
            }
        }
        self.interrupt_limits.iter().try_for_each(|limit| index(limit.owner, self.partitions.len()))?;
        for doorbell in self.doorbells {
            index(doorbell.vcpu, self.vcpus.len())?;
            index(doorbell.bit, crate::limits::DOORBELLS_MAX)?;
        }
        for word in self.peer_words {
            index(word.partition, self.partitions.len())?;
            index(word.port, bulkhead_abi::info::dynamic::PORT_COUNT_MAX)?;
        }
        for end in self.port_ends {
            within(end.doorbell_first, end.doorbell_count, self.doorbells.len())?;
        }
        self.authorities.iter().try_for_each(|a| index(a.partition, self.partitions.len()))?;
        self.check_state()?;
        self.in_work_area(self.header.health_ring)?;
        let ring = self.header.trace_rings.bytes.checked_div(self.cpus.len() as u64).unwrap_or(0);
        if !ring.is_power_of_two() || !self.header.trace_rings.base.is_multiple_of(bulkhead_abi::PAGE_BYTES) {
            return Err(Defect::WorkArea);
        }
        self.in_work_area(self.header.trace_rings)
    }

    /// The work area lies behind what the digest covers, EL2's state is its end, and the stacks follow, inside the image.
    fn check_state(&self) -> Result<(), Defect> {
        let header = self.header;
        let end = |range: Range| range.base.checked_add(range.bytes);
        let stacks = Range { base: header.stacks, bytes: STACK_STRIDE * self.cpus.len() as u64 };
        let is_end = header.state.base >= header.work.base && end(header.state) == end(header.work);
        let (Some(state_end), Some(stacks_end), true) = (end(header.state), end(stacks), is_end) else {
            return Err(Defect::WorkArea);
        };
        let in_order = header.hashed_end <= header.work.base && stacks.base == state_end;
        if in_order && stacks_end <= header.image_end && stacks.base.is_multiple_of(bulkhead_abi::PAGE_BYTES)
        {
            Ok(())
        } else {
            Err(Defect::WorkArea)
        }
    }

    fn check_partition(&self, p: &Partition) -> Result<(), Defect> {
        within(p.vcpu_first, p.vcpu_count, self.vcpus.len())?;
        if !(1..=PARTITION_VCPUS_MAX).contains(&(p.vcpu_count as usize)) {
            return Err(Defect::Limit);
        }
        within(p.memory_first, p.memory_count, self.memory.len())?;
        within(p.port_first, p.port_count, self.port_ends.len())?;
        within(p.peer_first, p.peer_count, self.peer_words.len())?;
        within(p.authority_first, p.authority_count, self.authorities.len())?;
        within(p.health_first, HEALTH_ROWS, self.health_rows.len())?;
        for ring in [p.console_out, p.console_in] {
            if !ring.bytes.is_power_of_two() {
                return Err(Defect::WorkArea);
            }
            self.in_work_area(ring)?;
        }
        self.in_work_area(Range { base: p.info_dynamic, bytes: bulkhead_abi::PAGE_BYTES })
    }

    fn check_plans(&self) -> Result<(), Defect> {
        index_or_none(self.header.initial_plan, self.plans.len())?;
        if self.plans.len() > PLANS_MAX {
            return Err(Defect::Limit);
        }
        for plan in self.plans {
            within(plan.cpu_first, self.cpus.len() as u32, self.plan_cpus.len())?;
        }
        for cpu in self.plan_cpus {
            within(cpu.window_first, cpu.window_count, self.windows.len())?;
            index_or_none(cpu.background, self.vcpus.len())?;
        }
        self.windows.iter().try_for_each(|w| index(w.vcpu, self.vcpus.len()))
    }

    /// The range lies in the work area, in front of EL2's state.
    fn in_work_area(&self, range: Range) -> Result<(), Defect> {
        let end = range.base.checked_add(range.bytes);
        if range.base >= self.header.work.base && end.is_some_and(|end| end <= self.header.state.base) {
            Ok(())
        } else {
            Err(Defect::WorkArea)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use zerocopy::{FromZeros, IntoBytes};

    fn aligned(header: &Header) -> std::vec::Vec<u64> {
        let mut words = vec![0u64; 4096];
        words.as_mut_bytes()[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        words
    }

    #[test]
    fn refuses_short_foreign_and_other_versions() {
        assert_eq!(Blueprint::parse(&[]).err(), Some(Defect::Truncated));
        let mut header = Header::new_zeroed();
        assert_eq!(Blueprint::parse(aligned(&header).as_bytes()).err(), Some(Defect::Magic));
        header.magic = MAGIC;
        assert_eq!(Blueprint::parse(aligned(&header).as_bytes()).err(), Some(Defect::Version));
        header.version = VERSION;
        header.total_bytes = u32::MAX;
        assert_eq!(Blueprint::parse(aligned(&header).as_bytes()).err(), Some(Defect::Truncated));
    }

    #[test]
    fn refuses_tables_outside_the_blob() {
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.version = VERSION;
        header.total_bytes = 4096;
        header.cpus = Table { offset: 4090, count: 1 };
        assert_eq!(Blueprint::parse(aligned(&header).as_bytes()).err(), Some(Defect::TableBounds));
        header.cpus = Table { offset: 8, count: u32::MAX };
        assert_eq!(Blueprint::parse(aligned(&header).as_bytes()).err(), Some(Defect::TableBounds));
    }

    /// The smallest system: one CPU, one partition, one vCPU.
    fn smallest(change: impl FnOnce(&mut Header, &mut Partition)) -> Option<Defect> {
        const WORK: u64 = 0x10_0000;
        let (mut header, mut partition) = (Header::new_zeroed(), Partition::new_zeroed());
        let mut at = size_of::<Header>() as u32;
        let mut place = |bytes: usize, count: usize| {
            let table = Table { offset: at, count: count as u32 };
            at += (bytes * count) as u32;
            table
        };
        (header.magic, header.version, header.initial_plan) = (MAGIC, VERSION, NONE);
        header.partitions = place(size_of::<Partition>(), 1);
        header.cpus = place(size_of::<Cpu>(), 1);
        header.vcpus = place(size_of::<Vcpu>(), 1);
        header.routes = place(size_of::<Route>(), ROUTES);
        header.health_rows = place(size_of::<HealthRow>(), HEALTH_ROWS as usize);
        header.total_bytes = at;
        header.work = Range { base: WORK, bytes: 0x8000 };
        header.health_ring = Range { base: WORK, bytes: 0x1000 };
        header.trace_rings = Range { base: WORK + 0x1000, bytes: 0x1000 };
        header.state = Range { base: WORK + 0x5000, bytes: 0x3000 };
        header.stacks = WORK + 0x8000;
        header.image_end = WORK + 0x8000 + STACK_STRIDE;
        partition.vcpu_count = 1;
        partition.console_out = Range { base: WORK + 0x2000, bytes: 0x1000 };
        partition.console_in = Range { base: WORK + 0x3000, bytes: 0x1000 };
        partition.info_dynamic = WORK + 0x4000;
        change(&mut header, &mut partition);
        let mut words = aligned(&header);
        let first = header.partitions.offset as usize;
        words.as_mut_bytes()[first..first + size_of::<Partition>()].copy_from_slice(partition.as_bytes());
        Blueprint::parse(words.as_bytes()).err()
    }

    #[test]
    fn the_state_is_the_end_of_the_work_area_and_the_stacks_follow() {
        const PAGE: u64 = bulkhead_abi::PAGE_BYTES;
        assert_eq!(smallest(|_, _| ()), None);
        type Harm = (&'static str, fn(&mut Header, &mut Partition));
        let harms: [Harm; 16] = [
            ("work area under the digest", |header, _| header.hashed_end = header.work.base + 1),
            ("stacks apart from the state", |header, _| {
                (header.stacks, header.image_end) = (header.stacks + PAGE, header.image_end + PAGE);
            }),
            ("state beyond the work area", |header, _| header.state.bytes += PAGE),
            ("state below its end", |header, _| header.state.bytes -= PAGE),
            ("state elsewhere", |header, _| header.state.base += PAGE),
            ("state in front of the work area", |header, _| {
                header.state = Range { base: header.work.base - PAGE, bytes: header.work.bytes + PAGE };
            }),
            ("state that wraps", |header, _| header.state.bytes = u64::MAX),
            ("both wrap", |header, _| (header.state.bytes, header.work.bytes) = (u64::MAX, u64::MAX)),
            ("stacks in the state", |header, _| header.stacks -= PAGE),
            ("stacks beyond the image", |header, _| header.stacks += PAGE),
            ("stacks that wrap", |header, _| header.stacks = PAGE.wrapping_neg()),
            ("stacks not on a page", |header, _| {
                (header.state.bytes, header.work.bytes) = (header.state.bytes + 16, header.work.bytes + 16);
                (header.stacks, header.image_end) = (header.stacks + 16, u64::MAX)
            }),
            ("log in the state", |header, _| header.health_ring.base = header.state.base),
            ("trace in the state", |header, _| header.trace_rings.base = header.state.base),
            ("console in the state", |header, partition| partition.console_in.base = header.state.base),
            ("information page in the state", |header, partition| partition.info_dynamic = header.state.base),
        ];
        for (what, harm) in harms {
            assert_eq!(smallest(harm), Some(Defect::WorkArea), "{what}");
        }
    }

    #[test]
    fn a_range_that_wraps_is_not_within() {
        assert_eq!(within(u32::MAX, 2, 10), Err(Defect::Index));
        assert_eq!(within(3, 7, 10), Ok(()));
        assert_eq!(within(3, 8, 10), Err(Defect::Index));
    }
}
