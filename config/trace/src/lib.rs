//! The trace of a Bulkhead system, read after the fact: from the packed image, which names CPUs,
//! partitions and plans, and from a copy of the rings that EL2 wrote ([`bulkhead_abi::trace`]).
//!
//! [`Layout`] is what the image says, [`decode`] turns a copy into records, [`perfetto`] and
//! [`report`] show them.
//!
//! Honest limits: a ring holds the latest records only; ticks count from the boot and wrap at 48 bits.

#![forbid(unsafe_code)]

pub mod perfetto;
pub mod report;

use bulkhead_abi::trace::{CAUSES, HEADER_BYTES, MAGIC, MAGIC_AT, RECORD_BYTES, WRITTEN, cause, kind};
use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout::{Header, MAGIC as BLUEPRINT_MAGIC};

/// Granule at which the blueprint lies in the image.
const PAGE: usize = bulkhead_abi::PAGE_BYTES as usize;

/// A vCPU by the names that a reader knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vcpu {
    /// Index of its partition.
    pub partition: usize,
    /// Its number there.
    pub index: u32,
}

/// A window as the plan has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// From the frame's start, in ticks.
    pub start: u64,
    /// Index of the vCPU.
    pub vcpu: u32,
}

/// A plan: its windows by CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Identifier from the configuration.
    pub id: u32,
    /// Major frame in ticks.
    pub frame: u64,
    /// Windows by CPU.
    pub cpus: Vec<Vec<Window>>,
}

/// What the image says about the system that wrote a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Ticks in a second.
    pub hz: u64,
    /// Number of CPUs.
    pub cpus: usize,
    /// Names of the partitions.
    pub partitions: Vec<String>,
    /// vCPUs of all partitions.
    pub vcpus: Vec<Vcpu>,
    /// Plans.
    pub plans: Vec<Plan>,
    /// Physical address of the rings.
    pub base: u64,
    /// Bytes of all rings together.
    pub bytes: usize,
}

impl Layout {
    /// Reads it from a packed image.
    ///
    /// # Errors
    /// Why the bytes are no image of this version.
    pub fn of(image: &[u8]) -> Result<Self, String> {
        let at = (0..image.len())
            .step_by(PAGE)
            .find(|at| Header::prefix(&image[*at..]).is_some_and(|h| h.magic == BLUEPRINT_MAGIC))
            .ok_or("this is no packed image: no blueprint is in it")?;
        // Records are read in place, which wants their alignment.
        let words: Vec<u64> = image[at..]
            .chunks_exact(8)
            .map(|c| u64::from_ne_bytes(c.try_into().unwrap_or_default()))
            .collect();
        let blueprint = Blueprint::parse(zerocopy_bytes(&words))
            .map_err(|defect| format!("the blueprint is of another version or damaged ({defect:?})"))?;
        Ok(Self::from_blueprint(&blueprint))
    }

    fn from_blueprint(blueprint: &Blueprint<'_>) -> Self {
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let windows = |plan: &bulkhead_blueprint::layout::Plan, cpu: usize| {
            let record = &blueprint.plan_cpus[plan.cpu_first as usize + cpu];
            let list = bulkhead_blueprint::span(blueprint.windows, record.window_first, record.window_count);
            list.iter().map(|w| Window { start: w.start_ticks, vcpu: w.vcpu }).collect()
        };
        let cpus = blueprint.cpus.len();
        let plan = |plan: &bulkhead_blueprint::layout::Plan| Plan {
            id: plan.id,
            frame: plan.frame_ticks,
            cpus: (0..cpus).map(|cpu| windows(plan, cpu)).collect(),
        };
        let vcpu =
            |v: &bulkhead_blueprint::layout::Vcpu| Vcpu { partition: v.partition as usize, index: v.index };
        let header = blueprint.header;
        Self {
            hz: u64::from(header.cntfrq_hz),
            cpus,
            partitions: blueprint.partitions.iter().map(|p| name(&p.name)).collect(),
            vcpus: blueprint.vcpus.iter().map(vcpu).collect(),
            plans: blueprint.plans.iter().map(plan).collect(),
            base: header.trace_rings.base,
            bytes: header.trace_rings.bytes as usize,
        }
    }

    /// What a reader calls a vCPU.
    #[must_use]
    pub fn vcpu_name(&self, vcpu: u32) -> String {
        match self.vcpus.get(vcpu as usize) {
            Some(v) => format!("{} vCPU {}", self.partition_name(v.partition), v.index),
            None => format!("vCPU {vcpu} of nobody"),
        }
    }

    /// A partition's name.
    #[must_use]
    pub fn partition_name(&self, partition: usize) -> &str {
        self.partitions.get(partition).map_or("nobody", String::as_str)
    }
}

fn zerocopy_bytes(words: &[u64]) -> &[u8] {
    use zerocopy::IntoBytes;
    words.as_bytes()
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A plan begins at `planned`.
    Plan {
        /// Its index.
        plan: u8,
    },
    /// A vCPU gets the CPU, `late` ticks after the start of its slot.
    Start {
        /// Its index.
        vcpu: u32,
        /// In a window of its own.
        window: bool,
        /// Ticks from the planned start.
        late: u32,
    },
    /// It gives it back, `left` ticks before the slot's end.
    End {
        /// Its index.
        vcpu: u32,
        /// Ticks left, the guard included.
        left: u32,
    },
    /// Visits by cause since the start: two causes from `first` on.
    Visits {
        /// First cause.
        first: usize,
        /// Their counts.
        counts: [u32; 2],
    },
    /// Interrupts that waited for the vCPU whose start comes next.
    Deferred {
        /// How many.
        count: u32,
        /// Ticks since its end: the longest that one of them may have waited.
        away: u32,
    },
    /// An interrupt of a partition that does not run here.
    Straggler {
        /// Its INTID.
        intid: u32,
        /// The partition's index.
        partition: u32,
    },
    /// A health event.
    Health {
        /// Its number.
        event: u8,
        /// The action's number.
        action: u32,
        /// The partition's index.
        partition: u32,
    },
    /// A plan was asked for.
    PlanAsked {
        /// Its index.
        plan: u8,
        /// The tick from which on it runs.
        tick: u64,
    },
    /// The CPU was cleaned for the window whose start comes next.
    Cleaned {
        /// Bit 0: its L1 caches, bit 1: its branch predictor.
        what: u8,
        /// How long it took.
        ticks: u64,
    },
    /// A kind that this version does not know.
    Unknown(u8),
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// CNTVCT, its lower 48 bits.
    pub ticks: u64,
    /// What happened.
    pub event: Event,
}

/// What one CPU wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTrace {
    /// Records in order, the oldest first.
    pub records: Vec<Record>,
    /// Records that were overwritten by these.
    pub overwritten: u64,
    /// Visits by cause since the last `Start`.
    pub open_visits: [u32; cause::COUNT],
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
}

/// The records in a copy of the rings of all CPUs.
///
/// # Errors
/// The copy is not what the image says.
pub fn decode(layout: &Layout, dump: &[u8]) -> Result<Vec<CpuTrace>, String> {
    if dump.len() != layout.bytes || layout.cpus == 0 {
        return Err(format!(
            "the copy has {} bytes; the rings of this image have {}",
            dump.len(),
            layout.bytes
        ));
    }
    dump.chunks_exact(layout.bytes / layout.cpus)
        .enumerate()
        .map(|(cpu, ring)| decode_ring(cpu, ring))
        .collect()
}

fn decode_ring(cpu: usize, ring: &[u8]) -> Result<CpuTrace, String> {
    let magic = long(ring, MAGIC_AT);
    if magic != MAGIC {
        return Err(format!("the ring of CPU {cpu} begins with {magic:#x}, not with {MAGIC:#x}"));
    }
    let slots = ((ring.len() - HEADER_BYTES) / RECORD_BYTES) as u64;
    let written = long(ring, WRITTEN);
    let kept = written.min(slots);
    let record = |number: u64| {
        let at = HEADER_BYTES + (number % slots) as usize * RECORD_BYTES;
        record(long(ring, at), long(ring, at + 8))
    };
    let mut open_visits = [0; cause::COUNT];
    for (pair, counts) in open_visits.chunks_exact_mut(2).enumerate() {
        counts.copy_from_slice(&halves(long(ring, CAUSES + 8 * pair)));
    }
    Ok(CpuTrace {
        records: (written - kept..written).map(record).collect(),
        overwritten: written - kept,
        open_visits,
    })
}

/// The lower and the upper half of a value.
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn record(first: u64, value: u64) -> Record {
    let (number, argument) = (first as u8, (first >> 8) as u8);
    let [low, high] = halves(value);
    let event = match number {
        kind::PLAN => Event::Plan { plan: argument },
        kind::START => Event::Start { vcpu: high, window: argument != 0, late: low },
        kind::END => Event::End { vcpu: high, left: low },
        kind::VISITS => Event::Visits { first: 2 * usize::from(argument), counts: [low, high] },
        kind::DEFERRED => Event::Deferred { count: low, away: high },
        kind::STRAGGLER => Event::Straggler { intid: low, partition: high },
        kind::HEALTH => Event::Health { event: argument, action: low, partition: high },
        kind::PLAN_ASKED => Event::PlanAsked { plan: argument, tick: value },
        kind::CLEANED => Event::Cleaned { what: argument, ticks: value },
        other => Event::Unknown(other),
    };
    Record { ticks: first >> 16, event }
}

/// What a cause of visits is called.
pub const CAUSE_NAMES: [&str; cause::COUNT] =
    ["calls", "accesses", "injections", "kicks", "maintenance", "timer", "console", "stragglers"];
