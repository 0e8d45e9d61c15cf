//! Makes a pack: checks, builds, verifies against the configuration, writes everything with its digests.

use crate::draw::Picture;
use crate::model::{
    ClaimResult, Evidence, File, Identity, RuleFinding, RuleResult, SCHEMA, Section, TESTS_SCHEMA,
    TestResult, TestResults,
};
use crate::{pictures, sections, sha256, sign};
use askama::Template;
use bulkhead_compile::board::BUILTIN_BOARDS;
use bulkhead_compile::diag::{self, Finding, Severity, Sources};
use bulkhead_compile::model::{Payload, System};
use bulkhead_compile::rules::{RULES, payload};
use bulkhead_compile::{BuildRequest, CheckOptions, Failure};
use bulkhead_verify::{Image, Report, against};
use std::path::{Path, PathBuf};

/// What to certify.
pub struct Request {
    /// The configuration.
    pub config: PathBuf,
    /// The configuration as dtc compiles it, for the verifier's own reading.
    pub blob: Vec<u8>,
    /// The EL2 executable.
    pub hypervisor: PathBuf,
    /// The EL1 loader's executable.
    pub loader: PathBuf,
    /// Directories where payloads are looked for after the configuration's own.
    pub payloads: Vec<PathBuf>,
    /// Results of system tests, where some are given.
    pub tests: Option<PathBuf>,
    /// Programs that take part, with their names: dtc, this one.
    pub tools: Vec<(String, PathBuf)>,
    /// The directory to write.
    pub output: PathBuf,
}

/// Name of the image in a pack.
pub const IMAGE: &str = "bulkhead.img";
/// Name of the evidence for programs.
pub const EVIDENCE: &str = "evidence.json";
/// Name of the report.
pub const REPORT: &str = "report.html";
/// Name of the list of digests, in the format of sha256sum.
pub const SUMS: &str = "SHA256SUMS";

/// The schema of `evidence.json`.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Evidence);
    // A schema is plain JSON: nothing in it can fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// The report's template: one file that needs nothing from outside.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    evidence: &'a Evidence,
    pictures: &'a [Picture],
    el2_sha256: &'a str,
}

impl Page<'_> {
    /// Pictures of a section.
    fn of(&self, section: &Section) -> Vec<&Picture> {
        self.pictures.iter().filter(|p| section.pictures.contains(&p.name)).collect()
    }

    /// How much is left to judge, in numbers.
    fn tally(&self) -> String {
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let findings = || self.evidence.rules.iter().flat_map(|r| &r.findings);
        let accepted = findings().filter(|f| !f.accepted.is_empty()).count();
        let warned =
            self.evidence.rules.iter().filter(|r| r.result == "warned").map(|r| r.findings.len()).sum();
        let el2 = self.evidence.tests.iter().filter(|t| t.el2_sha256 == self.el2_sha256);
        format!(
            "{}, {}, {}, {}, {} with this EL2.",
            counted(self.evidence.rules.len(), "rule"),
            counted(self.evidence.claims.len(), "claim"),
            counted(accepted, "accepted finding"),
            counted(warned, "warning"),
            counted(el2.count(), "test result")
        )
    }
}

/// Makes the pack; gives what it says.
///
/// # Errors
/// As [`bulkhead_compile::build`]; a failing claim is no error but stands in the evidence.
pub fn certify(request: &Request) -> Result<Evidence, Failure> {
    let unusable = |e: &dyn std::fmt::Display| Failure::Unusable(e.to_string());
    let packed = pack_image(request)?;
    let options = CheckOptions { payload_dirs: request.payloads.clone(), payloads: true };
    let checked = bulkhead_compile::check(&request.config, &options).map_err(|e| unusable(&e))?;
    let Some(system) = &checked.model else {
        return Err(Failure::Refused {
            findings: checked.findings,
            sources: checked.sources,
            parsed: checked.parsed,
        });
    };
    let report = verified(request, &packed)?;
    let sources = checked.sources.renamed(|name| short(request, name));
    let (rules, claims) = (rule_results(&checked.findings, &sources), claim_results(&report));
    let tests = test_results(request)?;
    let el2_sha256 = sha256(&std::fs::read(&request.hypervisor).map_err(|e| unusable(&e))?);
    let timing = bulkhead_compile::timing::facts::facts(system);
    let mut drawn = pictures::of_configuration(system);
    drawn.push(pictures::of_image(system, &report));
    let plans = drawn.iter().map(|p| p.name.clone()).filter(|n| n.starts_with("plan-")).collect();
    let source = sections::Source {
        system,
        report: &report,
        findings: &checked.findings,
        rules: &rules,
        claims: &claims,
        timing: &timing,
        tests: &tests,
        el2_sha256: &el2_sha256,
        plans,
    };
    let sections = sections::all(&source);
    let sarif = diag::to_sarif(&checked.findings, &sources);
    let mut outputs = outputs(&packed, &report, sarif, &drawn);
    let evidence = Evidence {
        schema: SCHEMA,
        image: identity(&report),
        holds: report.holds()
            && rules.iter().all(|r| r.result != "fails")
            && tests.iter().all(|t| t.passed || t.el2_sha256 != el2_sha256),
        inputs: inputs(request, system, &sources)?,
        tools: files(&request.tools)?,
        outputs: outputs.iter().map(|(name, bytes)| file(name, bytes)).collect(),
        timing: serde_json::to_value(&timing).map_err(|e| unusable(&e))?,
        sections,
        rules,
        claims,
        tests: tests.clone(),
    };
    let page = Page { evidence: &evidence, pictures: &drawn, el2_sha256: &el2_sha256 };
    let html = page.render().map_err(|e| unusable(&e))?;
    let json = serde_json::to_string_pretty(&evidence).map_err(|e| unusable(&e))?;
    outputs.push((REPORT.to_owned(), html.into_bytes()));
    outputs.push((EVIDENCE.to_owned(), json.into_bytes()));
    write(&request.output, &outputs)?;
    Ok(evidence)
}

/// The verifier's report about the image, against the configuration.
fn verified(request: &Request, packed: &Image) -> Result<Report, Failure> {
    let name = file_name(&request.config);
    let directory = request.config.parent().unwrap_or(Path::new("")).to_path_buf();
    let payloads: Vec<PathBuf> = std::iter::once(directory).chain(request.payloads.iter().cloned()).collect();
    let configuration = against::Configuration {
        file: &name,
        blob: &request.blob,
        payloads: Some(&payloads),
        boards: BUILTIN_BOARDS,
    };
    against::verify(packed, &configuration).map_err(|e| Failure::Unusable(e.to_string()))
}

/// Files of the pack by name, but for evidence and report, which list them.
fn outputs(packed: &Image, report: &Report, sarif: String, drawn: &[Picture]) -> Vec<(String, Vec<u8>)> {
    let texts =
        [("findings.sarif", sarif), ("verify.json", report.to_json()), ("evidence.schema.json", schema())];
    let mut outputs = vec![(IMAGE.to_owned(), packed.bytes().to_vec())];
    outputs.extend(texts.map(|(name, text)| (name.to_owned(), text.into_bytes())));
    outputs.extend(drawn.iter().map(|p| (format!("{}.svg", p.name), p.svg.clone().into_bytes())));
    outputs
}

/// Builds the image beside everything: nothing of a pack is written before all of it is known.
fn pack_image(request: &Request) -> Result<Image, Failure> {
    let unusable = |e: &dyn std::fmt::Display| Failure::Unusable(e.to_string());
    let directory = tempfile::tempdir().map_err(|e| unusable(&e))?;
    let image = directory.path().join(IMAGE);
    bulkhead_compile::build(&BuildRequest {
        config: request.config.clone(),
        hv_elf: request.hypervisor.clone(),
        loader_elf: request.loader.clone(),
        payload_dirs: request.payloads.clone(),
        output: image.clone(),
    })?;
    Image::read(&image).map_err(|e| unusable(&e))
}

/// The results of system tests, sorted.
fn test_results(request: &Request) -> Result<Vec<TestResult>, Failure> {
    let Some(path) = &request.tests else { return Ok(Vec::new()) };
    let failed = |e: &dyn std::fmt::Display| {
        Failure::Unusable(format!(
            "{}: {e}; expected the file that `cargo xtask test` writes ({TESTS_SCHEMA})",
            path.display()
        ))
    };
    let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
    let mut given: TestResults = serde_json::from_slice(&bytes).map_err(|e| failed(&e))?;
    if given.schema != TESTS_SCHEMA {
        return Err(failed(&format!("found schema {}", given.schema)));
    }
    given.results.sort();
    Ok(given.results)
}

/// Writes the pack, the list of digests last; of an older pack nothing stays.
fn write(directory: &Path, outputs: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::Unusable(format!("cannot create {}: {e}", directory.display())))?;
    let old = std::fs::read_to_string(directory.join(SUMS)).unwrap_or_default();
    let listed = old.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name);
    for name in listed.filter(|name| !name.contains(['/', '\\'])).chain([SUMS, sign::SIGNATURE]) {
        match std::fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::Unusable(format!("cannot remove {name} of an older pack: {e}")));
            }
            _ => {}
        }
    }
    let mut sums: Vec<String> = Vec::new();
    for (name, bytes) in outputs {
        put(&directory.join(name), bytes)?;
        sums.push(format!("{}  {name}\n", sha256(bytes)));
    }
    sums.sort_by(|a, b| a[64..].cmp(&b[64..]));
    put(&directory.join(SUMS), sums.concat().as_bytes())
}

/// Writes beside the target and renames, so that there is never half a file.
fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::Unusable(format!("cannot write {}: {e}", path.display()));
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|e| failed(&e))?;
    std::io::Write::write_all(&mut file, bytes).map_err(|e| failed(&e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(|e| failed(&e))?;
    }
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn file(name: &str, bytes: &[u8]) -> File {
    File { name: name.to_owned(), sha256: sha256(bytes), bytes: bytes.len() as u64 }
}

fn files(list: &[(String, PathBuf)]) -> Result<Vec<File>, Failure> {
    let one = |(name, path): &(String, PathBuf)| {
        let bytes = std::fs::read(path)
            .map_err(|e| Failure::Unusable(format!("cannot read {}: {e}", path.display())))?;
        Ok(file(name, &bytes))
    };
    list.iter().map(one).collect()
}

/// A source's name relative to the configuration; of one that lies elsewhere its file name, of a board's `board/...`.
fn short(request: &Request, name: &str) -> String {
    if let Some((_, board)) = name.rsplit_once("board/") {
        return format!("board/{board}");
    }
    let path = Path::new(name);
    let beside = request.config.parent().and_then(|directory| path.strip_prefix(directory).ok());
    beside.map_or_else(|| file_name(path), |path| path.to_string_lossy().into_owned())
}

/// Sources; then binaries and payloads.
fn inputs(request: &Request, system: &System, sources: &Sources) -> Result<Vec<File>, Failure> {
    let mut out: Vec<File> = sources.files().iter().map(|f| file(&f.name, f.text.as_bytes())).collect();
    let binaries = [
        (file_name(&request.hypervisor), request.hypervisor.clone()),
        (file_name(&request.loader), request.loader.clone()),
    ];
    out.extend(files(&binaries)?);
    let payloads = |p: &Payload| Some((p.written.clone(), p.path.clone()?));
    if let Some(path) = &request.tests {
        out.extend(files(&[(file_name(path), path.clone())])?);
    }
    let mut list: Vec<(String, PathBuf)> = payload::files(system).filter_map(payloads).collect();
    list.sort();
    list.dedup();
    out.extend(files(&list)?);
    Ok(out)
}

fn identity(report: &Report) -> Identity {
    let image = &report.image;
    Identity {
        part_number: image.part_number.clone(),
        image_id: image.image_id.clone(),
        file_sha256: image.file_sha256.clone(),
        board: image.board.clone(),
    }
}

fn rule_results(findings: &[Finding], sources: &Sources) -> Vec<RuleResult> {
    let one = |rule: &&'static bulkhead_compile::rules::Rule| {
        let found: Vec<&Finding> = findings.iter().filter(|f| f.rule.id == rule.id).collect();
        let result = if found.iter().any(|f| f.blocks()) {
            "fails"
        } else if found.iter().any(|f| f.accepted.is_some()) {
            "accepted"
        } else if found.iter().any(|f| f.severity == Severity::Warning) {
            "warned"
        } else {
            "holds"
        };
        let findings = found.iter().map(|f| rule_finding(f, sources)).collect();
        RuleResult { id: rule.id, severity: rule.severity.word(), title: rule.title, result, findings }
    };
    RULES.iter().map(one).collect()
}

fn rule_finding(finding: &Finding, sources: &Sources) -> RuleFinding {
    let place = finding.span().map_or("?".to_owned(), |span| sources.place(span));
    RuleFinding {
        message: finding.message.clone(),
        place,
        found: finding.found.clone().unwrap_or_default(),
        accepted: finding.accepted.clone().unwrap_or_default(),
    }
}

fn claim_results(report: &Report) -> Vec<ClaimResult> {
    let one = |c: &bulkhead_verify::Outcome| ClaimResult {
        id: c.id.to_owned(),
        title: c.title.to_owned(),
        method: c.method.to_owned(),
        examined: format!("{} {}", c.examined, c.unit),
        holds: c.findings.is_empty(),
        findings: c
            .findings
            .iter()
            .map(|f| format!("{}: found {}, expected {}", f.message, f.found, f.expected))
            .collect(),
    };
    report.outcomes().map(one).collect()
}
