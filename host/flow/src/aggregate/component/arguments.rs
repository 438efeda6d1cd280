//! Which rows of a batch count for a component's aggregate, and what it is told of them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{Field as ArrowField, Schema};
use arrow_select::take::take;
use tidemill_event::Field;

/// An argument of a component's aggregate.
#[derive(Debug, Clone)]
pub struct AggregateArgument {
    /// The batch's column.
    pub column: Arc<str>,
    /// What the component declared.
    pub declared: Field,
}

/// All of them, and the filter.
pub(crate) struct Arguments {
    list: Vec<AggregateArgument>,
    /// A bool column: only rows in which it is true count.
    filter: Option<Arc<str>>,
}

impl Arguments {
    pub(crate) fn new(list: Vec<AggregateArgument>, filter: Option<Arc<str>>) -> Self {
        Self { list, filter }
    }

    /// The arguments of the rows that count, and which these are; `None`: all of them.
    ///
    /// # Panics
    /// If a column is not there: the plan has seen to it.
    pub(crate) fn of(&self, rows: &RecordBatch) -> (RecordBatch, Option<Vec<u32>>) {
        let column = |name: &str| rows.column_by_name(name).unwrap_or_else(|| panic!("no column `{name}` in the batch"));
        let all = || (0..rows.num_rows() as u32).collect::<Vec<u32>>();
        let mut counted: Option<Vec<u32>> = None;
        if let Some(filter) = &self.filter {
            let passes = column(filter).as_boolean();
            let is_true = |row: &u32| passes.is_valid(*row as usize) && passes.value(*row as usize);
            counted = Some(all().into_iter().filter(is_true).collect());
        }
        for argument in self.list.iter().filter(|argument| !argument.declared.nullable) {
            if let Some(nulls) = column(&argument.column).logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                let before = counted.unwrap_or_else(all);
                counted = Some(before.into_iter().filter(|row| nulls.is_valid(*row as usize)).collect());
            }
        }
        let picked = counted.as_ref().map(|counted| UInt32Array::from(counted.clone()));
        let values = |argument: &AggregateArgument| -> ArrayRef {
            let column = column(&argument.column);
            picked.as_ref().map_or_else(|| column.clone(), |rows| take(column, rows, None).expect("rows of the batch"))
        };
        let columns: Vec<ArrayRef> = self.list.iter().map(values).collect();
        let field = |(argument, column): (&AggregateArgument, &ArrayRef)| {
            ArrowField::new(&*argument.declared.name, column.data_type().clone(), true)
        };
        let schema = Schema::new(self.list.iter().zip(&columns).map(field).collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(picked.as_ref().map_or(rows.num_rows(), UInt32Array::len)));
        let arguments = RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).expect("a value per row");
        (arguments, counted)
    }
}
