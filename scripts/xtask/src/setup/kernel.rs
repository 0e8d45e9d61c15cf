//! Debian's arm64 kernel, its headers and a static busybox, unpacked in the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{self, Download, PrivateApt, StateRequest};
use super::mirror::Host;
use crate::failure::{Failure, Result};
use crate::files::{self, Stamp};
use crate::process;

/// Changes whenever what [`ensure`] leaves on disk changes its shape.
const LAYOUT: &str = "1";

/// A kernel series of Debian for which the Linux side is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The series as users call it.
    pub name: &'static str,
    /// The suite that carries it beside Debian 12.
    backport: Option<&'static str>,
    /// The flavour of Debian's packages.
    flavour: &'static str,
    /// Whether the kernel itself is fetched, or only what a module is built with.
    bootable: bool,
}

/// The kernel that the examples for QEMU `virt` boot.
pub const DEFAULT: Series = Series { name: "6.1", backport: None, flavour: "cloud-arm64", bootable: true };
/// The kernel for real boards: with drivers and device trees for them.
pub const BOARDS: Series = Series { name: "6.1-boards", backport: None, flavour: "arm64", bootable: true };
/// The newer kernel that the module must build for, too.
pub const NEWER: Series =
    Series { name: "6.12", backport: Some("bookworm-backports"), flavour: "cloud-arm64", bootable: false };

/// Device tree of the Raspberry Pi 4 among those that come with [`BOARDS`].
pub const RPI4_DEVICE_TREE: &str = "broadcom/bcm2711-rpi-4-b.dtb";

const SUITE: &str = "bookworm";

/// A kernel unpacked in the cache.
pub struct Kernel {
    /// The series it is of.
    pub series: Series,
    /// Root of the unpacked packages.
    root: PathBuf,
}

impl Kernel {
    /// Where its packages are unpacked.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }

    /// The kernel's boot image, an arm64 `Image`.
    pub fn image(&self) -> Result<PathBuf> {
        let boot = self.root.join("boot");
        entries(&boot, "vmlinuz-")?
            .pop()
            .ok_or_else(|| Failure::unusable(format!("no vmlinuz-* in {}", boot.display())))
    }

    /// A device tree that came with the kernel, named below its directory of device trees.
    pub fn device_tree(&self, name: &str) -> Result<PathBuf> {
        let library = self.root.join("usr/lib");
        let found = entries(&library, "linux-image-")?.into_iter().map(|images| images.join(name));
        found.into_iter().find(|path| path.exists()).ok_or_else(|| {
            Failure::unusable(format!("Debian's kernel {} has no device tree {name}", self.series.name))
        })
    }

    /// The directory to give to the kernel's build system as `-C`.
    pub fn headers(&self) -> Result<PathBuf> {
        let is_flavour = |path: &PathBuf| !path.to_string_lossy().ends_with("-common");
        let found = entries(&self.root.join("usr/src"), "linux-headers-")?;
        found
            .into_iter()
            .find(is_flavour)
            .ok_or_else(|| Failure::unusable(format!("no kernel headers below {}", self.root.display())))
    }

    /// The kernel's own modules: path of the object named, for example `virtio_mmio`; none if it is
    /// built into the kernel.
    pub fn module(&self, name: &str) -> Result<Option<PathBuf>> {
        let wanted = format!("{name}.ko");
        let all = files::list(&self.root.join("lib/modules"))?;
        let named = |path: &&PathBuf, name: &str| path.file_name().is_some_and(|file| file == name);
        if let Some(module) = all.iter().find(|path| named(path, &wanted)) {
            return Ok(Some(module.clone()));
        }
        let built_in = match all.iter().find(|path| named(path, "modules.builtin")) {
            Some(list) => files::read_text(list)?,
            None => String::new(),
        };
        if built_in.lines().any(|line| line.ends_with(&format!("/{wanted}"))) {
            return Ok(None);
        }
        Err(Failure::unusable(format!("Debian's kernel {} has no module {name}", self.series.name)))
    }

    /// The static busybox that came with it.
    pub fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    /// What identifies the unpacked packages: names, versions and checksums, one a line.
    pub fn packages(&self) -> Result<String> {
        files::read_text(&self.root.join("packages.txt"))
    }
}

/// A kernel that [`ensure`] unpacked.
pub fn unpacked(cache: &Path, series: Series) -> Kernel {
    Kernel { series, root: cache.join(format!("linux-{}", series.name)) }
}

/// Makes sure that a kernel is unpacked in the cache; `update` looks for newer packages.
pub fn ensure(cache: &Path, series: Series, update: bool) -> Result<Kernel> {
    let kernel = unpacked(cache, series);
    let stamp = Stamp::new(kernel.root.join("stamp"), format!("{LAYOUT} {}", series.name));
    if stamp.is_current() && !update {
        return Ok(kernel);
    }
    let downloads = resolve(cache, series)?;
    let listing: String = downloads.iter().map(|d| format!("{} {}\n", d.file, d.checksum)).collect();
    if stamp.is_current() && kernel.packages()? == listing {
        println!("Debian's kernel {} is the newest already", series.name);
        return Ok(kernel);
    }
    let store = cache.join("packages");
    apt::fetch(&format!("Debian's arm64 kernel {}", series.name), &downloads, &store)?;
    let partial = cache.join(format!("linux-{}.part", series.name));
    files::remove_dir(&partial)?;
    apt::unpack(&downloads, &store, &partial)?;
    redirect_headers(&partial, &kernel.root)?;
    files::write(&partial.join("packages.txt"), listing.as_bytes())?;
    files::remove_dir(&kernel.root)?;
    files::rename(&partial, &kernel.root)?;
    stamp.set()?;
    apt::discard(&downloads, &store)?;
    Ok(kernel)
}

/// Finds the concrete packages behind Debian's meta packages, never by a literal version.
fn resolve(cache: &Path, series: Series) -> Result<Vec<Download>> {
    let host = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
    let host = host.trim();
    let mirror = Host::read()?.mirror()?;
    let mut suites = vec![(mirror.clone(), SUITE)];
    suites.extend(series.backport.map(|suite| (mirror, suite)));
    println!("reading the package lists of Debian {SUITE} for arm64 (about 18 MB, 5 s)");
    let state = PrivateApt::create(&StateRequest {
        directory: cache.join(format!("apt-linux-{}", series.name)),
        architecture: "arm64",
        foreign: if host == "arm64" { &[] } else { std::slice::from_ref(&host) },
        suites: &suites,
        components: "main",
        proxies: apt::host_proxies()?,
        installed: None,
    })?;
    state.update()?;
    let suffix = series.backport.map(|suite| format!("/{suite}")).unwrap_or_default();
    let mut packages = Vec::new();
    if series.bootable {
        packages.push(concrete(&state, &format!("linux-image-{}{suffix}", series.flavour), "linux-image-")?);
        packages.push("busybox-static".to_string());
    }
    let headers = concrete(&state, &format!("linux-headers-{}{suffix}", series.flavour), "linux-headers-")?;
    packages.push(concrete(&state, &headers, "linux-headers-")?);
    packages.push(format!("{}:{host}", concrete(&state, &headers, "linux-kbuild-")?));
    packages.push(headers);
    let downloads = state.resolve(&packages)?;
    state.discard()?;
    Ok(downloads)
}

fn concrete(state: &PrivateApt, package: &str, prefix: &str) -> Result<String> {
    let depends = state.depends(package)?;
    depends.iter().find(|name| name.starts_with(prefix)).cloned().ok_or_else(|| {
        Failure::unusable(format!(
            "Debian's package {package} names no {prefix}* package among its dependencies ({})",
            depends.join(", ")
        ))
    })
}

/// The headers' top Makefile names its other half by an absolute path of an installed system.
fn redirect_headers(unpacked: &Path, place: &Path) -> Result<()> {
    let final_sources = place.join("usr/src");
    for headers in entries(&unpacked.join("usr/src"), "linux-headers-")? {
        let makefile = headers.join("Makefile");
        let text = files::read_text(&makefile)?;
        let redirected = text.replace("/usr/src", &final_sources.to_string_lossy());
        if redirected != text {
            files::write(&makefile, redirected.as_bytes())?;
        }
    }
    Ok(())
}

fn entries(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| Failure::file("list", directory, &e))? {
        let entry = entry.map_err(|e| Failure::file("list", directory, &e))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
