//! Every field of the blueprint concerns some claim or comparison, or is exempt by name: a bit of any byte is flipped, and
//! the verifier that knows the configuration says so. A field that a later version adds fails here until something
//! compares it.
//!
//! The digest, which every flip breaks, does not count.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_blueprint::layout::{self, Header, Table};
use bulkhead_compile::board::{BUILTIN_BOARDS, BUILTIN_FILES};
use bulkhead_verify::Image;
use bulkhead_verify::against::{self, Configuration, tree};
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::System;
use common::{Workshop, arm64_image, payload_elf};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::path::PathBuf;

/// A configuration, its image, and where its payloads are.
struct Subject {
    blob: Vec<u8>,
    image: Image,
    payloads: PathBuf,
    _shop: Workshop,
}

/// Table, place in the record, bytes, bits of each, reason.
type Exemption = (&'static str, usize, usize, u8, &'static str);

const ALL: u8 = 0xFF;

/// Any VMID serves that the CPU has and nobody else; that is claimed (VFY-060, AGT-013).
const CHOSEN: &str = "the compiler's choice";

/// A word of flags, in which each bit is a field.
const FLAGS: usize = offset_of!(layout::Partition, flags);

/// Fields that are not compared with a value: a flip in them may be silent.
const EXEMPT: &[Exemption] = &[("partitions", offset_of!(layout::Partition, vmid), 4, ALL, CHOSEN)];

fn subject(shop: Workshop, text: &str) -> Subject {
    for (name, content) in BUILTIN_FILES {
        shop.put(&format!("boards/board/{name}"), content.as_bytes());
    }
    let (_, image) = shop.build_text(text).unwrap_or_else(|f| panic!("{f}"));
    let blob =
        tree::compile(&shop.path("main.dts"), &[&shop.path("boards")]).unwrap_or_else(|e| panic!("{e}"));
    Subject { blob, image: Image::from_bytes(image.bytes()), payloads: shop.path(""), _shop: shop }
}

/// The avionics example has all but limits of interrupts, segments and regions.
fn avionics() -> Subject {
    let shop = Workshop::small();
    shop.put("avionics.elf", &payload_elf(0x4020_0000));
    shop.put("table.bin", &[7; 5000]);
    let example = std::fs::read_to_string("../examples/avionics.dts").expect("the example");
    let extra = "&gateway { grants { rtc { device = <&rtc>; max-interrupts = <10>; per-ms = <5>; }; };\n\
         \tregions { log { size = <0x0 0x2000>; at = <0x0 0x80000000>; rights = \"rw\"; keep-over = \"warm-restart\"; }; }; };\n\
         / { segments { maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; file = \"table.bin\"; readers = \
         <&nav &display>; }; }; };\n";
    subject(shop, &format!("{example}{extra}"))
}

/// A board with a spin-table, a light, a watchdog, and stores at boot and at its end.
fn rpi4() -> Subject {
    let shop = Workshop::rpi4();
    shop.put("linux-boards/Image", &arm64_image(60_001, 70_000));
    let demo = std::fs::read_to_string("../examples/demo-rpi4.dts").expect("the demo");
    subject(shop, &demo.replacen("health-log-records", "watchdog-ms = <1500>;\n\t\thealth-log-records", 1))
}

/// Name, place and size of the records of each table.
fn tables(header: &Header) -> Vec<(&'static str, Table, usize)> {
    vec![
        ("register_writes", header.register_writes, size_of::<layout::RegisterWrite>()),
        ("cpus", header.cpus, size_of::<layout::Cpu>()),
        ("partitions", header.partitions, size_of::<layout::Partition>()),
        ("vcpus", header.vcpus, size_of::<layout::Vcpu>()),
        ("slots", header.slots, 4),
        ("routes", header.routes, size_of::<layout::Route>()),
        ("interrupt_limits", header.interrupt_limits, size_of::<layout::InterruptLimit>()),
        ("memory", header.memory, size_of::<layout::Range>()),
        ("port_ends", header.port_ends, size_of::<layout::PortEnd>()),
        ("doorbells", header.doorbells, size_of::<layout::Doorbell>()),
        ("peer_words", header.peer_words, size_of::<layout::PeerWord>()),
        ("authorities", header.authorities, size_of::<layout::Authority>()),
        ("health_rows", header.health_rows, size_of::<layout::HealthRow>()),
        ("plans", header.plans, size_of::<layout::Plan>()),
        ("plan_cpus", header.plan_cpus, size_of::<layout::PlanCpu>()),
        ("windows", header.windows, size_of::<layout::Window>()),
        ("required", header.required, size_of::<layout::Range>()),
        ("reaches", header.reaches, size_of::<layout::Reach>()),
    ]
}

/// Table and place in its record of a byte of the blueprint.
fn place(tables: &[(&'static str, Table, usize)], at: usize) -> (&'static str, usize) {
    if at < size_of::<Header>() {
        return ("header", at);
    }
    let found = tables.iter().find(|(_, table, size)| {
        let start = table.offset as usize;
        (start..start + table.count as usize * size).contains(&at)
    });
    found.map_or(("between tables", 0), |(name, table, size)| (name, (at - table.offset as usize) % size))
}

/// Whether anything but the digest is wrong with the image, on its own or beside its configuration.
fn is_reported(image: &Image, subject: &Subject) -> bool {
    let Ok(view) = image.open() else { return true };
    if judge(&System::gather(&view), Depth::WithoutDigest).iter().any(|c| !c.findings.is_empty()) {
        return true;
    }
    let payloads = [subject.payloads.clone()];
    let configuration = Configuration {
        file: "main.dts",
        blob: &subject.blob,
        payloads: Some(&payloads),
        boards: BUILTIN_BOARDS,
    };
    let report = against::verify(image, &configuration).expect("an image that opens");
    report.findings().any(|f| f.claim != "VFY-001")
}

/// Who reaches what, who owns which interrupt, who runs when.
fn relation(image: &Image) -> String {
    let view = image.open().expect("an image that opens");
    let system = System::gather(&view);
    let reached: Vec<_> = system.partitions.iter().map(|p| (&p.run.mapped, &p.load.mapped)).collect();
    let owned: Vec<_> = view.blueprint.partitions.iter().map(|p| (p.irq_owned, p.irq_present)).collect();
    let (routes, windows) = (view.blueprint.routes, view.blueprint.windows);
    format!("{:?} {reached:?} {owned:?} {routes:?} {windows:?}", system.el2.mapped)
}

/// Flips one bit of each byte, another for each, and all of flags; the bits by place of which nobody said anything.
/// There the relations stay.
fn silent(subject: &Subject) -> BTreeMap<(&'static str, usize), u8> {
    let view = subject.image.open().expect("a good image");
    let header = *view.header();
    let start = (view.blueprint_at - header.image_base) as usize;
    let tables = tables(&header);
    let mut image = subject.image.clone();
    let mut silent = BTreeMap::new();
    let before = relation(&image);
    // The digest is no field: it is made of the others.
    for at in offset_of!(Header, magic)..header.total_bytes as usize {
        let place = place(&tables, at);
        let is_flags = place.0 == "partitions" && (FLAGS..FLAGS + 4).contains(&place.1);
        let one = (at * 5 + at / 8) % 8;
        for bit in (0..8).filter(|bit| is_flags || *bit == one) {
            image.bytes_mut()[start + at] ^= 1 << bit;
            if !is_reported(&image, subject) {
                assert!(relation(&image) == before, "bit {bit} of {place:?} changes a relation");
                *silent.entry(place).or_insert(0) |= 1 << bit;
            }
            image.bytes_mut()[start + at] ^= 1 << bit;
        }
    }
    silent
}

/// Bits of a byte that the exemption is about.
fn covered((table, first, bytes, bits, _): &Exemption, name: &str, at: usize) -> u8 {
    if *table == name && (*first..first + bytes).contains(&at) { *bits } else { 0 }
}

#[test]
fn every_field_of_the_blueprint_is_compared_with_something() {
    let subjects = [avionics(), rpi4()];
    let mut tried: BTreeSet<&str> = BTreeSet::new();
    let mut all = BTreeMap::new();
    for subject in &subjects {
        let view = subject.image.open().expect("a good image");
        tried.extend(
            tables(view.header()).iter().filter(|(_, table, _)| table.count != 0).map(|(name, ..)| name),
        );
        assert!(!is_reported(&subject.image, subject), "the image is not good to begin with");
        for (place, bits) in silent(subject) {
            *all.entry(place).or_insert(0) |= bits;
        }
    }
    let view = subjects[0].image.open().expect("a good image");
    for (name, ..) in tables(view.header()) {
        assert!(tried.contains(name), "no record in {name}: its fields are not tried");
    }
    let exempt = |name: &str, at: usize| EXEMPT.iter().fold(0, |bits, e| bits | covered(e, name, at));
    let unknown: Vec<_> = all.iter().filter(|((name, at), bits)| **bits & !exempt(name, *at) != 0).collect();
    assert!(unknown.is_empty(), "flips that nobody reported, by table and byte in its record: {unknown:?}");
    for exemption in EXEMPT {
        let met = all.iter().any(|((name, at), bits)| bits & covered(exemption, name, *at) != 0);
        assert!(met, "{exemption:?}: compared by now, drop the exemption");
    }
}
