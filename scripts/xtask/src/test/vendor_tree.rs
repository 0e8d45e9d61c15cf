//! `board/rpi4/rpi4.dtsi` against the tree that it is derived from: Debian's, the one that `flash` puts on the card.
//!
//! Every node of ours is one of the vendor's, with the same registers, interrupts, properties and references, but for
//! what [`DEVIATIONS`] names with its reason. What ours leaves out is granted to nobody.

use std::path::Path;

use bulkhead_compile::board::Cpu;
use bulkhead_compile::model::{BoardNode, Reference, System, Target};
use bulkhead_compile::read::SearchPath;
use bulkhead_compile::{CheckOptions, check, check_blob};

use crate::failure::{Failure, Result};
use crate::files;
use crate::paths::Paths;
use crate::setup::kernel::{self, RPI4_DEVICE_TREE};

/// Where ours differs on purpose: part of a node's path, property, reason.
const DEVIATIONS: [(&str, &str, &str); 5] = [
    ("/soc/", "status", "what waits for an overlay is enabled: a grant asks for it"),
    (
        "/soc/serial@7e201000",
        "pinctrl-0",
        "pins 14 and 15, as `disable-bt` has it; EL2's first instructions set them",
    ),
    ("/soc/serial@7e201000", "pinctrl-names", "the same"),
    ("/soc/serial@7e201000", "uart-has-rtscts", "the same: these are lines of the Bluetooth chip"),
    ("/soc/serial@7e201000", "nodes in it", "the same: the Bluetooth chip"),
];

/// Compares the two.
///
/// # Errors
/// Every difference that is not listed, and every listed one that is none any more.
pub fn compare(paths: &Paths) -> Result<()> {
    let vendor = kernel::unpacked(&paths.cache, kernel::BOARDS).device_tree(RPI4_DEVICE_TREE)?;
    let vendor = check_blob(&files::read(&vendor)?, RPI4_DEVICE_TREE, &SearchPath::default(), false).model;
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let ours = check(&paths.root.join("config/examples/demo-rpi4.dts"), &options)
        .map_err(|e| Failure::unusable(e.to_string()))?
        .model;
    let (Some(vendor), Some(ours)) = (vendor, ours) else {
        return Err(Failure::failed("a device tree of the Raspberry Pi 4 cannot be read"));
    };
    let differences = differences(&ours, &vendor);
    match differences.as_slice() {
        [] => Ok(()),
        list => Err(Failure::failed(format!(
            "board/rpi4/rpi4.dtsi is not what Debian's {RPI4_DEVICE_TREE} says:\n{}\nFollow the vendor's tree, or name the \
             difference with its reason in {}",
            list.join("\n"),
            Path::new(file!()).display()
        ))),
    }
}

fn differences(ours: &System, vendor: &System) -> Vec<String> {
    let mut out = Vec::new();
    let mut used = [false; DEVIATIONS.len()];
    let cpus = |system: &System| {
        let one = |cpu: &Cpu| {
            format!("{} {:x?} {:?} {:x?}", cpu.name, cpu.mpidr, cpu.enable_method, cpu.release_addr)
        };
        system.board.cpus.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if cpus(ours) != cpus(vendor) {
        out.push(format!("/cpus: {}, the vendor has {}", cpus(ours), cpus(vendor)));
    }
    for node in &ours.nodes {
        let Some(theirs) = vendor.nodes.iter().find(|n| n.path == node.path) else {
            out.push(format!("{}: the vendor has no such node", node.path));
            continue;
        };
        for (property, found, expected) in properties(ours, node, vendor, theirs) {
            let listed =
                DEVIATIONS.iter().position(|(path, p, _)| node.path.contains(path) && *p == property);
            match listed {
                Some(at) => used[at] = true,
                None => out.push(format!("{}: {property}: {found}, the vendor has {expected}", node.path)),
            }
        }
    }
    let stale = DEVIATIONS.iter().zip(used).filter(|(_, used)| !used);
    out.extend(
        stale.map(|((path, property, _), _)| format!("{path}: {property}: listed, and no difference")),
    );
    out
}

/// Properties in which two nodes differ, with both values.
fn properties(
    ours: &System,
    node: &BoardNode,
    vendor: &System,
    theirs: &BoardNode,
) -> Vec<(String, String, String)> {
    let (mine, other) = (shown(ours, node), shown(vendor, theirs));
    let names: std::collections::BTreeSet<&String> =
        mine.iter().chain(&other).map(|(name, _)| name).collect();
    let value = |list: &[(String, String)], name: &String| {
        list.iter().find(|(n, _)| n == name).map_or_else(|| "nothing".to_owned(), |(_, value)| value.clone())
    };
    let pairs = names.into_iter().map(|name| (name.clone(), value(&mine, name), value(&other, name)));
    pairs.filter(|(_, a, b)| a != b).collect()
}

/// A node's properties as text that does not depend on phandles.
fn shown(system: &System, node: &BoardNode) -> Vec<(String, String)> {
    let reference = |r: &Reference| {
        let entry = |e: &bulkhead_compile::model::Entry| match e.target {
            Target::Node(at) => format!("{} {:?}", system.nodes[at].path, e.cells),
            other => format!("{other:?} {:?}", e.cells),
        };
        (r.property.clone(), r.entries.iter().map(entry).collect::<Vec<_>>().join(", "))
    };
    let mut out: Vec<(String, String)> = node.references.iter().map(reference).collect();
    out.extend(
        node.plain
            .iter()
            .map(|(name, value)| (name.clone(), format!("{:?}", value.escape_ascii().to_string()))),
    );
    out.push(("status".to_owned(), if node.enabled { "okay" } else { "disabled" }.to_owned()));
    let parts = node.children.iter().map(|child| &system.nodes[*child]);
    let parts = parts.filter(|part| part.enabled && part.device.is_none() && !part.only_holds());
    if node.device.is_some() && !node.pin_controller {
        let names: Vec<&str> = parts.map(|part| part.name.as_str()).collect();
        out.push(("nodes in it".to_owned(), names.join(" ")));
    }
    if let Some(device) = node.device.map(|device| &system.devices[device]) {
        out.push(("registers of the CPU".to_owned(), format!("{:x?}", device.regs)));
        out.push(("interrupts".to_owned(), format!("{:?}", device.interrupts)));
        out.push(("dma-ranges of its bus".to_owned(), format!("{:x?}", device.dma_ranges)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board with a clock and a device, whose phandles begin at `first`; `rest` follows in the device.
    fn board(first: u32, rest: &str) -> System {
        let text = format!(
            "/dts-v1/;\n/ {{ compatible = \"raspberrypi,4-model-b\"; #address-cells = <2>; #size-cells = <1>; \
             interrupt-parent = <{first}>;\n\
             gic@1000 {{ compatible = \"arm,gic-400\"; reg = <0 0x1000 0x1000>, <0 0x2000 0x1000>; phandle = <{first}>; \
             #interrupt-cells = <3>; }};\n\
             osc {{ compatible = \"fixed-clock\"; #clock-cells = <0>; phandle = <{}>; }};\n\
             spi@3000 {{ compatible = \"acme,spi\"; reg = <0 0x3000 0x1000>; interrupts = <0 9 4>; clocks = <{}>; \
             {rest} }};\n}};\n",
            first + 1,
            first + 1
        );
        let directory = std::env::temp_dir().join(format!("xtask-vendor-{first}-{}", std::process::id()));
        files::write(&directory.join("board.dts"), text.as_bytes()).unwrap();
        let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
        let checked = check(&directory.join("board.dts"), &options).unwrap();
        files::remove_dir(&directory).unwrap();
        checked.model.expect("a model")
    }

    #[test]
    fn phandles_do_not_matter_and_everything_else_does() {
        let told = |rest: &str| {
            let all = differences(&board(1, ""), &board(40, rest));
            all.into_iter().filter(|line| !line.contains("listed, and no")).collect::<Vec<_>>()
        };
        assert_eq!(told(""), Vec::<String>::new());
        assert!(told("acme,width = <8>;")[0].starts_with("/spi@3000: acme,width: nothing, the vendor has"));
        assert!(told("dma-coherent; flash { compatible = \"acme,flash\"; };")[1].contains("nodes in it"));
        assert!(told("reset-gpios = <0>;")[0].contains("reset-gpios: nothing"));
    }
}
