//! Links the partition with the SDK's linker script.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_BULKHEAD_SDK_LINKER_SCRIPT");
    // Absent on the host, where only the library is built.
    if let Ok(script) = std::env::var("DEP_BULKHEAD_SDK_LINKER_SCRIPT") {
        println!("cargo::rerun-if-changed={script}");
        println!("cargo::rustc-link-arg-bins=-T{script}");
        println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
