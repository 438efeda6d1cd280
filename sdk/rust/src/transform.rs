//! Transforms: any number of rows out per row in. [`run`] is the loop around the author's function.

use crate::abi::bindings::Column as Place;
use crate::abi::trusted::Row;
use crate::call::{Call, Description, TransformAnswer};
use crate::event::Event;
use crate::output::{Buffer, Builders, Output};
use crate::reject::Reject;
use crate::rule::Keyed;
use crate::state::State;

/// A transform as the host calls it. Made by `#[transform]`.
pub trait Transform: Sized {
    /// What it needs and makes.
    fn describe() -> Description;

    /// A transform with this configuration (JSON text).
    fn open(config: &str) -> Result<Self, String>;

    /// Transforms a batch. An error is the whole batch's.
    fn apply(&mut self, call: &Call<'_>, answer: &mut TransformAnswer) -> Result<(), String>;
}

/// Takes the rows a transform makes.
#[derive(Debug)]
pub struct Emit<O: Output> {
    builders: O::Builders,
    source_rows: Vec<u32>,
    row: u32,
    rejected: Option<Reject>,
}

impl<O: Output> Emit<O> {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { builders: O::Builders::default(), source_rows: Vec::with_capacity(rows), row: 0, rejected: None }
    }

    /// Adds a row that came from the row in hand.
    pub fn push(&mut self, row: O::At<'_>) {
        self.append(&row);
    }

    /// What is pushed from here on comes from that row.
    pub(crate) fn set_row(&mut self, row: u32) {
        self.row = row;
    }

    /// The row each came from.
    pub(crate) fn source_rows(&self) -> &[u32] {
        &self.source_rows
    }

    /// Writes the columns.
    pub(crate) fn finish(self, buffer: &mut Buffer, places: &mut Vec<Place>) {
        self.builders.finish(buffer, places);
    }

    fn append(&mut self, row: &impl Output<Builders = O::Builders>) {
        row.append(&mut self.builders);
        self.source_rows.push(self.row);
    }
}

/// What a transform function may return: a row, an `Option` or a `Vec` of rows, or a `Result` of any of them with a [`Reject`]
/// or a text as error.
pub trait Rows {
    /// The rows' type.
    type Row: Output;

    /// Adds them.
    fn give<O: Output<Builders = <Self::Row as Output>::Builders>>(self, emit: &mut Emit<O>);
}

impl<R: Output> Rows for R {
    type Row = R;

    fn give<O: Output<Builders = R::Builders>>(self, emit: &mut Emit<O>) {
        emit.append(&self);
    }
}

impl<R: Output> Rows for Option<R> {
    type Row = R;

    fn give<O: Output<Builders = R::Builders>>(self, emit: &mut Emit<O>) {
        if let Some(row) = &self {
            emit.append(row);
        }
    }
}

impl<R: Output> Rows for Vec<R> {
    type Row = R;

    fn give<O: Output<Builders = R::Builders>>(self, emit: &mut Emit<O>) {
        for row in &self {
            emit.append(row);
        }
    }
}

impl<R: Rows, E: Into<Reject>> Rows for Result<R, E> {
    type Row = R::Row;

    fn give<O: Output<Builders = <Self::Row as Output>::Builders>>(self, emit: &mut Emit<O>) {
        match self {
            Ok(rows) => rows.give(emit),
            Err(reject) => emit.rejected = Some(reject.into()),
        }
    }
}

/// What a transform function with an [`Emit`] may return: nothing, or a `Result` of nothing.
pub trait Done {
    /// Notes an error.
    fn give<O: Output>(self, emit: &mut Emit<O>);
}

impl Done for () {
    fn give<O: Output>(self, _emit: &mut Emit<O>) {}
}

impl<E: Into<Reject>> Done for Result<(), E> {
    fn give<O: Output>(self, emit: &mut Emit<O>) {
        if let Err(reject) = self {
            emit.rejected = Some(reject.into());
        }
    }
}

/// The description of a transform from `E` and `S` to `O`.
pub fn describe<E: Event, S: State, O: Output>(doc: &'static str) -> Description {
    Description {
        doc,
        columns: E::FIELDS.to_vec(),
        outputs: O::FIELDS.to_vec(),
        state: S::FIELDS.to_vec(),
        time: O::TIME,
        retracts: false,
    }
}

/// Asks for every row in order, with the state of the row's key. A row that ends in an error leaves no rows.
pub fn run<'a, E: Event, S: State, O: Output>(
    call: &Call<'a>,
    answer: &mut TransformAnswer,
    mut ask: impl FnMut(E::Row<'a>, &mut S, &mut Emit<O>),
) {
    let columns = E::bind(call);
    let mut states = Keyed::<S>::load(call);
    let mut emit = Emit::<O>::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = emit.source_rows.len();
        emit.row = row as u32;
        ask(E::row(&columns, Row::of(row, call.rows)), states.of(row), &mut emit);
        if let Some(reject) = emit.rejected.take() {
            emit.source_rows.truncate(before);
            emit.builders.truncate(before);
            answer.notes.push(reject.note(row as u32));
        }
    }
    answer.rows = emit.source_rows.len();
    answer.source_rows = answer.buffer.put_words(emit.source_rows.iter().map(|row| row.to_le_bytes()));
    emit.builders.finish(&mut answer.buffer, &mut answer.columns);
    S::store(&states.states, &mut answer.buffer, &mut answer.state);
}
