//! The CPU's ID registers, by encoding: what `bulkhead_core::sysreg` sanitises for a guest.

use crate::regs::read;
use bulkhead_core::sysreg::Encoding;

macro_rules! by_encoding {
    ($encoding:expr; $(($crm:literal, $op2:literal, $name:literal),)*) => {
        match $encoding.fields() {
            $((3, 0, 0, $crm, $op2) => read!($name),)*
            _ => 0,
        }
    };
}

/// The value of an ID register on this CPU; 0 for one whose encoding is reserved, or whose features
/// no guest is shown.
#[must_use]
pub fn register(encoding: Encoding) -> u64 {
    by_encoding! { encoding;
        (4, 0, "id_aa64pfr0_el1"),
        (4, 1, "id_aa64pfr1_el1"),
        (5, 0, "id_aa64dfr0_el1"),
        (5, 1, "id_aa64dfr1_el1"),
        (6, 0, "id_aa64isar0_el1"),
        (6, 1, "id_aa64isar1_el1"),
        (6, 2, "s3_0_c0_c6_2"), // ID_AA64ISAR2_EL1
        (7, 0, "id_aa64mmfr0_el1"),
        (7, 1, "id_aa64mmfr1_el1"),
        (7, 2, "s3_0_c0_c7_2"), // ID_AA64MMFR2_EL1
        (7, 3, "s3_0_c0_c7_3"), // ID_AA64MMFR3_EL1
    }
}
