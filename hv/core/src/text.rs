//! Lines of text without `core::fmt`: a bounded buffer and numbers.

/// A line under construction in a caller's buffer. What does not fit is left out.
pub struct Text<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Text<'a> {
    /// Starts an empty line in `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    /// Appends one byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        self
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(room) = self.buffer.get_mut(self.len..) {
            for (slot, byte) in room.iter_mut().zip(bytes) {
                *slot = *byte;
                self.len += 1;
            }
        }
        self
    }

    /// Appends a string.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends a number in decimal, at most 20 digits.
    pub fn dec(&mut self, value: u64) -> &mut Self {
        self.dec_padded(value, 1)
    }

    /// Appends a number in decimal with leading zeros up to `width` digits (at most 20).
    pub fn dec_padded(&mut self, value: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut rest = value;
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            if rest == 0 && used >= width {
                break;
            }
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
        }
        self.bytes(digits.get(20 - used..).unwrap_or(&[]))
    }

    /// Appends `0x` and the number in hexadecimal without leading zeros.
    pub fn hex(&mut self, value: u64) -> &mut Self {
        let digits = (67 - value.leading_zeros()) / 4;
        self.str("0x").hex_digits(value, digits.max(1))
    }

    /// Appends the low `digits` (at most 16) hexadecimal digits, leading zeros included, no `0x`.
    pub fn hex_digits(&mut self, value: u64, digits: u32) -> &mut Self {
        for position in (0..digits.min(16)).rev() {
            let nibble = (value >> (4 * position)) as u8 & 0xF;
            self.byte(if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' - 10 + nibble
            });
        }
        self
    }

    /// Appends a NUL-padded name, and spaces up to `width` bytes.
    pub fn name(&mut self, name: &[u8], width: usize) -> &mut Self {
        let name = trim(name);
        self.bytes(name);
        for _ in name.len()..width.min(64) {
            self.byte(b' ');
        }
        self
    }

    /// Appends a time in milliseconds with three decimals: `ticks` of a counter of `hz`.
    pub fn milliseconds(&mut self, ticks: u64, hz: u32) -> &mut Self {
        let hz = u64::from(hz.max(1));
        let microseconds = (ticks / hz)
            .wrapping_mul(1_000_000)
            .wrapping_add(ticks % hz * 1_000_000 / hz);
        self.dec(microseconds / 1000)
            .byte(b'.')
            .dec_padded(microseconds % 1000, 3)
    }
}

/// A NUL-padded field without its padding.
#[must_use]
pub fn trim(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    field.get(..end.unwrap_or(field.len())).unwrap_or(field)
}
