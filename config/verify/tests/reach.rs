//! Images made by somebody who means harm and keeps every record consistent: tables, declarations, demanded memory and
//! digest agree, and still the claims that no such page is reachable must fail, each by itself.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_blueprint::Defect;
use bulkhead_blueprint::layout::{Header, Partition, Range, Reach, Route, reach};
use bulkhead_blueprint::limits::STACK_STRIDE;
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::System;
use bulkhead_verify::{Image, Unreadable, verify};
use common::{PAGE, Workshop};
use zerocopy::{FromBytes, IntoBytes};

/// Two partitions; `a` has a region of one page, and both read a segment of one page.
fn good() -> Image {
    let shop = Workshop::small();
    shop.put("table.bin", &[7; 5000]);
    let text = "/dts-v1/;\n/include/ \"good.dtsi\"\n\
        &a { regions { own { size = <0x0 0x1000>; at = <0x0 0x50000000>; rights = \"rw\"; }; }; };\n\
        &b { regions { own { size = <0x0 0x1000>; at = <0x0 0x50000000>; rights = \"rw\"; }; }; };\n\
        / { segments { maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; file = \"table.bin\"; readers = <&a &b>; \
        }; }; };\n";
    let image = Image::from_bytes(shop.build_text(text).unwrap_or_else(|f| panic!("{f}")).1.bytes());
    let report = verify(&image).expect("an image");
    assert!(report.holds(), "{}", report.to_text());
    image
}

/// Offset of a physical address in the file.
fn offset(image: &Image, address: u64) -> usize {
    (address - image.open().expect("good").header().image_base) as usize
}

/// Where the blueprint's header lies, and its first record of a table.
fn table(image: &Image, of: impl Fn(&Header) -> bulkhead_blueprint::layout::Table) -> usize {
    let view = image.open().expect("good");
    offset(image, view.blueprint_at) + of(view.header()).offset as usize
}

/// The slot of the page descriptor of `input` under a root: three levels, pages at the last.
fn slot(image: &Image, root: u64, input: u64) -> usize {
    let mut at = root;
    for level in [1, 2] {
        let place = offset(image, at) + (input >> (12 + 9 * (3 - level)) & 0x1ff) as usize * 8;
        let entry = u64::from_le_bytes(image.bytes()[place..place + 8].try_into().expect("eight"));
        assert_eq!(entry & 3, 3, "a table");
        at = entry & 0x0000_ffff_ffff_f000;
    }
    offset(image, at) + (input >> 12 & 0x1ff) as usize * 8
}

/// Gives the page at `ipa` of partition `index` another physical address, in tables and declaration.
fn point(image: &mut Image, index: usize, kind: u32, ipa: u64, page: u64) {
    let view = image.open().expect("good");
    let record: Partition = view.blueprint.partitions[index];
    let loads = kind == reach::REGION;
    let position = view
        .reaches
        .iter()
        .position(|r| r.partition as usize == index && r.kind == kind && r.ipa == ipa)
        .expect("a declared stretch");
    let place = table(image, |h| h.reaches) + position * size_of::<Reach>();
    let roots = if loads { vec![record.stage2_root, record.loader_root] } else { vec![record.stage2_root] };
    let slots: Vec<usize> = roots.into_iter().map(|root| slot(image, root, ipa)).collect();
    let bytes = image.bytes_mut();
    for slot in slots {
        let entry = u64::from_le_bytes(bytes[slot..slot + 8].try_into().expect("eight"));
        let entry = entry & !0x0000_ffff_ffff_f000 | page;
        bytes[slot..slot + 8].copy_from_slice(&entry.to_le_bytes());
    }
    let reach = Reach::mut_from_bytes(&mut bytes[place..place + size_of::<Reach>()]).expect("a record");
    reach.pa = page;
}

/// Identities of the claims that fail, the digest left out.
fn failed(image: &Image) -> Vec<&'static str> {
    let view = image.open().expect("an image");
    let outcomes = judge(&System::gather(&view), Depth::WithoutDigest);
    outcomes.iter().filter(|o| !o.findings.is_empty()).map(|o| o.id).collect()
}

const REGION: u64 = 0x5000_0000;

/// The page of `b`'s region, of the segment, and of the first pristine payload.
fn pages(image: &Image) -> (u64, Reach, u64) {
    let view = image.open().expect("good");
    let of = |index: u32, kind: u32| {
        *view.reaches.iter().find(|r| r.partition == index && r.kind == kind).expect("a stretch")
    };
    (of(1, reach::REGION).pa, of(0, reach::SEGMENT), view.payloads().start)
}

#[test]
fn a_page_that_two_partitions_write_is_found() {
    let mut image = good();
    let (other, _, _) = pages(&image);
    point(&mut image, 0, reach::REGION, REGION, other);
    assert!(failed(&image).contains(&"VFY-013"), "{:?}", failed(&image));
}

#[test]
fn nothing_of_the_image_can_be_declared_to_be_memory() {
    let image = good();
    let view = image.open().expect("good");
    let header = view.header();
    let targets = [
        ("EL2's instructions", header.image_base),
        ("EL2's variables", header.rodata_end),
        ("the blueprint", view.blueprint_at),
        ("a guard page", header.stacks),
        ("a stack", header.stacks + PAGE),
        ("the last stack", header.stacks + STACK_STRIDE * (view.blueprint.cpus.len() as u64 - 1) + PAGE),
        ("EL2's root table", header.el2_root),
        ("a partition's root table", view.blueprint.partitions[1].stage2_root),
        ("a constant segment", view.constants().start),
        ("a pristine payload", view.payloads().start),
        ("another's dynamic page", view.blueprint.partitions[1].info_dynamic),
        ("a console ring", view.blueprint.partitions[1].console_out.base),
        ("the health ring", header.health_ring.base),
        ("memory of a port", view.ports().start),
        ("registers of the GIC", header.gic.gicd),
        ("registers of the console", header.uart_base),
    ];
    for (what, page) in targets {
        let mut harmed = image.clone();
        point(&mut harmed, 0, reach::REGION, REGION, page);
        assert!(failed(&harmed).contains(&"VFY-012"), "{what}: {:?}", failed(&harmed));
    }
}

#[test]
fn a_pristine_payload_declared_as_a_segment_is_found() {
    let mut image = good();
    let (_, segment, payload) = pages(&image);
    point(&mut image, 0, reach::SEGMENT, segment.ipa, payload);
    assert!(failed(&image).contains(&"VFY-012"), "{:?}", failed(&image));
}

#[test]
fn constant_segments_are_under_the_digest() {
    let mut image = good();
    let (_, segment, _) = pages(&image);
    let at = offset(&image, segment.pa) + 100;
    image.bytes_mut()[at] ^= 1;
    let report = verify(&image).expect("an image");
    let claims: Vec<&str> = report.findings().map(|f| f.claim).collect();
    assert_eq!(claims, ["VFY-001"]);
}

#[test]
fn an_interrupt_of_two_partitions_is_found() {
    let image = good();
    let (spi, word, bit) = (40usize, 1usize, 1u32 << 8);
    let partitions = table(&image, |h| h.partitions);
    let routes = table(&image, |h| h.routes);
    for owners in [vec![0, 1], vec![0], vec![1]] {
        let mut harmed = image.clone();
        let bytes = harmed.bytes_mut();
        for owner in &owners {
            let at = partitions + owner * size_of::<Partition>();
            let record =
                Partition::mut_from_bytes(&mut bytes[at..at + size_of::<Partition>()]).expect("a record");
            record.irq_owned[word] |= bit;
            record.irq_present[word] |= bit;
        }
        let at = routes + spi * size_of::<Route>();
        bytes[at..at + size_of::<Route>()].copy_from_slice(Route { owner: 0 }.as_bytes());
        let found = failed(&harmed).contains(&"VFY-050");
        assert_eq!(found, owners != [0], "owners {owners:?}");
    }
}

/// A spin-table's release word is EL2's: a partition that has its page would start CPUs as it likes.
#[test]
fn a_page_that_releases_cpus_is_no_memory() {
    let shop = Workshop::rpi4();
    let demo = std::fs::canonicalize("../examples/demo-rpi4.dts").expect("the demo");
    let text = format!(
        "/include/ \"{}\"\n&monitor {{ regions {{ own {{ size = <0x0 0x1000>; at = <0x0 0x50000000>; rights = \"rw\"; }}; \
         }}; }};\n",
        demo.display()
    );
    let mut image = Image::from_bytes(shop.build_text(&text).unwrap_or_else(|f| panic!("{f}")).1.bytes());
    let view = image.open().expect("good");
    let page = view.blueprint.cpus[1].release & !0xfff;
    let index =
        view.blueprint.partitions.iter().position(|p| p.name.starts_with(b"monitor\0")).expect("the monitor");
    let required = table(&image, |h| h.required);
    point(&mut image, index, reach::REGION, REGION, page);
    // What the boot demands of the board begins with that page, too.
    let bytes = image.bytes_mut();
    let first = bulkhead_blueprint::layout::Range::mut_from_bytes(&mut bytes[required..required + 16])
        .expect("a range");
    (first.base, first.bytes) = (0, first.base + first.bytes);
    assert!(failed(&image).contains(&"VFY-012"), "{:?}", failed(&image));
}

/// The descriptor of a page in EL2's own table.
fn el2_page(image: &mut Image, address: u64) -> &mut [u8] {
    let root = image.open().expect("good").header().el2_root;
    let at = slot(image, root, address);
    &mut image.bytes_mut()[at..at + 8]
}

#[test]
fn the_state_and_stacks_lie_in_what_el2_maps_and_nothing_else_lies_there() {
    let image = good();
    let header = *image.open().expect("good").header();
    let change = |image: &mut Image, harm: fn(&mut Header)| {
        let at = offset(image, image.open().expect("good").blueprint_at);
        harm(Header::mut_from_bytes(&mut image.bytes_mut()[at..at + size_of::<Header>()]).expect("a header"));
    };
    let refused: [fn(&mut Header); 6] = [
        |header| (header.stacks, header.image_end) = (header.stacks + PAGE, header.image_end + PAGE),
        |header| header.state.bytes += PAGE,
        |header| header.state.base += PAGE,
        |header| header.state = Range { base: header.work.base, bytes: header.work.bytes },
        |header| header.stacks = header.state.base,
        |header| header.stacks = header.image_end,
    ];
    for harm in refused {
        let mut harmed = image.clone();
        change(&mut harmed, harm);
        assert!(matches!(harmed.open().err(), Some(Unreadable::Blueprint(Defect::WorkArea))));
    }
    let mut harmed = image.clone();
    change(&mut harmed, |header| {
        (header.state.base, header.state.bytes) = (header.state.base + 16, header.state.bytes - 16)
    });
    assert!(failed(&harmed).contains(&"VFY-031"), "state that shares a page: {:?}", failed(&harmed));
    let last = header.state.base + header.state.bytes - PAGE;
    for (what, page) in [("state", header.state.base), ("state's end", last), ("stack", header.stacks + PAGE)]
    {
        let mut harmed = image.clone();
        el2_page(&mut harmed, page).fill(0);
        assert!(failed(&harmed).contains(&"VFY-030"), "no {what}: {:?}", failed(&harmed));
    }
    let mut harmed = image.clone();
    let stack: [u8; 8] = (*el2_page(&mut harmed, header.stacks + PAGE)).try_into().expect("eight");
    let guard = u64::from_le_bytes(stack) - PAGE;
    el2_page(&mut harmed, header.stacks).copy_from_slice(&guard.to_le_bytes());
    assert!(failed(&harmed).contains(&"VFY-030"), "a guard page that is mapped: {:?}", failed(&harmed));
}
