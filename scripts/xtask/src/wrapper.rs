//! Wrapper files: a user's configuration included, and what the command line overrides in it.
//!
//! The user's file is never edited. dtc lets a later fragment replace properties of an earlier
//! node, so a wrapper is an `/include/` and a few fragments.

use std::path::{Path, PathBuf};

use bulkhead_compile::model::System;
use bulkhead_compile::rules::device_use::restarted_by;

use crate::failure::{Failure, Result};

/// First of the transports that QEMU's command line fills here. Eight share its 4 KiB page.
const FIRST_TRANSPORT: usize = 30;
/// Physical start of a partition that is mapped one to one: clear of EL2 and the firmware.
const DIRECT_BASE: u64 = 0x6000_0000;

/// A virtio-mmio device for the Linux partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Virtio {
    /// A network card with user-mode networking.
    Network,
    /// A disk backed by a raw image file.
    Disk(PathBuf),
}

/// Whether a file can be a disk.
///
/// # Errors
/// It is not there, is a directory, or cannot be written.
pub fn check_disk(file: &Path) -> Result<()> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(file);
    opened.map(drop).map_err(|cause| {
        Failure::unusable(format!(
            "--disk {}: {cause}; it has to be a file that can be written, which `truncate -s 64M FILE` makes",
            file.display()
        ))
    })
}

/// What the command line changes in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Version of the board's interrupt controller, 2 or 3.
    pub gic: Option<u8>,
    /// Devices for the Linux partition.
    pub virtio: Vec<Virtio>,
    /// Frequency of the board's counter, in hertz.
    pub counter_hz: Option<u32>,
    /// Trusted Firmware-A starts the board's CPUs, by PSCI.
    pub trusted_firmware: bool,
}

impl Overrides {
    /// Whether the file can be used as it is.
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }

    /// The wrapper's text; `system` is the model of the file itself.
    ///
    /// # Errors
    /// When the board is not the one that the flags are for, or there is no Linux partition that could take a device.
    pub fn wrap(&self, file: &Path, system: &System) -> Result<String> {
        self.check_board(&system.board.facts.name)?;
        let name = file.to_string_lossy();
        if name.contains(['"', '\\', '\n']) {
            return Err(Failure::unusable(format!(
                "{name}: a path with quotes or backslashes cannot stand in a device-tree source"
            )));
        }
        let mut text = format!("/include/ \"{name}\"\n");
        if let Some(version) = self.gic {
            text.push_str(gic_fragment(version)?);
        }
        if let Some(hz) = self.counter_hz {
            text.push_str(&format!("&{{/timer}} {{ clock-frequency = <{hz}>; }};\n"));
        }
        if self.trusted_firmware {
            for cpu in &system.board.cpus {
                text.push_str(&format!("&{{/cpus/{}}} {{ enable-method = \"psci\"; }};\n", cpu.name));
            }
        }
        if !self.virtio.is_empty() {
            text.push_str(&device_fragment(system, self.virtio.len())?);
        }
        Ok(text)
    }

    fn check_board(&self, board: &str) -> Result<()> {
        let mut flags: Vec<&str> = self.gic.map(|_| "--gic").into_iter().collect();
        flags.extend(self.virtio.iter().map(|device| match device {
            Virtio::Network => "--net",
            Virtio::Disk(_) => "--disk",
        }));
        if board == "qemu-virt" || flags.is_empty() {
            return Ok(());
        }
        Err(Failure::unusable(format!(
            "{}: only QEMU's `virt` can be made up so; this configuration is for the board {board}, which has what it has",
            flags.join(", ")
        )))
    }

    /// QEMU's options for the devices.
    pub fn qemu_options(&self) -> Vec<String> {
        let mut options = Vec::new();
        for (index, device) in self.virtio.iter().enumerate() {
            let bus = format!("bus=virtio-mmio-bus.{}", FIRST_TRANSPORT + index);
            let (kind, backend, reference) = match device {
                Virtio::Network => ("-netdev", "user,id=net".to_string(), "virtio-net-device,netdev=net"),
                Virtio::Disk(file) => (
                    "-drive",
                    format!("if=none,id=disk,format=raw,file={}", escape(file)),
                    "virtio-blk-device,drive=disk",
                ),
            };
            options.extend([kind.into(), backend, "-device".into(), format!("{reference},{bus}")]);
        }
        if !options.is_empty() {
            options.extend(["-global".into(), "virtio-mmio.force-legacy=false".into()]);
        }
        options
    }
}

/// QEMU reads a doubled comma as a comma.
fn escape(file: &Path) -> String {
    file.to_string_lossy().replace(',', ",,")
}

/// The interrupt controller of `virt` in either version, as QEMU 10.0.2 describes it.
fn gic_fragment(version: u8) -> Result<&'static str> {
    match version {
        2 => Ok("&gic {\n\tcompatible = \"arm,cortex-a15-gic\";\n\treg = \
                 <0x0 0x08000000 0x0 0x10000>, <0x0 0x08010000 0x0 0x10000>, \
                 <0x0 0x08030000 0x0 0x10000>, <0x0 0x08040000 0x0 0x10000>;\n};\n"),
        3 => Ok("&gic {\n\tcompatible = \"arm,gic-v3\";\n\treg = \
                 <0x0 0x08000000 0x0 0x10000>, <0x0 0x080a0000 0x0 0xf60000>;\n};\n"),
        other => Err(Failure::unusable(format!("--gic {other}: the board has version 2 or 3"))),
    }
}

fn device_fragment(system: &System, count: usize) -> Result<String> {
    let index = system
        .partitions
        .iter()
        .position(|p| p.os_type.as_ref().is_some_and(|os| os.value.starts_with("linux")))
        .ok_or_else(|| {
            Failure::unusable(
                "--net and --disk need a partition with os,type = \"linux...\"; this configuration \
                 has none",
            )
        })?;
    let linux = &system.partitions[index];
    let restarted = match restarted_by(system, index) {
        Some(_) => {
            ",\n\t\t\t\"DMA-004: OPEN: asked for on the command line; QEMU's device stops when its driver resets it\""
        }
        None => "",
    };
    let size: u64 = linux.memory.iter().map(|range| range.ipa.size).sum();
    let mut access: Vec<String> =
        linux.access.iter().map(|device| format!("&{{{}}}", system.devices[device.value].path)).collect();
    access.extend((0..count).map(|index| format!("&virtio{}", FIRST_TRANSPORT + index)));
    Ok(format!(
        "&{{/domains/{name}}} {{\n\
         \tbulkhead,direct-map;\n\
         \tmemory = <{base_high:#x} {base_low:#x} {size_high:#x} {size_low:#x}>;\n\
         \taccess = <{access}>;\n\
         }};\n\
         / {{\n\
         \tdomains {{\n\
         \t\tbulkhead,accept = \"DMA-001: OPEN, nobody has justified it: asked for on the command line; the device's \
         driver can overwrite all memory\",\n\
         \t\t\t\"DEV-004: the other transports of the page have no device behind them\"{restarted};\n\
         \t}};\n\
         }};\n",
        name = linux.name.value,
        base_high = DIRECT_BASE >> 32,
        base_low = DIRECT_BASE & 0xffff_ffff,
        size_high = size >> 32,
        size_low = size & 0xffff_ffff,
        access = access.join(" "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_compile::{CheckOptions, check};

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples/demo.dts")
    }

    fn options() -> CheckOptions {
        CheckOptions { payloads: false, ..CheckOptions::default() }
    }

    fn checked(overrides: &Overrides, name: &str) -> System {
        let demo = std::fs::canonicalize(demo()).unwrap();
        let system = check(&demo, &options()).unwrap().model.unwrap();
        let text = overrides.wrap(&demo, &system).unwrap();
        let dir = std::env::temp_dir().join(format!("xtask-wrapper-{name}-{}", std::process::id()));
        let file = dir.join("wrapper.dts");
        crate::files::write(&file, text.as_bytes()).unwrap();
        let wrapped = check(&file, &options()).unwrap();
        assert!(wrapped.is_clean(), "{}\n{text}", wrapped.render(false));
        crate::files::remove_dir(&dir).unwrap();
        wrapped.model.unwrap()
    }

    #[test]
    fn the_demo_with_gicv2_is_a_clean_configuration() {
        use bulkhead_compile::model::GicVersion;
        let overrides = Overrides { gic: Some(2), ..Overrides::default() };
        assert_eq!(checked(&overrides, "v2").board.gic.version, GicVersion::V2);
        let overrides = Overrides { gic: Some(3), ..Overrides::default() };
        assert_eq!(checked(&overrides, "v3").board.gic.version, GicVersion::V3);
    }

    #[test]
    fn the_demo_with_devices_is_direct_mapped_and_keeps_what_it_had() {
        let virtio = vec![Virtio::Network, Virtio::Disk("/tmp/a,b.img".into())];
        let overrides = Overrides { virtio, ..Overrides::default() };
        let system = checked(&overrides, "devices");
        let linux = system.partitions.iter().find(|p| p.name.value == "linux").unwrap();
        assert!(linux.direct_map.is_some());
        assert_eq!(linux.memory[0].ipa.base, DIRECT_BASE);
        assert_eq!(linux.memory[0].ipa.size, 0x1000_0000);
        assert_eq!(linux.access.len(), 3);
        let qemu = overrides.qemu_options().join(" ");
        assert!(qemu.contains("virtio-net-device,netdev=net,bus=virtio-mmio-bus.30"), "{qemu}");
        assert!(qemu.contains("file=/tmp/a,,b.img"), "{qemu}");
    }

    #[test]
    fn flags_of_virt_are_refused_for_another_board() {
        let file = demo().with_file_name("demo-rpi4.dts");
        let system = check(&file, &options()).unwrap().model.unwrap();
        let virtio = vec![Virtio::Network, Virtio::Disk("/d".into())];
        let overrides = Overrides { gic: Some(2), virtio, ..Overrides::default() };
        let message = overrides.wrap(&file, &system).unwrap_err().to_string();
        assert!(message.starts_with("--gic, --net, --disk: only QEMU's `virt`"), "{message}");
        assert!(message.contains("board rpi4"), "{message}");
        let overrides = Overrides { trusted_firmware: true, ..Overrides::default() };
        assert!(overrides.wrap(&file, &system).is_ok());
    }

    #[test]
    fn a_disk_that_is_not_there_or_no_file_is_named() {
        let missing = Path::new("/no/such/disk");
        let message = check_disk(missing).unwrap_err().to_string();
        assert!(message.starts_with("--disk /no/such/disk: No such file"), "{message}");
        assert!(check_disk(&std::env::temp_dir()).is_err());
        let file = std::env::temp_dir().join(format!("xtask-disk-{}", std::process::id()));
        std::fs::write(&file, b"").unwrap();
        assert!(check_disk(&file).is_ok());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn the_demo_with_a_faster_counter_is_compiled_for_it() {
        let overrides = Overrides { counter_hz: Some(1_000_000_000), ..Overrides::default() };
        assert!(!overrides.is_empty());
        assert_eq!(checked(&overrides, "hz").board.facts.counter_hz, 1_000_000_000);
    }

    #[test]
    fn nothing_to_override_needs_no_wrapper() {
        assert!(Overrides::default().is_empty());
        assert!(Overrides::default().qemu_options().is_empty());
    }
}
