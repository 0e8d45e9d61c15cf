//! Evidence packs of the repository's binaries, and the pictures of the report that the documentation shows.

use std::path::Path;
use std::process::Command;

use crate::failure::Result;
use crate::files;
use crate::image::{self, Image};
use crate::paths::Paths;
use crate::process;
use crate::setup::toolchain::host_cargo;
use crate::test::results;

/// Height of the pictures.
const HEIGHT: u32 = 1440;
/// Width of a phone's page, and of the picture around it: windows of the browser are never narrower.
const PHONE: (u32, u32) = (390, 500);
/// Width of the page on a desktop.
const DESKTOP: u32 = 1280;

/// Writes the pack of a built configuration, by the command that users call, with the results of `cargo xtask test`
/// where there are some.
///
/// # Errors
/// Exit code 1 where a rule or claim does not hold.
pub fn certify(paths: &Paths, file: &Path, image: &Image, output: &Path) -> Result<()> {
    let mut command = Command::new(host_cargo());
    command.env("CARGO_TARGET_DIR", &paths.target).arg("run");
    command.arg("--manifest-path").arg(paths.root.join("Cargo.toml"));
    command.args(["--quiet", "--package", "bulkhead", "--", "certify"]).arg(file);
    command.arg("--hv").arg(&image.el2).arg("--loader").arg(image::loader(paths));
    command.arg("--payloads").arg(paths.payloads()).arg("--output").arg(output);
    let results = results::file(paths);
    if results.exists() {
        command.arg("--tests").arg(results);
    }
    process::run(&mut command)
}

/// Draws the beginning of a pack's report as a desktop and as a phone show it, into `docs/img`.
pub fn screenshots(paths: &Paths, pack: &Path) -> Result<()> {
    let images = paths.root.join("docs/img");
    let report = pack.join("report.html");
    let (phone, around) = PHONE;
    let frame = pack.with_extension("phone.html");
    let page = format!(
        "<!DOCTYPE html><body style='margin:0;background:#bbb;text-align:center'><iframe src='{}' \
         style='width:{phone}px;height:{HEIGHT}px;border:0;background:#fff'></iframe></body>",
        report.display()
    );
    files::write(&frame, page.as_bytes())?;
    shoot(paths, &report, DESKTOP, &images.join("report-desktop.png"))?;
    shoot(paths, &frame, around, &images.join("report-phone.png"))
}

/// One picture of a page.
fn shoot(paths: &Paths, page: &Path, width: u32, picture: &Path) -> Result<()> {
    let profile = paths.products().join("browser");
    let mut browser = Command::new("chromium");
    browser.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    browser.arg(format!("--user-data-dir={}", profile.display()));
    browser.arg(format!("--window-size={width},{HEIGHT}"));
    browser.arg(format!("--screenshot={}", picture.display()));
    process::run_quiet(browser.arg(format!("file://{}", page.display())))?;
    println!("{}", picture.display());
    Ok(())
}
