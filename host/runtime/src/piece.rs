//! What the one buffer of a call is made of, and how it is written: straight from Arrow's buffers to where it ends.

use arrow_buffer::BooleanBuffer;

/// A stretch of the buffer. Each starts at a multiple of 8 bytes; what pads it is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    /// As it stands.
    Bytes(&'a [u8]),
    /// Bits, shifted so that the first row is the lowest bit of the first byte, and clear behind the last row: a guest may read
    /// them a word at a time, and must not see its neighbours.
    Bits(&'a BooleanBuffer),
    /// Offsets, moved so that the first is 0.
    Offsets(&'a [i32]),
}

impl<'a> Piece<'a> {
    /// Its bytes, without padding.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Bits(bits) => bits.len().div_ceil(8),
            Self::Offsets(offsets) => size_of_val(*offsets),
        }
    }

    /// Its bytes, with padding.
    pub(crate) fn padded(&self) -> usize {
        self.bytes().next_multiple_of(8)
    }

    /// All of them, one behind the other. `room` has their padded bytes.
    pub(crate) fn write_all(pieces: &[Self], mut room: &mut [u8]) {
        for piece in pieces {
            let bytes = piece.bytes();
            let (target, rest) = room.split_at_mut(bytes.next_multiple_of(8));
            room = rest;
            if target.len() != bytes
                && let Some(last) = target.last_chunk_mut::<8>()
            {
                *last = [0; 8];
            }
            piece.write(&mut target[..bytes]);
        }
    }

    fn write(&self, target: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => target.copy_from_slice(bytes),
            Self::Bits(bits) => write_bits(bits, target),
            Self::Offsets(offsets) => {
                let first = offsets.first().copied().unwrap_or(0);
                for (target, offset) in target.chunks_exact_mut(4).zip(*offsets) {
                    target.copy_from_slice(&(offset - first).to_le_bytes());
                }
            }
        }
    }

    /// Offsets that start at 0 can be copied as they are.
    pub(crate) fn offsets(offsets: &'a [i32]) -> Self {
        if offsets.first() == Some(&0) { Self::Bytes(le_bytes(offsets)) } else { Self::Offsets(offsets) }
    }
}

fn write_bits(bits: &BooleanBuffer, target: &mut [u8]) {
    if bits.offset().is_multiple_of(8) {
        let from = bits.offset() / 8;
        target.copy_from_slice(&bits.values()[from..from + target.len()]);
    } else {
        let chunks = bits.bit_chunks();
        let (words, rest) = target.split_at_mut(chunks.chunk_len() * 8);
        for (target, word) in words.chunks_exact_mut(8).zip(chunks.iter()) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        let length = rest.len();
        rest.copy_from_slice(&chunks.remainder_bits().to_le_bytes()[..length]);
    }
    if let (Some(last), used @ 1..) = (target.last_mut(), bits.len() % 8) {
        *last &= (1 << used) - 1;
    }
}

/// The bytes of little-endian numbers. Guests are little-endian, and so is every host wasmtime's compiler runs on that we build for.
fn le_bytes(offsets: &[i32]) -> &[u8] {
    const { assert!(cfg!(target_endian = "little"), "columns cross as they stand in memory") };
    arrow_buffer::ToByteSlice::to_byte_slice(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[Piece<'_>]) -> Vec<u8> {
        let mut room = vec![0xAA; pieces.iter().map(Piece::padded).sum()];
        Piece::write_all(pieces, &mut room);
        room
    }

    #[test]
    fn bits_arrive_at_the_lowest_bit_and_end_clear_whatever_the_slice() {
        let source: Vec<bool> = (0..400).map(|at| at % 3 == 0 || at % 7 == 2).collect();
        let all = BooleanBuffer::from(source.clone());
        for offset in [0, 1, 7, 8, 9, 63, 64, 65, 130] {
            for length in [1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200] {
                let bytes = written(&[Piece::Bits(&all.slice(offset, length))]);
                assert_eq!(bytes.len(), usize::div_ceil(length, 8).next_multiple_of(8));
                for (at, byte) in bytes.iter().enumerate() {
                    for bit in 0..8 {
                        let row = at * 8 + bit;
                        let expected = row < length && source[offset + row];
                        assert_eq!(byte >> bit & 1 == 1, expected, "row {row} of {offset}..+{length}");
                    }
                }
            }
        }
    }

    #[test]
    fn offsets_are_moved_to_zero_and_padding_is_zero() {
        assert_eq!(written(&[Piece::offsets(&[5, 7, 7])]), [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            written(&[Piece::offsets(&[0, 3]), Piece::Bytes(b"abc"), Piece::Bytes(b"")]),
            *b"\0\0\0\0\x03\0\0\0abc\0\0\0\0\0"
        );
    }
}
