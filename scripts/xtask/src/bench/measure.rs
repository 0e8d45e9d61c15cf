//! One run of the measuring partition on QEMU, hosted with the plugin or bare, to its last line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use regex_lite::Regex;

use super::meter::{Histogram, Metered};
use crate::elf::{Elf, Symbol};
use crate::failure::{Failure, Result};
use crate::files;
use crate::guest::{Board, Cursor, Guest, Machine};
use crate::image::{self, Image};
use crate::paths::Paths;
use crate::process;
use crate::run;
use crate::wrapper::Overrides;

/// One tick of the counter is one instruction: `shift=0` makes an instruction a nanosecond.
pub const COUNTER_HZ: u32 = 1_000_000_000;
/// Processor model of all runs.
const CPU: &str = "cortex-a72,cntfrq=1000000000";
/// Wall-clock time after which a run is given up.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// The same for the groups that take minutes.
pub const LONG_PATIENCE: Duration = Duration::from_secs(3600);
/// Functions that do not count towards the length of a visit: the wait for a planned tick.
const APART: [&str; 1] = ["5timer10wait_until"];
/// Where EL2 looks for interrupts between two pieces of work on a vCPU that starts or ends.
const PIECES: &str = "6switch14between_pieces";
/// Physical address of the console's UART on QEMU `virt`, and on a Raspberry Pi 4.
const UARTS: [u64; 2] = [0x0900_0000, 0xfe20_1000];
/// Command line of a Linux that runs bare, as in `tests/configs/bench-linux.dts`.
const LINUX_ARGUMENTS: &str = "console=ttyAMA0 panic=-1 bench.latency";
/// Where a partition sees the code of its loader (`bulkhead_abi::loader::LOADER_IPA`).
const LOADER: &str = "2000000000-2000100000";

/// What a run said and what was counted.
#[derive(Default)]
pub struct Run {
    /// Rows of the measuring partition: phase and ticks.
    pub rows: BTreeMap<String, (u8, Histogram)>,
    /// All that it printed, line by line.
    pub lines: Vec<String>,
    /// What the plugin counted; nothing for a bare run.
    pub metered: Metered,
    /// Functions of the EL2 binary.
    pub functions: Vec<Symbol>,
    /// The line that ended the run.
    pub last: String,
}

impl Run {
    /// What a guest said.
    fn of(guest: &Guest) -> Result<Self> {
        let lines = guest.lines_after(Cursor::default()).0;
        Ok(Self { rows: rows(&lines)?, lines, ..Self::default() })
    }

    /// Stages of the boot, as EL2 printed them: `stage N: NAME`.
    pub fn stages(&self) -> BTreeMap<u8, String> {
        let pattern = Regex::new(r"^bulkhead\| stage (\d+): (.*)$").expect("a valid pattern");
        let found = self.lines.iter().filter_map(|line| pattern.captures(line));
        found.filter_map(|stage| Some((stage[1].parse().ok()?, stage[2].to_string()))).collect()
    }
}

/// Builds the plugin with the host's C compiler.
pub fn build_plugin(paths: &Paths) -> Result<PathBuf> {
    let source = paths.root.join("scripts/bench-plugin/meter.c");
    let plugin = paths.products().join("bench/meter.so");
    files::create_dir(&paths.products().join("bench"))?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o"]);
    process::run_quiet(cc.arg(&plugin).arg(&source))?;
    Ok(plugin)
}

/// What a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Nothing: without the plugin, for what the guest itself measures over a long time.
    Nothing,
    /// EL2.
    El2,
    /// Each instruction of guests as well, which takes time.
    Guests,
}

impl Counting {
    fn argument(self) -> String {
        if self == Counting::Guests { format!(",guests={LOADER}") } else { String::new() }
    }
}

/// Runs a packed image under the plugin until `last` is printed, which may take `patience`, and ends it
/// through EL2.
pub fn hosted(
    paths: &Paths,
    plugin: &Path,
    image: &Image,
    name: &str,
    last: &str,
    counting: Counting,
    patience: Duration,
) -> Result<Run> {
    let elf = files::read(&image.el2)?;
    let elf = Elf::parse(&elf)?;
    let output = paths.products().join(format!("bench/{name}.meter"));
    let mut machine = run::machine(paths, image, &Overrides::default(), Some(CPU))?;
    let uart = UARTS[usize::from(machine.board != Board::Virt)];
    machine.options.extend(icount());
    if counting != Counting::Nothing {
        let argument = argument(plugin, &elf, &output, uart)? + &counting.argument();
        machine.options.extend(["-plugin".into(), argument]);
    }
    let mut guest = start(paths, &machine, name)?;
    let last = wait(&guest, last, patience)?;
    run::power_off(&mut guest)?;
    let metered = match counting {
        Counting::Nothing => Metered::default(),
        Counting::El2 | Counting::Guests => Metered::parse(&files::read_text(&output)?)?,
    };
    Ok(Run { metered, functions: elf.functions()?, last, ..Run::of(&guest)? })
}

/// Runs a payload bare at EL1 until `last` is printed.
pub fn bare(paths: &Paths, payload: &str, gic: u8, last: &str) -> Result<Run> {
    let machine = bare_machine(paths.payloads().join(payload), gic);
    let guest = start(paths, &machine, &format!("bare-gicv{gic}"))?;
    let last = wait(&guest, last, PATIENCE)?;
    Ok(Run { last, ..Run::of(&guest)? })
}

/// Runs the Linux partition's kernel with `initrd` bare at EL1 under the plugin, until `last` is printed
/// and it ends the machine.
pub fn bare_linux(paths: &Paths, plugin: &Path, initrd: &str, gic: u8, last: &str) -> Result<Run> {
    let payloads = paths.payloads();
    let output = paths.products().join(format!("bench/bare-linux-gicv{gic}.meter"));
    let mut machine = bare_machine(payloads.join("linux/Image"), gic);
    let argument =
        format!("{},out={},bare=on{}", plugin.display(), output.display(), Counting::Guests.argument());
    let initrd = payloads.join(initrd).display().to_string();
    // The board's device tree would have other random numbers in each run.
    machine.options.extend(["-machine", "dtb-randomness=off", "-plugin", &argument].map(String::from));
    machine.options.extend(["-initrd", &initrd, "-append", LINUX_ARGUMENTS].map(String::from));
    let mut guest = start(paths, &machine, &format!("bare-linux-gicv{gic}"))?;
    let last = wait(&guest, last, LONG_PATIENCE)?;
    if !guest.wait_exit(PATIENCE).is_some_and(|status| status.success()) {
        return Err(Failure::failed(format!("bare Linux did not end the machine\n{}", guest.tail(10))));
    }
    let metered = Metered::parse(&files::read_text(&output)?)?;
    Ok(Run { metered, last, ..Run::of(&guest)? })
}

/// QEMU `virt` without EL2, as large as a measured partition.
fn bare_machine(kernel: PathBuf, gic: u8) -> Machine {
    Machine {
        board: Board::Virt,
        kernel,
        gic,
        cpu: CPU.to_string(),
        cpus: 2,
        memory_mib: 256,
        virtualization: false,
        reboots: false,
        options: icount().to_vec(),
    }
}

/// Compiles a configuration for a board whose counter runs at [`COUNTER_HZ`]; for QEMU `virt` with that
/// version of the interrupt controller.
pub fn compile(paths: &Paths, configuration: &str, gic: u8) -> Result<Image> {
    let file = paths.root.join(configuration);
    let gic = (image::board(&file)? == "qemu-virt").then_some(gic);
    image::compile(paths, &file, &Overrides { gic, counter_hz: Some(COUNTER_HZ), ..Overrides::default() })
}

/// Time in instructions; the date, too.
fn icount() -> [String; 4] {
    ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"].map(String::from)
}

fn argument(plugin: &Path, elf: &Elf<'_>, output: &Path, uart: u64) -> Result<String> {
    let symbol = |name: &str| {
        elf.address(name)?.ok_or_else(|| Failure::failed(format!("the EL2 binary has no symbol {name}")))
    };
    let functions = elf.functions()?;
    let pieces = functions.iter().find(|f| f.name.contains(PIECES)).map(|f| f.address);
    let pieces = pieces.ok_or_else(|| Failure::failed(format!("the EL2 binary has no function {PIECES}")))?;
    let waits = functions.iter().filter(|f| APART.iter().any(|name| f.name.contains(name)));
    let apart: String = waits.map(|f| format!(",apart={:x}-{:x}", f.address, f.address + f.size)).collect();
    Ok(format!(
        "{},out={},text={:x}-{:x},vectors={:x},switch={:x},pieces={pieces:x},uart={uart:x}{apart}",
        plugin.display(),
        output.display(),
        symbol("__text_start")?,
        symbol("__text_end")?,
        symbol("bulkhead_vectors")?,
        symbol("bulkhead_reschedule")?,
    ))
}

fn start(paths: &Paths, machine: &Machine, name: &str) -> Result<Guest> {
    machine.start(Some(&paths.products().join(format!("bench/{name}.log"))))
}

fn wait(guest: &Guest, last: &str, patience: Duration) -> Result<String> {
    let pattern = Regex::new(last).map_err(|e| Failure::failed(format!("`{last}`: {e}")))?;
    guest.wait_for(&pattern, &mut Cursor::default(), patience).map_err(|cause| {
        let complaints = guest.complaints();
        Failure::failed(format!("`{last}` was not printed ({cause:?}) {complaints}\n{}", guest.tail(30)))
    })
}

/// Reads `row NAME phase=N ... values=VALUE*COUNT,...`.
fn rows(lines: &[String]) -> Result<BTreeMap<String, (u8, Histogram)>> {
    let pattern = Regex::new(r"(?:^|\| )row (\S+) phase=(\d+) .*values=(\S+)$").expect("a valid pattern");
    let mut rows = BTreeMap::new();
    for line in lines {
        let Some(found) = pattern.captures(line) else {
            continue;
        };
        let value = |text: &str| {
            let (value, count) = text.split_once('*')?;
            Some((value.parse().ok()?, count.parse().ok()?))
        };
        let values: Option<Vec<(u64, u64)>> = found[3].split(',').map(value).collect();
        let figures = values.and_then(Histogram::of).zip(found[2].parse().ok());
        let (ticks, phase) = figures.ok_or_else(|| Failure::failed(format!("{line}: not understood")))?;
        rows.insert(found[1].to_string(), (phase, ticks));
    }
    Ok(rows)
}
