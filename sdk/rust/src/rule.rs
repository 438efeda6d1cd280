//! Rules: a verdict per row. [`judge`] is the loop around the author's function.

use crate::Mask;
use crate::abi::trusted::Row;
use crate::call::{Call, Description, RuleAnswer};
use crate::event::{Batch, Event};
use crate::field::Field;
use crate::output::{Builders, NoBuilders, Output};
use crate::reject::Reject;
use crate::state::State;

/// A rule as the host calls it. Made by `#[rule]`.
pub trait Rule: Sized {
    /// What it needs and makes.
    fn describe() -> Description;

    /// A rule with this configuration (JSON text).
    fn open(config: &str) -> Result<Self, String>;

    /// Judges a batch. An error is the whole batch's.
    fn evaluate(&mut self, call: &Call<'_>, answer: &mut RuleAnswer) -> Result<(), String>;
}

/// What a rule function may return: `bool`; `Option<O>` (yes with these columns, or no and nulls); `(bool, O)` (either, always
/// with columns); `Result` of any of them with a [`Reject`] or a text as error.
pub trait Verdict {
    /// The columns it brings.
    const OUTPUTS: &'static [Field];
    /// Whether every column may be null, whatever the fields say.
    const NULLABLE: bool;
    /// Whether it may be an error.
    const REJECTS: bool;
    /// The columns under way.
    type Builders: Builders;

    /// Adds its columns, and answers yes or no.
    fn give(self, taken: &mut Taken<Self::Builders>) -> bool;
}

/// Where verdicts leave what they bring.
#[derive(Debug, Default)]
pub struct Taken<B> {
    builders: B,
    rejected: Option<Reject>,
}

impl Verdict for bool {
    const OUTPUTS: &'static [Field] = &[];
    const NULLABLE: bool = false;
    const REJECTS: bool = false;
    type Builders = NoBuilders;

    #[inline(always)]
    fn give(self, _taken: &mut Taken<NoBuilders>) -> bool {
        self
    }
}

impl<O: Output> Verdict for Option<O> {
    const OUTPUTS: &'static [Field] = O::FIELDS;
    const NULLABLE: bool = true;
    const REJECTS: bool = false;
    type Builders = O::Builders;

    fn give(self, taken: &mut Taken<O::Builders>) -> bool {
        match &self {
            Some(output) => output.append(&mut taken.builders),
            None => taken.builders.append_null(),
        }
        self.is_some()
    }
}

impl<O: Output> Verdict for (bool, O) {
    const OUTPUTS: &'static [Field] = O::FIELDS;
    const NULLABLE: bool = false;
    const REJECTS: bool = false;
    type Builders = O::Builders;

    fn give(self, taken: &mut Taken<O::Builders>) -> bool {
        self.1.append(&mut taken.builders);
        self.0
    }
}

impl<V: Verdict, R: Into<Reject>> Verdict for Result<V, R> {
    const OUTPUTS: &'static [Field] = V::OUTPUTS;
    const NULLABLE: bool = V::NULLABLE;
    const REJECTS: bool = true;
    type Builders = V::Builders;

    fn give(self, taken: &mut Taken<V::Builders>) -> bool {
        match self {
            Ok(verdict) => verdict.give(taken),
            Err(reject) => {
                taken.rejected = Some(reject.into());
                taken.builders.append_nothing();
                false
            }
        }
    }
}

/// The description of a rule over `E`, `S` and `V`.
pub fn describe<E: Event, S: State, V: Verdict>(doc: &'static str) -> Description {
    let nullable = |field: &Field| Field { nullable: field.nullable || V::NULLABLE, ..*field };
    Description {
        doc,
        columns: E::FIELDS.to_vec(),
        outputs: V::OUTPUTS.iter().map(nullable).collect(),
        state: S::FIELDS.to_vec(),
        time: None,
        retracts: false,
    }
}

/// Asks for every row in order, with the state of the row's key.
#[inline]
pub fn judge<'a, E: Event, S: State, V: Verdict>(
    call: &Call<'a>,
    answer: &mut RuleAnswer,
    mut ask: impl FnMut(E::Row<'a>, &mut S, &mut Taken<V::Builders>) -> bool,
) {
    let columns = E::bind(call);
    let mut states = Keyed::<S>::load(call);
    let mut taken = Taken::<V::Builders>::default();
    answer.verdicts.reserve(call.rows.div_ceil(64) * 8);
    let mut start = 0;
    while start < call.rows {
        let end = call.rows.min(start + 64);
        let mut word = 0u64;
        for row in start..end {
            let yes = ask(E::row(&columns, Row::of(row, call.rows)), states.of(row), &mut taken);
            word |= u64::from(yes) << (row - start);
            if V::REJECTS
                && let Some(reject) = taken.rejected.take()
            {
                answer.notes.push(reject.note(row as u32));
            }
        }
        answer.verdicts.extend_from_slice(&word.to_le_bytes());
        start = end;
    }
    answer.verdicts.truncate(call.rows.div_ceil(8));
    taken.builders.finish(&mut answer.buffer, &mut answer.columns);
    S::store(&states.states, &mut answer.buffer, &mut answer.state);
}

/// What a `#[rule(batch)]` function may return: a [`Mask`], or a `Result` of one whose error is the whole batch's.
pub trait BatchVerdict {
    /// The mask, or why there is none.
    fn mask(self) -> Result<Mask, String>;
}

impl BatchVerdict for Mask {
    fn mask(self) -> Result<Mask, String> {
        Ok(self)
    }
}

impl<R: std::fmt::Display> BatchVerdict for Result<Mask, R> {
    fn mask(self) -> Result<Mask, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Asks once for the whole batch.
pub fn judge_batch<'a, E: Event, V: BatchVerdict>(
    call: &Call<'a>,
    answer: &mut RuleAnswer,
    ask: impl FnOnce(&Batch<'a, E>) -> V,
) -> Result<(), String> {
    let mask = ask(&Batch::bind(call)).mask()?;
    if mask.rows() != call.rows {
        return Err(format!("the rule answered for {} rows of {}: make its mask with batch.rows()", mask.rows(), call.rows));
    }
    mask.write(&mut answer.verdicts);
    Ok(())
}

/// The states of a call, found by row.
pub(crate) struct Keyed<'a, S> {
    pub(crate) states: Vec<S>,
    row_keys: &'a [[u8; 4]],
}

impl<'a, S: State> Keyed<'a, S> {
    pub(crate) fn load(call: &Call<'a>) -> Self {
        let row_keys = if S::FIELDS.is_empty() { &[] } else { call.row_keys() };
        Self { states: S::load(call), row_keys }
    }

    #[inline(always)]
    pub(crate) fn of(&mut self, row: usize) -> &mut S {
        let key = if S::FIELDS.is_empty() { 0 } else { u32::from_le_bytes(self.row_keys[row]) as usize };
        &mut self.states[key]
    }
}
