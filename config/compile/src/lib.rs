//! Configuration compiler: device tree to packed image.
