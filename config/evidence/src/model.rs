//! What a pack says: serialised as `evidence.json`, drawn as `report.html`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of this structure; the schema carries it.
pub const SCHEMA: &str = "bulkhead-evidence-1";

/// Everything about one configuration and its image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Evidence {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was certified.
    pub image: Identity,
    /// Whether every rule and every claim holds and no given test failed with this EL2; findings that were accepted are
    /// listed, not counted.
    pub holds: bool,
    /// What went in, by name relative to the configuration.
    pub inputs: Vec<File>,
    /// Programs that took part.
    pub tools: Vec<File>,
    /// What came out, beside this file and the report.
    pub outputs: Vec<File>,
    /// Tables and texts, in the order of the report.
    pub sections: Vec<Section>,
    /// Every rule with its result.
    pub rules: Vec<RuleResult>,
    /// Every claim of the verifier with its result.
    pub claims: Vec<ClaimResult>,
    /// Results of system tests, as they were given; those with another EL2 count for nothing.
    pub tests: Vec<TestResult>,
    /// Figures of the temporal analysis, as `bulkhead-compile` computes them.
    pub timing: serde_json::Value,
}

/// What an image is. Part number and image ID stand in the boot banner, the information pages, the Linux tool, the
/// verifier's report and this one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Identity {
    /// The system's part number.
    pub part_number: String,
    /// The image ID: SHA-256 over EL2, the sealed part and constant segments, which EL2 compares at boot.
    /// The digests of payloads are in the sealed part.
    pub image_id: String,
    /// SHA-256 of the image file.
    pub file_sha256: String,
    /// The board.
    pub board: String,
}

/// A file with its digest.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct File {
    /// Its name.
    pub name: String,
    /// SHA-256.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
}

/// A chapter of the report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Section {
    /// Anchor, stable.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What it shows and how to read it.
    pub text: String,
    /// Tables.
    pub tables: Vec<Table>,
    /// Names of its pictures.
    pub pictures: Vec<String>,
}

/// A table of texts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Table {
    /// What it lists.
    pub caption: String,
    /// Headings of columns.
    pub columns: Vec<String>,
    /// Rows, as many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and rows.
    #[must_use]
    pub fn new(caption: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        Table { caption: caption.to_owned(), columns, rows }
    }
}

/// A rule's result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RuleResult {
    /// The rule.
    pub id: &'static str,
    /// error, finding or warning.
    pub severity: &'static str,
    /// The mistake that it looks for.
    pub title: &'static str,
    /// holds (no such mistake was found), accepted, warned or fails.
    pub result: &'static str,
    /// What it found.
    pub findings: Vec<RuleFinding>,
}

/// One finding of a rule.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RuleFinding {
    /// The violation.
    pub message: String,
    /// `file:line:column` of the culprit.
    pub place: String,
    /// What was found, with values.
    pub found: String,
    /// The reason why it is accepted; empty if it is not.
    pub accepted: String,
}

/// A claim's result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClaimResult {
    /// The claim.
    pub id: String,
    /// What it claims.
    pub title: String,
    /// How it was examined.
    pub method: String,
    /// How much was examined.
    pub examined: String,
    /// Whether it holds.
    pub holds: bool,
    /// What stands against it.
    pub findings: Vec<String>,
}

/// Results of system tests, as `cargo xtask test` writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestResults {
    /// [`TESTS_SCHEMA`].
    pub schema: String,
    /// One for each case and version of the interrupt controller.
    pub results: Vec<TestResult>,
}

/// Version of [`TestResults`].
pub const TESTS_SCHEMA: &str = "bulkhead-tests-1";

/// What a system test gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestResult {
    /// Name of the case, a file of `tests/cases`.
    pub case: String,
    /// The machine it ran on.
    pub machine: String,
    /// SHA-256 of the EL2 executable that ran.
    pub el2_sha256: String,
    /// Whether it passed.
    pub passed: bool,
}
