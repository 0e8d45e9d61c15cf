//! The Linux partition's payloads: kernel image, module, tool and initramfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::{self, Kernel};
use crate::cpio::Archive;
use crate::failure::Result;
use crate::files::{self, Key, Stamp};
use crate::paths::Paths;
use crate::process;

/// Changes whenever this code makes something else of the same inputs.
const LAYOUT: &str = "4";

/// Prefix of the cross compiler's programs.
pub const CROSS: &str = "aarch64-linux-gnu-";

/// Modules of Debian's kernel that a passed-through virtio-mmio device needs, in loading order.
const DEBIAN_MODULES: &[&str] =
    &["virtio", "virtio_ring", "virtio_mmio", "failover", "net_failover", "virtio_net", "virtio_blk"];

/// Modules of the kernel for boards that their SD card needs, in loading order: its supplies, the controllers of the Raspberry
/// Pi 4, and FAT.
const CARD_MODULES: &[&str] =
    &["fixed", "sdhci", "sdhci-pltfm", "sdhci-iproc", "fat", "vfat", "nls_cp437", "nls_ascii"];

/// Builds `Image` and `initramfs.cpio.gz` in the directory `name` of the payloads if an input changed.
pub fn ensure(paths: &Paths, kernel: &Kernel, name: &str) -> Result<()> {
    let sources = paths.root.join("partitions/linux");
    let out = paths.payloads().join(name);
    let mut key = Key::default();
    key.text(LAYOUT).text(&kernel.packages()?).tree(&sources)?;
    let stamp = Stamp::new(paths.products().join(format!("{name}.stamp")), key.finish());
    if stamp.is_current() && out.join("Image").exists() && out.join("initramfs.cpio.gz").exists() {
        return Ok(());
    }
    println!("building the Linux partition's module, tool and initramfs for kernel {}", kernel.series.name);
    let module = module(paths, kernel)?;
    let tool = tool(paths)?;
    let archive = archive(&sources.join("initramfs"), kernel, &module, &tool)?;
    let plain = paths.products().join(format!("{name}-initramfs.cpio"));
    files::write(&plain, &archive)?;
    process::run(Command::new("gzip").args(["--no-name", "--best", "--force"]).arg(&plain))?;
    files::create_dir(&out)?;
    files::rename(&plain.with_extension("cpio.gz"), &out.join("initramfs.cpio.gz"))?;
    files::copy(&kernel.image()?, &out.join("Image"))?;
    stamp.set()
}

/// Builds the module for a kernel and returns the object.
fn module(paths: &Paths, kernel: &Kernel) -> Result<PathBuf> {
    let build = paths.products().join(format!("linux-{}", kernel.series.name));
    let headers = kernel.headers()?;
    copy_sources(paths, &build)?;
    // Debug information would carry this machine's paths into the module and its build id.
    let maps = [&build, kernel.root()].map(|path| format!("-ffile-prefix-map={}=.", path.display()));
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(headers)
        .arg(format!("M={}", build.join("module").display()))
        .args(["ARCH=arm64", &format!("CROSS_COMPILE={CROSS}")])
        .arg(format!("KCFLAGS={}", maps.join(" ")))
        .arg(format!("KAFLAGS={}", maps.join(" ")))
        // Debian's kernels are built with type information that needs pahole; modules do without.
        .args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
    process::run_quiet(&mut command)
        .map_err(|failure| failure.within(&format!("module for kernel {}", kernel.series.name)))?;
    let module = build.join("module/bulkhead.ko");
    let mut strip = Command::new(format!("{CROSS}strip"));
    process::run_quiet(strip.arg("--strip-debug").arg(&module))?;
    Ok(module)
}

/// Builds the module for a kernel that is not booted, if an input changed since it last built.
pub fn ensure_module(paths: &Paths, kernel: &Kernel) -> Result<()> {
    let mut key = Key::default();
    key.text(LAYOUT).text(&kernel.packages()?).tree(&paths.root.join("partitions/linux"))?;
    let name = format!("linux-{}.stamp", kernel.series.name);
    let stamp = Stamp::new(paths.products().join(name), key.finish());
    if stamp.is_current() {
        return Ok(());
    }
    println!("building the Linux partition's module for kernel {}", kernel.series.name);
    module(paths, kernel)?;
    stamp.set()
}

fn tool(paths: &Paths) -> Result<PathBuf> {
    let build = paths.products().join("linux-tool");
    copy_sources(paths, &build)?;
    let binary = build.join("bulkheadctl");
    let mut command = Command::new(format!("{CROSS}gcc"));
    command
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s"])
        .arg(format!("-ffile-prefix-map={}=.", build.display()))
        .arg(format!("-I{}", build.join("include").display()))
        .arg("-o")
        .arg(&binary)
        .args([build.join("tool/bulkheadctl.c"), build.join("tool/trace.c")]);
    process::run_quiet(&mut command)?;
    Ok(binary)
}

/// The kernel's build system writes beside its sources, so it gets a copy.
fn copy_sources(paths: &Paths, build: &Path) -> Result<()> {
    files::remove_dir(build)?;
    files::copy_tree(&paths.root.join("partitions/linux"), build)
}

fn archive(overlay: &Path, kernel: &Kernel, module: &Path, tool: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "tmp", "run", "root", "etc", "mnt"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, files::read(&kernel.busybox())?);
    archive.symlink("bin/sh", "busybox");
    archive.file("bin/bulkheadctl", 0o755, files::read(tool)?);
    archive.file("lib/modules/bulkhead.ko", 0o644, files::read(module)?);
    let card = if kernel.series == kernel::BOARDS { CARD_MODULES } else { &[] };
    for name in DEBIAN_MODULES.iter().chain(card) {
        if let Some(module) = kernel.module(name)? {
            archive.file(&format!("lib/modules/{name}.ko"), 0o644, files::read(&module)?);
        }
    }
    for file in files::list(overlay)? {
        let name = file.strip_prefix(overlay).unwrap_or(&file).to_string_lossy();
        let mode = if name == "init" || name.starts_with("bin/") { 0o755 } else { 0o644 };
        archive.file(&name, mode, files::read(&file)?);
    }
    Ok(archive.finish())
}
