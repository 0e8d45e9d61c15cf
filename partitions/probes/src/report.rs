//! What a probe says: a line for each check, a line at the end.

use bulkhead_sdk::abi::info::mode;
use bulkhead_sdk::info::Info;
use bulkhead_sdk::{Partition, hypercall, println, time};
use core::fmt::{self, Debug, LowerHex};

/// Counts a probe's checks.
pub struct Report {
    name: &'static str,
    passed: u32,
    failed: u32,
}

impl Report {
    /// Begins the probe `name`.
    pub fn new(name: &'static str) -> Self {
        println!("probe {name}: begin");
        Self { name, passed: 0, failed: 0 }
    }

    /// A check whose answer is yes or no; `detail` says what was found and expected.
    pub fn check(&mut self, good: bool, name: fmt::Arguments<'_>, detail: fmt::Arguments<'_>) {
        if good {
            self.passed += 1;
            println!("PASS {name}");
        } else {
            self.failed += 1;
            println!("FAIL {name}: {detail}");
        }
    }

    /// `found` must equal `expected`.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: &str, found: T, expected: T) {
        self.check(
            found == expected,
            format_args!("{name}"),
            format_args!("found {found:?}, expected {expected:?}"),
        );
    }

    /// `found` must equal `expected`; shown in hexadecimal.
    pub fn equal_hex<T: PartialEq + LowerHex>(&mut self, name: &str, found: T, expected: T) {
        self.check(
            found == expected,
            format_args!("{name}"),
            format_args!("found {found:#x}, expected {expected:#x}"),
        );
    }

    /// `found` must lie between `least` and `most`.
    pub fn within(&mut self, name: &str, found: u64, least: u64, most: u64) {
        self.check(
            (least..=most).contains(&found),
            format_args!("{name}"),
            format_args!("found {found}, expected {least} to {most}"),
        );
    }

    /// Prints the last line; the probe may go on.
    pub fn end(&self) {
        println!("probe {}: {} passed, {} failed", self.name, self.passed, self.failed);
    }

    /// Prints the last line and sleeps for good, in mode NORMAL.
    pub fn finish(self) -> ! {
        self.end();
        sleep()
    }
}

/// Tells the hypervisor that the partition is initialised; refused bare, where nobody listens.
pub fn normal() {
    if let Err(error) = hypercall::set_mode(mode::NORMAL) {
        println!("mode NORMAL: {error}");
    }
}

/// What the hypervisor tells the partition. Bare there is nothing to probe: says so and sleeps for good.
pub fn information(partition: &Partition) -> Info {
    partition.info.unwrap_or_else(|| {
        println!("FAIL no information region");
        sleep()
    })
}

/// Spins until `condition` holds; whether it did within `patience_ns` nanoseconds.
pub fn wait(patience_ns: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = time::now_ticks() + time::ticks_from_ns(patience_ns);
    while !condition() {
        if time::now_ticks() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Sleeps for good, in mode NORMAL.
pub fn sleep() -> ! {
    normal();
    loop {
        bulkhead_sdk::registers::wait_for_interrupt();
    }
}
