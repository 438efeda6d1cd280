//! Functions: a value per row, for expressions. [`each`] is the loop around the author's function.

use crate::abi::trusted::Row;
use crate::call::{Call, Description, ValueAnswer};
use crate::field::Field;
use crate::output::{ColumnBuilder, OutputValue};
use crate::reject::Reject;

/// A function as the host calls it. Made by `#[function]`.
pub trait Function: Sized {
    /// What it needs and gives.
    fn describe() -> Description;

    /// A function with this configuration (JSON text).
    fn open(config: &str) -> Result<Self, String>;

    /// Computes a batch. An error is the whole batch's.
    fn compute(&mut self, call: &Call<'_>, answer: &mut ValueAnswer) -> Result<(), String>;
}

/// What a function, or the `finish` of an aggregate, may return: a value, an `Option` of one, or a `Result` of these with a [`Reject`]
/// or any text as error.
pub trait Given {
    /// The type of the value.
    type Value: OutputValue;

    /// Adds it; or why there is none.
    fn give(self, column: &mut ColumnBuilder<<Self::Value as OutputValue>::Values>) -> Option<Reject>;
}

impl<T: OutputValue> Given for T {
    type Value = T;

    #[inline(always)]
    fn give(self, column: &mut ColumnBuilder<T::Values>) -> Option<Reject> {
        self.append(column);
        None
    }
}

impl<T: OutputValue, R: Into<Reject>> Given for Result<T, R> {
    type Value = T;

    #[inline(always)]
    fn give(self, column: &mut ColumnBuilder<T::Values>) -> Option<Reject> {
        match self {
            Ok(value) => {
                value.append(column);
                None
            }
            Err(reject) => {
                column.append_nothing();
                Some(reject.into())
            }
        }
    }
}

/// The description of a function of these arguments that gives `V`.
pub fn describe<V: Given>(doc: &'static str, arguments: &[Field]) -> Description {
    Description {
        doc,
        columns: arguments.to_vec(),
        outputs: vec![Field::of::<V::Value>("value")],
        state: Vec::new(),
        time: None,
        retracts: false,
    }
}

/// Asks for every row in order.
#[inline]
pub fn each<V: Given>(call: &Call<'_>, answer: &mut ValueAnswer, mut ask: impl FnMut(Row) -> V) {
    values(call.rows, answer, |row| ask(Row::of(row, call.rows)));
}

/// A column of so many values.
#[inline]
pub(crate) fn values<V: Given>(rows: usize, answer: &mut ValueAnswer, mut ask: impl FnMut(usize) -> V) {
    let mut column = ColumnBuilder::<<V::Value as OutputValue>::Values>::default();
    for row in 0..rows {
        if let Some(reject) = ask(row).give(&mut column) {
            answer.notes.push(reject.note(row as u32));
        }
    }
    answer.columns.push(column.finish(&mut answer.buffer));
}
