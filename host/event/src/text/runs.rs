//! Growing columns: variable-length values behind each other, and how what has grown becomes Arrow buffers.

use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::chunk::Chunk;

/// Variable-length values one behind the other.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) data: Vec<u8>,
    pub(crate) offsets: Vec<i32>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0] }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.close();
    }

    /// Takes the first `length` bytes (at most 16) of a chunk: all of it is copied, which takes no call, and the rest dropped.
    #[inline(always)]
    pub(crate) fn push_short(&mut self, chunk: Chunk, length: usize) {
        let end = self.data.len() + length;
        self.data.extend_from_slice(chunk.bytes());
        self.data.truncate(end);
        self.close();
    }

    /// Ends the value whose bytes were appended to `data`.
    ///
    /// # Panics
    /// If a column holds 2 GiB: batches are bounded far below.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.offsets.push(i32::try_from(self.data.len()).expect("a column is smaller than 2 GiB"));
    }

    /// Forgets the values from `length` on, and bytes without a value.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        self.data.truncate(self.offsets[length] as usize);
    }

    /// Everything as Arrow buffers; empty afterwards.
    pub(crate) fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let (data, offsets) = (take(&mut self.data), take(&mut self.offsets));
        self.offsets.push(0);
        (OffsetBuffer::new(offsets.into()), data.into())
    }
}

/// The values, in a vector at most twice as large as they are; `values` is empty afterwards, with room for as many again.
///
/// A small batch behind a large one gets a copy, since what it would hold on to lives as long as it does: in tails, in queues.
pub(crate) fn take<T: Copy>(values: &mut Vec<T>) -> Vec<T> {
    if values.len() * 2 < values.capacity() {
        let exact = values.clone();
        values.clear();
        return exact;
    }
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

/// The validity of `length` rows of which those in `nulls` (ascending) are null; `None` if none is.
pub(crate) fn validity(nulls: &[u32], length: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = arrow_buffer::BooleanBufferBuilder::new(length);
    bits.append_n(length, true);
    for row in nulls {
        bits.set_bit(*row as usize, false);
    }
    Some(NullBuffer::new(bits.finish()))
}
