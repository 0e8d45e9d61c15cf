//! The front end in one call.

use crate::diag::{self, Finding, Severity, Sources};
use crate::dtb;
use crate::dtc::{self, Unusable};
use crate::dts::Tree;
use crate::model::System;
use crate::read::{self, Reading, SearchPath};
use crate::rules;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What to look at beside the configuration.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Directories where payloads are looked for after the configuration's own.
    pub payload_dirs: Vec<PathBuf>,
    /// Whether payloads must be there: without it the rules about their content are left out.
    pub payloads: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { payload_dirs: Vec::new(), payloads: true }
    }
}

/// A judged configuration.
#[derive(Debug)]
pub struct Checked {
    /// The model; `None` if the source could not be read far enough.
    pub model: Option<System>,
    /// Everything found, sorted by place.
    pub findings: Vec<Finding>,
    /// The text that findings point into.
    pub sources: Sources,
    /// Whether dtc accepted the source: if not, the rules were not applied.
    pub parsed: bool,
}

impl Checked {
    /// Whether an image may be built.
    pub fn is_clean(&self) -> bool {
        self.model.is_some() && !self.findings.iter().any(Finding::blocks)
    }

    /// The findings as a person reads them.
    pub fn render(&self, colour: bool) -> String {
        diag::render(&self.findings, &self.sources, colour)
    }

    /// Those findings that keep an image from being built; all, if none of them does.
    pub fn render_blocking(&self, colour: bool) -> String {
        diag::render_blocking(&self.findings, &self.sources, colour)
    }
}

/// Reads and judges the configuration at `path`, source or blob.
///
/// # Errors
/// [`Unusable`] if the file cannot be read or dtc cannot be run.
pub fn check(path: &Path, options: &CheckOptions) -> Result<Checked, Unusable> {
    let own = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut search = SearchPath { directories: vec![own.to_path_buf()], boards: Vec::new() };
    search.directories.extend(options.payload_dirs.iter().cloned());
    match std::fs::metadata(path) {
        // A device or a pipe may never end.
        Ok(data) if !data.is_file() && !data.is_dir() => {
            let path = path.display();
            return Err(Unusable(format!(
                "cannot read {path}: not a regular file\nfix: give the path of a configuration (.dts)"
            )));
        }
        _ => {}
    }
    if dtc::starts_with(path, &dtb::MAGIC) {
        let bytes =
            std::fs::read(path).map_err(|e| Unusable(format!("cannot read {}: {e}", path.display())))?;
        return Ok(check_blob(&bytes, &path.display().to_string(), &search, options.payloads));
    }
    let compiled = dtc::compile(path)?;
    let sources = compiled.sources;
    let Some(tree) = compiled.tree else {
        return Ok(Checked { model: None, findings: compiled.findings, sources, parsed: false });
    };
    let mut reading = read::read(&tree, &sources, &search);
    // References to what the unknown board would have are not the matter.
    if reading.system.is_some() {
        reading.findings.extend(compiled.findings);
    }
    let (model, findings) = judge(&tree, reading, options.payloads);
    Ok(Checked { model, findings, sources, parsed: true })
}

/// Judges a device-tree blob that messages call `name`.
pub fn check_blob(bytes: &[u8], name: &str, search: &SearchPath, payloads: bool) -> Checked {
    let mut tree = match dtb::parse(bytes) {
        Ok(tree) => tree,
        Err(finding) => {
            let (findings, sources) = (vec![*finding], Sources::default());
            return Checked { model: None, findings, sources, parsed: false };
        }
    };
    let reading = read::read(&tree, &Sources::default(), search);
    tree.keep_only(rules::acceptance::PROPERTY);
    let (model, mut findings) = judge(&tree, reading, payloads);
    let mut sources = Sources::default();
    let shown: BTreeSet<u32> = findings.iter().flat_map(|f| &f.labels).map(|l| l.span.node).collect();
    if let (false, Ok(tree)) = (findings.is_empty(), dtb::parse_some(bytes, &|node| shown.contains(&node))) {
        sources = dtb::listing(name, &tree, &mut findings);
    }
    Checked { model, findings, sources, parsed: true }
}

/// Applies the rules to what was read; the findings are sorted.
fn judge(tree: &Tree, reading: Reading, payloads: bool) -> (Option<System>, Vec<Finding>) {
    let mut findings = reading.findings;
    if let Some(system) = &reading.system {
        findings.extend(rules::judge(system, payloads));
        if payloads && !findings.iter().any(|f| f.severity == Severity::Error) {
            findings.extend(rules::judge_placement(system));
        }
    }
    rules::acceptance::apply(tree, &mut findings);
    diag::sort(&mut findings);
    (reading.system, findings)
}
