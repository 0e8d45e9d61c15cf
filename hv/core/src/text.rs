//! Lines of text without `core::fmt`: a bounded buffer and numbers.
//!
//! Composing methods are kept out of line: text is never made on a path that must be fast, and copies
//! of them in every caller would be a quarter of EL2.

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

    /// Takes everything back.
    pub fn clear(&mut self) {
        self.len = 0;
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
    #[inline(never)]
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        self
    }

    /// Appends bytes as they are.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let room = self.buffer.get_mut(self.len..).unwrap_or(&mut []);
        let count = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
            for (byte, source) in room.iter_mut().zip(bytes) {
                *byte = *source;
            }
        }
        self.len += count;
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
    #[inline(never)]
    pub fn dec_padded(&mut self, value: u64, width: usize) -> &mut Self {
        if value < 10 && width <= 1 {
            return self.byte(b'0' + value as u8);
        }
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
    #[inline(never)]
    pub fn hex(&mut self, value: u64) -> &mut Self {
        let digits = (67 - value.leading_zeros()) / 4;
        self.str("0x").hex_digits(value, digits.max(1))
    }

    /// Appends the low `digits` (at most 16) hexadecimal digits, leading zeros included, no `0x`.
    #[inline(never)]
    pub fn hex_digits(&mut self, value: u64, digits: u32) -> &mut Self {
        let [upper, lower] = [(value >> 32) as u32, value as u32].map(hex_word);
        let digits = digits.min(16) as usize;
        if let (16, Some(room)) = (digits, self.room::<16>()) {
            let (high, low) = room.split_at_mut(8);
            for (byte, source) in high.iter_mut().zip(upper) {
                *byte = source;
            }
            for (byte, source) in low.iter_mut().zip(lower) {
                *byte = source;
            }
            self.len += 16;
            return self;
        }
        if digits > 8 {
            self.bytes(upper.get(16 - digits..).unwrap_or(&[]));
        }
        let first = 8_usize.saturating_sub(digits);
        self.bytes(lower.get(first..).unwrap_or(&[]))
    }

    /// The next `N` bytes of the buffer, if it has as many.
    fn room<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.buffer.get_mut(self.len..)?.first_chunk_mut()
    }

    /// Appends a NUL-padded name, and spaces up to `width` bytes.
    #[inline(never)]
    pub fn name(&mut self, name: &[u8], width: usize) -> &mut Self {
        let name = trim(name);
        self.bytes(name);
        for _ in name.len()..width.min(64) {
            self.byte(b' ');
        }
        self
    }

    /// Appends a time in milliseconds with three decimals: `ticks` of a counter of `hz`.
    #[inline(never)]
    pub fn milliseconds(&mut self, ticks: u64, hz: u32) -> &mut Self {
        let hz = u64::from(hz.max(1));
        let microseconds = (ticks / hz).wrapping_mul(1_000_000).wrapping_add(ticks % hz * 1_000_000 / hz);
        self.dec(microseconds / 1000).byte(b'.').dec_padded(microseconds % 1000, 3)
    }
}

/// The eight hexadecimal digits of a word, all at once: a nibble is spread to each byte of a
/// 64-bit word, and the bytes above nine are moved on from `9` to `a`.
fn hex_word(word: u32) -> [u8; 8] {
    let mut spread = u64::from(word);
    spread = (spread | spread << 16) & 0x0000_FFFF_0000_FFFF;
    spread = (spread | spread << 8) & 0x00FF_00FF_00FF_00FF;
    spread = (spread | spread << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * 0x27).to_be_bytes()
}

/// A NUL-padded field without its padding.
#[must_use]
pub fn trim(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    field.get(..end.unwrap_or(field.len())).unwrap_or(field)
}
