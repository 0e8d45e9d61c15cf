//! What system tests gave, for evidence packs: `results.json` beside the products, one entry for each case and machine.

use crate::failure::{Failure, Result};
use crate::files;
use crate::paths::Paths;
use bulkhead_evidence::model::{TESTS_SCHEMA, TestResult, TestResults};
use std::path::PathBuf;

/// Where the results lie.
#[must_use]
pub fn file(paths: &Paths) -> PathBuf {
    paths.products().join("results.json")
}

/// Adds results to the file; those of the same case and machine give way.
///
/// # Errors
/// The file cannot be read or written.
pub fn add(paths: &Paths, new: Vec<TestResult>) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let path = file(paths);
    let old = if path.exists() { files::read(&path)? } else { Vec::new() };
    // Another version's file, or a damaged one, has nothing to say.
    let old: TestResults = serde_json::from_slice(&old).unwrap_or_default();
    let all = TestResults { schema: TESTS_SCHEMA.to_owned(), results: merged(old.results, new) };
    let text = serde_json::to_string_pretty(&all).map_err(|e| Failure::failed(e.to_string()))?;
    files::write(&path, (text + "\n").as_bytes())
}

fn merged(old: Vec<TestResult>, new: Vec<TestResult>) -> Vec<TestResult> {
    let again = |o: &TestResult| new.iter().any(|n| (&n.case, &n.machine) == (&o.case, &o.machine));
    let mut all: Vec<TestResult> = old.into_iter().filter(|o| !again(o)).collect();
    all.extend(new);
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_result_takes_the_place_of_the_old_one_of_its_case_and_machine() {
        let result = |case: &str, machine: &str, passed| TestResult {
            case: case.to_owned(),
            machine: machine.to_owned(),
            el2_sha256: String::new(),
            passed,
        };
        let old = vec![result("b", "GICv3", false), result("b", "GICv2", true)];
        let all = merged(old, vec![result("b", "GICv3", true), result("a", "GICv3", true)]);
        let expected = [result("a", "GICv3", true), result("b", "GICv2", true), result("b", "GICv3", true)];
        assert_eq!(all, expected);
    }
}
