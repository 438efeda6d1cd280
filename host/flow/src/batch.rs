//! Rows on their way through the steps of a task, each still knowing which row of the task's input it came from.
//!
//! The columns are those of an event batch: `fields…, _unknown?, _time`. New columns go behind the fields and before the host's own;
//! a new column of a name that is there already takes the old one's place.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use arrow_select::filter::{filter_record_batch, prep_null_mask_filter};
use arrow_select::take::take_record_batch;
use tidemill_event::Field;
use tidemill_event::batch::{TIME_COLUMN, UNKNOWN_COLUMN, concat};

/// A batch between two steps.
#[derive(Debug, Clone)]
pub struct FlowBatch {
    /// The rows: an event batch, `_time` last.
    pub rows: RecordBatch,
    /// For each row, the row of the task's input batch it came from; never descending.
    pub origin: Vec<u32>,
}

impl FlowBatch {
    /// What a task reads: every row is its own origin.
    pub fn new(rows: RecordBatch) -> Self {
        let origin = (0..rows.num_rows() as u32).collect();
        Self { rows, origin }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows whose bit is set; null is no.
    pub(crate) fn filtered(&self, keep: &BooleanArray) -> Self {
        let keep = if keep.null_count() > 0 { prep_null_mask_filter(keep) } else { keep.clone() };
        if keep.values().count_set_bits() == keep.len() {
            return self.clone();
        }
        let rows = filter_record_batch(&self.rows, &keep).expect("the mask has a bit per row");
        let origin = keep.values().set_indices().map(|row| self.origin[row]).collect();
        Self { rows, origin }
    }

    /// Some rows in a row; nothing is made anew where that is all of them.
    pub(crate) fn part(&self, rows: &Range<usize>) -> Cow<'_, Self> {
        if *rows == (0..self.len()) { Cow::Borrowed(self) } else { Cow::Owned(self.slice(rows)) }
    }

    /// Some rows in a row.
    pub(crate) fn slice(&self, rows: &Range<usize>) -> Self {
        Self { rows: self.rows.slice(rows.start, rows.len()), origin: self.origin[rows.clone()].to_vec() }
    }

    /// Batches of one step behind each other. The caller has at least one.
    pub(crate) fn concat(mut batches: Vec<Self>) -> Self {
        if batches.len() == 1 {
            return batches.remove(0);
        }
        let (rows, origin): (Vec<RecordBatch>, Vec<Vec<u32>>) =
            batches.into_iter().map(|batch| (batch.rows, batch.origin)).unzip();
        Self { rows: concat(&rows), origin: origin.concat() }
    }

    /// Single rows, copied. `picked` ascends.
    pub(crate) fn picked(&self, picked: &[u32]) -> Self {
        let rows = take_record_batch(&self.rows, &UInt32Array::from(picked.to_vec())).expect("rows of the batch");
        Self { rows: plain(&rows), origin: picked.iter().map(|row| self.origin[*row as usize]).collect() }
    }

    /// The same rows, holding on to nothing else of the batch they were cut from.
    pub fn compact(&self) -> Self {
        self.picked(&(0..self.len() as u32).collect::<Vec<_>>())
    }

    /// The same rows with more columns.
    pub(crate) fn with_columns(self, added: Vec<(ArrowField, ArrayRef)>) -> Self {
        if added.is_empty() {
            return self;
        }
        Self { rows: with_columns(&self.rows, added), origin: self.origin }
    }
}

/// Dictionaries as plain text: a few rows must not keep alive what all rows of a block said.
pub(crate) fn plain(rows: &RecordBatch) -> RecordBatch {
    let (fields, columns) = rows
        .schema_ref()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| match column.data_type() {
            DataType::Dictionary(_, values) => {
                let column = cast(column, values).expect("a dictionary casts to its values");
                (Arc::new(ArrowField::clone(field).with_data_type(column.data_type().clone())), column)
            }
            _ => (field.clone(), column.clone()),
        })
        .unzip();
    assemble(fields, columns, rows.num_rows())
}

/// What `added` columns make of a batch's fields: the same rule as for the columns, for planning.
pub fn extended_fields(fields: &[Field], added: &[Field]) -> Vec<Field> {
    let mut fields = fields.to_vec();
    for field in added {
        match fields.iter_mut().find(|old| old.name == field.name) {
            Some(old) => *old = field.clone(),
            None => fields.push(field.clone()),
        }
    }
    fields
}

/// A field as its column really is: a string column may be a dictionary in one batch and plain in the next.
pub(crate) fn field_of(field: &Field, column: &ArrayRef) -> ArrowField {
    field.arrow().with_data_type(column.data_type().clone())
}

/// # Panics
/// If a column has another length than the batch, or nulls where its field has none: both are for the caller to see to.
pub(crate) fn with_columns(rows: &RecordBatch, added: Vec<(ArrowField, ArrayRef)>) -> RecordBatch {
    let mut fields: Vec<Arc<ArrowField>> = rows.schema_ref().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    let mut end = fields.iter().take_while(|field| !is_host_column(field.name())).count();
    for (field, column) in added {
        match fields[..end].iter().position(|old| old.name() == field.name()) {
            Some(at) => {
                fields[at] = Arc::new(field);
                columns[at] = column;
            }
            None => {
                fields.insert(end, Arc::new(field));
                columns.insert(end, column);
                end += 1;
            }
        }
    }
    assemble(fields, columns, rows.num_rows())
}

/// # Panics
/// See [`with_columns`].
pub(crate) fn assemble(fields: Vec<Arc<ArrowField>>, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .unwrap_or_else(|error| panic!("columns do not fit their fields: {error}"))
}

fn is_host_column(name: &str) -> bool {
    name == TIME_COLUMN || name == UNKNOWN_COLUMN
}

/// Single rows of a batch, which may have no columns at all: what expressions without a column are given.
pub(crate) fn pick(rows: &RecordBatch, picked: &[u32]) -> RecordBatch {
    if rows.num_columns() == 0 {
        return assemble(Vec::new(), Vec::new(), picked.len());
    }
    take_record_batch(rows, &UInt32Array::from(picked.to_vec())).expect("rows of the batch")
}

/// The columns of these names, as they are in the batch.
///
/// # Panics
/// If one is not there: names were checked when the pipeline was applied.
pub(crate) fn columns_named(rows: &RecordBatch, names: impl Iterator<Item = Arc<str>>) -> RecordBatch {
    let (fields, columns) = names
        .map(|name| {
            let at = rows.schema_ref().index_of(&name).unwrap_or_else(|_| panic!("no column `{name}` in the batch"));
            (rows.schema_ref().fields()[at].clone(), rows.column(at).clone())
        })
        .unzip();
    assemble(fields, columns, rows.num_rows())
}
