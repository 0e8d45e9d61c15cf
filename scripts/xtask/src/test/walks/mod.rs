//! The verifier's walk of stage-2 tables against the hardware's own.
//!
//! An image lies in QEMU's memory, unstarted. `partitions/probes/walks` runs at EL2 beside it, sets stage 2 up as EL2
//! would for each root of the blueprint, and asks for one address after the other: AT S12E1R and AT S12E1W, which give
//! physical address, memory type and permission, and the fetch of one instruction, because no AT instruction of
//! ARMv8.0 answers for execution. Where writing is denied, a store takes the place of AT S12E1W, at which QEMU 10.0
//! stops (an assertion of its `do_ats_write`). Every answer is compared with `bulkhead_verify::walk`, for the tables
//! as they are and for tables with one bit flipped.
//!
//! Honest limits: a sample of addresses; QEMU's walker stands for the hardware's; roots of partitions and their loaders,
//! not EL2's own stage 1. Where the walk refuses a descriptor, nothing is compared: the verifier refuses the image.

mod answer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_verify::Image as Packed;
use bulkhead_verify::image::View;
use bulkhead_verify::ranges::PAGE;
use bulkhead_verify::walk::{Access, Mapped, Regime, Visited, Walk, translate, walk};

use crate::failure::{Failure, Result};
use crate::files;
use crate::guest::{Board, Cursor, DEFAULT_CPU, Guest, Machine};
use crate::image;
use crate::paths::Paths;
use crate::wrapper::Overrides;
use answer::Answer;

/// Images whose tables are walked: shared CPUs, devices and Linux; segments, and windows of several plans.
const CONFIGURATIONS: [&str; 2] = ["config/examples/demo.dts", "config/examples/avionics.dts"];
/// The program at EL2 and the list of what it is asked, as `walks.ld` places them.
const PROGRAM: u64 = 0x6000_0000;
const REQUESTS: u64 = 0x6010_0000;
/// Kinds of requests in `main.c`.
const END: u64 = 0;
const ROOT: u64 = 1;
const FLIP: u64 = 2;
const ASK: u64 = 3;
const ASK_BY_STORE: u64 = 4;
/// Random addresses for each root, once anywhere and once between the lowest and the highest that it maps.
const RANDOM: usize = 32;
/// Flipped bits in each image.
const FLIPS: usize = 600;
/// Input addresses of stage 2.
const IPA_BITS: u32 = 39;
/// QEMU takes a second or two.
const TIME_MAX: Duration = Duration::from_secs(60);

/// xorshift64*, seeded: the same sample in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end.max(1)
    }

    /// An address of a page of this stretch.
    fn page(&mut self, start: u64, bytes: u64) -> u64 {
        start + self.below(bytes / PAGE) * PAGE
    }
}

/// A descriptor of some partition's tables.
#[derive(Clone, Copy)]
struct Descriptor {
    root: u64,
    /// Its physical address.
    at: u64,
    /// What it translates.
    input: u64,
    span: u64,
}

/// One address, and what the walk says about it.
struct Question {
    /// Root, and the flip that the tables had then.
    context: String,
    address: u64,
    walk: Option<(u64, Access)>,
}

impl Question {
    /// Whether a store is tried instead of AT S12E1W: the walk says that there is something, and that it is read-only.
    fn by_store(&self) -> bool {
        self.walk.is_some_and(|(_, access)| !access.write)
    }
}

/// What is asked: the words of the program's list, and the questions in the order of its answers.
#[derive(Default)]
struct Sample {
    requests: Vec<u64>,
    questions: Vec<Question>,
    roots: usize,
    /// Flips after which the walk refuses a descriptor.
    refused: usize,
    /// Flips after which some address is translated to something else.
    changed: usize,
}

impl Sample {
    /// Asks for addresses under `root`. Those that a faulty walk does not map are left out.
    fn ask(&mut self, context: &str, root: u64, found: &Walk, addresses: &[u64]) {
        self.requests.extend([ROOT, root]);
        for &address in addresses {
            let walk = translate(&found.mapped, address);
            if walk.is_none() && !found.faults.is_empty() {
                continue;
            }
            let question = Question { context: context.to_owned(), address, walk };
            self.requests.extend([if question.by_store() { ASK_BY_STORE } else { ASK }, address]);
            self.questions.push(question);
        }
    }

    /// Both roots of every partition, the tables as they are.
    fn good(&mut self, view: &View<'_>, random: &mut Random) {
        for (index, partition) in view.blueprint.partitions.iter().enumerate() {
            for (which, root) in [("guest", partition.stage2_root), ("loader", partition.loader_root)] {
                let found = walk_of(view, root);
                let declared = view.reaches.iter().filter(|reach| reach.partition as usize == index);
                let declared = declared.map(|reach| (reach.ipa, reach.bytes));
                let mapped = found.mapped.iter().map(|mapped| (mapped.input, mapped.bytes));
                let mut addresses: Vec<u64> = mapped.chain(declared).flat_map(|(i, b)| ends(i, b)).collect();
                let (first, last) = bounds(&found.mapped);
                for _ in 0..RANDOM {
                    addresses.push(random.below(1 << IPA_BITS) & !7);
                    addresses.push((first + random.below(last - first)) & !7);
                }
                addresses.push(1 << IPA_BITS);
                self.ask(&format!("partition {index}, {which}"), root, &found, &addresses);
                self.roots += 1;
            }
        }
    }

    /// Tables with one bit flipped: the addresses that the descriptor concerns, and others.
    fn flipped(&mut self, image: &Packed, random: &mut Random) -> Result<()> {
        let view = open(image)?;
        let base = view.header().image_base;
        let all = descriptors(&view);
        let mut harmed = image.clone();
        for _ in 0..FLIPS {
            let descriptor = all[random.below(all.len() as u64) as usize];
            let before = walk_of(&view, descriptor.root);
            let mask = 1u64 << random.below(64);
            let offset = (descriptor.at - base) as usize;
            xor(&mut harmed, offset, mask);
            let found = walk_of(&open(&harmed)?, descriptor.root);
            xor(&mut harmed, offset, mask);
            let addresses = concerned(&descriptor, &before.mapped, random);
            self.refused += usize::from(!found.faults.is_empty());
            let differs = |&a: &u64| translate(&before.mapped, a) != translate(&found.mapped, a);
            self.changed += usize::from(found.faults.is_empty() && addresses.iter().any(differs));
            let context = format!("root {:#x}, {mask:#x} flipped at {:#x}", descriptor.root, descriptor.at);
            self.requests.extend([FLIP, descriptor.at, mask]);
            self.ask(&context, descriptor.root, &found, &addresses);
            self.requests.extend([FLIP, descriptor.at, mask]);
        }
        Ok(())
    }

    /// Holds the program's answers against the questions.
    fn compare(&self, lines: &[String]) -> Result<()> {
        for (number, question) in self.questions.iter().enumerate() {
            let line = lines.get(number).map_or("nothing", String::as_str);
            let answer = Answer::parse(line, question.by_store()).ok_or_else(|| {
                Failure::failed(format!("answer {number} of {}: found {line}", self.questions.len()))
            })?;
            answer
                .compare(question.address, question.walk)
                .map_err(|difference| Failure::failed(format!("{}: {difference}", question.context)))?;
        }
        if lines.len() > self.questions.len() {
            return Err(Failure::failed(format!("too many answers: {}", lines[self.questions.len()])));
        }
        Ok(())
    }

    /// A sample that shows nothing is a mistake in this file.
    fn is_telling(&self) -> Result<()> {
        let kinds: std::collections::BTreeSet<_> =
            self.questions.iter().map(|q| q.walk.map(|w| w.1)).collect();
        if kinds.len() < 5 || self.changed < FLIPS / 20 || self.refused < FLIPS / 20 {
            let (kinds, changed, refused) = (kinds.len(), self.changed, self.refused);
            return Err(Failure::failed(format!(
                "the sample shows too little: {kinds} kinds of access, {changed} flips change something, {refused} are \
                 refused"
            )));
        }
        Ok(())
    }
}

/// Compares all images on QEMU.
///
/// # Errors
/// The first address that the hardware translates differently.
pub fn run(paths: &Paths) -> Result<()> {
    for configuration in CONFIGURATIONS {
        one(paths, configuration).map_err(|failure| failure.within(configuration))?;
    }
    Ok(())
}

fn one(paths: &Paths, configuration: &str) -> Result<()> {
    let built = image::compile(paths, &paths.root.join(configuration), &Overrides::default())?;
    let image = Packed::read(&built.path).map_err(|e| Failure::failed(e.to_string()))?;
    let view = open(&image)?;
    if view.whole().end > PROGRAM {
        return Err(Failure::failed(format!("the image ends at {:#x}, above the program", view.whole().end)));
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut sample = Sample::default();
    sample.good(&view, &mut random);
    sample.flipped(&image, &mut random)?;
    sample.is_telling()?;
    sample.requests.push(END);
    let list = built.path.with_extension("walks");
    let bytes: Vec<u8> = sample.requests.iter().flat_map(|word| word.to_le_bytes()).collect();
    files::write(&list, &bytes)?;
    let blobs = [(built.path.as_path(), view.header().image_base), (list.as_path(), REQUESTS)];
    let mut guest = machine(paths, built.memory_mib, &blobs).start(None)?;
    sample.compare(&answers(&mut guest)?)?;
    println!(
        "        {configuration}: {} addresses, {} roots; {FLIPS} flipped bits, of which {} are refused and {} translate \
         otherwise",
        sample.questions.len(),
        sample.roots,
        sample.refused,
        sample.changed
    );
    Ok(())
}

fn machine(paths: &Paths, memory_mib: u64, blobs: &[(&Path, u64)]) -> Machine {
    let load = |(file, address): &(&Path, u64)| {
        let file = file.display().to_string().replace(',', ",,");
        ["-device".to_owned(), format!("loader,file={file},addr={address:#x},force-raw=on")]
    };
    Machine {
        board: Board::Virt,
        kernel: program(paths),
        gic: 3,
        cpu: DEFAULT_CPU.to_owned(),
        cpus: 1,
        memory_mib,
        virtualization: true,
        reboots: false,
        options: blobs.iter().flat_map(load).collect(),
    }
}

fn program(paths: &Paths) -> PathBuf {
    paths.payloads().join("probes/walks.elf")
}

/// What the program prints until it turns the machine off.
fn answers(guest: &mut Guest) -> Result<Vec<String>> {
    match guest.wait_exit(TIME_MAX) {
        Some(status) if status.success() => {}
        Some(status) => {
            return Err(Failure::failed(format!("QEMU ended with {status}: {}", guest.complaints())));
        }
        None => return Err(Failure::failed(format!("QEMU did not end: {}", guest.tail(3)))),
    }
    while !guest.has_ended() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(guest.lines_after(Cursor::default()).0)
}

fn open(image: &Packed) -> Result<View<'_>> {
    image.open().map_err(|e| Failure::failed(e.to_string()))
}

fn walk_of(view: &View<'_>, root: u64) -> Walk {
    walk(view, Regime::Guest, root, 0, &mut Visited::new())
}

fn xor(image: &mut Packed, offset: usize, mask: u64) {
    for (byte, bits) in image.bytes_mut()[offset..offset + 8].iter_mut().zip(mask.to_le_bytes()) {
        *byte ^= bits;
    }
}

/// First and last page of a stretch, the pages around it, and an address amid the first.
fn ends(input: u64, bytes: u64) -> [u64; 5] {
    let end = input + bytes;
    [input.saturating_sub(PAGE), input, input + 0x128, end - PAGE, end]
}

fn bounds(mapped: &[Mapped]) -> (u64, u64) {
    let first = mapped.first().map_or(0, |m| m.input);
    (first, mapped.last().map_or(PAGE, |m| m.inputs().end))
}

/// Every descriptor in use, and as many empty slots behind them: two bits decide what a descriptor is.
fn descriptors(view: &View<'_>) -> Vec<Descriptor> {
    let mut out = Vec::new();
    for partition in view.blueprint.partitions {
        for root in [partition.stage2_root, partition.loader_root] {
            below(view, root, root, 1, 0, &mut out);
        }
    }
    out
}

fn below(view: &View<'_>, root: u64, table: u64, level: u32, base: u64, out: &mut Vec<Descriptor>) {
    let span = PAGE << (9 * (3 - level));
    let mut before = 0;
    for (slot, &entry) in view.table(table).into_iter().flatten().enumerate() {
        let input = base + slot as u64 * span;
        if entry != 0 || before != 0 {
            out.push(Descriptor { root, at: table + slot as u64 * 8, input, span });
        }
        if entry & 3 == 3 && level < 3 {
            below(view, root, entry & 0x0000_ffff_ffff_f000, level + 1, input, out);
        }
        before = entry;
    }
}

/// Addresses that a descriptor translates, mapped ones among them, its neighbours, and one that it has nothing to do with.
fn concerned(descriptor: &Descriptor, mapped: &[Mapped], random: &mut Random) -> Vec<u64> {
    let Descriptor { input, span, .. } = *descriptor;
    let mut addresses = ends(input, span).to_vec();
    addresses.push(random.page(input, span));
    let inside = mapped.iter().filter(|m| m.input < input + span && m.inputs().end > input);
    let inside: Vec<&Mapped> = inside.collect();
    for _ in 0..inside.len().min(3) {
        let stretch = inside[random.below(inside.len() as u64) as usize];
        let start = stretch.input.max(input);
        let end = stretch.inputs().end.min(input + span);
        addresses.push(random.page(start, end - start));
    }
    if let Some(other) = mapped.get(random.below(mapped.len() as u64) as usize) {
        addresses.push(random.page(other.input, other.bytes));
    }
    addresses
}
