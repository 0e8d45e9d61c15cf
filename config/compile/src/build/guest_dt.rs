//! The device tree that a partition is given: what QEMU `virt` would say, with what the partition has.
//!
//! Source: Devicetree Specification v0.4; bindings arm,psci-1.0, arm,armv8-timer, arm,gic-v3, arm,gic, arm,pl011,
//! fixed-clock; `partitions/linux/module/bulkhead,partition.yaml`.

use super::guest_devices::Granted;
use super::ports::View;
use crate::diag::Finding;
use crate::model::{ConsoleKind, GicVersion, Partition, PartitionIndex, System};
use crate::rules::closure::CLO_001;
use crate::rules::layout::{GICC_BYTES, GICD_BYTES, GICR_BYTES};
use crate::span::AddressRange;
use vm_fdt::{Error, FdtWriter, FdtWriterResult};

pub(super) const GIC_PHANDLE: u32 = 1;
pub(super) const UART_CLOCK_PHANDLE: u32 = 2;
/// Clock of the emulated PL011, as QEMU `virt` has it.
pub(super) const UART_CLOCK: &str = "apb-pclk";
pub(super) const UART_CLOCK_HZ: u32 = 24_000_000;
pub(super) const EDGE_RISING: u32 = 1;
pub(super) const LEVEL_HIGH: u32 = 4;

/// Builds the tree of partition `index`; `initrd` is where its initial RAM disk lies.
///
/// # Errors
/// A device needs something that the tree cannot say (CLO-001).
pub fn build(
    system: &System,
    index: PartitionIndex,
    view: &View,
    initrd: Option<AddressRange>,
) -> Result<Vec<u8>, Finding> {
    let partition = &system.partitions[index];
    let tree = Tree { system, partition, view, initrd, granted: Granted::of(system, index) };
    tree.write().map_err(|error| {
        let name = &partition.name.value;
        Finding::new(
            &CLO_001,
            format!("the device tree of {name} cannot be written: {error}"),
            partition.span,
            "this partition",
        )
        .found(error.to_string())
        .expected("names and values that a flattened device tree can hold")
    })
}

pub(super) struct Tree<'a> {
    pub(super) system: &'a System,
    pub(super) partition: &'a Partition,
    view: &'a View,
    initrd: Option<AddressRange>,
    pub(super) granted: Granted,
}

impl Tree<'_> {
    fn write(&self) -> Result<Vec<u8>, Error> {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
        fdt.property_string("model", &format!("Bulkhead partition {}", self.partition.name.value))?;
        fdt.property_string("compatible", "linux,dummy-virt")?;
        self.chosen(&mut fdt)?;
        self.memory(&mut fdt)?;
        self.cpus(&mut fdt)?;
        self.timer(&mut fdt)?;
        self.gic(&mut fdt)?;
        self.uart(&mut fdt)?;
        self.devices(&mut fdt)?;
        self.interface(&mut fdt)?;
        fdt.end_node(root)?;
        fdt.finish()
    }

    fn uart_name(&self) -> String {
        format!("pl011@{:x}", self.partition.view.uart)
    }

    pub(super) fn has_uart(&self) -> bool {
        self.partition.console.value == ConsoleKind::Pl011
    }

    fn chosen(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        let node = fdt.begin_node("chosen")?;
        if let Some(bootargs) = &self.partition.bootargs {
            fdt.property_string("bootargs", &bootargs.value)?;
        }
        if self.has_uart() {
            fdt.property_string("stdout-path", &format!("/{}", self.uart_name()))?;
        }
        if let Some(initrd) = &self.initrd {
            fdt.property_u64("linux,initrd-start", initrd.base)?;
            fdt.property_u64("linux,initrd-end", initrd.end_saturating())?;
        }
        fdt.end_node(node)
    }

    fn memory(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        for range in &self.partition.memory {
            let node = fdt.begin_node(&format!("memory@{:x}", range.ipa.base))?;
            fdt.property_string("device_type", "memory")?;
            fdt.property_array_u64("reg", &[range.ipa.base, range.ipa.size])?;
            fdt.end_node(node)?;
        }
        Ok(())
    }

    fn cpus(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        let cpus = fdt.begin_node("cpus")?;
        fdt.property_u32("#address-cells", 1)?;
        fdt.property_u32("#size-cells", 0)?;
        for (number, cpu) in self.partition.vcpus.iter().enumerate() {
            let node = fdt.begin_node(&format!("cpu@{number:x}"))?;
            fdt.property_string("device_type", "cpu")?;
            fdt.property_string("compatible", &self.system.board.cpus[*cpu].compatible)?;
            fdt.property_u32("reg", number as u32)?;
            fdt.property_string("enable-method", "psci")?;
            fdt.end_node(node)?;
        }
        fdt.end_node(cpus)?;
        let psci = fdt.begin_node("psci")?;
        let compatible = ["arm,psci-1.0", "arm,psci-0.2"];
        fdt.property_string_list("compatible", compatible.map(str::to_owned).to_vec())?;
        fdt.property_string("method", "hvc")?;
        fdt.end_node(psci)
    }

    /// Flags of a private interrupt: GICv2's binding has the CPU mask in bits 15:8.
    fn private(&self, flags: u32) -> u32 {
        match self.system.board.gic.version {
            GicVersion::V2 => flags | ((1 << self.partition.vcpus.len()) - 1) << 8,
            GicVersion::V3 => flags,
        }
    }

    fn timer(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        let node = fdt.begin_node("timer")?;
        fdt.property_string("compatible", "arm,armv8-timer")?;
        let flags = self.private(LEVEL_HIGH);
        // Secure, non-secure, virtual, hypervisor: PPIs 13, 14, 11, 10.
        let cells = [1, 13, flags, 1, 14, flags, 1, 11, flags, 1, 10, flags];
        fdt.property_array_u32("interrupts", &cells)?;
        fdt.property_null("always-on")?;
        fdt.end_node(node)
    }

    fn gic(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        let view = &self.partition.view;
        let (compatible, second, bytes) = match self.system.board.gic.version {
            GicVersion::V3 => {
                let bytes = GICR_BYTES * self.partition.vcpus.len() as u64;
                ("arm,gic-v3", view.gicr, bytes)
            }
            GicVersion::V2 => ("arm,cortex-a15-gic", view.gicc, GICC_BYTES),
        };
        let node = fdt.begin_node(&format!("intc@{:x}", view.gicd))?;
        fdt.property_string("compatible", compatible)?;
        fdt.property_u32("#interrupt-cells", 3)?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_array_u64("reg", &[view.gicd, GICD_BYTES, second, bytes])?;
        fdt.property_phandle(GIC_PHANDLE)?;
        fdt.end_node(node)
    }

    fn uart(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        if !self.has_uart() {
            return Ok(());
        }
        let clock = fdt.begin_node(UART_CLOCK)?;
        fdt.property_string("compatible", "fixed-clock")?;
        fdt.property_u32("#clock-cells", 0)?;
        fdt.property_u32("clock-frequency", UART_CLOCK_HZ)?;
        fdt.property_string("clock-output-names", UART_CLOCK)?;
        fdt.property_phandle(UART_CLOCK_PHANDLE)?;
        fdt.end_node(clock)?;
        let view = &self.partition.view;
        let node = fdt.begin_node(&self.uart_name())?;
        let compatible = ["arm,pl011", "arm,primecell"].map(str::to_owned).to_vec();
        fdt.property_string_list("compatible", compatible)?;
        fdt.property_array_u64("reg", &[view.uart, crate::model::PAGE_BYTES])?;
        fdt.property_array_u32("interrupts", &self.interrupt(view.uart_intid, LEVEL_HIGH))?;
        fdt.property_array_u32("clocks", &[UART_CLOCK_PHANDLE; 2])?;
        let names = ["uartclk", "apb_pclk"].map(str::to_owned).to_vec();
        fdt.property_string_list("clock-names", names)?;
        fdt.end_node(node)
    }

    /// The three cells of binding arm,gic: kind, number, flags.
    pub(super) fn interrupt(&self, intid: u32, flags: u32) -> [u32; 3] {
        match intid.checked_sub(32) {
            Some(number) => [0, number, flags],
            None => [1, intid.saturating_sub(16), self.private(flags)],
        }
    }

    /// Node of binding bulkhead,partition-v1.
    fn interface(&self, fdt: &mut FdtWriter) -> FdtWriterResult<()> {
        let info = &self.view.info;
        let node = fdt.begin_node(&format!("bulkhead@{:x}", info.base))?;
        fdt.property_string("compatible", "bulkhead,partition-v1")?;
        fdt.property_array_u64("reg", &[info.base, info.size])?;
        let (mut cells, mut names) = (Vec::new(), Vec::new());
        for (end, intid) in self.view.doorbells() {
            cells.extend(self.interrupt(intid, EDGE_RISING));
            names.push(end.name.clone());
        }
        if let Some(intid) = self.view.event_intid {
            cells.extend(self.interrupt(intid, EDGE_RISING));
            // No port's name has a dot.
            names.push(".events".to_owned());
        }
        if !names.is_empty() {
            fdt.property_array_u32("interrupts", &cells)?;
            fdt.property_string_list("interrupt-names", names)?;
        }
        fdt.end_node(node)
    }
}
