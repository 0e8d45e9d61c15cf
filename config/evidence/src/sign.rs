//! Signs a pack with Ed25519 (RFC 8032) and checks it: signature, digests, and the image once more.

use crate::certify::{IMAGE, SUMS};
use crate::sha256;
use bulkhead_verify::Image;
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
    let mut listed: BTreeSet<String> = [SUMS, SIGNATURE].map(str::to_owned).into();
    for line in text.lines() {
        let Some((digest, name)) = line.split_once("  ").filter(|(_, n)| !n.contains(['/', '\\'])) else {
            wrong.push(format!("{SUMS}: a line that is no digest and name: {line}"));
            continue;
        };
        listed.insert(name.to_owned());
        match std::fs::read(pack.join(name)) {
            Ok(bytes) if sha256(&bytes) == digest => {}
            Ok(bytes) => wrong.push(format!("{name}: found digest {}, expected {digest}", sha256(&bytes))),
            Err(e) => wrong.push(format!("{name}: {e}")),
        }
    }
    if !listed.contains(IMAGE) {
        wrong.push(format!("{SUMS} does not list {IMAGE}"));
    }
    let entries = std::fs::read_dir(pack).map_err(|e| format!("cannot read {}: {e}", pack.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !listed.contains(&name) {
            wrong.push(format!("{name}: not listed in {SUMS}"));
        }
    }
    match Image::read(&pack.join(IMAGE)).and_then(|image| bulkhead_verify::verify(&image)) {
        Ok(report) => wrong.extend(report.findings().map(|f| format!("{IMAGE}: {} {}", f.claim, f.message))),
        Err(e) => wrong.push(format!("{IMAGE}: {e}")),
    }
    Ok(wrong)
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
