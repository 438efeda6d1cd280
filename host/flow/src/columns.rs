//! The columns of a batch that a component reads.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use tidemill_event::Field;

use crate::batch::columns_named;

/// The columns a component reads, in its order.
pub(crate) struct Columns {
    fields: Vec<Field>,
    /// Where they stood in the last batch: the next one mostly has the same schema, and looking them up costs as much as a call.
    found: Option<Found>,
}

struct Found {
    within: SchemaRef,
    places: Vec<usize>,
    schema: SchemaRef,
}

impl Columns {
    pub(crate) fn new(fields: Vec<Field>) -> Self {
        Self { fields, found: None }
    }

    /// Their names, in its order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.fields.iter().map(|field| field.name.clone())
    }

    /// Those of a batch that has them all.
    pub(crate) fn of(&mut self, rows: &RecordBatch) -> RecordBatch {
        if let Some(Found { within, places, schema }) = &self.found
            && (Arc::ptr_eq(within, rows.schema_ref()) || within == rows.schema_ref())
        {
            let columns = places.iter().map(|place| rows.column(*place).clone()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            return RecordBatch::try_new_with_options(schema.clone(), columns, &options).expect("columns of the same schema");
        }
        let named = columns_named(rows, self.fields.iter().map(|field| field.name.clone()));
        let place = |field: &Field| rows.schema_ref().index_of(&field.name).expect("it was just there");
        let places = self.fields.iter().map(place).collect();
        self.found = Some(Found { within: rows.schema(), places, schema: named.schema() });
        named
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use tidemill_event::FieldType;

    use super::*;
    use crate::example::batch;

    #[test]
    fn they_are_found_again_in_every_schema() {
        let mut columns = Columns::new(vec![Field::new("v", FieldType::Int64, true)]);
        let rows = batch("a:1 b:2").rows;
        // The same columns in another order, then in the first again.
        let other = rows.project(&(0..rows.num_columns()).rev().collect::<Vec<_>>()).expect("its own columns");
        for rows in [&rows, &rows, &other, &rows.slice(1, 1)] {
            let found = columns.of(rows);
            assert_eq!((found.num_columns(), found.num_rows()), (1, rows.num_rows()));
            let expected = rows.column_by_name("v").expect("a value");
            assert_eq!(found.column(0).as_primitive::<Int64Type>(), expected.as_primitive::<Int64Type>());
        }
        let mut none = Columns::new(Vec::new());
        assert_eq!([none.of(&rows).num_rows(), none.of(&rows).num_rows()], [2, 2]);
    }
}
