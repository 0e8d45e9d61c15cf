//! `cargo xtask bench`: what events cost, in instructions, exactly.
//!
//! Modules in reading order: [`measure`] (a run), [`meter`] (what the plugin counted), [`table`] (rows
//! beside floor, peer and target).

mod measure;
mod meter;
mod table;

use crate::failure::Result;
use crate::files;
use crate::image;
use crate::paths::Paths;
use crate::setup::toolchain::Toolchain;

/// The configuration of the measuring partition.
const CONFIGURATION: &str = "tests/configs/bench.dts";
/// Its last line.
const LAST_LINE: &str = r"(?:^|\| )bench end$";

/// Measures on the versions of the interrupt controller that are wanted, and prints the tables.
///
/// # Errors
/// When a run does not come to its end.
pub fn run(paths: &Paths, toolchain: &Toolchain, only: Option<u8>, profile: Option<&str>) -> Result<()> {
    image::binaries(paths, toolchain, true, false)?;
    let plugin = measure::build_plugin(paths)?;
    let mut results = Vec::new();
    for gic in [3, 2].into_iter().filter(|&gic| only.is_none_or(|only| only == gic)) {
        let image = measure::compile(paths, CONFIGURATION, gic)?;
        let hosted = measure::hosted(paths, &plugin, &image, &format!("bench-gicv{gic}"), LAST_LINE)?;
        let bare = measure::bare(paths, "probes/bench.elf", gic, LAST_LINE)?;
        let rows = table::evaluate(gic, &hosted, &bare);
        print!("{}", table::text(gic, &rows));
        print!("{}", table::boot(&hosted));
        if let Some(row) = profile {
            print!("{}", table::profile(&hosted, row)?);
        }
        results.push((gic, rows));
    }
    let json = paths.products().join("bench/results.json");
    files::write(&json, table::json(&results).as_bytes())?;
    println!("all figures: {}", json.display());
    Ok(())
}
