//! Repeatable random numbers: the same garbage on every run.

/// A xorshift generator (Marsaglia, 2003).
pub struct Random(u64);

impl Random {
    /// Starts from `seed`, which is not zero.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }
}
