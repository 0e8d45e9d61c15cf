//! AArch64 EL2: boot, vectors, world switch, registers, devices. The one crate with unsafe code.
