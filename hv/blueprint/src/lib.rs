//! The blueprint: the compiled system description. `config/compile` writes it, EL2 indexes it, the
//! verifier reads it back.
//!
//! Principles
//! 1. One blob: a [`layout::Header`], then tables of fixed-size records. No pointers, only offsets
//!    from the header and indices into tables, so that the same bytes mean the same anywhere.
//! 2. EL2 never searches: whatever it needs on a path is an index away.
//! 3. [`Blueprint::parse`] proves once, at boot, that every offset and index is in range; afterwards
//!    an access that is out of range cannot come from a sealed blueprint.
//! 4. The limits of the EL2 binary ([`limits`]) stand here, where compiler and EL2 both read them.
//!
//! Honest limits: little-endian AArch64 only; [`layout::VERSION`] is raised with every change of a
//! record, and EL2 takes its own version only.
//!
//! Reading order: [`limits`], [`layout`], [`Blueprint`].
#![no_std]
#![forbid(unsafe_code)]

pub mod layout;
pub mod limits;
mod view;

pub use view::{Blueprint, Defect, span};
