//! The dependency arrows of the architecture: who may use whom.

use crate::failure::Result;
use crate::metadata::{self, Metadata};
use std::path::Path;

/// Every package of ours and the packages of ours that it may use. A new arrow is a decision: it
/// belongs into `docs/adr/` first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bulkhead-abi", &[]),
    ("bulkhead-blueprint", &["bulkhead-abi"]),
    ("bulkhead-core", &["bulkhead-abi", "bulkhead-blueprint"]),
    ("bulkhead-vgic", &["bulkhead-abi", "bulkhead-blueprint"]),
    ("bulkhead-arch", &["bulkhead-abi", "bulkhead-blueprint", "bulkhead-core", "bulkhead-vgic"]),
    (
        "bulkhead-hv",
        &["bulkhead-abi", "bulkhead-arch", "bulkhead-blueprint", "bulkhead-core", "bulkhead-vgic"],
    ),
    ("bulkhead-ports", &["bulkhead-abi"]),
    ("bulkhead-sdk", &["bulkhead-abi", "bulkhead-ports"]),
    ("rtos", &["bulkhead-sdk"]),
    ("monitor", &["bulkhead-sdk"]),
    ("avionics", &["bulkhead-sdk"]),
    ("loader", &["bulkhead-abi"]),
    ("probes", &["bulkhead-abi", "bulkhead-ports", "bulkhead-sdk"]),
    ("bulkhead-compile", &["bulkhead-abi", "bulkhead-blueprint", "bulkhead-core"]),
    ("bulkhead-verify", &["bulkhead-abi", "bulkhead-blueprint"]),
    ("bulkhead-trace", &["bulkhead-abi", "bulkhead-blueprint", "bulkhead-core"]),
    ("bulkhead-evidence", &["bulkhead-compile", "bulkhead-verify"]),
    ("bulkhead-card", &[]),
    (
        "bulkhead",
        &["bulkhead-card", "bulkhead-compile", "bulkhead-trace", "bulkhead-evidence", "bulkhead-verify"],
    ),
    (
        "xtask",
        &[
            "bulkhead-abi",
            "bulkhead-card",
            "bulkhead-compile",
            "bulkhead-evidence",
            "bulkhead-trace",
            "bulkhead-verify",
        ],
    ),
];

/// The binaries that run on the board, by package.
pub const BARE_METAL_BINARIES: &[&str] = &["bulkhead-hv", "loader", "rtos", "monitor", "avionics", "probes"];

/// The packages that build for the board only.
pub const BARE_METAL_PACKAGES: &[&str] =
    &["bulkhead-hv", "bulkhead-arch", "bulkhead-sdk", "loader", "rtos", "monitor", "avionics", "probes"];

/// Arrows that nobody decided on.
pub fn check(root: &Path) -> Result<Vec<String>> {
    Ok(forbidden(&metadata::read(root)?))
}

fn forbidden(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for member in metadata.members() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member.name) else {
            found.push(format!(
                "package {} is in no row of the table of arrows (scripts/xtask/src/lint/arrows.rs)",
                member.name
            ));
            continue;
        };
        let used = metadata.uses[&member.id].iter().filter_map(|id| metadata.packages.get(id));
        for package in used.filter(|package| package.source.is_none()) {
            if !allowed.contains(&package.name.as_str()) {
                found.push(format!(
                    "{} uses {}, which the architecture does not allow; it may use: {}",
                    member.name,
                    package.name,
                    if allowed.is_empty() { "nothing of ours".into() } else { allowed.join(", ") }
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_against_the_architecture_is_named_with_both_ends() {
        let against = metadata::tests::SAMPLE.replace(r#"[{"kind": "dev"}]"#, r#"[{"kind": null}]"#);
        assert!(forbidden(&metadata::tests::sample()).is_empty());
        let found = forbidden(&metadata::parse(&against).unwrap());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("bulkhead-core uses bulkhead-arch"), "{}", found[0]);
    }

    #[test]
    fn arrows_have_no_cycle() {
        for (name, _) in ALLOWED {
            let mut pending = vec![*name];
            let mut steps = 0;
            while let Some(next) = pending.pop() {
                let (_, uses) = ALLOWED.iter().find(|(name, _)| *name == next).unwrap();
                assert!(!uses.contains(name), "{name} reaches itself");
                pending.extend(*uses);
                steps += 1;
                assert!(steps < 1000, "{name} reaches a cycle");
            }
        }
    }
}
