//! The exports of a pattern.

use super::{Guest, NO_LIST, NOT_OPENED, Outcome, RawBatch, fields, hear_panics, list, lower_notes, slice};
use crate::abi::bindings::pattern;
use crate::abi::trusted;
use crate::call::{Call, PatternAnswer};
use crate::pattern::{Declared, Opened};

/// A pattern's globals: its three calls answer with one record.
pub struct PatternGuest<D: Declared> {
    calls: Guest<Opened<D>, PatternAnswer, pattern::Answer>,
    definition: pattern::Definition,
}

impl<D: Declared> PatternGuest<D> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        let definition = pattern::Definition { pattern: NO_LIST, predicates: 0, conditions: 0 };
        Self { calls: Guest::new(PatternAnswer::new()), definition }
    }

    /// The export `describe`.
    pub fn describe() -> *const pattern::Description {
        hear_panics();
        let description = Opened::<D>::describe();
        let lowered = pattern::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(description.columns),
            so_far: fields(description.so_far),
            found: fields(description.found),
            outputs: fields(description.outputs),
            shapes: u8::from(description.shapes),
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
        let opened = Opened::open(trusted::text(unsafe { slice(config) }));
        self.calls.opened(opened)
    }

    /// The export `pattern`. Of a component that was not opened, or did not open, nothing.
    pub fn pattern(&mut self) -> *const pattern::Definition {
        if let Some(opened) = &self.calls.component {
            let definition = opened.definition();
            self.definition = pattern::Definition {
                pattern: list(definition.text.as_bytes()),
                predicates: definition.predicates() as u32,
                conditions: definition.conditions() as u32,
            };
        }
        &self.definition
    }

    /// The export `judge`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn judge(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, Opened::judge) }
    }

    /// The export `ask`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn ask(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, Opened::ask) }
    }

    /// The export `shape`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn shape(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, Opened::shape) }
    }

    /// # Safety
    /// The arguments are the host's.
    unsafe fn answer(
        &mut self,
        batch: RawBatch,
        make: impl FnOnce(&Opened<D>, &Call<'_>, &mut PatternAnswer),
    ) -> *const Outcome<pattern::Answer> {
        let Guest { component, answer, notes, .. } = &mut self.calls;
        answer.clear();
        let result = match component {
            Some(opened) => {
                // SAFETY: the caller's promise.
                make(opened, &unsafe { batch.call() }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = pattern::Answer {
            bits: list(&answer.bits),
            columns: list(&answer.columns),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.calls.returned(result, lowered)
    }
}
