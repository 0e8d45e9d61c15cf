//! Links EL2 at the board's image base.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-env-changed=BULKHEAD_IMAGE_BASE");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        // Where the board's loader puts the image; `config/compile` compares it with the board's facts.
        let base = std::env::var("BULKHEAD_IMAGE_BASE").unwrap_or_else(|_| "0x40200000".into());
        println!("cargo::rustc-link-arg=-T{directory}/link.ld");
        println!("cargo::rustc-link-arg=--defsym=__image_base={base}");
        let gic = if std::env::var_os("CARGO_FEATURE_GICV2").is_some() { 2 } else { 3 };
        println!("cargo::rustc-link-arg=--defsym=__gic_version={gic}");
        let bhb = u32::from(std::env::var_os("CARGO_FEATURE_SPECTRE_BHB").is_some());
        println!("cargo::rustc-link-arg=--defsym=__spectre_bhb={bhb}");
        println!("cargo::rustc-link-arg=--no-eh-frame-hdr");
        // Equal functions once: no address of a function is ever compared.
        println!("cargo::rustc-link-arg=--icf=all");
    }
}
