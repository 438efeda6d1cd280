//! What a step holds of one key, for people who ask between two batches.
//!
//! Each step says it as rows of its own making: a machine one row with its state, a pattern one for each partial match. Asking changes nothing
//! that is stored; entries that left memory may come back.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType};

use crate::batch::{assemble, field_of};
use crate::where_step::without;

/// What a step holds of a key. No row: nothing.
#[derive(Debug, Clone)]
pub struct KeyState {
    /// The columns, `_time` aside; a dotted name is a member of an object.
    pub fields: Vec<Field>,
    /// An event batch of them.
    pub rows: RecordBatch,
}

/// What of a pattern has begun and not ended, of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRuns {
    /// Its name, where it is one of a list.
    pub pattern: Option<Arc<str>>,
    /// Partial matches, and matches that wait for one that began before. Of `match_recognize`: keys that wait for rows.
    pub runs: u64,
    /// Keys that have some.
    pub keys: u64,
}

impl KeyState {
    /// `times`: a row for each, which says since when it is held.
    ///
    /// # Panics
    /// If the columns are not as long as there are times.
    pub(crate) fn new(columns: Vec<(Field, ArrayRef)>, times: Vec<i64>) -> Self {
        let rows = times.len();
        let time: ArrayRef = Arc::new(times_of(times.into_iter().map(Some)));
        let arrow = columns.iter().map(|(field, column)| Arc::new(field_of(field, column))).chain([Arc::new(time_field())]);
        let (arrow, fields) = (arrow.collect(), columns.iter().map(|(field, _)| field.clone()).collect());
        let columns = columns.into_iter().map(|(_, column)| column).chain([time]).collect();
        Self { fields, rows: assemble(arrow, columns, rows) }
    }
}

impl KeyState {
    /// The other rows.
    pub(crate) fn without(self, rows: impl Iterator<Item = usize>) -> Self {
        let all = BooleanArray::new(BooleanBuffer::new_set(self.rows.num_rows()), None);
        let kept = filter_record_batch(&self.rows, &without(all, rows)).expect("as long as the rows");
        Self { rows: kept, ..self }
    }

    /// One more column in front.
    pub(crate) fn prepend(&mut self, (field, values): (Field, ArrayRef)) {
        let arrow = self.rows.schema_ref().fields().iter().cloned();
        let arrow = [Arc::new(field_of(&field, &values))].into_iter().chain(arrow).collect();
        let columns = [values].into_iter().chain(self.rows.columns().iter().cloned()).collect();
        self.rows = assemble(arrow, columns, self.rows.num_rows());
        self.fields.insert(0, field);
    }
}

/// Instants, as a column.
pub(crate) fn times_of(micros: impl Iterator<Item = Option<i64>>) -> TimestampMicrosecondArray {
    micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC")
}

/// A column of a type.
pub(crate) fn column(name: &str, ty: FieldType, values: impl arrow_array::Array + 'static) -> (Field, ArrayRef) {
    (Field::new(name, ty, true), Arc::new(values))
}
