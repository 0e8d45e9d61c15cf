//! The rules: each in one place with its text, severity and code.
//!
//! A rule is a `static` [`Rule`] in the file of its family, made with [`rule!`]; [`RULES`] lists them all. To add one:
//! write it there, list it here, and add `config/bad/ID.dts` with the message it should give (a test insists).

pub mod acceptance;
pub mod authority;
pub mod closure;
pub mod cpu;
pub mod device;
pub mod device_use;
pub mod direct;
pub mod dma_offset;
pub mod health;
pub mod health_shape;
pub mod image;
pub mod interrupt;
pub mod language;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod memory;
pub mod memory_use;
pub mod naming;
pub mod payload;
pub mod plan;
pub mod plan_shape;
pub mod port;
pub mod port_shape;
pub mod temporal;
pub mod temporal_port;
pub mod transient;
pub mod user_tree;

use crate::diag::{Finding, Severity};
use crate::model::System;
use layout::Layout;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Stable identity, never reused: family and number.
    pub id: &'static str,
    /// What a violation does to the image.
    pub severity: Severity,
    /// What must hold, or what is found when it does not, in one line.
    pub title: &'static str,
    /// Why, with the standard or the experience it serves.
    pub why: &'static str,
    /// A fragment that breaks it.
    pub example: &'static str,
    /// How to mend it in general.
    pub fix: &'static str,
    /// Where it is decided.
    pub check: Check,
}

/// Where a rule is decided.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// While the source is read.
    Reader,
    /// On the model.
    System(fn(&System, &mut Vec<Finding>)),
    /// On the model and on where things lie: with the addresses that the configuration fixes, and again by the back
    /// end with those that it chose.
    Layout(fn(&System, &Layout, &mut Vec<Finding>)),
    /// On the files that go into the image.
    Payloads(fn(&System, &mut Vec<Finding>)),
    /// On what partitions start with; only where no error stands, since it needs sound addresses and files.
    Placement(fn(&System, &mut Vec<Finding>)),
    /// By the back end, when sizes and addresses are known.
    Packing,
    /// On the acceptances, after everything else.
    Acceptances,
}

/// Declares a rule.
macro_rules! rule {
    ($name:ident, $id:literal, $severity:ident, $check:expr, $title:literal,
     why: $why:literal, example: $example:literal, fix: $fix:literal) => {
        #[doc = concat!($id, ": ", $title)]
        pub static $name: $crate::rules::Rule = $crate::rules::Rule {
            id: $id,
            severity: $crate::diag::Severity::$severity,
            title: $title,
            why: $why,
            example: $example,
            fix: $fix,
            check: $check,
        };
    };
}
use rule;

/// Every rule, by family.
pub static RULES: &[&Rule] = &[
    &language::LNG_001,
    &language::LNG_002,
    &language::LNG_003,
    &language::LNG_004,
    &language::LNG_005,
    &language::LNG_006,
    &language::LNG_007,
    &language::LNG_008,
    &language::LNG_009,
    &language::LNG_010,
    &language::LNG_011,
    &naming::NAM_001,
    &naming::NAM_002,
    &naming::NAM_003,
    &naming::NAM_004,
    &memory::MEM_001,
    &memory::MEM_002,
    &memory::MEM_003,
    &memory::MEM_004,
    &memory::MEM_005,
    &memory::MEM_006,
    &memory::MEM_007,
    &memory::MEM_008,
    &memory::MEM_009,
    &memory_use::MEM_010,
    &memory_use::MEM_011,
    &memory_use::MEM_012,
    &memory_use::MEM_013,
    &cpu::CPU_001,
    &cpu::CPU_002,
    &cpu::CPU_003,
    &cpu::CPU_004,
    &cpu::CPU_005,
    &cpu::CPU_006,
    &cpu::CPU_007,
    &interrupt::IRQ_001,
    &interrupt::IRQ_002,
    &interrupt::IRQ_003,
    &interrupt::IRQ_004,
    &interrupt::IRQ_005,
    &interrupt::IRQ_006,
    &interrupt::IRQ_007,
    &interrupt::IRQ_008,
    &direct::IRQ_009,
    &direct::IRQ_010,
    &direct::IRQ_011,
    &direct::IRQ_012,
    &device::DEV_001,
    &device::DEV_002,
    &device::DEV_003,
    &device::DEV_004,
    &device::DEV_005,
    &device_use::DEV_006,
    &device_use::DEV_007,
    &device_use::DEV_008,
    &device_use::DEV_009,
    &device_use::DEV_010,
    &device::DMA_001,
    &device::DMA_002,
    &device::DMA_003,
    &device_use::DMA_004,
    &device_use::DMA_005,
    &dma_offset::DMA_006,
    &closure::CLO_001,
    &closure::CLO_002,
    &user_tree::CLO_003,
    &user_tree::CLO_004,
    &closure::CLO_005,
    &user_tree::CLO_006,
    &closure::CLO_007,
    &closure::CLO_008,
    &closure::CLO_009,
    &plan::PLN_001,
    &plan::PLN_002,
    &plan::PLN_003,
    &plan::PLN_004,
    &plan::PLN_005,
    &plan::PLN_006,
    &plan::PLN_007,
    &plan_shape::PLN_008,
    &plan_shape::PLN_009,
    &plan_shape::PLN_010,
    &plan_shape::PLN_011,
    &plan_shape::PLN_012,
    &plan::PLN_013,
    &plan_shape::PLN_014,
    &temporal::TMP_001,
    &temporal::TMP_002,
    &temporal::TMP_003,
    &temporal_port::TMP_004,
    &temporal_port::TMP_005,
    &temporal::TMP_006,
    &transient::TMP_007,
    &transient::TMP_008,
    &transient::TMP_009,
    &temporal::TMP_010,
    &temporal::TMP_011,
    &temporal_port::TMP_012,
    &port::PRT_001,
    &port::PRT_002,
    &manifest::PRT_003,
    &port::PRT_004,
    &port_shape::PRT_005,
    &port_shape::PRT_006,
    &port_shape::PRT_007,
    &port_shape::PRT_008,
    &health::HLT_001,
    &health::HLT_002,
    &health::HLT_003,
    &health::HLT_004,
    &health_shape::HLT_005,
    &health_shape::HLT_006,
    &health_shape::HLT_007,
    &health_shape::HLT_008,
    &health_shape::HLT_009,
    &health_shape::HLT_010,
    &health_shape::HLT_011,
    &health_shape::HLT_012,
    &health::AUT_001,
    &authority::AUT_002,
    &authority::AUT_003,
    &authority::AUT_004,
    &authority::AUT_005,
    &image::IMG_001,
    &image::IMG_002,
    &image::IMG_003,
    &image::IMG_004,
    &payload::IMG_005,
    &payload::IMG_006,
    &payload::IMG_007,
    &payload::IMG_008,
    &limits::LIM_001,
    &limits::LIM_002,
    &limits::LIM_004,
    &limits::LIM_005,
    &acceptance::ACC_001,
    &acceptance::ACC_002,
    &acceptance::ACC_003,
];

/// The rule called `id`.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|r| r.id == id)
}

/// Every violation of a rule on the model, with the addresses that the configuration fixes.
pub fn judge(system: &System, payloads: bool) -> Vec<Finding> {
    let layout = Layout::fixed(system);
    let mut out = Vec::new();
    for rule in RULES {
        match rule.check {
            Check::System(check) => check(system, &mut out),
            Check::Layout(check) => check(system, &layout, &mut out),
            Check::Payloads(check) if payloads => check(system, &mut out),
            Check::Payloads(_)
            | Check::Placement(_)
            | Check::Reader
            | Check::Packing
            | Check::Acceptances => {}
        }
    }
    out
}

/// Every violation of a rule on what partitions start with.
pub fn judge_placement(system: &System) -> Vec<Finding> {
    let mut out = Vec::new();
    for rule in RULES {
        if let Check::Placement(check) = rule.check {
            check(system, &mut out);
        }
    }
    out
}

/// Every violation of a rule on where things lie, for a layout that the back end chose.
pub fn judge_layout(system: &System, layout: &Layout) -> Vec<Finding> {
    let mut out = Vec::new();
    for rule in RULES {
        if let Check::Layout(check) = rule.check {
            check(system, layout, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_unique_sorted_within_their_family_and_every_text_is_there() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in RULES {
            assert!(seen.insert(rule.id), "{} twice", rule.id);
            let texts = [rule.title, rule.why, rule.example, rule.fix];
            assert!(texts.iter().all(|t| t.len() > 8), "{} lacks a text", rule.id);
            let (family, number) = rule.id.split_once('-').unwrap();
            assert!(family.len() == 3 && number.len() == 3 && number.parse::<u16>().is_ok(), "{}", rule.id);
        }
        for pair in RULES.windows(2).filter(|p| p[0].id[..3] == p[1].id[..3]) {
            assert!(pair[0].id < pair[1].id, "{} before {}", pair[0].id, pair[1].id);
        }
    }
}
