//! EL2's stacks are deep enough: looked up in the shipped binary itself.
//!
//! The frame of a function is what its instructions take off the stack pointer; its callees are the targets of its
//! branches (Arm ARM C4.1). The deepest chain from any way into EL2 and the frame that the vectors store must fit
//! into a stack. A cycle of calls fails, and so does an indirect call that [`INDIRECT`] does not know, or an
//! address of a function that none of those calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::elf::Elf;
use crate::failure::{Failure, Result};
use crate::files;

/// The guard below each stack.
const GUARD_BYTES: u64 = 4096;
/// What the assembler and C call: ways into EL2's Rust.
const ENTRY: &str = "bulkhead_";
/// Labels of the assembler that Rust leaves to for good; they begin a stack anew or need none.
const EXITS: [&str; 2] = ["bulkhead_enter", "bulkhead_blink"];
/// Parts of the mangled names of who calls a closure or function that it is given, and of what it is given.
const INDIRECT: [(&str, &str); 3] = [
    ("4boot3say", "4boot"),
    ("7Console3say", "7Console"),
    ("9registers15Access$LT$H$GT$5lanes", "9registers15Access"),
];

/// What an instruction does to the stack or to the flow.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    /// Takes so many bytes off the stack pointer.
    Takes(u64),
    /// Takes an unknown number of them.
    TakesUnknown,
    /// May go on there; whether it comes back.
    Goes(u64, bool),
    /// Calls what a register names.
    GoesAnywhere,
    /// Computes this address.
    Names(u64),
}

/// A function and what it leads to.
#[derive(Debug, Default)]
struct Function {
    name: String,
    frame: u64,
    calls: BTreeSet<u64>,
    named: BTreeSet<u64>,
    goes_anywhere: bool,
    frame_unknown: bool,
}

type Graph = BTreeMap<u64, Function>;

/// What is wrong with the depth of this binary's stacks.
pub fn check(el2: &Path) -> Result<Vec<String>> {
    let bytes = files::read(el2)?;
    let elf = Elf::parse(&bytes)?;
    let constant = |name: &str| {
        elf.address(name)?.ok_or_else(|| Failure::failed(format!("{}: no symbol {name}", el2.display())))
    };
    let room = constant("STACK_STRIDE")?.saturating_sub(GUARD_BYTES + constant("FRAME_BYTES")?);
    let mut graph = Graph::new();
    for symbol in elf.functions()? {
        let code = elf.code(&symbol).unwrap_or_default();
        graph.insert(symbol.address, function(symbol.name, symbol.address, code));
    }
    let exits = EXITS.iter().filter_map(|name| elf.address(name).transpose()).collect::<Result<_>>()?;
    Ok(findings(graph, &exits, &elf.constant_words(), room))
}

/// Findings in a graph of functions. `words` of the constants may be addresses; `room` is in bytes.
fn findings(mut graph: Graph, exits: &BTreeSet<u64>, words: &BTreeSet<u64>, room: u64) -> Vec<String> {
    let mut found = resolve(&mut graph, exits, words);
    let roots: Vec<u64> =
        graph.iter().filter(|(_, f)| f.name.starts_with(ENTRY)).map(|(at, _)| *at).collect();
    if roots.is_empty() {
        found.push("EL2's stacks: no way into EL2 was found".to_owned());
    }
    let mut known = BTreeMap::new();
    let mut deepest = (0, Vec::new());
    for root in roots {
        match depth(&graph, root, &mut Vec::new(), &mut known) {
            Ok(chain) => deepest = chain.max(deepest),
            Err(cycle) => found.push(format!("EL2 calls itself: {}", names(&graph, &cycle))),
        }
    }
    let (bytes, chain) = deepest;
    println!("EL2 stack          at most {bytes} of {room} bytes");
    if bytes > room {
        let chain = names(&graph, &chain);
        found.push(format!("EL2's stacks are too small: {bytes} bytes of {room} are needed by {chain}"));
    }
    found.sort();
    found.dedup();
    found
}

/// Gives indirect calls their targets, and names what cannot be followed.
fn resolve(graph: &mut Graph, exits: &BTreeSet<u64>, words: &BTreeSet<u64>) -> Vec<String> {
    let mut found = Vec::new();
    let named: BTreeSet<u64> =
        graph.values().flat_map(|f| f.named.iter().copied()).chain(words.iter().copied()).collect();
    let taken: Vec<(u64, String)> =
        named.into_iter().filter_map(|at| Some((at, graph.get(&at)?.name.clone()))).collect();
    for (_, name) in &taken {
        if !INDIRECT.iter().any(|(_, target)| name.contains(target)) {
            found.push(format!("EL2's stacks: nobody is known to call `{}` by its address", plain(name)));
        }
    }
    let starts: BTreeSet<u64> = graph.keys().copied().collect();
    for function in graph.values_mut() {
        if function.frame_unknown {
            found.push(format!("EL2's stacks: the frame of `{}` has no fixed size", plain(&function.name)));
        }
        if function.goes_anywhere {
            let Some((_, targets)) = INDIRECT.iter().find(|(caller, _)| function.name.contains(caller))
            else {
                found.push(format!("EL2's stacks: `{}` calls what no table names", plain(&function.name)));
                continue;
            };
            function.calls.extend(taken.iter().filter(|(_, name)| name.contains(targets)).map(|(at, _)| *at));
        }
        function.calls.retain(|target| !exits.contains(target));
        if let Some(target) = function.calls.iter().find(|target| !starts.contains(target)) {
            found.push(format!(
                "EL2's stacks: `{}` goes to {target:#x}, which is no function",
                plain(&function.name)
            ));
        }
    }
    found
}

/// The most bytes of stack from a function on, and the chain of calls that needs them.
///
/// # Errors
/// A cycle of calls.
fn depth(
    graph: &Graph,
    at: u64,
    path: &mut Vec<u64>,
    known: &mut BTreeMap<u64, (u64, Vec<u64>)>,
) -> std::result::Result<(u64, Vec<u64>), Vec<u64>> {
    if let Some(chain) = known.get(&at) {
        return Ok(chain.clone());
    }
    if let Some(first) = path.iter().position(|before| *before == at) {
        return Err(path[first..].to_vec());
    }
    let Some(function) = graph.get(&at) else { return Ok((0, Vec::new())) };
    path.push(at);
    let mut deepest = (0, Vec::new());
    for target in &function.calls {
        deepest = depth(graph, *target, path, known)?.max(deepest);
    }
    path.pop();
    deepest.0 += function.frame;
    deepest.1.insert(0, at);
    known.insert(at, deepest.clone());
    Ok(deepest)
}

/// The functions of a chain with their frames.
fn names(graph: &Graph, chain: &[u64]) -> String {
    let name = |at: &u64| graph.get(at).map(|f| format!("{} ({})", plain(&f.name), f.frame));
    chain.iter().filter_map(name).collect::<Vec<_>>().join(" > ")
}

/// A name without the mangling of Rust's legacy scheme and its hash.
pub fn plain(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else { return name.to_owned() };
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits != 0) {
        let length: usize = rest[..digits].parse().unwrap_or(0);
        let Some(part) = rest.get(digits..digits + length) else { break };
        parts.push(part.trim_start_matches('_').replace("$u7b$$u7b$closure$u7d$$u7d$", "{closure}"));
        rest = &rest[digits + length..];
    }
    parts.pop();
    parts.join("::")
}

/// What the instructions of a function lead to.
fn function(name: String, address: u64, code: &[u8]) -> Function {
    let words: Vec<u32> =
        code.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let mut made = Function { name, ..Function::default() };
    let inside = address..address + code.len() as u64;
    for (index, _) in words.iter().enumerate() {
        match effect(address, &words, index) {
            Some(Effect::Takes(bytes)) => made.frame += bytes,
            Some(Effect::TakesUnknown) => made.frame_unknown = true,
            Some(Effect::GoesAnywhere) => made.goes_anywhere = true,
            Some(Effect::Names(place)) => drop(made.named.insert(place)),
            // A loop, or its own end: its frame is gone before it begins again.
            Some(Effect::Goes(target, returns))
                if inside.contains(&target) && (!returns || target != address) => {}
            Some(Effect::Goes(target, _)) => drop(made.calls.insert(target)),
            None => {}
        }
    }
    made
}

/// Bits `low..low + width` of an instruction, sign-extended.
fn signed(word: u32, low: u32, width: u32) -> i64 {
    i64::from((word << (32 - low - width)) as i32 >> (32 - width))
}

/// What instruction `index` of a function does, if it concerns the stack or the flow.
fn effect(address: u64, words: &[u32], index: usize) -> Option<Effect> {
    let word = *words.get(index)?;
    let at = address + 4 * index as u64;
    let goes = |offset: i64, returns| Some(Effect::Goes(at.wrapping_add_signed(4 * offset), returns));
    let taken = |bytes: i64| (bytes < 0).then_some(Effect::Takes(bytes.unsigned_abs()));
    match word {
        // SUB SP, SP, #imm, and the same by a register or by an alignment.
        w if w & 0xFF80_03FF == 0xD100_03FF => {
            Some(Effect::Takes(u64::from(w >> 10 & 0xFFF) << ((w >> 22 & 1) * 12)))
        }
        w if w & 0xFFE0_001F == 0xCB20_001F || w & 0xFF80_001F == 0x9200_001F => Some(Effect::TakesUnknown),
        // STP and STR with the stack pointer, pre-indexed.
        w if w & 0xFFC0_03E0 == 0xA980_03E0 => taken(8 * signed(w, 15, 7)),
        w if w & 0xFFE0_0FE0 == 0xF800_0FE0 => taken(signed(w, 12, 9)),
        // B, BL; B.cond, CBZ, CBNZ; TBZ, TBNZ.
        w if w & 0x7C00_0000 == 0x1400_0000 => goes(signed(w, 0, 26), w >> 31 != 0),
        w if w & 0xFF00_0010 == 0x5400_0000 || w & 0x7E00_0000 == 0x3400_0000 => {
            goes(signed(w, 5, 19), false)
        }
        w if w & 0x7E00_0000 == 0x3600_0000 => goes(signed(w, 5, 14), false),
        // BLR; BR but for the table of a `match`, whose address an ADD of two registers makes.
        w if w & 0xFFFF_FC1F == 0xD63F_0000 => Some(Effect::GoesAnywhere),
        w if w & 0xFFFF_FC1F == 0xD61F_0000 => {
            let register = w >> 5 & 0x1F;
            let made = words[..index].iter().rev().take(16).find(|before| **before & 0x1F == register);
            made.is_none_or(|made| made & 0xFF20_0000 != 0x8B00_0000).then_some(Effect::GoesAnywhere)
        }
        // ADR.
        w if w & 0x9F00_0000 == 0x1000_0000 => {
            let offset = signed(w, 5, 19) << 2 | i64::from(w >> 29 & 3);
            Some(Effect::Names(at.wrapping_add_signed(offset)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, frame, callees, addresses that it names, whether it calls indirectly.
    type Row<'a> = (&'a str, u64, &'a [u64], &'a [u64], bool);

    /// Functions at 1, 2 and so on.
    fn graph(functions: &[Row<'_>]) -> Graph {
        let made = functions.iter().map(|(name, frame, calls, named, goes_anywhere)| Function {
            name: (*name).to_owned(),
            frame: *frame,
            calls: calls.iter().copied().collect(),
            named: named.iter().copied().collect(),
            goes_anywhere: *goes_anywhere,
            frame_unknown: false,
        });
        (1..).zip(made).collect()
    }

    fn found(graph: Graph, room: u64) -> Vec<String> {
        findings(graph, &BTreeSet::from([99]), &BTreeSet::new(), room)
    }

    #[test]
    fn the_deepest_chain_of_all_ways_in_is_named_when_it_does_not_fit() {
        let small = || {
            graph(&[
                ("bulkhead_main", 16, &[3, 4, 99], &[], false),
                ("bulkhead_trap", 64, &[4], &[], false),
                ("_ZN11bulkhead_hv4boot6system17h0123456789abcdefE", 100, &[5], &[], false),
                ("flat", 90, &[5], &[], false),
                ("leaf", 40, &[], &[], false),
                ("unreachable", 5000, &[], &[], false),
            ])
        };
        assert_eq!(found(small(), 194), [""; 0]);
        let text = "EL2's stacks are too small: 194 bytes of 193 are needed by bulkhead_trap (64) > flat (90) > leaf (40)";
        assert_eq!(found(small(), 193), [text]);
        assert_eq!(
            found(graph(&[("main", 16, &[], &[], false)]), 100),
            ["EL2's stacks: no way into EL2 was found"]
        );
    }

    #[test]
    fn a_cycle_and_a_way_to_nowhere_are_named() {
        let cycle = graph(&[
            ("bulkhead_main", 8, &[2], &[], false),
            ("a", 8, &[3], &[], false),
            ("b", 8, &[2], &[], false),
        ]);
        assert_eq!(found(cycle, 100), ["EL2 calls itself: a (8) > b (8)"]);
        let itself = graph(&[("bulkhead_main", 8, &[1], &[], false)]);
        assert_eq!(found(itself, 100)[0], "EL2 calls itself: bulkhead_main (8)");
        let nowhere = graph(&[("bulkhead_main", 8, &[77], &[], false)]);
        assert_eq!(found(nowhere, 100), ["EL2's stacks: `bulkhead_main` goes to 0x4d, which is no function"]);
    }

    #[test]
    fn indirect_calls_reach_what_they_are_given_and_unknown_ones_are_refused() {
        let say = || {
            graph(&[
                ("bulkhead_main", 8, &[2], &[3], false),
                ("_ZN4boot3say17h0123456789abcdefE", 10, &[], &[], true),
                ("_ZN4boot4stop28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", 20, &[], &[], false),
            ])
        };
        assert_eq!(found(say(), 38), [""; 0]);
        assert_eq!(
            found(say(), 37),
            [
                "EL2's stacks are too small: 38 bytes of 37 are needed by bulkhead_main (8) > boot::say (10) > \
              boot::stop::{closure} (20)"
            ]
        );
        let unknown = graph(&[("bulkhead_main", 8, &[], &[2], true), ("callback", 1, &[], &[], false)]);
        assert_eq!(
            found(unknown, 100),
            [
                "EL2's stacks: `bulkhead_main` calls what no table names",
                "EL2's stacks: nobody is known to call `callback` by its address"
            ]
        );
    }

    #[test]
    fn instructions_are_decoded() {
        // sub sp, sp, #0x30; sub sp, sp, #1, lsl #12; stp x29, x30, [sp, #-64]!; str x30, [sp, #-16]!; bl +0x100;
        // cbz x0, +0x80; tbnz w1, #3, -8; adr x2, +4; add x3, x3, x4; mov x5, x6; br x3; ldp x29, x30, [sp], #64
        let words = [
            0xD100_C3FF,
            0xD140_07FF,
            0xA9BC_7BFD,
            0xF81F_0FFE,
            0x9400_0040,
            0xB400_0400,
            0x371F_FFC1,
            0x1000_0022,
            0x8B04_0063,
            0xAA06_03E5,
            0xD61F_0060,
            0xA8C4_7BFD,
        ];
        let code: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let made = function("f".to_owned(), 0x1000, &code);
        assert_eq!(made.frame, 0x30 + 0x1000 + 64 + 16);
        assert_eq!(made.calls.into_iter().collect::<Vec<_>>(), [0x1014 + 0x80, 0x1010 + 0x100]);
        assert_eq!(made.named.into_iter().collect::<Vec<_>>(), [0x1020]);
        assert!(!made.goes_anywhere && !made.frame_unknown);
        let effect = |words: &[u32]| effect(0x1000, words, words.len() - 1);
        assert_eq!(
            effect(&[0x8B04_0063, 0xF940_0003, 0xD61F_0060]),
            Some(Effect::GoesAnywhere),
            "br of a load"
        );
        assert_eq!(effect(&[0xD63F_0040]), Some(Effect::GoesAnywhere), "blr x2");
        assert_eq!(effect(&[0xCB28_63FF]), Some(Effect::TakesUnknown), "sub sp, sp, x8");
        assert_eq!(effect(&[0x927C_ED3F]), Some(Effect::TakesUnknown), "and sp, x9, #-16");
        assert_eq!(effect(&[0x9400_0000]), Some(Effect::Goes(0x1000, true)), "bl of itself");
    }
}
