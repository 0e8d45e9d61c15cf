//! System test cases as data: `tests/cases/*.toml`. Their form is described in `tests/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde::Deserialize;

use crate::failure::{Failure, Result};
use crate::files;

/// A test case, as its file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// Name: the file's, without its extension.
    #[serde(skip)]
    pub name: String,
    /// What the case shows, in one sentence.
    pub about: String,
    /// The configuration to boot, relative to the repository.
    pub configuration: Option<PathBuf>,
    /// A payload to boot bare at EL1 instead, relative to the payloads' directory.
    pub bare: Option<PathBuf>,
    /// Versions of the interrupt controller to run on.
    #[serde(default = "both_gics")]
    pub gic: Vec<u8>,
    /// Processor model; none: the usual one.
    pub cpu: Option<String>,
    /// Whether the Linux partition gets a network card, as `run --net` gives it.
    #[serde(default)]
    pub net: bool,
    /// Whether QEMU counts time in instructions, one to a nanosecond, so that runs repeat.
    #[serde(default)]
    pub icount: bool,
    /// Whether the board starts again when it is reset; otherwise a reset ends QEMU.
    #[serde(default)]
    pub reboot: bool,
    /// Boot what `flash` writes: kernel and device tree are taken out of the image of a card.
    #[serde(default)]
    pub card: bool,
    /// With `card`: the card of `flash --tf-a`, started by Trusted Firmware-A from EL3 on.
    #[serde(default)]
    pub trusted_firmware: bool,
    /// With `card`: the card also lies in the board's SD slot, as QEMU has it.
    #[serde(default)]
    pub sd: bool,
    /// Boot a copy of the image in which one bit of this part is flipped: the boot must stop.
    pub damage: Option<Damage>,
    /// Whether it takes long and runs only when it is asked for by its whole name.
    #[serde(default)]
    pub soak: bool,
    /// Safety net: how long the whole case may take, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// What must not appear on the serial line at any time.
    #[serde(default)]
    pub forbid: Vec<Pattern>,
    /// What to do, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// A part of an image that somebody changes after it was packed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Segments that nobody writes.
    Constants,
}

fn both_gics() -> Vec<u8> {
    vec![2, 3]
}

fn default_timeout() -> u64 {
    180
}

/// One step of a case.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all_fields = "kebab-case",
    untagged,
    expecting = "a step is one of wait, prompt, send, count, states, exit, with the fields of tests/README.md"
)]
pub enum Step {
    /// Wait for a line; with bounds, its first capture must be a number within them.
    Wait {
        /// What to wait for.
        wait: Pattern,
        /// Deadline in seconds.
        #[serde(default = "default_within")]
        within_s: f64,
        /// Look at the whole log instead, and stay at the place reached: for what partitions
        /// print side by side.
        #[serde(default)]
        anywhere: bool,
        /// Least value of the first capture.
        at_least: Option<f64>,
        /// Largest value of the first capture.
        at_most: Option<f64>,
        /// Whether the first capture must be the ID of the image that was booted.
        #[serde(default)]
        image_id: bool,
    },
    /// Wait for a line that may be unfinished.
    Prompt {
        /// What to wait for.
        prompt: Pattern,
        /// Deadline in seconds.
        #[serde(default = "default_within")]
        within_s: f64,
    },
    /// Send text to the serial line.
    Send {
        /// The text; `\u001d` is Ctrl-].
        send: String,
    },
    /// Count lines that match within a time.
    Count {
        /// What to count.
        count: Pattern,
        /// For how long, in seconds.
        during_s: f64,
        /// Least number.
        #[serde(default)]
        at_least: usize,
        /// Largest number.
        at_most: Option<usize>,
    },
    /// Ask the hypervisor for the states of the partitions named; repeated until they fit.
    States {
        /// State by partition.
        states: BTreeMap<String, String>,
        /// Deadline in seconds.
        #[serde(default = "default_within")]
        within_s: f64,
    },
    /// QEMU must end by itself.
    Exit {
        /// Always true.
        exit: True,
        /// Deadline in seconds.
        #[serde(default = "default_within")]
        within_s: f64,
    },
}

fn default_within() -> f64 {
    60.0
}

/// The value `true`: a step that is there but switched off would be a check that cannot fail.
#[derive(Debug, Deserialize)]
#[serde(try_from = "bool")]
pub struct True;

impl TryFrom<bool> for True {
    type Error = String;

    fn try_from(value: bool) -> std::result::Result<Self, String> {
        if value { Ok(True) } else { Err("write `true`, or leave the step out".into()) }
    }
}

/// A regular expression, compiled when the case is read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(pub Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Regex::new(&text).map(Pattern).map_err(|e| format!("`{text}` is no pattern: {e}"))
    }
}

/// Reads all cases whose name contains the filter.
pub fn read_all(root: &Path, filter: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files::list(&root.join("tests/cases"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_wanted = filter.is_none_or(|filter| name.contains(filter));
        if is_wanted && file.extension().is_some_and(|extension| extension == "toml") {
            let case = parse(&name, &files::read_text(&file)?);
            let case = case.map_err(|e| Failure::unusable(format!("{}: {e}", file.display())))?;
            if !case.soak || filter == Some(name.as_str()) {
                cases.push(case);
            }
        }
    }
    Ok(cases)
}

/// Reads one case and refuses what could never fail.
pub fn parse(name: &str, text: &str) -> std::result::Result<Case, String> {
    let mut case: Case = toml::from_str(text).map_err(|e| e.to_string())?;
    case.name = name.to_string();
    if case.configuration.is_some() == case.bare.is_some() {
        return Err("give either `configuration` or `bare`".into());
    }
    let checks = case.steps.iter().any(|step| !matches!(step, Step::Send { .. }));
    if !checks {
        return Err("no step checks anything".into());
    }
    for step in &case.steps {
        if let Step::Count { at_least: 0, at_most: None, .. } = step {
            return Err("a `count` without bounds cannot fail".into());
        }
    }
    if (case.trusted_firmware || case.sd) && !case.card {
        return Err("`trusted-firmware` and `sd` need `card`".into());
    }
    if case.gic.is_empty() || case.gic.iter().any(|version| ![2, 3].contains(version)) {
        return Err("`gic` may hold 2 and 3".into());
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
        about = "an example"
        configuration = "tests/configs/a.dts"
        gic = [3]
        forbid = ["panic"]
        [[step]]
        wait = 'jitter max=(\d+)'
        at-most = 1000
        [[step]]
        send = "\u001d1uptime\n"
        [[step]]
        count = "tick"
        during-s = 2.5
        at-least = 3
        [[step]]
        states = { linux = "running" }
        [[step]]
        exit = true
        within-s = 5
    "#;

    #[test]
    fn every_kind_of_step_is_read() {
        let case = parse("a", SAMPLE).unwrap();
        assert_eq!(case.timeout_s, 180);
        assert!(matches!(&case.steps[0], Step::Wait { at_most: Some(most), .. } if *most == 1000.0));
        assert!(matches!(&case.steps[1], Step::Send { send } if send.starts_with('\u{1d}')));
        assert!(matches!(&case.steps[2], Step::Count { at_least: 3, .. }));
        assert!(matches!(&case.steps[3], Step::States { states, .. } if states["linux"] == "running"));
        assert!(matches!(&case.steps[4], Step::Exit { within_s, .. } if *within_s == 5.0));
    }

    #[test]
    fn cases_that_cannot_fail_or_say_too_much_are_refused() {
        let refused = |text: &str| parse("a", text).unwrap_err();
        let head = "about = \"x\"\nbare = \"rtos.elf\"\n";
        assert!(refused(&format!("{head}[[step]]\nsend = \"x\"\n")).contains("checks anything"));
        let unbounded = format!("{head}[[step]]\ncount = \"x\"\nduring-s = 1\n");
        assert!(refused(&unbounded).contains("cannot fail"));
        let neither = "about = \"x\"\n[[step]]\nwait = \"x\"\n";
        assert!(refused(neither).contains("either"));
        assert!(refused(&SAMPLE.replace("panic", "(")).contains("no pattern"));
        assert!(parse("a", &SAMPLE.replace("exit = true", "exit = false")).is_err());
        assert!(parse("a", &SAMPLE.replace("about", "abuot")).is_err());
        assert!(refused(&SAMPLE.replace("[3]", "[4]")).contains("2 and 3"));
        assert!(refused(&SAMPLE.replace("gic =", "trusted-firmware = true\ngic =")).contains("need `card`"));
        assert!(refused(&SAMPLE.replace("gic =", "sd = true\ngic =")).contains("need `card`"));
    }
}
