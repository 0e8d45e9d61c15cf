//! A simulated plant (first-order lag) and a PI controller, in fixed point.
//!
//! Quantities are in thousandths of a percent of full scale ("milli"), with 16 fractional bits inside.

use core::fmt;

/// Steps per second for which the gains are made.
pub const STEPS_PER_S: u32 = 1000;
/// Time constant of the plant in steps: 200 ms.
const LAG_STEPS: i64 = 200;
/// Proportional gain.
const PROPORTIONAL: i64 = 2;
/// Steps in which a constant error is integrated to its own size: 100 ms.
const INTEGRAL_STEPS: i64 = 100;
/// Limit of the controller's output, above full scale so that the plant can be driven quickly.
const OUTPUT_LIMIT: i64 = 120_000 << FRACTION;
const FRACTION: u32 = 16;

/// A quantity in thousandths; displays as `41.987`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milli(pub i32);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
    }
}

/// Plant and controller together.
#[derive(Clone, Debug)]
pub struct Loop {
    position: i64,
    integral: i64,
    output: i64,
}

impl Loop {
    /// At rest at zero.
    pub const fn new() -> Self {
        Self { position: 0, integral: 0, output: 0 }
    }

    /// One period: the controller looks at the position, the plant follows its output.
    pub fn step(&mut self, setpoint: Milli) {
        let error = (i64::from(setpoint.0) << FRACTION) - self.position;
        let wanted = PROPORTIONAL * error + self.integral;
        self.output = wanted.clamp(0, OUTPUT_LIMIT);
        // Anti-windup: nothing is integrated that would drive a saturated output further.
        let saturated = wanted != self.output && (wanted > self.output) == (error > 0);
        if !saturated {
            self.integral += error / INTEGRAL_STEPS;
        }
        self.position += (self.output - self.position) / LAG_STEPS;
    }

    /// Where the plant is.
    pub fn position(&self) -> Milli {
        Milli((self.position >> FRACTION) as i32)
    }

    /// What the controller demands.
    pub fn output(&self) -> Milli {
        Milli((self.output >> FRACTION) as i32)
    }
}

impl Default for Loop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn displays_thousandths_with_sign() {
        assert_eq!(Milli(41_987).to_string(), "41.987");
        assert_eq!(Milli(-5).to_string(), "-0.005");
        assert_eq!(Milli(i32::MIN).to_string(), "-2147483.648");
    }

    #[test]
    fn does_not_move_without_demand() {
        let mut control = Loop::new();
        for _ in 0..100 {
            control.step(Milli(0));
        }
        assert_eq!(control.position(), Milli(0));
        assert_eq!(control.output(), Milli(0));
    }

    #[test]
    fn first_step_is_proportional() {
        let mut control = Loop::new();
        control.step(Milli(10_000));
        assert_eq!(control.output(), Milli(20_000));
        assert_eq!(control.position(), Milli(100));
    }

    proptest! {
        /// From any set-point to any other within two seconds, without leaving the possible range.
        #[test]
        fn settles(first in 0i32..=100_000, second in 0i32..=100_000) {
            let mut control = Loop::new();
            for target in [first, second] {
                for _ in 0..2 * STEPS_PER_S {
                    control.step(Milli(target));
                    prop_assert!((0..=120_000).contains(&control.output().0));
                    prop_assert!((0..=120_000).contains(&control.position().0));
                }
                prop_assert!((control.position().0 - target).abs() <= 50,
                    "{} instead of {target}", control.position().0);
            }
        }
    }
}
