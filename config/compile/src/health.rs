//! Health-monitor tables: event to action, with escalation.

use crate::model::{PartitionIndex, PlanIndex};
use crate::span::{Span, Spanned};

/// One table: a node of `/health`.
#[derive(Debug, Clone)]
pub struct HealthTable {
    /// The node.
    pub span: Span,
    /// Node name.
    pub name: String,
    /// `default-action`, for every event without a node.
    pub default_action: Option<Spanned<Action>>,
    /// Events with a node.
    pub entries: Vec<HealthEntry>,
    /// `restart-limit`, over restarts of either kind whatever the event.
    pub restart_limit: Option<RestartLimit>,
}

impl HealthTable {
    /// Every action that the table can take, with its place.
    pub fn steps(&self) -> impl Iterator<Item = (Option<Event>, &Step)> {
        let entries = self.entries.iter().flat_map(|e| {
            std::iter::once(&e.step)
                .chain(e.in_init.as_ref())
                .chain(e.escalation.iter().map(|s| &s.step))
                .map(move |s| (Some(*e.event), s))
        });
        entries.chain(self.restart_limit.iter().map(|l| (None, &l.step)))
    }
}

/// What happens on one event.
#[derive(Debug, Clone)]
pub struct HealthEntry {
    /// The event; its span is the node.
    pub event: Spanned<Event>,
    /// The first action.
    pub step: Step,
    /// The action while the partition is not yet in mode NORMAL. Absent: the same.
    pub in_init: Option<Step>,
    /// `then-1`, `then-2`, ... in order.
    pub escalation: Vec<Escalation>,
}

/// An action with its arguments.
#[derive(Debug, Clone)]
pub struct Step {
    /// The action.
    pub action: Spanned<Action>,
    /// Partitions told about it.
    pub notify: Vec<Spanned<PartitionIndex>>,
    /// The plan of `switch-plan`.
    pub plan: Option<Spanned<PlanIndex>>,
}

/// Once the step before it has acted `count` times within the trailing `within_ns`, this step acts instead.
#[derive(Debug, Clone)]
pub struct Escalation {
    /// The node.
    pub span: Span,
    /// Actions of the step before.
    pub count: Spanned<u32>,
    /// Trailing time.
    pub within_ns: Spanned<u64>,
    /// What is done then.
    pub step: Step,
}

/// So many restarts of either kind within the trailing time, then the step.
#[derive(Debug, Clone)]
pub struct RestartLimit {
    /// The node.
    pub span: Span,
    /// Restarts.
    pub count: Spanned<u32>,
    /// Trailing time.
    pub within_ns: Spanned<u64>,
    /// What is done then.
    pub step: Step,
}

/// Declares an enum whose variants have one spelling each in a configuration.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every value, in the order of the reference page.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// The words of a configuration, in the order of [`Self::ALL`].
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word of a configuration.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The value that `word` names.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// A health event.
    Event {
        /// Access to an address that the partition does not have.
        MemoryViolation = "memory-violation",
        /// Access to a system register that the partition does not have.
        UndefinedSysreg = "undefined-sysreg",
        /// Synchronous external abort or SError attributed to the partition.
        ExternalAbort = "external-abort",
        /// A data abort without a syndrome on an emulated device (write-back or pair access).
        UndecodableAccess = "undecodable-access",
        /// An emulated device refused the access's width or alignment.
        IllegalDeviceAccess = "illegal-device-access",
        /// The watchdog was not kicked in time.
        Watchdog = "watchdog",
        /// The partition did not reach mode NORMAL in time.
        InitTimeout = "init-timeout",
        /// A deadline was missed.
        DeadlineMiss = "deadline-miss",
        /// A hypercall or SMC that the configuration does not grant.
        DeniedHypercall = "denied-hypercall",
        /// A port was used against its protocol or faster than allowed.
        PortViolation = "port-violation",
        /// The partition raised an error of its own.
        ApplicationError = "application-error",
        /// The console ring was full and output was lost.
        ConsoleOverflow = "console-overflow",
        /// A device raised more interrupts than its grant allows.
        InterruptStorm = "interrupt-storm",
        /// A payload's digest is not the one of the image.
        Integrity = "integrity",
        /// A window closed late (module).
        WindowOverrun = "window-overrun",
        /// A fault in EL2 itself (module).
        HypervisorFault = "hypervisor-fault",
    }
}

words! {
    /// An action of the health monitor.
    Action {
        /// Nothing, not even a record.
        Ignore = "ignore",
        /// A record in the health log.
        Log = "log",
        /// A record and an interrupt at the partitions of `notify`.
        Notify = "notify",
        /// A synchronous external abort at the faulting vCPU.
        InjectAbort = "inject-abort",
        /// An undefined-instruction exception at the faulting vCPU.
        InjectUndef = "inject-undef",
        /// The interrupt is masked until the partition restarts.
        MaskInterrupt = "mask-interrupt",
        /// The partition stops and can be resumed.
        Suspend = "suspend",
        /// The partition stops until it is restarted.
        Halt = "halt",
        /// All segments reloaded, persistent regions kept.
        WarmRestart = "warm-restart",
        /// Everything reloaded, regions kept only over cold restarts.
        ColdRestart = "cold-restart",
        /// Another plan is entered.
        SwitchPlan = "switch-plan",
        /// The whole board is reset.
        ResetBoard = "reset-board",
    }
}

impl Event {
    /// Whether the event can be blamed on one partition and so needs an entry in that partition's table.
    pub fn blames_partition(self) -> bool {
        !matches!(self, Event::WindowOverrun | Event::HypervisorFault)
    }

    /// Whether a vCPU is stopped at a faulting instruction, into which an exception can be injected.
    pub fn has_faulting_vcpu(self) -> bool {
        matches!(
            self,
            Event::MemoryViolation
                | Event::UndefinedSysreg
                | Event::ExternalAbort
                | Event::UndecodableAccess
                | Event::IllegalDeviceAccess
                | Event::DeniedHypercall
        )
    }
}

impl Action {
    /// Whether the action restarts the partition.
    pub fn restarts(self) -> bool {
        matches!(self, Action::WarmRestart | Action::ColdRestart)
    }

    /// Whether the action ends a chain of restarts.
    pub fn ends_restarts(self) -> bool {
        matches!(self, Action::Halt | Action::SwitchPlan | Action::ResetBoard)
    }

    /// Whether the action reaches beyond the partition that caused it.
    pub fn reaches_others(self) -> bool {
        matches!(self, Action::SwitchPlan | Action::ResetBoard)
    }
}
