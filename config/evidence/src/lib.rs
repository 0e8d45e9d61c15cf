//! Evidence packs: what an assessor reads about one configuration, derived from the packed image.
//!
//! Principles
//! 1. A pack is reproducible: no time stamps, no absolute paths; the same inputs and tools give the same bytes.
//! 2. Each statement names what shows it: a rule, a claim of the verifier, a system test. [`trace`] keeps the list,
//!    `standing` takes its results from what was really judged and run.
//! 3. The report is drawn from [`model::Evidence`], which is also written as JSON with a published schema: one source,
//!    two forms.
//!
//! Reading order: [`certify()`] makes a pack, [`model`] is what it says, [`sections`], [`flows`] and [`assumptions`] derive it,
//! [`draw`] has the pictures, [`mod@sign`] seals and checks it; [`diff`] describes a configuration for comparison.

#![forbid(unsafe_code)]

pub mod assumptions;
pub mod certify;
pub mod diff;
pub mod draw;
pub mod flows;
pub mod model;
pub mod pictures;
mod sections;
pub mod sign;
mod standing;
pub mod trace;
mod traced;

pub use certify::{Request, certify};

use sha2::{Digest, Sha256};

/// SHA-256 as lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}
