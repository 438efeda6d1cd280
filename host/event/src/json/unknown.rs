//! The `_unknown` column under construction: what rows hold besides their schema's fields, as one object each.
//!
//! Nothing is kept for a row that has nothing of the kind, which is how most rows of most streams are.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer};

use crate::text::take;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    /// The objects one behind the other; the last one may still be open.
    pub(crate) data: Vec<u8>,
    /// The rows that have one, and where it ends.
    rows: Vec<(u32, u32)>,
}

impl Unknown {
    /// Where the open row's object begins, if it has one.
    fn open_at(&self) -> usize {
        self.rows.last().map_or(0, |(_, end)| *end as usize)
    }

    /// Begins a member: the comma or brace that stands before its name, if any does.
    pub(crate) fn begin_member(&mut self) {
        if self.data.len() == self.open_at() {
            self.data.push(b'{');
        } else if self.data.last() != Some(&b'{') {
            self.data.push(b',');
        }
    }

    /// Ends a row that may have an object.
    ///
    /// # Panics
    /// If a batch holds 4 GiB: batches are bounded far below.
    #[inline(always)]
    pub(crate) fn close(&mut self, row: usize) {
        if self.data.len() > self.open_at() {
            self.data.push(b'}');
            self.close_at(row);
        }
    }

    /// Ends a row whose whole object is in `data`.
    pub(crate) fn close_at(&mut self, row: usize) {
        self.rows.push((row as u32, u32::try_from(self.data.len()).expect("a column is smaller than 2 GiB")));
    }

    /// Forgets the rows from `row` on, and an open one.
    pub(crate) fn truncate(&mut self, row: usize) {
        while self.rows.last().is_some_and(|(last, _)| *last as usize >= row) {
            self.rows.pop();
        }
        self.data.truncate(self.open_at());
    }

    /// The column of so many rows; empty afterwards.
    pub(crate) fn finish(&mut self, rows: usize) -> ArrayRef {
        if self.rows.is_empty() {
            return Arc::new(StringArray::new_null(rows));
        }
        let mut valid = BooleanBufferBuilder::new(rows);
        let mut ends = Vec::with_capacity(rows);
        let mut end = 0;
        for (row, next_end) in self.rows.drain(..) {
            let gap = row as usize - ends.len();
            valid.append_n(gap, false);
            valid.append(true);
            ends.extend(std::iter::repeat_n(end, gap));
            ends.push(next_end);
            end = next_end;
        }
        valid.append_n(rows - ends.len(), false);
        ends.resize(rows, end);
        let end = |end: u32| i32::try_from(end).expect("a column is smaller than 2 GiB");
        let offsets: Vec<i32> = std::iter::once(0).chain(ends.into_iter().map(end)).collect();
        let nulls = Some(NullBuffer::new(valid.finish())).filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::new(offsets.into());
        Arc::new(StringArray::try_new(offsets, take(&mut self.data).into(), nulls).expect("rows are checked to be UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    use super::*;

    #[test]
    fn rows_without_an_object_are_null_wherever_they_are() {
        for present in 0..64u32 {
            let mut unknown = Unknown::default();
            for row in 0..6 {
                if present >> row & 1 == 1 {
                    unknown.begin_member();
                    unknown.data.extend_from_slice(format!("\"n\":{row}").as_bytes());
                }
                unknown.close(row);
            }
            // A row that is taken back, open or not, leaves nothing.
            unknown.begin_member();
            unknown.truncate(6);
            unknown.begin_member();
            unknown.close(6);
            unknown.truncate(6);
            let array = unknown.finish(6);
            let array = array.as_string::<i32>();
            for row in 0..6 {
                let wanted = (present >> row & 1 == 1).then(|| format!("{{\"n\":{row}}}"));
                assert_eq!(array.is_valid(row).then(|| array.value(row)), wanted.as_deref());
            }
            assert_eq!(unknown.finish(0).len(), 0);
        }
    }
}
