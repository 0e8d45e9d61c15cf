//! Links the loader with its own script.

fn main() {
    println!("cargo::rerun-if-changed=loader.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-T{directory}/loader.ld");
        println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
