//! SHA-256 (FIPS 180-4), for the image's digest at boot: at most 34 instructions a byte in 1 KiB of
//! code. Eight rounds are written out, so that no variable moves; the schedule is computed before, four
//! words at a time, by a window that needs no bounds checks.

use core::cell::Cell;
use zerocopy::IntoBytes;

/// First 32 bits of the fractional parts of the cube roots of the first 64 primes (4.2.2).
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Bytes of a block.
const BLOCK: usize = 64;

/// A digest under way.
pub struct Sha256 {
    state: [u32; 8],
    /// The block that is being filled, then its schedule (6.2.2).
    words: [u32; 64],
    bytes: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Of nothing yet (5.3.3).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: [
                0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                0x5be0cd19,
            ],
            words: [0; 64],
            bytes: 0,
        }
    }

    /// Takes more of the message.
    #[inline(never)]
    pub fn update(&mut self, mut message: &[u8]) {
        while !message.is_empty() {
            let filled = (self.bytes % BLOCK as u64) as usize;
            let (piece, rest) = message.split_at(message.len().min(BLOCK - filled));
            if let Some(place) = self.words.as_mut_bytes().get_mut(filled..filled + piece.len()) {
                place.copy_from_slice(piece);
            }
            self.bytes += piece.len() as u64;
            if filled + piece.len() == BLOCK {
                self.compress();
            }
            message = rest;
        }
    }

    /// The digest of everything taken (5.1.1).
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.bytes.wrapping_mul(8);
        self.update(&[0x80]);
        while self.bytes % 64 != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            for (byte, source) in bytes.iter_mut().zip(word.to_be_bytes()) {
                *byte = source;
            }
        }
        digest
    }

    /// One block into the state (6.2.2).
    #[inline(never)]
    fn compress(&mut self) {
        self.schedule();
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        // b ^ c, which the round before has computed as a ^ b.
        let mut last = b ^ c;
        macro_rules! round {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $k:expr, $word:expr) => {
                let differ = $a ^ $b;
                $h = $h
                    .wrapping_add($e.rotate_right(6) ^ $e.rotate_right(11) ^ $e.rotate_right(25))
                    .wrapping_add($g ^ $e & ($f ^ $g))
                    .wrapping_add($k)
                    .wrapping_add($word);
                $d = $d.wrapping_add($h);
                $h = $h
                    .wrapping_add($a.rotate_right(2) ^ $a.rotate_right(13) ^ $a.rotate_right(22))
                    .wrapping_add($b ^ differ & last);
                last = differ;
            };
        }
        for (k, word) in K.as_chunks::<8>().0.iter().zip(self.words.as_chunks::<8>().0) {
            round!(a b c d e f g h, k[0], word[0]);
            round!(h a b c d e f g, k[1], word[1]);
            round!(g h a b c d e f, k[2], word[2]);
            round!(f g h a b c d e, k[3], word[3]);
            round!(e f g h a b c d, k[4], word[4]);
            round!(d e f g h a b c, k[5], word[5]);
            round!(c d e f g h a b, k[6], word[6]);
            round!(b c d e f g h a, k[7], word[7]);
        }
        for (word, value) in self.state.iter_mut().zip(&[a, b, c, d, e, f, g, h]) {
            *word = word.wrapping_add(*value);
        }
    }

    /// The message schedule of a block (6.2.2, step 1).
    #[inline(always)]
    fn schedule(&mut self) {
        for [a, b, c, d] in self.words.as_chunks_mut().0.iter_mut().take(BLOCK / 16) {
            (*a, *b, *c, *d) = (u32::from_be(*a), u32::from_be(*b), u32::from_be(*c), u32::from_be(*d));
        }
        let cells = Cell::from_mut(&mut self.words[..]).as_slice_of_cells();
        macro_rules! next {
            ($window:ident, $t:literal) => {
                let (low, high) = ($window[$t + 1].get(), $window[$t + 14].get());
                let word = $window[$t]
                    .get()
                    .wrapping_add(low.rotate_right(7) ^ low.rotate_right(18) ^ low >> 3)
                    .wrapping_add($window[$t + 9].get())
                    .wrapping_add(high.rotate_right(17) ^ high.rotate_right(19) ^ high >> 10);
                $window[$t + 16].set(word);
            };
        }
        let mut rest = cells;
        while let Some((window, _)) = rest.split_first_chunk::<20>() {
            next!(window, 0);
            next!(window, 1);
            next!(window, 2);
            next!(window, 3);
            rest = rest.get(4..).unwrap_or_default();
        }
    }
}
