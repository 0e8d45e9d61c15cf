//! Images that the compiler packs, judged by the verifier.

#[path = "../../compile/tests/common/mod.rs"]
mod common;

use bulkhead_verify::{Image, Report, verify};
use common::Workshop;
use std::path::Path;

const DEMO: &str = "../examples/demo.dts";

fn report(bytes: &[u8]) -> Report {
    verify(&Image::from_bytes(bytes)).unwrap_or_else(|reason| panic!("{reason}"))
}

fn assert_holds(bytes: &[u8]) -> Report {
    let report = report(bytes);
    assert!(report.holds(), "{}", report.to_text());
    report
}

#[test]
fn every_claim_holds_for_the_demo_and_examined_something() {
    let report = assert_holds(Workshop::new().build(Path::new(DEMO)).1.bytes());
    for outcome in &report.claims {
        let idle = outcome.examined == 0 && outcome.id != "VFY-061";
        assert!(!idle, "{} examined nothing", outcome.id);
    }
    assert_eq!(report.image.part_number, "BH-DEMO-1 rev A");
    assert_eq!(report.partitions[0].interrupts, [27, 30, 34]);
    let linux = &report.partitions[0];
    assert_eq!(linux.what.len(), linux.run.len());
    assert!(linux.what.iter().any(|what| what == "port telemetry, port setpoint"), "{:?}", linux.what);
    assert_eq!(linux.powers, ["status, suspend, resume, restart rtos", "status, restart monitor"]);
}

#[test]
fn every_claim_holds_on_gic_v2() {
    assert_holds(Workshop::new().demo_on_gic_v2().bytes());
}

#[test]
fn every_claim_holds_on_a_board_with_a_spin_table_and_registers_to_leave_it_by() {
    let (_, image) = Workshop::rpi4().build(Path::new("../examples/demo-rpi4.dts"));
    let report = assert_holds(image.bytes());
    let own = |page: u64| report.el2.iter().find(|m| m.outputs().start == page).map(|m| m.access.device);
    assert_eq!((own(0), own(0xfe10_0000), own(0xff84_1000)), (Some(false), Some(true), Some(true)));
}

#[test]
fn a_boards_watchdog_is_kicked_by_the_stores_that_its_manual_names() {
    let demo = std::fs::read_to_string("../examples/demo-rpi4.dts").expect("the demo");
    let text = demo.replacen("health-log-records", "watchdog-ms = <1500>;\n\t\thealth-log-records", 1);
    let image = Workshop::rpi4().build_text(&text).unwrap_or_else(|f| panic!("{f}")).1;
    assert_holds(image.bytes());
    let image = Image::from_bytes(image.bytes());
    let view = image.open().expect("an image");
    let header = view.header();
    // No plans: the console's CPU, a quarter of the time, at 54 MHz.
    assert_eq!((header.watchdog_cpus, header.beat_ticks), (1 << header.console_cpu, 375 * 54_000));
    let first = (header.boot_writes + header.off_writes) as usize;
    let kick: Vec<_> = view.blueprint.register_writes[first..first + header.kick_writes as usize]
        .iter()
        .map(|w| (w.address, w.keep, w.value))
        .collect();
    // PM_WDOG = password, 1.5 s at 65,536 Hz; PM_RSTC = password, full reset, other bits as they are.
    assert_eq!(kick, [(0xfe10_0024, 0, 0x5a01_8000), (0xfe10_001c, 0x00ff_ffcf, 0x5a00_0020)]);
    let reset: Vec<u64> = view.blueprint.register_writes[first + 2..].iter().map(|w| w.address).collect();
    assert_eq!(reset, [0xfe10_0020, 0xfe10_0024, 0xfe10_001c]);
}

#[test]
fn every_claim_holds_with_shared_cpus_regions_and_segments() {
    let shop = Workshop::small();
    let shared =
        shop.build_text("/dts-v1/;\n/include/ \"shared.dtsi\"\n").unwrap_or_else(|f| panic!("{f}")).1;
    let report = assert_holds(shared.bytes());
    let windows = report.claims.iter().find(|c| c.id == "VFY-061").expect("the claim");
    assert!(windows.examined >= 2);
    let rests = "/dts-v1/;\n/include/ \"shared.dtsi\"\n\
        &normal { cpu-1 { cpu = <&cpu1>; b-0 { partition = <&b>; start-us = <0>; duration-us = <9000>; }; }; };\n\
        &a { authority { rest { plans = <&rest>; }; }; };\n\
        &plans { rest: rest { id = <1>; major-frame-us = <10000>; bulkhead,accept = \"PLN-005: it rests\";\n\
                 cpu-1 { cpu = <&cpu1>; b-0 { partition = <&b>; start-us = <0>; duration-us = <9000>; }; };\n\
                 cpu-2 { cpu = <&cpu2>; }; }; };\n";
    assert_holds(shop.build_text(rests).unwrap_or_else(|f| panic!("{f}")).1.bytes());
    shop.put("table.bin", &[7; 5000]);
    let extras = "/dts-v1/;\n/include/ \"good.dtsi\"\n\
        &a { regions { table { size = <0x0 0x3000>; rights = \"r\"; file = \"table.bin\"; };
                       heap { size = <0x0 0x400000>; at = <0x0 0x50000000>; rights = \"rw\"; }; }; };
        / { segments {
            maps { compatible = \"bulkhead,segment\"; size = <0x0 0x2000>; file = \"table.bin\"; readers = <&a &b>; };
            board { compatible = \"bulkhead,segment\"; size = <0x0 0x1000>; readers = <&a>; writer = <&b>; }; }; };\n";
    assert_holds(shop.build_text(extras).unwrap_or_else(|f| panic!("{f}")).1.bytes());
}
