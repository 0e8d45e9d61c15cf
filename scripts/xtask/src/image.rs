//! From sources and a configuration to a packed image: cargo, then the configuration compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_compile::model::{GicVersion, System};
use bulkhead_compile::{BuildReport, BuildRequest, CheckOptions};

use crate::budget::{self, Usage};
use crate::failure::{Failure, Result};
use crate::files::{self, Key};
use crate::lint::arrows::BARE_METAL_BINARIES;
use crate::paths::Paths;
use crate::process;
use crate::setup::linux::CROSS;
use crate::setup::toolchain::Toolchain;
use crate::wrapper::Overrides;

/// The binary of EL2, as cargo names it.
pub const EL2: &str = "bulkhead-hv";
/// The feature of it that selects GICv2 instead of GICv3.
pub const GICV2: &str = "gicv2";
/// The feature of it that overwrites the branch history at every entry from a guest.
pub const SPECTRE_BHB: &str = "spectre-bhb";
/// `image-base` of the boards' descriptions: QEMU `virt`.
const VIRT_BASE: u64 = 0x4020_0000;
/// And Raspberry Pi 4.
const RPI4_BASE: u64 = 0x20_0000;
/// The package of the tests' own payloads.
const PROBES: &str = "probes";
/// The binary that fills a partition's memory.
const LOADER: &str = "loader";

/// A configuration compiled into an image.
pub struct Image {
    /// The flat file that the board starts.
    pub path: PathBuf,
    /// The EL2 binary with its symbols.
    pub el2: PathBuf,
    /// Name of the board, as its directory below `board/`.
    pub board: String,
    /// Version of the board's interrupt controller.
    pub gic: u8,
    /// Processors of the board.
    pub cpus: usize,
    /// RAM of the board in MiB.
    pub memory_mib: u64,
    /// Names of the partitions, in the order of their ids.
    pub partitions: Vec<String>,
    /// Sizes and the compiler's one-screen summary.
    pub report: BuildReport,
}

/// How EL2 is compiled. It is far below 1 MiB: an address is one instruction. Nothing is outlined: that
/// would save 1 % of the code and put calls into the paths whose instructions count.
const EL2_CODE: [&str; 3] = ["--", "-Ccode-model=tiny", "-Cllvm-args=-enable-machine-outliner=never"];

/// Builds EL2 and the payloads and collects them where the compiler and configurations find them.
/// The probes are payloads of the tests alone.
pub fn binaries(paths: &Paths, toolchain: &Toolchain, with_probes: bool, boards: bool) -> Result<()> {
    let is_wanted = |package: &&&str| **package != EL2 && (with_probes || **package != PROBES);
    let others = BARE_METAL_BINARIES.iter().filter(is_wanted);
    process::run(cargo(paths, toolchain, "build").args(others.flat_map(|package| ["--package", package])))?;
    for gic in [3, 2] {
        Variant { gic, base: VIRT_BASE, spectre_bhb: false }.build(paths, toolchain)?;
    }
    if boards {
        Variant { gic: 2, base: RPI4_BASE, spectre_bhb: false }.build(paths, toolchain)?;
    }
    let payloads = paths.payloads();
    for binary in ["rtos", "monitor", "avionics"] {
        files::copy(&paths.bare_metal_binary(binary), &payloads.join(format!("{binary}.elf")))?;
    }
    if with_probes {
        let probes = payloads.join("probes");
        for probe in rust_probes(&paths.root)? {
            let target = probes.join(format!("{probe}.elf"));
            files::copy(&paths.bare_metal_binary(&probe), &target)?;
        }
        c_probes(paths, &probes)?;
    }
    Ok(())
}

/// Builds EL2 for configurations with `spectre-bhb`, which [`binaries`] leaves out.
pub fn mitigated(paths: &Paths, toolchain: &Toolchain, boards: bool) -> Result<()> {
    for gic in [3, 2] {
        Variant { gic, base: VIRT_BASE, spectre_bhb: true }.build(paths, toolchain)?;
    }
    if boards {
        Variant { gic: 2, base: RPI4_BASE, spectre_bhb: true }.build(paths, toolchain)?;
    }
    Ok(())
}

/// What an EL2 binary is built for.
#[derive(Clone, Copy)]
struct Variant {
    /// Version of the interrupt controller.
    gic: u8,
    /// Where it is linked.
    base: u64,
    /// Whether the branch history is overwritten at every entry from a guest.
    spectre_bhb: bool,
}

impl Variant {
    /// The binary.
    fn path(self, paths: &Paths) -> PathBuf {
        let mitigated = if self.spectre_bhb { "-spectre-bhb" } else { "" };
        paths.products().join("el2").join(format!("{EL2}-gicv{}-{:x}{mitigated}", self.gic, self.base))
    }

    /// Builds it. Another address than QEMU `virt` has it is the same code with other addresses; that has
    /// a directory of its own, so that the builds do not replace each other.
    fn build(self, paths: &Paths, toolchain: &Toolchain) -> Result<()> {
        let own = match self.base {
            VIRT_BASE => paths.clone(),
            base => Paths { target: paths.products().join(format!("el2-{base:x}")), ..paths.clone() },
        };
        let mut features = Vec::new();
        features.extend((self.gic == 2).then_some(GICV2));
        features.extend(self.spectre_bhb.then_some(SPECTRE_BHB));
        let mut command = cargo(&own, toolchain, "rustc");
        if self.base != VIRT_BASE {
            command.env("BULKHEAD_IMAGE_BASE", format!("{:#x}", self.base));
        }
        command.args(["--package", EL2, "--features", &features.join(",")]);
        process::run(command.args(EL2_CODE))?;
        files::copy(&own.bare_metal_binary(EL2), &self.path(paths))
    }
}

/// Builds the probes written in C: each directory of `partitions/probes` with a Makefile, which
/// puts its payloads into the directory `OUT`.
fn c_probes(paths: &Paths, probes: &Path) -> Result<()> {
    files::create_dir(probes)?;
    for makefile in files::list(&paths.root.join("partitions/probes"))? {
        if !makefile.ends_with("Makefile") {
            continue;
        }
        let directory = makefile.parent().unwrap_or(Path::new("."));
        let mut make = Command::new("make");
        make.arg("-C").arg(directory).arg(format!("OUT={}", probes.display()));
        process::run_quiet(make.arg(format!("CROSS_COMPILE={CROSS}")))?;
    }
    Ok(())
}

/// Names of the probes' binaries: the package's own, where it has one, and one for each file or
/// directory of `partitions/probes/src/bin`.
fn rust_probes(root: &Path) -> Result<Vec<String>> {
    let source = root.join("partitions/probes/src");
    let bin = source.join("bin");
    let mut names: Vec<String> =
        source.join("main.rs").exists().then(|| "probes".to_string()).into_iter().collect();
    for file in files::list(&bin)? {
        let relative = file.strip_prefix(&bin).unwrap_or(&file);
        let first = relative.iter().next().unwrap_or_default();
        names.extend(Path::new(first).file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.dedup();
    Ok(names)
}

fn cargo(paths: &Paths, toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut cargo = toolchain.cargo(subcommand);
    cargo.current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target);
    cargo.args(["--quiet", "--release"]);
    // The same source gives the same bytes wherever it lies.
    let remap = format!(
        "build.rustflags=['--remap-path-prefix={}=.', '--remap-path-prefix={}=/cargo']",
        paths.root.display(),
        cargo_home().display()
    );
    cargo.args(["--config", &remap]);
    cargo
}

/// Where cargo keeps the sources of libraries.
fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Whether a configuration is one of the tests', whose payloads are the probes.
pub fn is_test(paths: &Paths, configuration: &Path) -> bool {
    std::fs::canonicalize(configuration).is_ok_and(|file| file.starts_with(paths.root.join("tests")))
}

/// The EL2 binaries of [`binaries`] that differ in more than their address.
pub fn all_el2(paths: &Paths) -> [PathBuf; 2] {
    [2, 3].map(|gic| Variant { gic, base: VIRT_BASE, spectre_bhb: false }.path(paths))
}

/// Name of the board that a configuration is for, whatever else is right or wrong with it.
///
/// # Errors
/// The file cannot be read, or names no board.
pub fn board(file: &Path) -> Result<String> {
    Ok(needs(file)?.0)
}

/// What a configuration needs to be built: the board's name, and whether it has `spectre-bhb`.
///
/// # Errors
/// The file cannot be read, or names no board.
pub fn needs(file: &Path) -> Result<(String, bool)> {
    let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
    let checked = bulkhead_compile::check(file, &options)
        .map_err(|unusable| Failure::unusable(unusable.to_string()))?;
    match &checked.model {
        Some(system) => Ok((system.board.facts.name.clone(), system.hypervisor.spectre_bhb.is_some())),
        None => {
            let why = checked.render_blocking(false);
            Err(Failure::failed(format!("{} cannot be built\n{why}", file.display())))
        }
    }
}

/// Size of EL2, measured on the larger of the binaries that [`binaries`] built.
pub fn usage(paths: &Paths) -> Result<Usage> {
    budget::measure(&paths.root, &all_el2(paths))
}

/// Compiles a configuration, wrapped in what the command line overrides.
///
/// # Errors
/// The compiler's findings, as it shows them.
pub fn compile(paths: &Paths, file: &Path, overrides: &Overrides) -> Result<Image> {
    let file = std::fs::canonicalize(file).map_err(|e| Failure::file("read", file, &e))?;
    let own = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    let options = CheckOptions { payload_dirs: vec![own, paths.payloads()], payloads: true };
    let directory = place(paths, &file, overrides);
    let config = if overrides.is_empty() {
        file.clone()
    } else {
        let plain = judge(&file, &options)?;
        let wrapper = directory.join("wrapper.dts");
        files::write(&wrapper, overrides.wrap(&file, &plain)?.as_bytes())?;
        wrapper
    };
    let system = judge(&config, &options)?;
    let gic = if system.board.gic.version == GicVersion::V2 { 2 } else { 3 };
    let spectre_bhb = system.hypervisor.spectre_bhb.is_some();
    let hv_elf = Variant { gic, base: system.board.facts.image_base, spectre_bhb }.path(paths);
    let path = directory.join("bulkhead.img");
    let report = bulkhead_compile::build(&BuildRequest {
        config,
        hv_elf: hv_elf.clone(),
        loader_elf: loader(paths),
        payload_dirs: options.payload_dirs,
        output: path.clone(),
    })
    .map_err(|failure| Failure::unusable(format!("{} cannot be built\n{failure}", file.display())))?;
    Ok(describe(path, hv_elf, gic, &system, report))
}

/// The executable of the EL1 loader.
pub fn loader(paths: &Paths) -> PathBuf {
    paths.bare_metal_binary(LOADER)
}

/// A directory for the products of this configuration with these overrides.
fn place(paths: &Paths, file: &Path, overrides: &Overrides) -> PathBuf {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut key = Key::default();
    key.text(&file.to_string_lossy()).text(&format!("{overrides:?}"));
    paths.products().join("images").join(format!("{name}-{}", key.finish()))
}

/// The model of a configuration that may be built.
fn judge(file: &Path, options: &CheckOptions) -> Result<System> {
    let checked =
        bulkhead_compile::check(file, options).map_err(|unusable| Failure::unusable(unusable.to_string()))?;
    let clean = checked.is_clean();
    let why = checked.render_blocking(false);
    match checked.model {
        Some(system) if clean => Ok(system),
        _ => Err(Failure::failed(format!("{} cannot be built\n{why}", file.display()))),
    }
}

fn describe(path: PathBuf, el2: PathBuf, gic: u8, system: &System, report: BuildReport) -> Image {
    let mut partitions: Vec<(u32, String)> =
        system.partitions.iter().map(|p| (p.id.value, p.name.value.clone())).collect();
    partitions.sort();
    let ram: u64 = system.board.ram.iter().map(|(range, _)| range.size).sum();
    Image {
        path,
        el2,
        board: system.board.facts.name.clone(),
        gic,
        cpus: system.board.cpus.len(),
        memory_mib: ram >> 20,
        partitions: partitions.into_iter().map(|(_, name)| name).collect(),
        report,
    }
}
