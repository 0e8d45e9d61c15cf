//! Independent verifier of packed images: reads nothing but the image, walks every translation table, recomputes who
//! can read, write and execute what, and holds that against what must never be.
//!
//! Principles
//! 1. It shares no code with the compiler. What both have in common is the layout of the blueprint, of the information
//!    page and of the load list (`bulkhead-blueprint`, `bulkhead-abi`): a mistake there misleads both, and the report
//!    says so ([`COMMON_MODE`]).
//! 2. A claim names what was examined and how much of it ([`Claim`], [`Outcome`]); a claim that examined nothing says 0.
//! 3. What is not known to be good is a finding: descriptor bits, reserved fields and holes are compared exactly.
//! 4. Foreign bytes: every length is checked, every table is visited once, time and memory are linear in the image.
//!
//! Honest limits ([`LIMITS`]): EL2's instructions are not analysed, nor are payloads; equality with a configuration is
//! claimed only by [`against`].
//!
//! Reading order: [`image`] opens the file, [`walk`] reads tables into [`walk::Mapped`] stretches, [`system`] gathers
//! them, [`claims`] judge, [`report`] tells.

#![forbid(unsafe_code)]

pub mod against;
pub mod claims;
pub mod diff;
pub mod image;
pub mod ports;
pub mod ranges;
pub mod report;
pub mod system;
pub mod walk;

pub use claims::{Claim, Finding, Outcome};
pub use image::{Image, Unreadable};
pub use report::Report;

/// What compiler and verifier have in common.
pub const COMMON_MODE: &str = "compiler and verifier share the record layouts of bulkhead-blueprint and bulkhead-abi \
    (constants, records, and the blueprint's bounds check that EL2 itself runs) and nothing else; a mistake in those \
    layouts would mislead both";

/// What a clean report does not show.
pub const LIMITS: &[&str] = &[
    "EL2's own instructions and the loader's are covered by the digest, not analysed",
    "payloads are compared with their digests and, with --against, with their files; their instructions are not analysed",
    "that the hardware translates as the architecture says is assumed",
    "a bus master without an IOMMU before it is not bound by any table",
    "times of windows are checked for consistency; that they meet a requirement is the compiler's rules' concern",
    "equality with a configuration is claimed only with --against",
];

/// Verifies an image.
///
/// # Errors
/// [`Unreadable`] if the bytes are no image that can be walked.
pub fn verify(image: &Image) -> Result<Report, Unreadable> {
    let view = image.open()?;
    let system = system::System::gather(&view);
    Ok(Report::new(&system, claims::judge(&system, claims::Depth::Everything)))
}
