//! Boards as data: what a board's device tree and its `board.toml` say about it.

use crate::model::DeviceIndex;
use crate::span::{AddressRange, Span};
use bulkhead_blueprint::limits;
use serde::Deserialize;

/// The board of a system.
#[derive(Debug, Clone)]
pub struct Board {
    /// Facts of `board.toml`.
    pub facts: BoardFacts,
    /// `model` of the tree.
    pub model: String,
    /// Root `compatible`.
    pub compatible: Vec<String>,
    /// `compatible` of the root node, which selects the board.
    pub span: Span,
    /// CPUs in ascending order of MPIDR.
    pub cpus: Vec<Cpu>,
    /// RAM: `memory` nodes, in source order.
    pub ram: Vec<(AddressRange, Span)>,
    /// RAM that nobody may use.
    pub reserved: Vec<Reservation>,
    /// Interrupt controller.
    pub gic: Gic,
}

/// A CPU of the board.
#[derive(Debug, Clone)]
pub struct Cpu {
    /// The node.
    pub span: Span,
    /// Node name, as `cpu@3`.
    pub name: String,
    /// Affinity: `reg`, bits 39:32 and 23:0 of MPIDR_EL1.
    pub mpidr: u64,
    /// `compatible`.
    pub compatible: String,
    /// `enable-method`, as `psci` or `spin-table`.
    pub enable_method: Option<String>,
    /// `cpu-release-addr` of spin-table.
    pub release_addr: Option<u64>,
}

/// RAM that is spoken for.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Who has it.
    pub what: String,
    /// Where.
    pub range: AddressRange,
    /// Its node; `None` if it comes from `board.toml` or `/memreserve/`.
    pub span: Option<Span>,
}

/// The interrupt controller.
#[derive(Debug, Clone)]
pub struct Gic {
    /// The node.
    pub span: Span,
    /// Its index among the devices.
    pub device: DeviceIndex,
    /// From `compatible`.
    pub version: GicVersion,
    /// Distributor (GICD).
    pub gicd: AddressRange,
    /// Redistributors (GICR), v3.
    pub gicr: Option<AddressRange>,
    /// CPU interface (GICC), v2.
    pub gicc: Option<AddressRange>,
    /// Hypervisor control interface (GICH), v2.
    pub gich: Option<AddressRange>,
    /// Virtual CPU interface (GICV), v2.
    pub gicv: Option<AddressRange>,
}

/// Architecture version of the interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv2 (IHI0048).
    V2,
    /// GICv3 (IHI0069).
    V3,
}

/// What no device tree says about a board: `board/<name>/board.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardFacts {
    /// Directory name under `board/`.
    pub name: String,
    /// Root `compatible` strings that select this board.
    pub compatible: Vec<String>,
    /// Where the boot method puts the image: link address of EL2.
    pub image_base: u64,
    /// How secondary CPUs start.
    pub cpu_boot: BootMethod,
    /// How they start instead where the tree's `enable-method` says so: with other firmware.
    pub cpu_boot_alternative: Option<BootMethod>,
    /// CNTFRQ_EL0 in Hz.
    pub counter_hz: u32,
    /// Physical address width, ID_AA64MMFR0_EL1.PARange.
    pub pa_bits: u32,
    /// VMID width, ID_AA64MMFR1_EL1.VMIDBits.
    pub vmid_bits: u32,
    /// INTID of the GIC's maintenance interrupt.
    pub maintenance_intid: u32,
    /// INTID of the EL2 physical timer (CNTHP).
    pub hypervisor_timer_intid: u32,
    /// Security states of a GICv3 (GICD_CTLR.DS = 1: one). With two, Group 0 is the Secure world's.
    #[serde(default = "two_security_states")]
    pub gic_security_states: u32,
    /// Longest visit to EL2 plus one partition switch, charged to a window's end.
    pub window_guard_ns: u64,
    /// How the guard was measured on this board. Absent: it is an estimate.
    #[serde(default)]
    pub window_guard_measured: Option<String>,
    /// What cleaning before a window costs on this board, and what there is to clean.
    #[serde(default)]
    pub cleaning: Cleaning,
    /// `compatible` strings of devices that can master the bus.
    pub bus_masters: Vec<String>,
    /// `compatible` strings of blocks that act on others (pin mux, clock manager, mailbox) and why.
    pub shared_blocks: Vec<SharedBlock>,
    /// Clocks of a clock manager that run at one rate from firmware's start on.
    #[serde(default)]
    pub fixed_clocks: Vec<FixedClock>,
    /// Supplies that stand at one voltage from firmware's start on.
    #[serde(default)]
    pub fixed_supplies: Vec<FixedSupply>,
    /// `compatible` strings of devices that the hypervisor drives, beyond GIC, timer and console.
    pub hypervisor_devices: Vec<String>,
    /// RAM that firmware keeps.
    pub firmware: Vec<FirmwareRegion>,
    /// RAM that is anybody's once the board runs, but that code before EL2 writes at every reset: nothing outlives one
    /// there.
    #[serde(default)]
    pub reset_scratch: Vec<FirmwareRegion>,
    /// Line rate of the console.
    pub uart_bits_per_second: u32,
    /// A light for the user without a cable.
    pub led: Option<Led>,
    /// Stores that the hypervisor's first instructions make, with the MMU off: pins, line rate, light.
    #[serde(default)]
    pub boot_write: Vec<RegisterWrite>,
    /// Stores that switch the board off; none: PSCI.
    #[serde(default)]
    pub power_off: Vec<RegisterWrite>,
    /// Stores that reset the board; none: PSCI.
    #[serde(default)]
    pub reset: Vec<RegisterWrite>,
    /// The board's own watchdog, if the hypervisor can drive it.
    pub watchdog: Option<BoardWatchdog>,
    /// The platform that partitions see unless they say otherwise.
    pub view: CanonicalView,
    /// What EL2's tables hold on this board. Absent: what the EL2 binary of this version holds.
    #[serde(default)]
    pub limits: Limits,
}

fn two_security_states() -> u32 {
    2
}

/// What cleaning before a window costs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cleaning {
    /// Of the L1 caches. Absent: nobody knows, and no window may ask for it.
    pub l1_cache_ns: Option<u64>,
    /// How that was measured on this board. Absent: it is an estimate.
    pub l1_cache_measured: Option<String>,
    /// Of the branch predictor, by the firmware's SMCCC_ARCH_WORKAROUND_1. Absent: firmware does not offer it.
    pub branch_predictor_ns: Option<u64>,
    /// How that was measured on this board. Absent: it is an estimate.
    pub branch_predictor_measured: Option<String>,
}

/// Sizes of EL2's tables.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Partitions.
    pub partitions: usize,
    /// CPUs of the board.
    pub cpus: usize,
    /// vCPUs of all partitions.
    pub vcpus: usize,
    /// vCPUs of one partition.
    pub partition_vcpus: usize,
    /// Ends of all ports.
    pub port_ends: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            partitions: limits::PARTITIONS_MAX,
            cpus: limits::CPUS_MAX,
            vcpus: limits::VCPUS_MAX,
            partition_vcpus: limits::PARTITION_VCPUS_MAX,
            port_ends: limits::PORT_ENDS_MAX,
        }
    }
}

/// A light that two registers switch.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Led {
    /// The store that switches it on.
    pub on: RegisterWrite,
    /// The store that switches it off.
    pub off: RegisterWrite,
}

/// A 32-bit store to a register of the board.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegisterWrite {
    /// Physical address.
    pub address: u64,
    /// Bits that stay as they are.
    #[serde(default)]
    pub keep: u32,
    /// The other bits.
    pub value: u32,
}

/// A watchdog that two stores start, and start anew: the first holds the time, the second lets it run.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardWatchdog {
    /// Frequency at which it counts down, in hertz.
    pub hz: u32,
    /// Most that it counts.
    pub most: u32,
    /// The store that takes the time, in the lowest bits of its value.
    pub load: RegisterWrite,
    /// The store that starts it.
    pub start: RegisterWrite,
}

impl BoardWatchdog {
    /// What it has to count for `ns` nanoseconds, rounded up; `None` if that is more than it can.
    #[must_use]
    pub fn count(&self, ns: u64) -> Option<u32> {
        let count = (u128::from(ns) * u128::from(self.hz)).div_ceil(1_000_000_000);
        u32::try_from(count).ok().filter(|count| *count <= self.most)
    }

    /// The stores that start it with so much time.
    #[must_use]
    pub fn kick(&self, ns: u64) -> Vec<RegisterWrite> {
        let count = self.count(ns).unwrap_or(self.most);
        vec![RegisterWrite { value: self.load.value | count, ..self.load }, self.start]
    }
}

/// How secondary CPUs start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// PSCI CPU_ON by SMC (DEN0022).
    PsciSmc,
    /// Release address and SEV (devicetree binding spin-table).
    SpinTable,
}

impl BootMethod {
    /// The `enable-method` of its CPUs' nodes.
    #[must_use]
    pub const fn enable_method(self) -> &'static str {
        match self {
            Self::PsciSmc => "psci",
            Self::SpinTable => "spin-table",
        }
    }
}

/// A block whose grant reaches functions of others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SharedBlock {
    /// One `compatible` string.
    pub compatible: String,
    /// What else it acts on.
    pub reaches: String,
}

/// A clock that firmware sets and nobody changes while its manager is granted to nobody (CLO-008).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedClock {
    /// A `compatible` string of its manager.
    pub provider: String,
    /// Its number there: the specifier's cell.
    pub output: u32,
    /// Its rate.
    pub hz: u32,
    /// Who sets it.
    pub set_by: String,
}

/// A regulator that firmware leaves on and nobody changes while its controller is granted to nobody (CLO-008).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedSupply {
    /// Its `regulator-name`.
    pub regulator: String,
    /// Its voltage in microvolts.
    pub microvolt: u32,
    /// Who sets it.
    pub set_by: String,
}

/// RAM that firmware keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FirmwareRegion {
    /// Who has it.
    pub what: String,
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Canonical platform, intermediate addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CanonicalView {
    /// Distributor.
    pub gicd: u64,
    /// GICv2 CPU interface.
    pub gicc: u64,
    /// GICv3 redistributors.
    pub gicr: u64,
    /// Emulated PL011.
    pub uart: u64,
    /// Its interrupt.
    pub uart_intid: u32,
}

/// Device-tree files that come with the command; a configuration includes them as `board/NAME`.
pub const BUILTIN_FILES: &[(&str, &str)] = &[
    ("qemu-virt.dtsi", include_str!("../../../board/qemu-virt/qemu-virt.dtsi")),
    ("rpi4.dtsi", include_str!("../../../board/rpi4/rpi4.dtsi")),
];

/// `board.toml` of each built-in board.
pub const BUILTIN_BOARDS: &[&str] =
    &[include_str!("../../../board/qemu-virt/board.toml"), include_str!("../../../board/rpi4/board.toml")];

/// Reads the text of a `board.toml`.
///
/// # Errors
/// The line and the reason, if it is not of the form of [`BoardFacts`].
pub fn parse_facts(text: &str) -> Result<BoardFacts, toml::de::Error> {
    toml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_board_can_be_read_and_is_selected_by_one_compatible() {
        let boards: Vec<BoardFacts> = BUILTIN_BOARDS.iter().map(|t| parse_facts(t).unwrap()).collect();
        for (at, board) in boards.iter().enumerate() {
            assert!(
                BUILTIN_FILES.iter().any(|(file, _)| *file == format!("{}.dtsi", board.name)),
                "{}",
                board.name
            );
            for other in &boards[at + 1..] {
                assert!(board.compatible.iter().all(|c| !other.compatible.contains(c)), "{}", other.name);
            }
        }
    }
}
