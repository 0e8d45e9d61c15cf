//! Direct interrupts in images made by somebody who means harm: each condition is looked at by itself.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_blueprint::layout::{Header, Partition, Vcpu, partition_flags};
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::System;
use bulkhead_verify::{Image, verify};
use common::Workshop;
use zerocopy::FromBytes;

/// Two partitions on CPUs 0 and 1; the second has direct interrupts.
fn good() -> Image {
    let shop = Workshop::small();
    let text = "/dts-v1/;\n/include/ \"good.dtsi\"\n&b { bulkhead,direct-interrupts; };\n";
    let image = Image::from_bytes(shop.build_text(text).unwrap_or_else(|f| panic!("{f}")).1.bytes());
    let report = verify(&image).expect("an image");
    assert!(report.holds(), "{}", report.to_text());
    image
}

/// Where the blueprint's header lies in the file, and the first record of a table.
fn places(image: &Image) -> (usize, usize, usize) {
    let view = image.open().expect("good");
    let header = (view.blueprint_at - view.header().image_base) as usize;
    let table = |table: bulkhead_blueprint::layout::Table| header + table.offset as usize;
    (header, table(view.header().partitions), table(view.header().vcpus))
}

fn is_found(image: &Image) -> bool {
    let view = image.open().expect("an image");
    let outcomes = judge(&System::gather(&view), Depth::WithoutDigest);
    outcomes.iter().any(|outcome| outcome.id == "VFY-052" && !outcome.findings.is_empty())
}

fn record<T: FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout>(bytes: &mut [u8], at: usize) -> &mut T {
    T::mut_from_bytes(&mut bytes[at..at + size_of::<T>()]).expect("a record")
}

#[test]
fn every_condition_of_direct_interrupts_is_looked_at() {
    let image = good();
    assert!(!is_found(&image));
    let (_, partitions, vcpus) = places(&image);
    let second = partitions + size_of::<Partition>();
    type Harm = (&'static str, usize, fn(&mut Partition));
    let harms: [Harm; 6] = [
        ("an emulated PL011", second, |p| p.flags |= partition_flags::PL011),
        ("an event interrupt", second, |p| p.event_bit = 0),
        ("a doorbell", second, |p| p.doorbell_intids[0] = 64),
        ("the flag taken away", second, |p| p.flags &= !partition_flags::DIRECT_INTERRUPTS),
        ("the flag given to the console's CPU", partitions, |p| {
            p.flags |= partition_flags::DIRECT_INTERRUPTS
        }),
        ("a shared interrupt of another", partitions, |p| p.irq_owned[1] |= 1 << 8),
    ];
    for (what, at, harm) in harms {
        let mut harmed = image.clone();
        harm(record(harmed.bytes_mut(), at));
        assert!(is_found(&harmed), "{what}");
    }
    let mut harmed = image.clone();
    record::<Vcpu>(harmed.bytes_mut(), vcpus).cpu = 1;
    assert!(is_found(&harmed), "another's vCPU on the CPU");
}

#[test]
fn the_header_says_where_interrupts_are_direct() {
    let image = good();
    let (header, ..) = places(&image);
    type Harm = (&'static str, fn(&mut Header));
    let harms: [Harm; 4] = [
        ("no CPU", |h| h.gic.direct_cpus = 0),
        ("another CPU, too", |h| h.gic.direct_cpus |= 1),
        ("another controller", |h| h.gic.version = 2),
        ("the console's CPU", |h| h.console_cpu = 1),
    ];
    for (what, harm) in harms {
        let mut harmed = image.clone();
        harm(record(harmed.bytes_mut(), header));
        assert!(is_found(&harmed), "{what}");
    }
}
