//! The `_unknown` column under construction: what rows hold besides their schema's fields, as one object each.
//!
//! Nothing is kept for a row that has nothing of the kind, which is how most rows of most streams are.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};

use crate::text::take;

/// See the module.
#[derive(Debug)]
pub(crate) struct Unknown {
    /// The objects one behind the other; the last one may still be open.
    pub(crate) data: Vec<u8>,
    /// Where each row's object ends, a 0 before them; up to the last row that has one. A row without one ends where it begins.
    ends: Vec<i32>,
}

impl Unknown {
    pub(crate) fn new() -> Self {
        Self { data: Vec::new(), ends: vec![0] }
    }

    /// Where the open row's object begins, if it has one.
    #[inline(always)]
    fn open_at(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// Begins a member: the comma or brace that stands before its name, if any does.
    #[inline]
    pub(crate) fn begin_member(&mut self) {
        if self.data.len() == self.open_at() {
            self.data.push(b'{');
        } else if self.data.last() != Some(&b'{') {
            self.data.push(b',');
        }
    }

    /// Ends a row that may have an object.
    #[inline(always)]
    pub(crate) fn close(&mut self, row: usize) {
        if self.data.len() > self.open_at() {
            self.data.push(b'}');
            self.close_at(row);
        }
    }

    /// Ends a row whose whole object is in `data`.
    ///
    /// # Panics
    /// If a column holds 2 GiB: batches are bounded far below.
    pub(crate) fn close_at(&mut self, row: usize) {
        self.pad(row);
        self.ends.push(i32::try_from(self.data.len()).expect("a column is smaller than 2 GiB"));
    }

    /// The rows before `row` that have none.
    fn pad(&mut self, row: usize) {
        if self.ends.len() <= row {
            let end = self.open_at() as i32;
            self.ends.resize(row + 1, end);
        }
    }

    /// Forgets the rows from `row` on, and an open one.
    pub(crate) fn truncate(&mut self, row: usize) {
        self.ends.truncate(row + 1);
        self.data.truncate(self.open_at());
    }

    /// The column of so many rows; empty afterwards.
    pub(crate) fn finish(&mut self, rows: usize) -> ArrayRef {
        if self.data.is_empty() {
            self.ends.truncate(1);
            return Arc::new(StringArray::new_null(rows));
        }
        self.pad(rows);
        let is_there = |row: usize| self.ends[row] < self.ends[row + 1];
        let nulls = Some(NullBuffer::new(BooleanBuffer::collect_bool(rows, is_there))).filter(|nulls| nulls.null_count() > 0);
        let (ends, data) = (take(&mut self.ends), take(&mut self.data));
        self.ends.push(0);
        let offsets = OffsetBuffer::new(ends.into());
        Arc::new(StringArray::try_new(offsets, data.into(), nulls).expect("rows are checked to be UTF-8"))
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
            let mut unknown = Unknown::new();
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
