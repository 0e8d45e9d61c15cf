//! Packs of examples, made in a workshop of small binaries.

// Each test binary uses its part of this module.
#![allow(dead_code)]

use crate::common::{Workshop, payload_elf};
use bulkhead_compile::board::BUILTIN_FILES;
use bulkhead_evidence::model::{Evidence, Table};
use bulkhead_evidence::{Request, certify};
use bulkhead_verify::against::tree;
use std::path::PathBuf;

pub fn request(shop: &Workshop, config: PathBuf, name: &str) -> Request {
    for (file, content) in BUILTIN_FILES {
        shop.put(&format!("boards/board/{file}"), content.as_bytes());
    }
    let blob = tree::compile(&config, &[&shop.path("boards")]).unwrap_or_else(|e| panic!("{e}"));
    Request {
        config,
        blob,
        hypervisor: shop.path("hv.elf"),
        loader: shop.path("loader.elf"),
        payloads: vec![shop.path("")],
        tests: None,
        tools: Vec::new(),
        output: shop.path(name),
    }
}

pub fn make(shop: &Workshop, config: PathBuf, name: &str) -> (Evidence, PathBuf) {
    let request = request(shop, config, name);
    (certify(&request).unwrap_or_else(|e| panic!("{e}")), request.output)
}

pub fn demo(shop: &Workshop, name: &str) -> (Evidence, PathBuf) {
    make(shop, std::fs::canonicalize("../examples/demo.dts").expect("the demo"), name)
}

/// A pack of avionics.dts with replacements, of which each must meet something.
pub fn avionics(shop: &Workshop, replacements: &[(&str, &str)]) -> Evidence {
    let mut text = std::fs::read_to_string("../examples/avionics.dts").expect("the example");
    for (from, to) in replacements {
        assert!(text.contains(from), "nothing to replace: {from}");
        text = text.replacen(from, to, 1);
    }
    shop.put("avionics.elf", &payload_elf(0x4020_0000));
    shop.put("avionics.dts", text.as_bytes());
    make(shop, shop.path("avionics.dts"), "pack").0
}

/// A table of a chapter.
pub fn table<'a>(evidence: &'a Evidence, chapter: &str, caption: &str) -> &'a Table {
    let section = evidence.sections.iter().find(|s| s.id == chapter).expect(chapter);
    section.tables.iter().find(|t| t.caption == caption).expect(caption)
}

/// The row of a table that begins with these cells.
pub fn row<'a>(table: &'a Table, start: &[&str]) -> &'a [String] {
    let found = table.rows.iter().find(|r| r.iter().zip(start).all(|(cell, wanted)| cell == wanted));
    found.unwrap_or_else(|| panic!("no row {start:?} in {:#?}", table.rows))
}
