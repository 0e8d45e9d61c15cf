//! Images that are coherent in themselves and are not those of the configuration: each difference is named, whatever kind
//! of property it is about.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod forge;

use bulkhead_abi::info::fixed;
use bulkhead_blueprint::layout::{
    Cpu, Header, NONE, Partition, PortEnd, Reach, RegisterWrite, Route, Table, partition_flags, reach,
    rights, route,
};
use bulkhead_compile::board::{BUILTIN_BOARDS, BUILTIN_FILES};
use bulkhead_verify::against::{self, Configuration, tree};
use bulkhead_verify::{Image, Report};
use common::{Workshop, payload_elf};
use forge::Forge;

fn compare(shop: &Workshop, image: &Image, text: &str) -> Report {
    for (name, content) in BUILTIN_FILES {
        shop.put(&format!("boards/board/{name}"), content.as_bytes());
    }
    shop.put("against.dts", text.as_bytes());
    let blob =
        tree::compile(&shop.path("against.dts"), &[&shop.path("boards")]).unwrap_or_else(|e| panic!("{e}"));
    let payloads = [shop.path("")];
    let configuration =
        Configuration { file: "against.dts", blob: &blob, payloads: Some(&payloads), boards: BUILTIN_BOARDS };
    against::verify(image, &configuration).unwrap_or_else(|e| panic!("{e}"))
}

/// Claims that fail, but for the digest's, which who forges makes anew.
fn failed(report: &Report) -> Vec<&str> {
    let mut ids: Vec<&str> = report.findings().map(|f| f.claim).filter(|id| *id != "VFY-001").collect();
    ids.dedup();
    ids
}

fn build(shop: &Workshop, text: &str) -> Forge {
    let image = shop.build_text(text).unwrap_or_else(|f| panic!("{f}")).1;
    let report = compare(shop, &Image::from_bytes(image.bytes()), text);
    assert!(report.holds(), "{}", report.to_text());
    Forge::new(image.bytes())
}

const GOOD: &str = "/dts-v1/;\n/include/ \"good.dtsi\"\n";

/// Text behind good.dtsi that is built, text that it is compared with, the comparison that tells them apart.
#[test]
fn what_is_built_differs_from_what_is_written() {
    let region = |more: &str| {
        format!(
            "&a {{ regions {{ log {{ size = <0x0 0x1000>; at = <0x0 0x50000000>; rights = \"rw\"; {more} }}; }}; }};\n"
        )
    };
    let reads = |allow: &str| format!("&a {{ authority {{ s {{ allow = {allow}; }}; }}; }};\n");
    let over = |allow: &str| format!("&a {{ authority {{ s {{ over = <&b>; allow = {allow}; }}; }}; }};\n");
    let pairs = [
        (region("keep-over = \"warm-restart\";"), region("keep-over = \"cold-restart\";"), "AGT-002"),
        (region("pa = <0x0 0x70000000>;"), region(""), ""),
        (
            region("pa = <0x0 0x70000000>;"),
            region("")
                + "/ { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; r@70000000 { reg = \
             <0x0 0x70000000 0x0 0x1000>; no-map; }; }; };\n",
            "AGT-002",
        ),
        (
            region("pa = <0x0 0x70000000>;"),
            "/memreserve/ 0x70000000 0x1000;\n".to_owned() + &region(""),
            "AGT-002",
        ),
        (String::new(), "&hypervisor { memory = <0x0 0x40200000 0x0 0x10000>; };\n".to_owned(), "AGT-002"),
        (reads("\"read-trace\", \"read-health\""), reads("\"read-health\""), "AGT-006"),
        (reads("\"read-trace\", \"read-health\""), reads("\"read-trace\""), "AGT-006"),
        (over("\"halt\""), over("\"status\""), "AGT-006"),
        (String::new(), "&hypervisor { trace-bytes-per-cpu = <0x8000>; };\n".to_owned(), "AGT-008"),
        (String::new(), "&hypervisor { health-log-records = <512>; };\n".to_owned(), "AGT-008"),
        (
            "&a { bulkhead,console = \"hypercall\"; };\n".to_owned(),
            "&a { bulkhead,console = \"hypercall\"; bulkhead,console-bytes = <0x10000>; };\n".to_owned(),
            "AGT-008",
        ),
        (
            "&a { bulkhead,console = \"pl011\"; };\n".to_owned(),
            "&a { bulkhead,console = \"pl011\"; view { uart = <0x0 0x09001000>; }; };\n".to_owned(),
            "AGT-013",
        ),
        (
            "&a { bulkhead,console = \"pl011\"; };\n".to_owned(),
            "&a { bulkhead,console = \"pl011\"; view { uart-interrupt = <40>; }; };\n".to_owned(),
            "AGT-013",
        ),
    ];
    let shop = Workshop::small();
    for (built, written, expected) in pairs {
        let image = build(&shop, &format!("{GOOD}{built}")).image;
        // A reservation stands before anything else.
        let reservation =
            if written.starts_with("/memreserve/") { written.find('\n').map_or(0, |n| n + 1) } else { 0 };
        let (first, rest) = written.split_at(reservation);
        let text = format!("/dts-v1/;\n{first}/include/ \"good.dtsi\"\n{rest}");
        let report = compare(&shop, &image, &text);
        let found = failed(&report);
        assert_eq!(found.is_empty(), expected.is_empty(), "{built} | {written}: {found:?}");
        assert!(expected.is_empty() || found.contains(&expected), "{built} | {written}: {found:?}");
    }
}

/// One writer, two readers, a port for each, of one shape: each reader gets what is meant for the other.
#[test]
fn two_ports_that_are_exchanged_are_found() {
    let shop = Workshop::small();
    let text = "/dts-v1/;\n/include/ \"shared.dtsi\"\n/ { ports { second: second { compatible = \"bulkhead,sampling-port\"; \
                from = <&a>; to = <&c>; message-bytes = <64>; refresh-us = <2000>; }; }; };\n";
    let mut forge = build(&shop, text);
    let ports: Vec<(usize, Reach)> = {
        let reaches: &[Reach] = forge.table(|h| h.reaches);
        let ports = reaches.iter().copied().enumerate();
        ports.filter(|(_, r)| r.kind == reach::PORT && r.partition != 0).collect()
    };
    let [(first, one), (second, other)] = ports[..] else { panic!("two readers: {ports:?}") };
    let roots: Vec<u64> = forge.table::<Partition>(|h| h.partitions).iter().map(|p| p.stage2_root).collect();
    forge.point(roots[one.partition as usize], one.ipa, one.bytes, other.pa);
    forge.point(roots[other.partition as usize], other.ipa, other.bytes, one.pa);
    {
        let reaches: &mut [Reach] = forge.table(|h| h.reaches);
        (reaches[first].pa, reaches[second].pa) = (other.pa, one.pa);
    }
    // The writer's page and the epochs follow.
    let ids: Vec<u32> = forge.table::<Partition>(|h| h.partitions).iter().map(|p| p.id).collect();
    forge.tell_of_port(0, 0, fixed::PORT_PEER_ID, ids[other.partition as usize]);
    forge.tell_of_port(0, 1, fixed::PORT_PEER_ID, ids[one.partition as usize]);
    let words: &mut [bulkhead_blueprint::layout::PeerWord] = forge.table(|h| h.peer_words);
    for word in words.iter_mut().filter(|word| word.partition == 0) {
        word.port ^= 1;
    }
    let report = compare(&shop, &forge.image, text);
    assert_eq!(failed(&report), ["AGT-005"], "{}", report.to_text());
}

/// One writer, two segments of one size, a reader for each: each reader sees what is meant for the other.
#[test]
fn two_segments_that_are_exchanged_are_found() {
    let shop = Workshop::small();
    let text = "/dts-v1/;\n/include/ \"shared.dtsi\"\n/ { segments {\n\
                one { compatible = \"bulkhead,segment\"; size = <0x0 0x1000>; readers = <&b>; writer = <&a>; };\n\
                two { compatible = \"bulkhead,segment\"; size = <0x0 0x1000>; readers = <&c>; writer = <&a>; }; }; };\n";
    let mut forge = build(&shop, text);
    let readers: Vec<(usize, Reach)> = {
        let reaches: &[Reach] = forge.table(|h| h.reaches);
        let all = reaches.iter().copied().enumerate();
        all.filter(|(_, r)| r.kind == reach::SEGMENT && r.partition != 0).collect()
    };
    let [(first, one), (second, other)] = readers[..] else { panic!("two readers: {readers:?}") };
    let roots: Vec<u64> = forge.table::<Partition>(|h| h.partitions).iter().map(|p| p.stage2_root).collect();
    forge.point(roots[one.partition as usize], one.ipa, one.bytes, other.pa);
    forge.point(roots[other.partition as usize], other.ipa, other.bytes, one.pa);
    let reaches: &mut [Reach] = forge.table(|h| h.reaches);
    (reaches[first].pa, reaches[second].pa) = (other.pa, one.pa);
    let report = compare(&shop, &forge.image, text);
    assert_eq!(failed(&report), ["AGT-002"], "{}", report.to_text());
}

/// Memory whose physical place is fixed, as a bus master needs it: all of it, not its first page alone.
#[test]
fn memory_that_is_elsewhere_behind_its_first_page_is_found() {
    let shop = Workshop::small();
    // What follows the code begins with a block of 2 MiB, in both views.
    shop.put("code.elf", &payload_elf(0x403f_e000));
    let good = std::fs::read_to_string("../bad/good.dtsi").expect("a file");
    let raw = "bulkhead,image = \"payload.bin\";\n\t\t\tbulkhead,load = <0x0 0x40080000>;\n\t\t\tbulkhead,entry = <0x0 \
               0x40080000>;";
    assert!(good.contains(raw));
    shop.put("good.dtsi", good.replace(raw, "bulkhead,image = \"code.elf\";").as_bytes());
    let text = format!(
        "{GOOD}&a {{ bulkhead,memory-pa = <0x0 0x50000000>; }};\n&b {{ bulkhead,memory-pa = <0x0 0x60000000>; }};\n"
    );
    let mut forge = build(&shop, &text);
    let last: Vec<(usize, Reach)> = [0, 1]
        .map(|partition| {
            let reaches: &[Reach] = forge.table(|h| h.reaches);
            let own = reaches.iter().copied().enumerate();
            own.filter(|(_, r)| r.partition == partition && r.kind == reach::MEMORY)
                .max_by_key(|(_, r)| r.ipa)
                .expect("some")
        })
        .to_vec();
    let records: Vec<Partition> = forge.table::<Partition>(|h| h.partitions).to_vec();
    for (own, other) in [(0usize, 1usize), (1, 0)] {
        let ((place, from), (_, to)) = (last[own], last[other]);
        for root in [records[own].stage2_root, records[own].loader_root] {
            forge.point(root, from.ipa, from.bytes, to.pa);
        }
        forge.table::<Reach>(|h| h.reaches)[place].pa = to.pa;
    }
    let report = compare(&shop, &forge.image, &text);
    assert_eq!(failed(&report), ["AGT-002"], "{}", report.to_text());
}

#[test]
fn code_that_is_writable_is_found() {
    let shop = Workshop::small();
    let text = std::fs::read_to_string("../examples/demo.dts").expect("the demo");
    let good = build(&shop, &text);
    // S2AP bit 1: stores are allowed; XN bit 1: fetches are not.
    let harms = [
        ("writable code", rights::EXECUTE, rights::WRITE, 1u64 << 7),
        ("executable data", 0, rights::EXECUTE, 1 << 54),
    ];
    for (what, has, gets, bit) in harms {
        let mut forge = good.clone();
        let roots: Vec<u64> =
            forge.table::<Partition>(|h| h.partitions).iter().map(|p| p.stage2_root).collect();
        let reaches: &mut [Reach] = forge.table(|h| h.reaches);
        let is_it =
            |r: &&mut Reach| r.kind == reach::MEMORY && r.partition == 1 && r.rights & rights::EXECUTE == has;
        let reach = reaches.iter_mut().find(is_it).expect("a stretch");
        reach.rights |= gets;
        let reach = *reach;
        forge.change(roots[1], reach.ipa, reach.bytes, |entry, _| entry ^ bit);
        let report = compare(&shop, &forge.image, &text);
        assert_eq!(failed(&report), ["AGT-012"], "{what}: {}", report.to_text());
    }
}

/// What is done, and the claims that must name it.
type Harm = (&'static str, &'static str, fn(&mut Forge));

fn assert_each_is_named(shop: &Workshop, text: &str, harms: &[Harm]) {
    let good = build(shop, text);
    let unnamed = harms.iter().filter_map(|(what, claim, harm)| {
        let mut forge = good.clone();
        harm(&mut forge);
        let report = compare(shop, &forge.image, text);
        let found = failed(&report);
        (found.join(" ") != *claim).then(|| format!("{what}: {found:?}, expected {claim}"))
    });
    let unnamed: Vec<String> = unnamed.collect();
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

#[test]
fn the_boards_facts_are_compared() {
    let shop = Workshop::rpi4();
    let demo = std::fs::read_to_string("../examples/demo-rpi4.dts").expect("the demo");
    let text = demo.replacen("health-log-records", "watchdog-ms = <1500>;\n\t\thealth-log-records", 1);
    fn writes(f: &mut Forge) -> &mut [RegisterWrite] {
        f.table(|h| h.register_writes)
    }
    assert_each_is_named(
        &shop,
        &text,
        &[
            ("another board's name", "AGT-013", |f| f.header().board[0] = b'x'),
            ("a console that is visited twice as often", "AGT-013", |f| {
                f.header().console_interval_ticks /= 2
            }),
            ("a longer guard", "AGT-013", |f| {
                f.table::<Cpu>(|h| h.cpus).iter_mut().for_each(|cpu| cpu.guard_ticks += 1);
                f.header().window_guard_ticks += 1;
            }),
            ("a store of boot elsewhere", "AGT-013", |f| writes(f)[0].address = 0xfe00_7000),
            ("a store of boot with another value", "AGT-013", |f| writes(f)[0].value ^= 1),
            ("a store of boot that keeps less", "AGT-013", |f| writes(f)[0].keep ^= 1 << 20),
            ("a watchdog that bites later", "AGT-013", |f| {
                let at = (f.header().boot_writes + f.header().off_writes) as usize;
                writes(f)[at].value += 1;
            }),
            ("a reset that halts", "AGT-013", |f| writes(f).last_mut().expect("a store").value ^= 0x20),
            ("another light", "AGT-013", |f| f.header().led_on.value ^= 2),
            ("another PPI for EL2's timer", "AGT-013", |f| {
                f.header().gic.hyp_timer_intid = 28;
                f.table::<Route>(|h| h.routes)[28].owner = route::HYPERVISOR;
                f.table::<Route>(|h| h.routes)[26].owner = route::NOBODY;
            }),
            ("a VMID that the configuration does not ask for, but the CPU has", "", |f| {
                f.table::<Partition>(|h| h.partitions)[0].vmid = 200;
            }),
        ],
    );
}

#[test]
fn restarts_clocks_and_notices_are_compared() {
    let shop = Workshop::small();
    let text = format!(
        "{GOOD}&a {{ authority {{ s {{ over = <&b>; allow = \"halt\"; }}; }}; }};\n&state {{ doorbell; }};\n"
    );
    assert_each_is_named(
        &shop,
        &text,
        &[
            ("a partition that cannot be restarted", "AGT-013", |f| {
                f.table::<Partition>(|h| h.partitions)[0].flags ^= partition_flags::RESTARTABLE;
            }),
            ("a counter that counts otherwise", "AGT-010 AGT-013", |f| {
                let hz = f.header().cntfrq_hz + 1;
                f.header().cntfrq_hz = hz;
                f.header().tick_ns_q32 = (1_000_000_000 << 32) / u64::from(hz);
                [0, 1].into_iter().for_each(|partition| f.tell(partition, fixed::CNTFRQ_HZ, hz));
            }),
            ("a doorbell that never rings", "VFY-041", |f| {
                for end in f.table::<PortEnd>(|h| h.port_ends) {
                    (end.doorbell_first, end.doorbell_count) = (0, 0);
                }
                remove(f, |h| &mut h.doorbells);
            }),
            ("an event interrupt that never comes", "AGT-006", |f| {
                let b = &mut f.table::<Partition>(|h| h.partitions)[1];
                let bit = core::mem::replace(&mut b.event_bit, NONE) as usize;
                let intid = core::mem::take(&mut b.doorbell_intids[bit]) as usize;
                b.irq_present[intid / 32] &= !(1 << (intid % 32));
                f.tell(1, fixed::EVENT_INTID, fixed::NO_DOORBELL);
            }),
        ],
    );
}

/// Takes a table of 8-byte records away, which leaves room that the blueprint accounts for by the tables behind it.
fn remove(forge: &mut Forge, of: fn(&mut Header) -> &mut Table) {
    let table = *of(forge.header());
    let bytes = table.count * 8;
    let (at, total) = (table.offset, forge.header().total_bytes);
    let from = forge.offset({
        let view = forge.image.open().expect("good");
        view.blueprint_at
    });
    let all = from + total as usize;
    forge.image.bytes_mut().copy_within(from + (at + bytes) as usize..all, from + at as usize);
    forge.image.bytes_mut()[all - bytes as usize..all].fill(0);
    let header = forge.header();
    of(header).count = 0;
    header.total_bytes -= bytes;
    let behind = [
        &mut header.peer_words,
        &mut header.authorities,
        &mut header.health_rows,
        &mut header.plans,
        &mut header.plan_cpus,
        &mut header.windows,
        &mut header.required,
        &mut header.reaches,
        &mut header.register_writes,
    ];
    behind.into_iter().for_each(|table| table.offset -= bytes);
}
