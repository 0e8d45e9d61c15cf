//! Statements of the report against configurations for which others would be false.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod packs;

use bulkhead_evidence::model::{Evidence, TESTS_SCHEMA, TestResult, TestResults};
use bulkhead_evidence::{certify, sha256};
use common::Workshop;
use packs::{avionics, demo, request, row, table};

const FLOWS: &str = "Flows and influences";

fn flow(evidence: &Evidence, from: &str, to: &str) -> Vec<String> {
    let rows = &table(evidence, "flow", FLOWS).rows;
    rows.iter().filter(|r| r[0] == from && r[1] == to).map(|r| r[2].clone()).collect()
}

#[test]
fn an_arrow_of_authority_names_its_rights_and_points_the_way_that_each_acts() {
    let shop = Workshop::small();
    let (evidence, _) = demo(&shop, "pack");
    assert!(flow(&evidence, "linux", "monitor").contains(&"authority: restart".to_owned()));
    assert!(flow(&evidence, "monitor", "linux").contains(&"authority: status".to_owned()), "status is read");
    assert!(flow(&evidence, "EL2", "linux").contains(&"authority: read-health, read-trace".to_owned()));
    let svg = std::fs::read_to_string(shop.path("pack").join("flow.svg")).expect("the picture");
    assert!(
        svg.contains(">authority: restart, suspend, resume<")
            && svg.contains(">authority: read-health, read-trace<")
    );
}

#[test]
fn what_comes_back_through_a_queue_and_what_output_costs_are_influences() {
    let shop = Workshop::small();
    let (evidence, _) = demo(&shop, "pack");
    let back = flow(&evidence, "linux", "rtos");
    assert!(back.contains(&"port telemetry: how far it is read".to_owned()), "{back:?}");
    assert!(flow(&evidence, "linux", "monitor").contains(&"its output takes time of CPU 3".to_owned()));
    assert!(!flow(&evidence, "linux", "rtos").contains(&"its output takes time of CPU 3".to_owned()));
}

#[test]
fn who_changes_the_plan_or_resets_the_board_acts_on_everybody_concerned() {
    let shop = Workshop::small();
    let evidence =
        avionics(&shop, &[("default-action = \"cold-restart\"", "default-action = \"reset-board\"")]);
    for partition in ["flight-control", "navigation", "display", "io-server"] {
        let acts = flow(&evidence, "gateway", partition);
        assert!(acts.iter().any(|a| a.starts_with("authority: plan ")), "{partition}: {acts:?}");
    }
    let shared = flow(&evidence, "flight-control", "display");
    assert!(shared.contains(&"shared CPU 2".to_owned()), "{shared:?}");
    assert!(!flow(&evidence, "flight-control", "io-server").iter().any(|a| a.starts_with("shared CPU")));
    let rows = &table(&evidence, "flow", FLOWS).rows;
    let resets: Vec<&str> =
        rows.iter().filter(|r| r[2].contains("resets the board")).map(|r| r[1].as_str()).collect();
    assert!(resets.contains(&"gateway"), "{resets:?}");
}

#[test]
fn statements_about_what_a_configuration_does_not_have_do_not_arise() {
    let shop = Workshop::small();
    let (evidence, _) = demo(&shop, "pack");
    let channels = table(&evidence, "channels", "Channels with mitigation and residual");
    assert_eq!(row(channels, &["CH-1"])[6], "does not arise: no CPU is shared");
    assert_eq!(row(channels, &["CH-9"])[6], "does not arise: no bus master is granted");
    assert_eq!(row(channels, &["CH-12"])[6], "open: no mitigation");
    let requirements = table(&evidence, "requirements", "Requirements and their trace");
    assert_eq!(row(requirements, &["REQ-TIM-3"])[6], "does not arise: there is no plan");
    assert_eq!(row(requirements, &["REQ-SPA-1"])[7], "none", "no bus master is granted");
    assert!(row(requirements, &["REQ-SPA-4"])[7].contains("W+X"), "linux is loaded writable and executable");
    let age = &row(requirements, &["REQ-COM-2"])[7];
    assert!(age.contains("state at linux") && !age.contains("state at monitor"), "{age}");
}

#[test]
fn a_channel_that_cleaning_would_close_is_open_where_no_window_asks_for_it() {
    let shop = Workshop::small();
    let evidence = avionics(&shop, &[]);
    let channels = table(&evidence, "channels", "Channels with mitigation and residual");
    for id in ["CH-1", "CH-4"] {
        assert!(row(channels, &[id])[6].starts_with("open: "), "{:?}", row(channels, &[id]));
    }
    assert!(table(&evidence, "open", "Open items").rows.iter().any(|r| r[0] == "CH-4"));
}

#[test]
fn health_names_the_plan_and_the_limit_on_restarts() {
    let shop = Workshop::small();
    let evidence = avionics(&shop, &[]);
    let limits = table(&evidence, "health", "Limits on restarts, whatever their cause");
    assert_eq!(row(limits, &["navigation"])[1], "4 in 10000 ms: switch-plan maintenance, tells gateway");
    assert_eq!(row(limits, &["gateway"])[1], "none: restarts are not counted");
    let failure = flow(&evidence, "navigation", "io-server");
    assert!(failure.contains(&"its failure: plan maintenance".to_owned()), "{failure:?}");
}

#[test]
fn a_rule_that_found_nothing_says_so_and_what_there_was_to_look_at() {
    let shop = Workshop::small();
    let (evidence, _) = demo(&shop, "pack");
    let rules = table(&evidence, "rules", "Rules");
    assert_eq!(row(rules, &["MEM-001"])[3..], ["not found", "3 memory ranges"]);
    assert_eq!(row(rules, &["PLN-001"])[3..], ["not found", "0 plans"]);
    assert_eq!(row(rules, &["AUT-001"])[3], "found, accepted");
    let memory = table(&evidence, "memory", "What each partition reaches at run time, from its tables");
    assert_eq!(row(memory, &["linux", "0x9010000"])[5], "&rtc (rtc@9010000)");
    assert!(memory.rows.iter().all(|r| !r[5].is_empty()));
}

/// A pack of the demo with the result of one case.
fn with_result(shop: &Workshop, el2: &[u8], passed: bool) -> Evidence {
    let result = TestResult {
        case: "trespass".to_owned(),
        machine: "GICv3".to_owned(),
        el2_sha256: sha256(el2),
        passed,
    };
    let results = TestResults { schema: TESTS_SCHEMA.to_owned(), results: vec![result] };
    shop.put("results.json", serde_json::to_string(&results).expect("JSON").as_bytes());
    let demo = std::fs::canonicalize("../examples/demo.dts").expect("the demo");
    let mut request = request(shop, demo, "pack");
    request.tests = Some(shop.path("results.json"));
    certify(&request).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_test_shows_something_only_if_it_passed_with_this_el2() {
    let shop = Workshop::small();
    let el2 = std::fs::read(shop.path("hv.elf")).expect("EL2");
    let of = |evidence: &Evidence| {
        let table = table(evidence, "freedom", "Fault models of annex D");
        let row = row(table, &["D.2.3-4"]);
        (row[5].clone(), row[6].clone())
    };
    let words = |tests: &str, result: &str| (tests.to_owned(), result.to_owned());
    let none = "shown by rules and verifier, not by test";
    assert_eq!(of(&demo(&shop, "pack").0), words("trespass: no result", none));
    assert_eq!(of(&with_result(&shop, &el2, true)), words("trespass: passed", "shown"));
    assert_eq!(of(&with_result(&shop, b"another", true)), words("trespass: result of another EL2", none));
    let failed = with_result(&shop, &el2, false);
    assert_eq!(of(&failed), words("trespass: FAILED", "not shown"));
    assert!(!failed.holds, "a failed test is no evidence");
    assert!(
        table(&failed, "open", "Open items").rows.iter().any(|r| r[0] == "D.2.3-4" && r[2] == "not shown")
    );
    assert!(failed.inputs.iter().any(|f| f.name == "results.json"));
    shop.put("results.json", b"{}");
    let demo = std::fs::canonicalize("../examples/demo.dts").expect("the demo");
    let mut request = request(&shop, demo, "pack");
    request.tests = Some(shop.path("results.json"));
    let refused = certify(&request).expect_err("no results").to_string();
    assert!(refused.contains("results.json") && refused.contains("cargo xtask test"), "{refused}");
}

#[test]
fn pictures_of_the_terminal_keep_within_eighty_columns() {
    let shop = Workshop::small();
    let long = "a-partition-with-a-long-name";
    let text = std::fs::read_to_string("../examples/avionics.dts").expect("the example");
    let text = text.replace("display: display {", &format!("display: {long} {{"));
    assert!(text.contains(long));
    shop.put("avionics.dts", text.as_bytes());
    let options = bulkhead_compile::CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let checked = bulkhead_compile::check(&shop.path("avionics.dts"), &options).expect("a configuration");
    let system = checked.model.as_ref().unwrap_or_else(|| panic!("{}", checked.render(false)));
    let pictures = bulkhead_evidence::pictures::of_configuration(system);
    let lines = || pictures.iter().flat_map(|p| p.text.lines());
    assert!(lines().any(|l| l.contains(&format!("gaps: {long}"))));
    for line in lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn a_pack_does_not_tell_where_it_was_made() {
    let shop = Workshop::small();
    let source = std::fs::read("../examples/demo.dts").expect("the demo");
    let made = |place: &str| {
        shop.put(&format!("{place}/demo.dts"), &source);
        let pack = packs::make(&shop, shop.path(place).join("demo.dts"), &format!("{place}-pack")).1;
        let file = |name: &str| std::fs::read_to_string(pack.join(name)).expect(name);
        (file("findings.sarif"), file("SHA256SUMS"))
    };
    let (sarif, sums) = made("one");
    assert!(sarif.contains("\"uri\": \"demo.dts\""), "{sarif}");
    assert_eq!((sarif, sums), made("another/and/deeper"));
}
