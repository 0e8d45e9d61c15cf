//! Packs of the demo and of a system with shared CPUs.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod packs;

use bulkhead_evidence::assumptions::ASSUMPTIONS;
use bulkhead_evidence::certify::{IMAGE, SUMS, schema};
use bulkhead_evidence::sign;
use bulkhead_verify::diff::again;
use bulkhead_verify::{Image, verify};
use common::{Workshop, payload_elf};
use packs::{demo, make};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_pack_is_complete_and_the_same_twice() {
    let shop = Workshop::small();
    let (evidence, first) = demo(&shop, "one");
    assert!(evidence.holds);
    assert_eq!(evidence.image.part_number, "BH-DEMO-1 rev A");
    one_image_id(&shop, &evidence.image.image_id, &first);
    for chapter in again::CHAPTERS.iter().flat_map(|(_, list)| *list).chain(again::ALWAYS) {
        assert!(evidence.sections.iter().any(|s| s.id == *chapter), "`diff` names a chapter {chapter}");
    }
    let (_, second) = demo(&shop, "two");
    let names = std::fs::read_to_string(first.join(SUMS)).expect("the list");
    assert_eq!(names, std::fs::read_to_string(second.join(SUMS)).expect("the list"));
    for wanted in [
        "report.html",
        "evidence.json",
        "evidence.schema.json",
        "findings.sarif",
        "verify.json",
        IMAGE,
        "flow.svg",
    ] {
        assert!(names.contains(&format!("  {wanted}\n")), "{wanted}");
    }
    for section in &evidence.sections {
        assert!(!section.tables.is_empty() && section.text.len() > 40, "{}", section.id);
        for table in &section.tables {
            assert!(!table.rows.is_empty(), "{} is empty", table.caption);
            assert!(table.rows.iter().all(|r| r.len() == table.columns.len()), "{}", table.caption);
        }
    }
    let of = |id: &str| evidence.sections.iter().find(|s| s.id == id).expect("a section");
    let traced = ["freedom", "requirements", "channels"].iter().flat_map(|id| &of(id).tables[0].rows);
    for row in traced {
        assert!(row[..7].iter().all(|cell| !cell.is_empty()), "{row:?}");
        let open = ["CH-2", "CH-3", "CH-12", "CH-13"].contains(&row[0].as_str());
        let good = row[6].starts_with("shown") || row[6].starts_with("does not arise: ");
        assert_eq!(good, !open, "{row:?}");
    }
    assert!(of("health").text.contains("96 of 96"), "{}", of("health").text);
    assert!(of("justifications").tables[0].rows.len() >= 3);
    let text = std::fs::read_to_string(first.join("evidence.json")).expect("evidence");
    assert!(!text.contains(&shop.path("").display().to_string()), "an absolute path");
}

/// Rows of the safety manual: number and text of each assumption of use.
fn manual() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("../../docs/safety-manual.md").expect("the safety manual");
    let rows = text.lines().filter(|l| l.starts_with("| AoU-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].to_owned(), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn the_assumptions_of_use_are_those_of_the_safety_manual() {
    let own: Vec<(String, String)> =
        ASSUMPTIONS.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
    assert_eq!(own, manual());
    let shop = Workshop::small();
    let (evidence, _) = demo(&shop, "pack");
    let chapter = evidence.sections.iter().find(|s| s.id == "assumptions").expect("the chapter");
    let rows: Vec<_> = chapter.tables[0].rows.iter().map(|r| (r[0].clone(), r[1].clone())).collect();
    assert_eq!(rows, own);
    let here = |id: &str| &chapter.tables[0].rows.iter().find(|r| r[0] == id).expect("a row")[2];
    assert!(here("AoU-HW-4").contains(&evidence.image.image_id), "{}", here("AoU-HW-4"));
    assert_eq!(here("AoU-PRT-4"), "no CPU is shared");
}

/// The same string in the compiler's summary, the verifier's text and JSON, evidence and report; the boot banner and the
/// Linux tool show it in the system test `linux-control`.
fn one_image_id(shop: &Workshop, id: &str, pack: &Path) {
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let (built, _) = shop.build(Path::new("../examples/demo.dts"));
    assert_eq!(built.image_id, id);
    let image = Image::read(&pack.join(IMAGE)).expect("the image");
    let verified = verify(&image).expect("an image").to_text();
    assert!(verified.contains(&format!("part BH-DEMO-1 rev A on qemu-virt, image ID {id}\n")), "{verified}");
    for name in ["verify.json", "evidence.json", "report.html"] {
        let text = std::fs::read_to_string(pack.join(name)).expect(name);
        assert!(text.contains(id), "{name} does not show the image ID");
    }
}

#[test]
fn the_published_schema_is_the_one_of_this_version() {
    let path = "schema/evidence.schema.json";
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(path, schema()).expect("the schema");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), schema());
}

/// The schema of SARIF 2.1.0 as OASIS publishes it, from the sources of the crate that the types come from.
fn sarif_schema() -> serde_json::Value {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let output =
        Command::new(cargo).args(["metadata", "--format-version", "1", "--offline"]).output().expect("cargo");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|p| p["name"] == "serde-sarif").expect("serde-sarif");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
    let text = std::fs::read(manifest.with_file_name("src").join("schema.json")).expect("the schema");
    let mut schema: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    // A bracket without a partner, which ECMA-262 reads as itself.
    for owner in ["run", "toolComponent"] {
        let pattern = &mut schema["definitions"][owner]["properties"]["language"]["pattern"];
        let mended = pattern.as_str().expect("a pattern").replace("]?$", "\\]?$");
        *pattern = mended.into();
    }
    schema
}

#[test]
fn what_programs_read_has_the_form_that_its_schema_demands() {
    let shop = Workshop::small();
    let (_, pack) = demo(&shop, "pack");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(pack.join(name)).expect(name)).expect("JSON")
    };
    let published = serde_json::from_str(&schema()).expect("JSON");
    for (name, schema, required) in
        [("evidence.json", published, "image"), ("findings.sarif", sarif_schema(), "runs")]
    {
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let mut value = read(name);
        let wrong: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        value.as_object_mut().expect("an object").remove(required);
        assert!(!validator.is_valid(&value), "{name} is valid without {required}");
    }
    let findings = read("findings.sarif");
    assert!(!findings["runs"][0]["results"].as_array().expect("results").is_empty());
}

#[test]
fn a_signed_pack_is_good_until_something_changes() {
    let shop = Workshop::small();
    let (_, pack) = demo(&shop, "pack");
    // RFC 8410, section 10.3: the example key.
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    shop.put("key.pem", private.as_bytes());
    shop.put("key.pub", public.as_bytes());
    let key = shop.path("key.pub");
    let wrong = |key| sign::verify(&pack, key).expect("a pack");
    assert!(wrong(Some(&key)).join("\n").contains("not signed"));
    sign::sign(&pack, &shop.path("key.pem")).expect("a signature");
    assert_eq!(wrong(Some(&key)), Vec::<String>::new());
    let report = pack.join("report.html");
    let good = std::fs::read(&report).expect("the report");
    std::fs::write(&report, b"all is well").expect("a file");
    assert!(wrong(Some(&key)).join("\n").contains("report.html: found digest"));
    std::fs::write(&report, good).expect("a file");
    std::fs::write(pack.join("more.txt"), b"").expect("a file");
    assert_eq!(wrong(None), ["more.txt: not listed in SHA256SUMS"]);
    std::fs::remove_file(pack.join("more.txt")).expect("removed");
    let sums = std::fs::read_to_string(pack.join(SUMS)).expect("the list");
    std::fs::write(pack.join(SUMS), sums + "\n").expect("a file");
    assert!(wrong(Some(&key)).join("\n").contains("not a signature"));
    assert!(sign::sign(&pack, &key).is_err());
}

#[test]
fn the_schedule_shows_where_each_shared_cpus_time_goes_and_what_breaks_once() {
    let shop = Workshop::small();
    shop.put("avionics.elf", &payload_elf(0x4020_0000));
    let example = std::fs::canonicalize("../examples/avionics.dts").expect("the example");
    let (evidence, _) = make(&shop, example, "pack");
    let schedule = evidence.sections.iter().find(|s| s.id == "schedule").expect("the chapter");
    let table = |caption: &str| schedule.tables.iter().find(|t| t.caption == caption).expect(caption);
    assert!(
        table("Temporal figures")
            .rows
            .iter()
            .any(|r| r[0] == "latency" && r[1].ends_with("messages may wait"))
    );
    let slack = &table("CPU and slack map").rows;
    assert_eq!(slack.len(), 4, "two CPUs in two plans: {slack:?}");
    let maintenance = slack.iter().find(|r| r[0] == "maintenance on cpu@2").expect("a row");
    assert_eq!((maintenance[2].as_str(), maintenance[4].as_str()), ("1 ms", "4 ms"));
    assert!(table("Once, when a plan is entered").rows.iter().any(|r| r[1].ends_with("of io-server")));
}

/// What headless Chromium makes of a page.
fn chromium(arguments: &[&str], page: &Path) -> Vec<u8> {
    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium: `cargo xtask setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A page of a phone's width: the browser's own windows are never narrower than 500 pixels, a frame is. What the page
/// inside says becomes the title.
fn phone(page: &Path) -> PathBuf {
    let name = page.file_name().expect("a name").to_string_lossy();
    let frame = format!(
        "<!DOCTYPE html><title>nothing said</title><body style='margin:0'><script>onmessage=e=>document.title=e.data</script>\
         <iframe src='{name}' style='width:390px;height:844px;border:0'></iframe></body>"
    );
    let path = page.with_file_name("phone.html");
    std::fs::write(&path, frame).expect("a page");
    path
}

/// Opened by a script in the page itself, so that what is judged is what the browser laid out.
const PROBE: &str = "<script>window.onload=()=>{const bad=[];\
    for(const s of document.querySelectorAll('main section')){const t=s.querySelectorAll('tbody tr');\
    if(!s.querySelector('h2')||!t.length)bad.push(s.id+' has no heading or no rows');\
    for(const r of s.querySelectorAll('tbody'))if(!r.textContent.trim())bad.push(s.id+' has an empty table');}\
    for(const a of document.querySelectorAll('nav a'))if(!document.querySelector(a.getAttribute('href')))bad.push('dead '+a.href);\
    const f=document.querySelectorAll('figure');for(const g of f){const b=g.querySelector('svg').getBoundingClientRect();\
    if(b.width<100||b.height<40||g.querySelectorAll('rect').length<3)bad.push(g.id+' is empty');}\
    if(document.documentElement.scrollWidth>window.innerWidth+1)bad.push('the page is '+document.documentElement.scrollWidth+' wide');\
    const said='width '+window.innerWidth+' sections '+document.querySelectorAll('main section').length+\
    ' pictures '+f.length+' bad '+JSON.stringify(bad);document.title=said;parent.postMessage(said,'*');}</script></body>";

#[test]
fn the_browser_finds_every_section_picture_and_table_filled() {
    let shop = Workshop::small();
    shop.put("shared.dts", b"/dts-v1/;\n/include/ \"shared.dtsi\"\n");
    for (pack, pictures) in
        [(demo(&shop, "pack").1, 3), (make(&shop, shop.path("shared.dts"), "shared").1, 3)]
    {
        let html = std::fs::read_to_string(pack.join("report.html")).expect("the report");
        assert!(!html.contains("src=") && !html.contains("http-equiv"), "something from outside");
        let page = pack.join("probe.html");
        std::fs::write(&page, html.replace("</body>", PROBE)).expect("a page");
        for (width, page) in [(1280, page.clone()), (390, phone(&page))] {
            let dom =
                chromium(&["--dump-dom", "--virtual-time-budget=3000", "--window-size=1280,900"], &page);
            let dom = String::from_utf8_lossy(&dom);
            let title =
                dom.split("<title>").nth(1).and_then(|t| t.split("</title>").next()).unwrap_or_default();
            assert_eq!(title, format!("width {width} sections 16 pictures {pictures} bad []"));
        }
        let pdf = pack.join("report.pdf");
        chromium(
            &[&format!("--print-to-pdf={}", pdf.display()), "--no-pdf-header-footer"],
            &pack.join("report.html"),
        );
        assert!(std::fs::metadata(&pdf).expect("a PDF").len() > 50_000);
    }
}
