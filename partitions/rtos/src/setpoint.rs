//! REQ-RTOS-12: a set-point from another partition is used only if it is a decimal number within
//! 0 to 100; anything else is rejected, with its reason, and the former set-point stays.

use crate::control::Milli;
use core::fmt;

/// Highest set-point, in thousandths.
pub const LIMIT: Milli = Milli(100_000);

/// Why a set-point was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Not a decimal number: digits with at most three after a point.
    NotANumber,
    /// Outside 0 to 100.
    OutOfRange,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "not a decimal number",
            Self::OutOfRange => "outside 0..=100",
        })
    }
}

/// Reads a set-point such as `42` or `41.5`, with blanks and line ends around it.
pub fn parse(message: &[u8]) -> Result<Milli, Rejection> {
    let text = message.trim_ascii();
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let whole = number(parts.next().unwrap_or_default())?;
    let thousandths = match parts.next() {
        None => 0,
        Some(fraction) if fraction.len() <= 3 => number(fraction)? * [0, 100, 10, 1][fraction.len()],
        Some(_) => return Err(Rejection::NotANumber),
    };
    let value = whole.saturating_mul(1000).saturating_add(thousandths);
    if value > LIMIT.0 as u32 || (negative && value != 0) {
        return Err(Rejection::OutOfRange);
    }
    Ok(Milli(value as i32))
}

fn number(digits: &[u8]) -> Result<u32, Rejection> {
    if digits.is_empty() {
        return Err(Rejection::NotANumber);
    }
    digits.iter().try_fold(0u32, |value, &byte| match byte {
        b'0'..=b'9' => Ok(value.saturating_mul(10).saturating_add(u32::from(byte - b'0'))),
        _ => Err(Rejection::NotANumber),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_numbers_within_range() {
        for (text, milli) in [
            ("42\n", 42_000),
            ("0", 0),
            ("-0", 0),
            ("100", 100_000),
            (" 41.5 ", 41_500),
            ("7.25\r\n", 7_250),
            ("0.001", 1),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Milli(milli)), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_is_out_of_range() {
        for text in ["101", "100.001", "-1", "-0.001", "99999999999999999999"] {
            assert_eq!(parse(text.as_bytes()), Err(Rejection::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_is_no_number() {
        for text in ["", "\n", "abc", "4 2", "1.2345", "1.", ".5", "+3", "--1", "1e2", "4\u{0}"] {
            assert_eq!(parse(text.as_bytes()), Err(Rejection::NotANumber), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_accepts_beyond_the_limit(message in proptest::collection::vec(any::<u8>(), 0..32)) {
            if let Ok(value) = parse(&message) {
                prop_assert!((Milli(0)..=LIMIT).contains(&value));
            }
        }

        #[test]
        fn reads_what_is_displayed(milli in 0i32..=100_000) {
            prop_assert_eq!(parse(Milli(milli).to_string().as_bytes()), Ok(Milli(milli)));
        }
    }
}
