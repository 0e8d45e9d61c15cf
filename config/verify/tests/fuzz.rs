//! The harness functions of `tests/fuzz`, run on stable Rust a bounded number of times with seeded random damage.
//!
//! `BULKHEAD_FUZZ_RUNS=N` multiplies the number of runs; the seed is fixed, so that a failure comes again.
//! `BULKHEAD_FUZZ_SEEDS=DIR` writes the undamaged inputs there instead, for the fuzzer that looks at coverage.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
#[path = "../../../tests/fuzz/harness.rs"]
mod harness;

use bulkhead_compile::board::BUILTIN_FILES;
use bulkhead_verify::Image;
use bulkhead_verify::against::tree;
use common::Workshop;
use std::path::Path;

/// Most time on a CPU for one input, nanoseconds, in a debug build.
const TIME_MAX_NS: u64 = 5_000_000_000;
/// Most memory of this process, KiB: the inputs are below 1 MiB.
const MEMORY_MAX_KIB: u64 = 512 << 10;
/// Longest input.
const BYTES_MAX: usize = 1 << 20;

/// xorshift64*, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end.max(1) as u64) as usize
    }
}

/// Words that pass for counts, lengths, offsets, tokens and signs.
const WORDS: [u32; 16] = [
    0,
    1,
    2,
    3,
    4,
    9,
    0x10,
    0xff,
    0x1000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_fffe,
    0xffff_ffff,
];

/// One to eight changes: bits, bytes, words in either order of bytes, pieces cut, moved and doubled.
fn damage(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        let length = random.below(64).min(bytes.len() - at);
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            2 | 3 if bytes.len() >= 4 => {
                let at = (at & !3).min(bytes.len() - 4);
                let word = WORDS[random.below(WORDS.len())];
                let word = if random.below(2) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
                bytes[at..at + 4].copy_from_slice(&word);
            }
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + length)),
            6 if bytes.len() + length <= BYTES_MAX => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            7 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() - length + 1);
                bytes[to..to + length].copy_from_slice(&piece);
            }
            _ => {}
        }
    }
    bytes
}

/// Time that this thread has spent on a CPU (first field of schedstat, proc(5)).
fn on_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("time in schedstat")
}

/// Peak resident set of this process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM in status");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

/// `name`: that of the target in `tests/fuzz`.
fn run(name: &str, what: fn(&[u8]), seeds: &[Vec<u8>], runs: usize) {
    if let Some(directory) = std::env::var_os("BULKHEAD_FUZZ_SEEDS") {
        let directory = Path::new(&directory).join(name);
        std::fs::create_dir_all(&directory).expect("a directory for seeds");
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed");
        }
        return;
    }
    let factor = std::env::var("BULKHEAD_FUZZ_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut random = Random(0x0b07_c4ea_d000_0001);
    for seed in seeds {
        what(seed);
        for number in 0..runs * factor {
            let input = damage(&mut random, seed);
            let before = on_cpu_ns();
            what(&input);
            let took = on_cpu_ns() - before;
            assert!(took < TIME_MAX_NS, "run {number}: {took} ns for {} bytes", input.len());
        }
    }
    assert!(peak_kib() < MEMORY_MAX_KIB, "{} KiB", peak_kib());
}

/// The demo, and a system with shared CPUs, as blobs and as images.
fn shop() -> Workshop {
    let shop = Workshop::small();
    for (name, content) in BUILTIN_FILES {
        shop.put(&format!("boards/board/{name}"), content.as_bytes());
    }
    shop
}

const SHARED: &str = "/dts-v1/;\n/include/ \"shared.dtsi\"\n";

fn images(shop: &Workshop) -> Vec<Vec<u8>> {
    let demo = shop.build(Path::new("../examples/demo.dts")).1.bytes().to_vec();
    let shared = shop.build_text(SHARED).unwrap_or_else(|f| panic!("{f}")).1.bytes().to_vec();
    vec![demo, shared]
}

#[test]
fn the_device_tree_readers_take_any_bytes() {
    let shop = shop();
    shop.put("shared.dts", SHARED.as_bytes());
    let paths = [Path::new("../examples/demo.dts").to_path_buf(), shop.path("shared.dts")];
    let blob = |path: &std::path::PathBuf| {
        tree::compile(path, &[&shop.path("boards")]).unwrap_or_else(|e| panic!("{e}"))
    };
    run("tree", harness::tree, &paths.iter().map(blob).collect::<Vec<_>>(), 5_000);
}

#[test]
fn the_blueprint_decoder_takes_any_bytes() {
    let seeds: Vec<Vec<u8>> = images(&shop())
        .iter()
        .map(|bytes| {
            let image = Image::from_bytes(bytes);
            let view = image.open().expect("a good image");
            let at = (view.blueprint_at - view.header().image_base) as usize;
            bytes[at..at + view.header().total_bytes as usize].to_vec()
        })
        .collect();
    run("blueprint", harness::blueprint, &seeds, 50_000);
}

#[test]
fn the_verifier_takes_any_bytes() {
    run("image", harness::image, &images(&shop()), 1_500);
}
