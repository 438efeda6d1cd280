//! What a batch's way through the steps left beside its output rows: dead rows, and endings of calls that must not be repeated.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::{CallFailure, Ending, Reason, Usage};

use crate::FlowBatch;

/// A step of a pipeline, counted from 0 in the order of `steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One row of a batch that others may share.
#[derive(Debug, Clone)]
pub struct RowOf {
    /// The batch; its schema names the columns.
    pub rows: Arc<RecordBatch>,
    /// The row.
    pub row: usize,
}

/// A row that could not go on.
#[derive(Debug, Clone)]
pub struct DeadRow {
    /// The row of the task's input batch it came from: stream, partition, offset and time follow from that.
    pub origin: u32,
    /// The step it failed in.
    pub step: StepId,
    /// Why.
    pub reason: Reason,
    /// The expression's, component's or host's words.
    pub error: Arc<str>,
    /// Frames of the component; empty where there are none.
    pub backtrace: Arc<str>,
    /// The row as it stood before that step.
    pub event: RowOf,
}

/// A call that did not return, as it is recorded with a commit. A replay does not repeat it: an ending may hang on the machine's
/// load or memory, and what it did to the rows must stay as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEnding {
    /// The step that called.
    pub step: StepId,
    /// Which of the step's calls for this batch, counted from 0.
    pub call: u32,
    /// How it ended.
    pub ending: Ending,
    /// What the dead letters say.
    pub message: String,
    /// And where it happened, if known.
    pub backtrace: String,
}

/// One call that was really made: for metrics and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// The step that called.
    pub step: StepId,
    /// Rows in the call.
    pub rows: usize,
    /// How it ended; `None`: it returned.
    pub ending: Option<Ending>,
    /// What it took.
    pub usage: Usage,
}

/// What is collected while a batch goes through the steps.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows that could not go on, by step, then in row order.
    pub dead: Vec<DeadRow>,
    /// Calls that did not return, now or when this batch was first taken; to be recorded with the commit.
    pub endings: Vec<RecordedEnding>,
    /// Calls made, in order.
    pub calls: Vec<CallReport>,
    recorded: Vec<RecordedEnding>,
}

impl Outcome {
    /// For a batch that is taken for the first time.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a batch that is taken again after a crash: calls with a recorded ending are not made.
    pub fn replay(recorded: Vec<RecordedEnding>) -> Self {
        Self { recorded, ..Self::default() }
    }

    /// Makes the call `call` of `step`, or lets it end as it did before. `Err` is an ending, already noted here.
    pub(crate) fn call<A>(
        &mut self,
        step: StepId,
        call: u32,
        rows: usize,
        make: impl FnOnce() -> Result<A, CallFailure>,
        usage: impl FnOnce(&A) -> Usage,
    ) -> Result<A, RecordedEnding> {
        if let Some(at) = self.recorded.iter().position(|ending| ending.step == step && ending.call == call) {
            let ending = self.recorded.swap_remove(at);
            self.endings.push(ending.clone());
            return Err(ending);
        }
        match make() {
            Ok(answer) => {
                self.calls.push(CallReport { step, rows, ending: None, usage: usage(&answer) });
                Ok(answer)
            }
            Err(failure) => {
                self.calls.push(CallReport { step, rows, ending: Some(failure.ending), usage: failure.usage });
                let CallFailure { ending, message, backtrace, usage: _ } = failure;
                let recorded = RecordedEnding { step, call, ending, message, backtrace };
                self.endings.push(recorded.clone());
                Err(recorded)
            }
        }
    }

    /// Every row of `input` ends in `step`, as its call did.
    pub(crate) fn bury_all(&mut self, input: &FlowBatch, ending: &RecordedEnding) {
        let rows = Arc::new(input.rows.clone());
        let error: Arc<str> = ending.message.as_str().into();
        let backtrace: Arc<str> = ending.backtrace.as_str().into();
        self.dead.extend(input.origin.iter().enumerate().map(|(row, origin)| DeadRow {
            origin: *origin,
            step: ending.step,
            reason: Reason::Ending(ending.ending),
            error: error.clone(),
            backtrace: backtrace.clone(),
            event: RowOf { rows: rows.clone(), row },
        }));
    }

    /// Single rows of `input` end in `step`. `errors` is ascending by row.
    pub(crate) fn bury(&mut self, input: &FlowBatch, step: StepId, errors: Vec<(usize, Reason, String)>) {
        if errors.is_empty() {
            return;
        }
        let rows = Arc::new(input.rows.clone());
        let none: Arc<str> = "".into();
        self.dead.extend(errors.into_iter().map(|(row, reason, error)| DeadRow {
            origin: input.origin[row],
            step,
            reason,
            error: error.into(),
            backtrace: none.clone(),
            event: RowOf { rows: rows.clone(), row },
        }));
    }
}
