//! Publishes the linker script to dependents, as `DEP_BULKHEAD_SDK_LINKER_SCRIPT`.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::metadata=LINKER_SCRIPT={directory}/partition.ld");
    println!("cargo::rerun-if-changed=partition.ld");
}
