//! Sixteen bytes at a time, without `unsafe`: where a run of plain text ends, and its bytes as two numbers.
//!
//! Bytes are compared all at once where the processor can (SSE2, which every x86-64 has, or NEON).

use wide::u8x16;

/// How many bytes it holds.
pub(crate) const CHUNK_BYTES: usize = 16;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk([u8; CHUNK_BYTES]);

impl Chunk {
    pub(crate) fn new(bytes: [u8; CHUNK_BYTES]) -> Self {
        Self(bytes)
    }

    /// The first bytes, if there are so many.
    #[inline(always)]
    pub(crate) fn first_of(bytes: &[u8]) -> Option<Self> {
        Some(Self(*bytes.first_chunk()?))
    }

    /// The first bytes; zeros behind a shorter text.
    #[inline(always)]
    pub(crate) fn padded(bytes: &[u8]) -> Self {
        Self::first_of(bytes).unwrap_or_else(|| Self::short(bytes))
    }

    #[inline(never)]
    fn short(bytes: &[u8]) -> Self {
        let mut chunk = [0; CHUNK_BYTES];
        chunk[..bytes.len()].copy_from_slice(bytes);
        Self(chunk)
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8; CHUNK_BYTES] {
        &self.0
    }

    /// The bytes as two numbers, the first ones lowest.
    #[inline(always)]
    pub(crate) fn words(self) -> [u64; 2] {
        let all = u128::from_le_bytes(self.0);
        [all as u64, (all >> 64) as u64]
    }

    /// The first `length` bytes (at most 16) as two numbers, zeros behind them.
    #[inline(always)]
    pub(crate) fn first(self, length: usize) -> [u64; 2] {
        let ([low, high], mask) = (self.words(), MASKS[length]);
        [low & mask[0], high & mask[1]]
    }

    /// How many bytes stand before the first `"`, `\` or control character.
    #[inline(always)]
    pub(crate) fn plain_length(self) -> usize {
        (self.marks() | 1 << CHUNK_BYTES).trailing_zeros() as usize
    }

    /// As [`Chunk::plain_length`], counted from byte `first` (at most 15) on.
    #[inline(always)]
    pub(crate) fn plain_length_from(self, first: usize) -> usize {
        ((self.marks() | 1 << CHUNK_BYTES) >> first).trailing_zeros() as usize
    }

    /// A bit for each byte that ends a run of plain text.
    #[inline(always)]
    fn marks(self) -> u32 {
        let bytes = u8x16::new(self.0);
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        (bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control).to_bitmask()
    }
}

/// For each length the bits of so many bytes.
const MASKS: [[u64; 2]; CHUNK_BYTES + 1] = {
    let mut masks = [[0; 2]; CHUNK_BYTES + 1];
    let mut length = 0;
    while length <= CHUNK_BYTES {
        let all = if length == 0 { 0 } else { u128::MAX >> (128 - 8 * length) };
        masks[length] = [all as u64, (all >> 64) as u64];
        length += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place() {
        for around in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
            for place in 0..CHUNK_BYTES {
                for byte in 0..=255u8 {
                    let mut bytes = [around; CHUNK_BYTES];
                    bytes[place] = byte;
                    let chunk = Chunk(bytes);
                    let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
                    assert_eq!(chunk.plain_length(), bytes.iter().position(ends).unwrap_or(CHUNK_BYTES), "{bytes:?}");
                    for first in 0..CHUNK_BYTES {
                        let wanted = bytes[first..].iter().position(ends).unwrap_or(CHUNK_BYTES - first);
                        assert_eq!(chunk.plain_length_from(first), wanted, "{bytes:?} from {first}");
                    }
                }
            }
        }
    }

    #[test]
    fn shorter_texts_have_zeros_behind() {
        let text = b"0123456789abcdef";
        for length in 0..=CHUNK_BYTES {
            let mut wanted = [0; CHUNK_BYTES];
            wanted[..length].copy_from_slice(&text[..length]);
            assert_eq!(Chunk::padded(&text[..length]).bytes(), &wanted);
            assert_eq!(Chunk::padded(text).first(length), Chunk(wanted).words());
        }
    }
}
