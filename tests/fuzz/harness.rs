//! One function for each reader of foreign bytes: run by cargo-fuzz (`fuzz_targets/`) without end, and by
//! `config/verify/tests/fuzz.rs` a bounded number of times on stable Rust. None panics, whatever the bytes; none keeps
//! more than its input justifies.

use bulkhead_blueprint::Blueprint;
use bulkhead_compile::check_blob;
use bulkhead_compile::read::SearchPath;
use bulkhead_verify::against::tree as verifier_tree;
use bulkhead_verify::claims::FINDINGS_MAX;
use bulkhead_verify::{Image, verify};

/// The device-tree reader of the compiler with everything behind it (model, rules, messages), and the verifier's own.
pub fn tree(bytes: &[u8]) {
    let checked = check_blob(bytes, "fuzz.dtb", &SearchPath::default(), false);
    let shown = checked.render(false);
    assert!(checked.findings.is_empty() || shown.contains("fix:"), "a finding without a fix");
    // Whether it is a tree at all is for each reader to say: they share no code.
    let _ = verifier_tree::parse(bytes);
}

/// The blueprint's bounds check, which EL2 runs at boot, and its reader for the verifier.
pub fn blueprint(bytes: &[u8]) {
    let image = Image::from_bytes(bytes);
    if let Ok(blueprint) = Blueprint::parse(image.bytes()) {
        let reaches = blueprint.reaches(image.bytes()).map_or(0, <[_]>::len);
        assert!(reaches <= bytes.len() && blueprint.windows.len() <= bytes.len());
    }
}

/// The verifier of images: an answer for whatever is called an image.
pub fn image(bytes: &[u8]) {
    if let Ok(report) = verify(&Image::from_bytes(bytes)) {
        assert!(report.outcomes().all(|outcome| outcome.findings.len() <= FINDINGS_MAX));
        assert!(!report.to_text().is_empty());
    }
}
