//! What cargo knows about the workspace: packages and who depends on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::failure::{Failure, Result};
use crate::paths::BARE_METAL;
use crate::process;
use crate::setup::toolchain::host_cargo;

/// The host whose dependencies are listed, so that the list is the same on every host.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// A package, ours or foreign.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// cargo's identifier of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression of its licence.
    pub license: Option<String>,
    /// Where it comes from; none for members of the workspace.
    pub source: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// The packages of the workspace and all that they use outside of tests.
pub struct Metadata {
    /// Every package, by identifier.
    pub packages: BTreeMap<String, Package>,
    /// Identifiers of what each uses, test dependencies left out.
    pub uses: BTreeMap<String, BTreeSet<String>>,
}

/// Asks cargo.
pub fn read(root: &Path) -> Result<Metadata> {
    let mut command = Command::new(host_cargo());
    command.current_dir(root).args(["metadata", "--format-version", "1"]);
    for platform in [HOST, BARE_METAL] {
        command.args(["--filter-platform", platform]);
    }
    parse(&process::capture(&mut command)?)
}

/// Reads the document that `cargo metadata` prints.
pub fn parse(text: &str) -> Result<Metadata> {
    let document: Document = serde_json::from_str(text)
        .map_err(|e| Failure::unusable(format!("cargo's metadata cannot be read: {e}")))?;
    let packages = document.packages.into_iter().map(|p| (p.id.clone(), p)).collect();
    let is_shipped = |d: &Dependency| d.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev"));
    let uses = document
        .resolve
        .nodes
        .into_iter()
        .map(|node| {
            let used = node.deps.into_iter().filter(is_shipped).map(|d| d.pkg).collect();
            (node.id, used)
        })
        .collect();
    Ok(Metadata { packages, uses })
}

impl Metadata {
    /// The members of the workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.source.is_none())
    }

    /// Identifiers of everything that a package uses, itself included.
    pub fn closure(&self, id: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut pending = vec![id.to_string()];
        while let Some(next) = pending.pop() {
            if let Some(used) = self.uses.get(&next) {
                pending.extend(used.iter().filter(|id| !found.contains(*id)).cloned());
            }
            found.insert(next);
        }
        found
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A workspace of two members and one foreign package; `b` is used by tests only.
    pub const SAMPLE: &str = r#"{
        "packages": [
            {"id": "a", "name": "bulkhead-core", "version": "0.1.0", "license": null, "source": null},
            {"id": "b", "name": "bulkhead-arch", "version": "0.1.0", "license": null, "source": null},
            {"id": "c", "name": "zerocopy", "version": "0.8.1", "license": "MIT", "source": "registry"}
        ],
        "resolve": {"nodes": [
            {"id": "a", "deps": [
                {"pkg": "b", "dep_kinds": [{"kind": "dev"}]},
                {"pkg": "c", "dep_kinds": [{"kind": "dev"}, {"kind": null}]}
            ]},
            {"id": "b", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}]},
            {"id": "c", "deps": []}
        ]}
    }"#;

    /// [`SAMPLE`], read.
    pub fn sample() -> Metadata {
        parse(SAMPLE).unwrap()
    }

    #[test]
    fn test_dependencies_are_left_out() {
        let metadata = sample();
        assert_eq!(metadata.uses["a"], BTreeSet::from(["c".to_string()]));
        assert_eq!(metadata.members().count(), 2);
    }

    #[test]
    fn closure_follows_uses() {
        let closure = sample().closure("b");
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
