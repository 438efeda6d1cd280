//! Keys of single rows of a batch, for several indexes of the same key columns: the columns are looked at once.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::group::index::Shape;
use crate::group::{KeyIndex, Wanted};
use crate::keys::KeyColumn;

/// The keys of a batch's rows, as an index looks them up.
pub(crate) enum RowKeys {
    /// One key for all.
    All,
    /// One integer column.
    Ints(ScalarBuffer<i64>, Option<NullBuffer>),
    /// One string column.
    Texts(StringArray),
    /// Ordered key bytes, one behind the other, and where each ends.
    Bytes(Vec<u8>, Vec<usize>),
}

impl RowKeys {
    /// Of a batch without dictionaries.
    ///
    /// # Panics
    /// If a key column is not in the batch, or of another type: columns were checked when the pipeline was applied.
    pub(crate) fn new(index: &KeyIndex, rows: &RecordBatch) -> Self {
        let columns: Vec<&dyn Array> = index
            .by()
            .iter()
            .map(|field| match rows.column_by_name(&field.name) {
                Some(column) => column.as_ref(),
                None => panic!("no key column `{}` in the batch", field.name),
            })
            .collect();
        match (index.shape(), &columns[..]) {
            (Shape::All, _) => Self::All,
            (Shape::Int, [column, ..]) => {
                let values = match column.data_type() {
                    DataType::Int64 => column.as_primitive::<Int64Type>().values(),
                    _ => column.as_primitive::<TimestampMicrosecondType>().values(),
                };
                Self::Ints(values.clone(), column.nulls().cloned())
            }
            (Shape::Text, [column, ..]) => Self::Texts(column.as_string::<i32>().clone()),
            (Shape::Int | Shape::Text | Shape::Columns, _) => {
                let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(*column)).collect();
                let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(rows.num_rows()));
                for row in 0..rows.num_rows() {
                    writers.iter().for_each(|writer| writer.put_ordered(row, &mut bytes));
                    ends.push(bytes.len());
                }
                Self::Bytes(bytes, ends)
            }
        }
    }
}

impl KeyIndex {
    /// The slot of one row's key, as [`KeyIndex::slots_wanted`] has it for all.
    pub(crate) fn slot_wanted(&mut self, keys: &RowKeys, row: usize, wanted: Wanted) -> u32 {
        match keys {
            _ if wanted == Wanted::Nothing => Self::NONE,
            RowKeys::All => 0,
            RowKeys::Ints(_, Some(nulls)) if nulls.is_null(row) => 0,
            RowKeys::Ints(values, _) => self.int_slot(values[row], wanted),
            RowKeys::Texts(texts) if texts.is_null(row) => 0,
            RowKeys::Texts(texts) => self.text_slot(texts.value(row).as_bytes(), wanted),
            RowKeys::Bytes(bytes, ends) => {
                let start = row.checked_sub(1).map_or(0, |before| ends[before]);
                self.text_slot(&bytes[start..ends[row]], wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tidemill_event::{Field, FieldType};

    use super::*;
    use crate::example::rows_of;

    proptest! {
        /// One by one, rows have the slots that they have together.
        #[test]
        fn rows_have_the_slots_they_have_together(
            rows in proptest::collection::vec((proptest::option::of("[ab]{0,2}"), proptest::option::of(-2i64..2), any::<bool>()), 1..40),
        ) {
            let texts: Vec<Option<String>> = rows.iter().map(|(text, ..)| text.clone()).collect();
            let batch = rows_of(Arc::new(StringArray::from(texts)), rows.iter().map(|(_, int, _)| *int).collect());
            let wanted = |row: usize| if rows[row].2 { Wanted::Any } else { Wanted::Known };
            let (string, int) = (Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true));
            for by in [vec![], vec![string.clone()], vec![int.clone()], vec![string, int]] {
                let (mut one, mut all, mut expected) = (KeyIndex::new(by.clone()), KeyIndex::new(by), Vec::new());
                all.slots_wanted(&batch, wanted, &mut expected);
                let keys = RowKeys::new(&one, &batch);
                let found: Vec<u32> = (0..rows.len()).map(|row| one.slot_wanted(&keys, row, wanted(row))).collect();
                prop_assert_eq!(found, expected);
                prop_assert!((0..rows.len()).all(|row| one.slot_wanted(&keys, row, Wanted::Nothing) == KeyIndex::NONE));
            }
        }
    }
}
