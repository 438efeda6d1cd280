//! Typed events: a struct whose fields are the columns a component reads.

use std::ops::Deref;

use crate::abi::trusted::Row;
use crate::call::Call;
use crate::field::Field;

/// A row as the author sees it. Made by `#[derive(Event)]`.
pub trait Event {
    /// The columns it reads, in order.
    const FIELDS: &'static [Field];
    /// The columns of a batch, one field per field of the event.
    type Columns<'a>;
    /// The event, borrowed from a batch.
    type Row<'a>;

    /// Finds the columns in the batch's buffer, once per call.
    fn bind<'a>(call: &Call<'a>) -> Self::Columns<'a>;

    /// One row of them.
    fn row<'a>(columns: &Self::Columns<'a>, row: Row) -> Self::Row<'a>;
}

/// Nothing is read.
impl Event for () {
    const FIELDS: &'static [Field] = &[];
    type Columns<'a> = ();
    type Row<'a> = ();

    fn bind<'a>(_call: &Call<'a>) -> Self::Columns<'a> {}

    fn row<'a>(_columns: &Self::Columns<'a>, _row: Row) -> Self::Row<'a> {}
}

/// A whole batch of events as columns: what a `#[rule(batch)]` function is given. Its fields are the event's, each with
/// [`test`](crate::column::Column::test): `batch.amount.test(batch.rows(), |amount| amount > 1000.0)`.
pub struct Batch<'a, E: Event> {
    columns: E::Columns<'a>,
    rows: usize,
}

impl<'a, E: Event> Batch<'a, E> {
    /// The batch of a call.
    pub(crate) fn bind(call: &Call<'a>) -> Self {
        Self { columns: E::bind(call), rows: call.rows }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One row as an event; panics if there is no such row.
    pub fn row(&self, row: usize) -> E::Row<'a> {
        assert!(row < self.rows, "row {row} of a batch of {} rows", self.rows);
        E::row(&self.columns, Row::of(row, self.rows))
    }
}

impl<'a, E: Event> Deref for Batch<'a, E> {
    type Target = E::Columns<'a>;

    fn deref(&self) -> &E::Columns<'a> {
        &self.columns
    }
}
