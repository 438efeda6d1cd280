//! What a lookup asks: a table that answers for whole batches, and the one made of rows and an index.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::take::take;
use tidemill_event::dictionary_type;

use crate::lookup::TableIndex;
use crate::lookup::index::NONE;

/// Text columns of so few different values go out as a dictionary: the values are not copied for every row.
const DICTIONARY_VALUES_MAX: usize = 1024;

/// What a table has for the rows of a batch.
#[derive(Debug)]
pub struct Found {
    /// Whether it has something, per row.
    pub hits: BooleanBuffer,
    /// The taken columns, a value per row; null where it has nothing.
    pub columns: Vec<ArrayRef>,
}

/// One version of a table as one step looks it up. Its answers depend on the keys alone: it never changes.
pub trait LookupTable: Send + Sync + fmt::Debug {
    /// Looks every row up; `keys` are the step's key columns, in its order, at least one.
    fn look_up(&self, keys: &[ArrayRef]) -> Found;
}

/// Rows with an index over some of their columns.
#[derive(Debug)]
pub struct IndexedTable {
    index: Arc<TableIndex>,
    take: Vec<ArrayRef>,
}

impl IndexedTable {
    /// `take` are the columns it gives, of the rows that `index` numbers.
    pub fn new(index: Arc<TableIndex>, take: &[ArrayRef]) -> Self {
        Self { index, take: take.iter().map(small).collect() }
    }
}

impl LookupTable for IndexedTable {
    fn look_up(&self, keys: &[ArrayRef]) -> Found {
        let rows = self.index.find(keys);
        let hits = BooleanBuffer::collect_bool(rows.len(), |at| rows[at] != NONE);
        // Where nothing is found, the index must still be one of the table.
        let places = rows.into_iter().map(|row| if row == NONE { 0 } else { row }).collect::<Vec<u32>>();
        let places = UInt32Array::new(places.into(), Some(NullBuffer::new(hits.clone())));
        let column = |column: &ArrayRef| take(column, &places, None).expect("rows of the table");
        Found { columns: self.take.iter().map(column).collect(), hits }
    }
}

/// A text column of few values as a dictionary.
fn small(column: &ArrayRef) -> ArrayRef {
    if column.data_type() != &DataType::Utf8 || column.len() <= DICTIONARY_VALUES_MAX / 64 {
        return column.clone();
    }
    let Ok(dictionary) = cast(column, &dictionary_type()) else { return column.clone() };
    if dictionary.as_any_dictionary().values().len() <= DICTIONARY_VALUES_MAX { dictionary } else { column.clone() }
}
