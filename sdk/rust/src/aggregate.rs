//! Aggregates: accumulators in, accumulators out. The loops around the author's methods; `#[aggregate]` puts them together.
//!
//! ```text
//! update    rows         ──► accumulators of their groups        merge, retract    accumulators ──► accumulators of other groups
//! finish    accumulators ──► a value each
//! ```

use crate::abi::trusted::Row;
use crate::call::{AccumulatorAnswer, Call, Description, ValueAnswer};
use crate::field::Field;
use crate::function::{self, Given};
use crate::reject::Reject;
use crate::rule::Keyed;
use crate::state::State;

/// An aggregate as the host calls it: its accumulator is the type itself. Made by `#[aggregate]`.
pub trait Aggregate: State {
    /// The configuration; `()` without.
    type Config;

    /// What it needs, remembers and gives.
    fn describe() -> Description;

    /// Reads the configuration (JSON text).
    fn open(config: &str) -> Result<Self::Config, String>;

    /// Rows count for their groups.
    fn update_rows(config: &Self::Config, call: &Call<'_>, answer: &mut AccumulatorAnswer);

    /// Accumulators count for others.
    fn merge_rows(call: &Call<'_>, answer: &mut AccumulatorAnswer);

    /// The opposite. An error: this aggregate cannot.
    fn retract_rows(call: &Call<'_>, answer: &mut AccumulatorAnswer) -> Result<(), String>;

    /// A value for each accumulator.
    fn finish_rows(config: &Self::Config, call: &Call<'_>, answer: &mut ValueAnswer);
}

/// What `update` may return: nothing, or a `Result` of nothing with a [`Reject`] or any text as error: the row then counts for no
/// aggregate, and must have left the accumulator as it was.
pub trait Counted {
    /// Why the row does not count.
    fn rejected(self) -> Option<Reject>;
}

impl Counted for () {
    #[inline(always)]
    fn rejected(self) -> Option<Reject> {
        None
    }
}

impl<R: Into<Reject>> Counted for Result<(), R> {
    #[inline(always)]
    fn rejected(self) -> Option<Reject> {
        self.err().map(Into::into)
    }
}

/// The description of an aggregate with the accumulator `S` that gives `V`.
pub fn describe<S: State, V: Given>(doc: &'static str, arguments: &[Field], retracts: bool) -> Description {
    Description { state: S::FIELDS.to_vec(), retracts, ..function::describe::<V>(doc, arguments) }
}

/// Every row in order, with the accumulator of its group.
#[inline]
pub fn update<S: State, C: Counted>(call: &Call<'_>, answer: &mut AccumulatorAnswer, mut count: impl FnMut(&mut S, Row) -> C) {
    let mut states = Keyed::<S>::load(call);
    for row in 0..call.rows {
        if let Some(reject) = count(states.of(row), Row::of(row, call.rows)).rejected() {
            answer.notes.push(reject.note(row as u32));
        }
    }
    S::store(&states.states, &mut answer.buffer, &mut answer.state);
}

/// Every accumulator in order, with that of the group it counts for.
#[inline]
pub fn combine<S: State>(call: &Call<'_>, answer: &mut AccumulatorAnswer, mut with: impl FnMut(&mut S, &S)) {
    let mut states = Keyed::<S>::load(call);
    for (row, other) in S::load(&accumulators(call)).iter().enumerate() {
        with(states.of(row), other);
    }
    S::store(&states.states, &mut answer.buffer, &mut answer.state);
}

/// A value for each accumulator, in order.
#[inline]
pub fn finish<S: State, V: Given>(call: &Call<'_>, answer: &mut ValueAnswer, mut value: impl FnMut(&S) -> V) {
    let states = S::load(&accumulators(call));
    function::values(call.rows, answer, |row| value(&states[row]));
}

/// The columns of a call as states.
fn accumulators<'a>(call: &Call<'a>) -> Call<'a> {
    Call { rows: 0, columns: &[], keys: call.rows, row_keys: 0, state: call.columns, data: call.data }
}
