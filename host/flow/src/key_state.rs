//! What a step holds of one key, for people who ask between two batches.
//!
//! Each step says it as rows of its own making: a machine one row with its state, a pattern one for each partial match. Asking changes nothing
//! that is stored; entries that left memory may come back.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType};

use crate::batch::{assemble, field_of};

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

/// Instants, as a column.
pub(crate) fn times_of(micros: impl Iterator<Item = Option<i64>>) -> TimestampMicrosecondArray {
    micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC")
}

/// A column of a type.
pub(crate) fn column(name: &str, ty: FieldType, values: impl arrow_array::Array + 'static) -> (Field, ArrayRef) {
    (Field::new(name, ty, true), Arc::new(values))
}
