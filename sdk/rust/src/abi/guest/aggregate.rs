//! The exports of an aggregate.

use super::{
    Guest, NOT_OPENED, Outcome, RawBatch, fields, hear_panics, list, lower_field, lower_notes, one_column, slice, state_fields,
};
use crate::abi::bindings::aggregate;
use crate::abi::trusted;
use crate::aggregate::Aggregate;
use crate::call::{AccumulatorAnswer, ValueAnswer};

/// An aggregate's globals: its calls answer with one of two records.
pub struct AggregateGuest<A: Aggregate> {
    changing: Guest<A::Config, AccumulatorAnswer, aggregate::Accumulators>,
    finishing: Guest<(), ValueAnswer, aggregate::Answer>,
}

impl<A: Aggregate> AggregateGuest<A> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self { changing: Guest::new(AccumulatorAnswer::new()), finishing: Guest::new(ValueAnswer::new()) }
    }

    /// The export `describe`.
    pub fn describe() -> *const aggregate::Description {
        hear_panics();
        let description = A::describe();
        let lowered = aggregate::Description {
            doc: list(description.doc.as_bytes()),
            arguments: fields(&description.columns),
            value: lower_field(&description.outputs[0]),
            state: state_fields(&description),
            retracts: u8::from(description.retracts),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = A::open(trusted::text(unsafe { slice(config) }));
        self.changing.opened(opened)
    }

    /// The export `update`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn update(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        self.change(|config, answer| {
            // SAFETY: the caller's promise.
            A::update_rows(config, &unsafe { batch.call() }, answer);
            Ok(())
        })
    }

    /// The export `merge`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn merge(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        self.change(|_, answer| {
            // SAFETY: the caller's promise.
            A::merge_rows(&unsafe { batch.call() }, answer);
            Ok(())
        })
    }

    /// The export `retract`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn retract(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        // SAFETY: the caller's promise.
        self.change(|_, answer| A::retract_rows(&unsafe { batch.call() }, answer))
    }

    fn change(
        &mut self,
        work: impl FnOnce(&A::Config, &mut AccumulatorAnswer) -> Result<(), String>,
    ) -> *const Outcome<aggregate::Accumulators> {
        let Guest { component, answer, notes, .. } = &mut self.changing;
        answer.clear();
        let result = match component {
            Some(config) => work(config, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = aggregate::Accumulators {
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.changing.returned(result, lowered)
    }

    /// The export `finish`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn finish(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Answer> {
        let Guest { answer, notes, .. } = &mut self.finishing;
        answer.clear();
        let result = match &self.changing.component {
            Some(config) => {
                // SAFETY: the caller's promise.
                A::finish_rows(config, &unsafe { batch.call() }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let (value, data) = (one_column(answer), list(&answer.buffer.bytes));
        let lowered = aggregate::Answer { value, data, notes: lower_notes(notes, &answer.notes) };
        self.finishing.returned(result, lowered)
    }
}
