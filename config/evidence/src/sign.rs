//! Signs a pack with Ed25519 (RFC 8032) and checks it: signature, digests, and the image once more.

use crate::certify::{EVIDENCE, IMAGE, REPORT, SUMS};
use crate::sha256;
use bulkhead_verify::{Image, Report};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::collections::BTreeSet;
use std::path::Path;

/// Name of the signature: 64 bytes over `SHA256SUMS`.
pub const SIGNATURE: &str = "SHA256SUMS.sig";

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Signs the list of digests with the private key in a PEM file (PKCS#8, as `openssl genpkey -algorithm ed25519`
/// writes it).
///
/// # Errors
/// The key or the list cannot be read, or the signature cannot be written.
pub fn sign(pack: &Path, key: &Path) -> Result<(), String> {
    let pem = String::from_utf8(read(key)?).map_err(|_| format!("{} is no PEM file", key.display()))?;
    let signing = SigningKey::from_pkcs8_pem(&pem)
        .map_err(|e| format!("{} is no Ed25519 private key in PKCS#8: {e}", key.display()))?;
    let signature = signing.sign(&read(&pack.join(SUMS))?).to_bytes();
    let path = pack.join(SIGNATURE);
    std::fs::write(&path, signature).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Checks a pack: the signature by the public key (PEM), where one is given; every digest; no file that is not
/// listed; every claim about the image, anew. Gives what is wrong, nothing if all is well.
///
/// # Errors
/// The pack or the key cannot be read.
pub fn verify(pack: &Path, key: Option<&Path>) -> Result<Vec<String>, String> {
    let sums = read(&pack.join(SUMS))?;
    let mut wrong = Vec::new();
    if let Some(key) = key {
        wrong.extend(signature(pack, key, &sums)?);
    }
    let text = String::from_utf8_lossy(&sums);
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        let Some((digest, name)) = line.split_once("  ").filter(|(_, n)| !n.contains(['/', '\\'])) else {
            wrong.push(format!("{SUMS}: a line that is no digest and name: {line}"));
            continue;
        };
        if !listed.insert(name.to_owned()) {
            wrong.push(format!("{SUMS}: {name} is listed twice"));
        }
        wrong.extend(digests_differ(pack, name, digest));
    }
    for name in [IMAGE, EVIDENCE, REPORT] {
        if !listed.contains(name) {
            wrong.push(format!("{SUMS} does not list {name}"));
        }
    }
    let entries = std::fs::read_dir(pack).map_err(|e| format!("cannot read {}: {e}", pack.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("cannot read {}: {e}", pack.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !listed.contains(&name) && ![SUMS, SIGNATURE].contains(&name.as_str()) {
            wrong.push(format!("{name}: not listed in {SUMS}"));
        }
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            wrong.push(format!("{name}: no plain file; what it leads to is not the pack's"));
        }
    }
    match Image::read(&pack.join(IMAGE)).and_then(|image| bulkhead_verify::verify(&image)) {
        Ok(report) => {
            wrong.extend(report.findings().map(|f| format!("{IMAGE}: {} {}", f.claim, f.message)));
            wrong.extend(other_image(pack, &report));
        }
        Err(e) => wrong.push(format!("{IMAGE}: {e}")),
    }
    Ok(wrong)
}

/// Whether a file is the one that the list means.
fn digests_differ(pack: &Path, name: &str, digest: &str) -> Option<String> {
    match std::fs::read(pack.join(name)) {
        Ok(bytes) if sha256(&bytes) == digest => None,
        Ok(bytes) => Some(format!("{name}: found digest {}, expected {digest}", sha256(&bytes))),
        Err(e) => Some(format!("{name}: {e}")),
    }
}

/// Whether the evidence speaks of another image than the one beside it: a list of digests that somebody wrote anew does
/// not help that.
fn other_image(pack: &Path, report: &Report) -> Option<String> {
    let bytes = std::fs::read(pack.join(EVIDENCE)).ok()?;
    let evidence: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(evidence) => evidence,
        Err(e) => return Some(format!("{EVIDENCE}: no JSON: {e}")),
    };
    let said = ["part_number", "image_id", "file_sha256"]
        .map(|key| evidence["image"][key].as_str().unwrap_or("nothing"));
    let image = &report.image;
    let found = [&image.part_number, &image.image_id, &image.file_sha256];
    let differs = said.iter().zip(found).find(|(said, found)| **said != found.as_str());
    differs.map(|(said, found)| format!("{EVIDENCE}: speaks of {said}, {IMAGE} is {found}"))
}

fn signature(pack: &Path, key: &Path, sums: &[u8]) -> Result<Option<String>, String> {
    let pem = String::from_utf8(read(key)?).map_err(|_| format!("{} is no PEM file", key.display()))?;
    let public = VerifyingKey::from_public_key_pem(&pem)
        .map_err(|e| format!("{} is no Ed25519 public key: {e}", key.display()))?;
    let Ok(bytes) = std::fs::read(pack.join(SIGNATURE)) else {
        return Ok(Some(format!("{SIGNATURE} is missing: the pack is not signed")));
    };
    let good = Signature::from_slice(&bytes).is_ok_and(|s| public.verify_strict(sums, &s).is_ok());
    Ok((!good).then(|| format!("{SIGNATURE}: not a signature of {SUMS} by this key")))
}
