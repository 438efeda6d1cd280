//! The exports of kinds whose calls take a batch and nothing else: rules, transforms, functions.

use super::{
    FunctionGuest, NOT_OPENED, Outcome, RawBatch, RuleGuest, TransformGuest, fields, hear_panics, list, lower_field, lower_notes,
    one_column, optional, slice, state_fields,
};
use crate::abi::bindings::{function, rule, transform};
use crate::abi::trusted;
use crate::call::{RuleAnswer, TransformAnswer, ValueAnswer};
use crate::function::Function;
use crate::rule::Rule;
use crate::transform::Transform;

impl<C: Rule> RuleGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(RuleAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const rule::Description {
        hear_panics();
        let description = C::describe();
        let lowered = rule::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(&description.columns),
            outputs: fields(&description.outputs),
            state: state_fields(&description),
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
        let opened = C::open(trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `evaluate`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn evaluate(&mut self, batch: RawBatch) -> *const Outcome<rule::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.evaluate(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = rule::Answer {
            verdicts: list(&answer.verdicts),
            columns: list(&answer.columns),
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.returned(result, lowered)
    }
}

impl<C: Transform> TransformGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(TransformAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const transform::Description {
        hear_panics();
        let description = C::describe();
        let lowered = transform::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(&description.columns),
            outputs: fields(&description.outputs),
            state: state_fields(&description),
            time: optional(description.time),
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
        let opened = C::open(trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `apply`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn apply(&mut self, batch: RawBatch) -> *const Outcome<transform::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.apply(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = transform::Answer {
            rows: answer.rows as u32,
            source_rows: answer.source_rows,
            columns: list(&answer.columns),
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.returned(result, lowered)
    }
}

impl<C: Function> FunctionGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(ValueAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const function::Description {
        hear_panics();
        let description = C::describe();
        let lowered = function::Description {
            doc: list(description.doc.as_bytes()),
            arguments: fields(&description.columns),
            value: lower_field(&description.outputs[0]),
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
        let opened = C::open(trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `compute`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn compute(&mut self, batch: RawBatch) -> *const Outcome<function::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.compute(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let (value, data) = (one_column(answer), list(&answer.buffer.bytes));
        let lowered = function::Answer { value, data, notes: lower_notes(notes, &answer.notes) };
        self.returned(result, lowered)
    }
}
