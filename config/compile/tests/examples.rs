//! The example configurations, wrapper files, and what cannot be read at all.

use bulkhead_compile::diag::Finding;
use bulkhead_compile::model::{
    Action, ConsoleKind, Event, GicVersion, KeepOver, PortKind, Right, System, Target,
};
use bulkhead_compile::{CheckOptions, Checked, check};
use std::path::Path;

fn run(path: &Path) -> Checked {
    check(path, &CheckOptions { payload_dirs: Vec::new(), payloads: false })
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn demo() -> System {
    let checked = run(Path::new("../examples/demo.dts"));
    assert!(checked.is_clean(), "{}", checked.render(false));
    checked.model.expect("a model")
}

#[test]
fn the_demo_is_clean_but_for_what_it_accepts() {
    let checked = run(Path::new("../examples/demo.dts"));
    assert!(checked.is_clean(), "{}", checked.render(false));
    let (accepted, warnings): (Vec<_>, Vec<_>) = checked.findings.iter().partition(|f| f.accepted.is_some());
    let ids = |findings: &[&Finding]| findings.iter().map(|f| f.rule.id).collect::<Vec<_>>();
    assert_eq!(ids(&accepted), ["AUT-001", "AUT-001", "PRT-004"]);
    assert!(ids(&warnings) == ["CPU-006"]);
}

#[test]
fn the_version_may_stand_in_a_file_that_an_included_one_includes() {
    let directory = tempfile::tempdir().unwrap();
    let demo = std::env::current_dir().unwrap().join("../examples/demo.dts");
    let files =
        [("inner.dts", demo.to_str().unwrap()), ("middle.dts", "inner.dts"), ("outer.dts", "middle.dts")];
    for (file, included) in files {
        std::fs::write(directory.path().join(file), format!("/include/ \"{included}\"\n")).unwrap();
    }
    let checked = run(&directory.path().join("outer.dts"));
    assert!(checked.is_clean(), "{}", checked.render(false));
    std::fs::write(directory.path().join("inner.dts"), "/ { };\n").unwrap();
    assert!(run(&directory.path().join("outer.dts")).render(false).contains("found: no /dts-v1/;"));
}

#[test]
fn what_blocks_is_shown_without_what_was_accepted() {
    let checked = run(Path::new("../examples/demo.dts"));
    assert_eq!(checked.render_blocking(false), checked.render(false));
    let text = std::fs::read_to_string("../examples/demo.dts").unwrap().replace("id = <3>", "id = <2>");
    let file = std::env::temp_dir().join(format!("bulkhead-blocking-{}.dts", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let checked = run(&file);
    std::fs::remove_file(&file).unwrap();
    let shown = checked.render_blocking(false);
    assert!(shown.contains("error[") && !shown.contains("AUT-001") && !shown.contains("warning["), "{shown}");
    assert!(checked.render(false).contains("AUT-001"));
}

#[test]
fn doorbells_beyond_those_whose_interval_is_kept_are_refused() {
    let demo = std::fs::read_to_string("../examples/demo.dts").unwrap();
    // Three ports of the demo have seven ends; 125 more make 257.
    let with = |count: usize, name: &str| {
        let port = |n: usize| {
            format!(
                "p{n} {{ compatible = \"bulkhead,sampling-port\"; from = <&linux>; to = <&{}>; message-bytes = <8>; \
                 refresh-us = <1000>; bulkhead,accept = \"PRT-004: a test\"; }};\n",
                if n.is_multiple_of(2) { "rtos" } else { "monitor" }
            )
        };
        let ports: String = (0..count).map(port).collect();
        let text = demo.replace("\tports {\n", &format!("\tports {{\n{ports}"));
        let file = std::env::temp_dir().join(format!("bulkhead-ends-{name}-{}.dts", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let checked = run(&file);
        std::fs::remove_file(&file).unwrap();
        checked
    };
    let fits = with(124, "fit");
    assert!(fits.is_clean(), "{}", fits.render_blocking(false));
    let shown = with(125, "more").render_blocking(false);
    assert!(shown.contains("error[LIM-001]: too many: ends of ports"), "{shown}");
    assert!(shown.contains("found: 257") && shown.contains("at most 256"), "{shown}");
}

#[test]
fn the_demo_is_read_as_written() {
    let system = demo();
    let names: Vec<&str> = system.partitions.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["linux", "rtos", "monitor"]);
    let linux = &system.partitions[0];
    assert_eq!((*linux.id, linux.vcpus.as_slice()), (1, [0, 1].as_slice()));
    assert_eq!((linux.memory[0].ipa.base, linux.memory[0].ipa.size), (0x4000_0000, 256 << 20));
    assert!(linux.memory[0].pa.is_none());
    assert_eq!((*linux.console, *linux.console_bytes), (ConsoleKind::Pl011, 0x1_0000));
    let rtc = &system.devices[*linux.access[0]];
    assert_eq!(
        (rtc.label.as_deref(), rtc.regs[0].base, rtc.interrupts[0].intid),
        (Some("rtc"), 0x0901_0000, 34)
    );
    let node = &system.nodes[rtc.node];
    assert_eq!(node.text("clock-names"), Some("apb_pclk"));
    let clock = node.references[0].entries[0].target;
    assert!(matches!(clock, Target::Node(n) if system.nodes[n].cell("clock-frequency") == Some(24_000_000)));
    assert!(linux.holds_over_module(Right::ReadHealth));
    let rtos = &system.partitions[1];
    assert_eq!(rtos.watchdog_ns.as_ref().map(|w| **w), Some(2_000_000_000));
    assert_eq!(rtos.init_timeout_ns.as_ref().map(|t| **t), Some(10_000_000_000));
    assert!(!rtos.has_warm_restart());
    assert_eq!(*system.hypervisor.console_cpu, 3);
    assert_eq!(system.board.gic.version, GicVersion::V3);
    assert_eq!(system.board.gic.gicr.map(|r| r.base), Some(0x080a_0000));
}

#[test]
fn ports_and_health_of_the_demo_are_read_as_written() {
    let system = demo();
    let state = &system.ports[0];
    assert!(matches!(&state.kind, PortKind::Sampling { refresh_ns: Some(r) } if **r == 2_000_000));
    let ages: Vec<Option<u64>> = state.to.iter().map(|e| e.max_age_ns.as_ref().map(|a| **a)).collect();
    assert_eq!(ages, [Some(3_000_000), None]);
    assert!(matches!(&system.ports[1].kind, PortKind::Queuing { depth, .. } if **depth == 32));
    assert!(system.ports[1].doorbell.is_some() && system.ports[2].doorbell.is_none());
    let table = &system.health_tables[0];
    assert_eq!(table.default_action.as_ref().map(|a| **a), Some(Action::ColdRestart));
    let watchdog = table.entries.iter().find(|e| *e.event == Event::Watchdog).expect("watchdog");
    assert_eq!(watchdog.in_init.as_ref().map(|s| *s.action), Some(Action::Halt));
}

/// Nothing in it is refused but the one cleaning that QEMU's firmware does not offer, by name, and a plan switch within a frame
/// of 20 ms: it has to be asked for two guards before the frame ends.
#[test]
fn the_avionics_example_is_accepted_but_for_what_the_board_cannot_do() {
    let checked = run(Path::new("tests/data/avionics.dts"));
    let blocking: Vec<&str> = checked.findings.iter().filter(|f| f.blocks()).map(|f| f.rule.id).collect();
    assert_eq!(blocking, ["TMP-009", "PLN-014"], "{}", checked.render(false));
    assert!(checked.render(false).contains("from normal to maintenance may take 20.04352 ms"));
    let system = checked.model.expect("a model");
    let fcs = &system.partitions[1];
    assert_eq!(fcs.memory[0].physical().map(|r| r.base), Some(0x7000_0000));
    assert_eq!(fcs.regions[1].keep_over.as_ref().map(|k| **k), Some(KeepOver::BoardReset));
    assert_eq!(system.partitions[0].memory[0].physical().map(|r| r.base), Some(0x5000_0000));
    assert_eq!(system.partitions[3].timing.as_ref().map(|t| t.duration_ns.len()), Some(2));
    assert_eq!(system.plans[0].cpus[0].windows.len(), 7);
    assert_eq!(system.ports[1].to[0].name.as_str(), "NAV_IN");
    assert_eq!(system.segments[0].readers.len(), 2);
}

#[test]
fn a_bus_master_whose_end_is_stated_is_no_finding() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for file in ["good.dtsi", "payload.bin", "DMA-004.dts"] {
        std::fs::copy(Path::new("../bad").join(file), directory.path().join(file)).expect("a copy");
    }
    let main = directory.path().join("main.dts");
    let with = |quiesce: &str| {
        let text = format!(
            "/include/ \"DMA-004.dts\"\n&a {{ grants {{ disk {{ device = <&disk>; {quiesce} }}; }}; }};\n"
        );
        std::fs::write(&main, text).expect("a configuration");
        let blocking = run(&main).findings.into_iter().filter(|f| f.blocks());
        blocking.map(|f| f.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(with(""), ["DMA-004"]);
    assert_eq!(with("quiesce = \"reset in its driver's first call\";"), Vec::<&str>::new());
}

#[test]
fn a_wrapper_changes_the_interrupt_controller_without_touching_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::copy("../examples/demo.dts", directory.path().join("demo.dts")).expect("a copy");
    let wrapper = directory.path().join("gic2.dts");
    let text = "/include/ \"demo.dts\"\n&gic {\n\tcompatible = \"arm,cortex-a15-gic\";\n\treg = <0x0 0x08000000 0x0 0x10000>, \
                <0x0 0x08010000 0x0 0x10000>,\n\t      <0x0 0x08030000 0x0 0x10000>, <0x0 0x08040000 0x0 0x10000>;\n};\n";
    std::fs::write(&wrapper, text).expect("a wrapper");
    let checked = run(&wrapper);
    assert!(checked.is_clean(), "{}", checked.render(false));
    let gic = checked.model.expect("a model").board.gic;
    assert_eq!(gic.version, GicVersion::V2);
    let bases = [gic.gicc, gic.gich, gic.gicv].map(|r| r.map(|r| r.base));
    assert_eq!(bases, [Some(0x0801_0000), Some(0x0803_0000), Some(0x0804_0000)]);
    assert!(gic.gicr.is_none());
}

#[test]
fn a_board_file_beside_the_configuration_wins() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("board")).expect("a directory");
    let text = std::fs::read_to_string("../../board/qemu-virt/qemu-virt.dtsi").expect("the board");
    let small =
        text.replace("cpu3: cpu@3 {", "cpu3: cpu@3 { status = \"okay\";").replace("4 CPUs, 1 GiB", "mine");
    std::fs::write(directory.path().join("board/qemu-virt.dtsi"), small).expect("a board");
    std::fs::copy("../examples/demo.dts", directory.path().join("demo.dts")).expect("a copy");
    let system = run(&directory.path().join("demo.dts")).model.expect("a model");
    assert_eq!(system.board.model, "QEMU virt, mine");
}

#[test]
fn places_in_a_board_file_are_shown_with_its_short_name() {
    let checked = run(Path::new("../bad/DEV-005.dts"));
    assert!(checked.render(false).contains("board/qemu-virt.dtsi:"));
    assert!(!checked.render(false).contains("/tmp"));
}

#[test]
fn a_missing_file_is_unusable_and_named() {
    let reason =
        check(Path::new("no-such-file.dts"), &CheckOptions::default()).expect_err("unusable").to_string();
    assert!(reason.contains("no-such-file.dts") && reason.contains("fix:"), "{reason}");
}

#[test]
fn a_missing_include_is_shown_where_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("main.dts");
    std::fs::write(&path, "/dts-v1/;\n/include/ \"board/rpi5.dtsi\"\n").expect("a file");
    let checked = run(&path);
    assert!(!checked.parsed && !checked.is_clean());
    let text = checked.render(false);
    assert!(text.contains("main.dts:2:12") && text.contains("board/qemu-virt.dtsi"), "{text}");
}

#[test]
fn a_dangling_label_has_the_nearest_spelling_and_the_rest_is_still_judged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = std::fs::read_to_string("../examples/demo.dts").expect("the demo");
    let broken = text.replace("from = <&linux>;", "from = <&linus>;").replace("refresh-us", "refesh-us");
    let path = directory.path().join("demo.dts");
    std::fs::write(&path, broken).expect("a file");
    let checked = run(&path);
    let found: Vec<&str> = checked.findings.iter().filter(|f| f.blocks()).map(|f| f.rule.id).collect();
    assert_eq!(found, ["LNG-001", "LNG-002"], "{}", checked.render(false));
    let text = checked.render(false);
    assert!(text.contains("write &linux") && text.contains("write `refresh-us`"), "{text}");
}
