//! `cargo xtask`: the one driver of the repository.
//!
//! Modules in reading order: [`setup`] (what a fresh machine lacks), [`image`] (from sources to an
//! image; [`wrapper`], [`budget`]), [`run`] and [`guest`] (QEMU), [`pack`] (evidence), [`mod@test`], [`bench`], [`bench_config`], [`lint`], the generated
//! files [`header`], [`sbom`] and [`bindings`]; below them [`metadata`], [`source`], [`elf`], [`cpio`], [`files`],
//! [`process`], [`paths`] and [`failure`].
#![forbid(unsafe_code)]

mod bench;
mod bench_config;
mod bindings;
mod budget;
mod c_constants;
mod cpio;
mod elf;
mod failure;
mod files;
mod flash;
mod guest;
mod header;
mod image;
mod lint;
mod metadata;
mod pack;
mod paths;
mod process;
mod run;
mod sbom;
mod setup;
mod size;
mod source;
mod test;
mod wrapper;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use failure::{Failure, Result};
use flash::device::Device;
use paths::Paths;
use wrapper::{Overrides, Virtio};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Bulkhead", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install and download what is missing (the other commands do so themselves)
    Setup {
        /// Look for newer Debian packages although complete ones are there
        #[arg(long)]
        update: bool,
        /// Also build the Linux module for the newer kernel series
        #[arg(long)]
        all_kernels: bool,
        /// Also fetch the kernel for real boards
        #[arg(long)]
        boards: bool,
        /// Also install the debugger that `run --gdb` uses
        #[arg(long)]
        gdb: bool,
    },
    /// Compile a configuration into an image and print its summary
    Build(Configuration),
    /// Run a configuration on QEMU
    Run(Run),
    /// Build a configuration and write its evidence pack
    Certify(Certify),
    /// Draw the pictures of the demo's report that the documentation shows (docs/img)
    Screenshots,
    /// Write a bootable card, or an image of one
    Flash(Flash),
    /// Run all tests, or those whose name contains FILTER
    Test(Test),
    /// Measure what events cost, in instructions
    Bench(Bench),
    /// Measure checker and verifier on synthetic systems of up to 100,000 partitions and 8 GiB
    BenchConfig {
        /// Check one size in this process and print nanoseconds and KiB
        #[arg(long, value_name = "PARTITIONS", hide = true)]
        one: Option<u64>,
        /// Verify an image in this process and print nanoseconds and KiB
        #[arg(long, value_name = "IMAGE", hide = true)]
        verify: Option<PathBuf>,
        /// Touch so much memory and give it back
        #[arg(long, value_name = "BYTES", hide = true)]
        touch: Option<u64>,
    },
    /// Check the rules of the house: dependencies, unsafe code, sizes, generated files
    Lint,
    /// Print what EL2 consists of: lines and bytes of each module of what was built last
    Size,
    /// Write the reference page of the language from the bindings, and hold the examples against them
    Bindings,
    /// Write the C header of the ABI
    Header,
    /// Write the software bill of materials
    Sbom,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    configuration: Configuration,
    /// Run without a terminal for so long; success if every partition is running at the end
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u32>,
    /// Write what EL2 traced to a file for Perfetto, and print histograms
    #[arg(long, value_name = "JSON", requires = "seconds")]
    trace: Option<PathBuf>,
    /// Count time in instructions, one to a nanosecond: timing does not depend on the host
    #[arg(long)]
    icount: bool,
    /// Wait for a debugger and print the line that starts it
    #[arg(long, conflicts_with = "seconds")]
    gdb: bool,
    /// Give the Linux partition a network card (a DMA master)
    #[arg(long)]
    net: bool,
    /// Give the Linux partition a disk (a DMA master)
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Processor model of QEMU
    #[arg(long)]
    cpu: Option<String>,
}

#[derive(Args)]
struct Certify {
    /// Configuration; without it the demo
    file: Option<PathBuf>,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Args)]
struct Flash {
    /// Configuration; without it the board's demo
    file: Option<PathBuf>,
    /// Board that the card is for: rpi4
    #[arg(long, value_parser = flash::BOARDS)]
    board: String,
    /// Write an image file
    #[arg(long, value_name = "FILE", conflicts_with = "device", required_unless_present = "device")]
    image: Option<PathBuf>,
    /// Overwrite a card in a reader
    #[arg(long, value_name = "/dev/X")]
    device: Option<PathBuf>,
    /// Also a device above 256 GB
    #[arg(long, requires = "device")]
    force: bool,
    /// Do not ask
    #[arg(long, requires = "device")]
    yes: bool,
    /// Start by Trusted Firmware-A, which offers PSCI, instead of the stock start-up code
    #[arg(long)]
    tf_a: bool,
}

#[derive(Args)]
struct Test {
    /// Part of the name of a test or case
    filter: Option<String>,
    /// Only what needs no emulator
    #[arg(long, conflicts_with = "system_only")]
    host_only: bool,
    /// Only the cases on the emulator
    #[arg(long)]
    system_only: bool,
    /// Only this version of the interrupt controller
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
}

#[derive(Args)]
struct Bench {
    /// Only this version of the interrupt controller
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
    /// Only these rows: quick, compared as far as they were measured
    #[arg(long, value_name = "GROUP")]
    only: Option<bench::Group>,
    /// The groups that take minutes instead of the others: Linux, the demo, 100,000 windows
    #[arg(long, conflicts_with = "only")]
    long: bool,
    /// Also show the instructions per function of EL2 of this row
    #[arg(long, value_name = "ROW")]
    profile: Option<String>,
    /// Also show how often each value of this row occurred
    #[arg(long, value_name = "ROW")]
    histogram: Option<String>,
    /// Make the figures the baseline (tests/bench.json) instead of comparing them with it
    #[arg(long)]
    bless: bool,
}

#[derive(Args)]
struct Configuration {
    /// Configuration; without it the demo
    file: Option<PathBuf>,
    /// Version of the board's interrupt controller
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
}

impl Configuration {
    fn file(&self, paths: &Paths) -> PathBuf {
        self.file.clone().unwrap_or_else(|| paths.root.join("config/examples/demo.dts"))
    }
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.exit())
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    let paths = Paths::from_environment()?;
    match verb {
        Verb::Setup { update, all_kernels, boards, gdb } => {
            let options = setup::Options { debugger: gdb, update, all_kernels, boards, lints: false };
            let toolchain = setup::ensure(&paths, options)?;
            println!("ready: {}", toolchain.describe());
            Ok(())
        }
        Verb::Build(configuration) => {
            let overrides = Overrides { gic: configuration.gic, ..Overrides::default() };
            let options = setup::Options::default();
            build(&paths, &configuration, &overrides, options)?.1.check()
        }
        Verb::Run(run) => run.perform(&paths),
        Verb::Certify(certify) => certify.perform(&paths, setup::Options::default()),
        Verb::Screenshots => {
            let pack = paths.products().join("report");
            let browser = setup::Options { lints: true, ..setup::Options::default() };
            Certify { file: None, output: pack.clone() }.perform(&paths, browser)?;
            pack::screenshots(&paths, &pack)
        }
        Verb::Flash(flash) => flash.perform(&paths),
        Verb::Test(test) => test.perform(&paths),
        Verb::Bench(bench) => {
            let options = bench::Options {
                gic: bench.gic,
                only: bench.only,
                long: bench.long,
                profile: bench.profile.as_deref(),
                histogram: bench.histogram.as_deref(),
                bless: bench.bless,
            };
            let setup = setup::Options { boards: options.needs_boards(), ..setup::Options::default() };
            let toolchain = setup::ensure(&paths, setup)?;
            bench::run(&paths, &toolchain, &options)
        }
        Verb::BenchConfig { one: Some(count), .. } => bench_config::one(count),
        Verb::BenchConfig { touch: Some(bytes), .. } => {
            bench_config::touch(bytes);
            Ok(())
        }
        Verb::BenchConfig { verify: Some(image), .. } => bench_config::verify(&image),
        Verb::BenchConfig { .. } => {
            let toolchain = setup::ensure(&paths, setup::Options::default())?;
            bench_config::run(&paths, &toolchain)
        }
        Verb::Lint => lint::check(&paths.root, &image::all_el2(&paths)),
        Verb::Size => size::print(&paths.root, &image::all_el2(&paths)[1]),
        Verb::Bindings => bindings::run(&paths),
        Verb::Header => header::write(&paths.root),
        Verb::Sbom => sbom::write(&paths.root),
    }
}

impl Run {
    fn perform(self, paths: &Paths) -> Result<()> {
        // Before the build: nobody waits for it to learn of a wrong name.
        if let Some(disk) = &self.disk {
            wrapper::check_disk(disk)?;
        }
        let mut virtio = Vec::new();
        virtio.extend(self.net.then_some(Virtio::Network));
        virtio.extend(self.disk.map(Virtio::Disk));
        let overrides = Overrides { gic: self.configuration.gic, virtio, ..Overrides::default() };
        let setup = setup::Options { debugger: self.gdb, ..setup::Options::default() };
        let (image, usage) = build(paths, &self.configuration, &overrides, setup)?;
        if let Err(over) = usage.check() {
            println!("warning: {over}");
        }
        let options = run::Options {
            duration: self.seconds.map(|seconds| Duration::from_secs(seconds.into())),
            trace: self.trace,
            icount: self.icount,
            debugger: self.gdb,
            sources: paths.root.clone(),
            cpu: self.cpu,
            log: paths.products().join("run.log"),
        };
        run::run(paths, &image, &overrides, &options)
    }
}

impl Certify {
    fn perform(self, paths: &Paths, options: setup::Options) -> Result<()> {
        let configuration = Configuration { file: self.file, gic: None };
        let (image, _) = build(paths, &configuration, &Overrides::default(), options)?;
        pack::certify(paths, &configuration.file(paths), &image, &self.output)
    }
}

impl Flash {
    fn perform(self, paths: &Paths) -> Result<()> {
        // The target first: nobody waits for a build to learn of a wrong name.
        let target = match (self.device, self.image) {
            (Some(device), _) => flash::Target::Device(Device::examine(&device, self.force)?),
            (None, image) => flash::Target::File(image.unwrap_or_default()),
        };
        let demo = || paths.root.join(format!("config/examples/demo-{}.dts", self.board));
        let file = self.file.unwrap_or_else(demo);
        let found = image::board(&file)?;
        if found != self.board {
            return Err(Failure::unusable(format!(
                "{} is for the board {found}, the card for {}: include \"board/{}.dtsi\" in the configuration",
                file.display(),
                self.board,
                self.board
            )));
        }
        let configuration = Configuration { file: Some(file), gic: None };
        let overrides = Overrides { trusted_firmware: self.tf_a, ..Overrides::default() };
        let (image, usage) = build(paths, &configuration, &overrides, setup::Options::default())?;
        if let Err(over) = usage.check() {
            println!("warning: {over}");
        }
        let firmware = setup::firmware::ensure(&paths.cache)?;
        if let flash::Target::Device(device) = &target {
            device.confirm(self.yes)?;
        }
        let contents = flash::Contents { image: &image, firmware: &firmware, trusted_firmware: self.tf_a };
        flash::flash(paths, &contents, &target)
    }
}

impl Test {
    fn perform(self, paths: &Paths) -> Result<()> {
        let options =
            setup::Options { all_kernels: true, boards: true, lints: true, ..setup::Options::default() };
        let toolchain = setup::ensure(paths, options)?;
        let scope = match (self.host_only, self.system_only) {
            (true, _) => test::Scope::Host,
            (_, true) => test::Scope::System,
            _ => test::Scope::All,
        };
        test::run(paths, &toolchain, scope, self.filter.as_deref(), self.gic)
    }
}

/// Sets up, builds, compiles and prints the summary.
fn build(
    paths: &Paths,
    configuration: &Configuration,
    overrides: &Overrides,
    options: setup::Options,
) -> Result<(image::Image, budget::Usage)> {
    let file = configuration.file(paths);
    let (board, mitigated) = image::needs(&file)?;
    let boards = board != "qemu-virt";
    let toolchain = setup::ensure(paths, setup::Options { boards, ..options })?;
    image::binaries(paths, &toolchain, image::is_test(paths, &file), boards)?;
    if mitigated {
        image::mitigated(paths, &toolchain, boards)?;
    }
    let usage = image::usage(paths)?;
    let image = image::compile(paths, &file, overrides)?;
    println!("{}\n{}", image.report.summary().trim_end(), usage.summary());
    Ok((image, usage))
}
