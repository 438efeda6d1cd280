//! Rows that came too late for every window they belong to, with what each of them missed.

use crate::{FlowBatch, Outcome, StepId, Watermark};

/// Rows of one batch that a step could not take any more.
#[derive(Debug, Clone)]
pub struct LateRows {
    /// The step.
    pub step: StepId,
    /// As they stood before it.
    pub rows: FlowBatch,
    /// For each row, what it missed.
    pub missed: Vec<Missed>,
}

/// Why a row was too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// What it was judged by.
    pub watermark: Watermark,
    /// From the start of its first window to the end of its last one, µs; `None`: the step has no windows.
    pub window: Option<(i64, i64)>,
}

/// Late rows of a batch that is being taken.
#[derive(Debug, Default)]
pub(crate) struct LateList {
    places: Vec<u32>,
    missed: Vec<Missed>,
}

impl LateList {
    /// Rows come in their order.
    pub(crate) fn push(&mut self, place: u32, watermark: Watermark, window: Option<(i64, i64)>) {
        self.places.push(place);
        self.missed.push(Missed { watermark, window });
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Says that these rows of `input` were too late for `step`.
    pub(crate) fn tell(self, step: StepId, input: &FlowBatch, output: &mut Outcome) {
        if !self.is_empty() {
            output.late.push(LateRows { step, rows: input.picked(&self.places), missed: self.missed });
        }
    }
}
