//! The baseline: figures that a change of the source may move only on purpose.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::table::Row;
use crate::failure::{Failure, Result};
use crate::files;

/// Figures by `gicvN.ROW`: least, median, greatest; and what they were measured with.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Baseline {
    /// Versions of the compiler and of QEMU: others give other figures.
    pub tools: String,
    /// The figures.
    pub rows: BTreeMap<String, [u64; 3]>,
}

impl Baseline {
    /// Of what was measured.
    pub fn of(tools: String, results: &[(u8, Vec<Row>)]) -> Self {
        let mut rows = BTreeMap::new();
        for (gic, measured) in results {
            for row in measured {
                if let Some(ours) = row.spread() {
                    rows.insert(format!("gicv{gic}.{}", row.id), [ours.min, ours.median, ours.max]);
                }
            }
        }
        Self { tools, rows }
    }

    /// Where it stands in the repository; that of the rows that take long, or that of the others.
    pub fn path(root: &Path, long: bool) -> PathBuf {
        root.join(if long { "tests/bench-long.json" } else { "tests/bench.json" })
    }

    /// Reads the repository's.
    pub fn read(path: &Path) -> Result<Self> {
        let fix = "fix: write it with --bless, as docs/performance.md says";
        let text = files::read_text(path).map_err(|e| Failure::unusable(format!("{e}; {fix}")))?;
        serde_json::from_str(&text).map_err(|e| Failure::unusable(format!("{}: {e}; {fix}", path.display())))
    }

    /// Makes this the repository's.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = format!("{{\n  \"tools\": {:?},\n  \"rows\": {{\n", self.tools);
        for (n, (id, [min, median, max])) in self.rows.iter().enumerate() {
            let end = if n + 1 == self.rows.len() { "" } else { "," };
            let _ = writeln!(text, "    {id:?}: [{min}, {median}, {max}]{end}");
        }
        text.push_str("  }\n}\n");
        files::write(path, text.as_bytes())
    }

    /// The rows that differ from `expected`, one to a line; those that were not measured now are left
    /// out if their version of the interrupt controller was not, or if only a `part` was.
    pub fn differences(&self, expected: &Self, part: bool) -> Vec<String> {
        let version = |id: &str| id.split('.').next().unwrap_or_default().to_string();
        let measured: Vec<String> = self.rows.keys().map(|id| version(id)).collect();
        let mut ids: Vec<&String> = self.rows.keys().chain(expected.rows.keys()).collect();
        ids.sort();
        ids.dedup();
        let shown = |row: Option<&[u64; 3]>| match row {
            Some([min, median, max]) => format!("{min}/{median}/{max}"),
            None => "nothing".to_string(),
        };
        ids.into_iter()
            .filter(|id| measured.contains(&version(id)) && (!part || self.rows.contains_key(*id)))
            .filter_map(|id| {
                let (found, wanted) = (self.rows.get(id), expected.rows.get(id));
                (found != wanted)
                    .then(|| format!("{id:<36} found {}, baseline {}", shown(found), shown(wanted)))
            })
            .collect()
    }
}

/// By how much a figure of other tools may exceed the baseline's: a quarter, and this many.
const ALLOWANCE: u64 = 8;

impl Baseline {
    /// The rows whose median is far above that of `expected`, one to a line: for figures of other tools,
    /// which cannot be equal (decision 0023).
    pub fn excesses(&self, expected: &Self) -> Vec<String> {
        let far_above = |(id, [_, found, _]): (&String, &[u64; 3])| {
            let [_, wanted, _] = expected.rows.get(id)?;
            let most = wanted + wanted / 4 + ALLOWANCE;
            (*found > most).then(|| format!("{id:<36} median {found}, baseline {wanted}, at most {most}"))
        };
        self.rows.iter().filter_map(far_above).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::Histogram;

    fn with(figures: &[(&str, u64)]) -> Baseline {
        let rows = figures.iter().map(|&(id, figure)| Row {
            id: id.into(),
            title: String::new(),
            floor: None,
            peer: None,
            target: None,
            ours: Some(Histogram::one(figure)),
        });
        Baseline::of("t".into(), &[(3, rows.collect())])
    }

    #[test]
    fn every_difference_is_a_line() {
        let expected = with(&[("a", 1), ("b", 2), ("gone", 3)]);
        assert_eq!(expected.differences(&expected, false), Vec::<String>::new());
        let lines = with(&[("a", 1), ("b", 4), ("new", 5)]).differences(&expected, false);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].contains("gicv3.b") && lines[0].ends_with("found 4/4/4, baseline 2/2/2"),
            "{lines:?}"
        );
        assert!(lines[1].contains("gicv3.gone") && lines[1].contains("found nothing"), "{lines:?}");
        assert!(lines[2].contains("gicv3.new") && lines[2].ends_with("baseline nothing"), "{lines:?}");
    }

    #[test]
    fn a_version_that_was_not_measured_is_not_compared() {
        let mut expected = with(&[("a", 1)]);
        expected.rows.insert("gicv2.a".into(), [7, 7, 7]);
        assert_eq!(with(&[("a", 1)]).differences(&expected, false), Vec::<String>::new());
    }

    #[test]
    fn of_a_part_only_what_was_measured_is_compared() {
        let expected = with(&[("a", 1), ("b", 2)]);
        assert_eq!(with(&[("a", 1)]).differences(&expected, true), Vec::<String>::new());
        assert_eq!(with(&[("a", 2)]).differences(&expected, true).len(), 1);
    }

    #[test]
    fn of_other_tools_only_what_is_far_above_is_an_excess() {
        let expected = with(&[("a", 100), ("b", 4), ("c", 100)]);
        let lines = with(&[("a", 133), ("b", 13), ("c", 134), ("new", 9)]).excesses(&expected);
        assert_eq!(lines, ["gicv3.c                              median 134, baseline 100, at most 133"]);
    }

    #[test]
    fn what_is_written_is_read() {
        let root = std::env::temp_dir().join(format!("xtask-baseline-{}", std::process::id()));
        let baseline = with(&[("a", 1), ("b", 2)]);
        let path = Baseline::path(&root, true);
        baseline.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), baseline);
        assert!(Baseline::read(&Baseline::path(&root, false)).is_err());
        crate::files::remove_dir(&root).unwrap();
    }
}
