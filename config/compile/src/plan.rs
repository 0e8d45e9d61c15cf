//! Plans: who has which CPU when.

use crate::model::{CpuIndex, PartitionIndex};
use crate::span::{Span, Spanned};

/// A plan: one schedule per shared CPU with a common major frame.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: Spanned<String>,
    /// Stable identity.
    pub id: Spanned<u32>,
    /// Length of the major frame.
    pub major_frame_ns: Spanned<u64>,
    /// Entered at once when the health monitor asks for it.
    pub immediate: Option<Span>,
    /// One entry per shared CPU.
    pub cpus: Vec<PlanCpu>,
    /// Whether a part of it was not taken as it is written, or windows stand where nobody can run them: the reader and
    /// PLN-003 and PLN-004 say so, and who lacks a window here nobody knows.
    pub doubtful: bool,
    /// Whether it is not doubtful, the frame is longer than zero, every window ends inside of it, and none overlaps
    /// another: what PLN-001 and PLN-002 refuse has no meaning in time.
    pub sound: bool,
}

/// The schedule of one CPU in one plan.
#[derive(Debug, Clone)]
pub struct PlanCpu {
    /// The node.
    pub span: Span,
    /// The CPU.
    pub cpu: Spanned<CpuIndex>,
    /// Gets the gaps and what others give back.
    pub background: Option<Spanned<PartitionIndex>>,
    /// Windows in source order.
    pub windows: Vec<Window>,
    /// Whether a window asks for cleaning.
    pub cleans: bool,
    /// What EL2's scheduler makes of a frame of it ([`crate::timing::simulate`]): partition, start and end of each
    /// slot that is a window, in order of partition and start. Empty if the plan is not sound.
    pub slots: Vec<(PartitionIndex, u64, u64)>,
    /// Partition and index of each window, in order of partition and start.
    by_partition: Vec<(PartitionIndex, usize)>,
}

impl PlanCpu {
    /// The schedule of `cpu` with `windows` in source order.
    pub fn new(
        span: Span,
        cpu: Spanned<CpuIndex>,
        background: Option<Spanned<PartitionIndex>>,
        windows: Vec<Window>,
    ) -> PlanCpu {
        let mut by_partition: Vec<(PartitionIndex, usize)> =
            windows.iter().enumerate().map(|(at, w)| (w.partition.value, at)).collect();
        by_partition.sort_by_key(|(partition, at)| (*partition, windows[*at].start_ns.value));
        let cleans = windows.iter().any(|w| !w.clean.is_empty());
        PlanCpu { span, cpu, background, windows, cleans, slots: Vec::new(), by_partition }
    }

    /// Start and end of the slots in which EL2's scheduler runs partition `index` in its windows, in order of time.
    pub fn slots_of(&self, index: PartitionIndex) -> impl Iterator<Item = (u64, u64)> + '_ {
        let from = self.slots.partition_point(|(partition, ..)| *partition < index);
        self.slots[from..]
            .iter()
            .take_while(move |slot| slot.0 == index)
            .map(|(_, start, end)| (*start, *end))
    }

    /// Windows of partition `index` in order of time.
    pub fn windows_of(&self, index: PartitionIndex) -> impl DoubleEndedIterator<Item = &Window> + Clone {
        let from = self.by_partition.partition_point(|(partition, _)| *partition < index);
        let own = self.by_partition[from..].iter().take_while(move |(partition, _)| *partition == index);
        let count = own.count();
        self.by_partition[from..from + count].iter().map(|(_, at)| &self.windows[*at])
    }
}

/// A window: a partition has the CPU from `start_ns` for `duration_ns`, measured from the start of the major frame.
#[derive(Debug, Clone)]
pub struct Window {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: String,
    /// Who runs.
    pub partition: Spanned<PartitionIndex>,
    /// From the start of the major frame.
    pub start_ns: Spanned<u64>,
    /// Length.
    pub duration_ns: Spanned<u64>,
    /// What is cleaned when the window opens.
    pub clean: Vec<Spanned<Clean>>,
}

impl Window {
    /// End from the start of the major frame.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.value.saturating_add(self.duration_ns.value)
    }
}

/// Microarchitectural state cleaned when a window opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    /// Branch predictor, through the firmware's SMCCC_ARCH_WORKAROUND_1.
    BranchPredictor,
    /// First-level caches of this CPU.
    L1Cache,
}

impl Clean {
    /// As a configuration writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BranchPredictor => "branch-predictor",
            Self::L1Cache => "l1-cache",
        }
    }
}
