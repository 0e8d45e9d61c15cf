//! The compiler for the bare-metal target: rustup's, or Debian's with `core` built here.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{self, PrivateApt, StateRequest};
use super::mirror::Host;
use crate::failure::{Failure, Result};
use crate::files::{self, Stamp};
use crate::paths::BARE_METAL;
use crate::process;

/// Environment variable that chooses the toolchain: `rustup` or `debian`.
const CHOICE: &str = "BULKHEAD_TOOLCHAIN";

/// Debian's packages of a current compiler with its sources, linker, clippy and rustfmt.
const DEBIAN_PACKAGES: &[&str] =
    &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy", "lld-22"];

const LAYOUT: &str = "1";

/// A way to build for [`BARE_METAL`].
#[derive(Clone, Debug)]
pub enum Toolchain {
    /// The toolchain that runs this driver has the target's `core`.
    Native,
    /// Debian's toolchain, unpacked below this directory; it builds `core` itself.
    Debian(PathBuf),
}

impl Toolchain {
    /// A cargo command for bare-metal crates: subcommand, target and all that the toolchain needs.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Toolchain::Native => Command::new(host_cargo()),
            Toolchain::Debian(root) => debian_cargo(root),
        };
        command.args([subcommand, "--target", BARE_METAL]);
        if let Toolchain::Debian(_) = self {
            command
                .args(["-Zbuild-std=core,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]);
        }
        command
    }

    /// Version of the compiler, as it names itself.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn compiler(&self) -> Result<String> {
        let mut rustc = match self {
            Toolchain::Native => Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())),
            Toolchain::Debian(root) => {
                let mut rustc = Command::new(root.join("usr/bin/rustc"));
                rustc.env("LD_LIBRARY_PATH", library_path(root));
                rustc
            }
        };
        Ok(process::capture(rustc.arg("--version"))?.trim().to_string())
    }

    /// One line for the user.
    pub fn describe(&self) -> &'static str {
        match self {
            Toolchain::Native => "rustup's toolchain with the bare-metal target",
            Toolchain::Debian(_) => "Debian's toolchain, building core for the bare-metal target",
        }
    }
}

/// The cargo that runs this driver.
pub fn host_cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn debian_cargo(root: &Path) -> Command {
    let bin = root.join("usr/bin");
    let mut command = Command::new(bin.join("cargo"));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path =
        [bin.clone(), root.join("usr/lib/llvm-22/bin")].into_iter().chain(std::env::split_paths(&inherited));
    command
        .env("PATH", std::env::join_paths(path).unwrap_or(inherited.clone()))
        .env("LD_LIBRARY_PATH", library_path(root))
        .env("RUSTC", bin.join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", "ld.lld")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    command
}

fn library_path(root: &Path) -> String {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let lib = root.join("usr/lib");
    format!("{}:{}", lib.join(triple).display(), lib.join("llvm-22/lib").display())
}

/// Makes sure that one of the two ways works, and says which.
///
/// # Errors
/// Names what each way lacked.
pub fn ensure(cache: &Path, update: bool) -> Result<Toolchain> {
    match std::env::var(CHOICE).unwrap_or_default().as_str() {
        "debian" => debian(cache, update),
        "rustup" => native(),
        "" if !native_target().is_dir() && debian_stamp(cache).is_current() => debian(cache, update),
        "" => native().or_else(|first| {
            println!("{first}\ntrying Debian's toolchain instead");
            debian(cache, update).map_err(|second| {
                Failure::unusable(format!("no bare-metal compiler.\n  rustup: {first}\n  Debian: {second}"))
            })
        }),
        other => {
            Err(Failure::unusable(format!("{CHOICE} is `{other}`; it may be `rustup`, `debian` or unset")))
        }
    }
}

fn native() -> Result<Toolchain> {
    if native_target().is_dir() {
        return Ok(Toolchain::Native);
    }
    println!("bare-metal target {BARE_METAL}: 1 file to download, about 12 MB, 5 s");
    process::run(Command::new("rustup").args(["target", "add", BARE_METAL]))?;
    if native_target().is_dir() {
        return Ok(Toolchain::Native);
    }
    Err(Failure::unusable(format!(
        "rustup added {BARE_METAL}, but not to the toolchain that runs this driver ({})",
        host_cargo().display()
    )))
}

/// Makes sure that the running toolchain has clippy and rustfmt, which tests use.
///
/// # Errors
/// When they are missing and rustup cannot fetch them.
pub fn ensure_lints() -> Result<()> {
    let bin = host_cargo().parent().map(Path::to_path_buf).unwrap_or_default();
    let has = |program: &str| bin.join(program).exists() || process::find(program).is_some();
    if has("cargo-clippy") && has("cargo-fmt") {
        return Ok(());
    }
    println!("clippy and rustfmt: 2 files to download, about 8 MB, 2 s");
    process::run(Command::new("rustup").args(["component", "add", "clippy", "rustfmt"]))
        .map_err(|failure| Failure::unusable(format!("tests need clippy and rustfmt: {failure}")))
}

/// Where the running toolchain keeps the target's libraries, if it has them.
fn native_target() -> PathBuf {
    let sysroot = host_cargo().ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default();
    sysroot.join("lib/rustlib").join(BARE_METAL).join("lib")
}

fn debian_root(cache: &Path) -> PathBuf {
    cache.join("rust-debian")
}

fn debian_stamp(cache: &Path) -> Stamp {
    Stamp::new(debian_root(cache).join("stamp"), LAYOUT.into())
}

fn debian(cache: &Path, update: bool) -> Result<Toolchain> {
    let root = debian_root(cache);
    let stamp = debian_stamp(cache);
    if stamp.is_current() && !update {
        return Ok(Toolchain::Debian(root));
    }
    let architecture = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
    let host = Host::read()?;
    if !host.is_debian {
        return Err(Failure::unusable("Debian's toolchain needs a Debian host"));
    }
    let security = format!("{}-security", host.codename);
    println!("reading the package lists of Debian {} (about 10 MB, 5 s)", host.codename);
    let suites = [(host.mirror()?, host.codename.as_str()), (host.security_mirror()?, security.as_str())];
    let state = PrivateApt::create(&StateRequest {
        directory: cache.join("apt-rust"),
        architecture: architecture.trim(),
        foreign: &[],
        suites: &suites,
        components: "main",
        proxies: apt::host_proxies()?,
        installed: Some(Path::new("/var/lib/dpkg/status")),
    })?;
    state.update()?;
    let downloads = state.resolve_with_dependencies(DEBIAN_PACKAGES)?;
    state.discard()?;
    let store = cache.join("packages");
    apt::fetch("Debian's Rust toolchain", &downloads, &store)?;
    let partial = cache.join("rust-debian.part");
    files::remove_dir(&partial)?;
    apt::unpack(&downloads, &store, &partial)?;
    files::remove_dir(&root)?;
    files::rename(&partial, &root)?;
    process::run_quiet(debian_cargo(&root).arg("--version"))?;
    stamp.set()?;
    apt::discard(&downloads, &store)?;
    Ok(Toolchain::Debian(root))
}
