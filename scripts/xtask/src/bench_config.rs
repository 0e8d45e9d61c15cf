//! `cargo xtask bench-config`: time and memory of the configuration checker on synthetic systems.
//!
//! The systems are device-tree blobs of our own writing (dtc is quadratic in siblings), for a board whose limits are
//! raised. Each size is measured in a process of its own, on one thread, with the release build of this command, in time
//! on the CPU; the least of several runs counts. Memory is the peak resident set (VmHWM of proc(5)). The verifier is
//! measured the same way on an image that maps 8 GiB in pages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bulkhead_compile::board::{BUILTIN_BOARDS, Limits, parse_facts};
use bulkhead_compile::check_blob;
use bulkhead_compile::diag::Severity;
use bulkhead_compile::read::SearchPath;
use bulkhead_compile::rules::RULES;
use vm_fdt::FdtWriter;

use crate::failure::{Failure, Result};
use crate::paths::Paths;
use crate::setup::toolchain::Toolchain;
use crate::wrapper::Overrides;
use crate::{files, image};

/// Regions of each partition.
const REGIONS: u64 = 16;
/// CPUs of the synthetic board.
const CPUS: u64 = 8;
/// What is touched before a size is measured, for each partition: about what the checker needs.
const TOUCHED_BYTES: u64 = 24 << 10;
/// Runs of each size.
const RUNS: usize = 3;
/// Most time for 10,000 partitions.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Most memory for 10,000 partitions, KiB.
const MEMORY_MAX_KIB: u64 = 300_000_000 >> 10;
/// Greatest factor of time from one size to ten times that.
const GROWTH_MAX: f64 = 13.0;
/// What CI allows of [`GROWTH_MAX`] more, for a machine that does other things too: what is quadratic grows a hundredfold.
const GROWTH_SLACK: f64 = 1.5;
/// Most time for the verification of [`LARGE`].
const VERIFY_MAX: Duration = Duration::from_millis(500);
/// Page descriptors of [`LARGE`], at run time and for the loader.
const LARGE_LEAVES: u64 = 2 * (8 << 30 >> 12);
/// A partition of 8 GiB whose addresses differ from the physical ones modulo 2 MiB: no block can be used.
const LARGE: &str = "/ { memory@100000000 { device_type = \"memory\"; reg = <0x1 0x00000000 0x2 0x00100000>; }; };\n\
    &a { memory = <0x1 0x00000000 0x2 0x00000000>; bulkhead,memory-pa = <0x1 0x00001000>;\n\
    \tbulkhead,load = <0x1 0x00080000>; bulkhead,entry = <0x1 0x00080000>; };\n";
/// What others check; none of them gives a time.
const PEERS: &str = "for comparison: Muen 153 rules, Microkit 147 tests, ACRN 44 assertions, Bao and Jailhouse compare \
    no two cells; none of them verifies a packed image\n\
    for comparison: dtc 1.6.1 alone is quadratic in siblings, 9,000 take 2.6 s and 10,000 fail";
/// Phandles of the nodes that are referred to.
const CPUS_PHANDLE: u32 = 1;
const GIC: u32 = 2;
const UART: u32 = 3;
const TABLE: u32 = 4;
const PLAN: u32 = 5;
const CPU: u32 = 8;
const PARTITION: u32 = 100;

type Written = std::result::Result<(), vm_fdt::Error>;

/// Result of one size.
#[derive(Debug, Clone, Copy)]
struct Measured {
    time: Duration,
    memory_kib: u64,
}

fn wide(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// A blob with `count` partitions.
fn blob(count: u64) -> std::result::Result<Vec<u8>, vm_fdt::Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "bulkhead,bench")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", GIC)?;
    board(&mut fdt)?;
    domains(&mut fdt, count)?;
    ports(&mut fdt, count)?;
    plans(&mut fdt, count)?;
    health(&mut fdt)?;
    fdt.end_node(root)?;
    fdt.finish()
}

fn board(fdt: &mut FdtWriter) -> Written {
    let memory = fdt.begin_node("memory@100000000")?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u32("reg", &[wide(1 << 32), wide(1 << 43)].concat())?;
    fdt.end_node(memory)?;
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("phandle", CPUS_PHANDLE)?;
    for cpu in 0..CPUS as u32 {
        let node = fdt.begin_node(&format!("cpu@{cpu}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,cortex-a72")?;
        fdt.property_string("enable-method", "psci")?;
        fdt.property_u32("reg", cpu)?;
        fdt.property_u32("phandle", CPU + cpu)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(cpus)?;
    let gic = fdt.begin_node("interrupt-controller@8000000")?;
    fdt.property_string("compatible", "arm,gic-v3")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_array_u32("reg", &[0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0xf6_0000])?;
    fdt.property_u32("phandle", GIC)?;
    fdt.end_node(gic)?;
    let uart = fdt.begin_node("serial@9000000")?;
    fdt.property_string("compatible", "arm,pl011")?;
    fdt.property_array_u32("reg", &[0, 0x0900_0000, 0, 0x1000])?;
    fdt.property_array_u32("interrupts", &[0, 1, 4])?;
    fdt.property_u32("phandle", UART)?;
    fdt.end_node(uart)?;
    let hypervisor = fdt.begin_node("hypervisor")?;
    fdt.property_string("compatible", "bulkhead,system-v1")?;
    fdt.property_string("part-number", "BENCH")?;
    fdt.property_u32("console", UART)?;
    fdt.property_u32("console-cpu", CPU)?;
    fdt.end_node(hypervisor)
}

fn domains(fdt: &mut FdtWriter, count: u64) -> Written {
    let domains = fdt.begin_node("domains")?;
    for number in 0..count {
        let node = fdt.begin_node(&format!("p{number}"))?;
        fdt.property_string_list(
            "compatible",
            vec!["openamp,domain-v1".into(), "bulkhead,partition".into()],
        )?;
        fdt.property_u32("phandle", PARTITION + number as u32)?;
        fdt.property_u32("id", number as u32 + 1)?;
        fdt.property_array_u32("cpus", &[CPUS_PHANDLE, 1 << (number % CPUS), 1])?;
        fdt.property_array_u32("memory", &[wide(0x4000_0000), wide(0x20_0000)].concat())?;
        fdt.property_array_u32("bulkhead,memory-pa", &wide((1 << 32) + number * (4 << 20)))?;
        fdt.property_string("bulkhead,image", "payload.elf")?;
        fdt.property_string("bulkhead,criticality", "QM")?;
        fdt.property_u32("bulkhead,health", TABLE)?;
        let timing = fdt.begin_node("timing")?;
        fdt.property_u32("period-ms", count.div_ceil(CPUS) as u32)?;
        fdt.property_u32("duration-us", 500)?;
        fdt.end_node(timing)?;
        let regions = fdt.begin_node("regions")?;
        for region in 0..REGIONS {
            let node = fdt.begin_node(&format!("r{region}"))?;
            fdt.property_array_u32("size", &wide(0x1000))?;
            fdt.property_array_u32("at", &wide(0x5000_0000 + region * 0x2000))?;
            fdt.property_array_u32(
                "pa",
                &wide((1 << 32) + number * (4 << 20) + (2 << 20) + region * 0x2000),
            )?;
            fdt.end_node(node)?;
        }
        fdt.end_node(regions)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(domains)
}

/// A sampling port from each partition to the next.
fn ports(fdt: &mut FdtWriter, count: u64) -> Written {
    let ports = fdt.begin_node("ports")?;
    for number in 0..count - 1 {
        let node = fdt.begin_node(&format!("c{number}"))?;
        fdt.property_string("compatible", "bulkhead,sampling-port")?;
        fdt.property_u32("from", PARTITION + number as u32)?;
        fdt.property_u32("to", PARTITION + number as u32 + 1)?;
        fdt.property_u32("message-bytes", 64)?;
        fdt.property_u32("refresh-ms", 1_000_000)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(ports)
}

/// One plan in which every partition has a window of a millisecond.
fn plans(fdt: &mut FdtWriter, count: u64) -> Written {
    let plans = fdt.begin_node("plans")?;
    fdt.property_u32("initial", PLAN)?;
    let plan = fdt.begin_node("normal")?;
    fdt.property_u32("phandle", PLAN)?;
    fdt.property_u32("id", 0)?;
    fdt.property_u32("major-frame-ms", count.div_ceil(CPUS) as u32)?;
    for cpu in 0..CPUS {
        let node = fdt.begin_node(&format!("cpu-{cpu}"))?;
        fdt.property_u32("cpu", CPU + cpu as u32)?;
        for (slot, number) in (cpu..count).step_by(CPUS as usize).enumerate() {
            let window = fdt.begin_node(&format!("w{number}"))?;
            fdt.property_u32("partition", PARTITION + number as u32)?;
            fdt.property_u32("start-ms", slot as u32)?;
            fdt.property_u32("duration-us", 900)?;
            fdt.end_node(window)?;
        }
        fdt.end_node(node)?;
    }
    fdt.end_node(plan)?;
    fdt.end_node(plans)
}

fn health(fdt: &mut FdtWriter) -> Written {
    let health = fdt.begin_node("health")?;
    let module = fdt.begin_node("module")?;
    fdt.property_string("default-action", "reset-board")?;
    fdt.end_node(module)?;
    let table = fdt.begin_node("table")?;
    fdt.property_u32("phandle", TABLE)?;
    fdt.property_string("default-action", "halt")?;
    fdt.end_node(table)?;
    fdt.end_node(health)
}

/// The first built-in board with the limits of EL2's tables and VMIDs raised.
fn search() -> Result<SearchPath> {
    let text = BUILTIN_BOARDS.first().copied().unwrap_or_default();
    let mut facts = parse_facts(text).map_err(|e| Failure::failed(e.to_string()))?;
    facts.name = "bench".to_owned();
    facts.compatible = vec!["bulkhead,bench".to_owned()];
    facts.vmid_bits = 32;
    let most = 1 << 24;
    facts.limits =
        Limits { partitions: most, cpus: most, vcpus: most, partition_vcpus: most, port_ends: most };
    Ok(SearchPath { directories: Vec::new(), boards: vec![facts] })
}

/// Checks one size in this process and prints nanoseconds and KiB for [`spawn`].
pub fn one(count: u64) -> Result<()> {
    let blob = blob(count).map_err(|e| Failure::failed(format!("the synthetic system: {e}")))?;
    let search = search()?;
    touched(count * TOUCHED_BYTES)?;
    let start = on_cpu()?;
    let checked = check_blob(&blob, "synthetic.dtb", &search, false);
    let time = on_cpu()?.saturating_sub(start);
    let errors: Vec<&str> = checked
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| f.message.as_str())
        .collect();
    if let Some(first) = errors.first() {
        return Err(Failure::failed(format!("the synthetic system has {} errors: {first}", errors.len())));
    }
    let partitions = checked.model.map_or(0, |m| m.partitions.len() as u64);
    if partitions != count {
        return Err(Failure::failed(format!("read {partitions} partitions, expected {count}")));
    }
    println!("{} {}", time.as_nanos(), peak_kib());
    Ok(())
}

/// Touches `bytes` and gives them back, in a process of its own: the host of a virtual machine may take back memory that
/// the machine does not use, and what it then asks for each page's first touch is several times the machine's own price
/// and differs from run to run.
fn touched(bytes: u64) -> Result<()> {
    let program =
        std::env::current_exe().map_err(|e| Failure::failed(format!("no path of this program: {e}")))?;
    let done = Command::new(program).args(["bench-config", "--touch", &bytes.to_string()]).status();
    if done.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(Failure::failed(format!("no {bytes} bytes")))
    }
}

/// Touches `bytes` of memory, for [`one`].
pub fn touch(bytes: u64) {
    drop(std::hint::black_box(vec![1_u8; bytes as usize]));
}

/// Time that this process has spent on a CPU, whatever else the machine does (first field of schedstat, proc(5)).
fn on_cpu() -> Result<Duration> {
    let path = std::path::Path::new("/proc/self/schedstat");
    let text = crate::files::read_text(path)?;
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanoseconds.map(Duration::from_nanos).ok_or_else(|| Failure::failed("no time in /proc/self/schedstat"))
}

/// Peak resident set of this process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Verifies an image in this process and prints nanoseconds and KiB for [`spawn`].
pub fn verify(path: &Path) -> Result<()> {
    let failed = |e: bulkhead_verify::Unreadable| Failure::failed(e.to_string());
    let start = on_cpu()?;
    let image = bulkhead_verify::Image::read(path).map_err(failed)?;
    let report = bulkhead_verify::verify(&image).map_err(failed)?;
    let time = on_cpu()?.saturating_sub(start);
    if !report.holds() {
        return Err(Failure::failed(report.to_text()));
    }
    let walked = report.claims.iter().find(|claim| claim.id == "VFY-010").map_or(0, |claim| claim.examined);
    if walked < LARGE_LEAVES {
        return Err(Failure::failed(format!("{walked} descriptors, expected at least {LARGE_LEAVES}")));
    }
    println!("{} {}", time.as_nanos(), peak_kib());
    Ok(())
}

/// Builds [`LARGE`]; the image's file.
fn large(paths: &Paths, toolchain: &Toolchain) -> Result<PathBuf> {
    image::binaries(paths, toolchain, false, false)?;
    let directory = paths.products().join("bench-config");
    files::create_dir(&directory)?;
    let bad = paths.root.join("config/bad");
    files::copy(&bad.join("payload.bin"), &directory.join("payload.bin"))?;
    let source = directory.join("large.dts");
    let text = format!("/dts-v1/;\n/include/ \"{}\"\n{LARGE}", bad.join("good.dtsi").display());
    files::write(&source, text.as_bytes())?;
    Ok(image::compile(paths, &source, &Overrides::default())?.path)
}

/// The least of several runs with the same arguments, each in a process of its own.
fn spawn(program: &Path, arguments: &[&str]) -> Result<Measured> {
    let mut best: Option<Measured> = None;
    for _ in 0..RUNS {
        let output = Command::new(program)
            .arg("bench-config")
            .args(arguments)
            .output()
            .map_err(|e| Failure::failed(format!("cannot run {}: {e}", program.display())))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [nanoseconds, memory_kib] = numbers[..] else {
            return Err(Failure::failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        };
        let time = Duration::from_nanos(nanoseconds);
        if best.is_none_or(|b| time < b.time) {
            best = Some(Measured { time, memory_kib });
        }
    }
    best.ok_or_else(|| Failure::failed("no run".to_owned()))
}

/// Measures and compares with the goals.
pub fn run(paths: &Paths, toolchain: &Toolchain) -> Result<()> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--package", "xtask", "--target-dir", "target/bench-config"])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .current_dir(&paths.root)
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err(Failure::failed("cannot build xtask for release".to_owned()));
    }
    let program = paths.root.join("target/bench-config/release/xtask");
    let mut missed = checker(&program)?;
    let image = large(paths, toolchain)?;
    let verified = spawn(&program, &["--verify", &image.display().to_string()])?;
    let (time, memory) = (verified.time.as_millis(), verified.memory_kib >> 10);
    println!(
        "verifying an image that maps 8 GiB in pages of 4 KiB: {time} ms, {memory} MiB; goal: below {VERIFY_MAX:?}"
    );
    if verified.time > VERIFY_MAX {
        missed.push(format!("verification: below {VERIFY_MAX:?}"));
    }
    println!("{} rules\n{PEERS}", RULES.len());
    if missed.is_empty() { Ok(()) } else { Err(Failure::failed(missed.join("; "))) }
}

/// Measures 1,000, 10,000 and 100,000 partitions; the goals that are missed.
fn checker(program: &Path) -> Result<Vec<String>> {
    let measured = sizes(program, &[1_000, 10_000, 100_000])?;
    let mut missed = missed(&measured, GROWTH_MAX);
    if measured[1].time > TIME_MAX {
        missed.push(format!("10,000 partitions: below {TIME_MAX:?}"));
    }
    println!(
        "goals: 10,000 below {TIME_MAX:?} and {} MiB, growth at most {GROWTH_MAX}x",
        MEMORY_MAX_KIB >> 10
    );
    Ok(missed)
}

/// Checks memory and growth from 1,000 to 10,000 partitions, by this program as it is built: no time is judged.
///
/// # Errors
/// What is above its limit.
pub fn growth() -> Result<()> {
    let program =
        std::env::current_exe().map_err(|e| Failure::failed(format!("no path of this program: {e}")))?;
    let missed = missed(&sizes(&program, &[1_000, 10_000])?, GROWTH_MAX * GROWTH_SLACK);
    if missed.is_empty() { Ok(()) } else { Err(Failure::failed(missed.join("; "))) }
}

/// Measures each number of partitions and prints it.
fn sizes(program: &Path, counts: &[u64]) -> Result<Vec<Measured>> {
    println!("checking {REGIONS} regions, a port, a window and a requirement for each partition, one thread");
    println!("{:>10}  {:>10}  {:>9}  growth", "partitions", "time", "memory");
    let mut all: Vec<Measured> = Vec::new();
    for &count in counts {
        let now = spawn(program, &["--one", &count.to_string()])?;
        let shown = all.last().map_or(String::new(), |before| format!("{:.1}x", factor(before, &now)));
        println!("{count:>10}  {:>7} ms  {:>5} MiB  {shown}", now.time.as_millis(), now.memory_kib >> 10);
        all.push(now);
    }
    Ok(all)
}

fn factor(before: &Measured, now: &Measured) -> f64 {
    now.time.as_secs_f64() / before.time.as_secs_f64()
}

/// What of `measured` (1,000 partitions, then ten times as many each) grows or takes too much.
fn missed(measured: &[Measured], growth_max: f64) -> Vec<String> {
    let mut missed = Vec::new();
    let pairs = measured.iter().zip(&measured[1..]);
    for (number, (before, now)) in pairs.enumerate() {
        let growth = factor(before, now);
        if growth > growth_max {
            let step = ["1,000 to 10,000", "10,000 to 100,000"][number];
            missed.push(format!("{growth:.1} times the time from {step} partitions, at most {growth_max}"));
        }
    }
    let most = MEMORY_MAX_KIB >> 10;
    let memory = measured[1].memory_kib >> 10;
    if memory > most {
        missed.push(format!("10,000 partitions: {memory} MiB, at most {most}"));
    }
    missed
}
