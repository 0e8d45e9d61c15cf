//! Images made to keep the verifier busy: it answers in time and memory that grow with the image alone.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod forge;

use bulkhead_abi::loader;
use bulkhead_blueprint::layout::{Partition, PlanCpu};
use bulkhead_verify::claims::{Depth, judge};
use bulkhead_verify::system::System;
use common::{PAGE, Workshop};
use forge::{Forge, pages};
use std::path::Path;

/// Time that this thread has spent on a CPU (first field of schedstat, proc(5)).
fn on_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("time in schedstat")
}

/// How much a claim examined.
fn examined(forge: &Forge, claim: &str) -> u64 {
    let view = forge.image.open().expect("an image");
    let outcomes = judge(&System::gather(&view), Depth::WithoutDigest);
    outcomes.iter().find(|o| o.id == claim).map(|o| o.examined).expect("the claim")
}

#[test]
fn a_window_is_examined_once_however_many_cpus_claim_it() {
    let shop = Workshop::small();
    let (_, image) =
        shop.build_text("/dts-v1/;\n/include/ \"shared.dtsi\"\n").unwrap_or_else(|f| panic!("{f}"));
    let mut forge = Forge::new(image.bytes());
    let windows = forge.header().windows.count;
    for cpu in forge.table::<PlanCpu>(|h| h.plan_cpus) {
        (cpu.window_first, cpu.window_count) = (0, windows);
    }
    assert!(examined(&forge, "VFY-061") <= u64::from(windows));
    assert!(!forge.against("VFY-061").is_empty());
}

#[test]
fn a_payload_is_hashed_once_however_many_entries_copy_it() {
    let (_, image) = Workshop::new().build(Path::new("../examples/demo.dts"));
    let mut forge = Forge::new(image.bytes());
    let (list, source, payloads) = {
        let view = forge.image.open().expect("good");
        let system = System::gather(&view);
        let part = &system.partitions[0];
        let entries = part.list.as_ref().expect("a list");
        let copies = entries.iter().filter(|e| e.source != 0);
        let largest = copies.max_by_key(|e| e.destination.bytes()).expect("a copy");
        let at = bulkhead_verify::walk::translate(&part.load.mapped, loader::LIST_IPA).expect("mapped").0;
        (at, *largest, view.payloads().bytes())
    };
    let at = forge.offset(list);
    let bytes = forge.image.bytes_mut();
    bytes[at..at + 4].copy_from_slice(&(loader::ENTRIES_MAX as u32).to_le_bytes());
    for number in 0..loader::ENTRIES_MAX {
        let entry = at + loader::ENTRIES + number * loader::ENTRY_STRIDE;
        let long = [source.source, source.destination.start, source.destination.bytes(), 0];
        for (slot, value) in bytes[entry..entry + 32].chunks_exact_mut(8).zip(long) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
    }
    assert!(examined(&forge, "VFY-002") <= payloads);
    assert!(!forge.against("VFY-002").is_empty());
}

/// Fills the tables from `first` on: level 1, level 2, then `leaves` tables whose pages never make one stretch.
fn scatter(forge: &mut Forge, first: u64, leaves: u64, input: u64, bits: u64) {
    let put = |forge: &mut Forge, table: u64, index: u64, entry: u64| {
        let at = forge.offset(table) + index as usize * 8;
        forge.image.bytes_mut()[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    };
    let at = forge.offset(first);
    forge.image.bytes_mut()[at..at + (leaves as usize + 2) * PAGE as usize].fill(0);
    put(forge, first, input >> 30, (first + PAGE) | 3);
    for (number, table) in (0..).zip(pages(first + 2 * PAGE, leaves)) {
        put(forge, first + PAGE, number, table | 3);
        for slot in (0..512).step_by(2) {
            put(forge, table, slot, (input + (number * 512 + slot) * PAGE) | bits);
        }
    }
}

/// Most time on a CPU, nanoseconds: a tenth of a second, where every pair of stretches would take ten.
const TIME_MAX_NS: u64 = 3_000_000_000;

#[test]
fn scattered_pages_of_el2_and_a_partition_are_not_compared_pair_by_pair() {
    let (_, image) = Workshop::new().build(Path::new("../examples/demo.dts"));
    let mut forge = Forge::new(image.bytes());
    let (first, end) = {
        let view = forge.image.open().expect("good");
        (view.payloads().start, view.payloads().end)
    };
    // All of the file may hold tables.
    (forge.header().sealed_end, forge.header().hashed_end) = (end, end);
    let leaves = ((end - first) / PAGE / 2 - 2).min(512);
    assert!(leaves > 400, "{leaves} tables are too few to tell");
    let second = first + (leaves + 2) * PAGE;
    scatter(&mut forge, first, leaves, 0x1_0000_0000, 0x0040_0000_0000_0747);
    scatter(&mut forge, second, leaves, 0x2_0000_0000, 0x0040_0000_0000_06c7);
    forge.header().el2_root = first;
    forge.table::<Partition>(|h| h.partitions)[0].stage2_root = second;
    let before = on_cpu_ns();
    assert!(examined(&forge, "VFY-012") > 256 * leaves);
    let took = on_cpu_ns() - before;
    assert!(took < TIME_MAX_NS, "{took} ns");
}
