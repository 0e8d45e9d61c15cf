//! The software bill of materials: CycloneDX 1.5 in JSON, the same bytes for the same inputs.
//!
//! It lists what cargo resolves (with checksums and licences) and the Debian packages of the Linux
//! partition. The latter stand without a version: the set-up takes the newest of the suite, and
//! what it took stands in `packages.txt` beside the unpacked packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::files;
use crate::metadata::{self, Metadata, Package};

/// The command that brings the bill up to date.
const COMMAND: &str = "cargo xtask sbom";

/// Packages whose dependencies are part of the EL2 binary.
const EL2: &str = "bulkhead-hv";

/// Debian's packages that become part of the Linux partition, with their licences.
const DEBIAN: &[(&str, &str)] = &[
    ("busybox-static", "GPL-2.0-only"),
    ("libc6-dev-arm64-cross", "LGPL-2.1-or-later"),
    ("linux-image-cloud-arm64", "GPL-2.0-only WITH Linux-syscall-note"),
];

fn path(root: &Path) -> PathBuf {
    root.join("docs/sbom.cdx.json")
}

/// Writes the bill.
pub fn write(root: &Path) -> Result<()> {
    files::write(&path(root), text(root)?.as_bytes())
}

/// # Errors
/// When the bill in the repository is not what [`write`] would write.
pub fn check(root: &Path) -> Result<()> {
    files::is_current(&path(root), &text(root)?, COMMAND).map_err(Failure::failed)
}

fn text(root: &Path) -> Result<String> {
    let lock = files::read_text(&root.join("Cargo.lock"))?;
    let document = document(&metadata::read(root)?, &checksums(&lock)?);
    let text = serde_json::to_string_pretty(&document)
        .map_err(|e| Failure::unusable(format!("the bill cannot be written: {e}")))?;
    Ok(text + "\n")
}

/// Checksums of foreign packages by (name, version).
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table =
        lock.parse().map_err(|e| Failure::unusable(format!("Cargo.lock cannot be read: {e}")))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let field = |package: &toml::Value, name| Some(package.get(name)?.as_str()?.to_string());
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let name = field(package, "name")?;
            Some(((name, field(package, "version")?), field(package, "checksum")?))
        })
        .collect())
}

fn document(metadata: &Metadata, checksums: &BTreeMap<(String, String), String>) -> Value {
    let mut shipped = std::collections::BTreeSet::new();
    for member in metadata.members() {
        shipped.extend(metadata.closure(&member.id));
    }
    let in_el2 = metadata
        .members()
        .find(|member| member.name == EL2)
        .map(|member| metadata.closure(&member.id))
        .unwrap_or_default();
    let mut packages: Vec<&Package> = shipped.iter().filter_map(|id| metadata.packages.get(id)).collect();
    packages.sort_by_key(|package| (&package.name, &package.version));
    let mut components: Vec<Value> = packages
        .iter()
        .map(|package| {
            let key = (package.name.clone(), package.version.clone());
            component(package, checksums.get(&key), in_el2.contains(&package.id))
        })
        .collect();
    components.extend(DEBIAN.iter().map(|(name, licence)| debian_component(name, licence)));
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| {
            let mut used: Vec<String> = metadata.uses[&package.id]
                .iter()
                .filter_map(|id| metadata.packages.get(id))
                .map(reference)
                .collect();
            used.sort();
            json!({ "ref": reference(package), "dependsOn": used })
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": { "type": "firmware", "bom-ref": "bulkhead", "name": "bulkhead" }
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(package: &Package, checksum: Option<&String>, in_el2: bool) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "purl": reference(package),
        "properties": [{ "name": "bulkhead:el2", "value": in_el2.to_string() }],
    });
    if let Some(licence) = &package.license {
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn debian_component(name: &str, licence: &str) -> Value {
    let reference = format!("pkg:deb/debian/{name}?arch=arm64&distro=bookworm");
    json!({
        "type": "operating-system",
        "bom-ref": reference,
        "name": name,
        "purl": reference,
        "licenses": [{ "expression": licence }],
    })
}

fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_carry_checksum_licence_and_place() {
        let lock = "[[package]]\nname = \"zerocopy\"\nversion = \"0.8.1\"\nchecksum = \"abc\"\n";
        let document = document(&metadata::tests::sample(), &checksums(lock).unwrap());
        let components = document["components"].as_array().unwrap();
        let zerocopy = components.iter().find(|c| c["name"] == "zerocopy").unwrap();
        assert_eq!(zerocopy["hashes"][0]["content"], "abc");
        assert_eq!(zerocopy["licenses"][0]["expression"], "MIT");
        assert_eq!(zerocopy["properties"][0]["value"], "false");
        assert!(components.iter().any(|c| c["name"] == "busybox-static"));
        let names: Vec<&str> = components.iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names[..3], ["bulkhead-arch", "bulkhead-core", "zerocopy"]);
        assert_eq!(document["dependencies"][0]["dependsOn"][0], "pkg:cargo/bulkhead-core@0.1.0");
    }
}
