//! The file itself: digests, header, and what lies where in the sealed part.

use super::{Claim, Ledger};
use crate::image::text;
use crate::ports::field;
use crate::ranges::{PAGE, Range, first_overlap};
use crate::system::{System, long, physical, static_info, word};
use bulkhead_abi::info::fixed;
use bulkhead_abi::loader;
use bulkhead_blueprint::layout::cpu_boot;
use sha2::{Digest, Sha256};

pub static DIGEST: Claim = Claim {
    id: "VFY-001",
    title: "the digest in the blueprint is that of EL2's instructions and constants, the sealed part and the \
            segments that nobody writes",
    method: "SHA-256 over EL2's read-only stretch from the image's base, then all behind the digest up to the \
             pristine payloads",
    check: digest,
};

fn digest(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let code = system.code();
    let rest = Range { start: view.blueprint_at + 32, end: view.hashed().end };
    let mut hash = Sha256::new();
    for range in [code, rest] {
        hash.update(view.at(range).unwrap_or_default());
        ledger.examined(range.bytes(), "bytes");
    }
    ledger.same("the image's digest differs", hex(&view.header().sha256), hex(&hash.finalize()));
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub static PAYLOADS: Claim = Claim {
    id: "VFY-002",
    title: "every pristine payload has the digest that its loader compares",
    method: "SHA-256 over the bytes behind each source of each load list, which lie apart",
    check: payloads,
};

fn payloads(system: &System<'_>, ledger: &mut Ledger) {
    // No byte is hashed twice: a list could name the same large payload in every entry.
    let mut left = system.view.payloads().bytes();
    for part in &system.partitions {
        for entry in part.list.iter().flatten().filter(|e| e.source != 0) {
            let source = Range::of(entry.source, entry.destination.bytes());
            let Some(bytes) = physical(system.view, &part.load.mapped, source) else {
                ledger.fail(format!("a payload of {} is not in the file", part.name), source, "mapped bytes");
                continue;
            };
            let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                let found = format!("{} is copied besides", source);
                return ledger.fail(
                    format!("payloads of {} lie on others", part.name),
                    found,
                    "each byte copied once",
                );
            };
            left = rest;
            ledger.examined(bytes.len() as u64, "bytes");
            let message = format!("a payload of {} has another digest", part.name);
            ledger.same(&message, hex(&entry.sha256), hex(&Sha256::digest(bytes)));
        }
    }
}

pub static HEADER: Claim = Claim {
    id: "VFY-003",
    title: "header, Image header and information pages describe the same system",
    method: "field by field comparison of the blueprint, the arm64 Image header and each information page",
    check: header,
};

/// Offset of `image_size` in the arm64 Image header (Linux booting.rst).
const IMAGE_SIZE_AT: usize = 16;

fn header(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let header = view.header();
    let claimed = long(view.file(), IMAGE_SIZE_AT).unwrap_or(0);
    ledger.same("image_size of the Image header", claimed, view.whole().bytes());
    ledger.same("bytes of the file", view.file().len() as u64, view.work().start - view.whole().start);
    let known = [cpu_boot::PSCI_SMC, cpu_boot::SPIN_TABLE].contains(&header.cpu_boot);
    if !known {
        ledger.fail("unknown way of starting CPUs", header.cpu_boot, "1 or 2");
    }
    if !(2..=3).contains(&header.gic.version) {
        ledger.fail("unknown interrupt controller", header.gic.version, "2 or 3");
    }
    let tick = (1_000_000_000u64 << 32) / u64::from(header.cntfrq_hz.max(1));
    ledger.same("nanoseconds of a tick, times 2^32", header.tick_ns_q32, tick);
    ledger.examined(5, "fields");
    for part in &system.partitions {
        let Some(info) = static_info(view, part.record, &part.run.mapped) else {
            let ipa = format!("{:#x}", part.record.info_ipa);
            ledger.fail(
                format!("{} has no information page", part.name),
                ipa,
                "static pages that are mapped",
            );
            continue;
        };
        page(system, part.record, &part.name, info, ledger);
    }
}

fn page(
    system: &System<'_>,
    record: &bulkhead_blueprint::layout::Partition,
    name: &str,
    info: &[u8],
    ledger: &mut Ledger,
) {
    let header = system.view.header();
    let words = [
        ("identifier", fixed::ID, record.id),
        ("number of vCPUs", fixed::VCPU_COUNT, record.vcpu_count),
        ("number of ports", fixed::PORT_COUNT, record.port_count),
        ("number of authorities", fixed::AUTHORITY_COUNT, record.authority_count),
        ("counter frequency", fixed::CNTFRQ_HZ, header.cntfrq_hz),
    ];
    for (what, at, expected) in words {
        let found = word(info, field(at)).unwrap_or(u32::MAX);
        ledger.same(&format!("{what} in the information page of {name}"), found, expected);
    }
    let field_text =
        |at: usize, bytes: usize| info.get(field(at)..field(at) + bytes).map(text).unwrap_or_default();
    let number = field_text(fixed::PART_NUMBER, fixed::PART_NUMBER_BYTES);
    ledger.same(&format!("part number in the page of {name}"), number, text(&header.part_number));
    ledger.same(
        &format!("name in the page of {name}"),
        field_text(fixed::NAME, fixed::NAME_BYTES),
        name.to_owned(),
    );
    ledger.examined(words.len() as u64 + 2, "fields");
}

pub static SEALED: Claim = Claim {
    id: "VFY-004",
    title: "blueprint, information pages, load lists, loader and tables lie apart in the sealed part and fill it",
    method: "the ranges of all that the walks found there, compared pairwise and with the whole",
    check: sealed,
};

fn sealed(system: &System<'_>, ledger: &mut Ledger) {
    let view = system.view;
    let own = Range::of(view.blueprint_at, u64::from(view.header().total_bytes)).to_pages();
    let mut what: Vec<(String, Range)> = vec![("the blueprint".into(), own)];
    let tables = system.visited.keys().map(|at| ("a table".to_owned(), Range::of(*at, PAGE)));
    what.extend(tables);
    let mut loaders: Vec<Range> = Vec::new();
    for part in &system.partitions {
        for stretch in part.run.mapped.iter().filter(|m| view.sealed().overlaps(&m.outputs())) {
            what.push((format!("the information pages of {}", part.name), stretch.outputs()));
        }
        for stretch in part.load.mapped.iter().filter(|m| view.sealed().overlaps(&m.outputs())) {
            match stretch.input {
                loader::LOADER_IPA => loaders.push(stretch.outputs()),
                _ => what.push((format!("the load list of {}", part.name), stretch.outputs())),
            }
        }
    }
    loaders.sort_unstable();
    loaders.dedup();
    what.extend(loaders.into_iter().map(|r| ("the loader".to_owned(), r)));
    ledger.examined(what.len() as u64, "ranges");
    let ranges: Vec<Range> = what.iter().map(|(_, r)| *r).collect();
    if let Some((a, b)) = first_overlap(&ranges) {
        let found = format!("{} {} and {} {}", what[a].0, what[a].1, what[b].0, what[b].1);
        ledger.fail("two things lie on each other in the sealed part", found, "each at addresses of its own");
    }
    for hole in crate::ranges::minus(&[view.sealed()], &crate::ranges::union(ranges)) {
        let bytes = view.at(hole).unwrap_or_default();
        if bytes.iter().any(|b| *b != 0) {
            ledger.fail("sealed bytes that nothing uses", hole, "zeros");
        }
    }
}
