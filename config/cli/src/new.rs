//! `bulkhead new`: a commented configuration to start from.

use crate::{CLEAN, UNUSABLE};
use bulkhead_compile::board::{BUILTIN_BOARDS, BoardFacts, parse_facts};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `new`.
#[derive(Args)]
pub struct Arguments {
    /// The file to write; one that exists is left alone.
    file: PathBuf,
    /// The board it is for.
    #[arg(long, default_value = "qemu-virt")]
    board: String,
}

const TEMPLATE: &str = include_str!("new.dts");

/// Writes the configuration, or says why it cannot.
pub fn run(arguments: &Arguments) -> u8 {
    let boards: Vec<BoardFacts> = BUILTIN_BOARDS.iter().filter_map(|text| parse_facts(text).ok()).collect();
    let names: Vec<&str> = boards.iter().map(|b| b.name.as_str()).collect();
    if !names.contains(&arguments.board.as_str()) {
        eprintln!("error: there is no board {}\nfix: use one of {}", arguments.board, names.join(", "));
        return UNUSABLE;
    }
    let text =
        TEMPLATE.replace("@BOARD@", &arguments.board).replace("@FILE@", &arguments.file.to_string_lossy());
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&arguments.file);
    if let Err(reason) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        let file = arguments.file.display();
        eprintln!(
            "error: cannot write {file}: {reason}\nfix: give the path of a new file in a directory that exists"
        );
        return UNUSABLE;
    }
    println!("wrote {}; next: bulkhead check {0} --without-payloads", arguments.file.display());
    CLEAN
}
