//! The back end: what is packed is read back and walked.

mod common;

use bulkhead_abi::info;
use bulkhead_blueprint::layout::{NONE, Partition, route};
use bulkhead_blueprint::limits::STACK_STRIDE;
use bulkhead_compile::Failure;
use common::walk::{assert_apart, load, read, word};
use common::{IMAGE_BASE, Image, PAGE, View, Workshop, arm64_image, hypervisor, hypervisor_at};
use sha2::{Digest, Sha256};
use std::path::Path;

const DEMO: &str = "../examples/demo.dts";

fn demo() -> Image {
    Workshop::new().build(Path::new(DEMO)).1
}

#[test]
fn the_demo_keeps_its_partitions_apart() {
    assert_apart(&demo());
}

#[test]
fn el2_sees_its_sections_with_their_rights_and_guard_pages_are_holes() {
    let image = demo();
    let header = image.header();
    let view = View::new(&image.leaves(header.el2_root));
    let rights = |address| view.leaf(address).map(|l| (l.el2_writes(), l.executes()));
    assert_eq!(rights(IMAGE_BASE), Some((false, true)));
    assert_eq!(rights(IMAGE_BASE + 0x2000), Some((false, false)));
    assert_eq!(rights(IMAGE_BASE + 0x3000), Some((true, false)));
    for cpu in 0..4 {
        let stack = header.stacks + cpu * STACK_STRIDE;
        assert_eq!(rights(stack), None, "guard of CPU {cpu}");
        assert_eq!(rights(stack + PAGE), Some((true, false)));
        assert_eq!(rights(stack + STACK_STRIDE - 1), Some((true, false)));
    }
    assert_eq!(rights(image.blueprint_at()), Some((false, false)));
    assert_eq!(rights(header.hashed_end - 1), Some((false, false)));
    assert_eq!(rights(header.hashed_end), None);
    assert_eq!(rights(header.work.base), Some((true, false)));
    assert_eq!(rights(header.work.base + header.work.bytes), None);
    for device in [header.gic.gicd, header.gic.gicr + 0x7_ffff, header.uart_base] {
        assert_eq!(rights(device), Some((true, false)));
        let bits = view.leaf(device).expect("a device").bits;
        assert_eq!(bits >> 2 & 7, 0, "MAIR index of a device");
    }
    assert_eq!(rights(header.gic.gicr + 0x8_0000), None);
}

#[test]
fn the_digest_covers_text_constants_and_everything_sealed() {
    let (report, image) = Workshop::new().build(Path::new(DEMO));
    let header = image.header();
    let rest = image.blueprint_at() + 32;
    let mut digest = Sha256::new();
    digest.update(image.at(IMAGE_BASE, 0x3000));
    digest.update(image.at(rest, header.hashed_end - rest));
    assert_eq!(header.sha256, digest.finalize().as_slice());
    let digits: String = header.sha256.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(report.image_id, digits);
    assert!(report.summary().contains(&format!("image ID {digits}\n")));
    let told = "3 findings accepted, 1 warning\n  CPU-006: monitor pays for the output of others (warning)\n";
    assert!(report.summary().contains(told), "{}", report.summary());
    assert_eq!(word(image.bytes(), 16), header.image_end - IMAGE_BASE);
    assert_eq!(report.image_bytes, header.image_end - IMAGE_BASE);
    assert!(report.file_bytes <= report.image_bytes);
    assert_eq!(header.work.base, IMAGE_BASE + report.file_bytes);
}

#[test]
fn the_loader_fills_every_byte_once_and_the_guest_finds_its_files() {
    let image = demo();
    let blueprint = image.blueprint();
    let [linux, rtos, monitor] = blueprint.partitions else {
        panic!("three partitions");
    };
    let memory = load(&image, linux);
    let view = View::new(&image.leaves(linux.stage2_root));
    let expected = arm64_image(3_000_001, 3_500_000);
    assert_eq!(linux.entry, 0x4000_0000);
    assert!(read(&memory, &view, linux.entry, expected.len()) == expected);
    assert_eq!(read(&memory, &view, linux.entry_x0, 4), [0xd0, 0x0d, 0xfe, 0xed]);
    for partition in [rtos, monitor] {
        let memory = load(&image, partition);
        let view = View::new(&image.leaves(partition.stage2_root));
        assert_eq!(partition.entry, 0x4020_0004);
        let pieces = [(0x4020_0000, 4097, 0x11), (0x4020_2000, 77, 0x22), (0x4020_3008, 33, 0x33)];
        for (ipa, bytes, value) in pieces {
            assert_eq!(read(&memory, &view, ipa, bytes), vec![value; bytes], "{ipa:#x}");
        }
        assert_eq!(read(&memory, &view, 0x4020_3008 + 33, 64), [0; 64], "bss");
        let rights = |ipa| view.leaf(ipa).map(|l| (l.guest_writes(), l.executes()));
        assert_eq!(rights(0x4020_0000), Some((false, true)));
        assert_eq!(rights(0x4020_1000), Some((false, true)));
        assert_eq!(rights(0x4020_2000), Some((true, false)));
        assert_eq!(rights(0x4000_0000), Some((true, false)));
    }
}

#[test]
fn a_master_behind_a_shifting_bus_gets_its_bus_and_a_stated_clock() {
    let (report, image) = Workshop::rpi4().build(Path::new("../examples/demo-rpi4.dts"));
    assert!(report.summary().contains("CLO-008: &emmc2"), "{}", report.summary());
    let bytes = image.bytes();
    let tree = |at: &usize| bytes[*at..*at + 4] == [0xd0, 0x0d, 0xfe, 0xed];
    let text = (0..bytes.len()).step_by(8).filter(tree).find_map(|at| {
        let length = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().expect("a length")) as usize;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("guest.dtb");
        std::fs::write(&path, bytes.get(at..at + length)?).expect("a file");
        let dtc = std::process::Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(&path).output();
        let output = dtc.expect("dtc");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let text = String::from_utf8(output.stdout).expect("text");
        text.contains("mmc@fe340000").then_some(text)
    });
    let text = text.expect("Linux's tree").replace(['\n', '\t'], " ");
    for expected in [
        "dma-bus-0 {   compatible = \"simple-bus\";",
        "ranges;   dma-ranges = <0x00 0xc0000000 0x00 0x00 0x00 0x40000000>;    mmc@fe340000 {",
        "sd_io_1v8_reg {   compatible = \"regulator-fixed\";   regulator-name = \"vdd-sd-io\";   \
         regulator-min-microvolt = <0x325aa0>;   regulator-max-microvolt = <0x325aa0>;   regulator-always-on;",
        "reg = <0x00 0xfe340000 0x00 0x100>;    interrupts = <0x00 0x7e 0x04>;",
        "clock-frequency = <0x5f5e100>;",
        "memory@10000000 {",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // The card's two supplies, the clock, and nothing of what stands behind the mailbox.
    let phandle = |node: &str| {
        let rest = text.split_once(&format!("{node} {{")).expect(node).1;
        let rest = rest.split_once("phandle = ").expect("a phandle").1;
        rest.split_once(';').expect("an end").0.to_owned()
    };
    for (property, node) in [
        ("vqmmc-supply", "sd_io_1v8_reg"),
        ("vmmc-supply", "sd_vcc_reg"),
        ("clocks", "soc-cprman-7e101000-51"),
    ] {
        let expected = format!("{property} = {};", phandle(node));
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(!text.contains("gpios") && !text.contains("mbox"), "{text}");
}

#[test]
fn the_initrd_and_the_device_tree_lie_where_the_tree_says_and_dtc_reads_it() {
    let image = demo();
    let linux = &image.blueprint().partitions[0];
    let memory = load(&image, linux);
    let view = View::new(&image.leaves(linux.stage2_root));
    let head = read(&memory, &view, linux.entry_x0, 8);
    let length = u32::from_be_bytes(head[4..].try_into().expect("a length")) as usize;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("guest.dtb");
    std::fs::write(&path, read(&memory, &view, linux.entry_x0, length)).expect("a file");
    let dtc =
        std::process::Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(&path).output().expect("dtc");
    let text = String::from_utf8(dtc.stdout).expect("text");
    let complaints = String::from_utf8(dtc.stderr).expect("text");
    assert_eq!(complaints, "", "{text}");
    for expected in [
        "compatible = \"bulkhead,partition-v1\";\n\t\treg = <0x00 0xc000000 0x00 0x3000>;",
        "interrupts = <0x00 0x20 0x01 0x00 0x21 0x01>;\n\t\tinterrupt-names = \"telemetry\\0.events\";",
        "bootargs = \"console=ttyAMA0 panic=-1",
        "stdout-path = \"/pl011@9000000\";",
        "reg = <0x00 0x8000000 0x00 0x10000 0x00 0x80a0000 0x00 0x40000>;",
        "rtc@9010000 {",
        "interrupts = <0x00 0x02 0x04>;",
        "method = \"hvc\";",
        "cpu@1 {",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let cell = |name: &str| {
        let (_, rest) = text.split_once(name).expect(name);
        let number = rest.split_once("0x00 0x").expect("a number").1;
        u64::from_str_radix(number.split_once('>').expect("an end").0, 16).expect("hex")
    };
    let (start, end) = (cell("linux,initrd-start"), cell("linux,initrd-end"));
    assert_eq!(end - start, 1_000_003);
    assert!(read(&memory, &view, start, 1_000_003).iter().all(|b| *b == 0x77));
    assert!(start >= 0x4000_0000 + 3_500_000 && end <= linux.entry_x0);
}

#[test]
fn records_of_the_demo_say_what_the_configuration_says() {
    let image = demo();
    let blueprint = image.blueprint();
    let header = blueprint.header;
    assert_eq!((header.console_cpu, header.console_interval_ticks), (3, 10_850));
    let slots: Vec<u32> = blueprint.cpus.iter().map(|c| c.slot_count).collect();
    assert_eq!((slots, blueprint.slots), (vec![1, 1, 1, 1], [0, 1, 2, 3].as_slice()));
    let owner = |intid: usize| blueprint.routes[intid].owner;
    assert_eq!((owner(27), owner(30)), (route::CURRENT, route::CURRENT));
    for intid in [0, 15, 25, 26, 33] {
        assert_eq!(owner(intid), route::HYPERVISOR, "{intid}");
    }
    assert_eq!((owner(34), owner(35), owner(1023)), (0, route::NOBODY, route::NOBODY));
    let [linux, rtos, monitor] = blueprint.partitions else {
        panic!("three partitions");
    };
    assert_eq!(linux.irq_owned[..2], [1 << 27 | 1 << 30, 1 << 2]);
    assert_eq!(linux.irq_present[..3], [0xffff | 1 << 27 | 1 << 30, 0b110, 0b11]);
    assert_eq!(linux.doorbell_intids[..3], [64, 65, 0], "telemetry, then its events");
    assert_eq!((linux.event_bit, rtos.event_bit), (1, NONE));
    assert_eq!(rtos.doorbell_intids, [0; 32]);
    assert_eq!((rtos.watchdog_ticks, rtos.init_timeout_ticks), (125_000_000, 625_000_000));
    assert_eq!((rtos.restart_limit.count, rtos.pl011_ipa), (5, 0));
    // DOORBELL is granted to the writer of a port with one, WATCHDOG_KICK to who has a watchdog.
    assert_eq!([linux.grants, rtos.grants, monitor.grants], [0b1_0110_1111, 0b1_1111_1111, 0b1_0110_1111]);
}

#[test]
fn ports_and_health_of_the_demo_are_recorded_for_their_partitions() {
    use bulkhead_blueprint::layout::{action, step};
    let image = demo();
    let blueprint = image.blueprint();
    let [linux, rtos, monitor] = blueprint.partitions else {
        panic!("three partitions");
    };
    let telemetry = &blueprint.port_ends[rtos.port_first as usize + 1];
    assert_eq!((telemetry.doorbell_count, telemetry.min_interval_ticks), (1, 6250));
    let doorbell = &blueprint.doorbells[telemetry.doorbell_first as usize];
    assert_eq!((doorbell.vcpu, doorbell.bit), (0, 0));
    let words = |p: &Partition| {
        let first = p.peer_first as usize;
        let list = &blueprint.peer_words[first..first + p.peer_count as usize];
        list.iter().map(|w| (w.partition, w.port)).collect::<Vec<_>>()
    };
    // `state` has two readers: they learn of the writer, the writer of neither.
    assert_eq!(words(rtos), [(2, 0), (0, 0), (0, 1), (0, 2)]);
    assert_eq!(words(linux), [(1, 1), (1, 2)]);
    assert_eq!(words(monitor), []);
    let row = |p: &Partition, event: u32| blueprint.health_rows[(p.health_first + event) as usize];
    let violation = row(rtos, info::event::MEMORY_VIOLATION);
    assert_eq!(violation.normal, action::COLD_RESTART);
    assert_eq!(violation.steps[0].action, action::HALT | 1 << step::NOTIFY_SHIFT);
    assert_eq!(violation.steps[0].count, 3);
    let watchdog = row(rtos, info::event::WATCHDOG);
    assert_eq!((watchdog.normal, watchdog.init), (action::COLD_RESTART, action::HALT));
    assert_eq!(row(linux, info::event::INTEGRITY).normal, action::LOG);
    assert_eq!(row(linux, info::event::EL2_ERROR).normal, action::RESET_BOARD);
}

#[test]
fn information_pages_describe_ports_at_the_addresses_that_are_mapped() {
    use info::fixed;
    let image = demo();
    let blueprint = image.blueprint();
    let linux = &blueprint.partitions[0];
    let view = View::new(&image.leaves(linux.stage2_root));
    assert_eq!(view.physical(linux.info_ipa), Some(linux.info_dynamic));
    let page = |at: usize, bytes: u64| {
        let ipa = linux.info_ipa + at as u64;
        let leaf = view.leaf(ipa).expect("an information page");
        assert!(!leaf.guest_writes() && !leaf.executes());
        image.at(leaf.output + ipa - leaf.input, bytes)
    };
    let number = |at: usize| u32::from_le_bytes(page(at, 4).try_into().expect("a word"));
    assert!(page(fixed::NAME, 32).starts_with(b"linux\0"));
    assert_eq!((number(fixed::ID), number(fixed::VCPU_COUNT)), (1, 2));
    assert_eq!((number(fixed::PORT_COUNT), number(fixed::AUTHORITY_COUNT)), (3, 2));
    assert_eq!(number(fixed::CNTFRQ_HZ), 62_500_000);
    let authorities = (fixed::PORTS + 3 * fixed::PORT_STRIDE).next_multiple_of(4096);
    assert!(page(authorities, 32).starts_with(b"rtos\0"));
    assert_eq!(number(authorities + fixed::AUTHORITY_RIGHTS), 0b10111);
    for (index, (name, writes, doorbell)) in [
        ("state", false, fixed::NO_DOORBELL),
        ("telemetry", false, 64),
        ("setpoint", true, fixed::NO_DOORBELL),
    ]
    .into_iter()
    .enumerate()
    {
        let at = fixed::PORTS + index * fixed::PORT_STRIDE;
        assert!(page(at, 32).starts_with(format!("{name}\0").as_bytes()));
        assert_eq!(number(at + fixed::PORT_DOORBELL_INTID), doorbell);
        assert_eq!(number(at + fixed::PORT_PEER_ID), 2);
        let writer = word(page(at + fixed::PORT_WRITER_IPA, 8), 0);
        let consumer = word(page(at + fixed::PORT_CONSUMER_IPA, 8), 0);
        let may_write = |ipa| view.leaf(ipa).map(|l| l.guest_writes());
        assert_eq!(may_write(writer), Some(writes), "{name}");
        let reads = if index == 0 { None } else { Some(!writes) };
        assert_eq!((consumer != 0).then(|| may_write(consumer)).flatten(), reads, "{name}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_another_another_identity() {
    let shop = Workshop::new();
    let first = shop.build(Path::new(DEMO)).1;
    let second = shop.build(Path::new(DEMO)).1;
    assert!(first.bytes() == second.bytes());
    shop.put("linux/initramfs.cpio.gz", &vec![0x78; 1_000_003]);
    let other = shop.build(Path::new(DEMO)).1;
    assert_ne!(first.header().sha256, other.header().sha256);
}

#[test]
fn on_gic_v2_the_guest_has_the_virtual_cpu_interface_at_its_address() {
    let image = Workshop::new().demo_on_gic_v2();
    let header = image.header();
    assert_eq!((header.gic.version, header.gic.gich, header.gic.gicr), (2, 0x0803_0000, 0));
    assert_apart_but_cpu_interface(&image);
    let own = View::new(&image.leaves(header.el2_root));
    assert!(own.leaf(0x0801_1fff).is_some() && own.leaf(0x0803_0000).is_some());
    assert!(own.leaf(0x0804_0000).is_none());
}

/// GICV is banked by CPU in hardware: every partition writes the same page.
fn assert_apart_but_cpu_interface(image: &Image) {
    for partition in image.blueprint().partitions {
        let view = View::new(&image.leaves(partition.stage2_root));
        assert_eq!(view.physical(0x0801_0000), Some(0x0804_0000));
        assert_eq!(view.physical(0x0801_1fff), Some(0x0804_1fff));
        for trapped in [0x0800_0000, 0x080a_0000, 0x0900_0000, 0x0803_0000, 0x0804_0000] {
            assert_eq!(view.physical(trapped), None, "{trapped:#x}");
        }
    }
}

#[test]
fn windows_are_compiled_to_ticks_in_order() {
    let shop = Workshop::small();
    let (_, image) =
        shop.build_text("/dts-v1/;\n/include/ \"shared.dtsi\"\n").unwrap_or_else(|f| panic!("{f}"));
    assert_apart(&image);
    let blueprint = image.blueprint();
    assert_eq!(blueprint.header.initial_plan, 0);
    assert_eq!(blueprint.plans[0].frame_ticks, 625_000);
    let windows: Vec<(u64, u64, u32)> =
        blueprint.windows.iter().map(|w| (w.start_ticks, w.end_ticks, w.vcpu)).collect();
    assert_eq!(windows, [(0, 250_000, 2), (312_500, 562_500, 3)]);
    let counts: Vec<u32> = blueprint.plan_cpus.iter().map(|c| c.window_count).collect();
    assert_eq!(counts, [0, 0, 2, 0]);
    let cpu = &blueprint.cpus[2];
    let first = cpu.slot_first as usize;
    assert_eq!(blueprint.slots[first..first + cpu.slot_count as usize], [2, 3]);
}

const EXTRAS: &str = "/dts-v1/;\n/include/ \"good.dtsi\"\n\
    &a { regions { table { size = <0x0 0x3000>; rights = \"r\"; file = \"table.bin\"; };
                   heap { size = <0x0 0x400000>; at = <0x0 0x50000000>; rights = \"rw\"; }; }; };
    / { segments {
        maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; file = \"table.bin\"; readers = <&a &b>; };
        board { compatible = \"bulkhead,segment\"; size = <0x0 0x1000>; readers = <&a>; writer = <&b>; }; }; };\n";

#[test]
fn regions_and_segments_are_seen_with_their_rights_and_content() {
    let shop = Workshop::new();
    for file in ["good.dtsi", "payload.bin"] {
        shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
    }
    shop.put("table.bin", &[0x5a; 5001]);
    let (_, image) = shop.build_text(EXTRAS).unwrap_or_else(|f| panic!("{f}"));
    let blueprint = image.blueprint();
    let [a, b] = blueprint.partitions else {
        panic!("two partitions");
    };
    let memory = load(&image, a);
    load(&image, b);
    let views = [a, b].map(|p| View::new(&image.leaves(p.stage2_root)));
    let rights = |v: &View, ipa| v.leaf(ipa).map(|l| (l.guest_writes(), l.executes()));
    let extra = |p: &Partition, bytes: u64| {
        let first = p.memory_first as usize;
        let ranges = &blueprint.memory[first..first + p.memory_count as usize];
        ranges.iter().find(|r| r.bytes == bytes).expect("a range").base
    };
    let table = extra(a, 0x3000);
    assert_eq!(rights(&views[0], table), Some((false, false)));
    assert_eq!(read(&memory, &views[0], table, 5001), [0x5a; 5001]);
    assert_eq!(rights(&views[0], 0x5000_0000), Some((true, false)));
    assert_ne!(views[1].physical(table), views[0].physical(table));
    let maps = extra(a, 0x2000);
    assert_eq!(maps, extra(b, 0x2000));
    let at = views[0].physical(maps);
    assert_eq!(at, views[1].physical(maps));
    assert_eq!(image.at(at.expect("mapped"), 5001), [0x5a; 5001]);
    assert_eq!(rights(&views[1], maps), Some((false, false)));
    let board = extra(a, 0x1000);
    assert_eq!(rights(&views[0], board), Some((false, false)));
    assert_eq!(rights(&views[1], board), Some((true, false)));
    assert_eq!(views[0].physical(board), views[1].physical(board));
}

/// The refusal and its rules.
fn refused(result: Result<(bulkhead_compile::BuildReport, Image), Failure>) -> (String, Vec<&'static str>) {
    let failure = result.err().expect("a refusal");
    let text = failure.to_string();
    let Failure::Refused { findings, .. } = failure else {
        panic!("{text}");
    };
    let blocking = findings.iter().filter(|f| f.blocks());
    (text, blocking.map(|f| f.rule.id).collect())
}

#[test]
fn an_el2_binary_that_does_not_fit_is_refused_and_the_old_image_stays() {
    let shop = Workshop::new();
    shop.build(Path::new(DEMO));
    let before = std::fs::read(shop.path("out/image.img")).expect("an image");
    for (symbol, value, says) in [
        ("__blueprint_version", Some(99), "found: blueprint version 99\n"),
        ("__abi_version", Some(0x2_0003), "expected: ABI version 1.0\n"),
        ("__abi_version", None, "found: no symbol __abi_version\n"),
        ("__text_start", Some(0x20_0000), "expected: linked for 0x40200000 (board qemu-virt)\n"),
        ("__gic_version", Some(2), "expected: for GICv3 (board qemu-virt)\n"),
        ("__spectre_bhb", Some(1), "found: built with `spectre-bhb`\n"),
        ("__vcpu_bytes", None, "found: no symbol __vcpu_bytes\n"),
        ("__el2_end", None, "found: no symbol __el2_end\n"),
    ] {
        shop.put("hv.elf", &hypervisor(Some((symbol, value))));
        let (text, rules) = refused(shop.try_build(Path::new(DEMO)));
        assert_eq!(rules, ["IMG-004"], "{symbol}");
        assert!(text.contains("expected:") && text.contains(says), "{text}");
    }
    shop.put("hv.elf", &hypervisor_at(0x20_0000, 2, None));
    let (text, _) = refused(shop.try_build(Path::new(DEMO)));
    assert!(text.contains("found: linked for 0x200000; for GICv2\n"), "{text}");
    shop.put("hv.elf", &hypervisor(None));
    shop.put("loader.elf", b"\x7fELF\x02\x01");
    assert_eq!(refused(shop.try_build(Path::new(DEMO))).1, ["IMG-004"]);
    let after = std::fs::read(shop.path("out/image.img")).expect("an image");
    assert!(before == after);
    let leftovers = std::fs::read_dir(shop.path("out")).expect("a directory").count();
    assert_eq!(leftovers, 1);
}

#[test]
fn the_mitigation_is_that_of_the_binary_or_there_is_no_image() {
    let shop = Workshop::new();
    let demo = std::fs::canonicalize(DEMO).expect("the demo");
    let text = format!("/include/ \"{}\"\n&{{/hypervisor}} {{ spectre-bhb; }};\n", demo.display());
    let (found, rules) = refused(shop.build_text(&text));
    assert_eq!(rules, ["IMG-004"]);
    assert!(
        found.contains("built without `spectre-bhb`") && found.contains("built with `spectre-bhb`"),
        "{found}"
    );
    shop.put("hv.elf", &hypervisor(Some(("__spectre_bhb", Some(1)))));
    let (report, _) = shop.build_text(&text).unwrap_or_else(|f| panic!("{f}"));
    assert!(report.summary().contains("spectre-bhb"), "{}", report.summary());
}

#[test]
fn an_image_that_reaches_what_firmware_keeps_is_refused() {
    let shop = Workshop::new();
    shop.put("linux/initramfs.cpio.gz", &vec![1; 130 << 20]);
    let (text, rules) = refused(shop.try_build(Path::new(DEMO)));
    assert_eq!(rules, ["IMG-003"]);
    assert!(text.contains("the firmware's device tree"), "{text}");
}

#[test]
fn memory_that_fits_in_sum_but_not_in_one_piece_is_refused() {
    let shop = Workshop::new();
    for file in ["good.dtsi", "payload.bin"] {
        shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
    }
    let text = "/dts-v1/;\n/include/ \"good.dtsi\"\n&a { memory = <0x0 0x40000000 0x0 0x38000000>; };\n";
    let (text, rules) = refused(shop.build_text(text));
    assert_eq!(rules, ["MEM-009"]);
    assert!(text.contains("in one piece"), "{text}");
}

#[test]
fn a_pinned_partition_in_the_image_is_refused_at_the_images_final_size() {
    let shop = Workshop::new();
    for file in ["good.dtsi", "payload.bin"] {
        shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
    }
    let text = "/dts-v1/;\n/include/ \"good.dtsi\"\n&a { bulkhead,memory-pa = <0x0 0x40200000>; };\n";
    let (text, rules) = refused(shop.build_text(text));
    assert_eq!(rules.first(), Some(&"MEM-002"), "{text}");
}

#[test]
fn a_kernel_without_a_sane_size_is_placed_by_its_length() {
    let shop = Workshop::new();
    for size in [u64::MAX, 1 << 40, 5] {
        shop.put("linux/Image", &arm64_image(3_000_001, size));
        let image = shop.build(Path::new(DEMO)).1;
        let linux = &image.blueprint().partitions[0];
        assert_eq!(linux.entry, 0x4000_0000, "{size:#x}");
    }
}

#[test]
fn zeroed_memory_of_a_payload_and_boot_files_may_not_meet() {
    let shop = Workshop::new();
    // 16 MiB end at 0x41000000; the device tree lies in their last pages.
    for (memory_bytes, fits) in [(0xd0_0000, true), (0xdf_f000, false), (0xf0_0000, false)] {
        let segments = [
            (0x4020_0000, [0x11; 64].as_slice(), 64, 5),
            (0x4020_1000, [0x22; 64].as_slice(), memory_bytes, 6),
        ];
        shop.put("rtos.elf", &common::elf(0x4020_0000, &segments, &[]));
        let result = shop.try_build(Path::new(DEMO));
        if fits {
            assert!(result.is_ok(), "{memory_bytes:#x}");
        } else {
            let (text, rules) = refused(result);
            assert_eq!(rules, ["IMG-002"], "{text}");
        }
    }
    shop.put("rtos.elf", &common::payload_elf(0x4020_0000));
    shop.put("linux/Image", &arm64_image(3_000_001, 3_000_001 + (64 << 20)));
    shop.put("linux/initramfs.cpio.gz", &vec![0; 64 << 20]);
    shop.build(Path::new(DEMO));
    shop.put("linux/initramfs.cpio.gz", &vec![0; 250 << 20]);
    let (text, rules) = refused(shop.try_build(Path::new(DEMO)));
    assert_eq!(rules, ["IMG-002"]);
    assert!(text.contains("its image and its initrd of linux overlap"), "{text}");
}
