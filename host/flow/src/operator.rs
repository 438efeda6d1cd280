//! The contracts between operators and what drives them: steps, expressions, components.

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use tidemill_event::{Breaker, CallFailure, EventTime, RuleAnswer, RuleCall, TransformAnswer};

use crate::{FlowBatch, OnFailing, Outcome, StepId, StepState, Watermark};

/// One step of a task.
///
/// The operator promises: every input row ends in the returned batch, in `output.dead` or in `output.put_back`, unless the step is there
/// to drop it (a `where`, a rule that keeps matching rows, a transform that makes no row of it) or to keep it (a window), or in
/// `output.late`; the order of rows is kept; a failing call leaves its state as it was. A batch without rows whose marks go on is time that went by. It must not look at anything but its input, its state and what `output` has recorded. The driver promises to give
/// rows in partition order and, after a crash, the same batches with the same recordings.
pub trait Operator: Send {
    /// Which step of the pipeline it is.
    fn step(&self) -> StepId;

    /// Takes a batch. An empty batch comes out as an empty batch with the step's columns, and no call is made for it.
    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch;

    /// Its state, for checkpoints; `None` for steps without.
    fn state(&mut self) -> Option<&mut dyn StepState>;

    /// What takes its component out when it keeps failing, with what happens then; `None` for steps without a component. Of several, one
    /// that is taken out if there is one.
    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)>;

    /// All of them, for a step that calls several components: in the order in which the plan lists those.
    fn breakers(&mut self) -> Vec<(&mut Breaker, OnFailing)> {
        self.breaker().into_iter().collect()
    }

    /// The least watermark at which it would do something though no row comes; `None`: it waits for no time. Time that a clock makes go by
    /// goes by only if somebody waits for it.
    fn due(&self) -> Option<Watermark>;

    /// The least time of the clock at which it would do something though neither rows come nor event time goes on: it is given an empty
    /// batch then, and the clock with it ([`Outcome::clock`]). Steps that hear no clock have nothing to say here; one that holds another asks it.
    fn due_at(&self) -> Option<EventTime> {
        None
    }
}

/// What an expression made of a batch.
#[derive(Debug, Clone)]
pub struct Computed {
    /// One value per row, without nulls in rows that did not fail if the field is never null. Strings may be a dictionary.
    pub values: ArrayRef,
    /// Rows it failed on, ascending, with the reason in words; their values mean nothing.
    pub failed: Vec<(usize, String)>,
}

/// What a condition made of a batch.
#[derive(Debug, Clone)]
pub struct Tested {
    /// One answer per row; null is no.
    pub passes: BooleanArray,
    /// Rows it failed on, ascending, with the reason in words; their answers mean nothing.
    pub failed: Vec<(usize, String)>,
}

/// A condition over rows. A row's answer depends on that row alone.
pub trait Predicate: Send {
    /// Tests every row.
    fn test(&self, rows: &RecordBatch) -> Tested;
}

/// An expression over rows. A row's value depends on that row alone.
pub trait Projection: Send {
    /// Computes every row.
    fn compute(&self, rows: &RecordBatch) -> Computed;
}

/// A component in its sandbox: takes a batch in one call. `A` is what it answers: a rule's verdicts, a transform's rows.
///
/// The implementor checks what a component returns (lengths, types, offsets, keys); the operator relies on it.
pub trait Guest<A>: Send {
    /// One call, at least one row.
    fn call(&mut self, call: &RuleCall) -> Result<A, CallFailure>;

    /// The next call meets a new instance. Told after every call that did not return, also after one that is not made again because its
    /// ending was recorded: what a component leaves in its globals is the same both times.
    fn replace(&mut self);
}

/// A rule component.
pub type Judge = dyn Guest<RuleAnswer>;

/// A transform component.
pub type Apply = dyn Guest<TransformAnswer>;
