//! The message of the sampling port "state": 64 bytes, little-endian.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u64 | number of the period, from 1 |
//! | 8 | u64 | its planned release in nanoseconds of system time |
//! | 16 | i32 | set-point in thousandths |
//! | 20 | i32 | position in thousandths |
//! | 24 | i32 | controller output in thousandths |
//! | 28 | u32 | release jitter of this period in nanoseconds |
//! | 32 | 32 bytes | reserved, 0 |

use crate::control::Milli;

/// Bytes of the message.
pub const BYTES: usize = 64;

/// The loop's state after a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Number of the period, from 1.
    pub period: u64,
    /// Its planned release in nanoseconds.
    pub release_ns: u64,
    /// Set-point that was followed.
    pub setpoint: Milli,
    /// Position reached.
    pub position: Milli,
    /// Controller output.
    pub output: Milli,
    /// How much later than planned the period began, in nanoseconds.
    pub jitter_ns: u32,
}

impl State {
    /// The message.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0..8].copy_from_slice(&self.period.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.release_ns.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.setpoint.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.position.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.output.0.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.jitter_ns.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_as_documented() {
        let state = State {
            period: 0x0102,
            release_ns: 0x0304,
            setpoint: Milli(5),
            position: Milli(-6),
            output: Milli(7),
            jitter_ns: 8,
        };
        let bytes = state.to_bytes();
        assert_eq!(bytes[..2], [2, 1]);
        assert_eq!(bytes[8..10], [4, 3]);
        assert_eq!(bytes[16], 5);
        assert_eq!(bytes[20..24], (-6i32).to_le_bytes());
        assert_eq!(bytes[24], 7);
        assert_eq!(bytes[28], 8);
        assert_eq!(bytes[32..], [0; 32]);
    }
}
